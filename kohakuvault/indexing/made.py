"""Which index there is in a file, where ``"auto"`` takes what it finds."""

from __future__ import annotations

import json

from ..lending import DriverCursor
from ..orm.vector_index import KINDS, VectorIndex
from .statements import index_statements
from .virtual import literal

__all__ = ["as_made"]


def as_made(cursor: DriverCursor, index: VectorIndex) -> VectorIndex:
    """Return ``index``, or where it is ``"auto"`` one of the kind, and with the options, that it was made with."""
    if index.kind != "auto" or cursor.dialect.name != "sqlite":
        return index
    cursor.command(f"SELECT 1 FROM sqlite_master WHERE name = {literal(f'{index.name}_meta')}")  # noqa: S608 (quoted)
    if cursor.cursor.fetchone() is None:
        return index
    meta = dict(cursor.all(index_statements(index, cursor.dialect).meta))
    kind = meta.get("kind")
    if kind == index.kind or kind not in KINDS:
        return index
    options = meta.get("options")
    made = VectorIndex(
        index.name,
        index.column,
        metric=index.metric,
        kind=kind,
        **(index.options or (json.loads(options) if isinstance(options, str) else {})),
    )
    # Not of the table: what is declared there stays as it is.
    made.table = index.table
    return made
