"""``VectorKVault`` with each kind of index, and the yardsticks, as stores in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

import raw
from kohakuvault import KohakuVaultError, VectorKVault
from vector_store import RANKS, Array, VectorStore, one_thread, value_of

one_thread()

KINDS = ("none", "exact", "rabitq", "ivf", "vss", "vec")


class Ours(VectorStore):
    """A vault with values, and the ranks in a table of the application's beside it."""

    package = "kohakuvault"

    def __init__(self, path: str, dimensions: int, capacity: int, *, kind: str) -> None:
        self._index = None if kind == "none" else kind
        super().__init__(path, dimensions, capacity)

    def start(self) -> None:
        """Refuse kinds of index that are not there."""
        try:
            self._open(":memory:").close()
        except KohakuVaultError as error:
            raise NotImplementedError(str(error)) from error

    def _open(self, path: str) -> VectorKVault:
        return VectorKVault(path, dimensions=self.dimensions, metric="cosine", index=self._index)

    def create(self) -> None:
        self.store = self._open(self.path + ".db")

    open = create

    def add(self, vectors: Array, labels: Array) -> Sequence[int]:
        if len(labels) == 1:
            return [self.store.insert(vectors[0], value_of(labels[0]))]
        return self.store.insert_many(vectors, map(value_of, labels.tolist()))

    def build(self) -> None:
        self.store.optimize()

    def load(self, documents: str, ranks: str | None) -> dict[str, float]:
        """Refuse to be timed by the name of another kind of index than what searches use."""
        taken = super().load(documents, ranks)
        index = self.store.info()["index"] if self._index else None
        if index is not None and index["in_use"] != self._index:
            raise NotImplementedError(f"index={self._index!r} is {index['in_use']!r}")
        return taken

    def remove(self, ids: Array) -> None:
        given = ids.tolist()
        if len(given) == 1:
            self.store.delete(given[0])
        else:
            self.store.delete_many(given)

    def save(self) -> None:
        with self.store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def free_bytes(self) -> int:
        with self.store.engine.connect() as connection:
            pages, size = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_size")
            )
        return int(pages * size)

    def keep_ranks(self) -> None:
        columns = (Column(name, Integer, index=True) for name in RANKS)
        self._ranks = Table("rank", MetaData(), Column("id", Integer, primary_key=True), *columns)
        rows = zip(self._id_of[: self.loaded].tolist(), self.ranks[: self.loaded].tolist(), strict=True)
        with self.store.engine.begin() as connection:
            self._ranks.create(connection)
            connection.execute(
                insert(self._ranks), [{"id": id, "random": random, "topic": topic} for id, (random, topic) in rows]
            )

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return [row[0] for row in self.store.search(query, k)]

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        passing = select(self._ranks.c.id).where(self._ranks.c[rank] < below)
        where = self.store.entity.id.in_(passing)
        return [row[0] for row in self.store.search(query, k, where=where)]

    def settings(self) -> str:
        return f"index={self._index!r}; filters by id IN (SELECT id FROM a table of the ranks)"


class Numpy(VectorStore):
    """The yardstick of searching: the array in memory, multiplied with the query."""

    package = "numpy"

    def create(self) -> None:
        self._rows: Array = np.empty((0, self.dimensions), np.float32)

    def open(self) -> None:
        self._rows = np.load(self.path + ".npy")

    def save(self) -> None:
        np.save(self.path + ".npy", self._rows)

    def add(self, vectors: Array, labels: Array) -> None:
        self._rows = vectors if not len(self._rows) else np.concatenate([self._rows, vectors])

    takes_some = False

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return _best(self._rows @ query, k)

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        similarity = self._rows @ query
        similarity[self.ranks[: len(similarity), RANKS.index(rank)] >= below] = -2
        return _best(similarity, min(k, below))

    def settings(self) -> str:
        return "X @ q + argpartition on the array in memory; filters by a mask"


def _best(similarity: Array, k: int) -> Sequence[int]:
    best = np.argpartition(-similarity, k)[:k]
    found: Sequence[int] = best[np.argsort(-similarity[best])]
    return found


class Plain(VectorStore):
    """The yardstick of writing: the same rows in a table without index, by the driver's own cursor."""

    package = "kohakuvault"
    # As the vault's table, whose values carry a tag.
    table = "CREATE TABLE plain (id INTEGER PRIMARY KEY, vector BLOB NOT NULL, value BLOB NOT NULL)"
    nearest = None

    def create(self) -> None:
        self._db = raw.connect(self.path + ".db")
        self._db.execute(self.table)

    def add(self, vectors: Array, labels: Array) -> None:
        rows = zip(labels.tolist(), vectors, strict=True)
        self._write(
            "INSERT INTO plain VALUES (?, ?, ?)",
            ((id, row.tobytes(), b"s" + value_of(id).encode()) for id, row in rows),
        )

    def remove(self, ids: Array) -> None:
        self._write("DELETE FROM plain WHERE id = ?", ((id,) for id in ids.tolist()))

    def _write(self, sql: str, rows: Any) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(sql, rows)
        self._db.execute("COMMIT")

    def save(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def free_bytes(self) -> int:
        pages, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
        return int(pages * size)

    def settings(self) -> str:
        return "the same rows in a table without index, by the driver's cursor"


PEERS: dict[str, Any] = {f"ours {kind}": partial(Ours, kind=kind) for kind in KINDS}
PEERS |= {"numpy": Numpy, "plain table": Plain}
