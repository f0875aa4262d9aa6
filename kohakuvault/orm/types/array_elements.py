"""What arrays of :class:`Tensor` and :class:`PackedArray` consist of, and how values become such arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...array_conversion import converted
from ...errors import InvalidArgument, UnsupportedType

__all__ = ["ARRAY_ELEMENTS", "Array", "array_from", "check_element"]

Array = np.ndarray[Any, np.dtype[Any]]

#: The element types by name, as they are stored: little-endian.
ARRAY_ELEMENTS = {
    **{f"{kind}{bits}": np.dtype(f"<{kind}{bits // 8}") for kind in "iu" for bits in (8, 16, 32, 64)},
    **{f"f{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "bool": np.dtype(np.bool_),
}


def check_element(elem: Any) -> str:
    """Return the name of an element type, or raise :class:`InvalidArgument`."""
    if not isinstance(elem, str) or elem not in ARRAY_ELEMENTS:
        raise InvalidArgument(f"unknown element type {elem!r}; expected one of {', '.join(ARRAY_ELEMENTS)}")
    return elem


def array_from(value: Any, elem: str | None, what: str) -> Array:
    """Return an array, or nested lists and tuples of numbers, as an array of the element type; None for its own.

    Errors name ``what`` it is for.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise UnsupportedType("a masked array has no values where it is masked; fill them with filled()")
    is_array = hasattr(value, "__array__")
    if not (is_array or isinstance(value, (list, tuple, bool, int, float))):
        raise UnsupportedType(f"{what} takes arrays and nested lists of numbers, not {type(value).__name__}")
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise InvalidArgument(f"{what} cannot take {value!r:.60}: {error}") from error
    if elem is None:
        return array
    stored = ARRAY_ELEMENTS[elem]
    if array.dtype == stored:
        return array
    if not array.size:
        # Of nothing, numpy makes floats.
        return array.astype(stored)
    if not is_array and stored.kind in "iu" and array.dtype.kind in "fO":
        return _whole(value, stored, what)
    return converted(array, stored, what)


def _whole(value: Any, stored: np.dtype[Any], what: str) -> Array:
    """Return integers of which numpy makes floats or objects, because they fit no integers of its own together."""
    numbers = np.asarray(value, dtype=object)
    limits = np.iinfo(stored)
    for number in numbers.flat:
        if type(number) is not int:
            raise UnsupportedType(f"{what} takes integers, not {number!r:.60} of type {type(number).__name__}")
        if not limits.min <= number <= limits.max:
            raise InvalidArgument(f"{number} given; {what} holds {limits.min} to {limits.max}")
    return numbers.astype(stored)
