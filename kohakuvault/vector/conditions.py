"""Conditions on rows that a search is given, so that equal ones with other values share one compiled statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Table, and_, bindparam, false, literal, select, tuple_
from sqlalchemy.sql.elements import ClauseList
from sqlalchemy.sql.sqltypes import TupleType
from sqlalchemy.sql.visitors import replacement_traverse

from ..errors import InvalidArgument, UnsupportedType
from .metadata import MetadataValues

__all__ = ["Condition", "Where", "condition_of"]

Where = ColumnElement[bool] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Condition:
    """A condition whose values are all bound parameters of one statement.

    Attributes
    ----------
    element
        The condition, in which every parameter has a name of its own.
    names, values
        Of the parameters.
    key
        Equal for conditions that differ in values only; None if that cannot be told.
    """

    element: ColumnElement[bool]
    names: Sequence[str]
    values: Sequence[Any]
    key: Any


def condition_of(where: Any, table: Table, metadata: MetadataValues) -> Condition | None:
    """Return what ``where=`` says: a SQLAlchemy condition, or a dict of values that columns must equal."""
    if where is None:
        return None
    if isinstance(where, Mapping):
        where = and_(True, *(_equals(table, metadata, name, value) for name, value in where.items()))
    elif hasattr(where, "__clause_element__"):
        where = where.__clause_element__()  # a hybrid, or an attribute of type Boolean
    if not isinstance(where, ColumnElement):
        raise UnsupportedType(
            "where is a condition such as vault.c.lang == 'en', or a dict such as {'lang': 'en'}, not "
            f"{where!r:.60} of type {type(where).__name__}"
        )
    return _bound(where)


def _equals(table: Table, metadata: MetadataValues, name: Any, value: Any) -> ColumnElement[bool]:
    column = table.c[metadata.check_name(name)]
    if isinstance(value, (list, tuple, set, frozenset, ColumnElement)):
        raise InvalidArgument(
            f"where={{{name!r}: {value!r:.60}}}: a column equals one value; for others use a condition, such as "
            f"vault.c.{name}.in_([…])"
        )
    equal: ColumnElement[bool] = column == metadata.check(name, value)
    return equal


def _bound(where: ColumnElement[bool]) -> Condition:
    values: list[Any] = []

    def parameter(value: Any, type_: Any) -> BindParameter[Any]:
        values.append(value)
        return bindparam(f"where_{len(values)}", type_=type_)

    def replace(element: Any, **options: Any) -> Any:
        if not isinstance(element, BindParameter):
            return None
        if element.required:
            raise InvalidArgument(f"the parameter {element.key!r} of where= has no value")
        if not element.expanding:
            return parameter(element.effective_value, element.type)
        members = list(element.effective_value or ())
        if not members:
            return select(literal(1)).where(false()).scalar_subquery()
        if isinstance(element.type, TupleType):
            types = element.type.types
            return ClauseList(
                *(tuple_(*(parameter(v, t) for v, t in zip(m, types, strict=True))) for m in members)
            ).self_group()
        return ClauseList(*(parameter(member, element.type) for member in members)).self_group()

    element: ColumnElement[bool] = replacement_traverse(where, {}, replace)
    key = element._generate_cache_key()
    names = [f"where_{number + 1}" for number in range(len(values))]
    return Condition(element, names, values, key and key.key)
