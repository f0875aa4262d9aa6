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

from ..binding import Binding
from ..errors import InvalidArgument, KohakuVaultError
from ..lending import DriverCursor

__all__ = ["CacheSettings", "Waiting", "WriteCache"]

# What an entry takes in memory beside its key and value: a dict slot, a tuple and two object headers.
_OVERHEAD = 200


# Key and value as the driver takes them, and when the entry expires.
Waiting = tuple[Any, bytes, float | None]


def _size(entry: Waiting) -> int:
    key, packed, _ = entry
    return _OVERHEAD + len(packed) + (0 if type(key) is int else len(key))


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
        The entries by key, in the order in which they were first set. Reading it needs no lock.
    error
        Why the last flush in the background failed; None if it did not.
    """

    def __init__(self, write: Callable[[DriverCursor, list[Waiting]], None]) -> None:
        self.settings: CacheSettings | None = None
        self.waiting: dict[Any, Waiting] = {}
        self.error: BaseException | None = None
        self.bytes = 0
        self._write = write
        self._lock = threading.RLock()
        self._holds = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        _caches.add(self)

    def begin(self, binding: Binding, settings: CacheSettings) -> CacheSettings | None:
        """Flush and let writes wait from now on, with these settings; return those before."""
        with self._lock:
            self.flush(binding)
            before = self.settings
            self._turn(settings)
            return before

    def end(self, binding: Binding, settings: CacheSettings | None) -> None:
        """Go back to ``settings``, None for no waiting, and flush.

        What a flush that fails leaves waiting is written before the next write that does not wait.
        """
        with self._lock:
            self._turn(settings)
            self.flush(binding)

    def _turn(self, settings: CacheSettings | None) -> None:
        self.settings = settings
        self._stop.set()
        self._thread = None

    def offer(self, binding: Binding, key: Any, entry: Waiting) -> bool:
        """Let ``entry`` wait under ``key``; return False if it has to be written directly, being too large to wait.

        Raises
        ------
        InvalidArgument
            when it would take the cache beyond ``cap_bytes`` while flushing is held back.
        KohakuVaultError
            of a flush that was due and failed. The new entry is not taken then; the others still wait.
        """
        # Run for every write: each call less is some percent, and `with` takes twice as long as this.
        lock = self._lock
        lock.acquire()
        try:
            settings = self.settings
            if settings is None:
                return False
            if binding.is_joined:
                # Every time: a Session begins its savepoints only when its connection is asked for.
                binding.keep_waiting(self)
            size = _OVERHEAD + len(entry[1]) + (0 if type(entry[0]) is int else len(entry[0]))
            total = self.bytes + size
            if total > settings.flush_threshold:
                if not self._holds and settings.auto_flush:
                    self.flush(binding)
                    total = size
                    if size > settings.cap_bytes:
                        return False
                if total > settings.cap_bytes:
                    raise InvalidArgument(
                        f"{self.bytes} bytes wait in the cache and {size} more would exceed cap_bytes="
                        f"{settings.cap_bytes} while flushing is held back by lock_cache() or auto_flush=False: call "
                        "flush_cache()"
                    )
            waiting = self.waiting
            if not waiting:
                self._begin(binding, settings)
            elif key in waiting:
                total -= _size(waiting[key])
            waiting[key] = entry
            self.bytes = total
            return True
        finally:
            lock.release()

    def _begin(self, binding: Binding, settings: CacheSettings) -> None:
        if not binding.is_joined:
            _unwritten[self] = binding
            _flush_at_the_end_of_a_child()
        if settings.flush_interval is not None and (self._thread is None or not self._thread.is_alive()):
            self._start_thread(settings.flush_interval)

    def flush(self, binding: Binding) -> int:
        """Write all that waits in one transaction; return how many entries."""
        with self._lock:
            if not self.waiting:
                return 0
            if not binding.may_wait:
                raise InvalidArgument(
                    "writes of other threads wait in the cache and would become part of this thread's transaction() or "
                    "snapshot(): flush, enable or disable the cache outside of it"
                )
            with binding.writing() as cursor:
                self._write(cursor, list(self.waiting.values()))
            return self._written()

    def flush_on(self, cursor: DriverCursor) -> None:
        """Write all that waits by ``cursor``, whose transaction it is part of."""
        with self._lock:
            if self.waiting:
                self._write(cursor, list(self.waiting.values()))
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
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1

    def _written(self) -> int:
        count = len(self.waiting)
        self.waiting.clear()
        self.bytes = 0
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
        self._written()


# What a process must not forget: caches that hold writes, each with the binding that they will go to. Those of a
# Session or Connection are its transaction's, and go with it.
_unwritten: dict[WriteCache, Binding] = {}
_caches: weakref.WeakSet[WriteCache] = weakref.WeakSet()


def _flush_regularly(reference: weakref.ref[WriteCache], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        cache = reference()
        if cache is None:
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
            sys.stderr.write(f"kohakuvault: {len(cache.waiting)} cached entries could not be written: {error}\n")


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_flush_before_fork, after_in_child=_forget_in_child)
