"""Writes that wait in memory until many of them go to the database in one transaction.

What holds at any moment: a read through any container with the same bind sees what waits; a write stops waiting only
after its commit; a flush that fails keeps all of it and raises.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from ..binding import Binding
from ..errors import InvalidArgument
from ..lending import DriverCursor
from . import unwritten
from .regularly import RegularFlush
from .settings import CacheSettings

__all__ = ["Buffer", "WriteCache"]


class Buffer(Protocol):
    """What holds the writes that wait, safe to use from several threads."""

    @property
    def entries(self) -> int:
        """How many there are."""

    @property
    def bytes(self) -> int:
        """Memory that they take, about."""

    def admit(self, limit: int, /) -> None:
        """Say how large it may become by what is put into it without the cache's lock; 0 for not at all."""

    def clear(self) -> int:
        """Forget all; return what a flush is to tell that it has written."""


Waiting = TypeVar("Waiting", bound=Buffer)


class WriteCache(Generic[Waiting]):
    """What waits to be written to the tables of one kind of container, shared by all that have one bind.

    Parameters
    ----------
    make
        Returns a new buffer.

    Attributes
    ----------
    settings
        None while writes go straight to the database.
    waiting
        The buffer while something waits; None if nothing does. Reading it needs no lock.
    error
        Why the last flush in the background failed; None if it did not.
    regularly
        What flushes in the background, or None.

    Notes
    -----
    Only who has the lock begins to let writes wait, or ends it: a buffer takes nothing by itself while nothing waits,
    and during a flush.
    """

    def __init__(self, make: Callable[[], Waiting]) -> None:
        self.settings: CacheSettings | None = None
        self.waiting: Waiting | None = None
        self.error: BaseException | None = None
        self.regularly: RegularFlush | None = None
        self._make = make
        self._buffer = make()
        self._lock = threading.RLock()
        self._holds = 0
        unwritten.watch_forks(self)

    def _write(self, cursor: DriverCursor, waiting: Waiting) -> None:
        """Write what waits, as part of the transaction of a cursor."""
        raise NotImplementedError

    @property
    def entries(self) -> int:
        """How many writes wait."""
        return self._buffer.entries

    @property
    def waiting_bytes(self) -> int:
        """Memory that they take, about."""
        return self._buffer.bytes

    @property
    def is_held(self) -> bool:
        """Whether no write flushes by itself now."""
        return self._holds > 0

    def begin(self, binding: Binding, settings: CacheSettings) -> CacheSettings | None:
        """Flush and let writes wait from now on, with these settings; return those before."""
        with self._lock:
            self.flush(binding)
            before = self.settings
            self._turn(binding, settings)
            return before

    def end(self, binding: Binding, settings: CacheSettings | None) -> None:
        """Go back to ``settings``, None for no waiting, and flush.

        What a flush that fails leaves waiting is written before the next write that does not wait.
        """
        with self._lock:
            self._turn(binding, settings)
            self.flush(binding)

    def _turn(self, binding: Binding, settings: CacheSettings | None) -> None:
        self.settings = settings
        self._admit()
        if self.regularly is not None:
            self.regularly.stop()
            self.regularly = None

    def _take(self, binding: Binding, settings: CacheSettings, size: int, add: Callable[[Waiting, int], bool]) -> bool:
        """Let a write of ``size`` bytes wait; return False if it is too large for that. Needs the lock.

        Parameters
        ----------
        add
            Puts it into the buffer if that does not become larger than a number of bytes, and returns whether it did.

        Raises
        ------
        InvalidArgument
            when it would take the cache beyond ``cap_bytes`` while flushing is held back.
        KohakuVaultError
            of a flush that was due and failed. The new write is not taken then; the others still wait.
        """
        if binding.is_joined:
            # Every time: a Session begins its savepoints only when its connection is asked for.
            binding.keep_waiting(self)
        if self._add(binding, settings, self._most(settings), add):
            return True
        if self._holds or not settings.auto_flush:
            raise InvalidArgument(
                f"{self.waiting_bytes} bytes wait in the cache and a value of {size} more would exceed "
                f"cap_bytes={settings.cap_bytes} while flushing is held back by lock_cache() or auto_flush=False: "
                "call flush_cache()"
            )
        self.flush(binding)
        return self._add(binding, settings, settings.cap_bytes, add)

    def _add(self, binding: Binding, settings: CacheSettings, most: int, add: Callable[[Waiting, int], bool]) -> bool:
        """Let a write wait if no more than ``most`` bytes wait then; return whether it does."""
        most = min(most, sys.maxsize)
        if self.waiting is not None:
            return add(self._buffer, most)
        # Before the first: from then on other threads may add theirs, and read them.
        self._begin(binding, settings)
        try:
            return add(self._buffer, most)
        finally:
            if not self._buffer.entries:
                self._written()

    def _begin(self, binding: Binding, settings: CacheSettings) -> None:
        if not binding.is_joined:
            unwritten.remember(self, binding)
        interval = settings.flush_interval
        if interval is not None and (self.regularly is None or not self.regularly.is_running):
            self.regularly = RegularFlush(self, interval)
            self.regularly.start()
        self.waiting = self._buffer

    def _most(self, settings: CacheSettings | None) -> int:
        """Return what may wait before a write flushes first, or is refused."""
        if settings is None:
            return 0
        return settings.cap_bytes if self._holds or not settings.auto_flush else settings.flush_threshold

    def _admit(self) -> None:
        self._buffer.admit(min(self._most(self.settings), sys.maxsize))

    def flush(self, binding: Binding) -> int:
        """Write all that waits in one transaction; return what the buffer counts."""
        with self._lock:
            if self.waiting is None:
                return 0
            if not binding.may_wait:
                raise InvalidArgument(
                    "writes of other threads wait in the cache and would become part of this thread's transaction() or "
                    "snapshot(): flush, enable or disable the cache outside of it"
                )
            # What other threads add meanwhile waits for the lock: it is neither lost nor taken for written.
            self._buffer.admit(0)
            outcome = None
            try:
                with binding.writing() as cursor:
                    outcome = cursor.outcome
                    self._write(cursor, self._buffer)
                return self._written()
            except BaseException:
                # An interrupt may come when all of it is committed, and what is appended must not be written twice.
                if outcome is not None and outcome.committed:
                    self._written()
                raise
            finally:
                self._admit()

    def flush_on(self, cursor: DriverCursor) -> None:
        """Write all that waits by ``cursor``, whose transaction it is part of."""
        with self._lock:
            if self.waiting is not None:
                self._write(cursor, self._buffer)
                self._written()

    def drop(self) -> None:
        """Forget what waits: the transaction that it is part of was rolled back."""
        with self._lock:
            self._written()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Return a context in which no write flushes by itself."""
        with self._lock:
            self._holds += 1
            self._admit()
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1
                self._admit()

    def _written(self) -> int:
        count = self._buffer.clear()
        self.waiting = None
        unwritten.forget(self)
        return count

    def forget_parent(self) -> None:
        """Start anew in a forked child: the parent writes what waited at the fork."""
        self._lock = threading.RLock()
        self._holds = 0
        self.regularly = None
        # Another thread may have had the lock inside the other one.
        self._buffer = self._make()
        self._admit()
        self._written()
