"""Writes that wait in memory until many of them go to the database in one transaction.

What holds at any moment: a read through any KVault with the same bind sees what waits; an entry stops waiting only
after its commit; a flush that fails keeps all of it and raises.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from .._native import WriteBuffer
from ..binding import Binding
from ..errors import InvalidArgument, KohakuVaultError
from ..lending import DriverCursor

__all__ = ["CacheSettings", "WriteCache"]


@dataclass(frozen=True)
class CacheSettings:
    """When waiting writes are flushed.

    Attributes
    ----------
    cap_bytes
        What waits takes at most so much memory, of keys and packed values.
    flush_threshold
        A write is preceded by a flush where otherwise more would wait. At most ``cap_bytes``.
    flush_interval
        Seconds between flushes by a thread in the background; None for no such thread.
    auto_flush
        Whether writes flush by themselves, at ``flush_threshold``.
    """

    cap_bytes: int
    flush_threshold: int
    flush_interval: float | None = None
    auto_flush: bool = True

    def __post_init__(self) -> None:
        for name in ("cap_bytes", "flush_threshold"):
            value = getattr(self, name)
            if type(value) is not int or value <= 0:
                raise InvalidArgument(f"{name} is a number of bytes above zero, not {value!r}")
        object.__setattr__(self, "flush_threshold", min(self.flush_threshold, self.cap_bytes))
        interval = self.flush_interval
        if interval is not None and not (type(interval) in (int, float) and 0 < interval < threading.TIMEOUT_MAX):
            raise InvalidArgument(f"flush_interval is a number of seconds above zero, or None, not {interval!r}")


class WriteCache:
    """What waits to be written to one table, shared by all KVaults that have its bind.

    Attributes
    ----------
    settings
        None while writes go straight to the database.
    waiting
        The entries by their stored keys, in the order in which they were first set; None if there are none. Reading
        it needs no lock.
    put
        Takes what can wait without ado: key, value, when it expires and whether it may be a pickle; returns whether
        it did. If not, or if it is None, :meth:`offer` does the rest. Only for tables whose types are our own.
    error
        Why the last flush in the background failed; None if it did not.

    Notes
    -----
    Only who has the lock begins to let writes wait, or ends it: ``put`` refuses while nothing waits, and during a
    flush.
    """

    def __init__(self, write: Callable[[DriverCursor, WriteBuffer], None]) -> None:
        self.settings: CacheSettings | None = None
        self.waiting: WriteBuffer | None = None
        self.put: Callable[[Any, Any, float | None, bool], bool] | None = None
        self.error: BaseException | None = None
        self._buffer = WriteBuffer()
        self._write = write
        self._lock = threading.RLock()
        self._holds = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        _caches.add(self)

    @property
    def entries(self) -> int:
        """How many entries wait."""
        return self._buffer.entries

    @property
    def waiting_bytes(self) -> int:
        """Memory that they take, about."""
        return self._buffer.bytes

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
        # A Session asks to be told of every write, see `offer`.
        self.put = None if settings is None or binding.is_joined else self._buffer.put
        self._admit()
        self._stop.set()
        self._thread = None

    def offer(self, binding: Binding, key: Any, packed: bytes, expires_at: float | None) -> bool:
        """Let an entry, as the driver takes it, wait; return False if it has to be written directly.

        Such are those that are too large to wait, and those whose key the driver takes as no str, bytes or int: a
        float, say, in a table with a key column of the user's own.

        Raises
        ------
        InvalidArgument
            when it would take the cache beyond ``cap_bytes`` while flushing is held back.
        KohakuVaultError
            of a flush that was due and failed. The new entry is not taken then; the others still wait.
        """
        with self._lock:
            settings = self.settings
            if settings is None or type(key) not in (str, bytes, int) or type(packed) is not bytes:
                return False
            if binding.is_joined:
                # Every time: a Session begins its savepoints only when its connection is asked for.
                binding.keep_waiting(self)
            if self._add(binding, settings, key, packed, expires_at, self._most):
                return True
            if self._holds or not settings.auto_flush:
                raise InvalidArgument(
                    f"{self.waiting_bytes} bytes wait in the cache and a value of {len(packed)} more would exceed "
                    f"cap_bytes={settings.cap_bytes} while flushing is held back by lock_cache() or auto_flush=False: "
                    "call flush_cache()"
                )
            self.flush(binding)
            return self._add(binding, settings, key, packed, expires_at, settings.cap_bytes)

    def _add(
        self,
        binding: Binding,
        settings: CacheSettings,
        key: Any,
        packed: bytes,
        expires_at: float | None,
        most: int,
    ) -> bool:
        """Let an entry wait if no more than ``most`` bytes wait then; return whether it does."""
        most = min(most, sys.maxsize)
        if self.waiting is not None:
            return self._buffer.insert(key, packed, expires_at, most)
        # Before the first entry: from then on other threads may add theirs, and read them.
        self._begin(binding, settings)
        try:
            return self._buffer.insert(key, packed, expires_at, most)
        finally:
            if not self._buffer.entries:
                self._written()

    def _begin(self, binding: Binding, settings: CacheSettings) -> None:
        if not binding.is_joined:
            _unwritten[self] = binding
            _flush_at_the_end_of_a_child()
        if settings.flush_interval is not None and (self._thread is None or not self._thread.is_alive()):
            self._start_thread(settings.flush_interval)
        self.waiting = self._buffer

    @property
    def _most(self) -> int:
        """What may wait before a write flushes first, or is refused."""
        settings = self.settings
        if settings is None:
            return 0
        return settings.cap_bytes if self._holds or not settings.auto_flush else settings.flush_threshold

    def _admit(self) -> None:
        self._buffer.admit(min(self._most, sys.maxsize))

    def flush(self, binding: Binding) -> int:
        """Write all that waits in one transaction; return how many entries."""
        with self._lock:
            if self.waiting is None:
                return 0
            if not binding.may_wait:
                raise InvalidArgument(
                    "writes of other threads wait in the cache and would become part of this thread's transaction() or "
                    "snapshot(): flush, enable or disable the cache outside of it"
                )
            # What other threads set meanwhile waits for the lock: it is neither lost nor taken for written.
            self._buffer.admit(0)
            try:
                with binding.writing() as cursor:
                    self._write(cursor, self._buffer)
                return self._written()
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
        _unwritten.pop(self, None)
        return count

    def _start_thread(self, interval: float) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_flush_regularly,
            args=(weakref.ref(self), self._stop, interval),
            name="kohakuvault flush",
            daemon=True,
        )
        self._thread.start()

    def _forget_parent(self) -> None:
        # The parent writes what waited at the fork.
        self._lock = threading.RLock()
        self._holds = 0
        self._thread = None
        # Another thread may have had the lock inside the other one.
        self._buffer = WriteBuffer()
        if self.put is not None:
            self.put = self._buffer.put
        self._admit()
        self._written()


# What a process must not forget: caches that hold writes, each with the binding that they will go to. Those of a
# Session or Connection are its transaction's, and go with it.
_unwritten: dict[WriteCache, Binding] = {}
_caches: weakref.WeakSet[WriteCache] = weakref.WeakSet()


def _flush_regularly(reference: weakref.ref[WriteCache], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        cache = reference()
        if cache is None or cache._stop is not stop:
            # Another has taken its place: an interrupt while it was started hid that it was.
            return
        binding = _unwritten.get(cache)
        if binding is None:
            cache.error = None
            continue
        if cache._holds:
            continue
        try:
            cache.flush(binding)
            cache.error = None
        except KohakuVaultError as error:
            # Told by background_flush_error; tried again after the next interval.
            cache.error = error
        del cache, binding


def _flush_before_fork() -> None:
    # So that the child sees it. What cannot be written now stays with the parent.
    for cache, binding in list(_unwritten.items()):
        with suppress(KohakuVaultError):
            cache.flush(binding)


def _forget_in_child() -> None:
    for cache in list(_caches):
        cache._forget_parent()


_child = 0


def _flush_at_the_end_of_a_child() -> None:
    """Have a process of multiprocessing's flush when it ends, which by itself runs nothing of atexit's."""
    global _child
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _child != os.getpid():
        _child = os.getpid()
        util.Finalize(None, _flush_at_exit, exitpriority=100)


def _flush_at_exit() -> None:
    for cache, binding in list(_unwritten.items()):
        try:
            cache.flush(binding)
        except KohakuVaultError as error:
            sys.stderr.write(f"kohakuvault: {cache.entries} cached entries could not be written: {error}\n")


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_flush_before_fork, after_in_child=_forget_in_child)
