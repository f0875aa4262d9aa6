"""Speed beside the raw driver, numpy, sqlite-vec and MessagePack packages, in one run: ``make bench``.

Each row is the median of several rounds in which ours and the peers take turns, so that a noisy machine
slows all of them. The ratio is ours to the peer's time: below 1 is faster.

    python benchmarks/run.py [--only packing|kv|columns|vectors] [--rows 100000]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import sqlalchemy
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import kohakuvault
from kohakuvault import ColumnVault, KVault, VectorKVault, doctor
from kohakuvault.extension import open_with
from kohakuvault.packing import pack, unpack

sys.path.insert(0, str(Path(__file__).parent))
from clustered import clustered

Run = Callable[[], object]


def medians(runs: dict[str, Run], rounds: int, inner: int = 1) -> dict[str, float]:
    """Return the median seconds of each run; in each round every run is timed once, ``inner`` times over."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(inner):
                run()
            times[name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(taken) for name, taken in times.items()}


class Report:
    """The table that is printed."""

    def __init__(self) -> None:
        self._table = Table("operation", "ours", "peer", "its time", "ratio", "target")

    def add(self, operation: str, found: dict[str, float], target: str = "", per: int = 1) -> None:
        """Add ``found``, whose first entry is ours, with times divided by ``per``."""
        (_, ours), *peers = found.items()
        for peer, taken in peers or [("", 0.0)]:
            ratio = f"{ours / taken:.2f}" if taken else ""
            self._table.add_row(
                escape(operation), span(ours / per), peer, span(taken / per) if taken else "", ratio, target
            )
            operation, target = "", ""

    def show(self) -> None:
        Console(width=None if sys.stdout.isatty() else 120).print(self._table)


