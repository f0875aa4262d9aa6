"""Which tables and indexes of a database are the vault's own, so that autogenerate is not to see them.

Names alone decide nothing: a satellite is that of an index which says so in its meta table, a container's table is one
that ``vault_table`` knows, and a shadow table that of a virtual table in the schema.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, inspect, select
from sqlalchemy.engine import Connection

from ..tables import TableRecord, VaultBase, table_of
from .found_indexes import FoundIndex, found_indexes
from .found_lists import found_lists
from .found_texts import FoundText, found_texts

__all__ = ["VERSION_TABLE", "OwnRelations"]

VERSION_TABLE = "vault_version"

_RECORDS = table_of(TableRecord)

# What follows the name of a virtual table in those of its shadow tables, which the module makes.
_SHADOWS = {
    "fts5": r"_(data|idx|docsize|config|content)",
    "vec0": r"_(info|chunks|rowids|vector_chunks\d+|metadatachunks\d+|metadatatext\d+|auxiliary)",
    "vss0": r"_(index|data)",
}
_OF_EVERY_INDEX = ("meta", "pending")
_BLOCKS = ("blk", "loc")
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b.*?\bUSING\s+(\w+)", re.IGNORECASE | re.DOTALL)


@dataclass
class OwnRelations:
    """Names of tables, and schemas and names of indexes."""

    tables: set[str] = field(default_factory=set)
    indexes: set[tuple[str | None, str]] = field(default_factory=set)
    found: list[FoundIndex] = field(default_factory=list)
    texts: list[FoundText] = field(default_factory=list)
    # Schema, table and column of the lists of rows.
    lists: set[tuple[str | None, str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, connection: Connection, mapped: Collection[Table]) -> OwnRelations:
        """Return those of a database, but for the tables that the application maps, and their plain indexes."""
        own = cls(found=found_indexes(connection), texts=found_texts(connection), lists=found_lists(connection))
        inspector = inspect(connection)
        own.tables |= _vault_tables(inspector) | _recorded(connection, inspector)
        if connection.dialect.name == "sqlite":
            own.tables |= _satellites(connection, own.found)
            own.tables |= {name for index in own.texts for name in (index.name, f"{index.name}_replaced")}
        else:
            own.indexes |= {(index.schema, index.name) for index in own.found}
            own.indexes |= {(index.schema, index.name) for index in own.texts}
        own.tables -= {table.name for table in mapped}
        own.indexes -= {(table.schema, str(index.name)) for table in mapped for index in table.indexes}
        return own


def _vault_tables(inspector: Any) -> set[str]:
    """Return those of ``vault_table``, ``vault_column`` and so on that have the columns of ours."""
    own = set()
    for table in VaultBase.metadata.sorted_tables:
        if inspector.has_table(table.name):
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            # Later formats may have more.
            if {"id", "name"} & columns and len(columns & set(table.columns.keys())) > len(table.columns) // 2:
                own.add(table.name)
    if inspector.has_table(VERSION_TABLE):
        columns = {column["name"] for column in inspector.get_columns(VERSION_TABLE)}
        own |= {VERSION_TABLE} if columns == {"version_num"} else set()
    return own


def _recorded(connection: Connection, inspector: Any) -> set[str]:
    from ...schema import VERSIONS

    if not inspector.has_table(_RECORDS.name):
        return set()
    columns = {column["name"] for column in inspector.get_columns(_RECORDS.name)}
    if not {"name", "kind"} <= columns:
        return set()
    names = select(_RECORDS.c.name).where(_RECORDS.c.kind.in_(sorted(VERSIONS)))
    return set(connection.scalars(names))


def _satellites(connection: Connection, found: list[FoundIndex]) -> set[str]:
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    tables: dict[str, str | None] = {name: sql for name, sql in rows}  # noqa: C416 (rows are no pairs)
    modules = {
        name: match[1].lower() for name, sql in tables.items() if (match := _VIRTUAL.match(sql or "")) is not None
    }
    own = set()
    for index in found:
        own |= {f"{index.name}_{suffix}" for suffix in _OF_EVERY_INDEX}
        if index.kind not in ("vec", "vss"):
            own |= {f"{index.name}_{suffix}" for suffix in _BLOCKS}
        stored = re.compile(re.escape(index.name) + r"_(vec|vss_\d+)")
        own |= {name for name, module in modules.items() if module in ("vec0", "vss0") and stored.fullmatch(name)}
    for virtual, module in modules.items():
        shadow = re.compile(re.escape(virtual) + _SHADOWS.get(module, r"(?!)"))
        own |= {name for name in tables if name not in modules and shadow.fullmatch(name)}
    return own & set(tables)
