"""What a table has beside its columns that is ours: made, dropped and copied with it."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from typing import Any, TypeVar

from sqlalchemy import Column, Integer, Table, event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.schema import SchemaItem
from typing_extensions import Self

from ..errors import InvalidArgument
from .verbatim import Verbatim

__all__ = [
    "RECREATED",
    "Attachment",
    "attached_to",
    "check_attachment_name",
    "integer_key",
    "is_script",
    "is_temporary",
    "temporary_name",
]

# In the ``memo`` of Alembic's implementation of a dialect: the copies that it puts in the place of tables, by name.
RECREATED = "kohakuvault.recreated"

_TEMPORARY = "_alembic_tmp_"
_LONGEST_TEMPORARY = 50

_attached: weakref.WeakKeyDictionary[Table, list[Attachment]] = weakref.WeakKeyDictionary()

Kind = TypeVar("Kind", bound="Attachment")


class Attachment(SchemaItem):
    """Something of ours that belongs to a table, for ``__table_args__`` or the arguments of :class:`~sqlalchemy.Table`.

    ``create_all`` makes it after its table and ``drop_all`` drops it before; ``Table.to_metadata`` copies it. Names are
    unique within a database.
    """

    name: str
    table: Table

    def _set_parent(self, parent: Any, **kw: Any) -> None:
        self.table = parent
        _attached.setdefault(parent, []).append(self)
        event.listen(parent, "after_create", self._with_table("create"))
        event.listen(parent, "before_drop", self._with_table("drop"))
        if kw.get("is_copy"):
            # The column is being attached, with the listener of the original.
            return
        if self._anchor() is None:
            # The arguments of a Table may be in any order.
            event.listen(parent, "after_parent_attach", lambda table, metadata: self._copy_with_column())
        else:
            self._copy_with_column()

    def _copy_with_column(self) -> None:
        """Have a copy of the table, whose columns are copied with their listeners, get a copy of this."""
        anchor = self._anchor()
        if anchor is not None:
            event.listen(anchor, "after_parent_attach", self._column_attached, propagate=True)

    def _column_attached(self, column: Any, table: Any) -> None:
        if isinstance(table, Table) and table is not self.table:
            self.copy()._set_parent_with_dispatch(table, is_copy=True)

    def _with_table(self, what: str) -> Any:
        def run(table: Table, connection: Connection | None, _ddl_runner: Any = None, **kw: Any) -> None:
            replaced = getattr(_ddl_runner, "memo", {}).get(RECREATED, ())
            if is_temporary(table.name) or temporary_name(table.name) in replaced:
                # Of a table that Alembic replaces by a copy everything stays, but for its triggers: see
                # orm/alembic/batch_triggers.py.
                return
            if connection is not None and not is_script(_ddl_runner):
                getattr(self, what)(connection)
                return
            for sql in getattr(self, f"{what}_statements")(_ddl_runner.dialect):
                _ddl_runner.execute(Verbatim(sql))

        return run

    @abstractmethod
    def _anchor(self) -> Column[Any] | None:
        """Return a column that this belongs to; None if the table has no such column yet."""

    @abstractmethod
    def copy(self) -> Self:
        """Return the same for another table."""

    @abstractmethod
    def create(self, connection: Connection, checkfirst: bool = False) -> None:
        """Make it for a table that exists; with ``checkfirst`` only if it is not there."""

    @abstractmethod
    def drop(self, connection: Connection) -> None:
        """Drop it; the table stays as it is."""

    @abstractmethod
    def create_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that makes it for a table that exists, whatever is in that, without a database to look at."""

    @abstractmethod
    def drop_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that drops it."""


def attached_to(table: Any, kind: type[Kind]) -> list[Kind]:
    """Return what of that kind belongs to a table; nothing of what is no :class:`~sqlalchemy.Table`."""
    found = _attached.get(table, []) if isinstance(table, Table) else []
    return [each for each in found if isinstance(each, kind)]


def is_temporary(name: str) -> bool:
    """Whether a table is the copy that Alembic's batch mode makes of another, to put it in its place."""
    return name.startswith(_TEMPORARY)


def is_script(runner: Any) -> bool:
    """Whether what runs DDL is Alembic's ``--sql``, which has no database."""
    return bool(getattr(runner, "as_sql", False))


def temporary_name(name: str) -> str:
    """Return the name of the copy that Alembic's batch mode makes of a table."""
    return f"{_TEMPORARY}{name}"[:_LONGEST_TEMPORARY]


def check_attachment_name(name: Any, what: str) -> str:
    """Return ``name`` if it can name a ``what``; otherwise raise."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidArgument(f"{what} is named by a str that is not empty, not {name!r}")
    return name


def integer_key(table: Table, what: str) -> Column[Any]:
    """Return the column that identifies a row of ``table``; raise if ``what`` cannot name rows by it."""
    keys = list(table.primary_key.columns)
    if len(keys) != 1 or not isinstance(keys[0].type, Integer):
        raise InvalidArgument(f"{what}: table {table.name!r} needs one primary key column, an integer")
    return keys[0]
