"""What ``check()`` of every container does: records, indexes, and what the database itself finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Index, MetaData, Table, UniqueConstraint, inspect
from sqlalchemy.exc import NoSuchTableError

from .binding import Binding
from .errors import CorruptValue, DatabaseBusy, DriverError, KohakuVaultError, ReadOnlyDatabase, SchemaMismatch
from .lending import translated_errors
from .maintenance import maintenance_of
from .maintenance.base import Problem
from .schema import record_problem, renew_record

__all__ = ["TableCheck", "is_refused_pickle"]


class TableCheck(ABC):
    """A check of tables; ``problems`` has what was found so far.

    Parameters
    ----------
    binding
        Where they are.
    fix
        Repair what can be.
    """

    def __init__(self, binding: Binding, *, fix: bool) -> None:
        self._binding = binding
        self._fix = fix
        self._database = maintenance_of(binding)
        self.problems: list[Problem] = []

    @abstractmethod
    def _steps(self) -> Sequence[Callable[[], None]]:
        """Return what is checked, in this order."""

    def run(self) -> list[Problem]:
        """Run every step, whatever another found, and return the problems."""
        if self._fix:
            # Refused at once where writing is, rather than when there is something to repair.
            with self._binding.writing():
                pass
        for step in self._steps():
            try:
                step()
            except (DatabaseBusy, ReadOnlyDatabase):
                raise
            except NoSuchTableError as error:
                self._found(f"table {str(error)!r} does not exist")
                break
            except (CorruptValue, DriverError, SchemaMismatch) as error:
                self._found(str(error))
        return self.problems

    def _found(self, what: str, where: Any = None, *, fixed: bool = False) -> None:
        self.problems.append(Problem(what, where, fixed))

    def _check_record(
        self, name: str, kind: str, options: dict[str, Any] | None = None, made_with: dict[str, Any] | None = None
    ) -> None:
        """Check that the record of a table says ``options``; one that is written anew says ``made_with``."""
        options = options or {}
        with translated_errors(self._binding.engine), self._binding.inspecting() as connection:
            problem = record_problem(connection, name, kind, options)
        if problem is None:
            return
        what, is_renewable = problem
        if self._fix and is_renewable:
            with translated_errors(self._binding.engine), self._binding.transaction() as connection:
                renew_record(connection, name, kind, made_with or options)
        self._found(what, fixed=self._fix and is_renewable)

    def _check_indexes(self, table: Table) -> None:
        name, schema = table.name, table.schema
        with translated_errors(self._binding.engine), self._binding.inspecting() as connection:
            inspector = inspect(connection)
            indexes = inspector.get_indexes(name, schema=schema)
            uniques = inspector.get_unique_constraints(name, schema=schema)
        indexed = [index["column_names"] for index in indexes]
        unique: list[Sequence[str | None]] = [index["column_names"] for index in indexes if index["unique"]]
        unique += [constraint["column_names"] for constraint in uniques]
        for index in table.indexes:
            if index.columns.keys() not in indexed:
                self._missing(f"the index of {_names(index)} is missing", index)
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint) and constraint.columns.keys() not in unique:
                # An index of a copy: it does for what the constraint is needed for.
                columns = table.to_metadata(MetaData()).columns
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

    def _check_damage(self, table: Table) -> None:
        before = after = self._database.damage(table)
        if before and self._fix:
            try:
                self._database.rebuild_indexes(table)
            except DatabaseBusy:
                raise
            except DriverError as error:
                self._found(f"the indexes cannot be rebuilt: {error}")
            else:
                after = self._database.damage(table)
        for what in dict.fromkeys([*before, *after]):
            self._found(what, fixed=what not in after)


def _names(index: Index | UniqueConstraint) -> str:
    return ", ".join(index.columns.keys())


def is_refused_pickle(error: KohakuVaultError) -> bool:
    """Whether a value could not be read because it has a pickle, which was not run: no fault of the data's."""
    return str(error).startswith("stored value is a pickle, which can run any code")
