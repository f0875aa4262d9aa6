"""Old dicts: a table of two BLOBs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .source import Source, quoted

__all__ = ["dict_rows", "dicts_of"]


def dicts_of(source: Source) -> list[str]:
    """Return the tables of a file that are dicts."""
    return [name for name in source.sql if source.has_columns(name, "key", "value") and _is_dict(source, name)]


def _is_dict(source: Source, table: str) -> bool:
    columns = list(source.rows('SELECT name, upper(type), "notnull", pk FROM pragma_table_xinfo(?)', table))
    return columns == [(b"key", b"BLOB", 1, 1), (b"value", b"BLOB", 1, 0)]


def dict_rows(source: Source, table: str) -> Iterator[tuple[Any, Any]]:
    """Give key and value of every entry, in the order of insertion."""
    return source.rows(f"SELECT key, value FROM {quoted(table)} ORDER BY rowid")  # noqa: S608
