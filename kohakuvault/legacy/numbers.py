"""Eight bytes that may be an int or a float: the old packer did not write down which."""

from __future__ import annotations

import math
import struct
from typing import Any

from .arrays import array_of, is_array

__all__ = ["RULES", "number_of"]

RULES = ("guess", "int", "float")

# Ints below it, taken for floats, are denormal or NaN with a payload: nobody's floats.
_CLEAR_INT = 2**53

# Floats of every day; those within the wider range are still likelier than the ints that have the same bits, which
# are beyond 3e18 (times in nanoseconds are below).
_CLEAR_FLOAT = 1e-30, 1e30
_LIKELY_FLOAT = 1e-100, 1e100

# Infinities, NaN as Python makes it, and -0.0.
_SPECIAL = frozenset((0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000, 0xFFF8000000000000, 1 << 63))


def number_of(data: bytes, numbers: str) -> tuple[Any, bool]:
    """Return the number that eight bytes are, and whether they might as well be another.

    ``"guess"``: zero is the int 0, as those releases read it; an array of two bytes that are not both zero is one;
    below ±2**53 an int; then a float if it is one from 1e-100 to 1e100, infinite, NaN or -0.0; then an int.
    """
    integer: int
    real: float
    (integer,), (real,) = struct.unpack("<q", data), struct.unpack("<d", data)
    if numbers == "int":
        return integer, False
    if numbers == "float":
        return real, False
    if data[6:] != b"\0\0" and is_array(data):
        return array_of(data), True
    if 0 < abs(integer) < _CLEAR_INT:
        return integer, False
    size = abs(real)
    if _CLEAR_FLOAT[0] <= size <= _CLEAR_FLOAT[1]:
        return real, False
    if _LIKELY_FLOAT[0] <= size <= _LIKELY_FLOAT[1] or integer & (2**64 - 1) in _SPECIAL:
        return (math.nan if math.isnan(real) else real), True
    return integer, True
