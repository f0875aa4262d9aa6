"""What the meta table of a vector index says, and what follows from it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._native import IndexForm
from ..errors import CorruptValue
from ..lending import DriverCursor
from .statements import SERIAL_BITS, IndexStatements

__all__ = ["ELEMENTS", "VERSION", "State", "packed_bytes", "unpacked"]

VERSION = 1

# numpy's types of packed vectors; bits are packed by eight.
ELEMENTS: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "f16": np.dtype("<f2"),
    "i8": np.dtype("i1"),
    "bit": np.dtype("u1"),
}


@dataclass
class State:
    """How the entries of an index are made.

    Attributes
    ----------
    kind
        As the index was asked for.
    mean
        Of all vectors, float32, those scaled to length 1 for cosine; None for zeros.
    centroids
        Of inverted lists, shape ``(lists, dimensions)``, float32; None without lists.
    probes
        How many lists are searched.
    """

    kind: str
    code: str
    metric: str
    element: str
    dimensions: int
    seed: int
    mean: bytes | None = None
    centroids: np.ndarray[Any, np.dtype[np.float32]] | None = None
    probes: int | None = None

    @classmethod
    def read(cls, cursor: DriverCursor, sql: IndexStatements) -> State:
        """Read the state; :class:`CorruptValue` if it is damaged."""
        meta = dict(cursor.all(sql.meta))
        if meta.get("version") != VERSION:
            raise CorruptValue(
                f"a vector index has format version {meta.get('version')!r:.40} and this release knows {VERSION}: "
                "install a newer kohakuvault, or call rebuild_index if it is damaged"
            )
        try:
            state = cls(**{name: meta[name] for name in ("kind", "code", "metric", "element", "dimensions", "seed")})
            if (centroids := meta.get("centroids")) is not None:
                state.centroids = np.frombuffer(centroids, "<f4").reshape(-1, state.dimensions)
                state.probes = int(meta["probes"])
                if state.probes < 1:
                    raise ValueError(f"probes {state.probes}")
            state.mean = meta.get("mean")
            # Also checks what it is made of.
            _ = state.form
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise CorruptValue(f"the meta table of a vector index is damaged ({error}): call rebuild_index") from error
        return state

    def write(self, cursor: DriverCursor, sql: IndexStatements) -> None:
        """Write what may change, and a new stamp, by which everybody sees that it did."""
        changes = {"code": self.code, "seed": self.seed, "mean": self.mean, "probes": self.probes}
        changes["centroids"] = None if self.centroids is None else self.centroids.astype("<f4").tobytes()
        for key, value in changes.items():
            if value is None:
                cursor.run(sql.forget_meta, key)
            else:
                cursor.run(sql.set_meta, key, value)
        cursor.run(sql.set_meta, "stamp", secrets.randbits(63))

    @property
    def form(self) -> IndexForm:
        """How vectors are encoded."""
        return IndexForm(self.code, self.metric, self.element, self.dimensions, self.seed, self.mean)

    @property
    def row_bytes(self) -> int:
        """Bytes of a packed vector."""
        return packed_bytes(self.element, self.dimensions)

    def first_block(self, list_: int) -> int:
        """Return the id of the first block of a list, which is that behind the last of the list before."""
        return list_ << SERIAL_BITS

    def lists_of(self, vectors: list[bytes]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the number of the inverted list that each packed vector belongs to."""
        if self.centroids is None or not vectors:
            return np.zeros(len(vectors), np.int64)
        from .clustering import nearest_centroids

        return nearest_centroids(unpacked(vectors, self.element, self.dimensions, self.metric), self.centroids)


def packed_bytes(element: str, dimensions: int) -> int:
    """Return the bytes of a packed vector."""
    return -(-dimensions // 8) if element == "bit" else ELEMENTS[element].itemsize * dimensions


def unpacked(vectors: list[bytes], element: str, dimensions: int, metric: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return packed vectors as float32, shape ``(n, dimensions)``; for cosine scaled to length 1."""
    packed = np.frombuffer(b"".join(vectors), ELEMENTS[element])
    packed = packed.reshape(len(vectors), -(-dimensions // 8) if element == "bit" else dimensions)
    if element == "bit":
        packed = np.unpackbits(packed, axis=1)[:, :dimensions]
    numbers: np.ndarray[Any, np.dtype[np.float32]] = packed.astype(np.float32)
    if metric == "cosine":
        norms = np.linalg.norm(numbers, axis=1, keepdims=True)
        # A vector without direction has no share in anything.
        numbers /= np.where(norms > 0, norms, 1)
    return numbers
