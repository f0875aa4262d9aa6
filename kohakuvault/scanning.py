"""Reading many rows in order: a description that a binding runs as one statement or page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .statements import Statement

__all__ = ["Scan", "pages"]

# Rows of a page: few at first, for whoever wants only some, then as many as make up about this many bytes.
_FIRST, _MOST = 50, 1000
_BYTES = 1 << 20

Run = Callable[..., list[Any]]


class Scan(Protocol):
    """Rows to be read in the order of their first column, the mark."""

    def whole(self) -> tuple[Statement, Sequence[Any]]:
        """Return the statement for all of them, and its values."""

    def page(self, mark: Any, size: int) -> tuple[Statement, Sequence[Any]]:
        """Return the statement for the next ``size`` rows beyond ``mark`` (None: from the start), and its values."""

    def bound(self, run: Run) -> None:
        """Ask for the end by ``run``, so that rows added from now on are not part of it."""


def pages(scan: Scan, run: Run) -> Iterator[list[Any]]:
    """Read ``scan`` page by page, running each statement by ``run``."""
    mark, size = None, _FIRST
    while True:
        statement, values = scan.page(mark, size)
        rows = run(statement, *values)
        yield rows
        if len(rows) < size:
            return
        mark = rows[-1][0]
        # The last column is what may be large.
        taken = sum(len(row[-1]) if isinstance(row[-1], (bytes, str, memoryview)) else 8 for row in rows)
        size = min(max(_BYTES * len(rows) // (taken + 1), 1), _MOST)
