"""``PackedArray``: an array of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sqlalchemy.engine import Dialect

from ...errors import CorruptValue, KohakuVaultError
from ...packing import pack, unpack
from .array_elements import ARRAY_ELEMENTS, Array, array_from, check_element
from .declared import DeclaredType

__all__ = ["PackedArray"]


class PackedArray(DeclaredType):
    """An array of any shape, read as a new, writable ``numpy.ndarray`` of the same shape and dtype.

    Parameters
    ----------
    elem
        The type of the elements, ``"i8"`` to ``"i64"``, ``"u8"`` to ``"u64"``, ``"f16"``, ``"f32"``, ``"f64"`` or
        ``"bool"``: arrays of others are converted as :class:`Tensor` does. By default each array keeps its dtype,
        which may be any that a packed value takes: complex numbers, dates and fixed-width text too.

    Takes arrays, and nested lists and tuples of numbers. Stored as a packed value (:mod:`kohakuvault.packing`).
    """

    cache_ok = True

    def __init__(self, elem: str | None = None) -> None:
        self.elem = None if elem is None else check_element(elem)
        super().__init__()

    def __repr__(self) -> str:
        return f"PackedArray({'' if self.elem is None else repr(self.elem)})"

    @property
    def declared_name(self) -> str:
        return "array" if self.elem is None else f"array_{self.elem}"

    def to_bytes(self, value: Any) -> bytes:
        """Return an array as it is stored, or raise what is wrong with it."""
        return pack(array_from(value, self.elem, repr(self)))

    def from_bytes(self, data: Any) -> Array:
        """Return the array that is stored as ``data``."""
        array = unpack(data) if isinstance(data, (bytes, memoryview)) else data
        if not isinstance(array, np.ndarray):
            raise CorruptValue(f"stored {self!r} is {array!r:.40} of type {type(array).__name__}; expected an array")
        if self.elem is not None and array.dtype != ARRAY_ELEMENTS[self.elem]:
            raise CorruptValue(f"stored {self!r} has the dtype {array.dtype}")
        return array

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
