"""``CSBTree`` and ``SkipList`` beside other ordered maps: 100,000 keys."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import peers
from harness import Report, Target, as_fast, in_turns
from kohakuvault import CSBTree, SkipList
from ordered_operations import Operations
from peers import UPSTREAM

COUNT = 100_000
SORTED = "sortedcontainers"

ROWS: list[tuple[str, str, str, tuple[Target, ...]]] = [
    ("int: insert, random", "insert", "int", (as_fast(2, UPSTREAM), as_fast(4, SORTED))),
    ("int: get, random", "get", "int", (as_fast(2, UPSTREAM),)),
    ("int: insert_many, sorted", "insert_many", "int", (Target("≤ 120 ns", 120e-9),)),
    ("int: range of 100", "ranges", "int", (Target("≤ 6 µs", 6e-6),)),
    ("str: insert, random", "insert", "str", (as_fast(1.5, "BTrees"),)),
    ("str: get, random", "get", "str", (as_fast(1.5, "BTrees"),)),
]


LIST_ROWS: list[tuple[str, str, str, tuple[Target, ...]]] = [
    ("int: insert, random", "insert_into_list", "int", (as_fast(3, UPSTREAM),)),
    ("int: get, random", "get_from_list", "int", (as_fast(3, UPSTREAM),)),
]


class Ours(Operations):
    """CSBTree and SkipList."""

    def new(self, kind: str) -> Any:
        return CSBTree()

    def new_list(self) -> Any:
        return SkipList()

    def inserter(self, tree: Any) -> Any:
        return tree.insert

    def insert_sorted(self, tree: Any, pairs: list[tuple[int, int]]) -> None:
        tree.insert_many(pairs)

    def ranging(self, tree: Any, low: int, high: int) -> Any:
        return tree.range(low, high)


def bench(report: Report, folder: Path, versions: dict[str, str]) -> None:
    """Keys in random order, a value each; per key, or per range."""
    report.section(f"CSBTree: {COUNT:,} keys")
    folder.mkdir(exist_ok=True)
    ours = Ours("", COUNT)
    with peers.started("ordered", folder, COUNT) as others:
        versions.update(peers.versions(others))
        for label, operation, kind, targets in ROWS:
            timers: dict[str, Any] = {"CSBTree": partial(getattr(ours, operation), kind)}
            timers |= {peer.name: peer.timer(operation, kind) for peer in others}
            report.add(label, in_turns(timers, 9), *targets)
        for note in peers.notes(others):
            report.note(note)
        report.section(f"SkipList: {COUNT:,} keys")
        for label, operation, kind, targets in LIST_ROWS:
            timers = {"SkipList": partial(getattr(ours, operation), kind)}
            timers |= {peer.name: peer.timer(operation, kind) for peer in others if peer.name == UPSTREAM}
            report.add(label, in_turns(timers, 9), *targets)
