"""Building a vector index from its table: all of its blocks at once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np

from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .blocks import capacity, ids_of
from .clustering import SAMPLE_PER_LIST, centroids_of, default_lists, default_probes
from .kinds import LISTS_FROM, code_of, first_fold, kind_on_sqlite
from .state import State, unpacked
from .statements import IndexStatements, index_statements

__all__ = ["Progress", "build"]

# Called with how many rows are done, and how many there are.
Progress = Callable[[int, int], Any]

_BATCH = 4096
_BEFORE_ALL = -(2**63)
# Vectors that the mean is taken of, at least.
_SAMPLE = 20_000


def build(cursor: DriverCursor, index: VectorIndex, *, lists: bool = False, progress: Progress | None = None) -> None:
    """Build an index anew, in the transaction of ``cursor``.

    Parameters
    ----------
    cursor, index
        Where, and which.
    lists
        Learn inverted lists, if the index is of a kind and size that has them.
    progress
        Called now and then.
    """
    sql = index_statements(index, cursor.dialect)
    kind = kind_on_sqlite(index)
    ((rows,),) = cursor.all(sql.count)
    state = State(
        kind,
        code_of(kind, index.metric),
        index.metric,
        index.element,
        index.dimensions,
        secrets.randbits(63),
    )
    cursor.run(sql.clear_blocks)
    cursor.run(sql.clear_places)
    count = 0
    if lists and state.code == "one-bit" and (kind == "ivf" or (kind == "auto" and rows >= LISTS_FROM)):
        count = int(index.options.get("lists") or default_lists(rows))
    is_worthwhile = rows >= first_fold(index.kind) or (lists and kind != "auto")
    sample = _sample(cursor, sql, state, rows, max(_SAMPLE, SAMPLE_PER_LIST * count)) if is_worthwhile else ()
    if not len(sample):
        # Not worth it yet: without blocks a search compares every row.
        state.write(cursor, sql)
        cursor.run(sql.settle_all)
        cursor.run(sql.note_all)
        return
    if state.code == "one-bit":
        state.mean = sample.mean(axis=0, dtype=np.float64).astype("<f4").tobytes()
    if count:
        state.centroids = centroids_of(sample, count, state.seed)
        state.probes = int(index.options.get("probes") or default_probes(len(state.centroids)))
    state.write(cursor, sql)
    _write_blocks(cursor, sql, state, rows, progress)


def _write_blocks(
    cursor: DriverCursor, sql: IndexStatements, state: State, rows: int, progress: Progress | None
) -> None:
    form = state.form
    size = capacity(cursor, form.entry_bytes)
    cursor.run(sql.settle_all)
    rest = np.empty((0, form.entry_bytes), np.uint8)
    block, done, all_entries, all_lists = 0, 0, [], []
    for batch in _batches(cursor, sql):
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
    for list_, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
        for number, first in enumerate(range(start, end, size)):
            some = entries[order[first : min(first + size, end)]]
            _write_block(cursor, sql, state.first_block(list_) + number, some)


def _write_block(cursor: DriverCursor, sql: IndexStatements, block: int, entries: Any) -> None:
    cursor.run(sql.put_block, block, entries.tobytes())
    cursor.many(sql.put_place, zip(ids_of(entries).tolist(), repeat(block), strict=False))


def _note_damaged(cursor: DriverCursor, sql: IndexStatements) -> None:
    """Note rows that could not be encoded, so that searches name them."""
    cursor.run(sql.note_unplaced)


def _batches(cursor: DriverCursor, sql: IndexStatements) -> Iterator[list[Any]]:
    after = _BEFORE_ALL
    while rows := cursor.all(sql.rows, after, _BATCH):
        yield rows
        after = rows[-1][0]


def _sample(cursor: DriverCursor, sql: IndexStatements, state: State, rows: int, size: int) -> Any:
    """Return about ``size`` vectors of rows all over the table, as float32."""
    vectors: list[bytes]
    if rows <= 2 * size:
        vectors = [row[1] for batch in _batches(cursor, sql) for row in batch]
    else:
        ((least, greatest),) = cursor.all(sql.bounds)
        starts = np.unique(np.random.default_rng(state.seed).integers(least, greatest, size, endpoint=True))
        found = (cursor.one(sql.next_row, start) for start in starts.tolist())
        vectors = list(dict(row for row in found if row is not None).values())
    vectors = [vector for vector in vectors if isinstance(vector, bytes) and len(vector) == state.row_bytes]
    return unpacked(vectors, state.element, state.dimensions, state.metric)
