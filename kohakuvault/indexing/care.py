"""Building a vector index anew, and what there is to say about it, on each database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..binding import Binding
from ..errors import CorruptValue, SchemaMismatch
from ..lending import DriverCursor, translated_errors
from ..orm.vector_index import VectorIndex
from . import ddl, pgvector
from .building import Progress, build
from .kinds import kind_on_sqlite
from .state import State
from .statements import index_statements

__all__ = ["Progress", "build_index", "describe_index"]


def build_index(binding: Binding, index: VectorIndex, *, optimizes: bool, progress: Progress | None = None) -> None:
    """Build an index anew, in a transaction.

    Parameters
    ----------
    binding, index
        Where, and which.
    optimizes
        Choose what is best for the present number of rows.
    progress
        Called now and then with the rows done and the rows of all.
    """
    with translated_errors(binding.engine), binding.transaction() as connection:
        if connection.dialect.name != "sqlite":
            pgvector.rebuild(connection, index, optimizes=optimizes)
            return
        cursor = ddl.driver_cursor(connection)
        lists = optimizes or _has_lists(cursor, index)
        ddl.restore(connection, index)
        build(cursor, index, lists=lists, progress=progress)


def describe_index(cursor: DriverCursor, index: VectorIndex) -> dict[str, Any]:
    """Return what there is to say about an index."""
    describe: Callable[..., dict[str, Any]] = _on_sqlite if cursor.dialect.name == "sqlite" else pgvector.describe
    return {"name": index.name, "kind": index.kind, "metric": index.metric, **describe(cursor, index)}


def _on_sqlite(cursor: DriverCursor, index: VectorIndex) -> dict[str, Any]:
    sql = index_statements(index, cursor.dialect)
    state = State.read(cursor, sql)
    ((pending,),) = cursor.all(sql.pending_count, -1)
    blocks, size = cursor.one(sql.size)
    in_use: str | None = None
    if blocks:
        flat = "rabitq" if state.code == "one-bit" else "exact"
        in_use = flat if state.centroids is None else "ivf"
    facts: dict[str, Any] = {"kind": state.kind, "in_use": in_use, "pending": pending, "blocks": blocks, "bytes": size}
    if state.centroids is not None:
        facts.update(lists=len(state.centroids), probes=state.probes)
    return facts


def _has_lists(cursor: DriverCursor, index: VectorIndex) -> bool:
    sql = index_statements(index, cursor.dialect)
    kind = kind_on_sqlite(index)
    try:
        return "centroids" in dict(cursor.all(sql.meta)) and kind in ("ivf", "auto")
    except (CorruptValue, SchemaMismatch):
        # Of what cannot be read it is not known.
        return kind == "ivf"
