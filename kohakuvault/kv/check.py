"""``KVault.check``: whether everything about a KV table is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Index, Integer, MetaData, Table, UniqueConstraint, bindparam, func, inspect, select
from sqlalchemy.exc import NoSuchTableError

from .._native import PageScan
from ..binding import Binding
from ..errors import CorruptValue, DatabaseBusy, DriverError, KohakuVaultError, ReadOnlyDatabase, SchemaMismatch
from ..lending import DriverCursor, translated_errors
from ..maintenance import maintenance_of
from ..maintenance.base import Maintenance, Problem
from ..scanning import Batches, Run
from ..schema import record_problem, renew_record
from ..statements import Statement
from .statements import KVStatements
from .streams import Streams

__all__ = ["KVCheck"]


class KVCheck:
    """The check of one KV table; ``problems`` has what was found so far.

    Parameters
    ----------
    binding, table, sql, streams
        Where, what, the statements on it, and its values in chunks.
    remove_expired
        Called in the end if ``fix``.
    fix
        Repair what can be.
    """

    def __init__(
        self,
        binding: Binding,
        table: Table,
        sql: KVStatements,
        streams: Streams,
        remove_expired: Callable[[], object],
        *,
        fix: bool,
    ) -> None:
        self._binding = binding
        self._table = table
        self._sql = sql
        self._streams = streams
        self._remove_expired = remove_expired
        self._fix = fix
        self._database = maintenance_of(binding)
        self.problems: list[Problem] = []

    def run(self) -> list[Problem]:
        """Run every step, whatever another found, and return the problems."""
        if self._fix:
            # Refused at once where writing is, rather than when there is something to repair.
            with self._binding.writing():
                pass
        # Whoever adds tables to those of a KV table adds a step for them here.
        for step in (self._record, self._indexes, self._damage, self._rows, self._chunks, self._expired):
            try:
                step()
            except (DatabaseBusy, ReadOnlyDatabase):
                raise
            except NoSuchTableError:
                self._found(f"table {self._table.name!r} does not exist")
                break
            except (CorruptValue, DriverError, SchemaMismatch) as error:
                self._found(str(error))
        return self.problems

    def _found(self, what: str, where: Any = None, *, fixed: bool = False) -> None:
        self.problems.append(Problem(what, where, fixed))

    def _record(self) -> None:
        name = self._table.name
        with translated_errors(self._binding.engine), self._binding.inspecting() as connection:
            problem = record_problem(connection, name, "kv", {})
        if problem is None:
            return
        what, is_renewable = problem
        if self._fix and is_renewable:
            with translated_errors(self._binding.engine), self._binding.transaction() as connection:
                renew_record(connection, name, "kv", {})
        self._found(what, fixed=self._fix and is_renewable)

    def _indexes(self) -> None:
        name, schema = self._table.name, self._table.schema
        with translated_errors(self._binding.engine), self._binding.inspecting() as connection:
            inspector = inspect(connection)
            indexes = inspector.get_indexes(name, schema=schema)
            uniques = inspector.get_unique_constraints(name, schema=schema)
        indexed = [index["column_names"] for index in indexes]
        unique: list[Sequence[str | None]] = [index["column_names"] for index in indexes if index["unique"]]
        unique += [constraint["column_names"] for constraint in uniques]
        for index in self._table.indexes:
            if index.columns.keys() not in indexed:
                self._missing(f"the index of {_names(index)} is missing", index)
        for constraint in self._table.constraints:
            if isinstance(constraint, UniqueConstraint) and constraint.columns.keys() not in unique:
                # An index of a copy: it does for what the constraint is needed for.
                columns = self._table.to_metadata(MetaData()).columns
                chosen = [columns[key] for key in constraint.columns.keys()]  # noqa: SIM118 (columns, not names)
                index = Index(f"uq_{name}_{'_'.join(column.name for column in chosen)}"[:63], *chosen, unique=True)
                self._missing(f"nothing keeps two rows from having the same {_names(constraint)}", index)

    def _missing(self, what: str, index: Index) -> None:
        if not self._fix:
            self._found(what)
            return
        try:
            with translated_errors(self._binding.engine), self._binding.transaction() as connection:
                index.create(connection)
        except DatabaseBusy:
            raise
        except DriverError as error:
            self._found(f"{what}, and cannot be made: {error}")
        else:
            self._found(what, fixed=True)

    def _damage(self) -> None:
        before = after = self._database.damage(self._table)
        if before and self._fix:
            try:
                self._database.rebuild_indexes(self._table)
            except DatabaseBusy:
                raise
            except DriverError as error:
                self._found(f"the indexes cannot be rebuilt: {error}")
            else:
                after = self._database.damage(self._table)
        for what in dict.fromkeys([*before, *after]):
            self._found(what, fixed=what not in after)

    def _rows(self) -> None:
        decode = self._database.key_decoder(self._sql.key)
        with self._binding.scanning(_Rows(self._binding, self._database, self._table)) as batches:
            for rows in batches:
                for row in rows:
                    self._row(decode, *row)

    def _row(
        self,
        decode: Callable[[str, Any], Any],
        id: int,
        key_class: str,
        key: Any,
        expires_class: str,
        value_class: str,
        value: Any,
    ) -> None:
        where, row = None, f"row {id}: "
        if wrong := self._wrong_class("key", key_class):
            self._found(row + wrong)
        else:
            try:
                where, row = decode(key_class, key), ""
            except CorruptValue as error:
                self._found(f"{row}{error}")
        if wrong := self._wrong_class("expires_at", expires_class):
            self._found(row + wrong, where)
        if wrong := self._wrong_class("value", value_class):
            self._found(row + wrong, where)
            return
        try:
            self._sql.unpack(value)
        except KohakuVaultError as error:
            if not _is_refused_pickle(error):
                self._found(f"{row}{error}", where)

    def _chunks(self) -> None:
        if self._streams.is_incomplete():
            if self._fix:
                self._streams.restore()
            self._found("of the table of chunks and the triggers on it one is missing", fixed=self._fix)
        for key, problem in self._streams.damaged():
            self._found(f"key {key!r}: {problem}", key)
        if orphans := self._streams.orphans():
            if self._fix:
                self._streams.remove_orphans()
            self._found(
                f"{sum(orphans.values())} bytes in chunks that no entry names: left by a put_file that was killed or "
                "interrupted, or being written now",
                fixed=self._fix,
            )

    def _expired(self) -> None:
        if self._fix:
            self._remove_expired()

    def _wrong_class(self, column: str, found: str) -> str | None:
        expected = self._database.CLASSES[column]
        if found in expected:
            return None
        return f"the {column} is {found.upper()}, not {' or '.join(map(str.upper, expected))}"


def _names(index: Index | UniqueConstraint) -> str:
    return ", ".join(index.columns.keys())


def _is_refused_pickle(error: KohakuVaultError) -> bool:
    """Whether a value could not be read because it has a pickle, which was not run: no fault of the data's."""
    return str(error).startswith("stored value is a pickle, which can run any code")


