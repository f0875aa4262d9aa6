"""Triggers survive Alembic's batch mode, which on SQLite replaces a table by a copy of it.

Dropping a table drops its triggers, ours and the application's, and Alembic does not make them again. So before it
drops the table, the triggers are read; once the copy has the table's name, they are made again. Satellite tables stay
as they are. With ``--sql`` there is nothing to read: of what the ``copy_from`` table has of ours, the triggers are made
for the copy, which keeps them when it is renamed.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from typing import Any

from alembic.ddl.base import RenameTable
from sqlalchemy import Table, event, text
from sqlalchemy.engine import Connection, Dialect

from ...errors import InvalidArgument
from ..attached import RECREATED, Attachment, attached_to, is_script, is_temporary, temporary_name
from ..verbatim import Verbatim

__all__: list[str] = []

_TRIGGERS = text(
    "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(:name) ORDER BY rowid"
)
_INDEXES = text(
    "SELECT name, sql FROM sqlite_master "
    "WHERE type = 'index' AND sql IS NOT NULL AND lower(tbl_name) = lower(:name) ORDER BY rowid"
)
# In the place of the number of a column.
_EXPRESSION = -2
_TABLES = text("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
_CHANGING = ("CASCADE", "SET NULL", "SET DEFAULT")

# Else SQLite refuses to rename the copy while there is no table of the name that triggers of other tables mention.
_LEGACY = "PRAGMA legacy_alter_table"

# By connection: of each copy the triggers that the table had.
_kept: weakref.WeakKeyDictionary[Connection, dict[str, list[str]]] = weakref.WeakKeyDictionary()


def _copies(runner: Any) -> dict[str, Table]:
    """Return the copies that Alembic is making, by their names; a new dict if it is not Alembic."""
    memo: dict[str, Any] = getattr(runner, "memo", {})
    copies: dict[str, Table] = memo.setdefault(RECREATED, {})
    return copies


@event.listens_for(Table, "before_create")
def _begin(table: Table, connection: Connection | None, _ddl_runner: Any = None, **kw: Any) -> None:
    if is_temporary(table.name) and _ddl_runner is not None and _ddl_runner.dialect.name == "sqlite":
        _copies(_ddl_runner)[table.name] = table


@event.listens_for(Table, "before_drop")
def _read(table: Table, connection: Connection | None, _ddl_runner: Any = None, **kw: Any) -> None:
    """Read the triggers of a table that is to be replaced."""
    copy = temporary_name(table.name)
    if connection is None or is_script(_ddl_runner) or copy not in _copies(_ddl_runner):
        return
    _refuse_cascades(connection, table.name)
    if connection not in _kept:
        _kept[connection] = {}
        event.listen(connection, "after_execute", _make_again)
    was_legacy = connection.exec_driver_sql(_LEGACY).scalar()
    connection.exec_driver_sql(f"{_LEGACY}=ON")
    triggers = [sql for sql in connection.scalars(_TRIGGERS, {"name": table.name}) if sql]
    _kept[connection][copy] = [f"{_LEGACY}={was_legacy}", *triggers, *_unreflected(connection, table)]


def _unreflected(connection: Connection, table: Table) -> list[str]:
    """Return what makes the indexes of expressions, such as of paths into packed values, which Alembic cannot see."""
    known = {index.name for index in table.indexes}
    quote = connection.dialect.identifier_preparer.quote_identifier
    found = []
    for name, sql in connection.execute(_INDEXES, {"name": table.name}).all():
        columns = connection.exec_driver_sql(f"PRAGMA index_xinfo({quote(name)})").all()
        if name not in known and any(column[1] == _EXPRESSION for column in columns):
            found.append(sql)
    return found


@event.listens_for(Table, "after_drop")
def _dropped(table: Table, connection: Connection | None, _ddl_runner: Any = None, **kw: Any) -> None:
    copies = _copies(_ddl_runner)
    # Dropped itself, if copying failed.
    copies.pop(table.name, None)
    copy = copies.pop(temporary_name(table.name), None)
    if copy is None or not is_script(_ddl_runner):
        return
    _ddl_runner.execute(Verbatim(f"{_LEGACY}=ON"))
    for sql in _triggers_of(table, _ddl_runner.dialect):
        _ddl_runner.execute(Verbatim(sql))


def _triggers_of(table: Table, dialect: Dialect) -> Iterator[str]:
    """Give what makes, for the copy, the triggers on a table that are ours: a table of others may be what has them."""
    quote = dialect.identifier_preparer
    names = {re.escape(name) for name in (quote.quote(table.name), quote.quote_identifier(table.name))}
    header = re.compile(rf"(CREATE TRIGGER\b.*? ON )(?:{'|'.join(names)})(?= )", re.DOTALL)
    copy = quote.quote_identifier(temporary_name(table.name))
    for owner in {*table.metadata.tables.values(), table}:
        for attachment in attached_to(owner, Attachment):  # type: ignore[type-abstract]
            for sql in attachment.create_statements(dialect):
                if header.match(sql.lstrip()):
                    yield header.sub(rf"\g<1>{copy}", sql, count=1)


def _make_again(connection: Connection, statement: Any, *rest: Any) -> None:
    """Make the triggers again, once the copy has the name of its table."""
    if isinstance(statement, RenameTable):
        for sql in _kept.get(connection, {}).pop(statement.table_name, ()):
            connection.exec_driver_sql(sql.replace("%", "%%") if connection.dialect.paramstyle == "format" else sql)


def _refuse_cascades(connection: Connection, name: str) -> None:
    """Raise if dropping the table would change rows of others, which SQLite does without a word."""
    if not connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        return
    quote = connection.dialect.identifier_preparer.quote_identifier
    for other in connection.scalars(_TABLES).all():
        keys = connection.exec_driver_sql(f"PRAGMA foreign_key_list({quote(other)})").all()
        actions = [key[6] for key in keys if key[2].lower() == name.lower() and key[6] in _CHANGING]
        if (
            actions
            and other.lower() != name.lower()
            and connection.exec_driver_sql(f"SELECT 1 FROM {quote(other)} LIMIT 1").first()  # noqa: S608 (quoted)
        ):
            raise InvalidArgument(
                f"batch_alter_table({name!r}) replaces the table, and table {other!r} refers to it with ON DELETE "
                f"{actions[0]}: SQLite would do so to its rows, because foreign keys are switched on. Switch them off "
                "for migrations: 'with without_foreign_keys(connection):' around context.configure() in env.py"
            )
