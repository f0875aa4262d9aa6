"""The binding of an Engine: each operation is its own transaction."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from .. import engine as engines
from .. import extension
from ..known import is_known, remember
from ..lending import DriverCursor, lender_for, translated_errors
from ..statements import Statement
from .base import Binding, begun, in_autocommit, savepoint

__all__ = ["EngineBinding"]


class _Held(threading.local):
    """The transaction that this thread has open by ``transaction()``."""

    connection: Connection | None = None
    cursor: DriverCursor | None = None


class EngineBinding(Binding):
    """Each operation is its own transaction, unless this thread is inside ``transaction()``."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self._lender = lender_for(engine)
        self._held = _Held()
        self._begin_write = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN"
        self._begin_read = (
            "BEGIN" if engine.dialect.name == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )
        weakref.finalize(self, self._lender.close)

    def one(self, statement: Statement, *values: Any) -> Any:
        held = self._held.cursor
        if held is not None:
            return held.one(statement, *values)
        lender = self._lender
        cursor = lender.take()
        try:
            return cursor.one(statement, *values)
        finally:
            lender.give(cursor)

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
            return held.run(statement, *values)
        lender = self._lender
        cursor = lender.take()
        try:
            return cursor.run(statement, *values)
        finally:
            lender.give(cursor)

    # A statement that writes needs no preparation here: it begins and commits by itself.
    run_returning = one

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
            with savepoint(held):
                yield held
            return
        with self._lent(self._begin_write) as cursor:
            yield cursor

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
    def transaction(self) -> Iterator[Connection]:
        held = self._held
        if held.connection is not None:
            with held.connection.begin_nested():
                yield held.connection
            return
        with self._lender.turn():
            with translated_errors(self.engine):
                connection = self.engine.connect()
            try:
                with translated_errors(self.engine):
                    driver: Any = connection.connection.dbapi_connection
                    if in_autocommit(driver):
                        connection = connection.execution_options(isolation_level=self.dialect.default_isolation_level)
                    begun = connection.begin()
                    if self.dialect.name == "sqlite":
                        engines.begin_immediate(driver)
                held.connection, held.cursor = connection, DriverCursor(driver, self.engine)
                try:
                    yield connection
                except BaseException:
                    held.connection = held.cursor = None
                    begun.rollback()
                    raise
                held.connection = held.cursor = None
                with translated_errors(self.engine):
                    begun.commit()
            finally:
                held.connection = held.cursor = None
                connection.close()

    @contextmanager
    def inspecting(self) -> Iterator[Connection]:
        if self._held.connection is not None:
            yield self._held.connection
            return
        with self._lender.turn():
            with translated_errors(self.engine):
                connection = self.engine.connect()
            with connection:
                yield connection

    def made_in_transaction(self) -> None:
        if self._held.connection is not None:
            self.forget_on_rollback(self._held.connection)

    def abandon(self) -> None:
        """Start anew in a forked child: the parent's connections stay the parent's."""
        self._held = _Held()
        self._lender.abandon()

    def _attach_functions(self) -> None:
        held = self._held.cursor
        if held is not None and not extension.has_functions(held.connection):
            extension.attach(held.connection)
        if is_known(self.engine, "functions"):
            return
        # From now on each new connection gets them. Those that the pool has are the application's own.
        event.listen(self.engine, "connect", lambda connection, record: extension.attach(connection))
        self._lender.close()
        cursor = self._lender.take()
        try:
            extension.attach(cursor.connection)
        finally:
            self._lender.give(cursor)
        remember(self.engine, "functions")
