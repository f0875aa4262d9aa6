"""Which index of pgvector a :class:`VectorIndex` is on PostgreSQL, and how searches by it are set."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, select

from .vector_index import VectorIndex

__all__ = ["POSTGRESQL_TYPES", "kind_on_postgresql", "prepared_for"]

_KINDS = {"auto": "hnsw", "rabitq": "hnsw", "vss": "hnsw", "vec": "hnsw", "ivf": "ivfflat"}
POSTGRESQL_TYPES = {"f32": "vector", "f16": "halfvec", "i8": "halfvec", "bit": "bit"}
_MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000, "bit": 64_000}

# Candidates that hnsw keeps, at most 1000 and at least this; lists that ivfflat searches.
_EF_SEARCH = 100
_PROBES = 20


def kind_on_postgresql(index: VectorIndex) -> str | None:
    """Return the method of an index on PostgreSQL; None for none, that is, comparing every row."""
    kind = _KINDS.get(index.kind, index.kind)
    if kind == "exact":
        return None
    type_ = POSTGRESQL_TYPES[index.element]
    unsupported = index.dimensions > _MOST_DIMENSIONS[type_] or (index.metric == "hamming") != (type_ == "bit")
    if unsupported or (kind == "ivfflat" and index.metric == "l1"):
        return None
    return kind


def prepared_for(index: VectorIndex, k: ColumnElement[int]) -> ColumnElement[bool] | None:
    """Return a condition, always true, that sets how thoroughly the index is searched for ``k`` rows.

    Until the end of the transaction. None if PostgreSQL has no such index.
    """
    kind = kind_on_postgresql(index)
    if kind is None:
        return None
    value: Any
    if kind == "hnsw":
        least = int(index.options.get("ef_search", _EF_SEARCH))
        name, value = "hnsw.ef_search", func.greatest(least, 2 * func.least(k, 500))
    else:
        name, value = "ivfflat.probes", int(index.options.get("probes", _PROBES))
    # Of no table, so that it is evaluated once, before the first row.
    return select(func.set_config(name, cast(value, String), True)).scalar_subquery().is_not(None)
