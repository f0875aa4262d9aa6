"""Extensions of SQLite as :class:`~vector_store.VectorStore`, in a file, with our engine's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from vector_store import Array, VectorStore

PRAGMAS = "page_size=16384 journal_mode=WAL synchronous=NORMAL mmap_size=1073741824 cache_size=-32768"


class SqliteStore(VectorStore):
    """A virtual table ``v`` with the column ``e``, and a table of the ranks."""

    table: ClassVar[str]
    found: ClassVar[str]  # the ids of the nearest, given ? for the query; {k} and {where} are filled in
    filters = True

    @staticmethod
    def blob(vector: Array) -> bytes:
        found: bytes = vector.tobytes()
        return found

    def libraries(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        import apsw

        self._apsw = apsw
        if not self.filters:
            self.nearest_where = None
        self.libraries()

    def create(self) -> None:
        self.open()
        self.db.execute(f"CREATE VIRTUAL TABLE v USING {self.table.format(self=self)}")

    def open(self) -> None:
        self.db: Any = self._apsw.Connection(self.path + ".db")
        for pragma in PRAGMAS.split():
            self.db.execute(f"PRAGMA {pragma}")
        self.db.enable_load_extension(True)
        for library in self.libraries():
            self.db.load_extension(library)

    def add(self, vectors: Array, labels: Array) -> None:
        rows = zip(labels.tolist(), map(self.blob, vectors), strict=True)
        self._write("INSERT INTO v (rowid, e) VALUES (?, ?)", rows)

    def remove(self, ids: Array) -> None:
        self._write("DELETE FROM v WHERE rowid = ?", ((id,) for id in ids.tolist()))

    def _write(self, sql: str, rows: Any) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(sql, rows)
        self.db.execute("COMMIT")

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return [row[0] for row in self.db.execute(self.found.format(k=k, where=""), (self.blob(query),))]

    def keep_ranks(self) -> None:
        self.db.execute("CREATE TABLE rank (id INTEGER PRIMARY KEY, random INTEGER, topic INTEGER)")
        self._write("INSERT INTO rank VALUES (?, ?, ?)", ((id, *row) for id, row in enumerate(self.ranks.tolist())))
        for name in ("random", "topic"):
            self.db.execute(f"CREATE INDEX rank_{name} ON rank ({name}, id)")

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        where = f" AND rowid IN (SELECT id FROM rank WHERE {rank} < {below})"
        return [row[0] for row in self.db.execute(self.found.format(k=k, where=where), (self.blob(query),))]

    def save(self) -> None:
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def free_bytes(self) -> int:
        pages, size = (self.db.pragma(name) for name in ("freelist_count", "page_size"))
        return int(pages * size)


# Rows that sqlite-vss takes in a transaction: it moves those of the same transaction with every row.
IN_A_COMMIT = 2000


class SqliteVec(SqliteStore):
    package = "sqlite-vec"
    table = "vec0(e float[{self.dimensions}] distance_metric=cosine)"
    found = "SELECT rowid FROM v WHERE e MATCH ? AND k = {k}{where} ORDER BY distance"

    def libraries(self) -> list[str]:
        import sqlite_vec

        return [sqlite_vec.loadable_path()]

    def settings(self) -> str:
        return "exact; vec0 in a file with our engine's settings; filters by rowid IN (SELECT …)"


class SqliteVss(SqliteStore):
    """FAISS in a virtual table, which is read and written as a whole."""

    package = "sqlite-vss"
    table = 'vss0(e({self.dimensions}) factory="Flat,IDMap2" metric_type=INNER_PRODUCT)'
    found = "SELECT rowid FROM v WHERE vss_search(e, vss_search_params(?, {k}))"
    filters = False

    def libraries(self) -> list[str]:
        import sqlite_vss

        return [sqlite_vss.vector_loadable_path(), sqlite_vss.vss_loadable_path()]

    @staticmethod
    def blob(vector: Array) -> bytes:
        # Its own header: floats alone whose first bytes are these would lose them, and spoil the rows after them.
        return b"v\x01" + vector.tobytes()

    def open(self) -> None:
        try:
            super().open()
        except Exception as error:
            if "blas" in str(error) or "lapack" in str(error) or "gomp" in str(error):
                raise ImportError(f"{error} (Debian: apt install libopenblas0 libgomp1)") from error
            raise

    def add(self, vectors: Array, labels: Array) -> None:
        for at in range(0, len(labels), IN_A_COMMIT):
            super().add(vectors[at : at + IN_A_COMMIT], labels[at : at + IN_A_COMMIT])

    def settings(self) -> str:
        return (
            f"exact; factory Flat,IDMap2; each commit writes the whole index; {IN_A_COMMIT:,} rows in one, whose time "
            "grows with the square of their number; filters only after the search: not timed"
        )


class Vectorlite(SqliteStore):
    """hnswlib in a virtual table, whose index is a file that is written when the connection is closed."""

    package = "vectorlite-py"
    table = (
        "vectorlite(e float32[{self.dimensions}] cosine, "
        "hnsw(max_elements={self.capacity}, M=16, ef_construction=200), '{self.path}.index')"
    )
    found = "SELECT rowid FROM v WHERE knn_search(e, knn_param(?, {k}, 100)){where}"

    def libraries(self) -> list[str]:
        import vectorlite_py

        return [vectorlite_py.vectorlite_path()]

    def save(self) -> None:
        self.db.close()
        self.open()

    def settings(self) -> str:
        return (
            "HNSW (hnswlib), M=16, ef_construction=200, ef=100; not transactional: the index is in memory, and written "
            "when the connection is closed; filters by rowid IN (SELECT …)"
        )
