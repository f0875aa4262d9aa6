"""Rows by their ids: whether they are there, their metadata, and removing them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .._native import pack_keys
from ..auto_pack import AutoPack, as_bytes
from ..container import Container
from ..errors import CorruptValue, NotFound
from ..lending import DriverCursor
from ..row_scan import RowScan
from ..statements import filled_up
from .arguments import as_id, as_ids
from .statements import TableStatements

__all__ = ["Rows"]

# Bytes of a buffer of ids.
_KEYS = 1 << 16


class Rows(AutoPack, Container):
    """The part of a container that is the same whatever its rows are of."""

    _sql: TableStatements

    def _changed(self, cursor: DriverCursor, rows: int) -> None:
        """Do what has to follow a write of so many rows, in its transaction: every write calls this, once."""

    def _missing(self, id: int) -> NotFound:
        return NotFound(f"no id {id!r} in {self!r}")

    def _value(self, value: Any) -> Any:
        """Return what is stored for a value."""
        return value if self._takes_any else as_bytes(value)

    def _add(self, cursor: DriverCursor, names: tuple[str, ...], *row: Any) -> int:
        """Insert a row with metadata of ``names``; return its id."""
        statement = self._sql.insert(names)
        while (added := cursor.one(statement, *row)) is None:
            self._sql.ids.skip(cursor)
        return int(added[0])

    def _update(self, id: int, new: dict[str, Any]) -> None:
        """Change columns of a row; :class:`NotFound` if there is none."""
        if not new:
            if not self.exists(id):
                raise self._missing(id)
            return
        with self.binding.writing() as cursor:
            if not cursor.run(self._sql.update(tuple(new)), *new.values(), id):
                raise self._missing(id)
            self._changed(cursor, 1)

    # -- removing ------------------------------------------------------------------------------

    def delete(self, id: int) -> None:
        """Remove a row; :class:`NotFound` if there is none."""
        with self.binding.writing() as cursor:
            if not cursor.run(self._sql.delete, as_id(id)):
                raise self._missing(id)
            self._changed(cursor, 1)

    def delete_many(self, ids: Any) -> int:
        """Remove the rows of ``ids``, all at once; return how many of them were there."""
        # Sorted: a page of the table is then changed once, not each time that one of its rows is next.
        chosen = sorted(as_ids(ids))
        if not chosen:
            return 0
        with self.binding.writing() as cursor:
            if cursor.has_rows:
                removed = sum(cursor.run(self._sql.delete_rows, some) for some in _buffers(chosen))
            else:
                removed = sum(cursor.run(self._sql.delete_many(len(some)), *some) for some in filled_up(chosen))
            self._changed(cursor, removed)
        return removed

    def clear(self) -> None:
        """Remove every row."""
        with self.binding.writing() as cursor:
            self._changed(cursor, cursor.run(self._sql.clear))

    # -- reading -------------------------------------------------------------------------------

    def get_metadata(self, id: int) -> dict[str, Any]:
        """Return the metadata of a row, by the names of the columns; :class:`NotFound` if there is none."""
        id = as_id(id)
        with self.binding.reading() as cursor:
            row = cursor.one(self._sql.metadata_of, id)
            if row is None:
                raise self._missing(id)
            return self._sql.metadata.read(row[1:], cursor.types[1:])

    def exists(self, id: int) -> bool:
        """Whether there is a row of that id."""
        return self.binding.one(self._sql.exists, as_id(id)) is not None

    def __contains__(self, id: Any) -> bool:
        return self.exists(id)

    def __len__(self) -> int:
        return int(self.binding.one(self._sql.count)[0])

    def __bool__(self) -> bool:
        return self.binding.one(self._sql.first) is not None

    def count(self) -> int:
        """Return how many rows there are."""
        return len(self)

    def __iter__(self) -> Iterator[int]:
        return self._scan(RowScan(self._sql.every_id, lambda row: row[0]))

    def _scan(self, scan: RowScan) -> Iterator[Any]:
        with self.binding.scanning(scan) as batches:
            for entries in batches:
                yield from entries

    def _unpack_value(self, id: Any, value: Any) -> Any:
        try:
            return self._sql.unpack(value)
        except CorruptValue as error:
            raise corrupt_row(id, error) from error


def corrupt_row(id: Any, error: CorruptValue) -> CorruptValue:
    """Return ``error``, that of a row, with its id."""
    return CorruptValue(f"id {id!r}: {error}. check() finds all such rows; update() or delete() it")


def _buffers(ids: list[int]) -> Iterator[bytes]:
    rest = iter(ids)
    while (rows := pack_keys(rest, _KEYS)) is not None:
        yield rows
