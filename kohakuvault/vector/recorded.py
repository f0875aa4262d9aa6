"""Opening a table of vectors of which only the name is known, as its record and columns say."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect, select

from ..binding import Binding
from ..errors import SchemaMismatch
from ..lending import translated_errors
from ..orm.tables import MetadataColumn, TableRecord, VectorTable, table_of, vector_class

__all__ = ["class_by_record"]

_OWN = ("id", "vector", "value")


def class_by_record(binding: Binding, name: str) -> tuple[type[VectorTable], str]:
    """Return a mapped class of the table ``name``, and the metric it was made with.

    Raises
    ------
    SchemaMismatch
        when there is no such table, or its record does not say what its vectors are.
    """
    records = table_of(TableRecord)
    with translated_errors(binding.engine), binding.inspecting() as connection:
        inspector = inspect(connection)
        options: Any = connection.scalar(select(records.c.options).where(records.c.name == name))
        found = inspector.get_columns(name) if inspector.has_table(name) else []
        indexes = [index["column_names"] for index in inspector.get_indexes(name)] if found else []
    columns = tuple(
        MetadataColumn(str(column["name"]), column["type"], [column["name"]] in indexes)
        for column in found
        if column["name"] not in _OWN
    )
    try:
        dimensions, metric, vector_type = options["dimensions"], options["metric"], options.get("vector_type", "f32")
        kind = options.get("index")
    except (AttributeError, KeyError, TypeError) as error:
        raise SchemaMismatch(
            f"the record of table {name!r} in vault_table does not say what vectors it has; open it by VectorKVault"
        ) from error
    if not found:
        raise SchemaMismatch(f"table {name!r} does not exist")
    index = None if kind is None else (kind, metric, ())
    return vector_class(name, dimensions, vector_type, metadata=columns, index=index), metric
