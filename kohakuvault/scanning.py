"""Reading many rows in order: a description that a binding runs as one statement or page by page.

Where a connection has ``kv_collect`` (see :class:`~kohakuvault._native.PageScan`), the driver gets one row for many:
the others are collected inside of SQLite and taken from there as Python objects, at a fraction of the cost. The
results are the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ._native import PageScan
from .errors import CorruptValue
from .lending import DriverCursor
from .statements import Statement

__all__ = ["Scan", "pages", "streamed"]

# Rows of a page: few at first, for whoever wants only some, then as many as make up about so many bytes.
_FIRST, _MOST = 50, 1000
_BYTES = 1 << 20

Run = Callable[..., list[Any]]
Batches = Iterator[Iterable[Any]]


class Scan(Protocol):
    """Rows to be read in the order of their first column, the mark, and what is made of them: the entries."""

    def whole(self, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        """Return the statement for all of them, and its values.

        With ``token`` it gives them to that PageScan instead, and the driver a row for each page.
        """

    def page(self, mark: Any, size: int | None = None, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        """Return the statement for the next ``size`` rows beyond ``mark`` (None: from the start), and its values.

        With ``token`` it gives them to that PageScan, until a page is full, and the driver the last mark of it.
        """

    def bound(self, run: Run) -> None:
        """Ask for the end by ``run``, so that rows added from now on are not part of it."""

    def beside(self, cursor: DriverCursor) -> None:
        """Read by ``cursor``, which sees the same state, whatever else an entry is made of than its row."""

    def entries(self, rows: Iterable[Any]) -> Iterable[Any]:
        """Make entries of rows that the driver gave."""

    def collector(self) -> PageScan | None:
        """Return what makes entries of rows inside of SQLite; None if only Python can make them."""

    def collected(self, collector: PageScan) -> Batches:
        """Give the entries that ``collector`` has."""


def streamed(scan: Scan, cursor: DriverCursor) -> Batches:
    """Read ``scan`` as one statement, which sees one state; in memory there is one page, or row, at a time."""
    collector = scan.collector() if cursor.collects else None
    if collector is None:
        yield scan.entries(cursor.stream(*scan.whole()))
        return
    full = iter(cursor.stream(*scan.whole(collector.token), one_by_one=True))
    ended = False
    while not ended:
        # Drivers may be a row ahead of what they give.
        yield from scan.collected(collector)
        ended = next(full, None) is None
    yield from scan.collected(collector)


def pages(scan: Scan, using: Callable[[], AbstractContextManager[DriverCursor]]) -> Batches:
    """Read ``scan`` page by page, each by a cursor of ``using``, which need not be the one before."""
    mark, size = None, _FIRST
    collector: PageScan | None = None
    while True:
        with using() as cursor:
            if collector is None and cursor.collects:
                collector = scan.collector()
            if collector is None or not cursor.collects:
                statement, values = scan.page(mark, size)
                rows, last, error = cursor.all(statement, *values), None, None
            else:
                statement, values = scan.page(mark, token=collector.token)
                rows, last, error = None, *_last(cursor, statement, values)
        if rows is None:
            assert collector is not None
            yield from scan.collected(collector)
            if error is not None:
                raise error
            if last is None:
                return
            mark = last[0]
            continue
        yield scan.entries(rows)
        if len(rows) < size:
            return
        mark = rows[-1][0]
        # The last column is what may be large.
        taken = sum(len(row[-1]) if isinstance(row[-1], (bytes, str, memoryview)) else 8 for row in rows)
        size = min(max(_BYTES * len(rows) // (taken + 1), 1), _MOST)


def _last(cursor: DriverCursor, statement: Statement, values: Sequence[Any]) -> tuple[Any, CorruptValue | None]:
    """Return the row of the last mark, or why it cannot be read; the rows before it can."""
    try:
        return cursor.one(statement, *values), None
    except CorruptValue as error:
        return None, error
