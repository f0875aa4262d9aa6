"""Tables of other extensions: made, dropped, and dropped when they are damaged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.engine import Connection

from .. import engine as engines
from ..backends import ensure_backend
from ..driver_connection import driver_of
from ..errors import CorruptValue
from ..lending import DriverCursor

__all__ = [
    "RANDOM",
    "create_virtual",
    "drop_virtual",
    "exists",
    "literal",
    "numbered",
    "quoted",
    "require",
    "require_shadows",
]

# A number of 63 bits.
RANDOM = "random() & 9223372036854775807"

_OF_NAME = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def exists(connection: Connection, name: str) -> bool:
    """Whether there is a table of that name."""
    return connection.execute(_OF_NAME, {"name": name}).first() is not None


def create_virtual(connection: Connection, name: str, declaration: str, backend: str) -> None:
    """Make a table, if it is missing, by a module of a backend."""
    if exists(connection, name):
        return
    require(connection, backend)
    connection.exec_driver_sql(f"CREATE VIRTUAL TABLE {quoted(name)} USING {declaration}")


def drop_virtual(connection: Connection, name: str, shadows: Iterable[str], backend: str) -> None:
    """Drop a table of a backend's, if there is one, with its shadow tables, whatever state they are in."""
    if not exists(connection, name):
        return
    require(connection, backend)
    for shadow in shadows:
        # The extension drops them, and fails if one is missing.
        connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {quoted(name + shadow)} (_)")
    connection.exec_driver_sql(f"DROP TABLE {quoted(name)}")


def require_shadows(cursor: DriverCursor, name: str, shadows: Sequence[str]) -> None:
    """Raise :class:`CorruptValue` unless a table has its shadow tables: extensions may crash without."""
    wanted = ", ".join(literal(name + shadow) for shadow in ("", *shadows))
    cursor.command(f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ({wanted})")  # noqa: S608
    if cursor.cursor.fetchone()[0] != len(shadows) + 1:
        raise CorruptValue(f"table {name!r} or one of its shadow tables is missing: call rebuild_index")


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def numbered(connection: Connection, prefix: str) -> Sequence[int]:
    """Return the numbers of the tables that are named ``prefix`` and a number, ascending."""
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars()
    found = (re.fullmatch(re.escape(prefix) + r"(\d+)", name) for name in names)
    return sorted(int(match[1]) for match in found if match is not None)


def require(connection: Connection, backend: str) -> None:
    """Make sure that ``connection`` has a backend, and other connections of an engine of ours from now on."""
    is_ours = connection.engine in engines.installed
    if is_ours:
        engines.add_backends(connection.engine, [backend])
    ensure_backend(driver_of(connection), backend, may_load=is_ours)
