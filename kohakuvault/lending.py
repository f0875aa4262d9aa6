"""Lending a driver's connection to one operation, without the pool's bookkeeping where that is possible.

A check-out from SQLAlchemy's pool costs about twice what an SQLite point read does. So on SQLite files a
few connections are detached from the engine's pool (they were opened by it, with all of its settings) and
handed from one operation to the next.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import SimpleNamespace
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError, PendingRollbackError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from .driver_connection import driver_connection, driver_of
from .engine import installed
from .errors import DatabaseBusy, DriverError, KohakuVaultError, SchemaMismatch, translate
from .extension import attach, has_collect, has_functions, has_gather, has_rows
from .known import forget
from .statements import Statement

__all__ = ["DriverCursor", "Lender", "Outcome", "is_single", "lender_for", "translated_errors", "with_functions"]


class Outcome:
    """What became of a transaction, for those who learn of an exception only.

    Attributes
    ----------
    committed
        Whether it took effect. An interrupt may come right behind the COMMIT.
    """

    __slots__ = ("committed",)

    def __init__(self) -> None:
        self.committed = False


class DriverCursor:
    """A cursor of the driver that runs :class:`~kohakuvault.statements.Statement` and raises our errors.

    Attributes
    ----------
    owner
        Whatever must stay alive, or be told, while the cursor is lent.
    outcome
        Of the transaction that was begun last by ``begun``.
    transaction
        The SQLAlchemy Connection whose transaction the statements are part of; None where each is its own.
    """

    __slots__ = (
        "_collects",
        "_engine",
        "_error",
        "_gathers",
        "_has_rows",
        "connection",
        "cursor",
        "outcome",
        "owner",
        "transaction",
    )

    def __init__(
        self, connection: Any, engine: Engine, *, owner: Any = None, transaction: Connection | None = None
    ) -> None:
        assert engine.dialect.dbapi is not None
        self.connection = connection
        self.cursor = connection.cursor()
        self.owner = owner
        self.outcome = Outcome()
        self.transaction = transaction
        self._engine = engine
        self._error = engine.dialect.dbapi.Error
        self._has_rows = False
        self._collects: bool | None = None
        self._gathers: bool | None = None

    @property
    def dialect(self) -> Dialect:
        """The dialect that statements are compiled for."""
        return self._engine.dialect

    @property
    def in_transaction(self) -> bool:
        """Whether the connection is in a transaction."""
        known = getattr(self.connection, "in_transaction", None)
        # psycopg's status of a connection is 0 outside of one.
        return self.connection.info.transaction_status != 0 if known is None else bool(known)

    @property
    def has_rows(self) -> bool:
        """Whether statements may use ``kv_rows``: SQLite, on a connection with the native extension."""
        if not self._has_rows and self._engine.dialect.name == "sqlite":
            self._has_rows = has_rows(self.connection)
        return self._has_rows

    @property
    def collects(self) -> bool:
        """Whether statements may use ``kv_collect``: SQLite, on a connection with the native extension."""
        if self._collects is None:
            self._collects = self._engine.dialect.name == "sqlite" and has_collect(self.connection)
        return self._collects

    @property
    def gathers(self) -> bool:
        """Whether statements may use ``kv_gather``: SQLite, on a connection with the native extension."""
        if self._gathers is None:
            self._gathers = self._engine.dialect.name == "sqlite" and has_gather(self.connection)
        return self._gathers

    @property
    def types(self) -> tuple[Any, ...]:
        """The driver's types of the columns that were selected last; None of those that it does not know."""
        return tuple(column[1] for column in self.cursor.description)

    def one(self, statement: Statement, *values: Any) -> Any:
        """Run and return the first row, or None."""
        parameters = statement.parameters(values)
        try:
            cursor = self.cursor
            cursor.execute(statement.sql, parameters)
            return cursor.fetchone()
        except BaseException as error:
            self._failed(error)
            raise

    def all(self, statement: Statement, *values: Any) -> list[Any]:
        """Run and return every row."""
        parameters = statement.parameters(values)
        try:
            cursor = self.cursor
            cursor.execute(statement.sql, parameters)
            return cursor.fetchall()  # type: ignore[no-any-return]
        except BaseException as error:
            self._failed(error)
            raise

    def each(self, statement: Statement, *values: Any) -> Iterator[Any]:
        """Run and give the rows one by one."""
        parameters = statement.parameters(values)
        # One of its own: whoever takes the rows may run other statements meanwhile.
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement.sql, parameters)
            yield from cursor
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            cursor.close()

    def run(self, statement: Statement, *values: Any) -> int:
        """Run and return the number of rows that were changed."""
        parameters = statement.parameters(values)
        try:
            cursor = self.cursor
            cursor.execute(statement.sql, parameters)
            return cursor.rowcount  # type: ignore[no-any-return]
        except BaseException as error:
            self._failed(error)
            raise

    def many(self, statement: Statement, rows: Iterable[Sequence[Any]]) -> None:
        """Run once for each of ``rows``, which are taken one by one."""
        # All of them in a list would be objects enough for a garbage collection, and that looks at what is written too.
        parameters = map(statement.parameters, rows)
        try:
            self.cursor.executemany(statement.sql, parameters)
        except BaseException as error:
            self._failed(error)
            raise

    def stream(self, statement: Statement, values: Sequence[Any], *, one_by_one: bool = False) -> Any:
        """Run and return the driver's cursor, which fetches a row, or some for asyncio, when it is asked for one."""
        parameters = statement.parameters(values)
        if one_by_one:
            self.cursor.arraysize = 1
        self.cursor.execute(statement.sql, parameters)
        return self.cursor

    def renew(self) -> None:
        """Let go of rows that were not fetched, and of the locks that they hold."""
        with suppress(self._error):
            self.cursor.close()
            self.cursor = self.connection.cursor()

    def command(self, sql: str) -> None:
        """Run transaction control."""
        try:
            self.cursor.execute(sql)
        except BaseException as error:
            self._failed(error)
            raise

    def fail(self, error: BaseException, lender: Lender) -> None:
        """Give itself back to ``lender`` after an error of the driver's, and raise that as ours."""
        try:
            self._failed(error)
        finally:
            lender.give(self)

    def _failed(self, error: BaseException) -> None:
        """Leave nothing half done, and raise a driver's error as ours."""
        self.renew()
        if not isinstance(error, self._error):
            return
        raise_interrupt(error)
        translated = translate(error)
        if isinstance(translated, SchemaMismatch):
            forget(self._engine)
        if self.transaction is not None and self.transaction.invalidated:
            translated = DriverError(
                "the transaction was rolled back by an earlier error: leave it, or call rollback()"
            )
        elif self.transaction is not None and not getattr(self.connection, "in_transaction", True):
            # SQLite itself rolls the whole transaction back when the disk is full or fails. What is written
            # from now on must not be committed as if the rest were there.
            if not is_single(self._engine):
                self.transaction.invalidate(error)
            translated = DriverError(
                f"{translated} -- SQLite has rolled back the whole transaction: leave it, or call rollback()"
            )
        try:
            raise translated from error
        finally:
            # A variable would keep the exception, with its traceback, by this very frame: and the connection with them.
            del translated, error


