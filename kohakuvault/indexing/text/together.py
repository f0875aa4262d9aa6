"""Rows that are inserted one behind the other and then indexed together, on SQLite.

A trigger for each row costs as much as FTS5 takes for it. So while rows are inserted whose ids are new, a mark among
the copies keeps the triggers of INSERT still; behind them, one statement indexes all of them. It is all in one
transaction, which nobody sees half of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import BigInteger, LargeBinary, Text, bindparam, column, delete, insert, select, table, union_all
from sqlalchemy.engine import Dialect

from ...lending import DriverCursor
from ...orm.text_index import TextIndex
from ...statements import Statement
from .fts5 import MARK, trigger_statements

__all__ = ["Together"]


class Together:
    """How rows of one table are indexed together."""

    def __init__(self, index: TextIndex, dialect: Dialect) -> None:
        self._triggers = set(trigger_statements(index, dialect))
        self._of_table = _triggers_of(index.table.name, dialect)
        copies = table(f"{index.name}_replaced", column("id", BigInteger()), column("c0", LargeBinary()))
        id, text = MARK
        self._mark = Statement(insert(copies).values(id=id, c0=text), (), dialect)
        self._unmark = Statement(delete(copies).where(copies.c.id == id), (), dialect)
        names = [each.name for each in index.columns]
        fts = table(index.name, column("rowid"), *map(column, names))
        first, last = (bindparam(name, type_=BigInteger()) for name in ("first", "last"))
        rows = select(index.key, *index.columns).where(index.key.between(first, last)).order_by(index.key)
        self._index = Statement(insert(fts).from_select(["rowid", *names], rows), ("first", "last"), dialect)

    @contextmanager
    def inserted(self, cursor: DriverCursor, ids: range) -> Iterator[None]:
        """Return a context in which rows of ``ids``, which are new, are inserted; they are indexed behind it.

        In the transaction, or savepoint, of ``cursor``, which does not survive an error. Where the table has other
        triggers than its index made, which might write too, each row is indexed by itself.
        """
        if {sql for (sql,) in cursor.all(self._of_table)} != self._triggers:
            yield
            return
        cursor.run(self._mark)
        yield
        cursor.run(self._index, ids[0], ids[-1])
        cursor.run(self._unmark)


def _triggers_of(name: str, dialect: Dialect) -> Statement:
    """Return the statement that selects the SQL of every trigger of a table."""
    found = []
    for schema in ("sqlite_master", "sqlite_temp_master"):
        made = table(schema, column("sql", Text()), column("type", Text()), column("tbl_name", Text()))
        of_table = made.c.tbl_name.collate("NOCASE") == name
        found.append(select(made.c.sql).where(made.c.type == "trigger", of_table))
    return Statement(union_all(*found), (), dialect)
