"""The binding of a Connection or Session: operations are part of its transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, scoped_session

from .. import engine as engines
from .. import extension
from ..lending import DriverCursor, translated_errors
from ..statements import Statement
from .base import Binding, begun, in_autocommit, savepoint

__all__ = ["JoinedBinding"]


class JoinedBinding(Binding):
    """Operations are part of the transaction of a Connection or Session, which is never committed here.

    A Session is flushed first, so that operations see what is pending in it.
    """

    def __init__(self, source: Connection | Session | scoped_session[Any]) -> None:
        super().__init__()
        self._source = source
        self._cursor: DriverCursor | None = None
        self.engine = self._connection().engine

    def one(self, statement: Statement, *values: Any) -> Any:
        return self._current().one(statement, *values)

    def all(self, statement: Statement, *values: Any) -> list[Any]:
        return self._current().all(statement, *values)

    def run(self, statement: Statement, *values: Any) -> int:
        cursor = self._current()
        self._lock(cursor)
        return cursor.run(statement, *values)

    def run_returning(self, statement: Statement, *values: Any) -> Any:
        cursor = self._current()
        self._lock(cursor)
        return cursor.one(statement, *values)

    @contextmanager
    def reading(self) -> Iterator[DriverCursor]:
        yield self._current()

    @contextmanager
    def writing(self) -> Iterator[DriverCursor]:
        cursor = self._current()
        self._lock(cursor)
        with begun(cursor, "BEGIN") if in_autocommit(cursor.connection) else savepoint(cursor):
            yield cursor

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        # Without a transaction around it, SQLite would commit when the savepoint is released.
        self._lock(self._current())
        with self._source.begin_nested():
            yield self._connection()

    @contextmanager
    def inspecting(self) -> Iterator[Connection]:
        yield self._connection()

    def made_in_transaction(self) -> None:
        self.forget_on_rollback(self._connection())

    def _connection(self) -> Connection:
        source = self._source
        if isinstance(source, Connection):
            if not source.in_transaction():
                # Statements on the driver's cursor do not begin SQLAlchemy's transaction by themselves.
                source.begin()
            return source
        session: Session = source() if isinstance(source, scoped_session) else source
        # Within a flush (an event handler of the application's) the Session is being written already.
        if session.autoflush and not session._flushing:
            session.flush()
        return session.connection()

    def _current(self) -> DriverCursor:
        driver = self._connection().connection.dbapi_connection
        cursor = self._cursor
        if cursor is None or cursor.connection is not driver:
            cursor = self._cursor = DriverCursor(driver, self.engine)
        return cursor

    def _lock(self, cursor: DriverCursor) -> None:
        if self.dialect.name == "sqlite":
            with translated_errors(self.engine):
                engines.begin_immediate(cursor.connection)

    def _attach_functions(self) -> None:
        connection = self._connection().connection.dbapi_connection
        if not extension.has_functions(connection):
            extension.attach(connection)
