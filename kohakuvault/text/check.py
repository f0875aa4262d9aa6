"""``TextVault.check``: whether everything about a table of texts is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Table

from ..binding import Binding
from ..errors import KohakuVaultError
from ..indexing.text.care import check as check_index
from ..indexing.text.care import rebuild as rebuild_index
from ..maintenance.base import Problem
from ..orm.text_index import TextIndex
from ..row_scan import RowScan, RowStatements
from ..table_check import TableCheck, is_refused_pickle
from .statements import TextStatements

__all__ = ["TextCheck"]


class TextCheck(TableCheck):
    """The check of one table of texts.

    Parameters
    ----------
    binding, table, sql, index
        Where, what, the statements on it, and its text index.
    record
        What the record of the table has to say.
    fix
        Repair what can be.
    """

    def __init__(
        self,
        binding: Binding,
        table: Table,
        sql: TextStatements,
        index: TextIndex,
        record: dict[str, Any],
        *,
        fix: bool,
    ) -> None:
        super().__init__(binding, fix=fix)
        self._table = table
        self._sql = sql
        self._index = index
        self._record = record

    def _steps(self) -> Sequence[Callable[[], None]]:
        return (
            partial(self._check_record, self._table.name, "text", self._record),
            partial(self._check_indexes, self._table),
            partial(self._check_damage, self._table),
            self._rows,
            self._text_index,
        )

    def _text_index(self) -> None:
        problems = check_index(self._binding, self._index)
        if problems and self._fix:
            rebuild_index(self._binding, self._index)
        for what in problems:
            self._found(what, fixed=self._fix)

    def _rows(self) -> None:
        columns, database = self._table.c, self._database
        names = [*self._sql.content, "value"]
        selected = [
            part for name in names for part in (database.storage_class(columns[name]), database.readable(columns[name]))
        ]
        statements = RowStatements(self._table, selected, self._binding.dialect)
        with self._binding.scanning(RowScan(statements)) as batches:
            for rows in batches:
                for id, *parts in rows:
                    self._row(id, dict(zip(names, zip(parts[::2], parts[1::2], strict=True), strict=True)))

    def _row(self, id: int, row: dict[str, tuple[str, Any]]) -> None:
        for name in self._sql.content:
            self._text(id, name, *row[name])
        stored, value = row["value"]
        if wrong := self._database.wrong_class("value", stored):
            self._found_in(id, wrong)
            return
        try:
            self._sql.unpack(value)
        except KohakuVaultError as error:
            if not is_refused_pickle(error):
                self._found_in(id, str(error))

    def _text(self, id: int, name: str, stored: str, text: Any) -> None:
        if stored == "null" and self._table.c[name].nullable:
            return
        if stored not in self._database.CLASSES["text"]:
            self._found_in(id, f"the column {name!r} has {stored.upper()}, not TEXT")
        elif isinstance(text, bytes):
            try:
                text.decode()
            except UnicodeDecodeError as error:
                self._found_in(id, f"the text in {name!r} is not valid UTF-8: {error}")

    def _found_in(self, id: int, what: str) -> None:
        self.problems.append(Problem(what, id, of="row"))
