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
# Name of who was timed → seconds in each round, or another figure; None where it cannot do that. The first is ours.
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


def span(seconds: float) -> str:
    """Return a time in the unit that reads best, with three digits."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        count = seconds * factor
        if count >= 1:
            return f"{count:.{2 if count < 10 else 1 if count < 100 else 0}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


@dataclass(frozen=True)
class Unit:
    """What a row's figures are, and how they are written; of each kind less is better."""

    name: str
    show: Callable[[float], str]


SECONDS = Unit("s", span)
BYTES = Unit("B", lambda size: f"{size / 1e6:.1f} MB")
TIMES = Unit("×", lambda factor: f"{factor:.3f} ×")


@dataclass(frozen=True)
class Target:
    """What our figure should be at most: ``at_most`` times the peer's, or of itself where there is no peer."""

    text: str
    at_most: float
    peer: str | None = None

    def is_met(self, row: Row) -> bool | None:
        """Return None where it cannot be said."""
        reached = row.median(row.ours) if self.peer is None else row.ratio(self.peer)
        return None if reached is None else reached <= self.at_most


def times_raw(factor: float) -> Target:
    """At most ``factor`` times the raw cursor's time."""
    return Target(f"≤ {factor:g} × raw cursor", factor, "raw cursor")


def as_fast(factor: float, peer: str) -> Target:
    """At least ``factor`` times the peer's speed."""
    return Target(f"≥ {factor:g} × {peer}", 1 / factor, peer)


@dataclass
class Row:
    """What was found for one operation, ``per`` of which were timed at once."""

    operation: str
    found: Found
    targets: tuple[Target, ...]
    per: int
    unit: Unit

    @property
    def ours(self) -> str:
        return next(iter(self.found))

    @property
    def peers(self) -> list[str]:
        return list(self.found)[1:]

    def median(self, name: str) -> float | None:
        """Return the median of the rounds, of one of ``per``."""
        times = self.found.get(name)
        return None if times is None else statistics.median(times) / self.per

    def ratio(self, peer: str) -> float | None:
        """Return the median of our figure divided by the peer's of the same round, when the machine was the same."""
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

    def add(self, operation: str, found: Found, *targets: Target, per: int = 1, unit: Unit = SECONDS) -> None:
        """Add ``found``, whose first entry is ours, with figures divided by ``per``."""
        self._sections[-1].rows.append(Row(operation, found, targets, per, unit))

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
            "Medians. In brackets: our figure divided by theirs of the same round; below 1, ours is faster. "
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
            ours = row.median(row.ours)
            cells = (_beside(row, peer) for peer in peers)
            targets = "\n".join(target.text for target in row.targets)
            met = "\n".join(_verdict(target.is_met(row)) for target in row.targets)
            table.add_row(escape(row.operation), "–" if ours is None else row.unit.show(ours), *cells, targets, met)
        return table

    def figures(self) -> list[dict[str, Any]]:
        """Return all that :meth:`show` prints as plain values."""
        return [
            {
                "section": section.title,
                "notes": section.notes,
                "rows": [
                    {
                        "operation": row.operation,
                        "unit": row.unit.name,
                        "median": {"ours": row.median(row.ours), **{peer: row.median(peer) for peer in row.peers}},
                        "ratio": {peer: row.ratio(peer) for peer in row.peers},
                        "targets": [{"target": target.text, "met": target.is_met(row)} for target in row.targets],
                    }
                    for row in section.rows
                ],
            }
            for section in self._sections
        ]


def _verdict(met: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[met]


def _beside(row: Row, peer: str) -> str:
    theirs, ratio = row.median(peer), row.ratio(peer)
    if theirs is None:
        return "–"
    if ratio is None:
        return row.unit.show(theirs)
    return f"{row.unit.show(theirs)} ({ratio:.2f})" if ratio >= 0.1 else f"{row.unit.show(theirs)} ({ratio:.2g})"
