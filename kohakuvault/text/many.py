"""Many rows of a TextVault at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from .._native import pack_rows
from ..errors import UnsupportedType
from ..lending import DriverCursor
from ..row_scan import RowScan
from ..rows.arguments import as_count, as_ids
from ..statements import filled_up
from .arguments import Texts
from .entries import TextEntries
from .statements import sizes

__all__ = ["TextMany"]

# Rows that are read at once, and characters of texts beyond which those that were are written: FTS5 takes more time for
# several statements than for one.
_READ = 1024
_CHARACTERS = 1 << 24
# Rows from which on it is worth to index them together.
_TOGETHER = 16
# Bytes of a buffer of rows.
_ROWS = 1 << 18

Item = tuple[Texts, Any] | tuple[Texts, Any, Mapping[str, Any] | None]


class TextMany(TextEntries):
    """The part of :class:`~kohakuvault.TextVault` that reads and writes many rows."""

    def insert_many(self, items: Iterable[Item]) -> list[int]:
        """Add texts, all of them or none, and return their ids.

        Parameters
        ----------
        items
            Pairs ``(texts, value)``, or with metadata ``(texts, value, metadata)``; each as :meth:`insert` takes them.
            An iterator is read while they are written, some at a time.

        >>> from kohakuvault import TextVault
        >>> TextVault(":memory:").insert_many([("the first", 1), ("the second", 2)])
        [1, 2]
        """
        if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
            raise UnsupportedType(f"items are pairs of texts and value, not {items!r:.60}")
        rows = iter(items)
        ids: list[int] = []
        batch = _batch(rows)
        if not batch:
            return ids
        with self.binding.writing() as cursor:
            while batch:
                ids += self._insert(cursor, batch)
                batch = _batch(rows)
            self._changed(cursor, len(ids))
        return ids

    def _insert(self, cursor: DriverCursor, batch: Sequence[Any]) -> list[int]:
        names, columns = self._columns_of(batch)
        reserved = self._sql.ids.reserve(cursor, len(batch))
        if reserved is None:
            return [self._add(cursor, names, *row) for row in zip(*columns, strict=True)]
        together = self._sql.together
        if together is None or not isinstance(reserved, range) or len(reserved) < _TOGETHER:
            self._insert_as(cursor, reserved, names, columns)
        else:
            with together.inserted(cursor, reserved):
                self._insert_as(cursor, reserved, names, columns)
        return list(reserved)

    def _insert_as(
        self, cursor: DriverCursor, reserved: Sequence[int], names: tuple[str, ...], columns: list[Sequence[Any]]
    ) -> None:
        """Insert rows under the ids that are reserved for them."""
        if len(columns) == 2 and self._sql.takes_rows and cursor.has_rows and isinstance(reserved, range):
            self._insert_packed(cursor, reserved[0], *columns)
            return
        values = list(chain.from_iterable(zip(reserved, *columns, strict=True)))
        width = len(columns) + 1
        start = 0
        for size in sizes(width):
            while len(values) - start >= size * width:
                cursor.run(self._sql.insert_rows(size, names), *values[start : start + size * width])
                start += size * width

    def _insert_packed(self, cursor: DriverCursor, first: int, texts: Sequence[str], values: Sequence[Any]) -> None:
        """Insert rows under ids from ``first`` on, in a buffer that is read inside of SQLite."""
        sql = self._sql
        pairs = zip(texts, values, strict=True)
        end = first + len(texts)
        while first < end:
            packed, large = pack_rows(pairs, _ROWS, sql.pickle, sql.encoding)
            if packed is not None:
                first += cursor.run(sql.insert_packed, first, packed)
            if large is not None:
                cursor.run(sql.insert_as(), first, *large)
                first += 1

    def _columns_of(self, batch: Sequence[Any]) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
        """Return the names of the metadata in ``batch``, and the columns to write: texts, values and metadata."""
        if self._takes_any and len(self._columns) == 1 and {*map(type, batch)} == {tuple} and {*map(len, batch)} == {2}:
            texts, values = zip(*batch, strict=True)
            if {*map(type, texts)} == {str} and self._takes("".join(texts)):
                return (), [texts, values]
        for item in batch:
            if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
                raise UnsupportedType(f"an item is a pair of texts and value, not {item!r:.60}")
        rows = [tuple(self._texts(item[0]).values()) for item in batch]
        columns = [*zip(*rows, strict=True), [self._value(item[1]) for item in batch]]
        metadata = [item[2] if len(item) == 3 else None for item in batch]
        if not any(metadata):
            return (), columns
        names, extra = self._sql.metadata.many(metadata, len(batch))
        return names, [*columns, *zip(*extra, strict=True)]

    def _takes(self, text: str) -> bool:
        """Whether no text that is part of ``text`` needs to be looked at by itself."""
        if not self._takes_nul and "\0" in text:
            return False
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
        return True

    @property
    def _takes_nul(self) -> bool:
        return self.binding.dialect.name == "sqlite"

    def get_many(self, ids: Any, default: Any = None) -> list[Any]:
        """Return ``(text, value)`` of each of ``ids``, in their order, ``default`` for those that are missing."""
        chosen = as_ids(ids)
        with self.binding.reading() as cursor:
            found = {
                id: self._unpack(id, row)
                for some in filled_up(list(dict.fromkeys(chosen)))
                for id, *row in cursor.all(self._sql.get_many(len(some)), *some)
            }
        return [found.get(id, default) for id in chosen]

    def keys(self, limit: int | None = None, offset: int = 0) -> list[int]:
        """Return ids in their order: all of them, or ``limit`` behind the first ``offset``.

        Iterating over the vault gives them one by one.
        """
        if limit is None and offset == 0:
            return list(self)
        most = 2**31 - 1 if limit is None else as_count(limit, "limit")
        return [id for (id,) in self.binding.all(self._sql.some_ids, most, as_count(offset, "offset"))]

    def items(self) -> Iterator[tuple[int, tuple[str | dict[str, str], Any]]]:
        """Iterate over ``(id, (text, value))``.

        >>> from kohakuvault import TextVault
        >>> texts = TextVault(":memory:")
        >>> texts["of crabs"] = 10
        >>> list(texts.items())
        [(1, ('of crabs', 10))]
        """
        return self._scan(RowScan(self._sql.every_row, lambda row: (row[0], self._unpack(row[0], row[1:]))))


def _batch(rows: Iterator[Any]) -> list[Any]:
    """Return rows that are written together."""
    batch: list[Any] = []
    characters = 0
    while characters < _CHARACTERS:
        read = list(islice(rows, _READ))
        batch += read
        if len(read) < _READ:
            break
        characters += _characters(read)
    return batch


def _characters(read: Sequence[Any]) -> int:
    """Return about how many characters there are in items, which may be anything yet."""
    texts = [item[0] for item in read if isinstance(item, (tuple, list)) and item]
    if {*map(type, texts)} == {str}:
        return sum(map(len, texts))
    columns = [text for of_row in texts if isinstance(of_row, Mapping) for text in of_row.values()]
    return sum(len(text) for text in columns if isinstance(text, str))
