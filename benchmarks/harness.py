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
# Name of who was timed → seconds in each round; None where it cannot do that. The first is ours.
Found = dict[str, "list[float] | None"]


def timed(run: Run, inner: int = 1) -> Timer:
    """Return a timer of ``run``: the seconds of one call, of ``inner`` in a row."""

    def timer() -> float:
        start = time.perf_counter()
        for _ in range(inner):
            run()
        return (time.perf_counter() - start) / inner

    return timer


def in_turns(timers: dict[str, Timer], rounds: int) -> Found:
    """Return the times of each timer; after a round that is not counted, all take turns in every round."""
    found: Found = {name: None if timer() is None else [] for name, timer in timers.items()}
    for _ in range(rounds):
        for name, times in found.items():
            if times is not None:
                seconds = timers[name]()
                assert seconds is not None
                times.append(seconds)
    return found


def runs_in_turns(runs: dict[str, Run], rounds: int, inner: int = 1) -> Found:
    """Return the times of each run; in each round every run is timed once, ``inner`` times over."""
    return in_turns({name: timed(run, inner) for name, run in runs.items()}, rounds)


@dataclass(frozen=True)
class Target:
    """What our time should be at most: ``at_most`` times the peer's, or seconds where there is no peer."""

    text: str
    at_most: float
    peer: str | None = None

    def is_met(self, row: Row) -> bool | None:
        """Return None where it cannot be said."""
        reached = row.seconds(row.ours) if self.peer is None else row.ratio(self.peer)
        return None if reached is None else reached <= self.at_most


def times_raw(factor: float) -> Target:
    """At most ``factor`` times the raw cursor's time."""
    return Target(f"≤ {factor:.1f} × raw cursor", factor, "raw cursor")


def as_fast(factor: float, peer: str) -> Target:
    """At least ``factor`` times the peer's speed."""
    return Target(f"≥ {factor:.1f} × {peer}", 1 / factor, peer)


@dataclass
class Row:
    """What was found for one operation, ``per`` of which were timed at once."""

    operation: str
    found: Found
    target: Target | None
    per: int

    @property
    def ours(self) -> str:
        return next(iter(self.found))

    @property
    def peers(self) -> list[str]:
        return list(self.found)[1:]

    def seconds(self, name: str) -> float | None:
        """Return the median time."""
        times = self.found.get(name)
        return None if times is None else statistics.median(times) / self.per

    def ratio(self, peer: str) -> float | None:
        """Return the median of our time divided by the peer's of the same round, in which the machine was the same."""
        ours, theirs = self.found[self.ours], self.found.get(peer)
        if ours is None or theirs is None:
            return None
        return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


@dataclass
class _Section:
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Report:
    """The tables that are printed, one for each section, and their figures."""

    def __init__(self) -> None:
        self._sections: list[_Section] = []

    def section(self, title: str) -> None:
        self._sections.append(_Section(title))

    def add(self, operation: str, found: Found, target: Target | None = None, per: int = 1) -> None:
        """Add ``found``, whose first entry is ours, with times divided by ``per``."""
        self._sections[-1].rows.append(Row(operation, found, target, per))

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
            "Medians. In brackets: our time divided by theirs of the same round; below 1, ours is faster. "
            "–: not timed, or no such operation.\nTargets: ≤ n × is of time, ≥ n × of speed.",
            highlight=False,
        )

    @staticmethod
    def _table(section: _Section) -> Table:
        peers = list(dict.fromkeys(name for row in section.rows for name in row.peers))
        table = Table(title=section.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("operation", no_wrap=True)
        for name in ("ours", *peers):
            table.add_column(escape(name), justify="right")
        table.add_column("target", no_wrap=True)
        table.add_column("met")
        for row in section.rows:
            ours = row.seconds(row.ours)
            target, met = ("", "") if row.target is None else (row.target.text, _verdict(row.target.is_met(row)))
            cells = (_beside(row.seconds(peer), row.ratio(peer)) for peer in peers)
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
                        "seconds": {"ours": row.seconds(row.ours), **{peer: row.seconds(peer) for peer in row.peers}},
                        "ratio": {peer: row.ratio(peer) for peer in row.peers},
                        "target": row.target and row.target.text,
                        "met": row.target and row.target.is_met(row),
                    }
                    for row in section.rows
                ],
            }
            for section in self._sections
        ]


def _verdict(met: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[met]


def _beside(theirs: float | None, ratio: float | None) -> str:
    if theirs is None:
        return "–"
    return span(theirs) if ratio is None else f"{span(theirs)} ({ratio:.2f})"


def span(seconds: float) -> str:
    """Return a time in the unit that reads best."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
