"""Entries of a KV table that wait to be written; see :mod:`kohakuvault.caching.writes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._native import WriteBuffer
from ..binding import Binding
from ..caching.settings import CacheSettings
from ..caching.writes import WriteCache
from ..lending import DriverCursor

__all__ = ["KVWriteCache"]


class KVWriteCache(WriteCache[WriteBuffer]):
    """What waits to be written to one table: entries by their stored keys, in the order in which they were first set.

    Parameters
    ----------
    write
        Writes the entries of a buffer, as part of the transaction of a cursor.

    Attributes
    ----------
    put
        Takes what can wait without ado: key, value, when it expires and whether it may be a pickle; returns whether
        it did. If not, or if it is None, :meth:`offer` does the rest. Only for tables whose types are our own.
    """

    def __init__(self, write: Callable[[DriverCursor, WriteBuffer], None]) -> None:
        super().__init__(WriteBuffer)
        self._put_all = write
        self.put: Callable[[Any, Any, float | None, bool], bool] | None = None

    def _turn(self, binding: Binding, settings: CacheSettings | None) -> None:
        super()._turn(binding, settings)
        # A Session asks to be told of every write, see `_take`.
        self.put = None if settings is None or binding.is_joined else self._buffer.put

    def _write(self, cursor: DriverCursor, waiting: WriteBuffer) -> None:
        self._put_all(cursor, waiting)

    def offer(self, binding: Binding, key: Any, packed: bytes, expires_at: float | None) -> bool:
        """Let an entry, as the driver takes it, wait; return False if it has to be written directly.

        Such are those that are too large to wait, and those whose key the driver takes as no str, bytes or int: a
        float, say, in a table with a key column of the user's own. Raises as :meth:`WriteCache._take`.
        """
        with self._lock:
            settings = self.settings
            if settings is None or type(key) not in (str, bytes, int) or type(packed) is not bytes:
                return False

            def add(buffer: WriteBuffer, most: int) -> bool:
                return buffer.insert(key, packed, expires_at, most)

            return self._take(binding, settings, len(packed), add)

    def forget_parent(self) -> None:
        """Start anew in a forked child."""
        super().forget_parent()
        if self.put is not None:
            self.put = self._buffer.put
