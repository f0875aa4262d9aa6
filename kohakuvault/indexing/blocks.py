"""The blocks of a vector index while they are changed: entries taken out, put in and moved, then written."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import numpy as np

from ..errors import CorruptValue
from ..lending import DriverCursor
from .statements import IndexStatements

__all__ = ["Blocks", "capacity", "ids_of"]

Entries = np.ndarray[Any, np.dtype[np.uint8]]

# What a table's leaf page keeps for itself and a row's header, in bytes (sqlite.org/fileformat2.html, 1.6).
_PAGE_OVERHEAD = 48
# A block of less would be read with more statements than it is worth.
_FEWEST = 8


def capacity(cursor: DriverCursor, entry_bytes: int) -> int:
    """Return how many entries fill a page, so that changing a block writes one; of large entries some pages."""
    cursor.command("PRAGMA page_size")
    page: int = cursor.cursor.fetchone()[0]
    return max((page - _PAGE_OVERHEAD) // entry_bytes, _FEWEST)


def ids_of(entries: Entries) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the ids of entries, which they begin with."""
    return np.ascontiguousarray(entries[:, :8]).view("<i8").ravel()


class Blocks:
    """Blocks that are being changed.

    Parameters
    ----------
    cursor, sql
        Where they are, in a transaction that writes.
    entry_bytes
        The size of an entry.
    """

    def __init__(self, cursor: DriverCursor, sql: IndexStatements, entry_bytes: int) -> None:
        self._cursor = cursor
        self._sql = sql
        self._entry_bytes = entry_bytes
        self._capacity = capacity(cursor, entry_bytes)
        self._changed: dict[int, Entries] = {}
        self._moved: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = {}

    def remove(self, block: int, ids: Iterable[int]) -> None:
        """Take the entries of ``ids`` out of a block."""
        entries = self._entries(block)
        out = np.fromiter(ids, np.int64)
        is_out = np.isin(ids_of(entries), out)
        if np.count_nonzero(is_out) != len(out):
            raise CorruptValue(
                f"block {block} of a vector index does not have each once the rows that should be in it. "
                "Call rebuild_index"
            )
        self._changed[block] = entries[~is_out]

    def add(self, first: int, end: int, entries: Entries) -> None:
        """Put entries into the blocks of a list, which have ids from ``first`` to below ``end``.

        Into those with room that are being changed, then into the last, then into new ones.
        """
        for block in sorted(block for block in self._changed if first <= block < end):
            entries = self._fill(block, entries)
        last = self._last(first, end)
        if last is not None and last not in self._changed:
            entries = self._fill(last, entries)
        block = first if last is None else last + 1
        for start in range(0, len(entries), self._capacity):
            self._put(block, entries[start : start + self._capacity])
            block += 1

    def compact(self, first: int, end: int) -> None:
        """Fill the room in blocks of a list with entries of its last ones."""
        for block in sorted(block for block in self._changed if first <= block < end):
            while len(self._changed[block]) < self._capacity:
                last = self._last(first, end)
                if last is None or last <= block:
                    break
                entries = self._entries(last)
                room = self._capacity - len(self._changed[block])
                keep = max(len(entries) - room, 0)
                self._changed[last] = entries[:keep]
                self._put(block, np.concatenate([self._changed[block], entries[keep:]]), moved=entries[keep:])

    def write(self) -> None:
        """Write what changed."""
        empty = [(block,) for block, entries in self._changed.items() if not len(entries)]
        if empty:
            self._cursor.many(self._sql.drop_block, empty)
        blocks = ((block, entries.tobytes()) for block, entries in self._changed.items() if len(entries))
        self._cursor.many(self._sql.put_block, blocks)
        for block, ids in self._moved.items():
            self._cursor.many(self._sql.put_place, zip(ids.tolist(), repeat(block), strict=False))
        self._changed, self._moved = {}, {}

    def _fill(self, block: int, entries: Entries) -> Entries:
        """Put entries into a block that there is, as long as it has room; return the others."""
        present = self._entries(block)
        room = self._capacity - len(present)
        if room <= 0 or not len(entries):
            return entries
        self._put(block, np.concatenate([present, entries[:room]]), moved=entries[:room])
        return entries[room:]

    def _put(self, block: int, entries: Entries, moved: Entries | None = None) -> None:
        self._changed[block] = entries
        ids = ids_of(entries if moved is None else moved)
        before = self._moved.get(block)
        self._moved[block] = ids if before is None else np.concatenate([before, ids])

    def _last(self, first: int, end: int) -> int | None:
        """Return the last block of a list that has entries."""
        own = [block for block in self._changed if first <= block < end]
        last = max((block for block in own if len(self._changed[block])), default=None)
        stored: int | None
        ((stored,),) = self._cursor.all(self._sql.last_block, first, end)
        # What has become empty is still stored.
        while stored is not None and stored in self._changed and not len(self._changed[stored]):
            ((stored,),) = self._cursor.all(self._sql.last_block, first, stored)
        return max((block for block in (last, stored) if block is not None), default=None)

    def _entries(self, block: int) -> Entries:
        if block in self._changed:
            return self._changed[block]
        row = self._cursor.one(self._sql.block, block)
        data = b"" if row is None else row[0]
        if not isinstance(data, bytes) or not data or len(data) % self._entry_bytes:
            raise CorruptValue(
                f"block {block} of a vector index is missing or damaged; expected entries of {self._entry_bytes} "
                "bytes. Call rebuild_index"
            )
        return np.frombuffer(data, np.uint8).reshape(-1, self._entry_bytes)
