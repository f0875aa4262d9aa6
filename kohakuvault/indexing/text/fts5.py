"""A text index on SQLite: an FTS5 table of external content, and triggers in plain SQL that keep it in step.

What FTS5 indexed, it can only be told to forget by the texts that it indexed. A trigger has them, but for rows that
REPLACE deletes: of those none fires (unless the pragma ``recursive_triggers`` is on). So before a row is written, the
rows that it may replace are copied to ``<name>_replaced``; after it was written, those of them that are gone are
forgotten by their copies. At any time a row of ``<name>_replaced`` has the texts that are indexed of that row, and there
are copies of what the last written row might have replaced and no others.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Computed, UniqueConstraint, literal_column
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement

from ...errors import InvalidArgument
from ...orm.text_index import TextIndex

__all__ = ["TRIGGERS", "create_statements", "drop_statements", "indexed_anew"]

TRIGGERS = ("before_insert", "insert", "before_update", "update", "delete")

# A condition, lest the empty table be cleared, which writes a page.
_FORGET_COPIES = "DELETE FROM {replaced} WHERE id IS NOT NULL;"
_COPY = "INSERT INTO {replaced} SELECT {key}, {columns} FROM {table} WHERE ({conflicts}){others};"
_FORGET_REPLACED = (
    "INSERT INTO {index} ({index}, rowid, {columns}) SELECT 'delete', * FROM {replaced} "
    "WHERE id = NEW.{key} OR NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.{key} = {replaced}.id);"
)
_FORGET_COPY = "DELETE FROM {replaced} WHERE id = OLD.{key};"
_FORGET = "INSERT INTO {index} ({index}, rowid, {columns}) SELECT 'delete', OLD.{key}, {old}{changed};"
_INDEX = "INSERT INTO {index} (rowid, {columns}) SELECT NEW.{key}, {new}{changed};"


def create_statements(index: TextIndex, dialect: Dialect) -> list[str]:
    """Return what makes an index: its tables, its triggers, and what is in its table already."""
    if index.table.schema is not None:
        raise InvalidArgument(
            f"text index {index.name!r}: table {index.table.fullname!r} is in a schema, that is, an attached "
            "database on SQLite, where indexes are not supported"
        )
    names = _names(index, dialect)
    copies = "".join(f", c{number}" for number in range(len(index.columns)))
    made = [
        _create_table(index, dialect),
        f"CREATE TABLE {names['replaced']} (id INTEGER PRIMARY KEY{copies})",
        *_triggers(index, dialect),
    ]
    if index.weights is not None:
        ranking = f"bm25({', '.join(map(repr, index.weights))})"
        made.append(f"INSERT INTO {names['index']} ({names['index']}, rank) VALUES ('rank', '{ranking}')")  # noqa: S608
    return [*made, indexed_anew(index, dialect)]


def indexed_anew(index: TextIndex, dialect: Dialect) -> str:
    """Return what indexes every row of the table, and forgets all others."""
    name = _quote(dialect, index.name)
    return f"INSERT INTO {name} ({name}) VALUES ('rebuild')"  # noqa: S608 (a quoted name)


def drop_statements(index: TextIndex, dialect: Dialect) -> list[str]:
    """Return what drops an index."""
    triggers = [f"DROP TRIGGER IF EXISTS {_quote(dialect, f'{index.name}_{name}')}" for name in TRIGGERS]
    tables = [f"DROP TABLE IF EXISTS {_quote(dialect, name)}" for name in (index.name, f"{index.name}_replaced")]
    return [*triggers, *tables]


def _create_table(index: TextIndex, dialect: Dialect) -> str:
    columns = [_quote(dialect, column.name) for column in index.columns]
    options = {"content": index.table.name, "content_rowid": index.key.name, "tokenize": index.tokenize}
    if "prefix" in index.options:
        options["prefix"] = " ".join(map(str, index.options["prefix"]))
    given = [f"{name}={_literal(value)}" for name, value in options.items()]
    return f"CREATE VIRTUAL TABLE {_quote(dialect, index.name)} USING fts5({', '.join([*columns, *given])})"


def _triggers(index: TextIndex, dialect: Dialect) -> Iterator[str]:
    names = _names(index, dialect)
    conflicts, unique = _conflicts(index, dialect)
    names["conflicts"] = " OR ".join(conflicts)
    # The key may be changed by any name of the rowid.
    keys = [names["key"], "rowid", "oid", "_rowid_"]
    other = f" AND {names['key']} <> OLD.{names['key']}"
    texts = [_quote(dialect, column.name) for column in index.columns]
    # Whatever the columns collate by, other texts are other words.
    differ = [f"OLD.{name} COLLATE BINARY IS NOT NEW.{name}" for name in (names["key"], *texts)]
    changed = f" WHERE {' OR '.join(differ)}"
    watched = "" if unique is None else f" OF {', '.join(dict.fromkeys([*keys, *unique]))}"
    written = "" if unique is None else f" OF {', '.join(dict.fromkeys([*keys, *texts, *unique]))}"
    events = {
        "before_insert": ("BEFORE INSERT", [_FORGET_COPIES, _COPY], {"others": ""}),
        "insert": ("AFTER INSERT", [_FORGET_REPLACED, _FORGET_COPIES, _INDEX], {"changed": ""}),
        "before_update": (f"BEFORE UPDATE{watched}", [_FORGET_COPIES, _COPY], {"others": other}),
        "update": (
            f"AFTER UPDATE{written}",
            [_FORGET_COPY, _FORGET_REPLACED, _FORGET_COPIES, _FORGET, _INDEX],
            {"changed": changed},
        ),
        "delete": ("AFTER DELETE", [_FORGET_COPY, _FORGET], {"changed": ""}),
    }
    for name in TRIGGERS:
        event, statements, own = events[name]
        body = " ".join(statement.format(**names, **own) for statement in statements)
        yield f"CREATE TRIGGER {_quote(dialect, f'{index.name}_{name}')} {event} ON {names['table']} BEGIN {body} END"


def _conflicts(index: TextIndex, dialect: Dialect) -> tuple[list[str], list[str] | None]:
    """Return the conditions by which a row is in conflict with a new one, and the columns that they look at.

    None for columns that are not known, because some are computed.
    """
    key = _quote(dialect, index.key.name)
    conditions = [f"{key} = NEW.{key}"]
    columns: list[Column[object]] = []
    computed = False
    for expressions, predicate in _uniques(index):
        equal = [f"{_sql(each, dialect)} = {_sql(_of_new(each, dialect), dialect)}" for each in expressions]
        if predicate is not None:
            equal.append(f"({_sql(predicate, dialect)})")
        conditions.append(" AND ".join(equal))
        for element in (*expressions, *([] if predicate is None else [predicate])):
            found = [each for each in visitors.iterate(element) if isinstance(each, Column)]
            computed = computed or any(isinstance(each.computed, Computed) for each in found)
            columns += found
    return conditions, None if computed else [_quote(dialect, column.name) for column in columns]


def _uniques(index: TextIndex) -> Iterator[tuple[list[ClauseElement], ClauseElement | None]]:
    """Give what the table's UNIQUE constraints and indexes are of, and of which rows."""
    found: list[tuple[list[ClauseElement], ClauseElement | None]] = []
    for constraint in index.table.constraints:
        if isinstance(constraint, UniqueConstraint):
            found.append((list(constraint.columns), None))
    for each in index.table.indexes:
        if each.unique:
            found.append((list(each.expressions), each.dialect_options["sqlite"]["where"]))
    # Sets have no order, and what is made shall be the same each time.
    yield from sorted(found, key=lambda unique: [str(each) for each in unique[0]])


