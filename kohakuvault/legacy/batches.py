"""Rows on their way into a table: many at a time, one by one where some are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InvalidArgument, KohakuVaultError, UnsupportedType
from .report import ItemReport

__all__ = ["Batches"]

# Of one batch, rows and about bytes.
_ROWS = 1000
_BYTES = 1 << 22

# PostgreSQL's "program limit exceeded": a text, say, with too many words for its index.
_LIMIT = "54000"


class Batches:
    """Collects rows and gives them to ``write``; counts those that are written, and those that it refuses.

    Parameters
    ----------
    write
        Writes rows, all of them or none.
    report
        Of the table.
    written
        Called with the number of rows that are done with, of all batches so far.
    """

    def __init__(
        self, write: Callable[[Sequence[Any]], Any], report: ItemReport, written: Callable[[int], None]
    ) -> None:
        self._write = write
        self._report = report
        self._written = written
        self._rows: list[tuple[Any, Any]] = []
        self._bytes = 0
        self.done = 0

    def add(self, place: Any, row: Any, size: int) -> None:
        """Add a row, which is called ``place`` and was of ``size`` bytes."""
        self._rows.append((place, row))
        self._bytes += size
        if len(self._rows) >= _ROWS or self._bytes >= _BYTES:
            self.flush()

    def skip(self, count: int = 1) -> None:
        """Count rows that are done with, and not taken."""
        self.done += count

    def flush(self) -> None:
        """Write what was collected."""
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows and not self._try([row for _, row in rows]):
            for place, row in rows:
                refusal = self._refusal([row])
                if refusal is not None:
                    self._report.refuse(f"cannot be stored: {refusal}", place)
        self.done += len(rows)
        self._written(self.done)

    def _try(self, rows: Sequence[Any]) -> bool:
        return self._refusal(rows) is None

    def _refusal(self, rows: Sequence[Any]) -> str | None:
        try:
            self._write(rows)
        except KohakuVaultError as error:
            cause: Any = getattr(error.__cause__, "orig", error.__cause__)
            is_limit = getattr(cause, "sqlstate", None) == _LIMIT
            if not (is_limit or isinstance(error, (InvalidArgument, UnsupportedType))):
                raise
            return " ".join(str(error).split())[:200]
        self._report.taken += len(rows)
        return None
