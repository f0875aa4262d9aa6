"""``hybrid_search``: the rows that a search by words and one by a vector rank best together, in one statement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Float,
    Integer,
    Select,
    Subquery,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy import inspect as sqlalchemy_inspect

from ..errors import InvalidArgument, UnsupportedType
from .match import text_search
from .nearest import nearest
from .text_target import TextTarget, text_target

__all__ = ["CANDIDATES", "RANK_CONSTANT", "check_fusion", "hybrid_search"]

# As in the paper.
RANK_CONSTANT = 60
# Rows that each of the two searches contributes, at least.
CANDIDATES = 100


def hybrid_search(
    text: Any,
    query: str | BindParameter[str],
    vector: Any,
    query_vector: Any,
    k: int | BindParameter[int] = 10,
    *,
    where: ColumnElement[bool] | None = None,
    weights: Sequence[float] = (1.0, 1.0),
    rank_constant: float = RANK_CONSTANT,
    candidates: int | None = None,
    metric: str = "cosine",
    escape: bool = True,
    any_word: bool = True,
    exact: bool = False,
) -> Subquery:
    """Return the ``k`` rows that are best by words and by meaning together, as a FROM element.

    Reciprocal rank fusion: a row's score is the sum, over the searches that found it, of ``weight / (rank_constant +
    rank)``, where the best row of a search has rank 1. Neither scores nor distances count, so it does not matter that
    they cannot be compared.

    Parameters
    ----------
    text, query, escape
        What is searched by its words, and for which, as for :func:`~kohakuvault.orm.match`. A query without words
        leaves the ranks of the vectors.
    any_word
        One of the words is enough, as a question in a sentence needs it; False: all of them.
    vector, query_vector, metric, exact
        What is searched by vectors, and for which, as for :func:`~kohakuvault.orm.nearest`. It may be of another table,
        whose rows have the ids of those that they belong to.
    k
        How many rows at most; a non-negative int or a ``bindparam``.
    where
        A condition on the rows of the table of ``text``. It is applied to both searches before they are made.
    weights
        How much the words and the vectors count: two numbers that are not negative. Of a side with 0 no search is made.
    rank_constant
        How little the first ranks count more than those that follow: 60, as in the paper.
    candidates
        How many rows each search contributes. By default 100, or ``k`` if that is an int and more.

    Returns
    -------
    Subquery
        ``id`` is the primary key of the table of ``text``; ``score``, higher is better; ``text_rank`` and
        ``vector_rank``, from 1, are NULL where that search did not find the row. Rows of one score come in the order
        of ids.

    Raises
    ------
    InvalidArgument
        for weights, a constant or a number of candidates that cannot be; and as ``match`` and ``nearest`` do.

    References
    ----------
    Cormack, Clarke and Büttcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods.
    SIGIR 2009.

    Examples
    --------
    ::

        hit = hybrid_search(Doc, "gzip", Doc.embedding, model.encode("make a file smaller"), where=Doc.lang == "en")
        session.execute(select(Doc, hit.c.score).join(hit, hit.c.id == Doc.id).order_by(hit.c.score.desc(), Doc.id))
    """
    of_words, of_vectors = check_fusion(weights, rank_constant, candidates)
    if not isinstance(k, BindParameter):
        if type(k) is not int or k < 0:
            raise InvalidArgument(f"k must be a non-negative int, not {k!r:.60}")
        depth = max(k, CANDIDATES) if candidates is None else candidates
        k = bindparam(None, k, type_=Integer(), unique=True)
    else:
        depth = CANDIDATES if candidates is None else candidates
    searched = text_target(text)
    is_one_table = _source(vector) is _source_of(searched)
    sides = []
    if of_words:
        hit = text_search(text, query, depth, where=where, escape=escape, any_word=any_word and escape)
        ranked = select(hit.c.id, _row_number(hit.c.score.desc(), hit.c.id)).subquery()
        sides.append(_side(ranked, of_words, rank_constant, of_text=True))
    if of_vectors:
        of_rows = where if is_one_table or where is None else _has_row(vector, searched, where)
        hit = nearest(vector, query_vector, depth, where=of_rows, metric=metric, exact=exact)
        ranked = select(hit.c.id, _row_number(hit.c.distance.nulls_last(), hit.c.id)).subquery()
        sides.append(_side(ranked, of_vectors, rank_constant, of_text=False))
    found = union_all(*sides).subquery()
    score = func.sum(found.c.part, type_=Float()).label("score")
    fused = select(
        found.c.id,
        score,
        func.max(found.c.text_rank, type_=Integer()).label("text_rank"),
        func.max(found.c.vector_rank, type_=Integer()).label("vector_rank"),
    ).group_by(found.c.id)
    if not is_one_table:
        # A vector whose row is gone takes nobody's place.
        fused = fused.where(found.c.id.in_(select(searched.key).correlate(None)))
    return fused.order_by(score.desc(), found.c.id).limit(k).correlate(None).subquery("hybrid")


def check_fusion(weights: Any, rank_constant: Any, candidates: Any) -> tuple[float, float]:
    """Return the two weights; raise for what two rankings cannot be fused by."""
    try:
        of_words, of_vectors = (float(weight) for weight in weights)
    except (TypeError, ValueError) as error:
        raise UnsupportedType(f"weights are two numbers, of words and vectors, not {weights!r:.60}") from error
    if (
        not all(math.isfinite(weight) and weight >= 0 for weight in (of_words, of_vectors))
        or of_words == of_vectors == 0
    ):
        raise InvalidArgument(f"weights are two numbers that are not negative, nor both 0, not {weights!r:.60}")
    if isinstance(rank_constant, bool) or not isinstance(rank_constant, (int, float)) or not 0 <= rank_constant < 1e9:
        raise InvalidArgument(f"rank_constant is a number that is not negative, not {rank_constant!r:.60}")
    if candidates is not None and (type(candidates) is not int or candidates < 1):
        raise InvalidArgument(f"candidates is a positive int, or None, not {candidates!r:.60}")
    return of_words, of_vectors


def _row_number(*order: Any) -> ColumnElement[int]:
    return func.row_number().over(order_by=order).label("rank")


def _side(ranked: Subquery, weight: float, rank_constant: float, *, of_text: bool) -> Select[Any]:
    """Return what a search contributes: the part of the score, and the rank in its column."""
    rank, nothing = ranked.c.rank, cast(null(), Integer())
    part = literal(weight, Float()) / (literal(float(rank_constant), Float()) + rank)
    ranks = (rank, nothing) if of_text else (nothing, rank)
    return select(ranked.c.id, part.label("part"), ranks[0].label("text_rank"), ranks[1].label("vector_rank"))


def _source(vector: Any) -> Any:
    """Return the table, or alias of one, that a column or attribute is of."""
    parent = getattr(vector, "parent", None)
    if parent is not None:
        return sqlalchemy_inspect(parent).selectable
    return getattr(vector, "table", None)


def _source_of(searched: TextTarget) -> Any:
    return getattr(searched.key, "table", None)


def _has_row(vector: Any, searched: TextTarget, where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a row of vectors has the id of a row of texts that fulfils ``where``."""
    keys = list(getattr(_source(vector), "primary_key", ()))
    if len(keys) != 1:
        raise InvalidArgument(f"{vector} belongs to a table with {len(keys)} primary key columns, and not with one")
    key: ColumnElement[Any] = keys[0]
    return key.in_(select(searched.key).where(where).correlate(None))
