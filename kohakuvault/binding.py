"""Where a container's statements run: a path, URL, Engine, Connection, Session or another container."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Dialect, Engine
from sqlalchemy.orm import Session, scoped_session

from . import engine as engines
from . import extension
from .errors import InvalidArgument, KohakuVaultError
from .known import is_known, remember
from .lending import DriverCursor, lender_for, translated_errors
from .statements import Statement

__all__ = ["Bind", "Binding", "bind_to"]


class _Bound(Protocol):
    """Anything that has a binding: every container."""

    @property
    def binding(self) -> Binding: ...


Bind = str | os.PathLike[str] | URL | Engine | Connection | Session | scoped_session[Any] | _Bound


def bind_to(bind: Bind) -> Binding:
    """Return the binding for what a container was given as ``bind``.

    The same path in one process is the same engine; ``":memory:"`` is a new database each time.
    """
    if isinstance(bind, Engine):
        return _of_engine(bind)
    if isinstance(bind, (Connection, Session, scoped_session)):
        return JoinedBinding(bind)
    if isinstance(bind, (str, os.PathLike, URL)):
        return _of_path(bind)
    binding = getattr(bind, "binding", None)
    if isinstance(binding, Binding):
        return binding
    hint = ""
    if hasattr(bind, "sync_engine") or hasattr(bind, "sync_session"):
        hint = "; from async code use await session.run_sync(lambda session: …)"
    raise InvalidArgument(
        "bind must be a path, URL, Engine, Connection, Session or another container, "
        f"not {type(bind).__module__}.{type(bind).__name__}{hint}"
    )


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
        _bindings.add(self)
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
            with _savepoint(held):
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
                with _savepoint(cursor):
                    yield cursor
            else:
                with _begun(cursor, begin):
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
                    if _in_autocommit(driver):
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
            _attach(held.connection)
        if is_known(self.engine, "functions"):
            return
        # From now on each new connection gets them. Those that the pool has are the application's own.
        event.listen(self.engine, "connect", lambda connection, record: _attach(connection))
        self._lender.close()
        cursor = self._lender.take()
        try:
            _attach(cursor.connection)
        finally:
            self._lender.give(cursor)
        remember(self.engine, "functions")


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
        with _begun(cursor, "BEGIN") if _in_autocommit(cursor.connection) else _savepoint(cursor):
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
            _attach(connection)


def _attach(connection: Any) -> None:
    extension.attach(connection)


def _in_autocommit(connection: Any) -> bool:
    autocommit = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    # The standard library's older attribute; an application may also set it to write BEGIN itself.
    return connection.isolation_level is None and not connection.in_transaction


@contextmanager
def _begun(cursor: DriverCursor, begin: str) -> Iterator[None]:
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
def _savepoint(cursor: DriverCursor) -> Iterator[None]:
    cursor.command("SAVEPOINT kohakuvault")
    try:
        yield
    except BaseException:
        with suppress(KohakuVaultError):
            cursor.command("ROLLBACK TO SAVEPOINT kohakuvault")
            cursor.command("RELEASE SAVEPOINT kohakuvault")
        raise
    cursor.command("RELEASE SAVEPOINT kohakuvault")


# -- one binding per engine, one engine per path ---------------------------------------------------

# Reentrant: a finaliser may run while it is held.
_lock = threading.RLock()
_by_engine: weakref.WeakValueDictionary[int, EngineBinding] = weakref.WeakValueDictionary()
_by_path: weakref.WeakValueDictionary[str, EngineBinding] = weakref.WeakValueDictionary()
_bindings: weakref.WeakSet[EngineBinding] = weakref.WeakSet()


def _of_engine(engine: Engine) -> EngineBinding:
    with _lock:
        binding = _by_engine.get(id(engine))
        if binding is None or binding.engine is not engine:
            binding = _by_engine[id(engine)] = EngineBinding(engine)
        return binding


def _of_path(path: str | os.PathLike[str] | URL) -> EngineBinding:
    key = _path_key(path)
    with _lock:
        binding = _by_path.get(key) if key else None
        if binding is None:
            engine = engines.create_engine(path)
            binding = _of_engine(engine)
            # Nobody else has this engine: when the last container is gone, so are its connections.
            weakref.finalize(binding, engine.dispose)
            if key:
                _by_path[key] = binding
        return binding


def _path_key(path: str | os.PathLike[str] | URL) -> str:
    """Return what tells databases apart, or "" for one in memory, which nobody else can open."""
    url = engines.as_url(path)
    if url.get_backend_name() == "sqlite":
        if engines.is_memory(url):
            return ""
        url = url.set(database=os.path.realpath(url.database or ""))
        if url.get_driver_name() == "pysqlite":
            url = url.set(drivername="sqlite")
    return url.render_as_string(hide_password=False)


def _forked() -> None:
    global _lock
    _lock = threading.RLock()
    for binding in list(_bindings):
        binding.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
