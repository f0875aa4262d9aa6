"""Writes to a KVault that wait in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from typing_extensions import Self

from ..errors import InvalidArgument
from .base import KVBase
from .write_cache import CacheSettings

__all__ = ["KVCaching"]

_CAP_BYTES = 64 << 20


class KVCaching(KVBase):
    """The part of :class:`~kohakuvault.KVault` that lets writes wait."""

    _has_enabled = False

    @contextmanager
    def cache(
        self,
        cap_bytes: int = _CAP_BYTES,
        flush_threshold: int | None = None,
        auto_flush: bool = True,
        *,
        flush_interval: float | None = None,
    ) -> Iterator[Self]:
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
        settings = self._settings(cap_bytes, flush_threshold, flush_interval, auto_flush)
        binding = self.binding
        before = self._writes.begin(binding, settings)
        try:
            yield self
        finally:
            self._writes.end(binding, before)

    def enable_cache(
        self,
        cap_bytes: int = _CAP_BYTES,
        flush_threshold: int | None = None,
        flush_interval: float | None = None,
        auto_flush: bool = True,
    ) -> None:
        """Let writes wait until :meth:`disable_cache` or :meth:`close`; see :meth:`cache`. Again: with other limits."""
        self._writes.begin(self.binding, self._settings(cap_bytes, flush_threshold, flush_interval, auto_flush))
        self._has_enabled = True

    def disable_cache(self, *, discard: bool = False) -> None:
        """Write what waits, or forget it with ``discard``, and every write directly from now on.

        If writing fails what waits still does, and is written before the next write.
        """
        self._has_enabled = False
        if discard:
            self._writes.drop()
        self._writes.end(self.binding, None)

    def flush_cache(self) -> int:
        """Write what waits, in one transaction; return how many entries. If it fails, all of it still waits."""
        return self._writes.flush(self.binding)

    def lock_cache(self) -> AbstractContextManager[None]:
        """Return a context in which ``kv[key] = value`` and ``put`` never flush by themselves.

        Reads of more than one key, and all other writes, flush in it too.
        """
        return self._writes.held()

    @property
    def background_flush_error(self) -> BaseException | None:
        """Why the last flush by ``flush_interval`` failed, None if it did not. What it was to write still waits."""
        return self._writes.error

    def close(self) -> None:
        """Let the database go, after writing what waits; see :meth:`Container.close`."""
        if self._binding is not None:
            if self._has_enabled:
                self.disable_cache()
            if self._writes.waiting:
                self._settled  # noqa: B018 (writes)
        super().close()

    def _settings(
        self, cap_bytes: int, flush_threshold: int | None, flush_interval: float | None, auto_flush: bool
    ) -> CacheSettings:
        binding = self.binding
        binding.check_may_cache()
        if flush_interval is not None and binding.is_joined:
            raise InvalidArgument(
                "flush_interval needs a thread of its own, and a Session or Connection is of one thread only: leave it "
                "out, or bind the vault to the engine"
            )
        if flush_threshold is None and type(cap_bytes) is int:
            flush_threshold = max(cap_bytes // 4, 1)
        return CacheSettings(cap_bytes, flush_threshold, flush_interval, auto_flush)  # type: ignore[arg-type]
