"""The binding of an Engine: each operation is its own transaction."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ..driver_connection import driver_of
from ..errors import InvalidArgument
from ..lending import DriverCursor, Lender, lender_for, translated_errors
from ..scanning import Scan, pages, streamed
from ..statements import Statement
from ..write_lock import begin_immediate
from .base import Binding, Waits, begun, in_autocommit, refuse_write, require_one_state, savepoint

__all__ = ["EngineBinding"]


class _Held(threading.local):
    """What this thread has open: a transaction by ``transaction()``, or by ``snapshot()`` one that only reads."""

    connection: Connection | None = None
    cursor: DriverCursor | None = None
    only_reads: bool = False


class EngineBinding(Binding):
    """Each operation is its own transaction, unless this thread is inside ``transaction()``."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        # Device and inode of the file, where it was opened by a path.
        self.file: tuple[int, int] | None = None
        self._lender = self._new_lender()
        self._held = self._new_held()
        self._begin_write = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN"
        self._begin_read = (
            "BEGIN" if engine.dialect.name == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )
        weakref.finalize(self, self._lender.close)

    def _new_lender(self) -> Lender:
        return lender_for(self.engine)

    def _new_held(self) -> _Held:
        return _Held()

    # `one` and `run` are written out, down to the driver's cursor where one is idle: each call in between would cost
    # up to a tenth of a point read.

    def one(self, statement: Statement, *values: Any) -> Any:
        held = self._held.cursor
        if held is not None:
            return held.one(statement, *values)
        parameters = statement.parameters(values)
        lender = self._lender
        try:
            lent = lender.idle.pop()
        except IndexError:
            lent = lender.take()
            try:
                return lent.one(statement, *values)
            finally:
                lender.give(lent)
        try:
            cursor = lent.cursor
            cursor.execute(statement.sql, parameters)
            row = cursor.fetchone()
        except BaseException as error:
            lent.fail(error, lender)
            raise
        lender.idle.append(lent)
        return row

    def all(self, statement: Statement, *values: Any) -> list[Any]:
        held = self._held.cursor
        if held is not None:
            return held.all(statement, *values)
        lender = self._lender
        cursor = lender.take()
        try:
            return cursor.all(statement, *values)
        finally:
            lender.give(cursor)

    def run(self, statement: Statement, *values: Any) -> int:
        held = self._held.cursor
        if held is not None:
            if self._held.only_reads:
                refuse_write()
            return held.run(statement, *values)
        parameters = statement.parameters(values)
        lender = self._lender
        try:
            lent = lender.idle.pop()
        except IndexError:
            lent = lender.take()
            try:
                return lent.run(statement, *values)
            finally:
                lender.give(lent)
        try:
            cursor = lent.cursor
            cursor.execute(statement.sql, parameters)
            count: int = cursor.rowcount
        except BaseException as error:
            lent.fail(error, lender)
            raise
        lender.idle.append(lent)
        return count

    def run_returning(self, statement: Statement, *values: Any) -> Any:
        if self._held.only_reads:
            refuse_write()
        # A statement that writes needs no preparation here: it begins and commits by itself.
        return self.one(statement, *values)

    @contextmanager
    def reading(self) -> Iterator[DriverCursor]:
        held = self._held.cursor
        if held is not None:
            yield held
            return
        with self._lent(self._begin_read) as cursor:
            yield cursor

    @contextmanager
    def writing(self) -> Iterator[DriverCursor]:
        held = self._held.cursor
        if held is not None:
            if self._held.only_reads:
                refuse_write()
            with savepoint(held):
                yield held
            return
        with self._lent(self._begin_write) as cursor:
            # An iterator of the caller's, say, that is read meanwhile: its operations are part of this one, rather than
            # wait for it.
            try:
                self._held.cursor = cursor
                yield cursor
            finally:
                self._held.cursor = None

    @contextmanager
    def _lent(self, begin: str) -> Iterator[DriverCursor]:
        cursor = self._lender.take()
        try:
            # Only a shared connection in memory can be in somebody else's transaction.
            if getattr(cursor.connection, "in_transaction", False):
                with savepoint(cursor):
                    yield cursor
            else:
                with begun(cursor, begin):
                    yield cursor
        finally:
            self._lender.give(cursor)

    @contextmanager
    def _borrowed(self) -> Iterator[DriverCursor]:
        """Return a context with a cursor for one statement, of the transaction that is open now if there is one."""
        held = self._held.cursor
        if held is not None:
            yield held
            return
        cursor = self._lender.take()
        try:
            yield cursor
        finally:
            self._lender.give(cursor)

    @contextmanager
    def scanning(self, scan: Scan) -> Iterator[Iterator[Iterable[Any]]]:
        cursor = None if self._held.cursor is not None else self._lender.take_for_scan()
        if cursor is None:
            # Borrowed for each page: the scan may outlive the transaction that it began in.
            scan.bound(self.all)
            yield pages(scan, self._borrowed)
            return
        try:
            with translated_errors(self.engine):
                if self.dialect.name == "sqlite":
                    scan.beside(DriverCursor(cursor.connection, self.engine))
                    with begun(cursor, self._begin_read):
                        yield streamed(scan, cursor)
                else:
                    scan.beside(cursor)
                    with begun(cursor, self._begin_read):
                        yield pages(scan, lambda: nullcontext(cursor))
        finally:
            cursor.renew()
            self._lender.give(cursor)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        held = self._held
        if held.cursor is not None:
            require_one_state(held.cursor, self.dialect)
            yield
            return
        self.settle()
        with self._lent(self._begin_read) as cursor:
            # The state is that of the first read.
            cursor.command("SELECT 1 FROM sqlite_master LIMIT 1" if self.dialect.name == "sqlite" else "SELECT 1")
            try:
                held.cursor, held.only_reads = cursor, True
                yield
            finally:
                held.cursor, held.only_reads = None, False

    @property
    def holds_transaction(self) -> bool:
        return self._held.cursor is not None

    @property
    def may_wait(self) -> bool:
        return self._held.cursor is None

    def keep_waiting(self, cache: Waits) -> None:
        pass

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        held = self._held
        if held.only_reads:
            refuse_write()
        if held.connection is not None:
            with held.connection.begin_nested():
                yield held.connection
            return
        if held.cursor is not None:
            raise InvalidArgument(
                "transaction() inside of an operation that writes, as by an iterator that is being written: begin it "
                "before, or collect what is to be written first"
            )
        # What waits was written before, and stays if this transaction is rolled back.
        self.settle()
        with self._lender.turn(), self._connected() as connection:
            with translated_errors(self.engine):
                driver = driver_of(connection)
                if in_autocommit(driver):
                    connection.execution_options(isolation_level=self.dialect.default_isolation_level)
                transaction = connection.begin()
                if self.dialect.name == "sqlite":
                    begin_immediate(driver)
            # Set inside: an interrupt may come at any line, and what is set must be cleared.
            try:
                held.connection = connection
                held.cursor = DriverCursor(driver, self.engine, transaction=connection)
                yield connection
            except BaseException:
                # The first error matters, not that of a connection that is gone.
                with suppress(SQLAlchemyError):
                    transaction.rollback()
                raise
            finally:
                held.connection = held.cursor = None
            if connection.closed or not transaction.is_active:
                with suppress(SQLAlchemyError):
                    connection.close()
                driver.rollback()
                raise InvalidArgument(
                    "the Connection of transaction() was closed, committed or rolled back inside of the block; "
                    "leave that to the block, or raise an exception to roll back"
                )
            with translated_errors(self.engine):
                transaction.commit()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with translated_errors(self.engine):
            connection = self.engine.connect()
        with connection:
            yield connection

    @contextmanager
    def inspecting(self) -> Iterator[Connection]:
        if self._held.connection is not None:
            yield self._held.connection
            return
        with self._lender.turn(), self._connected() as connection:
            yield connection

    def made_in_transaction(self) -> None:
        if self._held.connection is not None:
            self.forget_on_rollback(self._held.connection)

    def abandon(self) -> None:
        """Start anew in a forked child: the parent's connections stay the parent's."""
        self._held = self._new_held()
        self._lender.abandon()

    def require_functions(self) -> None:
        # Connections that are lent have them; that of a transaction is the application's own.
        held = self._held.cursor
        if held is not None:
            self._attach_to(held.connection)
