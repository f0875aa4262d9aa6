"""``ColumnVault``: one million i64, beside numpy and one blob."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import raw
from harness import Found, Report, Target, runs_in_turns
from kohakuvault import ColumnVault


def bench(report: Report, folder: Path) -> None:
    """Add the rows of a column of one million i64."""
    report.section("ColumnVault: 1M i64, an element or an operation")
    cv = ColumnVault(folder / "columns.db")
    size = 1_000_000
    numbers = list(range(size))
    array = np.arange(size)
    column = cv.create_column("numbers", "i64")
    scratch = raw.connect(folder / "bytes.db")
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
        taken, peer = (list(times) for times in zip(*rounds, strict=True))
        target = Target("≥ 20 M/s", 1 / 20e6) if name == "list" else None
        found: Found = {"extend": taken, "numpy, one blob, raw cursor": peer}
        report.add(f"extend from {name}: {size / statistics.median(taken) / 1e6:.0f} M/s", found, target, per=size)
    report.add("read all to a list, an element", runs_in_turns({"column[:]": lambda: column[:]}, 9), per=size)
    report.add("read all to numpy, an element", runs_in_turns({"to_numpy": column.to_numpy}, 9), per=size)
    report.add("column[i]", runs_in_turns({"column[i]": lambda: column[500_000]}, 25, 500))
    report.add("column[i:i+100]", runs_in_turns({"slice": lambda: column[500_000:500_100]}, 25, 300))
    report.add("column[i] = value", runs_in_turns({"set": lambda: column.__setitem__(500_000, 1)}, 9, 200))
    report.add("append, autocommit", runs_in_turns({"append": lambda: column.append(1)}, 9, 200))
    report.add("insert in the middle of 1M", runs_in_turns({"insert": lambda: column.insert(500_000, 1)}, 9, 20))
