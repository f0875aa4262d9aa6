"""Indices as a list takes them, and as numpy does: which elements they mean."""

from __future__ import annotations

import array
import operator
from typing import Any

import numpy as np

from ..errors import InvalidArgument, OutOfRange, UnsupportedType

__all__ = ["END", "as_index", "as_slice", "is_many", "place_of", "places_of", "span"]

# Beyond any length, but within 64 bits, also when one is added to it.
END = 2**62

Places = np.ndarray[Any, np.dtype[np.int64]]


def as_index(index: Any) -> int:
    """Return ``index`` as an int within 64 bits."""
    try:
        return min(max(operator.index(index), -END), END)
    except TypeError:
        raise UnsupportedType(
            f"a column index is an int, a slice, or a list or array of ints or bools, not {type(index).__name__}"
        ) from None


def place_of(index: int, length: int) -> int:
    """Return which of ``length`` elements ``index`` is, counted from the end if it is negative."""
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise OutOfRange(f"index {index} is out of range for a column of {length} elements")
    return place


def is_many(index: Any) -> bool:
    """Whether ``index`` is a list, range or array of indices or a mask."""
    return isinstance(index, (list, range, array.array)) or (isinstance(index, np.ndarray) and index.ndim > 0)


def as_slice(index: slice) -> slice:
    """Return ``index`` if it can be a slice of a column."""
    if index.step is not None and as_index(index.step) == 0:
        raise InvalidArgument("the step of a slice cannot be zero")
    return index


def places_of(indices: Any, length: int) -> Places:
    """Return which of ``length`` elements ``indices`` are: as many bools, or ints in any order, repeated or not.

    Raises
    ------
    OutOfRange
        for an index beyond the ends.
    InvalidArgument
        for a mask of another length, and what has more than one dimension.
    UnsupportedType
        for what is neither ints nor bools.
    """
    array = _as_array(indices)
    if array.ndim != 1:
        raise InvalidArgument(f"indices of one dimension are expected, not of shape {array.shape}")
    if not array.size and array.dtype.kind != "b":
        return np.empty(0, np.int64)
    if array.dtype.kind == "b":
        if len(array) != length:
            raise InvalidArgument(f"a mask of {len(array)} bools for a column of {length} elements")
        return np.flatnonzero(array).astype(np.int64, copy=False)
    if array.dtype.kind not in "iu":
        raise UnsupportedType(f"indices are ints, or a mask of bools, not {array.dtype}")
    wrong = array[(array >= length) | ((array < 0) & (array.astype(np.int64, copy=False) < -length))]
    if wrong.size:
        raise OutOfRange(f"index {wrong[0]} is out of range for a column of {length} elements")
    places = array.astype(np.int64)
    places[places < 0] += length
    return places


def _as_array(indices: Any) -> np.ndarray[Any, Any]:
    if isinstance(indices, np.ma.MaskedArray):
        raise UnsupportedType(
            "a masked array has no indices where it is masked; take those that are there: compressed()"
        )
    try:
        array = np.asarray(indices)
    except ValueError as error:
        raise InvalidArgument("indices of one dimension are expected, not lists of different lengths") from error
    if array.dtype.kind in "Of" and all(isinstance(index, (int, np.integer)) for index in indices):
        # Ints that are not all within the same 64 bits: beyond any length, then.
        return np.array([as_index(index) for index in indices])
    return array


def span(places: range) -> tuple[int, int]:
    """Return the smallest of ``places``, and one more than the largest."""
    ends = (places[0], places[-1])
    return min(ends), max(ends) + 1
