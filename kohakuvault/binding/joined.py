"""The binding of a Connection or Session: operations are part of its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, scoped_session

from .. import engine as engines
from ..lending import DriverCursor, translated_errors
from ..scanning import Scan, pages
from ..statements import Statement
from .base import Binding, begun, in_autocommit, refuse_write, require_one_state, savepoint

__all__ = ["JoinedBinding"]


class JoinedBinding(Binding):
    """Operations are part of the transaction of a Connection or Session, which is never committed here.

    A Session is flushed first, so that operations see what is pending in it.
    """

    def __init__(self, source: Connection | Session | scoped_session[Any]) -> None:
        super().__init__()
        self._source = source
        self._only_reads = False
        self.engine = self._connection().engine

    def one(self, statement: Statement, *values: Any) -> Any:
        return self._current().one(statement, *values)

    def all(self, statement: Statement, *values: Any) -> list[Any]:
        return self._current().all(statement, *values)

    def run(self, statement: Statement, *values: Any) -> int:
        cursor = self._for_writing()
        return cursor.run(statement, *values)

    def run_returning(self, statement: Statement, *values: Any) -> Any:
        cursor = self._for_writing()
        return cursor.one(statement, *values)

    @contextmanager
    def reading(self) -> Iterator[DriverCursor]:
        yield self._current()

    @contextmanager
    def writing(self) -> Iterator[DriverCursor]:
        cursor = self._for_writing()
        with begun(cursor, "BEGIN") if in_autocommit(cursor.connection) else savepoint(cursor):
            yield cursor

    @contextmanager
    def scanning(self, scan: Scan) -> Iterator[Iterator[Iterable[Any]]]:
        scan.bound(self.all)
        yield pages(scan, self.all)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        cursor = self._current()
        if self._only_reads or getattr(cursor.connection, "in_transaction", True):
            require_one_state(cursor, self.dialect)
            with self._reading_only():
                yield
            return
        # SQLite's driver begins a transaction only before a write; until then every read would see the newest commit.
        changes = cursor.connection.total_changes
        cursor.command("BEGIN")
        cursor.command("SELECT 1 FROM sqlite_master LIMIT 1")
        try:
            with self._reading_only():
                yield
        finally:
            driver = cursor.connection
            # What the application itself has written meanwhile is its own to commit.
            if driver.in_transaction and driver.total_changes == changes:
                cursor.command("COMMIT")

    @contextmanager
    def _reading_only(self) -> Iterator[None]:
        before, self._only_reads = self._only_reads, True
        try:
            yield
        finally:
            self._only_reads = before

    @property
    def holds_transaction(self) -> bool:
        return True

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        # Without a transaction around it, SQLite would commit when the savepoint is released.
        self._for_writing()
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

    def require_functions(self) -> None:
        self._attach_to(self._connection().connection.dbapi_connection)

    def _current(self) -> DriverCursor:
        # A cursor for each operation: a Session that threads share in spite of the rules must not crash them.
        connection = self._connection()
        driver: Any = connection.connection.dbapi_connection
        begun = getattr(driver, "in_transaction", False)
        return DriverCursor(driver, self.engine, transaction=connection if begun else None)

    def _for_writing(self) -> DriverCursor:
        if self._only_reads:
            refuse_write()
        cursor = self._current()
        if self.dialect.name == "sqlite" and cursor.transaction is None:
            with translated_errors(self.engine):
                engines.begin_immediate(cursor.connection)
            if cursor.connection.in_transaction:
                cursor.transaction = self._connection()
        return cursor
