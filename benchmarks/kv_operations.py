"""The operations on dicts that are timed, the same code for ours and for every peer.

Two Pythons import this, of which one has no KohakuVault, or another one: nothing but the standard library here.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from itertools import count as numbers
from time import perf_counter
from typing import Any

from memory import growth_of_iterating

VALUE = b"x" * 256

_numbers = numbers()


def new_value() -> bytes:
    """Return a value that no key has: SQLite writes no page whose bytes would stay as they are."""
    return next(_numbers).to_bytes(8, "little") * (len(VALUE) // 8)


class Operations:
    """Times operations on one store that holds ``size`` keys; each returns the seconds of one, or of one entry.

    Subclasses make the store, and say what it does otherwise. An operation that is None it cannot do.
    """

    store: Any

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size
        self.keys = [f"key:{number}" for number in range(size)]
        self.pairs = [(key, VALUE) for key in self.keys]
        # The same keys in the same order for every store.
        self._random = random.Random(7)
        self.store = self.open(path)
        self.fill()
        self.prepare()

    def open(self, path: str) -> Any:
        """Return the store in the file ``path``."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what the operations need, when the store is full."""

    def fill(self) -> None:
        if self._count() == self.size:
            return
        for start in range(0, self.size, 10_000):
            self._set_many(self.store, self.pairs[start : start + 10_000])

    def _count(self) -> int:
        return len(self.store)

    def _set_many(self, store: Any, pairs: list[tuple[str, bytes]]) -> None:
        """Set all of ``pairs`` by the fastest way the store has."""
        raise NotImplementedError

    def some_keys(self, count: int) -> list[str]:
        return self._random.choices(self.keys, k=count)

    # -- one key -------------------------------------------------------------------------------

    def read(self, count: int) -> float:
        return self._read(self.store, self.some_keys(count))

    @staticmethod
    def _read(store: Any, keys: list[str]) -> float:
        start = perf_counter()
        for key in keys:
            store[key]
        return (perf_counter() - start) / len(keys)

    def contains(self, count: int) -> float:
        store, keys = self.store, self.some_keys(count)
        start = perf_counter()
        for key in keys:
            key in store  # noqa: B015
        return (perf_counter() - start) / count

    def put(self, count: int) -> float:
        return self._put(self.store, self.some_keys(count))

    @staticmethod
    def _put(store: Any, keys: list[str]) -> float:
        value = new_value()
        start = perf_counter()
        for key in keys:
            store[key] = value
        return (perf_counter() - start) / len(keys)

    def pop(self, count: int) -> float:
        store, keys = self.store, self._random.sample(self.keys, count)
        start = perf_counter()
        for key in keys:
            store.pop(key)
        taken = perf_counter() - start
        self._set_many(store, [(key, VALUE) for key in keys])
        return taken / count

    # -- all keys ------------------------------------------------------------------------------

    def set_many(self, count: int) -> float:
        """Set again the keys that there are."""
        value = new_value()
        pairs = [(key, value) for key in self.keys[:count]]
        start = perf_counter()
        self._set_many(self.store, pairs)
        return (perf_counter() - start) / count

    def load(self, count: int) -> float:
        """Set keys that there are not."""
        pairs = self.pairs[:count]
        self.store.clear()
        start = perf_counter()
        self._set_many(self.store, pairs)
        return (perf_counter() - start) / count

    def items(self, count: int) -> float:
        return self._consume(self.store.items(), count)

    def only_keys(self, count: int) -> float:
        return self._consume(self.store.keys(), count)

    def _consume(self, entries: Iterable[Any], count: int) -> float:
        start = perf_counter()
        deque(entries, maxlen=0)
        return (perf_counter() - start) / count

    def length(self, count: int) -> float:
        store = self.store
        start = perf_counter()
        for _ in range(count):
            len(store)
        return (perf_counter() - start) / count

    # -- the store -----------------------------------------------------------------------------

    def open_and_read(self, count: int) -> float:
        """Open another file and read a key."""
        path = self.path + ".second"
        store = self.open(path)
        self._set_many(store, self.pairs[:1000])
        self.close(store)
        key, taken = self.keys[500], 0.0
        for _ in range(count):
            start = perf_counter()
            store = self.open(path)
            store[key]
            taken += perf_counter() - start
            self.close(store)
        return taken / count

    def close(self, store: Any) -> None:
        store.close()

    def memory(self) -> dict[str, int] | None:
        return growth_of_iterating(self.store.items())

    # What a store without the like reads or does:

    def cached_read(self, count: int) -> float:
        return self.read(count)

    cached_put: Any = None
    get_many: Any = None
