"""Vectors that are given, checked and packed as they are stored, one by one or all of an array at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import InvalidArgument, UnsupportedType
from ..orm.types import Vector

__all__ = ["PackedVectors", "pack_vectors"]

# Rows of an array that are made into bytes at a time.
_PAGE = 1000

Array = np.ndarray[Any, np.dtype[Any]]


class PackedVectors:
    """Vectors as the bytes that SQLite stores, which the column type takes on every database.

    Parameters
    ----------
    rows
        They themselves, or an array whose rows have those bytes.
    """

    def __init__(self, rows: list[bytes] | Array) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[bytes]:
        rows = self._rows
        if isinstance(rows, list):
            yield from rows
            return
        size = rows.itemsize * rows.shape[1]
        for start in range(0, len(rows), _PAGE):
            data = rows[start : start + _PAGE].tobytes()
            for place in range(0, len(data), size):
                yield data[place : place + size]


def pack_vectors(vectors: Any, type_: Vector, metric: str, what: str = "vector") -> PackedVectors:
    """Return ``vectors`` packed; raise for the first of them that cannot be stored.

    Parameters
    ----------
    vectors
        An array of shape ``(n, dimensions)``, of bits also ``(n, ceil(dimensions / 8))`` of uint8, or an iterable of
        ``n`` vectors.
    type_
        The type of the column they are for.
    metric
        What they are to be compared by.
    what
        What one of them is called in errors.
    """
    if isinstance(vectors, np.ndarray) and vectors.dtype.kind != "O":
        return PackedVectors(_array(vectors, type_, metric, what))
    if type(vectors) is list and _are_alike(vectors, type_):
        return PackedVectors(_array(np.stack(vectors), type_, metric, what))
    if isinstance(vectors, (str, bytes)) or not isinstance(vectors, Iterable):
        raise UnsupportedType(
            f"{_several(what)} are an array of shape (n, {type_.dimensions}) or a sequence of vectors, "
            f"not {vectors!r:.60}"
        )
    return PackedVectors([_one(vector, type_, metric, f"{what} {number}") for number, vector in enumerate(vectors)])


def _are_alike(vectors: list[Any], type_: Vector) -> bool:
    """Whether all are arrays of one dtype and the right length, which are quicker together than one by one."""
    if not vectors or type(vectors[0]) is not np.ndarray:
        return False
    alike = (type_.dimensions,), vectors[0].dtype
    return all(type(vector) is np.ndarray and (vector.shape, vector.dtype) == alike for vector in vectors)


def _one(vector: Any, type_: Vector, metric: str, what: str) -> bytes:
    try:
        packed = type_.to_bytes(vector)
    except (InvalidArgument, UnsupportedType) as error:
        raise type(error)(f"{what}: {error}") from error
    if metric == "cosine" and not type_.from_bytes(packed).any():
        raise _zero(what)
    return packed


def _array(vectors: Array, type_: Vector, metric: str, what: str) -> Array:
    dimensions = type_.dimensions
    assert dimensions is not None
    is_packed = type_.elem == "bit" and vectors.dtype == np.uint8 and vectors.shape[1:] == (-(-dimensions // 8),)
    if vectors.ndim != 2 or (vectors.shape[1] != dimensions and not is_packed):
        raise InvalidArgument(f"{_several(what)} are an array of shape (n, {dimensions}), not {vectors.shape}")
    if vectors.dtype.kind not in ("fiub" if type_.elem == "bit" else "fiu"):
        raise UnsupportedType(f"{_several(what)} are an array of numbers, not of dtype {vectors.dtype}")
    if type_.elem == "bit":
        rows = _bits(vectors, dimensions, what)
    elif type_.elem == "i8":
        rows = _whole(vectors, what)
    else:
        rows = _floats(vectors, "<f4" if type_.elem == "f32" else "<f2", what)
    if metric == "cosine" and (zero := ~rows.any(axis=1)).any():
        raise _zero(f"{what} {int(zero.argmax())}")
    return np.ascontiguousarray(rows)


def _floats(vectors: Array, dtype: str, what: str) -> Array:
    with np.errstate(over="ignore"):
        rows = vectors.astype(dtype, copy=False)
    _require(np.isfinite(rows), what, f"has NaN, infinity or a number beyond {rows.dtype.name}")
    return rows


def _whole(vectors: Array, what: str) -> Array:
    with np.errstate(invalid="ignore"):
        rows = vectors.astype(np.int8)
    _require((rows == vectors) & (np.abs(vectors.astype(np.float64)) <= 128), what, "has a number that is no int8")
    return rows


def _bits(vectors: Array, dimensions: int, what: str) -> Array:
    if vectors.shape[1] == dimensions:
        _require((vectors == 0) | (vectors == 1), what, "has a number that is no bit: 0 and 1 are, False and True")
        return np.packbits(vectors.astype(np.bool_), axis=1)
    behind = np.unpackbits(vectors[:, -1:], axis=1)[:, (dimensions - 1) % 8 + 1 :]
    _require(behind == 0, what, f"has bits behind its {dimensions} dimensions")
    return vectors


def _require(good: Array, what: str, wrong: str) -> None:
    bad = ~good.all(axis=1)
    if bad.any():
        raise InvalidArgument(f"{what} {int(bad.argmax())} {wrong}")


def _zero(which: str) -> InvalidArgument:
    return InvalidArgument(f"{which} is zero, which has no direction to compare by cosine; use metric='l2'")


def _several(what: str) -> str:
    return "queries" if what == "query" else f"{what}s"
