"""``VectorKVault.check``: whether everything about a table of vectors is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Table

from ..binding import Binding
from ..errors import CorruptValue, KohakuVaultError
from ..maintenance.base import Problem
from ..row_scan import RowScan, RowStatements
from ..table_check import TableCheck, is_refused_pickle
from .statements import VectorStatements

__all__ = ["VectorCheck"]


class VectorCheck(TableCheck):
    """The check of one table of vectors.

    Parameters
    ----------
    binding, table, sql
        Where, what, and the statements on it.
    record
        The options that the table was made with.
    fix
        Repair what can be.
    """

    def __init__(
        self, binding: Binding, table: Table, sql: VectorStatements, record: dict[str, Any], *, fix: bool
    ) -> None:
        super().__init__(binding, fix=fix)
        self._table = table
        self._sql = sql
        self._options = record

    def _steps(self) -> Sequence[Callable[[], None]]:
        # Whoever adds tables to those of vectors adds a step for them here.
        return (
            partial(self._check_record, self._table.name, "vectors", self._options),
            partial(self._check_indexes, self._table),
            partial(self._check_damage, self._table),
            self._rows,
        )

    def _rows(self) -> None:
        columns, database = self._table.c, self._database
        selected = (
            database.storage_class(columns.vector),
            database.readable(columns.vector),
            database.storage_class(columns.value),
            database.readable(columns.value),
        )
        statements = RowStatements(self._table, selected, self._binding.dialect)
        with self._binding.scanning(RowScan(statements)) as batches:
            for rows in batches:
                for row in rows:
                    self._row(*row)

    def _row(self, id: int, vector_class: str, vector: Any, value_class: str, value: Any) -> None:
        if wrong := self._database.wrong_class("vector", vector_class):
            self._found_in(id, wrong)
        else:
            self._vector(id, vector)
        if wrong := self._database.wrong_class("value", value_class):
            self._found_in(id, wrong)
            return
        try:
            self._sql.unpack(value)
        except KohakuVaultError as error:
            if not is_refused_pickle(error):
                self._found_in(id, str(error))

    def _vector(self, id: int, stored: Any) -> None:
        try:
            vector = np.asarray(self._sql.vector(stored))
        except CorruptValue as error:
            self._found_in(id, str(error))
            return
        if vector.dtype.kind == "f" and not np.isfinite(vector).all():
            self._found_in(id, "the vector has NaN or infinity")
        elif self._options["metric"] == "cosine" and not vector.any():
            self._found_in(id, "the vector is zero, which has no direction to compare by cosine")

    def _found_in(self, id: int, what: str) -> None:
        self.problems.append(Problem(what, id, of="row"))
