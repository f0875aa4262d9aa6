"""What was read from an SQLite file, in memory for as long as nothing is committed to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Table, event
from sqlalchemy.engine import Engine

from .. import _native
from ..binding import Binding
from ..errors import InvalidArgument
from .watch import Watch

__all__ = ["Reads"]


class Keeps(Protocol):
    """What keeps something for as long as a watch gives the same mark."""

    def mark(self) -> int:
        """Return a mark to be made before the database is read; 0 if nothing can be kept."""

    def clear(self) -> None:
        """Forget all."""

    def close(self) -> None:
        """Forget all and let the connection go."""

    @property
    def entries(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...


Kept = TypeVar("Kept", bound=Keeps)

_of_engine: weakref.WeakKeyDictionary[Engine, weakref.WeakSet[Reads[Any]]] = weakref.WeakKeyDictionary()


class Reads(Generic[Kept]):
    """Base class of the read caches.

    Parameters
    ----------
    binding, tables
        Where is read what; see :class:`~kohakuvault.caching.watch.Watch`.
    capacity
        Bytes of memory for what is kept, about.
    make
        Returns what keeps it, given the capacity and a watch.

    Notes
    -----
    Coherent with every other writer to the file: processes, connections, Sessions, other programs. Inside of
    ``transaction()`` the thread reads by SQLite, as it sees what it has written. A commit to any table of the file
    empties the cache, so it is for data that is read far more often than anything is written.

    The cache keeps one connection of the engine open, and by that the file in WAL mode; ``engine.dispose()``
    closes it, as does :meth:`close`. A forked child starts with an empty cache and a connection of its own.
    """

    def __init__(
        self,
        binding: Binding,
        tables: Sequence[Table],
        capacity: int,
        make: Callable[[int, _native.Watch], Kept],
    ) -> None:
        if type(capacity) is not int or capacity <= 0:
            raise InvalidArgument(f"read_cache is a size in bytes, such as 64 * 2**20, not {capacity!r}")
        self.capacity = capacity
        self._name = tables[0].name
        self._watch = Watch(binding, tables)
        self._make = make
        self._native = make(capacity, self._watch.native)
        # An EngineBinding, where anything is kept.
        self._binding: Any = binding
        if self.reason is None:
            _close_with(binding.engine, self)

    def __repr__(self) -> str:
        state = self.reason or f"{self.entries} entries, {self.hits} hits, {self.misses} misses"
        return f"<{type(self).__name__} of {self._name!r}: {state}>"

    @property
    def reason(self) -> str | None:
        """Why nothing is kept; None where something is."""
        return self._watch.reason

    @property
    def entries(self) -> int:
        """How many entries are kept."""
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

    def clear(self) -> None:
        """Forget every entry."""
        self._native.clear()

    def close(self) -> None:
        """Forget everything and let the connection go. Closing twice is harmless."""
        self._watch.close()
        self._native.close()

    def suspend(self) -> None:
        """Forget everything and let the connection go until something is read."""
        self._watch.suspend()
        self._native.close()

    def _marked(self) -> tuple[Kept, int]:
        """Return what keeps, and the mark to be taken before a read: what is committed after it makes that void."""
        native = self._native
        mark = native.mark()
        if not mark and self._watch.reopened():
            # After `engine.dispose()`, or in a forked child, where the old one's lock may be locked for ever.
            native = self._native = self._make(self.capacity, self._watch.native)
            mark = native.mark()
        return native, mark


def _close_with(engine: Engine, cache: Reads[Any]) -> None:
    """Have the engine's ``dispose()`` close the connection of ``cache``."""
    if engine not in _of_engine:
        _of_engine[engine] = weakref.WeakSet()
        event.listen(engine, "engine_disposed", _disposed)
    _of_engine[engine].add(cache)


def _disposed(engine: Engine) -> None:
    for cache in list(_of_engine.get(engine, ())):
        cache.suspend()
