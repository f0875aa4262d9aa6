"""The binding of a Connection or Session: operations are part of its transaction."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, scoped_session

from ..driver_connection import driver_of, require_waitable
from ..errors import InvalidArgument
from ..lending import DriverCursor, translated_errors
from ..scanning import Scan, pages
from ..statements import Statement
from ..write_lock import begin_immediate
from .base import Binding, Waits, begun, in_autocommit, refuse_write, require_one_state, savepoint

if TYPE_CHECKING:
    from ..columns import ColumnVault

__all__ = ["JoinedBinding"]


class JoinedBinding(Binding):
    """Operations are part of the transaction of a Connection or Session, which is never committed here.

    A Session is flushed first, so that operations see what is pending in it.
    """

    is_joined = True

    def __init__(self, source: Connection | Session | scoped_session[Any]) -> None:
        super().__init__()
        self.source = source
        self._only_reads = False
        self._writes = False
        self._flushes_before_commit = False
        # That of the lists of rows, once there is one.
        self.column_vault: ColumnVault | None = None
        # What is known of the tables of rows' containers, and since which epoch.
        self.row_tables: dict[object, int] = {}
        # The listeners keep them, so that what waits goes with the connection.
        self._waiting: weakref.WeakKeyDictionary[Connection, set[Waits]] = weakref.WeakKeyDictionary()
        self._dialect = source.dialect if isinstance(source, Connection) else source.get_bind().dialect
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
        before = self._writes
        try:
            # What an iterator that is being written does is part of this, and undone with it: it may not wait.
            self._writes = True
            with begun(cursor, "BEGIN") if in_autocommit(cursor.connection) else savepoint(cursor):
                yield cursor
        finally:
            self._writes = before

    @contextmanager
    def scanning(self, scan: Scan) -> Iterator[Iterator[Iterable[Any]]]:
        scan.bound(self.all)
        yield pages(scan, self.reading)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self.settle()
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

    @property
    def may_wait(self) -> bool:
        return not self._only_reads and not self._writes

    def check_may_cache(self) -> None:
        if isinstance(self.source, scoped_session):
            raise InvalidArgument(
                "writes of several threads' Sessions cannot wait together: bind the vault to the scoped_session's "
                "current Session, scoped_session()"
            )

    def keep_waiting(self, cache: Waits) -> None:
        connection = self._connection()
        caches = self._waiting.get(connection)
        if caches is None:
            caches = self._waiting[connection] = set()
            self._follow(connection, caches)
            if isinstance(self.source, Session) and not self._flushes_before_commit:
                # Earlier than the Connection's commit, so that the Session stays as it is if this fails.
                self._flushes_before_commit = True
                event.listen(self.source, "before_commit", lambda session: self.settle())
        caches.add(cache)

    def _follow(self, connection: Connection, caches: set[Waits]) -> None:
        """Write what waits when the transaction of ``connection`` needs it; forget it when that is rolled back."""

        def write(connection: Connection, *arguments: Any) -> None:
            for cache in list(caches):
                cache.flush_on(self._begun_on(connection))
                caches.discard(cache)

        def write_or_roll_back(connection: Connection) -> None:
            try:
                write(connection)
            except BaseException:
                # SQLAlchemy takes a commit that raises for the end of the transaction.
                forget(connection)
                with suppress(Exception):
                    driver_of(connection).rollback()
                raise

        def forget(connection: Connection, *arguments: Any) -> None:
            while caches:
                caches.pop().drop()

        # A savepoint separates what was written before from what may be rolled back; the application's own statements
        # see what was written before them.
        for name in ("prepare_twophase", "savepoint", "before_cursor_execute"):
            event.listen(connection, name, write)
        event.listen(connection, "commit", write_or_roll_back)
        for name in ("rollback", "rollback_twophase", "rollback_savepoint"):
            event.listen(connection, name, forget)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        # Without a transaction around it, SQLite would commit when the savepoint is released.
        self._for_writing()
        connection = self._connection()
        # Within a flush a Session begins nothing.
        source = connection if getattr(self.source, "_flushing", False) else self.source
        with source.begin_nested():
            yield self._connection()

    @contextmanager
    def inspecting(self) -> Iterator[Connection]:
        yield self._connection()

    def made_in_transaction(self) -> None:
        self.forget_on_rollback(self._connection())

    def _connection(self) -> Connection:
        require_waitable(self._dialect)
        source = self.source
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
        self._attach_to(driver_of(self._connection()))

    def _current(self) -> DriverCursor:
        # A cursor for each operation: a Session that threads share in spite of the rules must not crash them.
        return self._cursor_of(self._connection())

    def _cursor_of(self, connection: Connection) -> DriverCursor:
        driver = driver_of(connection)
        begun = getattr(driver, "in_transaction", False)
        return DriverCursor(driver, self.engine, transaction=connection if begun else None)

    def _for_writing(self) -> DriverCursor:
        if self._only_reads:
            refuse_write()
        return self._begun_on(self._connection())

    def _begun_on(self, connection: Connection) -> DriverCursor:
        cursor = self._cursor_of(connection)
        if self.dialect.name == "sqlite" and cursor.transaction is None:
            with translated_errors(self.engine):
                begin_immediate(cursor.connection)
            if cursor.connection.in_transaction:
                cursor.transaction = connection
        return cursor
