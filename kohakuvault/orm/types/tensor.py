"""``Tensor``: an array of fixed shape and element type, as its bytes alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sqlalchemy.engine import Dialect

from ...errors import CorruptValue, InvalidArgument, KohakuVaultError
from .array_elements import ARRAY_ELEMENTS, Array, array_from, check_element
from .declared import DeclaredType

__all__ = ["Tensor"]

# What SQLite takes as a value by default; PostgreSQL takes little more.
_MOST_BYTES = 1_000_000_000
# PostgreSQL's limit on names, without "kv_".
_LONGEST_NAME = 60


class Tensor(DeclaredType):
    """An array of one shape and element type, read as a new, writable ``numpy.ndarray``.

    Parameters
    ----------
    elem
        ``"i8"`` to ``"i64"``, ``"u8"`` to ``"u64"``, ``"f16"``, ``"f32"``, ``"f64"`` or ``"bool"``.
    shape
        The dimensions, each a positive int: ``Tensor("u8", 64, 64, 3)``. None of them is a single number.

    Takes arrays, and nested lists and tuples of numbers. Integers must be in the range of ``elem``; floats are rounded
    to a narrower float, NaN and the infinities included, but no finite number becomes infinite; nothing else is
    converted. Stored are the elements in C order, little-endian, without any header.

    >>> Tensor("u8", 64, 64, 3).nbytes
    12288
    """

    cache_ok = True

    # `shape` is a parameter of its own, rather than the first of `more`, because SQLAlchemy makes the key of its
    # statement cache, and copies, of the named parameters.
    def __init__(self, elem: str, shape: int | tuple[int, ...] = (), *more: int) -> None:
        self.elem = check_element(elem)
        self.shape = (*(shape if isinstance(shape, tuple) else (shape,)), *more)
        for size in self.shape:
            if type(size) is not int or size < 1:
                raise InvalidArgument(f"the dimensions of a Tensor are positive ints, not {size!r}")
        if self.nbytes > _MOST_BYTES or len(self.declared_name) > _LONGEST_NAME:
            raise InvalidArgument(
                f"{self!r} has {self.nbytes} bytes and the name {self.declared_name}; databases hold {_MOST_BYTES} "
                f"bytes, and names of {_LONGEST_NAME}"
            )
        super().__init__()

    def __repr__(self) -> str:
        return f"Tensor({', '.join(map(repr, (self.elem, *self.shape)))})"

    @property
    def nbytes(self) -> int:
        """The bytes of each array."""
        return math.prod(self.shape) * ARRAY_ELEMENTS[self.elem].itemsize

    @property
    def declared_name(self) -> str:
        return "_".join(map(str, ("tensor", self.elem, *self.shape)))

    def to_bytes(self, value: Any) -> bytes:
        """Return an array as it is stored, or raise what is wrong with it."""
        array = array_from(value, self.elem, repr(self))
        if array.shape != self.shape:
            raise InvalidArgument(f"array of shape {array.shape} given; {self!r} takes {self.shape}")
        return array.tobytes()

    def from_bytes(self, data: Any) -> Array:
        """Return the array that is stored as ``data``."""
        if not isinstance(data, (bytes, memoryview)) or len(data) != self.nbytes:
            raise CorruptValue(f"stored {self!r} is {data!r:.40}; expected {self.nbytes} bytes")
        stored = ARRAY_ELEMENTS[self.elem]
        array = np.frombuffer(data, stored).astype(stored.newbyteorder("="))
        if self.elem == "bool" and array.view(np.uint8).max() > 1:
            raise CorruptValue(f"stored {self!r} has bytes other than 0 and 1")
        return array.reshape(self.shape)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return lambda value: None if value is None else self.to_bytes(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return lambda data: None if data is None else self.from_bytes(data)

    def compare_values(self, x: Any, y: Any) -> bool:
        if x is y or x is None or y is None:
            return x is y
        try:
            return self.to_bytes(x) == self.to_bytes(y)
        except KohakuVaultError:
            # What is no array: the ORM's mark of a value that was not loaded, or an error when it is written.
            return False
