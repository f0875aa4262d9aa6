"""The SQL of a table of vectors, written once in Core and compiled for each dialect when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
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

from ..orm.types import Packed, Vector
from ..packing import pack, unpack
from ..row_scan import RowStatements
from ..statements import Statement, insert_or_ignore, upsert
from .ids import Ids, ids_of
from .metadata import MetadataValues

__all__ = ["VectorStatements", "vector_statements"]


class VectorStatements:
    """The statements on one table, for one dialect. Values are given as they are; their types convert them.

    Attributes
    ----------
    vector, unpack
        Turn what the driver returns for a vector or a value into that.
    pickle
        Whether values may be pickles.
    encoding
        The encoding of all values, or None.
    takes_rows
        Whether the statements on ``kv_rows`` suit the table's types, where a connection has that function.
    metadata
        The columns beside the vault's own, and which values they take.
    ids
        Where the ids of new rows come from.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._table = table
        self._dialect = dialect
        self.vector: Callable[[Any], Any] = table.c.vector.type.dialect_impl(dialect).result_processor(
            dialect, None
        ) or (lambda vector: vector)
        values = table.c.value.type
        self.pack: Callable[[Any], bytes] = values.dialect_impl(dialect).bind_processor(dialect) or pack
        self.unpack: Callable[[Any], Any] = values.unpack if isinstance(values, Packed) else unpack
        self.pickle = isinstance(values, Packed) and values.pickle
        self.encoding = values.encoding if isinstance(values, Packed) else None
        # Types of the user's own may bind as they like; rows that are read inside of the connection have no defaults.
        self.takes_rows = (
            type(table.c.vector.type) is Vector
            and type(values) is Packed
            and all(column.default is None for column in table.c)
        )
        self.metadata = MetadataValues(table, dialect)
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
        """Insert vector, value and those columns of metadata; give the id, or no row where it is taken."""

        def build() -> Statement:
            new, names = self._new(["vector", "value", *metadata])
            added = insert_or_ignore(self._table, self._dialect, "id").values(new).returning(self._table.c.id)
            return self._statement(added, *names)

        return self._made(("insert", metadata), build)

    def insert_as(self, metadata: tuple[str, ...] = ()) -> Statement:
        """Insert id, vector, value and those columns of metadata."""

        def build() -> Statement:
            new, names = self._new(["id", "vector", "value", *metadata])
            return self._statement(self._table.insert().values(new), *names)

        return self._made(("insert_as", metadata), build)

    @cached_property
    def insert_rows(self) -> Statement:
        """Insert the vectors and values in a buffer, made by ``pack_rows``, with ids from ``first`` on."""
        first = bindparam("first", type_=BigInteger())
        rows = select(self._rows.c.position + first, self._rows.c.key, self._rows.c.value)
        added = self._table.insert().from_select(["id", "vector", "value"], rows, include_defaults=False)
        return self._statement(added, "first", "rows")

    def upsert(self, metadata: tuple[str, ...] = ()) -> Statement:
        """Insert id, vector, value and those columns of metadata, or make the row of that id such."""

        def build() -> Statement:
            new, names = self._new(["id", "vector", "value", *metadata])
            changes = ["vector", "value", *self.metadata.columns]
            return self._statement(upsert(self._table, self._dialect, ["id"], changes).values(new), *names)

        return self._made(("upsert", metadata), build)

    def update(self, columns: tuple[str, ...]) -> Statement:
        """Change ``columns``, of vector, value and metadata; the last value is the id."""

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

    @cached_property
    def row(self) -> Statement:
        """Select vector and value of an id."""
        return self._statement(select(self._table.c.vector, self._table.c.value).where(self._this), self._of_id)

    def get_many(self, count: int) -> Statement:
        """Select id, vector and value of ``count`` ids."""
        columns = (self._table.c.id, self._table.c.vector, self._table.c.value)
        return self._of_ids("get", count, lambda these: select(*columns).where(these))

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
    def id_bounds(self) -> Statement:
        """The least and the greatest id; NULL of no rows."""
        return self._statement(select(func.min(self._table.c.id), func.max(self._table.c.id)))

    @cached_property
    def row_from(self) -> Statement:
        """The id and vector of the first row whose id is not below ``start``."""
        start = self._table.c.id >= bindparam("start", type_=BigInteger())
        return self._statement(
            select(self._table.c.id, self._table.c.vector).where(start).order_by(self._table.c.id).limit(1), "start"
        )

    @cached_property
    def every_id(self) -> RowStatements:
        return RowStatements(self._table, (), self._dialect)

    @cached_property
    def every_row(self) -> RowStatements:
        return RowStatements(self._table, (self._table.c.vector, self._table.c.value), self._dialect)


@lru_cache(maxsize=256)
def vector_statements(table: Table, dialect: Dialect) -> VectorStatements:
    """Return the statements on ``table`` for ``dialect``."""
    return VectorStatements(table, dialect)
