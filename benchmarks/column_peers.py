"""The stores that ``ColumnVault`` is compared with; for a Python of .venv-peers."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from column_operations import SLICE, ColumnOperations, ListOperations, element_of

CHUNK_BYTES = 1 << 16


def _layout(dtype: str) -> dict[str, Any]:
    """Return the shape of an empty array for a column, and that of its chunks."""
    if dtype == "str:utf8":
        return {"shape": (0,), "chunks": (4096,)}
    kind, shape = element_of(dtype)
    rows = max(1, CHUNK_BYTES // (kind.itemsize * int(np.prod(shape))))
    return {"shape": (0, *shape), "chunks": (rows, *shape)}


class Upstream(ListOperations):
    """The earlier package; it has its own SQLite, so its settings cannot be read from here."""

    package = "kohakuvault"

    def open(self) -> None:
        from kohakuvault import ColumnVault

        self.store = ColumnVault(self.path)

    def close(self) -> None:
        self.store.checkpoint()
        self.store.close()

    def column_of(self, name: str, dtype: str) -> Any:
        return self.store.ensure(name, dtype)

    def add_array(self, column: Any, values: np.ndarray) -> None:
        column.append_array(values)

    def all_as_array(self, column: Any) -> np.ndarray:
        found: np.ndarray = column.read_array()
        return found

    def hot_slice(self, dtype: str, length: int, count: int) -> float:
        column, places = self.column(dtype, length), self._places(length, count)
        start = perf_counter()
        for place in places:
            column.read_array(place, SLICE)
        return (perf_counter() - start) / count

    def settings(self) -> str:
        return (
            "sets WAL and synchronous=NORMAL itself, on an SQLite of its own that cannot be asked; "
            "arrays by append_array and read_array"
        )


class Zarr(ColumnOperations):
    """A group in a folder."""

    package = "zarr"
    dtypes = ColumnOperations.dtypes - {"msgpack"}

    def open(self) -> None:
        import zarr

        self.store = zarr.open_group(self.path, mode="a")

    def close(self) -> None:
        pass

    def column_of(self, name: str, dtype: str) -> Any:
        if name in self.store:
            return self.store[name]
        kind = str if dtype == "str:utf8" else element_of(dtype)[0]
        return self.store.create_array(name, dtype=kind, compressors=None, **_layout(dtype))

    def length_of(self, column: Any) -> int:
        length: int = column.shape[0]
        return length

    def empty(self, column: Any) -> None:
        column.resize((0, *column.shape[1:]))

    def add(self, column: Any, values: list[Any]) -> None:
        column.append(np.array(values, column.dtype))

    def add_array(self, column: Any, values: np.ndarray) -> None:
        column.append(values)

    def all_as_list(self, column: Any) -> list[Any]:
        found: list[Any] = column[:].tolist()
        return found

    def all_as_array(self, column: Any) -> np.ndarray:
        found: np.ndarray = column[:]
        return found

    def append(self, dtype: str, length: int, count: int) -> float:
        column, given = self.column(dtype, length), self._new_values(dtype, count)
        start = perf_counter()
        for value in given:
            column.append(np.array([value], column.dtype))
        return (perf_counter() - start) / count

    def settings(self) -> str:
        return "no transaction and no fsync: each chunk is a file that is replaced; chunks of 64 KiB, not compressed"


class H5py(ColumnOperations):
    """Datasets that can grow, in one file."""

    package = "h5py"
    dtypes = ColumnOperations.dtypes - {"msgpack"}

    def open(self) -> None:
        import h5py

        self._string = h5py.string_dtype()
        self.store = h5py.File(self.path, "a")

    def close(self) -> None:
        self.store.close()

    def column_of(self, name: str, dtype: str) -> Any:
        if name in self.store:
            return self.store[name]
        layout = _layout(dtype)
        kind = self._string if dtype == "str:utf8" else element_of(dtype)[0]
        return self.store.create_dataset(name, dtype=kind, maxshape=(None, *layout["shape"][1:]), **layout)

    def after_write(self) -> None:
        self.store.flush()

    def empty(self, column: Any) -> None:
        column.resize(0, axis=0)

    def add(self, column: Any, values: Any) -> None:
        length = len(column)
        column.resize(length + len(values), axis=0)
        column[length:] = values

    add_array = add

    def all_as_list(self, column: Any) -> list[Any]:
        found: list[Any] = (column.asstr() if column.dtype.kind == "O" else column)[:].tolist()
        return found

    def all_as_array(self, column: Any) -> np.ndarray:
        found: np.ndarray = column[:]
        return found

    def append(self, dtype: str, length: int, count: int) -> float:
        column, given = self.column(dtype, length), self._new_values(dtype, count)
        start = perf_counter()
        for value in given:
            self._append(column, value)
            self.store.flush()
        return (perf_counter() - start) / count

    def cached_append(self, dtype: str, length: int, count: int) -> float:
        """Append without a flush for each."""
        column, given = self.column(dtype, length), self._new_values(dtype, count)
        start = perf_counter()
        for value in given:
            self._append(column, value)
        self.store.flush()
        return (perf_counter() - start) / count

    @staticmethod
    def _append(column: Any, value: Any) -> None:
        length = len(column)
        column.resize(length + 1, axis=0)
        column[length] = value

    def settings(self) -> str:
        return (
            "no transaction and no fsync: flush() after each write hands it to the system, and a crash between may "
            "leave a file that cannot be opened; chunks of 64 KiB, not compressed"
        )


PEERS = {"upstream": Upstream, "zarr": Zarr, "h5py": H5py}
