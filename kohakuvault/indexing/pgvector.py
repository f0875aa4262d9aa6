"""Vector indexes on PostgreSQL: pgvector's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ..lending import DriverCursor
from ..orm.pgvector import POSTGRESQL_TYPES, kind_on_postgresql
from ..orm.vector_index import VectorIndex

__all__ = ["create", "describe", "drop", "exists", "rebuild"]

# Rows from which an index is better than comparing every row: of one that was asked for, and of "auto".
WORTHWHILE = (1, 5000)
_DESCRIBE = """
SELECT amname, pg_relation_size(pg_class.oid) FROM pg_class JOIN pg_am ON pg_am.oid = relam
WHERE pg_class.oid = to_regclass(quote_ident(%s))
"""
_OPTIONS = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",)}


def create(connection: Connection, index: VectorIndex) -> None:
    """Make the index of a table; one that is learned from rows, or not worthwhile without, if there are enough."""
    if index.kind != "auto" and kind_on_postgresql(index) == "hnsw":
        _create(connection, index)
    else:
        rebuild(connection, index, optimizes=True)


def rebuild(connection: Connection, index: VectorIndex, *, optimizes: bool) -> None:
    """Make the index anew; with ``optimizes`` also one that there is not yet, if there are enough rows."""
    there = exists(connection, index)
    if not there and (not optimizes or _rows(connection, index) < WORTHWHILE[index.kind == "auto"]):
        return
    drop(connection, index)
    _create(connection, index)


def _rows(connection: Connection, index: VectorIndex) -> int:
    return connection.scalar(select(func.count()).select_from(index.table)) or 0


def _default_lists(rows: int) -> int:
    """Return what pgvector's documentation recommends."""
    return min(max(1, rows // 1000 if rows <= 1_000_000 else int(rows**0.5)), 32_768)


def exists(connection: Connection, index: VectorIndex) -> bool:
    """Whether there is an index of that name."""
    return connection.scalar(select(func.to_regclass(func.quote_ident(index.name)))) is not None


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
    operators = f"{POSTGRESQL_TYPES[index.element]}_{index.metric}_ops"
    given = [f"{name} = {int(index.options[name])}" for name in _OPTIONS[kind] if name in index.options]
    if kind == "ivfflat" and not given:
        given = [f"lists = {_default_lists(_rows(connection, index))}"]
    options = f" WITH ({', '.join(given)})" if given else ""
    # As the driver takes it: the preparer has doubled what is special to that.
    connection.exec_driver_sql(
        f"CREATE INDEX {quote.quote_identifier(index.name)} ON {quote.format_table(index.table)} "
        f"USING {kind} ({quote.quote_identifier(index.column.name)} {operators}){options}"
    )


def drop(connection: Connection, index: VectorIndex) -> None:
    """Drop the index."""
    name = connection.dialect.identifier_preparer.quote_identifier(index.name)
    connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
