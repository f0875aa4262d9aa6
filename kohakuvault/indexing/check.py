"""Whether a vector index on SQLite is as its table and the triggers have left it."""

from __future__ import annotations

from collections.abc import Iterator

from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .ddl import EVENTS, SATELLITES
from .state import VERSION
from .statements import index_statements
from .stores import store_of

__all__ = ["check_index", "problems_of"]

_SCHEMA = "SELECT type, name, tbl_name FROM sqlite_master WHERE type IN ('table', 'trigger')"


def check_index(cursor: DriverCursor, index: VectorIndex) -> list[str]:
    """Return what is wrong with an index, an empty list if nothing is; every row is read, and what is kept of it.

    Parameters
    ----------
    cursor, index
        Where, in a transaction that sees one state; and which.
    """
    if cursor.dialect.name != "sqlite":
        return []
    # If it is not what is expected, what is kept cannot be understood.
    return problems_of(cursor, index) or store_of(index).check(cursor)


def problems_of(cursor: DriverCursor, index: VectorIndex) -> list[str]:
    """Return what is wrong with the tables, the triggers and the meta table, whatever is in the others."""
    return list(_missing(cursor, index)) or list(_differences(cursor, index))


def _missing(cursor: DriverCursor, index: VectorIndex) -> Iterator[str]:
    cursor.command(_SCHEMA)
    there = {(kind, name.lower()): table for kind, name, table in cursor.cursor.fetchall()}
    own = [f"{index.name}_{satellite}" for satellite in SATELLITES]
    missing = [name for name in own if ("table", name.lower()) not in there]
    if not missing:
        # What they are may be said there.
        missing = [name for name in store_of(index).tables(cursor) if ("table", name.lower()) not in there]
    for name in missing:
        yield f"table {name!r} of the vector index {index.name!r} is missing"
    for trigger in EVENTS:
        name = f"{index.name}_{trigger}"
        table = there.get(("trigger", name.lower()))
        if table is None or table.lower() != index.table.name.lower():
            yield f"trigger {name!r} of the vector index {index.name!r} is missing, so that it may have missed changes"


def _differences(cursor: DriverCursor, index: VectorIndex) -> Iterator[str]:
    meta = dict(cursor.all(index_statements(index, cursor.dialect).meta))
    if meta.get("version") != VERSION:
        yield f"the vector index {index.name!r} has format version {meta.get('version')!r}; expected {VERSION}"
        return
    expected = {
        "metric": index.metric,
        "element": index.element,
        "dimensions": index.dimensions,
        "key": index.key.name,
        "vector": index.column.name,
    }
    for key, right in expected.items():
        if meta.get(key) != right:
            yield f"the vector index {index.name!r} has the {key} {meta.get(key)!r}; expected {right!r}"
    if type(meta.get("stamp")) is not int:
        yield f"the vector index {index.name!r} has no stamp"
