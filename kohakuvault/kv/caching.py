"""Writes to a KVault that wait in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager

from typing_extensions import Self

from ..caching.face import Caching
from ..caching.settings import settings_for
from .base import KVBase
from .write_cache import KVWriteCache

__all__ = ["KVCaching"]

_CAP_BYTES = 64 << 20


class KVCaching(Caching, KVBase):
    """The part of :class:`~kohakuvault.KVault` that lets writes wait."""

    _writes: KVWriteCache

    def cache(
        self,
        cap_bytes: int = _CAP_BYTES,
        flush_threshold: int | None = None,
        auto_flush: bool = True,
        *,
        flush_interval: float | None = None,
    ) -> AbstractContextManager[Self]:
        """Return a context in which ``kv[key] = value`` and ``put`` wait in memory and are written many at a time.

        Every read sees what waits, also through other KVaults with the same bind. At the end, exception or not, all of
        it is written; a flush that fails raises and keeps what waits, so that it can be tried again. Until it is
        written, other processes and connections do not see it, and a process that is killed loses it.

        Bound to a Session or Connection, what waits is part of its transaction: written before the commit, before a
        savepoint and before other statements, forgotten with a rollback. Inside ``transaction()`` writes do not wait.

        Parameters
        ----------
        cap_bytes
            The memory that may be taken, in bytes: of keys and packed values, and 200 for each entry. An entry larger
            than that is written directly.
        flush_threshold
            Bytes that wait before the next write flushes first; a quarter of ``cap_bytes`` by default.
        auto_flush
            False: only the end and :meth:`flush_cache` flush; writing more than ``cap_bytes`` is an error.
        flush_interval
            Seconds after which a thread in the background flushes; see :attr:`background_flush_error`.

        >>> from kohakuvault import KVault
        >>> kv = KVault(":memory:")
        >>> with kv.cache():
        ...     for number in range(1000):
        ...         kv[number] = number
        >>> len(kv)
        1000
        """
        return self._cached(settings_for(self.binding, cap_bytes, flush_threshold, flush_interval, auto_flush))

    def enable_cache(
        self,
        cap_bytes: int = _CAP_BYTES,
        flush_threshold: int | None = None,
        flush_interval: float | None = None,
        auto_flush: bool = True,
    ) -> None:
        """Let writes wait until :meth:`disable_cache` or :meth:`close`; see :meth:`cache`. Again: with other limits."""
        self._enable(settings_for(self.binding, cap_bytes, flush_threshold, flush_interval, auto_flush))

    def flush_cache(self) -> int:
        """Write what waits, in one transaction; return how many entries. If it fails, all of it still waits."""
        return self._writes.flush(self.binding)
