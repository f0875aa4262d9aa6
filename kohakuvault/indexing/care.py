"""Building a vector index anew, and what there is to say about it, on each database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..binding import Binding
from ..errors import InvalidArgument, KohakuVaultError
from ..lending import DriverCursor, translated_errors
from ..orm.nearest import LACKS_TABLES
from ..orm.vector_index import VectorIndex
from . import ddl, pgvector
from .building import Progress
from .statements import index_statements
from .stores import store_of

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
    if binding.dialect.name != "sqlite":
        with translated_errors(binding.engine), binding.transaction() as connection:
            pgvector.rebuild(connection, index, optimizes=optimizes)
        return
    store = store_of(index)
    if store.backend is not None:
        binding.require_backend(store.backend)
    if store.commits and (binding.is_joined or binding.holds_transaction):
        raise InvalidArgument(
            f"vector index {index.name!r} of kind {index.kind!r} is built in transactions of its own: not inside "
            "transaction() or snapshot(), nor bound to a Session or Connection. Bind to the engine for it"
        )
    anew = partial(ddl.renew if store.commits else ddl.restore, index=index)
    try:
        for step in store.steps(anew, optimizes=optimizes, progress=progress):
            with translated_errors(binding.engine), binding.transaction() as connection:
                step(ddl.driver_cursor(connection))
    except KohakuVaultError as error:
        explained = store.explain(error)
        if explained is error:
            raise
        raise explained from error


def describe_index(cursor: DriverCursor, index: VectorIndex) -> dict[str, Any]:
    """Return what there is to say about an index."""
    describe: Callable[..., dict[str, Any]] = _on_sqlite if cursor.dialect.name == "sqlite" else pgvector.describe
    return {"name": index.name, "kind": index.kind, "metric": index.metric, **describe(cursor, index)}


def _on_sqlite(cursor: DriverCursor, index: VectorIndex) -> dict[str, Any]:
    ((pending,),) = cursor.all(index_statements(index, cursor.dialect).pending_count, -1)
    facts = {"pending": pending, **store_of(index).describe(cursor)}
    # Kept up, and not used.
    return {**facts, "in_use": None} if getattr(cursor.dialect, LACKS_TABLES, False) else facts
