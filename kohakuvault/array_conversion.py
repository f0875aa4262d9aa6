"""Numpy arrays of another dtype, converted by value: floats may be rounded to narrower ones, nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import InvalidArgument, UnsupportedType

__all__ = ["converted"]

Array = np.ndarray[Any, np.dtype[Any]]


def converted(array: Array, target: np.dtype[Any], name: str) -> Array:
    """Return a new array of dtype ``target``, which errors call ``name``.

    Raises
    ------
    InvalidArgument
        for integers that the target does not hold exactly, and finite floats beyond its range.
    UnsupportedType
        for dtypes of another kind: floats are not made integers, nor anything but bools a bool.
    """
    source = array.dtype
    if source.kind == target.kind and source.itemsize == target.itemsize:
        return array.astype(target)  # another byte order
    if target.kind in "iu" and source.kind in "iu":
        limits = np.iinfo(target)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise InvalidArgument(
                f"array of {source} has values from {array.min()} to {array.max()}; {name} holds "
                f"{limits.min} to {limits.max}"
            )
        return array.astype(target)
    if target.kind == "f" and source.kind in "iuf":
        with np.errstate(over="ignore"):
            result = array.astype(target)
        if np.any(np.isinf(result) & np.isfinite(array)):
            raise InvalidArgument(f"array of {source} has finite values that are beyond the range of {name}")
        if source.kind != "f" and not _is_exact(array, result):
            raise InvalidArgument(f"array of {source} has integers that {name} cannot hold exactly")
        return result
    raise UnsupportedType(
        f"array of dtype {source} cannot be stored as {name} without changing values; convert it with "
        f"astype({target.name!r}) if that is what you want"
    )


def _is_exact(integers: Array, floats: Array) -> bool:
    """Whether every float equals its integer."""
    limit = 2 ** (np.finfo(floats.dtype).nmant + 1)
    if not integers.size or max(int(integers.max()), -int(integers.min())) <= limit:
        return True
    return all(int(number) == integer for number, integer in zip(floats.flat, integers.ravel().tolist(), strict=True))
