"""Whether the blocks of a vector index are what its rows say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import CorruptValue
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .blocks import ids_of
from .state import State
from .statements import SERIAL_BITS, IndexStatements, index_statements

__all__ = ["check_blocks"]

# The share of entries that may be in another list than that of the nearest centroid.
_BETWEEN = 0.01

Ids = np.ndarray[Any, np.dtype[np.int64]]


def check_blocks(cursor: DriverCursor, index: VectorIndex) -> list[str]:
    """Return what is wrong with the blocks of an index; every row and every block is read.

    Every row that has a vector is in exactly one block or pending; every entry of a block has its place, and every
    place its entry; an entry is what its row is encoded as. Entries of rows that are gone are no problem: REPLACE
    leaves them, and searches pass over them.
    """
    sql = index_statements(index, cursor.dialect)
    try:
        state = State.read(cursor, sql)
    except CorruptValue as error:
        return [str(error)]
    return list(_Contents(cursor, sql, state).problems())


class _Contents:
    """What is in the blocks, beside what should be."""

    def __init__(self, cursor: DriverCursor, sql: IndexStatements, state: State) -> None:
        self._cursor = cursor
        self._sql = sql
        self._state = state
        self._form = state.form
        ((count,),) = cursor.all(sql.pending_count, -1)
        pending = (row[0] for row in cursor.each(sql.pending_ids))
        self._pending = np.fromiter(pending, np.int64, count)

    def problems(self) -> Iterator[str]:
        """Give one after the other, each once with an example."""
        ids: list[Ids] = [np.empty(0, np.int64)]
        blocks: list[Ids] = [np.empty(0, np.int64)]
        differing: list[int] = []
        elsewhere: list[int] = []
        for block, data in self._cursor.each(self._sql.blocks):
            wrong = self._block(block, data)
            if wrong is not None:
                yield wrong
                continue
            entries = np.frombuffer(data, np.uint8).reshape(-1, self._form.entry_bytes)
            ids.append(ids_of(entries))
            blocks.append(np.full(len(entries), block))
            settled = self._settled(entries)
            differing += [id for id, entry, vector in settled if not self._is_entry_of(entry, id, vector)]
            elsewhere += self._elsewhere(block >> SERIAL_BITS, settled)
        placed = np.array([*zip(np.concatenate(ids).tolist(), np.concatenate(blocks).tolist(), strict=True)], np.int64)
        yield from self._places(placed.reshape(-1, 2))
        # A vector between two centroids may go to either, as sums are rounded.
        if len(elsewhere) > _BETWEEN * sum(map(len, ids)):
            yield from _told(
                elsewhere, "{} entries of a vector index are in lists of other centroids, such as that of {}"
            )
        yield from _told(
            differing, "{} of the entries of a vector index are not what their rows are, such as that of {}"
        )

    def _block(self, block: int, data: Any) -> str | None:
        expected = f"expected entries of {self._form.entry_bytes} bytes"
        if not isinstance(data, bytes) or not data or len(data) % self._form.entry_bytes:
            return f"block {block} of a vector index is damaged; {expected}"
        lists = 1 if self._state.centroids is None else len(self._state.centroids)
        if not 0 <= block >> SERIAL_BITS < lists:
            return f"block {block} of a vector index is of a list that there is not; there are {lists}"
        return None

    def _places(self, placed: Any) -> Iterator[str]:
        found, times = np.unique(placed[:, 0], return_counts=True)
        yield from _told(found[times > 1], "{} rows are more than once in a vector index, such as {}")
        entries = {(id, block) for id, block in placed.tolist()}
        places = set(self._cursor.all(self._sql.places))
        yield from _told(
            _firsts(entries - places), "{} entries of a vector index have no place or another, such as that of {}"
        )
        yield from _told(_firsts(places - entries), "{} places of a vector index are without entry, such as that of {}")
        rows = (row[0] for row in self._cursor.each(self._sql.present))
        missed = np.setdiff1d(np.fromiter(rows, np.int64), np.concatenate([found, self._pending]))
        yield from _told(missed, "{} rows are neither in a vector index nor pending, such as {}")

    def _settled(self, entries: Any) -> list[tuple[int, Any, Any]]:
        """Return id, entry and stored vector of those whose rows are there and not pending, which may differ."""
        ids = ids_of(entries)
        settled = ~np.isin(ids, self._pending)
        pairs = zip(ids[settled].tolist(), entries[settled], strict=True)
        found = ((id, entry, self._cursor.one(self._sql.vector, id)) for id, entry in pairs)
        return [(id, entry, row[0]) for id, entry, row in found if row is not None]

    def _elsewhere(self, list_: int, settled: list[tuple[int, Any, Any]]) -> list[int]:
        """Return the ids of entries that belong to another list."""
        if self._state.centroids is None:
            return []
        whole = [(id, vector) for id, _, vector in settled if self._is_whole(vector)]
        lists = self._state.lists_of([vector for _, vector in whole])
        return [id for (id, _), belongs in zip(whole, lists.tolist(), strict=True) if belongs != list_]

    def _is_whole(self, vector: Any) -> bool:
        return isinstance(vector, bytes) and len(vector) == self._state.row_bytes

    def _is_entry_of(self, entry: Any, id: int, vector: Any) -> bool:
        return self._is_whole(vector) and bool(entry.tobytes() == self._form.encode([(id, vector)]))


def _firsts(pairs: Iterable[Any]) -> list[int]:
    return sorted(pair[0] for pair in pairs)


def _told(ids: Any, what: str) -> Iterator[str]:
    if len(ids):
        yield what.format(len(ids), f"id {int(ids[0])}")
