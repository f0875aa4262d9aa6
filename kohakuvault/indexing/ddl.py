"""The tables and triggers of a vector index on SQLite, and pgvector's indexes on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import inspect
from sqlalchemy.engine import Connection, Dialect

from ..driver_connection import driver_of
from ..errors import InvalidArgument, SchemaMismatch
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from . import pgvector
from .kinds import kind_on_sqlite
from .statements import index_statements
from .stores import STORES, store_of
from .virtual import RANDOM, literal

__all__ = [
    "EVENTS",
    "SATELLITES",
    "create",
    "create_statements",
    "driver_cursor",
    "drop",
    "drop_statements",
    "exists",
    "renew",
    "restore",
]

SATELLITES = ("meta", "pending")
EVENTS = ("insert", "update", "delete")
VERSION = 1

_TABLES = {
    "meta": "key TEXT PRIMARY KEY NOT NULL, value",
    "pending": "id INTEGER PRIMARY KEY",
}

# INSERT OR REPLACE deletes rows without a DELETE trigger, and passes its OR REPLACE on to what the triggers run: so
# they run nothing that can conflict, and insertion counts as a change too. The key may be changed by any name of the
# rowid.
_TRIGGERS = {
    "insert": ("INSERT", ("NEW",)),
    "update": ("UPDATE OF {key}, rowid, oid, _rowid_, {vector}", ("OLD", "NEW")),
    "delete": ("DELETE", ("OLD",)),
}
_TRIGGERS_OF = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = ?"
_NOTE = (
    "INSERT INTO {pending} (id) SELECT {row}.{key} WHERE NOT EXISTS (SELECT 1 FROM {pending} WHERE id = {row}.{key});"
)

_NOTE_ALL = "INSERT INTO {pending} (id) SELECT {key} FROM {table} WHERE {key} NOT IN (SELECT id FROM {pending})"


def create(connection: Connection, index: VectorIndex) -> None:
    """Make an index of a table that exists, and build it."""
    if connection.dialect.name != "sqlite":
        pgvector.create(connection, index)
        return
    _refuse_schema(index)
    store = store_of(index)
    if exists(connection, index):
        _drop_orphan(connection, index)
    _create_empty(connection, index)
    store.create(connection)
    cursor = driver_cursor(connection)
    cursor.run(index_statements(index, cursor.dialect).note_all)
    store.take_in(cursor)


def create_statements(index: VectorIndex, dialect: Dialect) -> list[str]:
    """Return the SQL that makes an index of a table that exists.

    On SQLite every row is pending: the index is complete, and the blocks are built when what is pending is folded.
    """
    if dialect.name != "sqlite":
        return pgvector.create_statements(index, dialect)
    _refuse_schema(index)
    names = _names(dialect, index)
    note_all = _NOTE_ALL.format(**names)
    return [*_empty_statements(index, dialect), *store_of(index).create_statements(), note_all]


def drop_statements(index: VectorIndex, dialect: Dialect) -> list[str]:
    """Return the SQL that drops an index."""
    if dialect.name != "sqlite":
        return pgvector.drop_statements(index, dialect)
    return [*store_of(index).drop_statements(), *_drop_own_statements(index, dialect)]


def _refuse_schema(index: VectorIndex) -> None:
    if index.table.schema is not None:
        raise InvalidArgument(
            f"vector index {index.name!r}: table {index.table.fullname!r} is in a schema, that is, an attached "
            "database on SQLite, where indexes are not supported"
        )


def exists(connection: Connection, index: VectorIndex) -> bool:
    """Whether there is an index of that name."""
    if connection.dialect.name != "sqlite":
        return pgvector.exists(connection, index)
    return inspect(connection).has_table(f"{index.name}_meta")


def _drop_orphan(connection: Connection, index: VectorIndex) -> None:
    """Drop what is left of an index whose table was dropped by other means; raise if that is not what is there."""
    known = {column["name"] for column in inspect(connection).get_columns(f"{index.name}_meta")}
    version = None
    if known == {"key", "value"}:
        cursor = driver_cursor(connection)
        version = dict(cursor.all(index_statements(index, connection.dialect).meta)).get("version")
    if version is None:
        raise SchemaMismatch(
            f"table {index.name + '_meta'!r} exists and is not of a vector index: choose another name for the index, "
            "or for its table"
        )
    if connection.exec_driver_sql(_TRIGGERS_OF, (f"{index.name}_insert",)).scalar():
        raise SchemaMismatch(
            f"there is a vector index {index.name!r} already: drop() it first, or create(checkfirst=True)"
        )
    drop(connection, index)


def restore(connection: Connection, index: VectorIndex) -> None:
    """Make the tables and triggers anew, whatever state they are in, and what ``<name>_meta`` says."""
    drop(connection, index)
    _create_empty(connection, index)
    store_of(index).create(connection)


def renew(connection: Connection, index: VectorIndex) -> None:
    """As :func:`restore`, but for the tables of its store: those are left alone."""
    _drop_own(connection, index)
    _create_empty(connection, index)


def _create_empty(connection: Connection, index: VectorIndex) -> None:
    _run(connection, _empty_statements(index, connection.dialect))


def _empty_statements(index: VectorIndex, dialect: Dialect) -> list[str]:
    """Return what makes the tables that every index has, the triggers that note what changes, and what meta says."""
    names = _names(dialect, index)
    tables = [f"CREATE TABLE {names[satellite]} ({columns})" for satellite, columns in _TABLES.items()]
    triggers = []
    for name, (event, rows) in _TRIGGERS.items():
        notes = " ".join(_NOTE.format(row=row, **names) for row in rows)
        triggers.append(
            f"CREATE TRIGGER {names[name]} AFTER {event.format(**names)} ON {names['table']} BEGIN {notes} END"
        )
    said = ", ".join(f"({literal(key)}, {value})" for key, value in _meta(index).items())
    return [*tables, *triggers, f"INSERT INTO {names['meta']} (key, value) VALUES {said}"]  # noqa: S608 (quoted)


def drop(connection: Connection, index: VectorIndex) -> None:
    """Drop an index, and nothing else."""
    if connection.dialect.name != "sqlite":
        pgvector.drop(connection, index)
        return
    for store in STORES:
        store.drop(connection, index.name)
    _drop_own(connection, index)


def _drop_own(connection: Connection, index: VectorIndex) -> None:
    _run(connection, _drop_own_statements(index, connection.dialect))


def _drop_own_statements(index: VectorIndex, dialect: Dialect) -> list[str]:
    names = _names(dialect, index)
    triggers = [f"DROP TRIGGER IF EXISTS {names[event]}" for event in EVENTS]
    return [*triggers, *(f"DROP TABLE IF EXISTS {names[satellite]}" for satellite in SATELLITES)]


def _run(connection: Connection, statements: Iterable[str]) -> None:
    for sql in statements:
        connection.exec_driver_sql(sql)


def driver_cursor(connection: Connection) -> DriverCursor:
    """Return a cursor of the driver's, in the transaction of ``connection``."""
    return DriverCursor(driver_of(connection), connection.engine, transaction=connection)


def _meta(index: VectorIndex) -> dict[str, str]:
    """Return what ``<name>_meta`` says, as SQL."""
    said = {
        "kind": kind_on_sqlite(index),
        "metric": index.metric,
        "element": index.element,
        "key": index.key.name,
        "vector": index.column.name,
        "options": json.dumps(index.options),
    }
    numbers = {"version": str(VERSION), "dimensions": str(index.dimensions), "stamp": RANDOM}
    return {**numbers, **{key: literal(value) for key, value in said.items()}, **store_of(index).meta()}


def _names(dialect: Dialect, index: VectorIndex) -> dict[str, str]:
    """Return the quoted names that statements are made of."""
    quote = dialect.identifier_preparer.quote_identifier
    names = {each: quote(f"{index.name}_{each}") for each in (*SATELLITES, *EVENTS)}
    return {**names, "table": quote(index.table.name), "key": quote(index.key.name), "vector": quote(index.column.name)}
