"""Lending a connection to one operation of a task; see :mod:`kohakuvault.lending`."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from ..driver_connection import driver_connection, is_waitable
from ..lending import (
    DetachedLender,
    DriverCursor,
    Lender,
    PoolLender,
    SharedLender,
    is_single,
    with_functions,
)
from .turns import Turns
from .waiting import await_, uncancelled

__all__ = ["async_lender_for"]


def async_lender_for(engine: Engine) -> Lender:
    """Return the lender that fits the database and pool of an ``AsyncEngine``'s ``sync_engine``."""
    if engine.dialect.name != "sqlite":
        return AsyncPoolLender(engine)
    if is_single(engine):
        return AsyncSharedLender(engine)
    return AsyncFileLender(engine)


class AsyncFileLender(DetachedLender):
    """SQLite files: a few connections of our own, for which tasks wait rather than open more."""

    # Each has a thread.
    MOST = 8

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._turns = Turns(self.MOST)
        # Not `idle`, from which cursors are popped without a turn.
        self._free: list[DriverCursor] = []

    def take(self) -> DriverCursor:
        self._turns.acquire()
        try:
            if self._free:
                return self._free.pop()
            # A connection that is half open when its task is cancelled would be lost with its thread.
            cursor: DriverCursor = await_(uncancelled(self._open, lambda cursor: cursor.connection.close()))
            return cursor
        except BaseException:
            self._turns.release()
            raise

    def give(self, cursor: DriverCursor) -> None:
        try:
            if cursor.connection.in_transaction:
                cursor.connection.close()
            else:
                self._free.append(cursor)
        finally:
            self._turns.release()

    def close(self) -> None:
        while self._free:
            self._free.pop().connection.close()

    def abandon(self) -> None:
        self.idle = self._free
        super().abandon()
        self._free = []


# The connection of each database in memory, checked out for as long as there is the engine: giving it back would roll
# back whatever runs on it.
_checked_out: weakref.WeakKeyDictionary[Engine, Any] = weakref.WeakKeyDictionary()


def _dispose(engine: Engine) -> None:
    proxied = _checked_out.pop(engine, None)
    if proxied is not None and is_waitable():
        with suppress(Exception):
            proxied.invalidate()


class AsyncSharedLender(SharedLender):
    """SQLite in memory: the one connection there is."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._turn: Any = Turns(1)

    def _checked_out(self) -> Any:
        proxied = _checked_out.get(self._engine)
        if proxied is None or proxied.dbapi_connection is None:
            if proxied is None:
                event.listen(self._engine, "engine_disposed", _dispose)
            proxied = _checked_out[self._engine] = self._engine.raw_connection()
            with_functions(driver_connection(proxied.dbapi_connection), self._engine)
        return proxied

    def abandon(self) -> None:
        self._turn = Turns(1)


class AsyncPoolLender(PoolLender):
    """Database servers: the engine's pool."""

    def take(self) -> DriverCursor:
        cursor: DriverCursor = await_(uncancelled(super().take, self.give))
        return cursor
