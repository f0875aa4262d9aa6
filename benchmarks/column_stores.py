"""The stores of columns in our own process: ours, and the yardstick of the raw cursor and numpy."""

from __future__ import annotations

import struct
from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgpack
import numpy as np

import raw
from column_operations import SLICE, ColumnOperations, ListOperations, array, element_of, values
from kohakuvault import ColumnVault

CACHE_BYTES = 64 << 20

# dtype → how a value is made what a row holds, and back.
_ROWS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "i64": (struct.Struct("<q").pack, lambda data: struct.unpack("<q", data)[0]),
    "str:utf8": (str, str),
    "msgpack": (msgpack.packb, msgpack.unpackb),
    "vec:f32:768": (np.ndarray.tobytes, lambda data: np.frombuffer(data, np.float32)),
}
_VARYING = ("str:utf8", "msgpack")


class Ours(ListOperations):
    """ColumnVault."""

    def open(self) -> None:
        self.store = ColumnVault(self.path)
        self._cached = ColumnVault(self.path, read_cache=CACHE_BYTES)

    def close(self) -> None:
        self._cached.close()
        self.store.close()
        connection = raw.connect(self.path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.close()

    def column_of(self, name: str, dtype: str) -> Any:
        return self.store.ensure(name, dtype)

    def add_array(self, column: Any, values: np.ndarray) -> None:
        column.extend(values)

    def all_as_array(self, column: Any) -> np.ndarray:
        found: np.ndarray = column.to_numpy()
        return found

    def hot_slice(self, dtype: str, length: int, count: int) -> float:
        column = self._cached[self.column(dtype, length).name]
        # Hot: what the operations before have written has emptied the cache. No block is shorter than the step.
        for place in range(0, length, 1000):
            column.to_numpy(place, place + SLICE)
        places = self._places(length, count)
        start = perf_counter()
        for place in places:
            column.to_numpy(place, place + SLICE)
        return (perf_counter() - start) / count


class Raw(ColumnOperations):
    """What the driver's cursor and numpy do for it.

    Of dtypes of one size, all elements are the bytes of an array in one BLOB, in the table ``blobs``. Elements that are
    read and written one by one, and those that vary in size, are the rows of a table, by integer primary key.
    """

    def open(self) -> None:
        self.store = raw.connect(self.path)
        self._cursor = self.store.cursor()
        self._cursor.execute("CREATE TABLE IF NOT EXISTS blobs (name TEXT PRIMARY KEY, data BLOB)")
        self._made: set[str] = set()

    def close(self) -> None:
        self._cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.store.close()

    # -- all elements ---------------------------------------------------------------------------

    def extend(self, dtype: str, length: int, count: int) -> float:
        given = self._new_values(dtype, length)
        if dtype in _VARYING:
            table = self._new_table(f"{dtype} extended")
            start = perf_counter()
            self._insert_rows(table, dtype, given)
        else:
            self._set_blob("extended", b"")
            start = perf_counter()
            self._set_blob("extended", np.array(given, element_of(dtype)[0]).tobytes())
        return (perf_counter() - start) / length

    def extend_array(self, dtype: str, length: int, count: int) -> float:
        self._fresh += length
        given = array(dtype, self._fresh, length)
        self._set_blob("extended", b"")
        start = perf_counter()
        self._set_blob("extended", given.tobytes())
        return (perf_counter() - start) / length

    def read_list(self, dtype: str, length: int, count: int) -> float:
        if dtype in _VARYING:
            table, (_, decode) = self._rows(dtype, length), _ROWS[dtype]
            sql = f"SELECT value FROM {table} ORDER BY id"
            start = perf_counter()
            found = [decode(value) for (value,) in self._cursor.execute(sql)]
            return (perf_counter() - start) / len(found)
        name = self._blob(dtype, length)
        start = perf_counter()
        self._read_blob(name, dtype).tolist()
        return (perf_counter() - start) / length

    def read_array(self, dtype: str, length: int, count: int) -> float:
        name = self._blob(dtype, length)
        start = perf_counter()
        self._read_blob(name, dtype)
        return (perf_counter() - start) / length

    # -- one element, or some -------------------------------------------------------------------

    def element(self, dtype: str, length: int, count: int) -> float:
        places = [(place,) for place in self._places(length, count)]
        cursor, sql = self._cursor, f"SELECT value FROM {self._rows(dtype, length)} WHERE id = ?"
        start = perf_counter()
        for place in places:
            cursor.execute(sql, place)
            cursor.fetchone()
        return (perf_counter() - start) / count

    def slice(self, dtype: str, length: int, count: int) -> float:
        places = [(place, place + SLICE) for place in self._places(length, count)]
        cursor, sql = self._cursor, f"SELECT value FROM {self._rows(dtype, length)} WHERE id >= ? AND id < ?"
        start = perf_counter()
        for place in places:
            cursor.execute(sql, place).fetchall()
        return (perf_counter() - start) / count

    def hot_slice(self, dtype: str, length: int, count: int) -> float:
        found, places = self._read_blob(self._blob(dtype, length), dtype), self._places(length, count)
        start = perf_counter()
        for place in places:
            found[place : place + SLICE]
        return (perf_counter() - start) / count

    def append(self, dtype: str, length: int, count: int) -> float:
        sql = f"INSERT INTO {self._rows(dtype, length)} (value) VALUES (?)"
        return self._execute_each(sql, self._new(dtype, count))

    def cached_append(self, dtype: str, length: int, count: int) -> float:
        table, given = self._rows(dtype, length), self._new_values(dtype, count)
        start = perf_counter()
        self._insert_rows(table, dtype, given)
        return (perf_counter() - start) / count

    def assign(self, dtype: str, length: int, count: int) -> float:
        sql = f"UPDATE {self._rows(dtype, length)} SET value = ? WHERE id = ?"
        given = zip(self._new(dtype, count), self._places(length, count), strict=True)
        return self._execute_each(sql, [(value, place) for (value,), place in given])

    def _new(self, dtype: str, count: int) -> list[tuple[Any]]:
        """Return parameters that hold new values, converted before the time is taken."""
        encode = _ROWS[dtype][0]
        return [(encode(value),) for value in self._new_values(dtype, count)]

    def _execute_each(self, sql: str, parameters: list[Any]) -> float:
        cursor = self._cursor
        start = perf_counter()
        for given in parameters:
            cursor.execute(sql, given)
        return (perf_counter() - start) / len(parameters)

    def _places(self, length: int, count: int) -> list[int]:
        return [place + 1 for place in super()._places(length, count)]

    # -- the tables -----------------------------------------------------------------------------

    def fill(self, dtype: str, length: int) -> None:
        self._blob(dtype, length)
        self.close()

    def _rows(self, dtype: str, length: int) -> str:
        """Return the quoted name of a table of that many rows, whose ids begin at 1."""
        name = f"{dtype} {length} rows"
        if name not in self._made:
            table = self._new_table(name)
            self._insert_rows(table, dtype, values(dtype, 0, length))
            self._made.add(name)
        return f'"{name}"'

    def _new_table(self, name: str) -> str:
        self._cursor.execute(f'DROP TABLE IF EXISTS "{name}"')
        self._cursor.execute(f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY, value)')
        return f'"{name}"'

    def _insert_rows(self, table: str, dtype: str, given: list[Any]) -> None:
        encode = _ROWS[dtype][0]
        self._cursor.execute("BEGIN IMMEDIATE")
        self._cursor.executemany(f"INSERT INTO {table} (value) VALUES (?)", ((encode(value),) for value in given))
        self._cursor.execute("COMMIT")

    def _blob(self, dtype: str, length: int) -> str:
        """Return the name of a BLOB of that many elements."""
        name = f"{dtype} {length}"
        if name not in self._made:
            self._set_blob(name, array(dtype, 0, length).tobytes())
            self._made.add(name)
        return name

    def _set_blob(self, name: str, data: bytes) -> None:
        self._cursor.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?)", (name, data))

    def _read_blob(self, name: str, dtype: str) -> np.ndarray:
        (data,) = self._cursor.execute("SELECT data FROM blobs WHERE name = ?", (name,)).fetchone()
        kind, shape = element_of(dtype)
        return np.frombuffer(data, kind).reshape(-1, *shape)
