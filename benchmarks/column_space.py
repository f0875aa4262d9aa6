"""What columns take: memory while iterating, and bytes of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from column_operations import ColumnOperations, element_of
from column_stores import Ours
from harness import BYTES, TIMES, Report, Target
from memory import in_new_process
from peers import UPSTREAM, Peer

ITERATED = 10_000_000
FLAT = Target("≤ 16 MB", 16e6)
PACKED_BYTES = 8_000_000
SMALL_FILE = Target("≤ 1.05 × packed", 1.05)


def bench(report: Report, folder: Path, stores: dict[str, ColumnOperations], others: list[Peer]) -> None:
    """Add a row of memory, and one of the file for each dtype whose elements are of one size."""
    report.section("ColumnVault: space")
    add_memory(report, folder / "iterated", compared=bool(others))
    for dtype in ("i64", "u8", "f64", "vec:f32:768", "vec:u8:28:28"):
        kind, shape = element_of(dtype)
        element_bytes = kind.itemsize * int(np.prod(shape))
        length = PACKED_BYTES // element_bytes
        sizes = {"ours": stores["ours"].file_bytes(dtype, length)}
        sizes |= {peer.name: peer.ask("file_bytes", dtype, length) for peer in others}
        sizes["raw cursor"] = stores["raw cursor"].file_bytes(dtype, length)
        found = {name: [size / (length * element_bytes)] for name, size in sizes.items()}
        report.add(f"file of {length:,} {dtype}, of packed bytes", found, SMALL_FILE, unit=TIMES)


def add_memory(report: Report, folder: Path, *, compared: bool) -> None:
    """What iterating takes of a process that has only opened the file, which another has filled."""
    folder.mkdir()
    ours = str(folder / "ours.db")
    in_new_process(_ours, ours, "fill")
    growths = {"ours": in_new_process(_ours, ours, "memory")}
    if compared:
        for operation in ("fill", "memory"):
            with Peer("column", UPSTREAM, folder) as fresh:
                growths[UPSTREAM] = fresh.ask(operation, "i64", ITERATED)
    found = {name: None if growth is None else [float(growth["private"])] for name, growth in growths.items()}
    report.add(f"for x in col, {ITERATED:,} i64: private memory", found, FLAT, unit=BYTES)


def _ours(path: str, operation: str) -> Any:
    return getattr(Ours(path), operation)("i64", ITERATED)
