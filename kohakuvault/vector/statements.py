"""The SQL of a table of vectors, beside what every table of rows has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import BigInteger, Table, bindparam, func, select
from sqlalchemy.engine import Dialect

from ..orm.types import Packed, Vector
from ..rows.statements import TableStatements
from ..statements import Statement

__all__ = ["VectorStatements", "vector_statements"]


class VectorStatements(TableStatements):
    """The statements on one table of vectors.

    Attributes
    ----------
    vector
        Turns what the driver returns for a vector into that.
    takes_rows
        Whether the statements on ``kv_rows`` suit the table's types, where a connection has that function.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        super().__init__(table, dialect, ("vector",), "vector")
        self.vector: Callable[[Any], Any] = table.c.vector.type.dialect_impl(dialect).result_processor(
            dialect, None
        ) or (lambda vector: vector)
        # Types of the user's own may bind as they like; rows that are read inside of the connection have no defaults.
        self.takes_rows = (
            type(table.c.vector.type) is Vector
            and type(table.c.value.type) is Packed
            and all(column.default is None for column in table.c)
        )

    @cached_property
    def insert_rows(self) -> Statement:
        """Insert the vectors and values in a buffer, made by ``pack_rows``, with ids from ``first`` on."""
        first = bindparam("first", type_=BigInteger())
        rows = select(self._rows.c.position + first, self._rows.c.key, self._rows.c.value)
        added = self._table.insert().from_select(["id", "vector", "value"], rows, include_defaults=False)
        return self._statement(added, "first", "rows")

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


@lru_cache(maxsize=256)
def vector_statements(table: Table, dialect: Dialect) -> VectorStatements:
    """Return the statements on ``table`` for ``dialect``."""
    return VectorStatements(table, dialect)
