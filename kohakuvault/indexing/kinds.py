"""Kinds of vector index: what each is made of, and when "auto" is which."""

from __future__ import annotations

from ..errors import InvalidArgument
from ..orm.vector_index import VectorIndex

__all__ = ["FIRST_FOLD", "FOLD", "LISTS_FROM", "code_of", "first_fold", "kind_on_sqlite"]

# Pending rows that are folded into blocks at once. Each costs a search some microseconds until then.
FOLD = 256
# The same, of an index that has no blocks yet: below, comparing every row is as fast.
FIRST_FOLD = {"auto": 5000}
_FIRST_FOLD = 1000

# Rows from which "auto" has inverted lists, after optimize().
LISTS_FROM = 300_000

_ON_SQLITE = {"hnsw": "rabitq", "ivfflat": "ivf"}

# Metrics that one-bit codes can be compared by.
_ONE_BIT = ("cosine", "l2", "ip")


def kind_on_sqlite(index: VectorIndex) -> str:
    """Return the kind that an index is on SQLite; of pgvector's kinds the one that is most like it."""
    kind = _ON_SQLITE.get(index.kind, index.kind)
    if kind in ("rabitq", "ivf") and index.metric not in _ONE_BIT:
        if index.kind != kind:
            return "exact"
        raise InvalidArgument(
            f"vector index {index.name!r}: kind {kind!r} is for the metrics {', '.join(_ONE_BIT)}, not "
            f"{index.metric!r}; use kind='exact' or 'auto'"
        )
    return kind


def code_of(kind: str, metric: str) -> str:
    """Return the code of the vectors in an index of that kind."""
    if metric == "hamming":
        return "signs"
    return "eight-bit" if kind == "exact" or metric not in _ONE_BIT else "one-bit"


def first_fold(kind: str) -> int:
    """Return the number of rows from which an index of that kind has blocks."""
    return FIRST_FOLD.get(kind, _FIRST_FOLD)
