"""The SQL of searches in a table of texts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Integer, Text, bindparam, func, select
from sqlalchemy.engine import Dialect

from ..orm.hybrid import hybrid_search
from ..orm.match import match, text_search
from ..orm.snippet import snippet
from ..orm.tables import TextTable, VectorTable, table_of, text_index_of
from ..rows.conditions import Condition
from ..rows.searches import Searches
from ..statements import Statement

__all__ = ["Reading", "TextSearches", "text_searches"]


class Reading(NamedTuple):
    """How a query is read; see :func:`~kohakuvault.orm.match`."""

    escape: bool = True
    any_word: bool = False


class TextSearches(Searches):
    """Searches in one column or all (None), among all rows or those of a condition."""

    def __init__(self, entity: type[TextTable], dialect: Dialect) -> None:
        super().__init__(dialect)
        self._entity = entity
        self._table = table_of(entity)

    def _target(self, column: str | None) -> Any:
        return text_index_of(self._entity) if column is None else getattr(self._entity, column)

    def best(self, column: str | None, reading: Reading, condition: Condition | None, *texts: str) -> Statement:
        """Select ``id, score, …, value`` of the ``k`` rows that match ``query`` best, with those columns of text."""

        def build(where: ColumnElement[bool] | None) -> Any:
            query, k = bindparam("query", type_=Text()), bindparam("k", type_=Integer())
            hit = text_search(self._target(column), query, k, where=where, **reading._asdict())
            return self._joined(hit, [self._table.c[text] for text in texts])

        return self._cached(("best", column, reading, texts), condition, build, "query", "k")

    def snippets(self, column: str | None, of: str | None, reading: Reading, condition: Condition | None) -> Statement:
        """Select ``id, score, snippet, value`` of these, with a piece of the column ``of``, or the best."""

        def build(where: ColumnElement[bool] | None) -> Any:
            query, k = bindparam("query", type_=Text()), bindparam("k", type_=Integer())
            hit = text_search(self._target(column), query, k, where=where, **reading._asdict())
            piece = snippet(
                self._target(column),
                query,
                tokens=bindparam("tokens", type_=Integer()),
                start=bindparam("start", type_=Text()),
                end=bindparam("end", type_=Text()),
                column=None if of is None else getattr(self._entity, of),
                **reading._asdict(),
            )
            return self._joined(hit, [piece])

        return self._cached(("snippets", column, of, reading), condition, build, "query", "k", "tokens", "start", "end")

    def hybrid(
        self,
        column: str | None,
        reading: Reading,
        condition: Condition | None,
        vectors: type[VectorTable],
        metric: str,
        fusion: tuple[float, float, float],
        candidates: int,
        *,
        exact: bool,
    ) -> Statement:
        """Select ``id, score, value`` of the ``k`` rows best by ``query`` and ``query_vector`` together."""

        def build(where: ColumnElement[bool] | None) -> Any:
            vector: Any = vectors.vector
            hit = hybrid_search(
                self._target(column),
                bindparam("query", type_=Text()),
                vector,
                bindparam("query_vector", type_=table_of(vectors).c.vector.type),
                bindparam("k", type_=Integer()),
                where=where,
                weights=fusion[:2],
                rank_constant=fusion[2],
                candidates=candidates,
                metric=metric,
                exact=exact,
                **reading._asdict(),
            )
            return self._joined(hit, [])

        which = ("hybrid", column, reading, vectors, metric, fusion, candidates, exact)
        return self._cached(which, condition, build, "query", "query_vector", "k")

    def _joined(self, hit: Any, between: list[ColumnElement[Any]]) -> Any:
        table = self._table
        found = select(table.c.id, hit.c.score, *between, table.c.value)
        return found.join_from(table, hit, hit.c.id == table.c.id).order_by(hit.c.score.desc(), table.c.id)

    def count(self, column: str | None, reading: Reading, condition: Condition | None) -> Statement:
        """Count the rows that match ``query``."""

        def build(where: ColumnElement[bool] | None) -> Any:
            query = bindparam("query", type_=Text())
            found = select(func.count(type_=BigInteger())).select_from(self._table)
            found = found.where(match(self._target(column), query, **reading._asdict()))
            return found if where is None else found.where(where)

        return self._cached(("count", column, reading), condition, build, "query")


@lru_cache(maxsize=256)
def text_searches(entity: type[TextTable], dialect: Dialect) -> TextSearches:
    """Return the searches in the table of ``entity`` for ``dialect``."""
    return TextSearches(entity, dialect)
