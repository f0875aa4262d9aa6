"""A text index on SQLite: an FTS5 table of external content, and triggers in plain SQL that keep it in step.

What FTS5 indexed, it can only be told to forget by the texts that it indexed. A trigger has them, but for rows that
REPLACE deletes: of those none fires (unless the pragma ``recursive_triggers`` is on). So before a row is written, the
rows that it may replace are copied to ``<name>_replaced``; after it was written, those of them that are gone are
forgotten by their copies. A copy always has the texts that are indexed, and copies are made of what the last written
row might have replaced and no others.

Rows that are inserted together by a TextVault are indexed together, without a trigger for each: see :mod:`.together`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, ColumnClause, ColumnElement, Computed, TextClause, UniqueConstraint, literal_column
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors

from ...errors import InvalidArgument
from ...orm.text_index import TextIndex

__all__ = ["MARK", "TRIGGERS", "create_statements", "drop_statements", "indexed_anew", "trigger_statements"]

TRIGGERS = ("before_insert", "insert", "before_update", "update", "delete")

# The id and the text of what is among the copies while rows are inserted that are indexed together. No copy is like it.
MARK = (-(2**63) + 1, b"many")
_UNLESS_TOGETHER = " WHEN NOT EXISTS (SELECT 1 FROM {replaced} WHERE id = {mark} AND c0 = {text})"

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
        *trigger_statements(index, dialect),
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


def trigger_statements(index: TextIndex, dialect: Dialect) -> Iterator[str]:
    """Give what makes each of the triggers of an index."""
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
    id, text = MARK
    together = _UNLESS_TOGETHER.format(replaced=names["replaced"], mark=id, text=f"x'{text.hex()}'")
    events = {
        "before_insert": ("BEFORE INSERT", [_FORGET_COPIES, _COPY], {"others": "", "when": together}),
        "insert": ("AFTER INSERT", [_FORGET_REPLACED, _FORGET_COPIES, _INDEX], {"changed": "", "when": together}),
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
        trigger = _quote(dialect, f"{index.name}_{name}")
        yield f"CREATE TRIGGER {trigger} {event} ON {names['table']}{own.get('when', '')} BEGIN {body} END"


def _conflicts(index: TextIndex, dialect: Dialect) -> tuple[list[str], list[str] | None]:
    """Return the conditions by which a row is in conflict with a new one, and the columns that they look at.

    None for columns that are not known, because some are computed or in the text of a condition.
    """
    key = _quote(dialect, index.key.name)
    conditions = [f"{key} = NEW.{key}"]
    columns: list[Column[object]] = []
    known = True
    for expressions, predicate in _uniques(index):
        new = [_of_new(each, dialect) for each in expressions]
        equal = [f"{_sql(old, dialect)} = {_sql(each, dialect)}" for old, each in zip(expressions, new, strict=True)]
        if predicate is not None:
            equal.append(f"({_sql(predicate, dialect)})")
            known = known and not _is_textual(predicate)
        conditions.append(" AND ".join(equal))
        for element in (*expressions, *([] if predicate is None else [predicate])):
            found = [each for each in visitors.iterate(element) if isinstance(each, Column)]
            known = known and not any(isinstance(each.computed, Computed) for each in found)
            columns += found
    return conditions, [_quote(dialect, column.name) for column in columns] if known else None


def _uniques(index: TextIndex) -> list[tuple[list[Any], Any]]:
    """Return what the table's UNIQUE constraints and indexes are of, and of which rows.

    Without those of SQL that is not known in parts.
    """
    found: list[tuple[list[Any], Any]] = [
        (list(constraint.columns), None)
        for constraint in index.table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    found += [
        (list(each.expressions), each.dialect_options["sqlite"]["where"])
        for each in index.table.indexes
        if each.unique and not any(map(_is_textual, each.expressions))
    ]
    # Sets have no order, and what is made shall be the same each time.
    return sorted(found, key=lambda unique: [str(each) for each in unique[0]])


def _is_textual(element: Any) -> bool:
    """Whether there may be columns in an expression that cannot be seen."""
    if isinstance(element, str):
        return True
    return any(
        isinstance(each, TextClause) or (isinstance(each, ColumnClause) and not isinstance(each, Column))
        for each in visitors.iterate(element)
    )


def _of_new(element: Any, dialect: Dialect) -> Any:
    """Return an expression of the table's columns as one of the row that is written."""

    def replace(each: Any, **kw: Any) -> Any:
        return literal_column(f"NEW.{_quote(dialect, each.name)}") if isinstance(each, Column) else None

    return visitors.replacement_traverse(element, {}, replace)  # type: ignore[call-overload]


def _sql(element: ColumnElement[Any], dialect: Dialect) -> str:
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
