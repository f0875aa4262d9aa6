"""Which vector indexes a database has, told by what is there and not by names alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from ..pgvector import POSTGRESQL_TYPES
from ..types import Vector

__all__ = ["FoundIndex", "found_indexes"]


@dataclass(frozen=True)
class FoundIndex:
    """A vector index of a database, and on SQLite whether its triggers are there."""

    name: str
    table: str | None
    schema: str | None
    column: str
    key: str
    metric: str
    kind: str
    element: str
    dimensions: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def type_(self) -> Vector:
        """The type of its column."""
        return Vector(self.dimensions, self.element)


def found_indexes(connection: Connection) -> list[FoundIndex]:
    """Return the vector indexes of a database."""
    return _on_sqlite(connection) if connection.dialect.name == "sqlite" else _on_postgresql(connection)


_SAID = ("version", "kind", "metric", "element", "dimensions", "key", "vector")


def _on_sqlite(connection: Connection) -> list[FoundIndex]:
    master = list(connection.exec_driver_sql("SELECT type, name, tbl_name FROM sqlite_master"))
    triggers = {name: table for type_, name, table in master if type_ == "trigger"}
    found = []
    for type_, table, _ in master:
        if type_ != "table" or not table.endswith("_meta"):
            continue
        name = table.removesuffix("_meta")
        quoted = connection.dialect.identifier_preparer.quote_identifier(table)
        columns = [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({quoted})")]
        if columns != ["key", "value"]:
            continue
        said = {key: value for key, value in connection.exec_driver_sql(f"SELECT key, value FROM {quoted}")}  # noqa: C416, S608
        if not all(key in said for key in _SAID) or type(said["dimensions"]) is not int:
            continue
        try:
            options = json.loads(said.get("options") or "{}")
            known = FoundIndex(
                name,
                triggers.get(f"{name}_insert"),
                None,
                str(said["vector"]),
                str(said["key"]),
                str(said["metric"]),
                str(said["kind"]),
                str(said["element"]),
                said["dimensions"],
                options if isinstance(options, dict) else {},
            )
            _ = known.type_
        except (ValueError, TypeError):
            continue
        found.append(known)
    return found


_QUERY = text("""
SELECT i.relname, t.relname, n.nspname = current_schema(), n.nspname, a.attname, m.amname, o.opcname,
    format_type(a.atttypid, a.atttypmod), i.reloptions
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_am AS m ON m.oid = i.relam
JOIN pg_opclass AS o ON o.oid = x.indclass[0]
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
WHERE m.amname IN ('hnsw', 'ivfflat') AND x.indnkeyatts = 1 AND x.indpred IS NULL AND x.indexprs IS NULL
ORDER BY i.relname
""")


def _on_postgresql(connection: Connection) -> list[FoundIndex]:
    elements = {type_: element for element, type_ in reversed(POSTGRESQL_TYPES.items())}
    inspector = inspect(connection)
    found = []
    for name, table, is_default, schema, column, method, operators, type_, reloptions in connection.execute(_QUERY):
        kind, _, rest = operators.partition("_")
        base, _, dimensions = type_.rpartition(".")[2].partition("(")
        if kind not in elements or base not in elements or not rest.endswith("_ops") or not dimensions:
            continue
        within = None if is_default else schema
        keys = inspector.get_pk_constraint(table, schema=within)["constrained_columns"]
        options = dict(option.split("=", 1) for option in reloptions or ())
        found.append(
            FoundIndex(
                name,
                table,
                within,
                column,
                keys[0] if len(keys) == 1 else "id",
                rest.removesuffix("_ops"),
                method,
                elements[base],
                int(dimensions.rstrip(")")),
                {option: int(value) for option, value in options.items()},
            )
        )
    return found
