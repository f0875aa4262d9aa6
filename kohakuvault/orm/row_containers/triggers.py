"""Triggers that keep what rows own in step with the rows, whoever changes those: plain SQL.

Each kind is an :class:`~kohakuvault.orm.attached.Attachment`, made and dropped with its table.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Any

from sqlalchemy import Column, Table, select
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import String

from ...errors import InvalidArgument
from ..attached import Attachment
from ..chunks import TriggerCount
from ..tables import VaultBase
from .trigger_sql import DELETE_LIST

__all__ = ["RowDictTriggers", "VaultList", "create_statements", "drop_statements", "short_name"]

# Bytes of a name on PostgreSQL.
_LONGEST = 63


def short_name(*parts: str) -> str:
    """Return the parts joined by ``_``; where that is too long for a name, a digest stands for the rest of them."""
    name = "_".join(parts)
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    end = f"_{digest}_{parts[-1]}"
    stem = name.encode()[: _LONGEST - len(end.encode())].decode(errors="ignore")
    return stem + end


def create_statements(attachment: Triggers, dialect: Dialect) -> list[str]:
    """Return the SQL that makes the triggers, anew where they are there, for a driver's cursor or a script."""
    return attachment.create_statements(dialect)


def drop_statements(attachment: Triggers, dialect: Dialect) -> list[str]:
    """Return the SQL that drops them, after what the rows own, where only the triggers know of it."""
    return attachment.drop_statements(dialect)


class _Names:
    """How names and texts are written in a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.is_sqlite = dialect.name == "sqlite"
        self._dialect = dialect
        self._preparer = dialect.identifier_preparer

    def table(self, table: Table) -> str:
        return self._preparer.format_table(table)

    def name(self, name: str) -> str:
        return self._preparer.quote(name)

    def text(self, text: str) -> str:
        process = String().dialect_impl(self._dialect).literal_processor(self._dialect)
        assert process is not None
        return process(text)

    def sql(self, sql: str) -> str:
        """Return SQL as a text: what is special to the driver is doubled in its names already."""
        return "'" + sql.replace("'", "''") + "'"

    def trigger(self, table: Table, name: str) -> str:
        # SQLite's triggers are in the schema of their table, and named with it.
        schema = f"{self.name(table.schema)}." if table.schema and self.is_sqlite else ""
        return schema + self.name(name)

    def bare(self, table: Table) -> str:
        """Return how a trigger in the table's own schema names it: on SQLite without the schema."""
        return self.name(table.name) if self.is_sqlite else self.table(table)


class _Count(TriggerCount):
    """How many of the triggers with these names there are on a table."""

    inherit_cache = False

    def __init__(self, table: Table, names: list[str]) -> None:
        self.entries = table
        self.names = names


class Triggers(Attachment):
    """Triggers for what rows own."""

    def create_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that makes them."""
        return self._made(_Names(dialect))

    def drop_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that drops them."""
        return self._unmade(_Names(dialect))

    @abstractmethod
    def _made(self, names: _Names) -> list[str]:
        """See :func:`create_statements`."""

    @abstractmethod
    def _unmade(self, names: _Names) -> list[str]:
        """See :func:`drop_statements`."""

    @abstractmethod
    def _by_table(self, is_sqlite: bool) -> dict[Table, list[str]]:
        """Return the names of the triggers on each table."""

    def is_complete(self, connection: Connection) -> bool:
        """Whether all of the triggers are there."""
        by_table = self._by_table(connection.dialect.name == "sqlite")
        return all(connection.scalar(select(_Count(table, names))) == len(names) for table, names in by_table.items())

    def create(self, connection: Connection, checkfirst: bool = False) -> None:
        """Make the triggers, anew where they are there."""
        for sql in create_statements(self, connection.dialect):
            connection.exec_driver_sql(sql)

    def drop(self, connection: Connection) -> None:
        """Drop the triggers."""
        for sql in drop_statements(self, connection.dialect):
            connection.exec_driver_sql(sql)


