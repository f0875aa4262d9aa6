"""The driver's connection behind one of SQLAlchemy's: with the plain DB-API also where the driver is for asyncio."""

from __future__ import annotations

import sqlite3.dbapi2
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.engine import AdaptedConnection, Connection, Dialect, Engine
from sqlalchemy.util.concurrency import in_greenlet

from .errors import InvalidArgument

__all__ = ["driver_connection", "driver_module", "driver_of", "in_driver", "is_waitable", "require_waitable"]

Result = TypeVar("Result")


def driver_connection(connection: Any) -> Any:
    """Return the driver's connection that SQLAlchemy has as ``connection``, or something that behaves like it."""
    if not isinstance(connection, AdaptedConnection):
        return connection
    # Not above: applications without asyncio load nothing of it.
    from .asynchronous.driver import adapted

    return adapted(connection)


def driver_of(connection: Connection) -> Any:
    """Return the driver's connection of ``connection``."""
    return driver_connection(connection.connection.dbapi_connection)


def driver_module(engine: Engine) -> Any:
    """Return the DB-API module that opens an engine's connections; behind aiosqlite that is ``sqlite3``."""
    return sqlite3.dbapi2 if engine.dialect.driver == "aiosqlite" else engine.dialect.dbapi


def in_driver(connection: Any, function: Callable[[Any], Result]) -> Result:
    """Return ``function(connection)``, called with the driver's own SQLite connection, in its thread if it has one."""
    adapted = driver_connection(connection)
    if adapted is connection:
        return function(connection)
    result: Result = adapted.call(lambda: function(adapted.raw))
    return result


def is_waitable() -> bool:
    """Whether this is inside of ``run_sync()``, where a connection of a driver for asyncio can be waited for."""
    return in_greenlet()


def require_waitable(dialect: Dialect) -> None:
    """Raise where a Session or Connection of a driver for asyncio is used outside of ``run_sync()``."""
    if dialect.is_async and not in_greenlet():
        raise InvalidArgument(
            "a container in the transaction of an AsyncSession or AsyncConnection, as are those of mapped objects, is "
            "read and written inside of run_sync(): await session.run_sync(lambda session: …)"
        )
