"""``VectorKVault`` beside numpy in memory and sqlite-vec."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustered import clustered
from harness import Report, Run, Target, runs_in_turns
from kohakuvault import VectorKVault
from kohakuvault.extension import open_with

NUMPY = "numpy X @ q + argpartition"


def bench(report: Report, folder: Path, rows: int) -> None:
    """Clustered unit vectors that behave like text embeddings, 384 dimensions, k = 10."""
    report.section(f"VectorKVault: {rows:,} × 384")
    documents, queries = clustered(rows, queries=50)
    search = VectorKVault(folder / "vectors.db", dimensions=384, metric="cosine")
    start = time.perf_counter()
    search.insert_many(documents)
    taken = time.perf_counter() - start
    report.add(f"insert_many: {rows / taken / 1e3:.0f} k/s", {"insert_many": [taken]}, per=rows)

    def numpy_search(query: np.ndarray) -> np.ndarray:
        similarity = documents @ query
        best = np.argpartition(-similarity, 10)[:10]
        return best[np.argsort(-similarity[best])]

    vec = sqlite_vec(documents)
    turn = iter(np.tile(queries, (1000, 1)))
    runs: dict[str, Run] = {
        "search": lambda: search.search(next(turn), 10),
        NUMPY: lambda: numpy_search(next(turn)),
    }
    if vec is not None:
        runs["sqlite-vec, vec0 MATCH in memory"] = lambda: vec(next(turn))
    for query in queries[:10]:
        assert [id - 1 for id, _, _ in search.search(query, 10)] == numpy_search(query).tolist()
    report.add("exact k-NN from the table, k = 10", runs_in_turns(runs, 25), Target("≤ 8 × numpy", 8, NUMPY))


def sqlite_vec(documents: np.ndarray) -> Callable[[np.ndarray], object] | None:
    """Return a search of sqlite-vec's, where it is installed."""
    try:
        import sqlite_vec
    except ImportError:
        return None
    connection = open_with(sqlite3.dbapi2, [(sqlite_vec.loadable_path(), "sqlite3_vec_init")])
    connection.execute("CREATE VIRTUAL TABLE v USING vec0(e float[384] distance_metric=cosine)")
    connection.executemany("INSERT INTO v (e) VALUES (?)", ((row.tobytes(),) for row in documents))
    sql = "SELECT rowid, distance FROM v WHERE e MATCH ? AND k = 10"
    return lambda query: connection.execute(sql, (query.tobytes(),)).fetchall()
