"""Appended elements that wait in memory, of all columns of a ColumnVault."""

from __future__ import annotations

from contextlib import AbstractContextManager

from typing_extensions import Self

from ..caching.face import Caching
from ..caching.settings import settings_for
from .write_cache import ColumnWriteCache

__all__ = ["CAP_BYTES", "ColumnVaultCaching"]

CAP_BYTES = 8 << 20


class ColumnVaultCaching(Caching):
    """The part of :class:`~kohakuvault.ColumnVault` that lets elements wait."""

    _writes: ColumnWriteCache
    # Columns that `Column.enable_cache` was called for.
    _enabled_columns: set[int]

    def cache(
        self,
        cap_bytes: int = CAP_BYTES,
        flush_threshold: int | None = None,
        *,
        flush_interval: float | None = None,
        auto_flush: bool = True,
    ) -> AbstractContextManager[Self]:
        """Return a context in which ``append`` and small ``extend`` wait in memory and are written many at a time.

        What waits for all columns is written in one transaction, so that none is ever ahead of another by more than
        what was appended since. Every read, and every other write, through any handle with the same bind comes after
        it was written. At the end, exception or not, all of it is; a flush that fails raises and keeps what waits, so
        that it can be tried again. Until it is written, other processes and connections do not see it, and a process
        that is killed loses it.

        Bound to a Session or Connection, what waits is part of its transaction: written before the commit, before a
        savepoint and before other statements, forgotten with a rollback. Inside ``transaction()`` nothing waits.

        Parameters
        ----------
        cap_bytes
            Bytes of packed elements that may wait, of all columns. Larger elements are written directly.
        flush_threshold
            Bytes that wait before the next write flushes first; a quarter of ``cap_bytes`` by default.
        flush_interval
            Seconds after which a thread in the background flushes; see :attr:`background_flush_error`.
        auto_flush
            False: only the end and :meth:`flush_cache` flush; writing more than ``cap_bytes`` is an error.

        >>> from kohakuvault import ColumnVault
        >>> cv = ColumnVault(":memory:")
        >>> times, values = cv.create_column("time", "i64"), cv.create_column("value", "f64")
        >>> with cv.cache():
        ...     for number in range(1000):
        ...         times.append(number)
        ...         values.append(number / 2)
        >>> len(times), len(values)
        (1000, 1000)
        """
        return self._cached(settings_for(self.binding, cap_bytes, flush_threshold, flush_interval, auto_flush))

    def enable_cache(
        self,
        cap_bytes: int = CAP_BYTES,
        flush_threshold: int | None = None,
        flush_interval: float | None = None,
        auto_flush: bool = True,
    ) -> None:
        """Let elements wait until :meth:`disable_cache` or :meth:`close`; see :meth:`cache`. Again: with other limits.

        :meth:`Column.enable_cache` does so for one column, whose own limits count then.
        """
        self._enable(settings_for(self.binding, cap_bytes, flush_threshold, flush_interval, auto_flush))

    def flush_cache(self) -> int:
        """Write what waits, in one transaction; return how many bytes. If it fails, all of it still waits."""
        return self._writes.flush(self.binding)

    def close(self) -> None:
        """Let the database go, after writing what waits; see :meth:`Container.close`."""
        if self._binding is not None:
            while self._enabled_columns:
                self._writes.end_column(self.binding, self._enabled_columns.pop(), None)
        super().close()
