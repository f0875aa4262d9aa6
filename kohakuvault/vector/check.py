"""``VectorKVault.check``: whether everything about a table of vectors is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Table

from ..binding import Binding
from ..errors import CorruptValue, KohakuVaultError
from ..indexing.care import build_index
from ..indexing.check import check_index
from ..maintenance.base import Problem
from ..orm.vector_index import VectorIndex
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
        What the record of the table has to say.
    made_with
        What a record that is written anew says.
    index
        The vector index, if there is one.
    fix
        Repair what can be.
    """

    def __init__(
        self,
        binding: Binding,
        table: Table,
        sql: VectorStatements,
        record: dict[str, Any],
        made_with: dict[str, Any],
        index: VectorIndex | None,
        *,
        fix: bool,
    ) -> None:
        super().__init__(binding, fix=fix)
        self._table = table
        self._sql = sql
        self._record = record
        self._made_with = made_with
        self._index = index

    def _steps(self) -> Sequence[Callable[[], None]]:
        # Whoever adds tables to those of vectors adds a step for them here.
        return (
            partial(self._check_record, self._table.name, "vectors", self._record, self._made_with),
            partial(self._check_indexes, self._table),
            partial(self._check_damage, self._table),
            self._rows,
            self._vector_index,
        )

    def _vector_index(self) -> None:
        if self._index is None:
            return
        with self._binding.reading() as cursor:
            problems = check_index(cursor, self._index)
        if problems and self._fix:
            build_index(self._binding, self._index, optimizes=False)
        for what in problems:
            self._found(what, fixed=self._fix)

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
        elif self._record["metric"] == "cosine" and not vector.any():
            self._found_in(id, "the vector is zero, which has no direction to compare by cosine")

    def _found_in(self, id: int, what: str) -> None:
        self.problems.append(Problem(what, id, of="row"))
