"""Folding after what SQLAlchemy itself writes, by the ORM or by Core, to tables that have vector indexes on SQLite."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from ..orm.vector_index import VectorIndex, indexes_of

if TYPE_CHECKING:
    from .fold_counter import FoldCounter

__all__ = ["follow"]

# In the ``info`` of a connection: the rows that were written since it last committed, by index.
_WRITTEN = "kohakuvault.written"

_counters: weakref.WeakKeyDictionary[Engine, dict[VectorIndex, FoldCounter]] = weakref.WeakKeyDictionary()


def follow() -> None:
    """Listen to what every engine executes, from the first index on: applications without one pay nothing."""
    if not event.contains(Engine, "after_execute", _executed):
        event.listen(Engine, "after_execute", _executed)
        event.listen(Engine, "commit", _commits)


def _executed(connection: Connection, statement: Any, many: Any, parameters: Any, options: Any, result: Any) -> None:
    """Count the rows that a statement wrote. No more: rows of its RETURNING may still have to be fetched."""
    if not getattr(statement, "is_dml", False) or connection.dialect.name != "sqlite":
        return
    indexes = indexes_of(statement.table)
    if not indexes:
        return
    written: dict[VectorIndex, int] = connection.info.setdefault(_WRITTEN, {})
    # SQLite does not say how many rows a statement with RETURNING wrote.
    rows = len(many) if many else 1
    if getattr(result, "context", None) is not None and not result.returns_rows:
        rows = max(result.rowcount, rows)
    for index in indexes:
        written[index] = written.get(index, 0) + rows


def _commits(connection: Connection) -> None:
    """Fold what is due, at the end of the transaction that wrote it."""
    written = connection.info.pop(_WRITTEN, None)
    if not written:
        return
    # Not above: applications without a vector index in use load nothing of it.
    from ..errors import DriverError
    from .ddl import driver_cursor
    from .fold_counter import FoldCounter

    cursor = driver_cursor(connection)
    counters = _counters.setdefault(connection.engine, {})
    try:
        for index, rows in written.items():
            counters.setdefault(index, FoldCounter(index)).written(cursor, rows)
    except DriverError:
        if not cursor.in_transaction:
            raise
        # What keeps it from being folded, the commit says itself, or it is folded next time.
        connection.info[_WRITTEN] = written