def _of_new(element: ClauseElement, dialect: Dialect) -> ClauseElement:
    """Return an expression of the table's columns as one of the row that is written."""

    def replace(each: object, **kw: object) -> object:
        return literal_column(f"NEW.{_quote(dialect, each.name)}") if isinstance(each, Column) else None

    replaced: ClauseElement = visitors.replacement_traverse(element, {}, replace)  # type: ignore[arg-type,type-var]
    return replaced


def _sql(element: ClauseElement, dialect: Dialect) -> str:
    return str(element.compile(dialect=dialect, compile_kwargs={"literal_binds": True, "include_table": False}))


def _names(index: TextIndex, dialect: Dialect) -> dict[str, str]:
    """Return the quoted names that statements are made of."""
    columns = [_quote(dialect, column.name) for column in index.columns]
    return {
        "index": _quote(dialect, index.name),
        "replaced": _quote(dialect, f"{index.name}_replaced"),
        "table": _quote(dialect, index.table.name),
        "key": _quote(dialect, index.key.name),
        "columns": ", ".join(columns),
        "old": ", ".join(f"OLD.{column}" for column in columns),
        "new": ", ".join(f"NEW.{column}" for column in columns),
    }


def _quote(dialect: Dialect, name: str) -> str:
    return dialect.identifier_preparer.quote_identifier(name)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
