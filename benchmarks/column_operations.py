"""The operations on columns that are timed, the same code for ours and for every peer.

Two Pythons import this, of which one has no KohakuVault, or another one: nothing but the standard library and numpy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from memory import growth_of_iterating

SLICE = 100


def values(dtype: str, start: int, count: int) -> list[Any]:
    """Return ``count`` values, other ones for each ``start``."""
    numbers = range(start, start + count)
    if dtype == "i64":
        return list(numbers)
    if dtype == "str:utf8":
        return [f"value {number:012d}" for number in numbers]
    if dtype == "msgpack":
        return [{"id": number, "name": f"name {number}", "score": number / 2} for number in numbers]
    return list(array(dtype, start, count))


def array(dtype: str, start: int, count: int) -> np.ndarray:
    """Return as many as an array of shape ``(count, *shape)``, of a dtype whose elements are of one size."""
    kind, shape = element_of(dtype)
    if not shape:
        return np.arange(start, start + count).astype(kind)
    random = np.random.default_rng(start)
    if kind == np.float32:
        return random.standard_normal((count, *shape), kind)
    return random.integers(0, 256, (count, *shape), kind)


def element_of(dtype: str) -> tuple[np.dtype, tuple[int, ...]]:
    """Return numpy's dtype and the shape of an element."""
    name, *shape = dtype.removeprefix("vec:").split(":")
    return np.dtype(f"<{name[0]}{int(name[1:]) // 8}"), tuple(map(int, shape))


