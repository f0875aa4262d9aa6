"""The table that a class has which is mapped from one of our mixins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.orm import registry
from sqlalchemy.schema import SchemaItem

from ..tables import KVTable, VectorTable, table_of

__all__ = ["KINDS", "implied_table"]

# Of each kind that has a mixin what its record says.
KINDS: dict[str, tuple[str, ...]] = {
    "kv": (),
    "vectors": ("dimensions", "vector_type", "metric", "index"),
}
_MIXINS: dict[str, Any] = {"kv": KVTable, "vectors": VectorTable}


def implied_table(
    name: str,
    kind: str,
    metadata: MetaData,
    items: Sequence[SchemaItem],
    *,
    schema: str | None,
    pickle: bool,
    options: Mapping[str, Any],
    table_kw: Mapping[str, Any],
) -> Table:
    """Return the table of a class that is mapped from the mixin of ``kind`` and has further ``items``."""
    said: dict[str, Any] = {"__tablename__": name, "__pickle__": pickle}
    if kind == "vectors":
        said.update(__dimensions__=options["dimensions"], __vector_type__=options.get("vector_type", "f32"))
    # An operation may run again, with columns that have a table by then.
    columns: dict[str, Any] = {
        item.name: item._copy() if getattr(item, "table", None) is not None else item
        for item in items
        if isinstance(item, Column)
    }
    rest = [item for item in items if not isinstance(item, Column)]
    said["__table_args__"] = (*rest, {"schema": schema, **table_kw})
    mapping = registry(metadata=metadata)
    table = table_of(mapping.mapped(type(name, (_MIXINS[kind],), {**said, **columns})))
    mapping.dispose()
    return table
