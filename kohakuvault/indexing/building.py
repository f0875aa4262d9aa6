"""Building a vector index from its table: all of its blocks at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, repeat
from typing import Any

import numpy as np

from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .blocks import capacity, ids_of
from .learning import batches, learn, unlearned
from .state import State
from .statements import IndexStatements, index_statements

__all__ = ["Progress", "build"]

# Called with how many rows are done, and how many there are.
Progress = Callable[[int, int], Any]


def build(
    cursor: DriverCursor, index: VectorIndex, learned: State | None = None, progress: Progress | None = None
) -> None:
    """Build an index anew, in the transaction of ``cursor``.

    Parameters
    ----------
    cursor, index
        Where, and which.
    learned
        How entries are made; None for what can be learned now, without inverted lists.
    progress
        Called now and then.
    """
    sql = index_statements(index, cursor.dialect)
    state = learned or learn(cursor, index, lists=False)
    cursor.run(sql.clear_blocks)
    cursor.run(sql.clear_places)
    cursor.run(sql.settle_all)
    (state or unlearned(index)).write(cursor, sql)
    if state is None:
        cursor.run(sql.note_all)
    else:
        ((rows,),) = cursor.all(sql.count)
        _write_blocks(cursor, sql, state, rows, progress)


def _write_blocks(
    cursor: DriverCursor, sql: IndexStatements, state: State, rows: int, progress: Progress | None
) -> None:
    form = state.form
    size = capacity(cursor, form.entry_bytes)
    rest = np.empty((0, form.entry_bytes), np.uint8)
    block = done = 0
    all_entries: list[Any] = []
    all_lists: list[Any] = []
    for batch in batches(cursor, sql):
        whole = [row for row in batch if isinstance(row[1], bytes) and len(row[1]) == state.row_bytes]
        entries = np.frombuffer(form.encode(whole), np.uint8).reshape(-1, form.entry_bytes)
        done += len(batch)
        if state.centroids is None:
            entries = np.concatenate([rest, entries])
            full = len(entries) // size
            for number in range(full):
                _write_block(cursor, sql, block, entries[number * size : (number + 1) * size])
                block += 1
            rest = entries[full * size :]
        else:
            all_entries.append(entries)
            all_lists.append(state.lists_of([vector for _, vector in whole]))
        if progress is not None:
            progress(done, max(rows, done))
    if len(rest):
        _write_block(cursor, sql, block, rest)
    if all_entries:
        _write_lists(cursor, sql, state, np.concatenate(all_entries), np.concatenate(all_lists), size)
    _note_damaged(cursor, sql)


def _write_lists(cursor: DriverCursor, sql: IndexStatements, state: State, entries: Any, lists: Any, size: int) -> None:
    order = np.argsort(lists, kind="stable")
    starts = np.searchsorted(lists[order], np.arange(lists.max() + 2))
    for list_, (start, end) in enumerate(pairwise(starts)):
        for number, first in enumerate(range(start, end, size)):
            some = entries[order[first : min(first + size, end)]]
            _write_block(cursor, sql, state.first_block(list_) + number, some)


def _write_block(cursor: DriverCursor, sql: IndexStatements, block: int, entries: Any) -> None:
    cursor.run(sql.put_block, block, entries.tobytes())
    cursor.many(sql.put_place, zip(ids_of(entries).tolist(), repeat(block), strict=False))


def _note_damaged(cursor: DriverCursor, sql: IndexStatements) -> None:
    """Note rows that could not be encoded, so that searches name them."""
    cursor.run(sql.note_unplaced)
