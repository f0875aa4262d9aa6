"""The read cache of a table in an SQLite file: packed values in memory, never older than the last commit.

Before each answer the cache looks at the header of SQLite's WAL index, in shared memory, which every commit of every
process changes (``native/module/src/sqlite/wal_index.rs`` says why that is enough). If it has changed, everything
is forgotten and read again. A look costs some 10 ns, a read by SQLite some 5000.
"""

from __future__ import annotations

import weakref
from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.engine import Engine

from .. import _native
from ..binding import Binding
from ..binding.on_engine import EngineBinding
from ..errors import DriverError, ExtensionUnavailable, InvalidArgument
from ..lending import DetachedLender, DriverCursor, translated_errors
from ..statements import Statement
from .expiry import is_over

__all__ = ["ReadCache"]

_SHADOWED = "SELECT count(*) FROM sqlite_temp_master WHERE lower(name) = lower(?)"
_ORDINARY = (
    "SELECT count(*) FROM main.sqlite_master WHERE lower(name) = lower(?) AND type = 'table' "
    "AND sql NOT LIKE 'CREATE VIRTUAL %'"
)

_of_engine: weakref.WeakKeyDictionary[Engine, weakref.WeakSet[ReadCache]] = weakref.WeakKeyDictionary()


class ReadCache:
    """Reads single rows of one table, from memory where the database has not changed since.

    Parameters
    ----------
    binding
        Where the rows are read. Only an engine on an SQLite file in WAL mode can have a cache.
    table
        The table that is read.
    capacity
        Bytes of memory for the entries, about. A value that takes more than a quarter of it is not kept.

    Attributes
    ----------
    reason
        Why nothing is cached; None where something is.

    Notes
    -----
    Coherent with every other writer to the file: processes, connections, Sessions, other programs. Inside of
    ``transaction()`` the thread reads by SQLite, as it sees what it has written. A commit to any table of the file
    empties the cache, so it is for data that is read far more often than anything is written.

    The cache keeps one connection of the engine open, and by that the file in WAL mode; ``engine.dispose()``
    closes it, as does :meth:`close`. A forked child starts with an empty cache and a connection of its own.
    Replacing the file while it is open is not noticed, here as in SQLite.
    """

    def __init__(self, binding: Binding, table: Table, capacity: int) -> None:
        if type(capacity) is not int or capacity <= 0:
            raise InvalidArgument(f"read_cache is a size in bytes, such as 64 * 2**20, not {capacity!r}")
        self.capacity = capacity
        self.reason: str | None = None
        self._table = table
        # An EngineBinding, where anything is read.
        self._binding: Any = binding
        # Without a connection: answers nothing and keeps nothing.
        self._native = _native.ReadCache(capacity)
        if not isinstance(binding, EngineBinding):
            self.reason = "a Session or Connection reads in its own transaction"
        elif not isinstance(binding._lender, DetachedLender):
            self.reason = "the database is not an SQLite file"
        elif table.schema not in (None, "main"):
            self.reason = f"it is in the attached database {table.schema}"
        elif binding._held.cursor is None:
            # Otherwise the table may not be committed yet; the first read that misses opens too.
            self._open()
        if self.reason is None:
            _close_with(binding.engine, self)

    def __repr__(self) -> str:
        state = self.reason or f"{self.entries} entries, {self.hits} hits, {self.misses} misses"
        return f"<ReadCache of {self._table.name!r}: {state}>"

    @property
    def entries(self) -> int:
        """How many keys something is known of."""
        return self._native.entries

    @property
    def bytes(self) -> int:
        """Memory that the entries take, about."""
        return self._native.bytes

    @property
    def hits(self) -> int:
        """Reads that were answered from memory."""
        return self._native.hits

    @property
    def misses(self) -> int:
        """Reads that were not, outside of transactions."""
        return self._native.misses

    def figures(self) -> dict[str, int]:
        """Return ``entries``, ``bytes``, ``hits`` and ``misses``."""
        return {name: getattr(self, name) for name in ("entries", "bytes", "hits", "misses")}

    def read(self, statement: Statement, key: Any) -> Any:
        """Return the packed value of ``key``, or None if there is no such key or it has expired.

        ``statement`` selects by the key the packed value, and when it expires: seconds since 1970, or NULL.
        """
        if self._binding._held.cursor is not None:
            row = self._binding.one(statement, key)
            return None if row is None or is_over(row[1]) else row[0]
        native = self._native
        # Empty bytes, which no packed value is, stand for no such key.
        packed = native.get(key)
        if packed:
            return packed
        if packed is not None:
            return None
        native, mark = self._marked()
        row = self._binding.one(statement, key)
        if row is None:
            native.put(key, None, None, mark)
            return None
        packed, expires_at = row
        native.put(key, packed, expires_at, mark)
        return None if is_over(expires_at) else packed

    def contains(self, statement: Statement, key: Any) -> bool:
        """Return whether there is ``key``. ``statement`` is as for :meth:`read`, with any first column."""
        if self._binding._held.cursor is not None:
            row = self._binding.one(statement, key)
            return row is not None and not is_over(row[1])
        native = self._native
        found = native.contains(key)
        if found is not None:
            return found
        native, mark = self._marked()
        row = self._binding.one(statement, key)
        if row is None:
            native.put(key, None, None, mark)
            return False
        native.put(key, True, row[1], mark)
        return not is_over(row[1])

    def clear(self) -> None:
        """Forget every entry."""
        self._native.clear()

    def close(self) -> None:
        """Forget everything and let the connection go. Closing twice is harmless."""
        self.reason = "it is closed"
        self._native.close()

    def suspend(self) -> None:
        """Let the connection go until something is read."""
        self._native.close()

    def _marked(self) -> tuple[_native.ReadCache, int]:
        """Return the cache, and the mark to be taken before a read: what is committed after it makes that void."""
        native = self._native
        mark = native.mark()
        return self._reopened() if not mark and self.reason is None else (native, mark)

    def _reopened(self) -> tuple[_native.ReadCache, int]:
        """Open again, after ``engine.dispose()`` or in a forked child, and return the new cache with its mark."""
        try:
            self._open()
        except DriverError:
            # Such as a busy database: read without a cache, and try again next time.
            return self._native, 0
        return self._native, self._native.mark()

    def _open(self) -> None:
        """Have a connection kept for the WAL index, or say in ``reason`` why not."""
        binding = self._binding
        native = _native.ReadCache(self.capacity)
        lender = binding._lender
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
        if self.reason is None and native.attach():
            # One thread's replaces another's, which is harmless: both are right.
            self._native = native

    def _refusal(self, cursor: DriverCursor) -> str | None:
        """Return why the table's contents may change without a commit to the main database."""
        name = (self._table.name,)
        with translated_errors(self._binding.engine):
            shadowed = cursor.connection.execute(_SHADOWED, name).fetchall()[0][0]
            ordinary = cursor.connection.execute(_ORDINARY, name).fetchall()[0][0]
        return None if ordinary and not shadowed else "it is not an ordinary table of the main database"

    def _answer(self, cursor: DriverCursor, token: int) -> str | None:
        """Return why the database of a connection cannot be cached."""
        try:
            with translated_errors(self._binding.engine):
                rows = cursor.connection.execute("SELECT kv_wal_index(?)", (token,)).fetchall()
        except ExtensionUnavailable:
            return "the native extension is not loaded into its connections"
        answer: str | None = rows[0][0]
        return answer


def _close_with(engine: Engine, cache: ReadCache) -> None:
    """Have the engine's ``dispose()`` close the connection of ``cache``."""
    if engine not in _of_engine:
        _of_engine[engine] = weakref.WeakSet()
        event.listen(engine, "engine_disposed", _disposed)
    _of_engine[engine].add(cache)


def _disposed(engine: Engine) -> None:
    for cache in list(_of_engine.get(engine, ())):
        cache.suspend()
