"""Which text indexes a database has, told by what is there and not by names alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

__all__ = ["FoundText", "found_texts"]


@dataclass(frozen=True)
class FoundText:
    """A text index of a database. ``config`` is that of PostgreSQL, where the other options are not known."""

    name: str
    table: str | None
    schema: str | None
    columns: tuple[str, ...]
    key: str = "id"
    tokenize: str = "unicode61"
    weights: tuple[float, ...] | None = None
    prefix: tuple[int, ...] | None = None
    config: str | None = None


def found_texts(connection: Connection) -> list[FoundText]:
    """Return the text indexes of a database."""
    return _on_sqlite(connection) if connection.dialect.name == "sqlite" else _on_postgresql(connection)


_FTS5 = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b.*?\bUSING\s+fts5\s*\((.*)\)\s*", re.IGNORECASE | re.DOTALL)
# A column, or an option and its value.
_ARGUMENT = re.compile(r"""(?:(\w+)\s*=\s*)?("(?:[^"]|"")*"|'(?:[^']|'')*'|\w+)\s*(?:,\s*|$)""")


def _on_sqlite(connection: Connection) -> list[FoundText]:
    master = list(connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master"))
    tables = {name for type_, name, _, _ in master if type_ == "table"}
    triggers = {name: table for type_, name, table, _ in master if type_ == "trigger"}
    found = []
    for type_, name, _, sql in master:
        match = _FTS5.fullmatch(sql or "") if type_ == "table" else None
        if match is None or f"{name}_replaced" not in tables:
            continue
        arguments = [(option, _unquoted(value)) for option, value in _ARGUMENT.findall(match[1])]
        options = {option: value for option, value in arguments if option}
        if not {"content", "content_rowid", "tokenize"} <= options.keys():
            continue
        prefix = tuple(int(length) for length in options.get("prefix", "").split()) or None
        found.append(
            FoundText(
                name,
                triggers.get(f"{name}_insert"),
                None,
                tuple(value for option, value in arguments if not option),
                options["content_rowid"],
                options["tokenize"],
                _weights(connection, name) if f"{name}_config" in tables else None,
                prefix,
            )
        )
    return found


def _unquoted(value: str) -> str:
    quote = value[0]
    return value[1:-1].replace(quote * 2, quote) if quote in "\"'" else value


def _weights(connection: Connection, name: str) -> tuple[float, ...] | None:
    quoted = connection.dialect.identifier_preparer.quote_identifier(f"{name}_config")
    ranking: Any = connection.exec_driver_sql(f"SELECT v FROM {quoted} WHERE k = 'rank'").scalar()  # noqa: S608
    match = re.fullmatch(r"bm25\((.+)\)", ranking or "")
    return None if match is None else tuple(float(weight) for weight in match[1].split(","))


_QUERY = text("""
SELECT i.relname, t.relname, n.nspname, n.nspname = current_schema(), pg_get_indexdef(i.oid),
    (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
        WHERE a.attrelid = t.oid AND a.attnum IN (SELECT d.refobjsubid FROM pg_depend AS d
            WHERE d.objid = i.oid AND d.refobjid = t.oid AND d.refobjsubid > 0)),
    (SELECT a.attname FROM pg_index AS k JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.indkey[0]
        WHERE k.indrelid = t.oid AND k.indisprimary)
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_am AS m ON m.oid = i.relam
WHERE m.amname = 'gin' AND x.indexprs IS NOT NULL AND x.indpred IS NULL
""")
_CONFIG = re.compile(r"to_tsvector\('([^']+)'::regconfig")


def _on_postgresql(connection: Connection) -> list[FoundText]:
    found = []
    for name, table, schema, is_default, made, columns, key in connection.execute(_QUERY):
        match = _CONFIG.search(made)
        if match is not None and columns:
            config = match[1].rpartition(".")[2].strip('"')
            found.append(
                FoundText(name, table, None if is_default else schema, tuple(columns), key or "id", config=config)
            )
    return found
