"""Reading all rows of a table with integer ids, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Integer, Table, bindparam, func, select
from sqlalchemy.engine import Dialect

from ._native import PageScan
from .lending import DriverCursor
from .scanning import Batches, Run
from .statements import Statement

__all__ = ["RowScan", "RowStatements"]


class RowStatements:
    """The statements of scans of ``columns``, each compiled for one dialect when it is first needed.

    Parameters
    ----------
    columns
        What to select of each row, behind its id.
    where
        Which rows; all by default.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[ColumnElement[Any]],
        dialect: Dialect,
        where: ColumnElement[bool] | None = None,
    ) -> None:
        self._table = table
        self._columns = columns
        self._dialect = dialect
        self._where = [] if where is None else [where]
        self._made: dict[tuple[bool, bool, bool], Statement] = {}

    def rows(self, *, after: bool = False, last: bool = False, limit: bool = False) -> Statement:
        """Select rows in the order of ids; the values are those that are there of after, last and limit."""
        which = (after, last, limit)
        if which not in self._made:
            key = self._table.c.id
            rows = select(key, *self._columns).where(*self._where).order_by(key)
            if after:
                rows = rows.where(key > bindparam("after", type_=key.type))
            if last:
                rows = rows.where(key <= bindparam("last", type_=key.type))
            if limit:
                rows = rows.limit(bindparam("limit", type_=Integer()))
            names = [name for name, given in zip(("after", "last", "limit"), which, strict=True) if given]
            self._made[which] = Statement(rows, names, self._dialect)
        return self._made[which]

    def largest(self) -> Statement:
        """Select the largest id."""
        return Statement(select(func.max(self._table.c.id)).where(*self._where), (), self._dialect)


@dataclass
class RowScan:
    """Every row that ``sql`` selects; ``entry`` makes an entry of each. See :class:`~kohakuvault.scanning.Scan`."""

    sql: RowStatements
    entry: Callable[[Any], Any] | None = None
    last: int | None = field(default=None, init=False)

    def whole(self, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        return self.sql.rows(), ()

    def page(self, mark: Any, size: int | None = None, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        statement = self.sql.rows(after=mark is not None, last=self.last is not None, limit=True)
        return statement, [value for value in (mark, self.last, size) if value is not None]

    def bound(self, run: Run) -> None:
        ((self.last,),) = run(self.sql.largest())

    def beside(self, cursor: DriverCursor) -> None:
        pass

    def entries(self, rows: Iterable[Any]) -> Iterable[Any]:
        return rows if self.entry is None else map(self.entry, rows)

    def collector(self) -> None:
        return None

    def collected(self, collector: PageScan) -> Batches:
        return iter(())
