"""What is timed of ordered maps, for every Python that has one."""

from __future__ import annotations

import random
from time import perf_counter
from typing import Any


class Operations:
    """An ordered map of ``count`` keys; each method returns seconds for one key, or None where it cannot do that."""

    package: str

    def __init__(self, path: str, count: int) -> None:
        numbers = list(range(count))
        random.Random(1).shuffle(numbers)
        self._keys: dict[str, list[Any]] = {"int": numbers, "str": [f"key:{number}" for number in numbers]}
        self._maps: dict[str, Any] = {}

    def new(self, kind: str) -> Any:
        """Return an empty map for keys of a kind."""
        raise NotImplementedError

    def new_list(self) -> Any:
        """Return an empty skip list."""
        raise NotImplementedError

    def inserter(self, tree: Any) -> Any:
        return tree.__setitem__

    def insert_sorted(self, tree: Any, pairs: list[tuple[int, int]]) -> None:
        tree.update(pairs)

    def ranging(self, tree: Any, low: int, high: int) -> Any:
        """Return the pairs of keys in the range, as a list."""
        raise NotImplementedError

    def insert_into_list(self, kind: str) -> float:
        return self._insert("list", self.new_list(), kind)

    def get_from_list(self, kind: str) -> float:
        return self._get("list", kind)

    def insert(self, kind: str) -> float:
        return self._insert(kind, self.new(kind), kind)

    def get(self, kind: str) -> float:
        return self._get(kind, kind)

    def _insert(self, name: str, tree: Any, kind: str) -> float:
        self._maps[name] = tree
        insert, keys = self.inserter(tree), self._keys[kind]
        start = perf_counter()
        for key in keys:
            insert(key, key)
        return (perf_counter() - start) / len(keys)

    def _get(self, name: str, kind: str) -> float:
        get, keys = self._maps[name].get, self._keys[kind]
        start = perf_counter()
        for key in keys:
            get(key)
        return (perf_counter() - start) / len(keys)

    def insert_many(self, kind: str) -> float:
        tree = self.new(kind)
        pairs = [(number, number) for number in range(len(self._keys[kind]))]
        start = perf_counter()
        self.insert_sorted(tree, pairs)
        return (perf_counter() - start) / len(pairs)

    def ranges(self, kind: str) -> float:
        tree, count = self._maps[kind], 1000
        last = len(self._keys[kind]) - 100
        starts = [number * last // count for number in range(count)]
        start = perf_counter()
        for low in starts:
            self.ranging(tree, low, low + 100)
        return (perf_counter() - start) / count

    def settings(self) -> str:
        return "its defaults"
