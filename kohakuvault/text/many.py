"""Many rows of a TextVault at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ..errors import UnsupportedType
from ..lending import DriverCursor
from ..row_scan import RowScan
from ..rows.arguments import as_count, as_ids
from ..statements import filled_up
from .arguments import Texts
from .entries import TextEntries
from .statements import SIZES

__all__ = ["TextMany"]

# Rows that are in memory at once.
_BATCH = 4 * SIZES[0]

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
        first = list(islice(rows, _BATCH))
        if not first:
            return ids
        with self.binding.writing() as cursor:
            batch = first
            while batch:
                ids += self._insert(cursor, batch)
                batch = list(islice(rows, _BATCH))
            self._changed(cursor, len(ids))
        return ids

    def _insert(self, cursor: DriverCursor, batch: Sequence[Any]) -> list[int]:
        metadata = [None] * len(batch)
        rows: list[tuple[Any, ...]] = []
        takes_nul = self._takes_nul
        for number, item in enumerate(batch):
            if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
                raise UnsupportedType(f"an item is a pair of texts and value, not {item!r:.60}")
            texts = item[0]
            if type(texts) is str and len(self._columns) == 1 and texts.isascii() and (takes_nul or "\0" not in texts):
                rows.append((texts, self._value(item[1])))
            else:
                rows.append((*self._texts(texts).values(), self._value(item[1])))
            if len(item) == 3:
                metadata[number] = item[2]
        names, extra = self._sql.metadata.many(metadata, len(batch)) if any(metadata) else ((), None)
        if extra is not None:
            rows = [(*row, *more) for row, more in zip(rows, extra, strict=True)]
        reserved = self._sql.ids.reserve(cursor, len(rows))
        if reserved is None:
            return [self._add(cursor, names, *row) for row in rows]
        start = 0
        for size in SIZES:
            while len(rows) - start >= size:
                some = range(start, start + size)
                values = [value for place in some for value in (reserved[place], *rows[place])]
                cursor.run(self._sql.insert_rows(size, names), *values)
                start += size
        return list(reserved)

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
