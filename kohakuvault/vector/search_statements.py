"""The SQL of searches in a table of vectors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Float, Integer, bindparam, select
from sqlalchemy.engine import Dialect

from ..orm.distance import Distance
from ..orm.nearest import nearest
from ..orm.tables import table_of
from ..rows.conditions import Condition
from ..rows.searches import Searches
from ..statements import Statement

__all__ = ["SearchStatements", "search_statements"]


class SearchStatements(Searches):
    """Searches by a metric, among all rows or those of a condition, whose values come behind those that are named."""

    def __init__(self, entity: type[Any], dialect: Dialect) -> None:
        super().__init__(dialect)
        self._entity = entity
        self._table = table_of(entity)

    def nearest(self, metric: str, condition: Condition | None, *, exact: bool = False) -> Statement:
        """Select ``id, distance, value`` of the ``k`` nearest to ``query``; ``exact`` without an index."""

        def build(where: ColumnElement[bool] | None) -> Any:
            table, k = self._table, bindparam("k", type_=Integer())
            hit = nearest(self._entity.vector, self._query, k, metric=metric, where=where, exact=exact)
            found = select(table.c.id, hit.c.distance, table.c.value).join_from(table, hit, hit.c.id == table.c.id)
            return found.order_by(hit.c.distance.nulls_last(), table.c.id)

        return self._cached(("exact" if exact else "nearest", metric), condition, build, "query", "k")

    def within(self, metric: str, condition: Condition | None) -> Statement:
        """Select ``id, distance, value`` of at most ``k`` rows that are not farther from ``query`` than ``radius``."""

        def build(where: ColumnElement[bool] | None) -> Any:
            table = self._table
            distances = select(table.c.id, Distance(table.c.vector, self._query, metric).label("distance"))
            if where is not None:
                distances = distances.where(where)
            # The offset keeps databases from computing each distance again for every use of it.
            near = distances.offset(0).subquery()
            found = select(table.c.id, near.c.distance, table.c.value).join_from(table, near, near.c.id == table.c.id)
            found = found.where(near.c.distance <= bindparam("radius", type_=Float()))
            return found.order_by(near.c.distance, table.c.id).limit(bindparam("k", type_=Integer()))

        return self._cached(("within", metric), condition, build, "query", "radius", "k")

    @property
    def _query(self) -> BindParameter[Any]:
        return bindparam("query", type_=self._table.c.vector.type)


@lru_cache(maxsize=256)
def search_statements(entity: type[Any], dialect: Dialect) -> SearchStatements:
    """Return the searches in the table of ``entity`` for ``dialect``."""
    return SearchStatements(entity, dialect)