class Lender(Protocol):
    """Lends autocommit cursors of one engine: each statement is its own transaction unless BEGIN is run.

    Attributes
    ----------
    idle
        Cursors that whoever runs a single statement may pop and append by itself, where that is quicker than
        :meth:`take` and :meth:`give`; otherwise it is always empty.
    """

    idle: list[DriverCursor]

    def take(self) -> DriverCursor:
        """Return a cursor that is this caller's until it is given back."""

    def take_for_scan(self) -> DriverCursor | None:
        """As :meth:`take`, for reading many rows while others write; None where that would be in their way."""

    def give(self, cursor: DriverCursor) -> None:
        """Take a cursor back."""

    def turn(self) -> AbstractContextManager[Any]:
        """Keep other threads from the connection, where there is only one.

        Raises :class:`DatabaseBusy` where the transaction of somebody else is open on it: a Connection of the
        engine would end that transaction when it is closed.
        """

    def close(self) -> None:
        """Close what is idle."""

    def abandon(self) -> None:
        """Forget everything, in a forked child, without touching what belongs to the parent."""


def lender_for(engine: Engine) -> Lender:
    """Return the lender that fits the engine's database and pool."""
    if engine.dialect.name != "sqlite":
        return PoolLender(engine)
    if is_single(engine):
        return SharedLender(engine)
    return DetachedLender(engine)


def raise_interrupt(error: BaseException) -> None:
    """Raise the KeyboardInterrupt that ``error`` of a driver, or of SQLAlchemy's, came up in and hides."""
    context = error.__context__
    while context is not None:
        if isinstance(context, KeyboardInterrupt):
            raise context from error
        context = context.__context__


@contextmanager
def translated_errors(engine: Engine) -> Iterator[None]:
    """Raise what opening a connection or ending a transaction may raise, SQLAlchemy's or the driver's, as ours."""
    assert engine.dialect.dbapi is not None
    try:
        yield
    except (DBAPIError, PendingRollbackError, engine.dialect.dbapi.Error) as error:
        raise_interrupt(error)
        raise translate(error) from error
    except AssertionError as error:
        raise_interrupt(error)
        raise
    except PoolTimeout as error:
        raise DatabaseBusy(
            "the engine's pool gave no connection in time. On a database server an iterator that is open has one, and "
            "what the loop does needs a second: give the engine a larger pool_size, or make a list before the loop"
        ) from error
    except StatementError as error:
        # What a type of ours refused while SQLAlchemy was preparing a statement of ours.
        if isinstance(error.orig, KohakuVaultError):
            raise error.orig from None
        raise


def is_single(engine: Engine) -> bool:
    """Whether the engine has one connection, which is the database."""
    return isinstance(engine.pool, (StaticPool, SingletonThreadPool))


