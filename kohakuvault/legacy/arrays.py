"""Arrays as the old packer wrote them: a byte for the type, the shape, the items (little-endian, in C order)."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from .source import Damaged

__all__ = ["NUMPY", "array_of", "is_array", "type_byte"]

# By the names of dtypes.
NUMPY = {
    **{f"{kind}{bits}": np.dtype(f"<{kind}{bits // 8}") for kind in "iu" for bits in (8, 16, 32, 64)},
    "f16": np.dtype("<f2"),
    "f32": np.dtype("<f4"),
    "f64": np.dtype("<f8"),
    "bool": np.dtype("|b1"),
}

# By the type byte.
_TYPES = dict(enumerate(("f32", "f64", "i32", "i64", "u8", "u16", "u32", "u64", "i8", "i16"), 1))

_MAX_DIMENSIONS = 64  # numpy's own limit; the byte could say more


def _head(data: bytes) -> tuple[str, tuple[int, ...], int] | None:
    """Return the type, the shape and where the items begin; None if that is no array, to the byte."""
    if len(data) < 2 or data[0] not in _TYPES or data[1] > _MAX_DIMENSIONS:
        return None
    start = 2 + 4 * data[1]
    if len(data) < start:
        return None
    shape = struct.unpack_from(f"<{data[1]}I", data, 2)
    name = _TYPES[data[0]]
    if len(data) != start + math.prod(shape) * NUMPY[name].itemsize:
        return None
    return name, shape, start


def is_array(data: bytes) -> bool:
    """Whether ``data`` is an array of any shape, to the byte."""
    return _head(data) is not None


def array_of(data: bytes, expected: str | None = None) -> np.ndarray[Any, Any]:
    """Return the array of any shape that ``data`` is, of the dtype ``expected`` if that is given."""
    head = _head(data)
    if head is None:
        raise Damaged("the bytes of an array do not fit its type and shape")
    name, shape, start = head
    if expected is not None and name != expected:
        raise Damaged(f"an array of {name} where the dtype says {expected}")
    try:
        return np.frombuffer(data, NUMPY[name], offset=start).reshape(shape).copy()
    except ValueError as error:
        # A shape whose product is 0 may still have a dimension that numpy cannot count to.
        raise Damaged(f"an array of a shape that cannot be: {error}") from error


def type_byte(name: str) -> int:
    """Return the byte for the type ``name``, 0 if there is none."""
    return next((byte for byte, known in _TYPES.items() if known == name), 0)
