"""The columns of metadata that a table has beside the vault's own, and the values in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Column, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from ..errors import InvalidArgument, UnsupportedType
from ..orm.tables import MetadataColumn
from ..schema import check_name
from .metadata_values import Check, check_of

__all__ = ["MetadataValues", "declared_columns"]

# What SQLite and SQLAlchemy's mapped classes have under these names already.
_RESERVED = ("rowid", "oid", "_rowid_", "metadata", "registry")

# Bytes; PostgreSQL cuts what is longer.
_LONGEST_NAME = 63

Declaration = Mapping[str, TypeEngine[Any] | type[TypeEngine[Any]]] | Iterable[Column[Any] | MetadataColumn] | None


def declared_columns(declaration: Any, mixin: type[Any], own: Iterable[str]) -> tuple[MetadataColumn, ...]:
    """Return the columns that ``metadata=`` declares.

    Parameters
    ----------
    declaration
        SQLAlchemy types by name, or Columns of a name, a type and maybe ``index=True``.
    mixin, own
        What the table's class is mapped from, and the columns that it has itself.

    Raises
    ------
    InvalidArgument
        for a name that is taken, or that no column can have; for a Column that says more than that.
    UnsupportedType
        for anything else.
    """
    if declaration is None:
        return ()
    if isinstance(declaration, Mapping):
        columns = [MetadataColumn(_name(name), _type(name, type_)) for name, type_ in declaration.items()]
    elif isinstance(declaration, Iterable) and not isinstance(declaration, (str, bytes)):
        columns = [_of_column(column, mixin) for column in declaration]
    else:
        raise _no_declaration(declaration)
    reserved = {name.lower() for name in (*own, *_RESERVED, *vars(mixin))}
    taken = set(reserved)
    for column in columns:
        name = check_name(column.name, "metadata column")
        if len(name.encode()) > _LONGEST_NAME:
            raise InvalidArgument(f"a name of {len(name.encode())} bytes given; a column's has at most {_LONGEST_NAME}")
        if name.startswith("__"):
            raise InvalidArgument(f"{name!r} cannot name a metadata column: names that begin with __ are Python's")
        if name.lower() in taken:
            why = "a vault has it already" if name.lower() in reserved else "there is another of that name"
            raise InvalidArgument(f"{name!r} cannot name a metadata column: {why}; names differ by more than case")
        taken.add(name.lower())
    return tuple(columns)


def _name(name: Any) -> str:
    # A name that SQLAlchemy keeps is of a class of its own, which nothing else is to keep.
    return str(name) if isinstance(name, str) else check_name(name, "metadata column")


def _type(name: Any, type_: Any) -> TypeEngine[Any]:
    if isinstance(type_, type) and issubclass(type_, TypeEngine):
        type_ = type_()
    if not isinstance(type_, TypeEngine):
        raise UnsupportedType(
            f"metadata column {name!r:.60}: {type_!r:.60} is no SQLAlchemy type; expected String(), Integer(), …"
        )
    return type_


def _of_column(column: Any, mixin: type[Any]) -> MetadataColumn:
    if isinstance(column, MetadataColumn):
        return column
    if not isinstance(column, Column):
        raise _no_declaration(column)
    more = [
        what
        for what, said in (
            ("primary_key", column.primary_key),
            ("nullable=False", not column.nullable),
            ("unique", column.unique),
            ("a default", column.default is not None or column.server_default is not None),
            ("onupdate", column.onupdate is not None or column.server_onupdate is not None),
            ("a foreign key", bool(column.foreign_keys)),
        )
        if said
    ]
    if more:
        raise InvalidArgument(
            f"metadata column {column.name!r} has {', '.join(more)}; here a column has a name, a type and index=True. "
            f"For more give table= a class of your own, mapped from kohakuvault.orm.tables.{mixin.__name__}"
        )
    return MetadataColumn(str(column.name), column.type, bool(column.index))


def _no_declaration(given: Any) -> UnsupportedType:
    return UnsupportedType(
        f"metadata is a dict of SQLAlchemy types by name or a list of Columns, not {given!r:.60} of type "
        f"{type(given).__name__}"
    )


class MetadataValues:
    """What may be stored in the columns of metadata of one table: all of them but the vault's own.

    Parameters
    ----------
    own
        The names of these.
    of
        What an error calls that which a row is of.

    Attributes
    ----------
    columns
        Their names, in the order of the table.
    """

    def __init__(self, table: Table, dialect: Dialect, own: Iterable[str], of: str) -> None:
        others = set(own)
        self.columns: tuple[str, ...] = tuple(key for key in table.c.keys() if key not in others)  # noqa: SIM118 (keys)
        self._of = of
        self._checks: dict[str, Check] = {key: check_of(table.c[key], dialect) for key in self.columns}
        self._types = [table.c[key].type.dialect_impl(dialect) for key in self.columns]
        self._dialect = dialect
        # By the driver's types of columns, which some of SQLAlchemy's look at.
        self._readers: dict[tuple[Any, ...], list[Callable[[Any], Any] | None]] = {}

    def one(self, given: Mapping[str, Any] | None) -> tuple[tuple[str, ...], list[Any]]:
        """Return the names that are given, in the order of the table, and their values."""
        if given is None:
            return (), []
        if not isinstance(given, Mapping):
            raise UnsupportedType(f"the metadata of a {self._of} is a dict of values by column, not {given!r:.60}")
        names = self._names(given)
        return names, [self._checks[name](given[name]) for name in names]

    def many(
        self, given: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any] | None] | None, count: int
    ) -> tuple[tuple[str, ...], Sequence[Sequence[Any]]]:
        """Return the names that are given, and for each of ``count`` rows their values.

        Parameters
        ----------
        given
            Sequences of ``count`` values by name, or ``count`` dicts of values by name.
        """
        if given is None:
            return (), [()] * count
        if isinstance(given, Mapping):
            columns = {name: _listed(values) for name, values in given.items()}
            for name, values in columns.items():
                if len(values) != count:
                    raise InvalidArgument(f"{count} {self._of}s need as many values of {name!r:.60}, not {len(values)}")
            names = self._names(columns)
            checked = [list(map(self._checks[name], columns[name])) for name in names]
            return names, list(zip(*checked, strict=True)) if names else [()] * count
        rows = _listed(given)
        if len(rows) != count:
            raise InvalidArgument(f"{count} {self._of}s need as many dicts of metadata, not {len(rows)}")
        found: dict[str, None] = {}
        for row in rows:
            if row is not None and not isinstance(row, Mapping):
                raise UnsupportedType(f"the metadata of a {self._of} is a dict of values by column, not {row!r:.60}")
            found.update(dict.fromkeys(row or ()))
        names = self._names(found)
        return names, [[self._checks[name]((row or {}).get(name)) for name in names] for row in rows]

    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` as the column ``name`` takes it; otherwise raise."""
        return self._checks[name](value)

    def read(self, row: Sequence[Any], types: tuple[Any, ...]) -> dict[str, Any]:
        """Return the metadata of a row, of which ``row`` has the columns, and ``types`` theirs, as the driver does."""
        readers = self._readers.get(types)
        if readers is None:
            readers = self._readers[types] = [
                column.result_processor(self._dialect, type_) for column, type_ in zip(self._types, types, strict=True)
            ]
        return {
            name: value if read is None else read(value)
            for name, read, value in zip(self.columns, readers, row, strict=True)
        }

    def check_name(self, name: Any) -> str:
        """Return ``name`` if it is that of a column of metadata."""
        if name in self.columns:
            return str(name)
        known = f"there are {', '.join(self.columns)}" if self.columns else "none was declared by metadata="
        raise InvalidArgument(f"there is no metadata column {name!r:.60}; {known}")

    def _names(self, given: Iterable[Any]) -> tuple[str, ...]:
        chosen = {self.check_name(name) for name in given}
        return tuple(name for name in self.columns if name in chosen)


def _listed(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        return values.tolist() if values.ndim == 1 else list(values)
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UnsupportedType(f"metadata of many rows are sequences by column or a list of dicts, not {values!r:.60}")
    return list(values)
