"""Which index there is in a database, where ``"auto"`` takes what it finds."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.engine import Connection

from ..errors import CorruptValue
from ..orm.tables import TableRecord, table_of
from ..orm.vector_index import KINDS, VectorIndex

__all__ = ["as_made"]

_RECORDS = table_of(TableRecord)


def as_made(connection: Connection, index: VectorIndex) -> VectorIndex | None:
    """Return the index that the table of ``index``, which is ``"auto"``, was made with; None if with none."""
    recorded = select(_RECORDS.c.options).where(_RECORDS.c.name == index.table.name)
    try:
        options: Any = connection.scalar(recorded)
    except CorruptValue:
        return index
    kind = options.get("index", index.kind) if isinstance(options, dict) else index.kind
    if kind is None:
        return None
    if kind == index.kind or kind not in KINDS:
        return index
    made = VectorIndex(
        index.name, index.column.key, metric=index.metric, kind=kind, **(index.options or _options(connection, index))
    )
    # Not of the table: what is declared there stays as it is.
    made.table = index.table
    return made


def _options(connection: Connection, index: VectorIndex) -> dict[str, Any]:
    """Return the options that it was made with; none if that cannot be read."""
    name = f"{index.name}_meta"
    if connection.dialect.name != "sqlite" or not inspect(connection).has_table(name):
        return {}
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    found: Any = connection.exec_driver_sql(f"SELECT value FROM {quoted} WHERE key = 'options'").scalar()  # noqa: S608
    try:
        options = json.loads(found)
    except (TypeError, ValueError):
        return {}
    return options if isinstance(options, dict) else {}