class RowDictTriggers(Triggers):
    """What SQLite needs beside the foreign key of a table of rows' dicts, for connections that do not enforce those.

    Entries go with their row and follow its primary key, and there are none of a row that there is not. On PostgreSQL
    the foreign key sees to that.
    """

    __visit_name__ = "row_dict_triggers"

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the table; the triggers have it with something behind it."""
        return self.table.name

    @property
    def owner_key(self) -> Column[Any]:
        """The primary key of the rows."""
        (key,) = self.table.c.owner_id.foreign_keys
        return key.column

    def _anchor(self) -> Column[Any] | None:
        return self.table.columns.get("owner_id")

    def copy(self) -> RowDictTriggers:
        """Return the same for another table."""
        return RowDictTriggers()

    def _made(self, names: _Names) -> list[str]:
        if not names.is_sqlite:
            return []
        entries, owners = names.bare(self.table), names.bare(self.owner_key.table)
        key = names.name(self.owner_key.name)
        message = names.text(
            f"FOREIGN KEY constraint failed: the row of {self.owner_key.table.name} that would own this entry of "
            f"{self.table.name} does not exist, or has been deleted"
        )
        delete, update, insert = (names.trigger(self.table, name) for name in self._trigger_names)
        return [
            *self._unmade(names),
            f"CREATE TRIGGER {delete} AFTER DELETE ON {owners} "  # noqa: S608 (quoted names)
            f"BEGIN DELETE FROM {entries} WHERE owner_id = OLD.{key}; END",
            f"CREATE TRIGGER {update} AFTER UPDATE OF {key} ON {owners} WHEN OLD.{key} IS NOT NEW.{key} "  # noqa: S608
            f"BEGIN UPDATE {entries} SET owner_id = NEW.{key} WHERE owner_id = OLD.{key}; END",
            f"CREATE TRIGGER {insert} BEFORE INSERT ON {entries} "  # noqa: S608
            f"WHEN NOT EXISTS (SELECT 1 FROM {owners} WHERE {key} = NEW.owner_id) "
            f"BEGIN SELECT RAISE(ABORT, {message}); END",
        ]

    def _unmade(self, names: _Names) -> list[str]:
        if not names.is_sqlite:
            return []
        return [f"DROP TRIGGER IF EXISTS {names.trigger(self.table, name)}" for name in self._trigger_names]

    @property
    def _trigger_names(self) -> list[str]:
        """The names of the triggers: after a row is deleted, after its key changes, before an entry is inserted."""
        return [short_name(self.table.name, end) for end in ("owner_delete", "owner_update", "insert")]

    def _by_table(self, is_sqlite: bool) -> dict[Table, list[str]]:
        *of_owner, insert = self._trigger_names
        return {self.owner_key.table: of_owner, self.table: [insert]} if is_sqlite else {}


class VaultList(Triggers):
    """What belongs to a column that refers to a list of the row's own: see :func:`vault_list`.

    ``create_all`` makes the tables of a ColumnVault where they are missing, and triggers: a list is deleted after its
    row is, and after the row refers to another or none. Dropping the triggers deletes the lists.

    Parameters
    ----------
    column
        The name of the column, a nullable, unique BIGINT, or the column.
    """

    __visit_name__ = "vault_list"

    def __init__(self, column: str | Column[Any]) -> None:
        self.column_name = column if isinstance(column, str) else column.key

    def __repr__(self) -> str:
        return f"VaultList({self.column_name!r})"

    @property
    def name(self) -> str:  # type: ignore[override]
        """Those of the table and the column; the triggers have it with something behind it."""
        return f"{self.table.name}_{self.column_name}"

    def _anchor(self) -> Column[Any] | None:
        return self.table.columns.get(self.column_name)

    def copy(self) -> VaultList:
        """Return the same for another table."""
        return VaultList(self.column_name)

    def create(self, connection: Connection, checkfirst: bool = False) -> None:
        """Make the tables of a ColumnVault, where they are missing, and the triggers."""
        tables = [VaultBase.metadata.tables[name] for name in ("vault_column", "vault_block", "vault_payload")]
        VaultBase.metadata.create_all(connection, tables=tables, checkfirst=True)
        super().create(connection, checkfirst)

    def _made(self, names: _Names) -> list[str]:
        # The tables of a ColumnVault have to exist.
        table, column = names.table(self.table), names.name(self.table.c[self.column_name].name)
        if names.is_sqlite:
            if self.table.schema:
                raise InvalidArgument(
                    f"vault_list {self.name!r}: a trigger of SQLite reaches tables of its own schema only, and the "
                    f"lists are not in {self.table.schema!r}; declare the table without a schema"
                )
            delete, update, _ = self._triggers(names)
            changed = f"OLD.{column} IS NOT NULL AND OLD.{column} IS NOT NEW.{column}"
            body = DELETE_LIST.format(list=f"OLD.{column}")
            return [
                *self._dropped(names),
                f"CREATE TRIGGER {delete} AFTER DELETE ON {table} WHEN OLD.{column} IS NOT NULL BEGIN{body}END",
                f"CREATE TRIGGER {update} AFTER UPDATE OF {column} ON {table} WHEN {changed} BEGIN{body}END",
            ]
        from .trigger_sql import CREATE_FUNCTION, CREATE_TRIGGERS

        text = names.text(self.table.c[self.column_name].name)
        delete, update, truncate = self._triggers(names)
        clauses = (
            f"CREATE TRIGGER {delete} AFTER DELETE ON {table} FOR EACH ROW WHEN (OLD.{column} IS NOT NULL)",
            f"CREATE TRIGGER {update} AFTER UPDATE OF {column} ON {table} FOR EACH ROW "
            f"WHEN (OLD.{column} IS NOT NULL AND OLD.{column} IS DISTINCT FROM NEW.{column})",
            f"CREATE TRIGGER {truncate} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT",
        )
        made = [CREATE_TRIGGERS.format(trigger=names.sql(clause), column=text) for clause in clauses]
        return [CREATE_FUNCTION, *self._dropped(names), *made]

    def _unmade(self, names: _Names) -> list[str]:
        table, column = names.table(self.table), names.name(self.table.c[self.column_name].name)
        forgotten = f"UPDATE {table} SET {column} = NULL WHERE {column} IS NOT NULL"  # noqa: S608 (quoted names)
        return [forgotten, *self._dropped(names)]

    def _dropped(self, names: Any) -> list[str]:
        on = "" if names.is_sqlite else f" ON {names.table(self.table)}"
        return [f"DROP TRIGGER IF EXISTS {name}{on}" for name in self._triggers(names)]

    def _triggers(self, names: Any) -> list[str]:
        return [names.trigger(self.table, name) for name in self._trigger_names]

    @property
    def _trigger_names(self) -> list[str]:
        """The names of the triggers: after a deletion, after an update, before a TRUNCATE."""
        return [short_name(self.name, end) for end in ("delete", "update", "truncate")]

    def _by_table(self, is_sqlite: bool) -> dict[Table, list[str]]:
        names = self._trigger_names
        return {self.table: names[:2] if is_sqlite else names}
