"""The read cache of a table in an SQLite file: packed values in memory, never older than the last commit.

Before each answer it is looked whether anything was committed; if so, everything is forgotten and read again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table

from .. import _native
from ..binding import Binding
from ..caching.reads import Reads
from ..statements import Statement
from .expiry import is_over

__all__ = ["ReadCache"]


class ReadCache(Reads[_native.ReadCache]):
    """Reads single rows of one table, from memory where the database has not changed since.

    An entry is what is known of a key. A value that takes more than a quarter of the capacity is not kept.

    Parameters
    ----------
    binding
        Where the rows are read. Only an engine on an SQLite file in WAL mode can have a cache.
    table
        The table that is read.
    capacity
        Bytes of memory for the entries, about.
    """

    def __init__(self, binding: Binding, table: Table, capacity: int) -> None:
        super().__init__(binding, [table], capacity, _native.ReadCache)

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
