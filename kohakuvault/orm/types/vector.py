"""``Vector``: a vector of fixed length, with distances that mean the same on every database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from sqlalchemy.types import LargeBinary, TypeDecorator, TypeEngine

from ...errors import CorruptValue, InvalidArgument, KohakuVaultError
from ..distance import Distance
from .declared import NamedBlob, compiled_name
from .pgvector import postgresql_type
from .vector_elements import Array, element_of, vector_as_text, vector_bytes

__all__ = ["Vector"]


class Vector(TypeDecorator[Any]):
    """A vector of ``dimensions`` elements, read as a new ``numpy.ndarray`` of shape ``(dimensions,)``.

    ==== ============= ========================== ============ ================================================
    elem read as       SQLite, little-endian      PostgreSQL   takes
    ==== ============= ========================== ============ ================================================
    f32  ``float32``   ``4 * dimensions`` bytes   ``vector``   numbers, rounded to the nearest float32
    f16  ``float16``   ``2 * dimensions`` bytes   ``halfvec``  numbers of -65504 to 65504, rounded to float16
    i8   ``int8``      ``dimensions`` bytes       ``halfvec``  whole numbers of -128 to 127
    bit  ``bool``      ``ceil(dimensions / 8)``   ``bit``      bools, 0 and 1, or packed bits (``numpy.packbits``)
    ==== ============= ========================== ============ ================================================

    Takes 1-d arrays and sequences; and the bytes that SQLite stores. Packed bits may also be an array of uint8 that is
    shorter than ``dimensions``. NaN, infinity, numbers that the elements cannot hold and another length are errors
    when written.

    Columns of this type have ``cosine_distance(other)``, ``l2_distance``, ``l1_distance``, ``max_inner_product`` and
    ``hamming_distance``, as in pgvector-python; those of bits only the last. See
    :class:`~kohakuvault.orm.distance.Distance`.
    """

    impl = LargeBinary
    cache_ok = True

    def __init__(self, dimensions: int | None = None, elem: str = "f32") -> None:
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise InvalidArgument(f"dimensions must be a positive int, not {dimensions!r}")
        if element_of(elem).name == "bit" and dimensions is None:
            raise InvalidArgument("the dimensions of bits are not told by their bytes; give Vector(n, elem='bit')")
        self.dimensions = dimensions
        self.elem = elem
        super().__init__()

    def __repr__(self) -> str:
        given = [] if self.dimensions is None else [repr(self.dimensions)]
        return f"Vector({', '.join(given if self.elem == 'f32' else [*given, f'elem={self.elem!r}'])})"

    @property
    def _sqlite_name(self) -> str:
        # Those that libSQL gives its vectors.
        name = f"{self.elem.upper()}_BLOB"
        return name if self.dimensions is None else f"{name}({self.dimensions})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(NamedBlob(self._sqlite_name))
        return dialect.type_descriptor(postgresql_type(self.elem, self.dimensions))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self

    def to_bytes(self, value: Any) -> bytes:
        """Return a vector packed as SQLite stores it, or raise what is wrong with it."""
        return vector_bytes(value, self.dimensions, self.elem)

    def from_bytes(self, packed: bytes) -> Array:
        """Return the array of a packed vector."""
        return element_of(self.elem).from_bytes(packed, self.dimensions)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        convert: Any = vector_bytes if dialect.name == "sqlite" else vector_as_text
        dimensions, elem = self.dimensions, self.elem
        return lambda value: None if value is None else convert(value, dimensions, elem)

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        if dialect.name == "sqlite":
            return lambda value: f"X'{self.to_bytes(value).hex()}'"
        # Bare, it would be of no type, which functions cannot choose by.
        type_ = postgresql_type(self.elem, self.dimensions).compile(dialect)
        return lambda value: f"CAST('{vector_as_text(value, self.dimensions, self.elem)}' AS {type_})"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return self._from_database

    def compare_against_backend(self, dialect: Dialect, conn_type: TypeEngine[Any]) -> bool:
        """Return whether a column of the type that reflection found is as one of this type is made."""
        return compiled_name(self, dialect) == compiled_name(conn_type, dialect)

    def compare_values(self, x: Any, y: Any) -> bool:
        if x is None or y is None:
            return x is y
        try:
            return self.to_bytes(x) == self.to_bytes(y)
        except KohakuVaultError:
            # What is no vector: the ORM's mark of a value that was not loaded, or an error when it is written.
            return x is y

    def _from_database(self, value: Any) -> Array | None:
        if value is None:
            return None
        element = element_of(self.elem)
        if isinstance(value, (bytes, memoryview)):
            return element.from_bytes(bytes(value), self.dimensions)
        if isinstance(value, str):
            try:
                numbers = element.from_text(value)
            except ValueError as error:
                raise CorruptValue(f"stored vector is the text {value!r:.40}") from error
        else:
            # The application registered pgvector's own adapters on its connections.
            numbers = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
        if numbers.ndim != 1 or (self.dimensions is not None and len(numbers) != self.dimensions):
            raise CorruptValue(
                f"stored vector has shape {numbers.shape}; {self!r} has {self.dimensions or 'any number of'}"
            )
        return element.convert(numbers)

    class Comparator(TypeDecorator.Comparator[Any]):
        """Distances to another vector: a column, a ``bindparam``, or anything the type takes."""

        def cosine_distance(self, other: Any) -> ColumnElement[float]:
            """1 - cosine similarity, 0 to 2."""
            return Distance(self.expr, other, "cosine")

        def l2_distance(self, other: Any) -> ColumnElement[float]:
            """Euclidean distance."""
            return Distance(self.expr, other, "l2")

        def l1_distance(self, other: Any) -> ColumnElement[float]:
            """Sum of absolute differences."""
            return Distance(self.expr, other, "l1")

        def max_inner_product(self, other: Any) -> ColumnElement[float]:
            """Return the negative inner product: the smallest is of the vectors whose product is the greatest."""
            return Distance(self.expr, other, "ip")

        def hamming_distance(self, other: Any) -> ColumnElement[float]:
            """Count the dimensions in which exactly one of the two is greater than zero."""
            return Distance(self.expr, other, "hamming")

    comparator_factory = Comparator
