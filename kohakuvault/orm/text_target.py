"""What a search of texts is of: an index, one of its columns or all, and the rows of a table or an alias of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Table
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstrumentedAttribute, Mapper
from sqlalchemy.orm.util import AliasedInsp
from sqlalchemy.sql.selectable import Alias

from ..errors import InvalidArgument, UnsupportedType
from .text_index import TextIndex, text_indexes_of

__all__ = ["TextTarget", "text_target"]


@dataclass(frozen=True)
class TextTarget:
    """What is searched.

    Attributes
    ----------
    index
        By which.
    key
        What identifies a row, in the FROM element that is searched.
    columns
        The columns there that are searched: all of the index, or one.
    of_one
        The name of that one, if the index has more; otherwise None.
    """

    index: TextIndex
    key: ColumnElement[Any]
    columns: tuple[ColumnElement[Any], ...]
    of_one: str | None = None


def text_target(target: Any) -> TextTarget:
    """Return what is searched, given a mapped class, an alias of one, a table, an attribute, a column or an index."""
    if isinstance(target, TextIndex):
        return _whole(target, target.columns[0].table)
    if isinstance(target, InstrumentedAttribute) or hasattr(target, "__clause_element__"):
        return _of_attribute(target)
    if isinstance(target, ColumnElement):
        return _of_column(target, getattr(target, "table", None))
    if isinstance(target, (Table, Alias)):
        return _whole(_only(text_indexes_of(_table_of(target)), repr(target.name)), target)
    try:
        entity = sqlalchemy_inspect(target)
    except NoInspectionAvailable:
        entity = None
    if not isinstance(entity, (Mapper, AliasedInsp)):
        raise UnsupportedType(
            f"what is searched is a mapped class, an attribute or column of text, or a TextIndex, not {target!r:.60}"
        )
    indexes = [index for table in entity.mapper.tables for index in text_indexes_of(table)]
    return _whole(_only(indexes, entity.mapper.class_.__name__), entity)


def _of_attribute(attribute: Any) -> TextTarget:
    column = attribute.__clause_element__()
    entity = getattr(attribute, "parent", None)
    if not isinstance(entity, (Mapper, AliasedInsp)):
        return _of_column(column, column.table)
    # Of an alias, the column may be one of a subquery.
    mapped = entity.mapper.column_attrs.get(attribute.key)
    for each in [] if mapped is None else mapped.columns:
        if isinstance(each, Column) and _indexes_of(each, each.table):
            return _of_column(each, entity, column)
    raise _no_index(str(attribute), attribute.key)


def _of_column(column: Any, source: Any, searched: ColumnElement[Any] | None = None) -> TextTarget:
    indexes = _indexes_of(column, _table_of(getattr(column, "table", None)))
    if not indexes:
        raise _no_index(str(column), getattr(column, "key", None))
    # The one that has least beside it.
    index = min(indexes, key=lambda index: len(index.columns))
    columns = (column if searched is None else searched,)
    return TextTarget(index, _in(source, index.key), columns, column.name if len(index.columns) > 1 else None)


def _indexes_of(column: Any, table: Any) -> list[TextIndex]:
    return [index for index in text_indexes_of(table) if any(each.name == column.name for each in index.columns)]


def _no_index(name: str, key: str | None) -> InvalidArgument:
    return InvalidArgument(
        f"there is no text index of {name}: give its table one, TextIndex(name, {key!r}), or search an index by "
        "itself, match(index, query)"
    )


def _whole(index: TextIndex, source: Any) -> TextTarget:
    return TextTarget(index, _in(source, index.key), tuple(_in(source, column) for column in index.columns))


def _only(indexes: list[TextIndex], name: str) -> TextIndex:
    if len(indexes) != 1:
        there = ", ".join(repr(index.name) for index in indexes) or "none"
        raise InvalidArgument(
            f"{name} has not one text index but {len(indexes)} ({there}): name a column, or give the index itself"
        )
    return indexes[0]


def _table_of(source: Any) -> Any:
    """Return the table that a FROM element is, or is an alias of."""
    return source.element if isinstance(source, Alias) else source


def _in(source: Any, column: Column[Any]) -> ColumnElement[Any]:
    """Return a column of a table as it is in a mapped class, or in an alias of either."""
    if isinstance(source, (Mapper, AliasedInsp)):
        attribute = source.mapper.get_property_by_column(column).key
        found: ColumnElement[Any] = getattr(source.entity, attribute).__clause_element__()
        return found
    if isinstance(source, Alias):
        aliased: ColumnElement[Any] = source.columns[column.key]
        return aliased
    return column
