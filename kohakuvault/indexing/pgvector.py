"""Vector indexes on PostgreSQL: pgvector's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection, Dialect

from ..lending import DriverCursor
from ..orm.pgvector import POSTGRESQL_TYPES, kind_on_postgresql
from ..orm.vector_index import VectorIndex
from .virtual import literal

__all__ = ["create", "create_statements", "describe", "drop", "drop_statements", "exists", "rebuild"]

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
    name: Any = func.quote_ident(index.name)
    if index.table.schema is not None:
        name = func.quote_ident(index.table.schema) + "." + name
    return connection.scalar(select(func.to_regclass(name))) is not None


def describe(cursor: DriverCursor, index: VectorIndex) -> dict[str, Any]:
    """Return which method is in use, and its bytes."""
    cursor.cursor.execute(_DESCRIBE, (index.name,))
    found = cursor.cursor.fetchone()
    return {"in_use": found and found[0], "pending": 0, "bytes": found[1] if found else 0}


def create_statements(index: VectorIndex, dialect: Dialect) -> list[str]:
    """Return what makes the index, as :func:`create` does: one that takes rows looks at how many there are."""
    kind = kind_on_postgresql(index)
    statements = _statements(index, dialect, None)
    if not statements or (index.kind != "auto" and kind == "hnsw"):
        return statements
    made = literal(statements[0])
    if kind == "ivfflat" and "lists" not in index.options:
        made += " || ' WITH (lists = ' || least(32768, CASE WHEN n > 1000000 THEN sqrt(n)::bigint "
        made += "ELSE greatest(1, n / 1000) END) || ')'"
    table = dialect.identifier_preparer.format_table(index.table)
    return [
        f"DO $do$ DECLARE n bigint := (SELECT count(*) FROM {table}); BEGIN "  # noqa: S608 (quoted)
        f"IF n >= {WORTHWHILE[index.kind == 'auto']} THEN EXECUTE {made}; END IF; END $do$"
    ]


def drop_statements(index: VectorIndex, dialect: Dialect) -> list[str]:
    """Return what drops the index."""
    name = dialect.identifier_preparer.quote_identifier(index.name)
    if index.table.schema is not None:
        name = f"{dialect.identifier_preparer.quote_schema(index.table.schema)}.{name}"
    return [f"DROP INDEX IF EXISTS {name}"]


def _create(connection: Connection, index: VectorIndex) -> None:
    for sql in _statements(index, connection.dialect, connection):
        connection.exec_driver_sql(sql)


def _statements(index: VectorIndex, dialect: Dialect, connection: Connection | None) -> list[str]:
    kind = kind_on_postgresql(index)
    if kind is None:
        return []
    quote = dialect.identifier_preparer
    operators = f"{POSTGRESQL_TYPES[index.element]}_{index.metric}_ops"
    given = [f"{name} = {int(index.options[name])}" for name in _OPTIONS[kind] if name in index.options]
    if kind == "ivfflat" and not given and connection is not None:
        given = [f"lists = {_default_lists(_rows(connection, index))}"]
    options = f" WITH ({', '.join(given)})" if given else ""
    # As the driver takes it: the preparer has doubled what is special to that.
    return [
        f"CREATE INDEX {quote.quote_identifier(index.name)} ON {quote.format_table(index.table)} "
        f"USING {kind} ({quote.quote_identifier(index.column.name)} {operators}){options}"
    ]


def drop(connection: Connection, index: VectorIndex) -> None:
    """Drop the index."""
    for sql in drop_statements(index, connection.dialect):
        connection.exec_driver_sql(sql)
