"""Making, dropping, checking and rebuilding a text index in a database."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from ...binding import Binding
from ...errors import SchemaMismatch
from ...lending import translated_errors
from ...orm.attached import attached_to
from ...orm.row_containers import VaultList
from ...orm.text_index import TextIndex, satellites_of
from ...orm.vector_index import VectorIndex
from .ddl import create_statements, drop_statements
from .fts5 import TRIGGERS

__all__ = ["check", "create", "drop", "exists", "rebuild"]

_SQL_OF = "SELECT sql FROM sqlite_master WHERE type = ? AND lower(name) = lower(?)"
_TRIGGERS_OF = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?) ORDER BY rowid"
)
_INDEX_OF = """
SELECT indisvalid, indrelid = to_regclass(%s), amname
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indexrelid = to_regclass(%s)
"""


def create(connection: Connection, index: TextIndex) -> None:
    """Make an index of a table that exists, and put what is in the table into it."""
    statements = create_statements(index, connection.dialect)
    if connection.dialect.name == "sqlite":
        _drop_orphan(connection, index)
    _run(connection, statements)
    if connection.dialect.name == "sqlite":
        _make_first(connection, index)


def _make_first(connection: Connection, index: TextIndex) -> None:
    """Make the triggers anew that other things of ours have on the table, so that those of the index are the first.

    SQLite compiles triggers from the last that was made to the first. If FTS5 is used in one for the first time, and
    another connection has changed the schema, it is read again in the middle of the statement: a trigger that is
    compiled after it then fails once, with "no such table" of one that is there (as of SQLite 3.40).
    """
    others = [*attached_to(index.table, VectorIndex), *attached_to(index.table, VaultList)]
    prefixes = tuple(f"{each.name}_".lower() for each in others)
    quote = connection.dialect.identifier_preparer.quote_identifier
    for name, sql in connection.exec_driver_sql(_TRIGGERS_OF, (index.table.name,)).all():
        if prefixes and name.lower().startswith(prefixes):
            _run(connection, [f"DROP TRIGGER {quote(name)}", sql])


def drop(connection: Connection, index: TextIndex) -> None:
    """Drop an index, and nothing else."""
    _run(connection, drop_statements(index, connection.dialect))


def exists(connection: Connection, index: TextIndex) -> bool:
    """Whether there is an index of that name."""
    if connection.dialect.name == "sqlite":
        return _sql_of(connection, "table", index.name) is not None
    return connection.exec_driver_sql("SELECT to_regclass(%s)", (_regclass(index, index.name),)).scalar() is not None


def rebuild(binding: Binding, index: TextIndex) -> None:
    """Make an index anew in a transaction, whatever state it is in."""
    with translated_errors(binding.engine), binding.transaction() as connection:
        drop(connection, index)
        _run(connection, create_statements(index, connection.dialect))


def check(binding: Binding, index: TextIndex) -> list[str]:
    """Return what is wrong with an index, an empty list if nothing is."""
    with translated_errors(binding.engine), binding.transaction() as connection:
        problems = _on_sqlite if connection.dialect.name == "sqlite" else _on_postgresql
        return list(problems(connection, index))


def _run(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _sql_of(connection: Connection, kind: str, name: str) -> str | None:
    return connection.exec_driver_sql(_SQL_OF, (kind, name)).scalar()


def _drop_orphan(connection: Connection, index: TextIndex) -> None:
    """Drop what is left of an index whose table was dropped by other means; raise if that is not what is there."""
    made = _sql_of(connection, "table", index.name)
    if made is None:
        return
    if "using fts5" not in made.lower() or "content_rowid=" not in made:
        raise SchemaMismatch(
            f"table {index.name!r} exists and is not a text index: choose another name for the index, or for its table"
        )
    if _sql_of(connection, "trigger", f"{index.name}_insert") is not None:
        raise SchemaMismatch(
            f"there is a text index {index.name!r} already: drop() it first, or create(checkfirst=True)"
        )
    drop(connection, index)


def _on_sqlite(connection: Connection, index: TextIndex) -> Iterator[str]:
    there = {name.lower() for name in inspect(connection).get_table_names()}
    missing = [name for name in satellites_of(index) if name.lower() not in there]
    for name in missing:
        yield f"table {name!r} of the text index {index.name!r} is missing"
    own = [index.name, f"{index.name}_replaced", *(f"{index.name}_{trigger}" for trigger in TRIGGERS)]
    # In the order in which they are made.
    declared = dict(zip(own, create_statements(index, connection.dialect), strict=False))
    for name, statement in declared.items():
        kind = "trigger" if statement.startswith("CREATE TRIGGER") else "table"
        made = _sql_of(connection, kind, name)
        if made is None and kind == "trigger":
            yield f"trigger {name!r} of the text index {index.name!r} is missing, so that it may have missed changes"
        elif made is not None and made != statement:
            yield f"{kind} {name!r} of the text index {index.name!r} is not as it is declared: it was made by {made}"
    if not missing:
        yield from _compared(connection, index)


def _compared(connection: Connection, index: TextIndex) -> Iterator[str]:
    name = connection.dialect.identifier_preparer.quote_identifier(index.name)
    try:
        # With 1, FTS5 compares itself with the table too.
        connection.exec_driver_sql(f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
    except DBAPIError as error:
        yield f"the text index {index.name!r} does not agree with table {index.table.name!r}: {error.orig}"


def _on_postgresql(connection: Connection, index: TextIndex) -> Iterator[str]:
    names = (_regclass(index, index.table.name), _regclass(index, index.name))
    found = connection.exec_driver_sql(_INDEX_OF, names).one_or_none()
    if found is None:
        yield f"the text index {index.name!r} is missing"
        return
    valid, of_table, method = found
    if not of_table or method != "gin":
        yield f"index {index.name!r} is not a text index of table {index.table.name!r}"
    if not valid:
        yield f"the text index {index.name!r} is not valid: making it was interrupted"


def _regclass(index: TextIndex, name: str) -> str:
    """Return what PostgreSQL finds a table or index by, in the schema of the table."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (index.table.schema, name) if part is not None)
