"""Opening a table of texts of which only the name is known, as its record and columns say."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect, select

from ..binding import Binding
from ..errors import SchemaMismatch
from ..lending import translated_errors
from ..orm.tables import MetadataColumn, TableRecord, TextTable, table_of, text_class
from ..orm.text_index import OPTIONS, TextIndex

__all__ = ["text_class_by_record", "text_record"]


def text_record(index: TextIndex) -> dict[str, Any]:
    """Return what ``vault_table`` keeps of a table of texts that has ``index``."""
    return {
        "columns": [column.name for column in index.columns],
        "tokenize": index.tokenize,
        "weights": None if index.weights is None else list(index.weights),
        **index.options,
    }


def text_class_by_record(binding: Binding, name: str) -> type[TextTable]:
    """Return a mapped class of the table ``name``.

    Raises
    ------
    SchemaMismatch
        when there is no such table, or its record does not say what its columns of text are.
    """
    records = table_of(TableRecord)
    with translated_errors(binding.engine), binding.inspecting() as connection:
        inspector = inspect(connection)
        options: Any = connection.scalar(select(records.c.options).where(records.c.name == name))
        found = inspector.get_columns(name) if inspector.has_table(name) else []
    if not found:
        raise SchemaMismatch(f"table {name!r} does not exist")
    try:
        texts = tuple(options["columns"])
        tokenize, weights = options["tokenize"], options.get("weights")
        of_index = tuple((option, options[option]) for option in OPTIONS if option in options)
    except (AttributeError, KeyError, TypeError) as error:
        raise SchemaMismatch(
            f"the record of table {name!r} in vault_table does not say what texts it has; open it by TextVault"
        ) from error
    columns = tuple(
        MetadataColumn(str(column["name"]), column["type"])
        for column in found
        if column["name"] not in ("id", *texts, "value")
    )
    weighs = None if weights is None else tuple(weights)
    return text_class(name, texts, tokenize=tokenize, weights=weighs, metadata=columns, options=of_index)