class ColumnOperations:
    """Times operations on the columns of one store; each returns the seconds of one, or of one element.

    Each is given the dtype of the column, its length, and how often to do it. The columns are made and filled when
    they are first asked for. Subclasses make the store and say what it does otherwise; an operation that is None, and
    a dtype that is not in ``dtypes``, the store does not have.
    """

    dtypes: frozenset[str] = frozenset({"i64", "u8", "f64", "str:utf8", "msgpack", "vec:f32:768", "vec:u8:28:28"})

    def __init__(self, path: str) -> None:
        self.path = path
        self._columns: dict[tuple[str, int], Any] = {}
        # The same places in the same order for every store.
        self._random = random.Random(7)
        # Where values begin that are not there yet: SQLite does not write again what does not change.
        self._fresh = 1 << 40
        self.open()

    def run(self, operation: str, dtype: str, *numbers: int) -> Any:
        """Return what an operation returns; None where the store has no such operation or dtype."""
        method = getattr(self, operation)
        return None if method is None or dtype not in self.dtypes else method(dtype, *numbers)

    # -- what a store does ----------------------------------------------------------------------

    def open(self) -> None:
        """Make the store in the file ``path``, or open it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the store, with all of it in its file."""
        raise NotImplementedError

    def column_of(self, name: str, dtype: str) -> Any:
        """Return a column, made if it is missing."""
        raise NotImplementedError

    def add(self, column: Any, values: list[Any]) -> None:
        """Add a list at the end by the fastest way the store has."""
        column.extend(values)

    def add_array(self, column: Any, values: np.ndarray) -> None:
        """Add an array at the end by the fastest way the store has."""
        raise NotImplementedError

    def all_as_list(self, column: Any) -> list[Any]:
        raise NotImplementedError

    def all_as_array(self, column: Any) -> np.ndarray:
        raise NotImplementedError

    def length_of(self, column: Any) -> int:
        return len(column)

    def empty(self, column: Any) -> None:
        column.clear()

    def after_write(self) -> None:
        """Do what makes a write survive a crash of the process, where the write itself does not."""

    # -- columns and values ---------------------------------------------------------------------

    def column(self, dtype: str, length: int) -> Any:
        """Return the column of that dtype and about that length."""
        if (dtype, length) not in self._columns:
            column = self.column_of(f"{dtype} {length}".replace(":", "-"), dtype)
            if self.length_of(column) == 0:
                self._fill(column, dtype, length)
            self._columns[dtype, length] = column
        return self._columns[dtype, length]

    def _fill(self, column: Any, dtype: str, length: int) -> None:
        if dtype in ("str:utf8", "msgpack"):
            self.add(column, values(dtype, 0, length))
        else:
            self.add_array(column, array(dtype, 0, length))
        self.after_write()

    def _places(self, length: int, count: int) -> list[int]:
        return [self._random.randrange(length - SLICE) for _ in range(count)]

    def _middle(self, length: int, count: int) -> list[int]:
        return [length // 2 + self._random.randrange(-length // 20, length // 20) for _ in range(count)]

    def _new_values(self, dtype: str, count: int) -> list[Any]:
        self._fresh += count
        return values(dtype, self._fresh - count, count)

    # -- all elements ---------------------------------------------------------------------------

    def extend(self, dtype: str, length: int, count: int) -> float:
        column, given = self._emptied(dtype), self._new_values(dtype, length)
        start = perf_counter()
        self.add(column, given)
        self.after_write()
        return (perf_counter() - start) / length

    def extend_array(self, dtype: str, length: int, count: int) -> float:
        self._fresh += length
        column, given = self._emptied(dtype), array(dtype, self._fresh, length)
        start = perf_counter()
        self.add_array(column, given)
        self.after_write()
        return (perf_counter() - start) / length

    def _emptied(self, dtype: str) -> Any:
        column = self.column_of(f"{dtype} extended".replace(":", "-"), dtype)
        self.empty(column)
        return column

    def read_list(self, dtype: str, length: int, count: int) -> float:
        column = self.column(dtype, length)
        start = perf_counter()
        found = self.all_as_list(column)
        return (perf_counter() - start) / len(found)

    def read_array(self, dtype: str, length: int, count: int) -> float:
        column = self.column(dtype, length)
        start = perf_counter()
        found = self.all_as_array(column)
        return (perf_counter() - start) / len(found)

    # -- one element, or some -------------------------------------------------------------------

    def element(self, dtype: str, length: int, count: int) -> float:
        column, places = self.column(dtype, length), self._places(length, count)
        start = perf_counter()
        for place in places:
            column[place]
        return (perf_counter() - start) / count

    def slice(self, dtype: str, length: int, count: int) -> float:
        column, places = self.column(dtype, length), self._places(length, count)
        start = perf_counter()
        for place in places:
            column[place : place + SLICE]
        return (perf_counter() - start) / count

    def hot_slice(self, dtype: str, length: int, count: int) -> float:
        """Read slices as arrays, from a cache of the store's where it has one."""
        return self.slice(dtype, length, count)

    def append(self, dtype: str, length: int, count: int) -> float:
        column, given = self.column(dtype, length), self._new_values(dtype, count)
        start = perf_counter()
        for value in given:
            column.append(value)
        return (perf_counter() - start) / count

    cached_append: Any = None

    def assign(self, dtype: str, length: int, count: int) -> float:
        column, places = self.column(dtype, length), self._places(length, count)
        given = self._new_values(dtype, count)
        start = perf_counter()
        for place, value in zip(places, given, strict=True):
            column[place] = value
            self.after_write()
        return (perf_counter() - start) / count

    # What a store without the like cannot do: insert(…) and delete(…), in the middle.
    insert: Any = None
    delete: Any = None

    # -- space ----------------------------------------------------------------------------------

    def fill(self, dtype: str, length: int) -> None:
        """Make a column for another process to read."""
        self.column(dtype, length)
        self.close()

    def memory(self, dtype: str, length: int) -> dict[str, int] | None:
        """Return by how much the process grew while iterating a column; in a process that has only opened it."""
        column = self.column(dtype, length)
        column[0]
        return growth_of_iterating(iter(column))

    def file_bytes(self, dtype: str, length: int) -> int:
        """Return the size of a new store of which that column is all."""
        other = type(self)(f"{self.path}.{dtype.replace(':', '-')}")
        other.fill(dtype, length)
        return sum(path.stat().st_size for path in _files(Path(other.path)))


class ListOperations(ColumnOperations):
    """A store whose columns are lists: ours, and the earlier package."""

    store: Any

    def cached_append(self, dtype: str, length: int, count: int) -> float:
        """Append with a write cache, flushed at the end."""
        column, given = self.column(dtype, length), self._new_values(dtype, count)
        start = perf_counter()
        with self.store.cache():
            for value in given:
                column.append(value)
        return (perf_counter() - start) / count

    def all_as_list(self, column: Any) -> list[Any]:
        found: list[Any] = column[:]
        return found

    def insert(self, dtype: str, length: int, count: int) -> float:
        column, places = self.column(dtype, length), self._middle(length, count)
        given = self._new_values(dtype, count)
        start = perf_counter()
        for place, value in zip(places, given, strict=True):
            column.insert(place, value)
        return (perf_counter() - start) / count

    def delete(self, dtype: str, length: int, count: int) -> float:
        column, places = self.column(dtype, length), self._middle(length, count)
        start = perf_counter()
        for place in places:
            del column[place]
        return (perf_counter() - start) / count


def _files(path: Path) -> Iterator[Path]:
    """Yield the file or the files in the folder ``path``, and those that SQLite keeps beside it."""
    for found in path.parent.glob(path.name + "*"):
        if found.is_dir():
            yield from (inner for inner in found.rglob("*") if inner.is_file())
        else:
            yield found
