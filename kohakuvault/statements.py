"""Core statements compiled once for a dialect, then run on the driver's own cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, Table, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Statement", "filled_up", "insert_or_ignore", "upsert", "upsert_from"]

Converter = Callable[[Any], Any]

# How many keys one statement may name.
_CHUNKS = (1, 8, 64, 512)


class Statement:
    """One Core statement, compiled for one dialect.

    Attributes
    ----------
    sql
        The text for the driver.
    parameters
        Turns the values of the named bind parameters, in the order of ``names``, into what the driver takes.

    Each bind parameter's type converts its value, as SQLAlchemy's own execution would; columns that are not among the
    values have their default or ``onupdate``. Results are the driver's rows as they are: the containers decode them.
    """

    __slots__ = ("parameters", "sql")

    def __init__(self, element: ClauseElement, names: Sequence[str], dialect: Dialect) -> None:
        columns = [name for name in names if name in element.table.c] if isinstance(element, Insert) else None
        compiled = element.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        missing = set(compiled.binds) - set(names)
        constants = {name: compiled.binds[name].effective_value for name in missing}
        makers: dict[str, Callable[[], Any]] = {}
        for name, default in _defaults(compiled):
            if default.is_scalar:
                constants[name] = default.arg
            else:
                del constants[name]
                makers[name] = partial(default.arg, None)
        converters = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        self.sql: str = compiled.string
        self.parameters = _binder(names, constants, makers, converters, compiled.positiontup)

    def given(self, *last: Any) -> Statement:
        """Return the same statement with the last of its values given: it takes those before them."""
        whole = self.parameters
        statement = Statement.__new__(Statement)
        statement.sql = self.sql
        statement.parameters = lambda values: whole((*values, *last))
        return statement


def _defaults(compiled: SQLCompiler) -> Iterator[tuple[str, Any]]:
    """Give the columns whose values Python makes where none is given, by the names of their bind parameters."""
    for column in compiled.insert_prefetch:
        yield column.key, column.default
    for column in compiled.update_prefetch:
        yield column.key, column.onupdate


def _binder(
    names: Sequence[str],
    constants: dict[str, Any],
    makers: Mapping[str, Callable[[], Any]],
    converters: Mapping[str, Converter | None],
    positions: Sequence[str] | None,
) -> Callable[[Sequence[Any]], Any]:
    """Return the function that makes the driver's parameters of values, as source of its own: it is run for every row.

    Written out, two parameters take 0.2 µs; any loop over them takes five times that.
    """
    if positions is not None and list(positions) == list(names) and not any(converters.values()):
        return lambda values: values
    given: dict[str, Any] = {}
    places = {name: f"values[{place}]" for place, name in enumerate(names)}
    for number, (name, value) in enumerate(constants.items()):
        given[f"constant_{number}"] = _converted(converters.get(name), value)
        places[name] = f"constant_{number}"
    for number, (name, make) in enumerate(makers.items()):
        given[f"make_{number}"] = make
        places[name] = f"make_{number}()"
    for number, name in enumerate([*names, *makers]):
        converter = converters.get(name)
        if converter is not None:
            given[f"convert_{number}"] = converter
            places[name] = f"convert_{number}({places[name]})"
    if positions is None:
        source = f"{{{', '.join(f'{name!r}: {place}' for name, place in places.items())}}}"
    else:
        source = f"({''.join(places[name] + ', ' for name in positions)})"
    binder: Callable[[Sequence[Any]], Any] = eval(f"lambda values: {source}", given)
    return binder


def _converted(converter: Converter | None, value: Any) -> Any:
    return value if converter is None else converter(value)


def insert_or_ignore(table: Table, dialect: Dialect, conflict: str | None = None) -> Insert:
    """Return ``INSERT … ON CONFLICT (conflict) DO NOTHING``; without ``conflict``, whatever the conflict is."""
    return _insert(table, dialect).on_conflict_do_nothing(index_elements=conflict and [conflict])


def upsert(
    table: Table,
    dialect: Dialect,
    conflict: Sequence[str],
    changes: Iterable[str],
    where: ColumnElement[bool] | None = None,
) -> Insert:
    """Return ``INSERT … ON CONFLICT (conflict) DO UPDATE`` that sets ``changes`` to the new row's values.

    Where ``where`` says so of the row that exists; otherwise that row stays as it is.
    """
    return _update_on(_insert(table, dialect), conflict, changes, where)


def upsert_from(
    table: Table, dialect: Dialect, rows: Select[Any], conflict: Sequence[str], changes: Sequence[str]
) -> Insert:
    """Return ``INSERT … SELECT … ON CONFLICT (conflict) DO UPDATE``; ``rows`` selects ``conflict`` and ``changes``."""
    # Without WHERE, SQLite would take ON CONFLICT for the ON of a join.
    insert = _insert(table, dialect).from_select([*conflict, *changes], rows.where(true()))
    return _update_on(insert, conflict, changes, None)


def _update_on(
    insert: sqlite.Insert | postgresql.Insert,
    conflict: Sequence[str],
    changes: Iterable[str],
    where: ColumnElement[bool] | None,
) -> Insert:
    return insert.on_conflict_do_update(
        index_elements=list(conflict), set_={name: insert.excluded[name] for name in changes}, where=where
    )


def _insert(table: Table, dialect: Dialect) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


def filled_up(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut ``keys`` into runs of a few sizes, so that a few statements serve; the last is filled up by repeating."""
    for start in range(0, len(keys), _CHUNKS[-1]):
        some = list(keys[start : start + _CHUNKS[-1]])
        size = next(size for size in _CHUNKS if size >= len(some))
        yield some + some[-1:] * (size - len(some))
