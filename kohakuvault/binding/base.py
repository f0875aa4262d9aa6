"""What every binding does for the containers."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine

from .. import engine as engines
from ..errors import KohakuVaultError
from ..lending import DriverCursor
from ..statements import Statement

__all__ = ["Binding", "begun", "in_autocommit", "savepoint"]

# Connections in whose open transaction tables or columns were made.
_provisional: weakref.WeakSet[Connection] = weakref.WeakSet()


class Binding(ABC):
    """Runs statements for containers.

    ``one``, ``all`` and ``run`` are single statements; ``reading`` and ``writing`` are several that belong
    together. ``epoch`` changes when something that a container may have remembered was rolled back.
    """

    engine: Engine
    epoch: int = 0

    def __init__(self) -> None:
        self._watched: weakref.WeakSet[Connection] = weakref.WeakSet()

    @property
    def dialect(self) -> Dialect:
        """The dialect that statements are compiled for."""
        return self.engine.dialect

    @abstractmethod
    def one(self, statement: Statement, *values: Any) -> Any:
        """Run and return the first row, or None."""

    @abstractmethod
    def all(self, statement: Statement, *values: Any) -> list[Any]:
        """Run and return every row."""

    @abstractmethod
    def run(self, statement: Statement, *values: Any) -> int:
        """Run a statement that writes and return the number of rows that it changed."""

    @abstractmethod
    def run_returning(self, statement: Statement, *values: Any) -> Any:
        """Run a statement that writes and return the first row of its RETURNING clause, or None."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[DriverCursor]:
        """Return a context whose statements all see one state."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[DriverCursor]:
        """Return a context whose statements take effect together or, if it is left by an exception, not at all."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]:
        """Return a context that groups the operations of all containers with this bind."""

    @abstractmethod
    def inspecting(self) -> AbstractContextManager[Connection]:
        """Return a context with a Connection to look at the schema with."""

    def forget_on_rollback(self, connection: Connection) -> None:
        """Change ``epoch`` when the transaction, or a savepoint, of ``connection`` is rolled back."""
        if connection in self._watched:
            return

        def rolled_back(*arguments: Any) -> None:
            self.epoch += 1

        self._watched.add(connection)
        _provisional.add(connection)
        event.listen(connection, "rollback", rolled_back)
        event.listen(connection, "rollback_savepoint", rolled_back)
        event.listen(connection, "commit", _provisional.discard)

    @abstractmethod
    def made_in_transaction(self) -> None:
        """Note that something was made that a container will remember, if a transaction is open."""

    @staticmethod
    def is_settled(connection: Connection) -> bool:
        """Whether the tables that ``connection`` sees are committed, as far as this process knows."""
        return connection not in _provisional

    def require_functions(self) -> None:
        """Make sure that the SQL functions are there, on an engine without ``install`` too."""
        if self.dialect.name == "sqlite" and self.engine not in engines.installed:
            self._attach_functions()

    @abstractmethod
    def _attach_functions(self) -> None: ...


def in_autocommit(connection: Any) -> bool:
    """Whether the driver's ``connection`` commits every statement by itself."""
    autocommit = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    # The standard library's older attribute; an application may also set it to write BEGIN itself.
    return connection.isolation_level is None and not connection.in_transaction


@contextmanager
def begun(cursor: DriverCursor, begin: str) -> Iterator[None]:
    """Run the block in a transaction that ``begin`` begins."""
    cursor.command(begin)
    try:
        yield
        cursor.command("COMMIT")
    except BaseException:
        # The original error matters; the connection is closed if this fails too.
        with suppress(KohakuVaultError):
            cursor.command("ROLLBACK")
        raise


@contextmanager
def savepoint(cursor: DriverCursor) -> Iterator[None]:
    """Run the block in a savepoint: what it did is undone if it is left by an exception."""
    cursor.command("SAVEPOINT kohakuvault")
    try:
        yield
    except BaseException:
        with suppress(KohakuVaultError):
            cursor.command("ROLLBACK TO SAVEPOINT kohakuvault")
            cursor.command("RELEASE SAVEPOINT kohakuvault")
        raise
    cursor.command("RELEASE SAVEPOINT kohakuvault")
