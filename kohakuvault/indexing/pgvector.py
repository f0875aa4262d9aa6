"""Vector indexes on PostgreSQL: pgvector's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex

__all__ = ["create", "describe", "drop", "kind_on_postgresql", "rebuild"]

_KINDS = {"auto": "hnsw", "rabitq": "hnsw", "vss": "hnsw", "vec": "hnsw", "ivf": "ivfflat"}
_TYPES = {"f32": "vector", "f16": "halfvec", "i8": "halfvec", "bit": "bit"}
_MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000, "bit": 64_000}
# Rows from which an index is better than comparing every row: of one that was asked for, and of "auto".
WORTHWHILE = (1, 5000)
_DESCRIBE = """
SELECT amname, pg_relation_size(pg_class.oid) FROM pg_class JOIN pg_am ON pg_am.oid = relam
WHERE pg_class.oid = to_regclass(quote_ident(%s))
"""
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
    """Make the index of a new table: those that are learned from rows are made by :func:`rebuild`."""
    if index.kind != "auto" and kind_on_postgresql(index) == "hnsw":
        _create(connection, index)


def rebuild(connection: Connection, index: VectorIndex, *, optimizes: bool) -> None:
    """Make the index anew; with ``optimizes`` also one that there is not yet, if there are enough rows."""
    exists = _exists(connection, index)
    if not exists and (not optimizes or _rows(connection, index) < WORTHWHILE[index.kind == "auto"]):
        return
    drop(connection, index)
    _create(connection, index)


def _rows(connection: Connection, index: VectorIndex) -> int:
    return connection.scalar(select(func.count()).select_from(index.table)) or 0


def _exists(connection: Connection, index: VectorIndex) -> bool:
    name = connection.dialect.identifier_preparer.quote_identifier(index.name)
    return connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None


def describe(cursor: DriverCursor, index: VectorIndex) -> dict[str, Any]:
    """Return which method is in use, and its bytes."""
    cursor.cursor.execute(_DESCRIBE, (index.name,))
    found = cursor.cursor.fetchone()
    return {"in_use": found and found[0], "pending": 0, "bytes": found[1] if found else 0}


def _create(connection: Connection, index: VectorIndex) -> None:
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
