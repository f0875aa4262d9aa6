"""SQLite's write lock: taken before the first write of a transaction, so that none fails half-way for want of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from .driver_connection import driver_of

__all__ = ["begin_before_write", "begin_immediate", "is_write"]

_COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_OUTSIDE = re.compile(
    _COMMENTS + r"(?:SELECT|VALUES|EXPLAIN|PRAGMA|ATTACH|DETACH|VACUUM|BEGIN|COMMIT|END|ROLLBACK|RELEASE)\b",
    re.IGNORECASE | re.DOTALL,
)
_WITH = re.compile(_COMMENTS + r"WITH\b", re.IGNORECASE | re.DOTALL)
# REPLACE( is the function.
_CHANGES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|REPLACE)\b(?!\s*\()", re.IGNORECASE)


@lru_cache(maxsize=1024)
def is_write(statement: str) -> bool:
    """Whether ``statement`` needs the write lock, judged by its first word.

    >>> is_write("SELECT 1"), is_write("WITH x AS (SELECT 1) DELETE FROM t"), is_write("CREATE TABLE t (x)")
    (False, True, True)
    """
    if _WITH.match(statement):
        return _CHANGES.search(statement) is not None
    return _OUTSIDE.match(statement) is None


def begin_immediate(connection: Any) -> None:
    """Take the write lock on the driver's ``connection`` unless it is in a transaction, or in autocommit mode."""
    if not connection.in_transaction and connection.isolation_level is not None:
        connection.execute("BEGIN IMMEDIATE")


def begin_before_write(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    """Take the lock before a statement that needs it: a listener of ``before_cursor_execute``."""
    # SAVEPOINT too: releasing one outside of a transaction would commit.
    if not is_write(statement):
        return
    try:
        begin_immediate(driver_of(connection))
    except Exception as error:
        # As SQLAlchemy itself would raise it, had it run the statement.
        raise OperationalError("BEGIN IMMEDIATE", (), error) from error
