"""What is timed of every vector store, the same code for ours and for others.

Several Pythons import this: nothing but the standard library and numpy here. Vectors come as the names of ``.npy``
files, what was found goes into such a file, and seconds are returned. Rows are spoken of by *label*, their place in
those files; a store may have ids of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

Array = Any  # np.ndarray; the type of its elements is said where it matters
Seconds = float
RANKS = ("random", "topic")


class VectorStore:
    """A store of unit vectors of ``dimensions``, searched by cosine; ``capacity`` rows at most.

    A store implements what is below *to implement*; what it leaves out it cannot do. Rows are filtered by
    ``rank < below``, where each row has a rank from 0 to n - 1 by each of ``RANKS``.
    """

    package: ClassVar[str]
    # A file or folder of that name, and files whose names begin with it, are the store's.
    path: str

    def __init__(self, path: str, dimensions: int, capacity: int) -> None:
        self.path, self.dimensions, self.capacity = path, dimensions, capacity
        self.ranks: Array = np.full((capacity, len(RANKS)), capacity, np.int64)
        self._id_of = np.arange(capacity, dtype=np.int64)
        self._label_of = np.arange(2 * capacity + 1, dtype=np.int64)
        self.start()

    # -- to implement --------------------------------------------------------------------------

    def settings(self) -> str:
        """Return in a line how the store is set."""
        raise NotImplementedError

    def start(self) -> None:
        """Import what is needed; raise ImportError or NotImplementedError with the reason if that is not there."""

    def create(self) -> None:
        """Make an empty store and open it."""
        raise NotImplementedError

    def open(self) -> None:
        """Open the store that another process has made."""
        raise NotImplementedError

    def add(self, vectors: Array, labels: Array) -> Sequence[int] | None:
        """Add rows in one transaction; return their ids where these are not the labels."""
        raise NotImplementedError

    def build(self) -> None:
        """Build the index after all rows were added, where that is a step of its own."""

    def save(self) -> None:
        """Write to the disk what is only in memory."""

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        """Return the ids of the nearest rows, nearest first."""
        raise NotImplementedError

    # Each may be missing:
    keep_ranks: Callable[[], None] | None = None  # make self.ranks, of those rows, known to the store
    nearest_where: Callable[[Array, int, str, int], Sequence[int]] | None = None  # of rows whose rank is below
    remove: Callable[[Array], None] | None = None  # remove rows by id in one transaction
    takes_some = True  # whether rows can be added in many transactions within reasonable time

    def all_bytes(self) -> int:
        """Return the bytes of all files."""
        path = Path(self.path)
        # Not those of "lancedb-ivf" for "lancedb".
        starts = [path, *path.parent.glob(f"{path.name}.*")]
        files = [file for start in starts for file in (start, *start.rglob("*"))]
        return sum(file.stat().st_size for file in files if file.is_file())

    def free_bytes(self) -> int:
        """Return how many of them are free for new rows."""
        return 0

    # -- what is timed -------------------------------------------------------------------------

    def load(self, documents: str, ranks: str | None) -> dict[str, Seconds]:
        """Add all rows at once, then build the index."""
        vectors = np.ascontiguousarray(np.load(documents))
        labels, self.loaded = np.arange(len(vectors)), len(vectors)
        if ranks is not None:
            self.ranks[: len(vectors)] = np.load(ranks)
        self.create()
        start = perf_counter()
        self._know(labels, self.add(vectors, labels))
        added = perf_counter()
        self.build()
        built = perf_counter()
        self.save()
        if ranks is not None and self.keep_ranks is not None:
            self.keep_ranks()
        return {"add": added - start, "build": built - added}

    def search(self, queries: str, first: int, count: int, k: int, answers: str) -> list[Seconds]:
        return self._search(self.nearest, queries, first, count, k, answers)

    def search_where(
        self, queries: str, first: int, count: int, k: int, answers: str, rank: str, below: int
    ) -> list[Seconds] | None:
        where = self.nearest_where
        if where is None:
            return None
        return self._search(lambda query, k: where(query, k, rank, below), queries, first, count, k, answers)

    def first_search(self, queries: str, number: int, k: int) -> Seconds:
        """Return the time to open what another process has made and to search it once."""
        query = np.load(queries)[number]
        start = perf_counter()
        self.open()
        self.nearest(query, k)
        return perf_counter() - start

    def add_some(self, vectors: str, first: int, count: int, label: int, per: int) -> Seconds | None:
        """Add rows, ``per`` to a transaction, the first of them with ``label``; return the seconds a row."""
        if not self.takes_some:
            return None
        given = np.ascontiguousarray(np.load(vectors, mmap_mode="r")[first : first + count])
        labels = np.arange(label, label + count)
        taken = 0.0
        for at in range(0, count, per):
            start = perf_counter()
            ids = self.add(given[at : at + per], labels[at : at + per])
            taken += perf_counter() - start
            self._know(labels[at : at + per], ids)
        return taken / count

    def remove_some(self, label: int, count: int, per: int) -> Seconds | None:
        """Remove rows, ``per`` to a transaction, from the one with ``label``; return the seconds a row."""
        if self.remove is None or not self.takes_some:
            return None
        ids = self._id_of[label : label + count]
        start = perf_counter()
        for at in range(0, count, per):
            self.remove(ids[at : at + per])
        return (perf_counter() - start) / count

    def remove_many(self, labels: str) -> Seconds | None:
        """Remove rows at once; return the seconds a row."""
        if self.remove is None:
            return None
        ids = self._id_of[np.load(labels)]
        start = perf_counter()
        self.remove(ids)
        return (perf_counter() - start) / len(ids)

    def add_again(self, documents: str, labels: str) -> Seconds:
        """Add removed rows at once; return the seconds a row."""
        given = np.load(labels)
        vectors = np.ascontiguousarray(np.load(documents, mmap_mode="r")[given])
        start = perf_counter()
        ids = self.add(vectors, given)
        taken = perf_counter() - start
        self._know(given, ids)
        return taken / len(given)

    def size(self) -> list[int]:
        """Return the bytes that the store takes when all is written, and how many of them are free."""
        self.save()
        return [self.all_bytes(), self.free_bytes()]

    # -- labels --------------------------------------------------------------------------------

    def _know(self, labels: Array, ids: Sequence[int] | None) -> None:
        if ids is not None:
            self._id_of[labels] = ids
            self._label_of[np.asarray(ids)] = labels

    def _search(
        self, nearest: Callable[[Array, int], Sequence[int]], queries: str, first: int, count: int, k: int, answers: str
    ) -> list[Seconds]:
        found = np.full((count, k), -1, np.int64)
        taken = []
        for row, query in enumerate(np.load(queries)[first : first + count]):
            start = perf_counter()
            ids = nearest(query, k)
            taken.append(perf_counter() - start)
            found[row, : len(ids)] = self._label_of[np.asarray(ids, np.int64)]
        np.save(answers, found)
        return taken


def one_thread() -> None:
    """Let this process and those it starts have one processor: some packages cannot be told otherwise."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def value_of(label: int) -> str:
    """Return the value that stores which have values keep beside a vector."""
    return f"row {label}"
