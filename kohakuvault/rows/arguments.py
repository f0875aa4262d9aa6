"""What methods of a container of rows are given, checked before anything is written or searched for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import InvalidArgument, UnsupportedType

__all__ = ["as_count", "as_id", "as_ids", "as_values", "shown"]


def as_id(id: Any) -> int:
    """Return ``id`` if a row can have it; otherwise raise."""
    if isinstance(id, bool) or not isinstance(id, (int, np.integer)) or not -(2**63) <= id < 2**63:
        raise UnsupportedType(f"an id is an int of 64 bits, not {shown(id)}")
    return int(id)


def as_ids(ids: Any) -> list[int]:
    """Return ``ids`` as a list, if rows can have them."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise UnsupportedType(f"ids are a sequence of ints, not an array of shape {ids.shape}, dtype {ids.dtype}")
        ids = ids.tolist()
    elif isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise UnsupportedType(f"ids are a sequence of ints, not {shown(ids)}")
    return [as_id(id) for id in ids]


def as_count(k: Any, what: str = "k") -> int:
    """Return ``k`` if it can be a number of rows; otherwise raise."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
        raise InvalidArgument(f"{what} is a non-negative int, not {shown(k)}")
    return min(int(k), 2**31 - 1)


def as_values(values: Iterable[Any] | None, count: int, what: str = "vector") -> list[Any]:
    """Return a value for each of ``count`` rows, which are of a ``what`` each."""
    if values is None:
        return [None] * count
    if not isinstance(values, Iterable):
        raise UnsupportedType(f"values is a sequence, with one for each {what}, not {shown(values)}")
    given = list(values)
    if len(given) != count:
        raise InvalidArgument(f"{count} {what}s need as many values, not {len(given)}")
    return given


def shown(given: Any) -> str:
    """Return what was given as an error shows it."""
    # Python itself refuses to print an int of thousands of digits.
    if isinstance(given, int) and given.bit_length() > 200:
        return f"an int of {given.bit_length()} bits"
    return f"{given!r:.60}"