def span(seconds: float) -> str:
    """Return a time in the unit that reads best."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.1f} ns"


def raw(path: Path) -> sqlite3.Connection:
    """Return the driver's own connection with the same settings as the engine's."""
    connection = sqlite3.connect(path, isolation_level=None)
    for name, value in kohakuvault.engine.PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")
    return connection


def bench_packing(report: Report) -> None:
    """Values to bytes and back, in memory; beside packages that lose types."""
    small = {"id": 5, "data": "value_5"}
    user = {"id": 5, "name": "Alice", "score": 1.5, "tags": ["a", "b"], "ok": True, "nested": {"x": [1, 2, 3]}}
    values = {"small dict": (small, 5000), "nested dict": (user, 2000), "1000 nested dicts": ([user] * 1000, 3)}
    for name, (value, inner) in values.items():
        data = pack(value)
        packers: dict[str, Run] = {"pack": partial(pack, value)}
        unpackers: dict[str, Run] = {"unpack": partial(unpack, data)}
        for peer, (encode, decode) in messagepack_peers().items():
            packers[peer] = partial(encode, value)
            unpackers[peer] = partial(decode, encode(value))
        report.add(f"pack, {name}", medians(packers, 25, inner), "≤ 0.41 µs" if value is small else "")
        report.add(f"unpack, {name}", medians(unpackers, 25, inner), "≤ 0.62 µs" if value is small else "")


def messagepack_peers() -> dict[str, tuple[Callable[..., bytes], Callable[..., object]]]:
    """Return the MessagePack packages that are installed: how each packs and unpacks."""
    import msgpack

    peers = {"msgpack": (msgpack.packb, msgpack.unpackb)}
    try:
        import ormsgpack

        peers["ormsgpack"] = (ormsgpack.packb, ormsgpack.unpackb)
    except ImportError:
        pass
    try:
        import msgspec

        peers["msgspec"] = (msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode)
    except ImportError:
        pass
    return peers


def bench_kv(report: Report, folder: Path) -> None:
    """256-byte values, 10,000 keys."""
    path = folder / "kv.db"
    kv = KVault(path)
    value = b"x" * 255
    stored = b"\0" + value  # with its tag
    kv.update({f"key:{number}": value for number in range(10_000)})
    cursor = raw(path).cursor()
    get = "SELECT value FROM kv WHERE key = ?"
    put = "INSERT INTO kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    has = "SELECT 1 FROM kv WHERE key = ?"
    found = medians(
        {
            "kv[key]": lambda: kv["key:5000"],
            "raw cursor": lambda: cursor.execute(get, ("key:5000",)).fetchone()[0],
        },
        25,
        2000,
    )
    report.add("kv[key], 256 bytes", found, "≤ 2 × raw cursor")
    runs: dict[str, Run] = {
        "in": lambda: "key:5000" in kv,
        "raw cursor": lambda: cursor.execute(has, ("key:5000",)).fetchone(),
    }
    report.add("key in kv", medians(runs, 25, 2000))
    runs = {
        "kv[key] =": lambda: kv.__setitem__("key:5000", value),
        "raw cursor": lambda: cursor.execute(put, ("key:5000", stored)),
    }
    report.add("kv[key] = value, autocommit", medians(runs, 25, 300))
    pairs = [(f"key:{number}", value) for number in range(10_000)]

    def executemany() -> None:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.executemany(put, ((key, stored) for key, _ in pairs))
        cursor.execute("COMMIT")

    runs = {"update": lambda: kv.update(pairs), "raw cursor, executemany": executemany}
    report.add("kv.update, a key", medians(runs, 9), per=10_000)
    keys = [key for key, _ in pairs]
    runs = {
        "get_many": lambda: kv.get_many(keys),
        "raw cursor, point reads": lambda: [cursor.execute(get, (key,)).fetchone() for key in keys],
    }
    report.add("kv.get_many, a key", medians(runs, 9), per=10_000)
    runs = {
        "items": lambda: sum(1 for _ in kv.items()),
        "raw cursor, scan": lambda: sum(1 for _ in cursor.execute("SELECT key, value FROM kv ORDER BY id")),
    }
    report.add("kv.items(), a pair", medians(runs, 9), per=10_000)


def bench_columns(report: Report, folder: Path) -> None:
    """One million i64."""
    cv = ColumnVault(folder / "columns.db")
    size = 1_000_000
    numbers = list(range(size))
    array = np.arange(size)
    column = cv.create_column("numbers", "i64")
    scratch = raw(folder / "bytes.db")
    scratch.execute("CREATE TABLE t (data BLOB)")

    def extend(values: object) -> float:
        column.clear()
        start = time.perf_counter()
        column.extend(values)
        return time.perf_counter() - start

    def insert_blob(pack: Callable[[], bytes]) -> float:
        scratch.execute("DELETE FROM t")
        start = time.perf_counter()
        scratch.execute("INSERT INTO t VALUES (?)", (pack(),))
        return time.perf_counter() - start

    for values, name, to_bytes in (
        (numbers, "list", lambda: np.array(numbers, dtype="<i8").tobytes()),
        (array, "array", array.tobytes),
    ):
        rounds = [(extend(values), insert_blob(to_bytes)) for _ in range(9)]
        taken, peer = (statistics.median(times) for times in zip(*rounds, strict=True))
        target = "≥ 20 M/s" if name == "list" else ""
        found = {"extend": taken, "numpy, one blob, raw cursor": peer}
        report.add(f"extend 1M i64 from {name}: {size / taken / 1e6:.0f} M/s", found, target, per=size)
    report.add("read all to a list, an element", medians({"column[:]": lambda: column[:]}, 9), per=size)
    report.add("read all to numpy, an element", medians({"to_numpy": column.to_numpy}, 9), per=size)
    report.add("column[i]", medians({"column[i]": lambda: column[500_000]}, 25, 500))
    report.add("column[i:i+100]", medians({"slice": lambda: column[500_000:500_100]}, 25, 300))
    report.add("column[i] = value", medians({"set": lambda: column.__setitem__(500_000, 1)}, 9, 200))
    report.add("append, autocommit", medians({"append": lambda: column.append(1)}, 9, 200))
    report.add("insert in the middle of 1M", medians({"insert": lambda: column.insert(500_000, 1)}, 9, 20))


def bench_vectors(report: Report, folder: Path, rows: int) -> None:
    """Clustered unit vectors that behave like text embeddings, 384 dimensions, k = 10."""
    documents, queries = clustered(rows, queries=50)
    search = VectorKVault(folder / "vectors.db", dimensions=384, metric="cosine")
    start = time.perf_counter()
    search.insert_many(documents)
    taken = time.perf_counter() - start
    report.add(f"insert_many: {rows / taken / 1e3:.0f} k/s", {"insert_many": taken}, per=rows)

    def numpy_search(query: np.ndarray) -> np.ndarray:
        similarity = documents @ query
        best = np.argpartition(-similarity, 10)[:10]
        return best[np.argsort(-similarity[best])]

    vec = sqlite_vec(documents)
    turn = iter(np.tile(queries, (1000, 1)))
    runs: dict[str, Run] = {
        "search": lambda: search.search(next(turn), 10),
        "numpy X @ q + argpartition": lambda: numpy_search(next(turn)),
    }
    if vec is not None:
        runs["sqlite-vec, vec0 MATCH in memory"] = lambda: vec(next(turn))
    for query in queries[:10]:
        assert [id - 1 for id, _, _ in search.search(query, 10)] == numpy_search(query).tolist()
    report.add(f"exact k-NN, {rows:,} × 384, from the table", medians(runs, 25), "≤ 8 × numpy")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["packing", "kv", "columns", "vectors"])
    parser.add_argument("--rows", type=int, default=100_000, help="vectors (default 100000)")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "packing"):
            bench_packing(report)
        if options.only in (None, "kv"):
            bench_kv(report, folder)
        if options.only in (None, "columns"):
            bench_columns(report, folder)
        if options.only in (None, "vectors"):
            bench_vectors(report, folder, options.rows)
        about = doctor(":memory:")
    report.show()
    versions = {
        "kohakuvault": kohakuvault.__version__,
        "Python": platform.python_version(),
        "SQLite": about.version.removeprefix("SQLite "),
        "SQLAlchemy": sqlalchemy.__version__,
        "numpy": np.__version__,
        "sqlite-vec": version("sqlite-vec"),
    }
    print(", ".join(f"{name} {number}" for name, number in versions.items()) + f"; functions by {about.rung}")


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