def with_functions(connection: Any, engine: Engine) -> Any:
    """Return ``connection``, with the SQL functions also where the application's engine does not care for them."""
    if engine not in installed and not has_functions(connection):
        attach(connection)
    return connection


# Through weak references: the engine may outlive its containers, and have others later.
_lenders: weakref.WeakKeyDictionary[Engine, weakref.ref[DetachedLender]] = weakref.WeakKeyDictionary()


def _close_lender(engine: Engine) -> None:
    found = _lenders.get(engine)
    if found is not None and (lender := found()) is not None:
        lender.close()


# What a forked child must neither use nor close; SQLite forbids carrying connections across fork.
_abandoned: list[Any] = []


class DetachedLender:
    """SQLite files: connections of our own, opened by the engine and detached from its pool."""

    # Idle connections kept by `give`. Many more threads than this at once open and close one each time.
    IDLE = 8

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.idle: list[DriverCursor] = []
        self._readers_block: bool | None = None
        if engine not in _lenders:
            event.listen(engine, "engine_disposed", _close_lender)
        _lenders[engine] = weakref.ref(self)

    def take(self) -> DriverCursor:
        try:
            # list.pop is atomic, so two threads never get the same one.
            return self.idle.pop()
        except IndexError:
            return self._open()

    def take_for_scan(self) -> DriverCursor | None:
        cursor = self.take()
        if self._readers_block is None:
            # In a rollback journal's modes whoever reads keeps writers from committing.
            cursor.command("PRAGMA journal_mode")
            self._readers_block = cursor.cursor.fetchone()[0] != "wal"
        if not self._readers_block:
            return cursor
        self.give(cursor)
        return None

    def give(self, cursor: DriverCursor) -> None:
        # One that is still in a transaction, after an error, is rolled back by closing it.
        if len(self.idle) < self.IDLE and not cursor.connection.in_transaction:
            self.idle.append(cursor)
        else:
            cursor.connection.close()

    def turn(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def close(self) -> None:
        while self.idle:
            self.idle.pop().connection.close()

    def abandon(self) -> None:
        _abandoned.append((self.idle, self._engine.pool))
        self.idle = []
        self._engine.dispose(close=False)

    def _open(self) -> DriverCursor:
        with translated_errors(self._engine):
            proxied = self._engine.raw_connection()
            connection = driver_connection(proxied.dbapi_connection)
            proxied.detach()
            with_functions(connection, self._engine)
        # Autocommit: a single statement is its own transaction, and BEGIN is ours to write.
        connection.isolation_level = None
        return DriverCursor(connection, self._engine)


class SharedLender:
    """SQLite in memory: the one connection there is, shared with the engine's pool.

    While a Session of the same engine has a transaction open on it, operations are part of that transaction:
    there is no other connection that could be apart from it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.idle: list[DriverCursor] = []
        self._turn = threading.RLock()
        self._kept: Any = threading.local() if isinstance(engine.pool, SingletonThreadPool) else SimpleNamespace()

    def take(self) -> DriverCursor:
        self._turn.acquire()
        try:
            with translated_errors(self._engine):
                connection = driver_connection(self._checked_out().dbapi_connection)
            return DriverCursor(connection, self._engine, owner=connection.in_transaction)
        except BaseException:
            self._turn.release()
            raise

    def _checked_out(self) -> Any:
        kept = getattr(self._kept, "proxied", None)
        if kept is None or kept.dbapi_connection is None:
            # Kept checked out: giving it back would roll back whatever runs on the shared connection.
            kept = self._kept.proxied = self._engine.raw_connection()
            with_functions(driver_connection(kept.dbapi_connection), self._engine)
        return kept

    def take_for_scan(self) -> DriverCursor | None:
        return None

    def give(self, cursor: DriverCursor) -> None:
        try:
            if cursor.connection.in_transaction and not cursor.owner:
                # The driver began it for a statement of ours.
                cursor.connection.commit()
            cursor.cursor.close()
        finally:
            self._turn.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._turn:
            cursor = self.take()
            self.give(cursor)
            if cursor.owner:
                raise DatabaseBusy(
                    "a Session or Connection has a transaction open on the only connection of this database "
                    "in memory: pass that Session as the bind, or end its transaction first"
                )
            yield

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        # Fork copies a database in memory with everything else; only the lock may be in a strange state.
        self._turn = threading.RLock()


class PoolLender:
    """Database servers: the engine's pool, in autocommit so that one statement is one round trip."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.idle: list[DriverCursor] = []
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    def take(self) -> DriverCursor:
        with translated_errors(self._engine):
            pooled = self._autocommit.connect()
            return DriverCursor(driver_of(pooled), self._engine, owner=pooled)

    take_for_scan = take

    def give(self, cursor: DriverCursor) -> None:
        cursor.cursor.close()
        cursor.owner.close()

    def turn(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        _abandoned.append(self._engine.pool)
        self._engine.dispose(close=False)
