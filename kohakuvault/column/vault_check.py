"""``ColumnVault.check``: whether everything about its tables is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from sqlalchemy import Table

from ..binding import Binding
from ..errors import DatabaseBusy, KohakuVaultError, ReadOnlyDatabase
from ..lending import translated_errors
from ..maintenance.base import Problem
from ..orm.column_ddl import TRIGGER, renew_trigger
from ..table_check import TableCheck
from .block_care import BlockCare
from .care_statements import CareStatements
from .check import ColumnCheck, ColumnState, orphans_problem
from .statements import block_statements

__all__ = ["ColumnsCheck"]

# Of all payloads.
_IDS = (-(2**63), 2**63 - 1)


class ColumnsCheck(TableCheck):
    """The check of all columns.

    Parameters
    ----------
    tables
        Those of columns, blocks and payloads.
    one_state
        A context in which all that is read is of one state.
    """

    def __init__(
        self,
        binding: Binding,
        tables: Sequence[Table],
        one_state: Callable[[], AbstractContextManager[None]],
        *,
        fix: bool,
    ) -> None:
        super().__init__(binding, fix=fix)
        self._tables = tables
        self._one_state = one_state
        self._sql = CareStatements(self._database)

    def _steps(self) -> Sequence[Callable[[], None]]:
        return (
            partial(self._check_record, self._tables[0].name, "columns"),
            *(partial(self._check_indexes, table) for table in self._tables),
            self._check_trigger,
            *(partial(self._check_damage, table) for table in self._tables),
            self._check_columns,
            self._check_misplaced,
            self._check_orphans,
        )

    def _check_trigger(self) -> None:
        payloads = self._tables[2]
        if self._database.has_trigger(payloads, TRIGGER):
            return
        if self._fix:
            with translated_errors(self._binding.engine), self._binding.transaction() as connection:
                renew_trigger(connection, payloads)
        self._found(f"the trigger {TRIGGER}, which forgets summaries, is missing", fixed=self._fix)

    def _check_columns(self) -> None:
        for (column_id,) in self._binding.all(self._sql.ids):
            self._check_column(column_id)

    def _check_column(self, column_id: int) -> None:
        whats: list[str] = []
        with self._one_state():
            row = self._binding.one(self._sql.state, column_id)
            if row is None:
                return
            state = ColumnState(*row)
            check = ColumnCheck(self._binding, self._database, self._sql, state, whats.append)
            try:
                check.run()
            except (DatabaseBusy, ReadOnlyDatabase):
                raise
            except KohakuVaultError as error:
                whats.append(str(error))
        for what in whats:
            self._found_in(state, what)
        if check.summary_problem is not None:
            if self._fix:
                self._repair(state, [block_id for _, block_id in check.wrong_summaries])
            self._found_in(state, check.summary_problem, fixed=self._fix)

    def _repair(self, state: ColumnState, ids: Sequence[int]) -> None:
        with self._binding.writing() as cursor:
            care = BlockCare(cursor, block_statements(self._binding.dialect), state.id, state.form(), self._sql)
            care.lock()
            care.summarize(ids)

    def _found_in(self, state: ColumnState, what: str, *, fixed: bool = False) -> None:
        where = state.id if state.name is None else state.name
        self.problems.append(Problem(what, where, fixed, "column"))

    def _check_misplaced(self) -> None:
        for block_id, column_id in self._binding.all(self._sql.misplaced):
            self._found(f"block {block_id} has an id that is of another column than its own, {column_id!r}")

    def _check_orphans(self) -> None:
        many, size = self._binding.one(self._sql.orphans, *_IDS)
        if not many:
            return
        if self._fix:
            with self._binding.writing() as cursor:
                cursor.run(self._sql.delete_orphans, *_IDS)
        self._found(orphans_problem(many, size), fixed=self._fix)
