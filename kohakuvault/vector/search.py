"""Searching a VectorKVault for what is near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import CorruptValue, DriverError, NotFound
from ..orm.distance import check_metric
from ..orm.nearest import query_vector
from ..orm.tables import table_of
from ..rows.arguments import as_count
from ..rows.conditions import Condition, Where, condition_of
from .arguments import as_radius
from .entries import VectorEntries
from .packed_vectors import PackedVectors, pack_vectors
from .search_statements import SearchStatements, search_statements

__all__ = ["VectorSearch"]

Row = tuple[int, float, Any]


class VectorSearch(VectorEntries):
    """The part of :class:`~kohakuvault.VectorKVault` that searches."""

    def search(self, query: Any, k: int = 10, metric: str | None = None, where: Where = None) -> list[Row]:
        """Return the ``k`` nearest rows as ``(id, distance, value)``, nearest first.

        Parameters
        ----------
        query
            A vector of ``dimensions`` finite numbers.
        k
            How many rows at most.
        metric
            Another metric than the table's own, for this search.
        where
            Which rows are searched: a condition, such as ``vault.c.lang == "en"`` or one on ``vault.entity``, or a
            dict of values that columns of metadata must equal, None for NULL. ``k`` rows are found whenever ``k``
            rows match.

        >>> from sqlalchemy import Integer
        >>> from kohakuvault import VectorKVault
        >>> search = VectorKVault(":memory:", dimensions=2, metric="l2", metadata={"year": Integer()})
        >>> search.insert_many([[1, 0], [2, 0]], ["old", "new"], metadata={"year": [1999, 2024]})
        [1, 2]
        >>> search.search([0, 0], where=search.c.year > 2000)
        [(2, 2.0, 'new')]
        """
        chosen = self._metric(metric)
        vector = self._query(query, chosen)
        condition = self._condition(where)
        binding = self.binding
        binding.require_functions()
        statement = self._searches.nearest(chosen, condition, exact=self._index is None)
        return self._rows(binding.all(statement, vector, as_count(k), *_values(condition)))

    def search_many(self, queries: Any, k: int = 10, metric: str | None = None, where: Where = None) -> list[list[Row]]:
        """Return what :meth:`search` finds for each of ``queries``, all of one state.

        Parameters
        ----------
        queries
            An array of shape ``(n, dimensions)``, or an iterable of ``n`` vectors.
        k, metric, where
            As for :meth:`search`, for each query.
        """
        chosen = self._metric(metric)
        vectors = self._queries(queries, chosen)
        condition = self._condition(where)
        count = as_count(k)
        binding = self.binding
        binding.require_functions()
        statement = self._searches.nearest(chosen, condition, exact=self._index is None)
        with binding.reading() as cursor:
            return [self._rows(cursor.all(statement, vector, count, *_values(condition))) for vector in vectors]

    def radius(
        self, query: Any, r: float, metric: str | None = None, where: Where = None, limit: int | None = None
    ) -> list[Row]:
        """Return the rows whose distance is at most ``r`` as ``(id, distance, value)``, nearest first.

        Every row is compared. Rows that have no distance, by cosine those of a zero vector, are not found.

        Parameters
        ----------
        query, metric, where
            As for :meth:`search`.
        r
            The distance, in the units of the metric.
        limit
            How many rows at most; None for all.
        """
        chosen = self._metric(metric)
        vector = self._query(query, chosen)
        condition = self._condition(where)
        most = 2**31 - 1 if limit is None else as_count(limit, "limit")
        binding = self.binding
        binding.require_functions()
        statement = self._searches.within(chosen, condition)
        values = (vector, as_radius(r), most, *_values(condition))
        try:
            return self._rows(binding.all(statement, *values))
        except DriverError as error:
            if "_distance: the vectors have" not in str(error):
                raise
            # The function is not told which row it is called for.
            raise CorruptValue(f"a vector of {self!r} is damaged, and check() says which: {error}") from error

    def get(self, query: Any, metric: str | None = None, where: Where = None) -> Any:
        """Return the value of the nearest row; :class:`NotFound` if there are no rows, or none that match."""
        rows = self.search(query, 1, metric, where)
        if not rows:
            raise NotFound(f"{self!r} is empty" if where is None else f"no row of {self!r} matches {where}")
        return rows[0][2]

    def __getitem__(self, query: Any) -> Any:
        return self.get(query)

    @property
    def _searches(self) -> SearchStatements:
        entity: Any = self.entity
        return search_statements(entity, self.binding.dialect)

    def _metric(self, metric: str | None) -> str:
        return self.metric if metric is None else check_metric(metric, self.vector_type)

    def _condition(self, where: Where) -> Condition | None:
        return condition_of(where, table_of(self.entity), self._sql.metadata)

    def _query(self, query: Any, metric: str) -> Any:
        return query_vector(query, self._vector_column, metric)

    def _queries(self, queries: Any, metric: str) -> PackedVectors:
        return pack_vectors(queries, self._vector_column, metric, "query")

    def _rows(self, rows: Sequence[Any]) -> list[Row]:
        unpack, nan = self._sql.unpack, float("nan")
        try:
            return [(id, nan if distance is None else distance, unpack(value)) for id, distance, value in rows]
        except CorruptValue:
            # Which of them?
            return [(id, distance, self._unpack_value(id, value)) for id, distance, value in rows]


def _values(condition: Condition | None) -> Sequence[Any]:
    return () if condition is None else condition.values
