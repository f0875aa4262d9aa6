"""Whether anything was committed to an SQLite file since a mark, whoever did it.

The header of SQLite's WAL index, in shared memory, is changed by every commit of every process
(``native/module/src/sqlite/wal_index.rs`` says why that is enough). A look at it costs some 10 ns, a read by SQLite
some 5000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table

from .. import _native
from ..binding import Binding
from ..binding.on_engine import EngineBinding
from ..errors import DriverError, ExtensionUnavailable
from ..lending import DetachedLender, DriverCursor, translated_errors

__all__ = ["Watch"]

_SHADOWED = "SELECT count(*) FROM sqlite_temp_master WHERE lower(name) = lower(?)"
_ORDINARY = (
    "SELECT count(*) FROM main.sqlite_master WHERE lower(name) = lower(?) AND type = 'table' "
    "AND sql NOT LIKE 'CREATE VIRTUAL %'"
)


class Watch:
    """Marks of the state of some tables of one database, for what is kept of them.

    Parameters
    ----------
    binding
        Where the tables are read. Only an engine on an SQLite file in WAL mode can be watched.
    tables
        All that is read.

    Attributes
    ----------
    reason
        Why there are no marks; None where there are.
    native
        Gives the marks. Another one after :meth:`reopened`.

    Notes
    -----
    It keeps one connection of the engine open, and by that the file in WAL mode, until it is closed. In a forked child
    it has to be opened again. Replacing the file while it is open is not noticed, here as in SQLite.
    """

    def __init__(self, binding: Binding, tables: Sequence[Table]) -> None:
        self.reason: str | None = None
        # Without a connection: gives no marks.
        self.native = _native.Watch()
        # An EngineBinding, where anything is watched.
        self._binding: Any = binding
        self._names = [table.name for table in tables]
        elsewhere = {table.schema for table in tables} - {None, "main"}
        if binding.is_joined:
            self.reason = "a Session or Connection reads in its own transaction"
        elif not isinstance(binding, EngineBinding):
            self.reason = "it was opened with read_only=True"
        elif not isinstance(binding._lender, DetachedLender):
            self.reason = "the database is not an SQLite file"
        elif elsewhere:
            self.reason = f"it is in the attached database {elsewhere.pop()}"
        elif binding._held.cursor is None:
            # Otherwise the tables may not be committed yet; what is read first opens too.
            self._open()

    def reopened(self) -> bool:
        """Open again, after a fork or :meth:`suspend`; return whether ``native`` is another one, with marks."""
        if self.reason is not None:
            return False
        try:
            return self._open()
        except DriverError:
            # Such as a busy database: nothing is kept of this read, and the next tries again.
            return False

    def suspend(self) -> None:
        """Let the connection go until :meth:`reopened`."""
        self.native.close()

    def close(self) -> None:
        """Let the connection go for good. Closing twice is harmless."""
        self.reason = "it is closed"
        self.native.close()

    def _open(self) -> bool:
        """Have a connection kept for the WAL index, or say in ``reason`` why not; return whether one is kept."""
        lender = self._binding._lender
        native = _native.Watch()
        kept = lender.take()
        try:
            self.reason = self._refusal(kept) or self._answer(kept, native.token)
            if self.reason is None:
                # Connections that share a cache see transactions of each other, and so older states.
                other = lender.take()
                try:
                    self.reason = self._answer(other, native.token)
                finally:
                    lender.give(other)
        finally:
            if kept.connection.in_transaction:
                # One that is kept must not go on reading: no checkpoint could get past it.
                kept.connection.rollback()
            # SQLite itself keeps it open from here on, if it is needed, until `native` is closed or forgotten.
            kept.connection.close()
        if self.reason is not None or not native.attach():
            return False
        # One thread's replaces another's, which is harmless: both are right.
        self.native = native
        return True

    def _refusal(self, cursor: DriverCursor) -> str | None:
        """Return why a table's contents may change without a commit to the main database."""
        with translated_errors(self._binding.engine):
            for name in self._names:
                shadowed = cursor.connection.execute(_SHADOWED, (name,)).fetchall()[0][0]
                ordinary = cursor.connection.execute(_ORDINARY, (name,)).fetchall()[0][0]
                if shadowed or not ordinary:
                    return "it is not an ordinary table of the main database"
        return None

    def _answer(self, cursor: DriverCursor, token: int) -> str | None:
        """Return why the database of a connection cannot be watched."""
        try:
            with translated_errors(self._binding.engine):
                rows = cursor.connection.execute("SELECT kv_wal_index(?)", (token,)).fetchall()
        except ExtensionUnavailable:
            return "the native extension is not loaded into its connections"
        answer: str | None = rows[0][0]
        return answer
