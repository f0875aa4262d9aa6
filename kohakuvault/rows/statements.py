"""The SQL of a table whose rows have an id, a value and metadata, written once in Core for every dialect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    Table,
    TableValuedAlias,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from ..orm.types import Packed
from ..packing import pack, unpack
from ..row_scan import RowStatements
from ..statements import Statement, insert_or_ignore, upsert
from .ids import Ids, ids_of
from .metadata import MetadataValues

__all__ = ["TableStatements"]


class TableStatements:
    """The statements on one table, for one dialect. Values are given as they are; their types convert them.

    Parameters
    ----------
    content
        The columns that a row is of, beside its value: a vector, or texts.
    of
        What an error calls that.

    Attributes
    ----------
    pack, unpack
        Turn a value into what the driver takes, and what it returns into the value.
    pickle
        Whether values may be pickles.
    encoding
        The encoding of all values, or None.
    metadata
        The columns beside the vault's own, and which values they take.
    ids
        Where the ids of new rows come from.
    """

    def __init__(self, table: Table, dialect: Dialect, content: Sequence[str], of: str) -> None:
        self._table = table
        self._dialect = dialect
        self.content = tuple(content)
        values = table.c.value.type
        self.pack: Callable[[Any], bytes] = values.dialect_impl(dialect).bind_processor(dialect) or pack
        self.unpack: Callable[[Any], Any] = values.unpack if isinstance(values, Packed) else unpack
        self.pickle = isinstance(values, Packed) and values.pickle
        self.encoding = values.encoding if isinstance(values, Packed) else None
        self.metadata = MetadataValues(table, dialect, ("id", *content, "value"), of)
        self.ids: Ids = ids_of(table, dialect)
        # SQLAlchemy wants names of parameters that are not those of columns.
        self._prefix = "new_"
        while any(name.startswith(self._prefix) for name in table.c.keys()):  # noqa: SIM118 (keys)
            self._prefix += "_"
        self._of_id = f"{self._prefix}of"
        self._this = table.c.id == bindparam(self._of_id, type_=BigInteger())
        self._variants: dict[tuple[Any, ...], Statement] = {}

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    def _made(self, which: tuple[Any, ...], build: Callable[[], Statement]) -> Statement:
        statement = self._variants.get(which)
        if statement is None:
            statement = self._variants[which] = build()
        return statement

    def _new(self, columns: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Return bind parameters for ``columns``, and their names, which no column's name can upset."""
        names = [f"{self._prefix}{number}" for number in range(len(columns))]
        return {
            column: bindparam(name, type_=self._table.c[column].type)
            for column, name in zip(columns, names, strict=True)
        }, names

    # -- writing -------------------------------------------------------------------------------

    def insert(self, metadata: tuple[str, ...] = ()) -> Statement:
        """Insert content, value and those columns of metadata; give the id, or no row where it is taken."""

        def build() -> Statement:
            new, names = self._new([*self.content, "value", *metadata])
            added = insert_or_ignore(self._table, self._dialect, "id").values(new).returning(self._table.c.id)
            return self._statement(added, *names)

        return self._made(("insert", metadata), build)

    def insert_as(self, metadata: tuple[str, ...] = ()) -> Statement:
        """Insert id, content, value and those columns of metadata."""

        def build() -> Statement:
            new, names = self._new(["id", *self.content, "value", *metadata])
            return self._statement(self._table.insert().values(new), *names)

        return self._made(("insert_as", metadata), build)

    def upsert(self, metadata: tuple[str, ...] = ()) -> Statement:
        """Insert id, content, value and those columns of metadata, or make the row of that id such."""

        def build() -> Statement:
            new, names = self._new(["id", *self.content, "value", *metadata])
            changes = [*self.content, "value", *self.metadata.columns]
            return self._statement(upsert(self._table, self._dialect, ["id"], changes).values(new), *names)

        return self._made(("upsert", metadata), build)

    def update(self, columns: tuple[str, ...]) -> Statement:
        """Change ``columns``, of content, value and metadata; the last value is the id."""

        def build() -> Statement:
            new, names = self._new(columns)
            return self._statement(update(self._table).where(self._this).values(new), *names, self._of_id)

        return self._made(("update", columns), build)

    @cached_property
    def delete(self) -> Statement:
        return self._statement(delete(self._table).where(self._this), self._of_id)

    def delete_many(self, count: int) -> Statement:
        """Delete the rows of ``count`` ids."""
        return self._of_ids("delete", count, lambda these: delete(self._table).where(these))

    @cached_property
    def delete_rows(self) -> Statement:
        """Delete the rows whose ids are in a buffer, made by ``pack_keys``."""
        these = self._table.c.id.in_(select(self._rows.c.key))
        return self._statement(delete(self._table).where(these), "rows")

    @cached_property
    def clear(self) -> Statement:
        return self._statement(delete(self._table))

    @cached_property
    def _rows(self) -> TableValuedAlias:
        rows = func.kv_rows(bindparam("rows", type_=LargeBinary()))
        return rows.table_valued("position", "key", "value", name="row")

    # -- reading -------------------------------------------------------------------------------

    @property
    def _contents(self) -> list[ColumnElement[Any]]:
        return [*(self._table.c[name] for name in self.content), self._table.c.value]

    @cached_property
    def row(self) -> Statement:
        """Select content and value of an id."""
        return self._statement(select(*self._contents).where(self._this), self._of_id)

    def get_many(self, count: int) -> Statement:
        """Select id, content and value of ``count`` ids."""
        return self._of_ids("get", count, lambda these: select(self._table.c.id, *self._contents).where(these))

    def _of_ids(self, what: str, count: int, make: Callable[[ColumnElement[bool]], Any]) -> Statement:
        def build() -> Statement:
            names = [f"id_{number}" for number in range(count)]
            these = self._table.c.id.in_([bindparam(name, type_=BigInteger()) for name in names])
            return self._statement(make(these), *names)

        return self._made((what, count), build)

    @cached_property
    def metadata_of(self) -> Statement:
        """Select id and the columns of metadata of an id."""
        columns = [self._table.c[name] for name in self.metadata.columns]
        return self._statement(select(self._table.c.id, *columns).where(self._this), self._of_id)

    @cached_property
    def exists(self) -> Statement:
        return self._statement(select(self._table.c.id).where(self._this), self._of_id)

    @cached_property
    def first(self) -> Statement:
        return self._statement(select(self._table.c.id).limit(1))

    @cached_property
    def count(self) -> Statement:
        return self._statement(select(func.count()).select_from(self._table))

    @cached_property
    def every_id(self) -> RowStatements:
        return RowStatements(self._table, (), self._dialect)

    @cached_property
    def every_row(self) -> RowStatements:
        return RowStatements(self._table, self._contents, self._dialect)
