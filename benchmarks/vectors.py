"""``VectorKVault`` beside numpy in memory and sqlite-vec, in a minute; vector_bench.py has the rest."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustered import clustered
from harness import Report, Run, Target, as_fast, runs_in_turns
from kohakuvault import VectorKVault
from kohakuvault.extension import open_with

NUMPY = "numpy X @ q + argpartition"
VEC = "sqlite-vec, vec0 MATCH in memory"
K = 10

# Index, what is printed, what should be reached.
KINDS: list[tuple[str | None, str, tuple[Target, ...]]] = [
    (None, "no index", (Target("≤ 7 × numpy", 7, NUMPY),)),
    ("exact", "exact", (Target("≤ 2.5 × numpy", 2.5, NUMPY), as_fast(4, VEC))),
    ("rabitq", "rabitq", (Target("≤ 3 ms", 3e-3), as_fast(20, VEC))),
]


def bench(report: Report, folder: Path, rows: int) -> None:
    """Clustered unit vectors that behave like text embeddings, 384 dimensions, k = 10."""
    report.section(f"VectorKVault: {rows:,} × 384")
    documents, queries = clustered(rows, queries=50)

    def numpy_search(query: np.ndarray) -> np.ndarray:
        similarity = documents @ query
        best = np.argpartition(-similarity, K)[:K]
        return best[np.argsort(-similarity[best])]

    vec = sqlite_vec(documents)
    for index, label, targets in KINDS:
        search = VectorKVault(folder / f"{label}.db", dimensions=384, metric="cosine", index=index)
        start = time.perf_counter()
        search.insert_many(documents)
        taken = time.perf_counter() - start
        report.add(f"{label}: insert_many, {rows / taken / 1e3:.0f} k/s", {"insert_many": [taken]}, per=rows)
        hits = [np.isin([id - 1 for id, _, _ in search.search(query, K)], numpy_search(query)) for query in queries]
        runs = {"search": searching(search.search, queries), NUMPY: searching(numpy_search, queries)}
        if vec is not None:
            runs[VEC] = searching(vec, queries)
        report.add(f"{label}: search, recall@10 {np.mean(hits):.3f}", runs_in_turns(runs, 25), *targets)
        search.close()


def searching(search: Callable[[np.ndarray], object], queries: np.ndarray) -> Run:
    """Return a run that searches for another of the queries each time."""
    turn = iter(np.tile(queries, (1000, 1)))
    return lambda: search(next(turn))


def sqlite_vec(documents: np.ndarray) -> Callable[[np.ndarray], object] | None:
    """Return a search of sqlite-vec's, where it is installed."""
    try:
        import sqlite_vec
    except ImportError:
        return None
    connection = open_with(sqlite3.dbapi2, [(sqlite_vec.loadable_path(), "sqlite3_vec_init")])
    connection.execute("CREATE VIRTUAL TABLE v USING vec0(e float[384] distance_metric=cosine)")
    connection.executemany("INSERT INTO v (e) VALUES (?)", ((row.tobytes(),) for row in documents))
    sql = f"SELECT rowid, distance FROM v WHERE e MATCH ? AND k = {K}"
    return lambda query: connection.execute(sql, (query.tobytes(),)).fetchall()
