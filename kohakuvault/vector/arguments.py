"""What methods of a VectorKVault are given, checked before anything is written or searched for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import InvalidArgument, UnsupportedType
from ..orm.nearest import query_vector

__all__ = ["Vectors", "as_count", "as_id", "as_ids", "as_radius", "as_values", "as_vectors"]

# Checked: an array of shape (n, dimensions), or n arrays.
Vectors = np.ndarray[Any, np.dtype[np.float32]] | list[Any]


def as_id(id: Any) -> int:
    """Return ``id`` if a row can have it; otherwise raise."""
    if isinstance(id, bool) or not isinstance(id, (int, np.integer)) or not -(2**63) <= id < 2**63:
        raise UnsupportedType(f"an id is an int of 64 bits, not {_shown(id)}")
    return int(id)


def as_ids(ids: Any) -> list[int]:
    """Return ``ids`` as a list, if rows can have them."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise UnsupportedType(f"ids are a sequence of ints, not an array of shape {ids.shape}, dtype {ids.dtype}")
        ids = ids.tolist()
    elif isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise UnsupportedType(f"ids are a sequence of ints, not {_shown(ids)}")
    return [as_id(id) for id in ids]


def as_count(k: Any, what: str = "k") -> int:
    """Return ``k`` if it can be a number of rows; otherwise raise."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
        raise InvalidArgument(f"{what} is a non-negative int, not {_shown(k)}")
    return min(int(k), 2**31 - 1)


def as_radius(r: Any) -> float:
    """Return ``r`` as a float, if it can be compared with distances."""
    if isinstance(r, (bool, np.bool_)) or not isinstance(r, (int, float, np.integer, np.floating)):
        raise UnsupportedType(f"r, a distance, is a number, not {_shown(r)}")
    try:
        radius = float(r)
    except OverflowError:
        radius = math.inf if r > 0 else -math.inf
    if math.isnan(radius):
        raise InvalidArgument("r, a distance, is NaN; expected a number")
    return radius


def as_values(values: Iterable[Any] | None, count: int) -> list[Any]:
    """Return a value for each of ``count`` vectors."""
    if values is None:
        return [None] * count
    if not isinstance(values, Iterable):
        raise UnsupportedType(f"values is a sequence, with one for each vector, not {_shown(values)}")
    given = list(values)
    if len(given) != count:
        raise InvalidArgument(f"{count} vectors need as many values, not {len(given)}")
    return given


def as_vectors(vectors: Any, dimensions: int, type_: Any, metric: str, what: str = "vector") -> Vectors:
    """Return ``vectors`` as an array of float32, or as a list of arrays; raise if one of them cannot be stored.

    Parameters
    ----------
    vectors
        An array of shape ``(n, dimensions)``, or an iterable of ``n`` vectors.
    type_
        The type of the column they are for.
    metric
        What they are to be compared by.
    what
        What one of them is called in errors.
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind == "O":
        if isinstance(vectors, (str, bytes)) or not isinstance(vectors, Iterable):
            raise UnsupportedType(
                f"{what}s are an array of shape (n, {dimensions}) or a sequence of vectors, not {_shown(vectors)}"
            )
        return [_checked(vector, type_, metric, what, number) for number, vector in enumerate(vectors)]
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise InvalidArgument(f"{what}s is an array of shape (n, {dimensions}), not {vectors.shape}")
    if vectors.dtype.kind not in "fiu":
        raise UnsupportedType(f"{what}s is an array of numbers, not of dtype {vectors.dtype}")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(vectors, dtype="<f4")
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InvalidArgument(f"{what} {int(bad.argmax())} has NaN, infinity or a number beyond float32")
    if metric == "cosine" and (zero := ~rows.any(axis=1)).any():
        raise InvalidArgument(f"{what} {int(zero.argmax())} is zero, which has no direction to compare by cosine")
    return rows


def _checked(vector: Any, type_: Any, metric: str, what: str, number: int) -> Any:
    try:
        return query_vector(vector, type_, metric, what=what)
    except (InvalidArgument, UnsupportedType) as error:
        raise type(error)(f"{what} {number}: {error}") from error


def _shown(given: Any) -> str:
    # Python itself refuses to print an int of thousands of digits.
    if isinstance(given, int) and given.bit_length() > 200:
        return f"an int of {given.bit_length()} bits"
    return f"{given!r:.60}"
