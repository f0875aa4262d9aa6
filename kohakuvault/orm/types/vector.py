"""``Vector``: a fixed-length float32 vector, with distances that mean the same on every database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Table, event, text
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.types import LargeBinary, TypeDecorator, TypeEngine, UserDefinedType

from ..._native import pack_vector
from ...errors import CorruptValue, InvalidArgument, UnsupportedType
from ..distance import Distance

__all__ = ["Vector", "vector_bytes"]

_F4 = np.dtype("<f4")


def vector_bytes(value: Any, dimensions: int | None) -> bytes:
    """Return ``value`` as little-endian float32 bytes.

    Parameters
    ----------
    value
        A 1-d array or sequence of numbers, or the bytes themselves.
    dimensions
        The length that the vector must have; ``None`` for any.

    Raises
    ------
    InvalidArgument
        for another length, another shape, NaN or infinity.
    UnsupportedType
        for anything that is not numbers.
    """
    try:
        return pack_vector(value, dimensions)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    except TypeError as error:
        raise UnsupportedType(str(error)) from error


class _PGVector(UserDefinedType[Any]):
    """pgvector's ``vector(n)``, in its text form, which needs no registration on the connection."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, dimensions: int | None = None) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **kw: Any) -> str:
        return "VECTOR" if self.dimensions is None else f"VECTOR({self.dimensions})"


class Vector(TypeDecorator[Any]):
    """A float32 vector of ``dimensions`` elements, read as a ``numpy.ndarray`` of shape ``(dimensions,)``.

    Takes 1-d arrays and sequences of numbers. NaN, infinity and another length are errors when written.
    SQLite stores ``4 * dimensions`` little-endian bytes; PostgreSQL pgvector's ``vector(dimensions)``.

    Columns of this type have ``cosine_distance(other)``, ``l2_distance``, ``l1_distance`` and
    ``hamming_distance``, as in pgvector-python; see :class:`~kohakuvault.orm.distance.Distance`.
    """

    impl = LargeBinary
    cache_ok = True

    def __init__(self, dimensions: int | None = None) -> None:
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise InvalidArgument(f"dimensions must be a positive int, not {dimensions!r}")
        self.dimensions = dimensions
        super().__init__()

    def __repr__(self) -> str:
        return f"Vector({self.dimensions})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LargeBinary())
        return dialect.type_descriptor(_PGVector(self.dimensions))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        dimensions = self.dimensions
        if dialect.name == "sqlite":
            return lambda value: None if value is None else vector_bytes(value, dimensions)
        return lambda value: None if value is None else _to_text(vector_bytes(value, dimensions))

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        if dialect.name == "sqlite":
            return lambda value: f"X'{vector_bytes(value, self.dimensions).hex()}'"
        return lambda value: f"'{_to_text(vector_bytes(value, self.dimensions))}'"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return self._from_database

    def compare_values(self, x: Any, y: Any) -> bool:
        return x is y or (x is not None and y is not None and np.array_equal(x, y))

    def _from_database(self, value: Any) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        if value is None:
            return None
        if isinstance(value, (bytes, memoryview)):
            if len(value) % 4 or not value:
                raise CorruptValue(f"stored vector has {len(value)} bytes, which is no number of float32")
            array = np.frombuffer(value, _F4).astype(np.float32)
        elif isinstance(value, str):
            try:
                array = np.array(value[1:-1].split(","), dtype=np.float32)
            except ValueError as error:
                raise CorruptValue(f"stored vector is the text {value!r:.40}") from error
        else:
            # The application registered pgvector's own adapters on its connections.
            array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, dtype=np.float32)
        if array.ndim != 1 or (self.dimensions is not None and len(array) != self.dimensions):
            raise CorruptValue(
                f"stored vector has shape {array.shape}; {self} has {self.dimensions or 'any number of'}"
            )
        return array

    class Comparator(TypeDecorator.Comparator[Any]):
        """Distances to another vector: a column, or anything the type takes."""

        def cosine_distance(self, other: Any) -> ColumnElement[float]:
            """1 - cosine similarity, 0 to 2."""
            return Distance(self.expr, other, "cosine")

        def l2_distance(self, other: Any) -> ColumnElement[float]:
            """Euclidean distance."""
            return Distance(self.expr, other, "l2")

        def l1_distance(self, other: Any) -> ColumnElement[float]:
            """Sum of absolute differences."""
            return Distance(self.expr, other, "l1")

        def hamming_distance(self, other: Any) -> ColumnElement[float]:
            """Count the dimensions in which exactly one of the two is greater than zero."""
            return Distance(self.expr, other, "hamming")

    comparator_factory = Comparator


# So that reflection knows the type, whichever package of the two is imported.
PGDialect.ischema_names.setdefault("vector", _PGVector)


@event.listens_for(Table, "before_create")
def _make_extension(table: Table, connection: Connection, **kw: Any) -> None:
    """Let ``create_all`` work on a fresh PostgreSQL; where the extension exists this needs no privilege."""
    if connection.dialect.name == "postgresql" and any(isinstance(column.type, Vector) for column in table.columns):
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))


def _to_text(packed: bytes) -> str:
    # repr of the float64 that equals each float32 is exact, so nothing is lost on the way.
    return "[" + ",".join(map(repr, np.frombuffer(packed, _F4).tolist())) + "]"
