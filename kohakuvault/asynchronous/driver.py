"""Connections of aiosqlite, and of psycopg for asyncio, with the plain DB-API: for code inside of ``run_sync()``.

Containers run statements on the driver's own cursor. Drivers for asyncio have coroutines there, which SQLAlchemy
wraps so that code inside of ``run_sync()`` can wait for them. The wrappers here do the same with fewer steps: a
statement and its rows are one trip to the thread of aiosqlite, where SQLAlchemy's own cursor makes four.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.util.concurrency import in_greenlet

from .waiting import ended

__all__ = ["adapted"]

Result = TypeVar("Result")

# Rows that come with the statement itself; further ones are fetched when they are asked for.
_AHEAD = 100
# Rows that executemany() takes from an iterator at a time.
_BATCH = 1000


def adapted(connection: AdaptedConnection) -> Any:
    """Return ``connection`` with the plain DB-API; one of a driver that is not known here as it is."""
    driver = type(connection.driver_connection).__module__.partition(".")[0]
    if driver == "aiosqlite":
        return AiosqliteConnection(connection)
    return PsycopgConnection(connection) if driver == "psycopg" else connection


async def _in_thread(function: Callable[[], Any], driver: Any) -> Any:
    """Run ``function`` in the thread of an aiosqlite connection; when cancelled, wait for its end first.

    So whoever is cancelled in a COMMIT knows afterwards whether it took effect, and a connection is never given to
    somebody else while it is still at work.
    """
    if driver._connection is None or not driver._running:
        raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    # As SQLAlchemy's dialect does it: aiosqlite has no public way to run a function in its thread.
    driver._tx.put_nowait((future, function))
    try:
        return await future
    except asyncio.CancelledError:
        # The thread does one thing after the other.
        behind: asyncio.Future[None] = loop.create_future()
        driver._tx.put_nowait((behind, _nothing))
        await ended(behind)
        raise


def _nothing() -> None:
    pass


class AiosqliteConnection:
    """A connection of aiosqlite with the interface of ``sqlite3``: calls are made in its thread and waited for."""

    __slots__ = ("_adapted", "_driver")

    def __init__(self, adapted: AdaptedConnection) -> None:
        self._adapted = adapted
        self._driver: Any = adapted.driver_connection

    @property
    def raw(self) -> Any:
        """The connection of ``sqlite3``, which only :meth:`call` may use."""
        return self._driver._conn

    def call(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` in the connection's thread and return its result."""
        result: Result = self._adapted.run_async(partial(_in_thread, function))
        return result

    @property
    def isolation_level(self) -> str | None:
        """As that of ``sqlite3``."""
        level: str | None = self.raw.isolation_level
        return level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self.call(partial(setattr, self.raw, "isolation_level", level))

    def cursor(self) -> AiosqliteCursor:
        """Return a new cursor."""
        return AiosqliteCursor(self)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> AiosqliteCursor:
        """Run a statement by a cursor of its own."""
        return self.cursor().execute(sql, parameters)

    def close(self) -> None:
        """Close the connection; in a finaliser, where nothing can be waited for, its thread does so by itself."""
        if self._driver._connection is None:
            return
        if in_greenlet():
            self._adapted.close()  # type: ignore[attr-defined]
            return
        # Called in that thread, stop() makes no future, which might have to be told in a loop that is closed by then.
        self._driver._tx.put_nowait((None, self._driver.stop))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.raw, name)
        if not callable(attribute):
            return attribute
        return lambda *arguments, **keywords: self.call(partial(attribute, *arguments, **keywords))


class AiosqliteCursor:
    """A cursor of :class:`AiosqliteConnection`."""

    __slots__ = ("_connection", "_cursor", "_ended", "_rows", "arraysize", "description", "rowcount")

    def __init__(self, connection: AiosqliteConnection) -> None:
        self._connection = connection
        self._cursor: Any = None
        self._rows: deque[Any] = deque()
        self._ended = True
        self.arraysize = _AHEAD
        self.description: Any = None
        self.rowcount = -1

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> AiosqliteCursor:
        """Run a statement, and fetch its first rows."""
        self._rows.clear()
        self._ended = False
        self._rows.extend(self._connection.call(partial(self._execute, sql, parameters)))
        self._ended = self.description is None or len(self._rows) < self._ahead
        return self

    def _execute(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = self._connection.raw.cursor()
        cursor.execute(sql, parameters)
        self.description = cursor.description
        rows: list[Any] = cursor.fetchmany(self._ahead) if cursor.description is not None and self._ahead else []
        self.rowcount = cursor.rowcount
        return rows

    @property
    def _ahead(self) -> int:
        # The driver is a row ahead by itself: where rows are wanted one by one, that is all.
        return self.arraysize if self.arraysize > 1 else 0

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> AiosqliteCursor:
        """Run a statement for each of ``rows``, which are taken here, not in the connection's thread."""
        changed = 0
        remaining = iter(rows)
        while batch := list(islice(remaining, _BATCH)):
            changed += self._connection.call(partial(self._executemany, sql, batch))
        self._rows.clear()
        self._ended = True
        self.rowcount = changed
        return self

    def _executemany(self, sql: str, rows: list[Sequence[Any]]) -> int:
        if self._cursor is None:
            self._cursor = self._connection.raw.cursor()
        self._cursor.executemany(sql, rows)
        return int(self._cursor.rowcount)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        if not self._rows and not self._ended:
            self._fetch()
        return self._rows.popleft() if self._rows else None

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        rows = list(self._rows)
        self._rows.clear()
        if not self._ended:
            rows += self._connection.call(self._cursor.fetchall)
            self._ended = True
        return rows

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Let go of rows that were not fetched."""
        self._rows.clear()
        cursor, self._cursor = self._cursor, None
        # One whose rows were all fetched holds nothing, and goes with the last reference.
        if not self._ended and cursor is not None and in_greenlet():
            self._ended = True
            self._connection.call(cursor.close)

    def _fetch(self) -> None:
        rows = self._connection.call(partial(self._cursor.fetchmany, self.arraysize))
        self._ended = len(rows) < self.arraysize
        self._rows.extend(rows)


class PsycopgConnection:
    """SQLAlchemy's connection of psycopg for asyncio, with cursors that take rows from any iterator."""

    __slots__ = ("_adapted",)

    def __init__(self, adapted: Any) -> None:
        self._adapted = adapted

    def cursor(self) -> PsycopgCursor:
        """Return a new cursor."""
        return PsycopgCursor(self._adapted.cursor())

    def execute(self, sql: str, parameters: Any = None) -> PsycopgCursor:
        """Run a statement by a cursor of its own."""
        cursor = self.cursor()
        cursor.execute(sql, parameters)
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapted, name)


class PsycopgCursor:
    """A cursor of :class:`PsycopgConnection`."""

    __slots__ = ("_cursor", "execute", "fetchall", "fetchone")

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.execute = cursor.execute
        self.fetchall = cursor.fetchall
        self.fetchone = cursor.fetchone

    def executemany(self, sql: str, rows: Iterable[Any]) -> None:
        """Run a statement for each of ``rows``, which are taken here: taking one may need the database."""
        remaining = iter(rows)
        while batch := list(islice(remaining, _BATCH)):
            self._cursor.executemany(sql, batch)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)
