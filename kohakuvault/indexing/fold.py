"""Folding: what the triggers noted since goes into the blocks of its index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .blocks import Blocks
from .building import build
from .learning import BEFORE_ALL
from .state import State
from .statements import IndexStatements, index_statements

__all__ = ["fold"]

_BATCH = 4096


def fold(cursor: DriverCursor, index: VectorIndex) -> None:
    """Bring everything that is pending into the blocks, in the transaction of ``cursor``."""
    sql = index_statements(index, cursor.dialect)
    if cursor.one(sql.has_blocks) is None or cursor.one(sql.rows, BEFORE_ALL, 1) is None:
        build(cursor, index)
        return
    state = State.read(cursor, sql)
    after = BEFORE_ALL
    while rows := cursor.all(sql.pending, after, _BATCH):
        _fold(cursor, sql, state, rows)
        after = rows[-1][0]


def _fold(cursor: DriverCursor, sql: IndexStatements, state: State, rows: Sequence[Any]) -> None:
    # What cannot be encoded stays pending: every search names it, as one without an index does.
    settled = [row for row in rows if row[1] is None or _is_whole(row[1], state)]
    present = [(id, vector) for id, vector, _ in settled if vector is not None]
    form = state.form
    blocks = Blocks(cursor, sql, form.entry_bytes)
    out: dict[int, list[int]] = defaultdict(list)
    for id, _, block in rows:
        if block is not None:
            out[block].append(id)
    for block, ids in out.items():
        blocks.remove(block, ids)
    lists = state.lists_of([vector for _, vector in present])
    entries = np.frombuffer(form.encode(present), np.uint8).reshape(-1, form.entry_bytes)
    for list_ in np.unique(lists).tolist():
        blocks.add(state.first_block(list_), state.first_block(list_ + 1), entries[lists == list_])
    for list_ in {block >> 32 for block in out}:
        blocks.compact(state.first_block(list_), state.first_block(list_ + 1))
    # Places last: an id that moved has its new one.
    cursor.many(sql.drop_place, [(id,) for id, _, block in rows if block is not None])
    blocks.write()
    cursor.many(sql.settle, [(row[0],) for row in settled])


def _is_whole(vector: Any, state: State) -> bool:
    return isinstance(vector, bytes) and len(vector) == state.row_bytes
