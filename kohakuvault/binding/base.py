"""What every binding does for the containers."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NoReturn, Protocol

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine

from .. import engine as engines
from .. import extension
from ..backends import ensure_backend
from ..errors import InvalidArgument, KohakuVaultError, ReadOnlyDatabase
from ..lending import DriverCursor, Outcome
from ..scanning import Scan
from ..statements import Statement

__all__ = ["Binding", "Waits", "begun", "in_autocommit", "refuse_write", "require_one_state", "savepoint"]

# Connections in whose open transaction tables or columns were made.
_provisional: weakref.WeakSet[Connection] = weakref.WeakSet()


class Waits(Protocol):
    """Writes that wait in memory; see :mod:`kohakuvault.caching.writes`."""

    def flush(self, binding: Any) -> int:
        """Write them in a transaction of their own."""

    def flush_on(self, cursor: DriverCursor) -> None:
        """Write them in the transaction of ``cursor``."""

    def drop(self) -> None:
        """Forget them."""


class Binding(ABC):
    """Runs statements for containers.

    ``one``, ``all`` and ``run`` are single statements; ``reading`` and ``writing`` are several that belong
    together; ``scanning`` is one that gives many rows. ``epoch`` changes when something that a container may have
    remembered was rolled back.
    """

    engine: Engine
    epoch: int = 0

    # Whether operations are part of a transaction of somebody else's.
    is_joined: bool = False

    def __init__(self) -> None:
        # Shared by the containers of one table, by its name.
        self.caches: dict[str, Waits] = {}
        # Those of single rows, of which there may be many: as long as a container has them.
        self.row_caches: weakref.WeakValueDictionary[str, Waits] = weakref.WeakValueDictionary()
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
    def scanning(self, scan: Scan) -> AbstractContextManager[Iterator[Iterable[Any]]]:
        """Return a context with the entries of ``scan``, in batches. Anything may run between two entries.

        All rows are of one state where a connection of its own can hold that: on PostgreSQL, and on SQLite files in
        WAL mode. Inside a transaction, and elsewhere, they are read page by page: what is changed meanwhile may be
        seen, but never what is added at the end.
        """

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Return a context in which this thread's operations all read one state, and none writes."""

    @property
    @abstractmethod
    def holds_transaction(self) -> bool:
        """Whether operations of this thread are part of a transaction, or snapshot, that is open already."""

    @property
    @abstractmethod
    def may_wait(self) -> bool:
        """Whether a write of this thread may wait in memory: not inside ``transaction()``, which is a batch itself."""

    def check_may_write(self) -> None:  # noqa: B027 (no need to: most can)
        """Raise if nothing can be written, for what takes long before it writes."""

    def check_may_cache(self) -> None:  # noqa: B027 (no need to: most can)
        """Raise if writes cannot wait."""

    def settle(self) -> None:
        """Write what waits, if it may be part of what this thread does next."""
        if self.may_wait:
            for cache in [*self.caches.values(), *self.row_caches.values()]:
                cache.flush(self)

    @abstractmethod
    def keep_waiting(self, cache: Waits) -> None:
        """Note that ``cache`` holds writes from now on, which belong to a transaction that is open."""

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

    @abstractmethod
    def require_functions(self) -> None:
        """Make sure that the next statement finds the SQL functions, on an engine without ``install`` too."""

    def require_backend(self, name: str) -> None:
        """Make sure that connections have sqlite-vec (``"vec"``) or sqlite-vss; ours load it, others have to."""
        if self.dialect.name != "sqlite":
            return
        is_ours = self.engine in engines.installed
        if is_ours:
            engines.add_backends(self.engine, [name])
        with self.reading() as cursor:
            ensure_backend(cursor.connection, name, may_load=is_ours)

    def _attach_to(self, connection: Any) -> None:
        bare = self.dialect.name == "sqlite" and self.engine not in engines.installed
        if bare and not extension.has_functions(connection):
            extension.attach(connection)


def refuse_write() -> NoReturn:
    """Raise for a write inside ``snapshot()``."""
    raise ReadOnlyDatabase("a write inside snapshot(), which only reads; use transaction(), or write after the block")


def require_one_state(cursor: DriverCursor, dialect: Dialect) -> None:
    """Raise unless the open transaction of ``cursor`` sees one state, which not every isolation level gives."""
    if dialect.name == "sqlite":
        return
    cursor.command("SHOW transaction_isolation")
    level = cursor.cursor.fetchone()[0]
    if level not in ("repeatable read", "serializable"):
        raise InvalidArgument(
            f"snapshot() inside a transaction at the isolation level {level}, in which each statement sees the newest "
            "commit; begin that transaction at REPEATABLE READ, or take the snapshot outside of it"
        )


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
    outcome = cursor.outcome = Outcome()
    cursor.command(begin)
    ends = False
    try:
        yield
        ends = True
        cursor.command("COMMIT")
        outcome.committed = True
    except BaseException as error:
        if ends and not isinstance(error, KohakuVaultError) and not cursor.in_transaction:
            # An interrupt, behind the COMMIT.
            outcome.committed = True
            raise
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
