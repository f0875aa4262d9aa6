"""Folding: what the triggers noted since goes into the blocks of its index."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..binding.base import savepoint
from ..errors import CorruptValue, InvalidDatabase, SchemaMismatch
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .blocks import Blocks
from .building import build
from .kinds import FOLD, first_fold
from .state import State
from .statements import IndexStatements, index_statements

__all__ = ["FoldCounter", "fold"]

_BATCH = 4096
_BEFORE_ALL = -(2**63)


class FoldCounter:
    """Folds an index when about enough rows are pending.

    What is pending is counted when this process has written enough since it was last counted, so that a write costs
    nothing; what another process left is counted at the first write.
    """

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self._left = 0

    def written(self, cursor: DriverCursor, rows: int) -> None:
        """Tell that ``rows`` rows were written in the transaction of ``cursor``, and fold if that is due."""
        self._left -= rows
        # In autocommit a fold would be several transactions.
        if self._left > 0 or not cursor.in_transaction:
            return
        try:
            pending, due = _pending(cursor, self._index)
            self._left = FOLD if pending >= due else due - pending
            if pending >= due:
                with savepoint(cursor):
                    fold(cursor, self._index)
        except (CorruptValue, InvalidDatabase, SchemaMismatch) as error:
            if not cursor.in_transaction:
                raise
            self._left = FOLD
            if cursor.one(index_statements(self._index, cursor.dialect).exists) is None:
                # Declared, and not made yet.
                return
            # The rows are what matters, and they are well. Searches raise the error.
            warnings.warn(
                f"vector index {self._index.name!r} is damaged, and stays behind its table until rebuild_index() or "
                f"check(fix=True) mends it: {error}",
                RuntimeWarning,
                stacklevel=2,
            )


def _pending(cursor: DriverCursor, index: VectorIndex) -> tuple[int, int]:
    """Return how many rows are pending, and from how many on they are folded; what is more is not counted."""
    sql = index_statements(index, cursor.dialect)
    due = FOLD if cursor.one(sql.has_blocks) else first_fold(index.kind)
    ((pending,),) = cursor.all(sql.pending_count, due)
    return pending, due


def fold(cursor: DriverCursor, index: VectorIndex) -> None:
    """Bring everything that is pending into the blocks, in the transaction of ``cursor``."""
    sql = index_statements(index, cursor.dialect)
    if cursor.one(sql.has_blocks) is None or cursor.one(sql.rows, _BEFORE_ALL, 1) is None:
        build(cursor, index)
        return
    state = State.read(cursor, sql)
    after = _BEFORE_ALL
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