@dataclass
class _Rows:
    """Every row, expired or not: id, the classes and values of its columns. See :class:`~kohakuvault.scanning.Scan`."""

    binding: Binding
    database: Maintenance
    table: Table
    last: int | None = field(default=None, init=False)

    def whole(self, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        return self._statement(self._select()), ()

    def page(self, mark: Any, size: int | None = None, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        rows = self._select().limit(bindparam("limit", type_=Integer()))
        names, values = ["limit"], [size]
        for name, value in (("after", mark), ("last", self.last)):
            if value is not None:
                bound = bindparam(name, type_=self.table.c.id.type)
                rows = rows.where(self.table.c.id > bound if name == "after" else self.table.c.id <= bound)
                names.append(name)
                values.append(value)
        return self._statement(rows, *names), values

    def beside(self, cursor: DriverCursor) -> None:
        pass

    def entries(self, rows: Iterable[Any]) -> Iterable[Any]:
        return rows

    def collector(self) -> None:
        return None

    def collected(self, collector: PageScan) -> Batches:
        return iter(())

    def bound(self, run: Run) -> None:
        ((self.last,),) = run(self._statement(select(func.max(self.table.c.id))))

    def _select(self) -> Any:
        columns, database = self.table.c, self.database
        return select(
            columns.id,
            database.storage_class(columns.key),
            database.readable(columns.key),
            database.storage_class(columns.expires_at),
            database.storage_class(columns.value),
            database.readable(columns.value),
        ).order_by(columns.id)

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self.binding.dialect)
