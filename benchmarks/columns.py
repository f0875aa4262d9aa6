"""``ColumnVault`` beside the earlier package, zarr, h5py, the raw cursor and numpy: i64, str, msgpack and vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import column_space
import peers
from column_operations import ColumnOperations
from column_stores import CACHE_BYTES, Ours, Raw
from harness import Report, Target, Timer, as_fast, in_turns, times_raw
from peers import UPSTREAM, Peer

MILLION = 1_000_000
TEXTS = 300_000
DICTS = 100_000
VECTORS = 10_000

# How often in a round, where others do more, so that a round of none takes seconds.
FEW_READS = {"zarr": 20}
FEW_WRITES = {"zarr": 3}


@dataclass(frozen=True)
class Case:
    """A row: what is printed and run, on which column, how often in a round, rounds, what should be reached."""

    label: str
    operation: str
    dtype: str
    length: int
    targets: tuple[Target, ...] = ()
    count: int = 1
    rounds: int = 7
    fewer: dict[str, int] = field(default_factory=dict)


def upstream(factor: float) -> tuple[Target, ...]:
    return (as_fast(factor, UPSTREAM),)


HOT = (Target("≥ 1 M slices/s", 1e-6),)

# A round that writes is short: in most of them no checkpoint of the WAL (every 1000 pages, with its fsync) falls.
NUMBERS = [
    Case("extend from list", "extend", "i64", MILLION, (*upstream(2.5), Target("≥ 40 M/s", 1 / 40e6))),
    Case("extend from array", "extend_array", "i64", MILLION, upstream(3)),
    Case("read all to list", "read_list", "i64", MILLION, upstream(1.5)),
    Case("read all to numpy", "read_array", "i64", MILLION, upstream(3)),
    Case("col[i], random i", "element", "i64", MILLION, (*upstream(2.5), times_raw(2)), 1000, 31, FEW_READS),
    Case("col[i:i+100]", "slice", "i64", MILLION, upstream(3), 500, 31, FEW_READS),
    Case("the same as numpy, read cache", "hot_slice", "i64", MILLION, HOT, 1000, 31, FEW_READS),
    Case("append, autocommit", "append", "i64", MILLION, upstream(2), 50, 51, FEW_WRITES),
    Case("append, cached, with the flush", "cached_append", "i64", MILLION, upstream(2), 10_000, 15, {"h5py": 500}),
    Case("col[i] = v", "assign", "i64", MILLION, upstream(2), 50, 51, FEW_WRITES),
]

VARYING = [
    Case("str: extend", "extend", "str:utf8", TEXTS, upstream(3)),
    Case("str: read all to list", "read_list", "str:utf8", TEXTS, upstream(2)),
    Case("msgpack: extend", "extend", "msgpack", DICTS, upstream(1.5)),
    Case("msgpack: read all to list", "read_list", "msgpack", DICTS, upstream(1.2)),
    Case("vec:f32:768: extend from array", "extend_array", "vec:f32:768", VECTORS, upstream(2.5)),
    Case("vec:f32:768: read all to numpy", "read_array", "vec:f32:768", VECTORS, upstream(2)),
    Case("vec:f32:768: col[i]", "element", "vec:f32:768", VECTORS, upstream(2.5), 300, 31, FEW_READS),
]


def bench(report: Report, folder: Path, versions: dict[str, str], scale: bool) -> None:
    """Time every row; with ``scale`` also at lengths that show what the cost depends on."""
    folder.mkdir()
    stores: dict[str, ColumnOperations] = {
        "ours": Ours(str(folder / "ours.db")),
        "raw cursor": Raw(str(folder / "raw.db")),
    }
    with peers.started("column", folder) as others:
        versions |= peers.versions(others)
        for title, cases in (
            (f"ColumnVault: {MILLION:,} i64, an element or an operation", NUMBERS),
            ("ColumnVault: insert and delete in the middle, i64", in_the_middle(scale)),
            (f"ColumnVault: {TEXTS:,} str, {DICTS:,} dicts, {VECTORS:,} vectors, an element or an operation", VARYING),
            ("ColumnVault: assigning an element that varies in size", assigning(scale)),
        ):
            report.section(title)
            for case in cases:
                report.add(case.label, in_turns(timers(case, stores, others), case.rounds), *case.targets)
        column_space.bench(report, folder, stores, others)
        about(report, others)


def in_the_middle(scale: bool) -> list[Case]:
    """Return rows whose cost should be proportional to the number of blocks."""
    lengths = [10_000, 100_000, MILLION, *([10 * MILLION] if scale else [])]
    return [
        Case(
            f"{label}, of {length:,}",
            operation,
            "i64",
            length,
            # The earlier package reads and writes the whole column: what it takes for few elements says little.
            upstream(100) if length >= MILLION else (),
            count=20,
            rounds=21 if length < MILLION else 7 if length == MILLION else 2,
            fewer={UPSTREAM: 1 if length >= MILLION else 4},
        )
        for length in lengths
        for label, operation in (("col.insert(i, v)", "insert"), ("del col[i]", "delete"))
    ]


def assigning(scale: bool) -> list[Case]:
    """Return rows whose cost should not depend on the length."""
    lengths = [10_000, 100_000, TEXTS, MILLION] if scale else [TEXTS]
    return [
        Case(
            f"{dtype.split(':')[0]}: col[i] = v, of {length:,}",
            "assign",
            dtype,
            length,
            upstream(100) if length == TEXTS else (),
            count=50,
            rounds=5 if length < TEXTS else 3,
            fewer={**FEW_WRITES, UPSTREAM: 1},
        )
        for dtype in ("str:utf8", "msgpack")
        for length in lengths
    ]


def timers(case: Case, stores: dict[str, ColumnOperations], others: list[Peer]) -> dict[str, Timer]:
    def given(name: str) -> tuple[str, str, int, int]:
        return (case.operation, case.dtype, case.length, case.fewer.get(name, case.count))

    own: dict[str, Timer] = {name: partial(store.run, *given(name)) for name, store in stores.items()}
    peers_own = {peer.name: peer.timer("run", *given(peer.name)) for peer in others}
    return {"ours": own["ours"], **peers_own, "raw cursor": own["raw cursor"]}


def about(report: Report, others: list[Peer]) -> None:
    report.note("Durability of ours, upstream and the raw cursor: WAL, synchronous=NORMAL, a commit survives a crash.")
    report.note(f"ours: page cache and block size as they are; read_cache={CACHE_BYTES >> 20} MB where it is said.")
    report.note(
        "raw cursor: all numbers or vectors as the bytes of a numpy array in one BLOB; one of them, and str and "
        "msgpack, as rows by integer primary key (cached: one executemany); with the read cache: an array in memory."
    )
    for line in peers.notes(others):
        report.note(line)
