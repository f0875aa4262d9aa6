"""The yardstick: the driver's own cursor, with the engine's settings."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from kohakuvault.engine import PRAGMAS, create_engine


def driver() -> ModuleType:
    """Return the DB-API module that our engines use."""
    dbapi = create_engine(":memory:").dialect.dbapi
    assert isinstance(dbapi, ModuleType)
    return dbapi


def connect(path: str | Path) -> Any:
    """Return a connection of that driver, in autocommit, with the same settings as the engine's."""
    connection = driver().connect(path, isolation_level=None)
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")
    return connection
