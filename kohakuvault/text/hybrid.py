"""Searching a TextVault by words and by vectors at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InvalidArgument, UnsupportedType
from ..orm.hybrid import CANDIDATES, RANK_CONSTANT, check_fusion
from ..orm.nearest import query_vector as as_query_vector
from ..orm.tables import table_of
from ..rows.arguments import as_count
from ..rows.conditions import Where
from ..vector.base import VectorBase
from .search import TextSearch

__all__ = ["TextHybrid"]


class TextHybrid(TextSearch):
    """The part of :class:`~kohakuvault.TextVault` that searches together with a VectorKVault."""

    def hybrid_search(
        self,
        query: str,
        query_vector: Any,
        k: int = 10,
        *,
        vectors: VectorBase,
        column: str | None = None,
        where: Where = None,
        weights: Sequence[float] = (1.0, 1.0),
        rank_constant: float = RANK_CONSTANT,
        candidates: int | None = None,
        escape: bool = True,
        any_word: bool = True,
    ) -> list[tuple[int, float, Any]]:
        """Return the ``k`` rows that are best by words and by meaning together, as ``(id, score, value)``.

        By reciprocal rank fusion, in one statement: see :func:`kohakuvault.orm.hybrid_search`.

        Parameters
        ----------
        query, k, column, where, escape
            As for :meth:`search`. The condition is one on the rows of this vault, and holds for both searches.
        query_vector
            As for :meth:`VectorKVault.search <kohakuvault.VectorKVault.search>`.
        vectors
            The vault of the texts' vectors, in the same database: a row of it has the id of the text that it belongs
            to, as ``vectors.upsert(id, vector)`` makes it.
        any_word
            One of the words is enough, as a question in a sentence needs it; False: all of them.
        weights
            How much the words and the vectors count.
        rank_constant
            How little the first ranks count more than those that follow.
        candidates
            How many rows each search contributes; by default 100, or ``k`` if that is more.

        >>> from kohakuvault import TextVault, VectorKVault
        >>> texts = TextVault(":memory:")
        >>> meanings = VectorKVault(texts, dimensions=2)
        >>> ids = texts.insert_many([("gzip.compress", "a"), ("make a file smaller", "b"), ("sleep", "c")])
        >>> meanings.upsert_many(ids, [[1, 0], [0.9, 0.1], [0, 1]])
        [1, 2, 3]
        >>> [value for id, score, value in texts.hybrid_search("gzip", [1, 0], vectors=meanings)]
        ['a', 'b', 'c']
        """
        if not isinstance(vectors, VectorBase):
            raise UnsupportedType(f"vectors is a VectorKVault, not {vectors!r:.60} of type {type(vectors).__name__}")
        binding = self.binding
        if vectors.engine is not binding.engine:
            raise InvalidArgument(
                f"{vectors!r} and {self!r} are on two engines: open the one with the other as its bind, "
                "VectorKVault(texts, …)"
            )
        reading, column, condition = self._checked(query, column, where, escape, any_word and escape)
        fusion = (*check_fusion(weights, rank_constant, candidates), float(rank_constant))
        count = as_count(k)
        depth = max(count, CANDIDATES) if candidates is None else candidates
        vector = as_query_vector(query_vector, table_of(vectors.entity).c.vector.type, vectors.metric)
        binding.require_functions()
        statement = self._searches.hybrid(
            column, reading, condition, vectors.entity, vectors.metric, fusion, depth, exact=vectors.index is None
        )
        rows = self._run(statement, query, reading, vector, count, *_values(condition))
        return [(id, score, self._unpack_value(id, value)) for id, score, value in rows]


def _values(condition: Any) -> Sequence[Any]:
    return () if condition is None else condition.values
