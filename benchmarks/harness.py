"""What the benchmarks share: timing in turns, medians, and the tables that are printed."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Run = Callable[[], object]
# Times something itself and returns the seconds; None where there is nothing to time.
Timer = Callable[[], "float | None"]
# Name of who was timed → seconds; None where it cannot do that. The first is ours.
Found = dict[str, "float | None"]


def timed(run: Run, inner: int = 1) -> Timer:
    """Return a timer of ``run``: the seconds of one call, of ``inner`` in a row."""

    def timer() -> float:
        start = time.perf_counter()
        for _ in range(inner):
            run()
        return (time.perf_counter() - start) / inner

    return timer


def in_turns(timers: dict[str, Timer], rounds: int) -> Found:
    """Return the median of each timer; after a round that is not counted, all take turns in every round."""
    able = {name: timer for name, timer in timers.items() if timer() is not None}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, timer in able.items():
            seconds = timer()
            assert seconds is not None
            times[name].append(seconds)
    return {name: statistics.median(times[name]) if name in able else None for name in timers}


def medians(runs: dict[str, Run], rounds: int, inner: int = 1) -> Found:
    """Return the median seconds of each run; in each round every run is timed once, ``inner`` times over."""
    return in_turns({name: timed(run, inner) for name, run in runs.items()}, rounds)


@dataclass(frozen=True)
class Target:
    """What our time should be at most: ``at_most`` times the peer's, or seconds where there is no peer."""

    text: str
    at_most: float
    peer: str | None = None

    def is_met(self, found: Found) -> bool | None:
        """Return None where it cannot be said."""
        ours = next(iter(found.values()))
        theirs = 1.0 if self.peer is None else found.get(self.peer)
        return None if ours is None or theirs is None else ours <= self.at_most * theirs


def times_raw(factor: float) -> Target:
    """At most ``factor`` times the raw cursor's time."""
    return Target(f"≤ {factor:.1f} × raw cursor", factor, "raw cursor")


def as_fast(factor: float, peer: str) -> Target:
    """At least ``factor`` times the peer's speed."""
    return Target(f"≥ {factor:.1f} × {peer}", 1 / factor, peer)


@dataclass
class _Row:
    operation: str
    found: Found
    target: Target | None


@dataclass
class _Section:
    title: str
    rows: list[_Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Report:
    """The tables that are printed, one for each section, and their figures."""

    def __init__(self) -> None:
        self._sections: list[_Section] = []

    def section(self, title: str) -> None:
        self._sections.append(_Section(title))

    def add(self, operation: str, found: Found, target: Target | None = None, per: int = 1) -> None:
        """Add ``found``, whose first entry is ours, with times divided by ``per``."""
        each = {name: None if seconds is None else seconds / per for name, seconds in found.items()}
        self._sections[-1].rows.append(_Row(operation, each, target))

    def note(self, text: str) -> None:
        """Add a line below the section."""
        self._sections[-1].notes.append(text)

    def show(self) -> None:
        console = Console(width=None if sys.stdout.isatty() else 150)
        for section in self._sections:
            console.print(self._table(section))
            for text in section.notes:
                console.print(escape(f"  {text}"), highlight=False)
        console.print(
            "In brackets: our time divided by theirs; below 1, ours is faster. –: its API has no such operation.\n"
            "Targets: ≤ n × is of time, ≥ n × of speed.",
            highlight=False,
        )

    @staticmethod
    def _table(section: _Section) -> Table:
        peers = list(dict.fromkeys(name for row in section.rows for name in list(row.found)[1:]))
        table = Table(title=section.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("operation", no_wrap=True)
        for name in ("ours", *peers):
            table.add_column(escape(name), justify="right")
        table.add_column("target", no_wrap=True)
        table.add_column("met")
        for row in section.rows:
            ours, *_ = row.found.values()
            target, met = ("", "") if row.target is None else (row.target.text, _verdict(row.target.is_met(row.found)))
            cells = (_beside(ours, row.found.get(peer)) for peer in peers)
            table.add_row(escape(row.operation), "not yet" if ours is None else span(ours), *cells, target, met)
        return table

    def figures(self) -> list[dict[str, Any]]:
        """Return all that :meth:`show` prints as plain values; times in seconds."""
        return [
            {
                "section": section.title,
                "notes": section.notes,
                "rows": [
                    {
                        "operation": row.operation,
                        "seconds": dict(zip(("ours", *list(row.found)[1:]), row.found.values(), strict=True)),
                        "target": row.target and row.target.text,
                        "met": row.target and row.target.is_met(row.found),
                    }
                    for row in section.rows
                ],
            }
            for section in self._sections
        ]


def _verdict(met: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[met]


def _beside(ours: float | None, theirs: float | None) -> str:
    if theirs is None:
        return "–"
    return span(theirs) if ours is None else f"{span(theirs)} ({ours / theirs:.2f})"


def span(seconds: float) -> str:
    """Return a time in the unit that reads best."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
