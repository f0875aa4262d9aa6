"""Conditions on rows that a search is given, so that equal ones with other values share one compiled statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Table, and_, bindparam, false, literal, select, tuple_
from sqlalchemy.sql.elements import ClauseList, TextClause
from sqlalchemy.sql.sqltypes import TupleType
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from ..errors import InvalidArgument, UnsupportedType
from .metadata import MetadataValues

__all__ = ["Condition", "Where", "condition_of"]

Where = ColumnElement[bool] | TextClause | Mapping[str, Any] | None


class Condition:
    """A condition, apart from the values in it.

    Attributes
    ----------
    values
        Of the parameters of :meth:`bound`.
    key
        Equal for conditions that differ in values only; None if that cannot be told.
    """

    def __init__(self, where: ColumnElement[bool] | TextClause) -> None:
        self._where = where
        cache_key = where._generate_cache_key()
        self._parameters: Sequence[BindParameter[Any]] = (
            [element for element in iterate(where) if isinstance(element, BindParameter)]
            if cache_key is None
            else cache_key.bindparams
        )
        values: list[Any] = []
        # How many parameters each becomes.
        counts = []
        for parameter in self._parameters:
            some = _values_of(parameter)
            counts.append(len(some))
            values += some
        self.values: Sequence[Any] = values
        self.key = None if cache_key is None else (cache_key.key, tuple(counts))

    def bound(self) -> tuple[ColumnElement[bool], list[str]]:
        """Return the condition with a named parameter for each value, none of which is a list, and their names."""
        names: list[str] = []

        def parameter(type_: Any) -> BindParameter[Any]:
            names.append(f"where_{len(names) + 1}")
            return bindparam(names[-1], type_=type_)

        replaced = {id(given): _parameters_for(given, parameter) for given in self._parameters}
        element: Any = replacement_traverse(self._where, {}, lambda element, **options: replaced.get(id(element)))
        return element, names


def condition_of(where: Any, table: Table, metadata: MetadataValues) -> Condition | None:
    """Return what ``where=`` says: a SQLAlchemy condition, or a dict of values that columns must equal."""
    if where is None:
        return None
    if isinstance(where, Mapping):
        where = and_(True, *(_equals(table, metadata, name, value) for name, value in where.items()))
    elif hasattr(where, "__clause_element__"):
        where = where.__clause_element__()  # a hybrid, or an attribute of type Boolean
    if not isinstance(where, (ColumnElement, TextClause)):
        raise UnsupportedType(
            "where is a condition such as vault.c.lang == 'en', or a dict such as {'lang': 'en'}, not "
            f"{where!r:.60} of type {type(where).__name__}"
        )
    return Condition(where)


def _equals(table: Table, metadata: MetadataValues, name: Any, value: Any) -> ColumnElement[bool]:
    column = table.c[metadata.check_name(name)]
    if isinstance(value, (list, tuple, set, frozenset, ColumnElement)):
        raise InvalidArgument(
            f"where={{{name!r}: {value!r:.60}}}: a column equals one value; for others use a condition, such as "
            f"vault.c.{name}.in_([…])"
        )
    equal: ColumnElement[bool] = column == metadata.check(name, value)
    return equal


def _values_of(parameter: BindParameter[Any]) -> list[Any]:
    if parameter.required:
        raise InvalidArgument(f"the parameter {parameter.key!r} of where= has no value")
    if not parameter.expanding:
        return [parameter.effective_value]
    members = list(parameter.effective_value or ())
    return [value for member in members for value in member] if isinstance(parameter.type, TupleType) else members


def _parameters_for(given: BindParameter[Any], parameter: Any) -> Any:
    """Return what stands for a parameter, by those that ``parameter`` makes: one, or one for each member of a list."""
    if not given.expanding:
        return parameter(given.type)
    count = len(given.effective_value or ())
    if not count:
        return select(literal(1)).where(false()).scalar_subquery()
    if isinstance(given.type, TupleType):
        return ClauseList(*(tuple_(*map(parameter, given.type.types)) for _ in range(count))).self_group()
    return ClauseList(*(parameter(given.type) for _ in range(count))).self_group()
