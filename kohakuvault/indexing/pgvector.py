"""Vector indexes on PostgreSQL: pgvector's own."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ..orm.vector_index import VectorIndex

__all__ = ["create", "drop", "kind_on_postgresql"]

_KINDS = {"auto": "hnsw", "rabitq": "hnsw", "vss": "hnsw", "vec": "hnsw", "ivf": "ivfflat"}
_TYPES = {"f32": "vector", "f16": "halfvec", "i8": "halfvec", "bit": "bit"}
_MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000, "bit": 64_000}
_OPTIONS = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",)}


def kind_on_postgresql(index: VectorIndex) -> str | None:
    """Return the method of an index on PostgreSQL; None for none, that is, comparing every row."""
    kind = _KINDS.get(index.kind, index.kind)
    if kind == "exact":
        return None
    type_ = _TYPES[index.element]
    unsupported = index.dimensions > _MOST_DIMENSIONS[type_] or (index.metric == "hamming") != (type_ == "bit")
    if unsupported or (kind == "ivfflat" and index.metric == "l1"):
        return None
    return kind


def create(connection: Connection, index: VectorIndex) -> None:
    """Make pgvector's index, where it has one for the type, the metric and the dimensions."""
    kind = kind_on_postgresql(index)
    if kind is None:
        return
    quote = connection.dialect.identifier_preparer
    operators = f"{_TYPES[index.element]}_{index.metric}_ops"
    given = [f"{name} = {int(index.options[name])}" for name in _OPTIONS[kind] if name in index.options]
    options = f" WITH ({', '.join(given)})" if given else ""
    connection.execute(
        text(
            f"CREATE INDEX {quote.quote_identifier(index.name)} ON {quote.format_table(index.table)} "
            f"USING {kind} ({quote.quote_identifier(index.column.name)} {operators}){options}"
        )
    )


def drop(connection: Connection, index: VectorIndex) -> None:
    """Drop the index."""
    connection.execute(text(f"DROP INDEX IF EXISTS {connection.dialect.identifier_preparer.quote_identifier(index.name)}"))
