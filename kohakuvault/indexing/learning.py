"""What an index learns from the vectors of its table before they are encoded: their mean, and inverted lists."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .clustering import SAMPLE_PER_LIST, centroids_of, default_lists, default_probes
from .kinds import LISTS_FROM, code_of, first_fold, kind_on_sqlite
from .state import State, unpacked
from .statements import IndexStatements, index_statements

__all__ = ["BEFORE_ALL", "batches", "learn", "unlearned"]

BEFORE_ALL = -(2**63)
_BATCH = 4096

# Vectors that the mean is taken of, at least.
_SAMPLE = 20_000


def learn(cursor: DriverCursor, index: VectorIndex, *, lists: bool) -> State | None:
    """Return how the entries of an index are to be made; None if it is to have none yet. Only reads.

    Parameters
    ----------
    cursor, index
        Where, and which.
    lists
        Whether to learn inverted lists, if the index is of a kind and size that has them.
    """
    sql = index_statements(index, cursor.dialect)
    state = unlearned(index)
    ((rows,),) = cursor.all(sql.count)
    if rows < first_fold(index.kind) and not (lists and state.kind != "auto"):
        # Not worth it yet: without blocks a search compares every row.
        return None
    count = 0
    if lists and state.code == "one-bit" and (state.kind == "ivf" or (state.kind == "auto" and rows >= LISTS_FROM)):
        count = int(index.options.get("lists") or default_lists(rows))
    sample = _sample(cursor, sql, state, rows, max(_SAMPLE, SAMPLE_PER_LIST * count))
    if not len(sample):
        return None
    if state.code == "one-bit":
        state.mean = sample.mean(axis=0, dtype=np.float64).astype("<f4").tobytes()
    if count:
        state.centroids = centroids_of(sample, count, state.seed)
        state.probes = int(index.options.get("probes") or default_probes(len(state.centroids), rows))
    return state


def unlearned(index: VectorIndex) -> State:
    """Return how the entries of an index are made of which nothing is known."""
    kind = kind_on_sqlite(index)
    code = code_of(kind, index.metric)
    return State(kind, code, index.metric, index.element, index.dimensions, secrets.randbits(63))


def batches(cursor: DriverCursor, sql: IndexStatements) -> Iterator[list[Any]]:
    """Give all rows that have a vector, as ``id, vector``, in the order of ids."""
    after = BEFORE_ALL
    while rows := cursor.all(sql.rows, after, _BATCH):
        yield rows
        after = rows[-1][0]


def _sample(
    cursor: DriverCursor, sql: IndexStatements, state: State, rows: int, size: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return about ``size`` vectors of rows all over the table."""
    vectors: list[Any]
    if rows <= 2 * size:
        vectors = [row[1] for batch in batches(cursor, sql) for row in batch]
    else:
        ((least, greatest),) = cursor.all(sql.bounds)
        starts = np.unique(np.random.default_rng(state.seed).integers(least, greatest, size, endpoint=True))
        found = (cursor.one(sql.next_row, start) for start in starts.tolist())
        vectors = list(dict(row for row in found if row is not None).values())
    whole = [vector for vector in vectors if isinstance(vector, bytes) and len(vector) == state.row_bytes]
    return unpacked(whole, state.element, state.dimensions, state.metric)
