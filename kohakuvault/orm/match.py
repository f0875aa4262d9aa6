"""``match`` and ``rank``: the rows whose texts have the words of a query, as expressions for every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Select,
    Text,
    bindparam,
    column,
    func,
    literal_column,
    select,
    table,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import TableValuedAlias

from ..errors import InvalidArgument
from .text_target import TextTarget, text_target
from .trigrams import is_of_trigrams, trigram_match, trigram_rank
from .tsvector import or_lacking, ts_query, ts_rank, ts_vector
from .types.search_query import SearchQuery, check_query

__all__ = ["Forms", "match", "rank", "search_operand", "text_search"]


def match(
    target: Any, query: str | BindParameter[str], *, escape: bool = True, any_word: bool = False
) -> ColumnElement[bool]:
    """Return whether the texts of a row match ``query``, for ``where()``.

    Parameters
    ----------
    target
        What is searched: a mapped attribute or a column of a :class:`~kohakuvault.orm.TextIndex`; or every column of
        one, by a mapped class or table that has one index, an alias of these, or the index.
    query
        What is searched for; or a ``bindparam``.
    escape
        The query is text that somebody typed: every word of it has to be there, whatever characters are in it. A word
        without letters and digits is passed over; of nothing else, nothing is found. With ``escape=False`` it is in
        the language of FTS5, or of PostgreSQL's ``to_tsquery``.
    any_word
        One of the words is enough: for questions in sentences, of which the ranking makes the best of the rows that
        have many of the words, and rare ones. Not with ``escape=False``, whose languages have an OR of their own.

    Raises
    ------
    InvalidArgument
        if there is no such index, or the query has a lone surrogate.
    UnsupportedType
        if the query is not a str.

    Examples
    --------
    ::

        session.scalars(select(Doc).where(Doc.lang == "en", match(Doc.body, "rust")))
    """
    searched = text_target(target)
    words = search_operand(searched, query, escape, any_word)
    on_sqlite = searched.key.in_(_hits(searched, words, "rowid"))
    return _Match(on_sqlite, or_lacking(lambda: _ts_match(searched, words, escape)))


def rank(
    target: Any, query: str | BindParameter[str], *, escape: bool = True, any_word: bool = False
) -> ColumnElement[float]:
    """Return how well the texts of a row match ``query``, for ``order_by()``: higher is better, and 0 is not at all.

    It is BM25 on SQLite, with its sign changed, and ``ts_rank_cd`` on PostgreSQL: numbers of one search, to be compared
    with each other only. :func:`text_search` is faster where the best rows are wanted and no others.

    Parameters
    ----------
    target, query, escape, any_word
        As for :func:`match`, beside which it is used.

    Examples
    --------
    ::

        select(Doc).where(match(Doc, "rust")).order_by(rank(Doc, "rust").desc())
    """
    searched = text_target(target)
    words = search_operand(searched, query, escape, any_word)
    # LIMIT makes SQLite search once and keep what it found, rather than search for each row.
    hits = _hits(searched, words, "rowid", "rank").limit(literal_column("-1")).subquery()
    score = select(-hits.c.rank).where(hits.c.rowid == searched.key).correlate_except(hits).scalar_subquery()
    return _Rank(func.coalesce(score, literal_column("0.0")), or_lacking(lambda: _ts_rank(searched, words, escape)))


def text_search(
    target: Any,
    query: str | BindParameter[str],
    k: int | BindParameter[int] | None = 10,
    *,
    where: ColumnElement[bool] | None = None,
    escape: bool = True,
    any_word: bool = False,
) -> TableValuedAlias:
    """Return the ``k`` rows that match ``query`` best, as a FROM element with the columns ``id`` and ``score``.

    Parameters
    ----------
    target, query, escape, any_word
        As for :func:`match`.
    k
        How many rows at most; a non-negative int, a ``bindparam``, or None for all.
    where
        A condition on the rows of the same table. It is applied before the search, so ``k`` rows are found whenever
        ``k`` rows match both.

    Returns
    -------
    TableValuedAlias
        ``id`` is the table's primary key and ``score`` that of :func:`rank`: higher is better.

    Examples
    --------
    ::

        hit = text_search(Doc, "rust", k=10, where=Doc.lang == "en")
        session.execute(select(Doc, hit.c.score).join(hit, hit.c.id == Doc.id).order_by(hit.c.score.desc()))
    """
    searched = text_target(target)
    words = search_operand(searched, query, escape, any_word)
    if k is not None and not isinstance(k, BindParameter):
        if type(k) is not int or k < 0:
            raise InvalidArgument(f"k must be a non-negative int or None, not {k!r}")
        k = bindparam(None, k, type_=Integer(), unique=True)
    # The plus, lest SQLite searches once for each of the rows of the condition.
    hits = _hits(searched, words, "rowid", "rank")
    rowid, minus_score = hits.selected_columns
    on_sqlite = hits.with_only_columns(rowid.label("id"), (-minus_score).label("score")).correlate(None)
    if where is not None:
        plus = UnaryExpression(rowid, operator=operators.custom_op("+"), type_=Integer())
        on_sqlite = on_sqlite.where(plus.in_(select(searched.key).where(where).correlate(None)))
    if k is not None:
        # FTS5 sorts by its rank itself, and by nothing else.
        on_sqlite = on_sqlite.order_by(minus_score).limit(k)
    found = _TextSearch(on_sqlite.scalar_subquery(), or_lacking(lambda: _ts_search(searched, words, k, where, escape)))
    return found.table_valued(column("id", searched.key.type), column("score", Float()))


def search_operand(searched: TextTarget, query: Any, escape: bool, any_word: bool) -> ColumnElement[Any]:
    """Return a query as a parameter that each database gets as it takes it."""
    if any_word and not escape:
        raise InvalidArgument("any_word=True is of words; with escape=False the query itself says OR, or |")
    index = searched.index
    form = "trigrams" if is_of_trigrams(index) else "text" if "postgresql_config" in index.options else "words"
    kind = SearchQuery(escape, form, any_word)
    if isinstance(query, BindParameter):
        return type_coerce(query, kind)
    return bindparam(None, check_query(query, escape=escape), type_=kind, unique=True)


def _hits(searched: TextTarget, query: ColumnElement[Any], *columns: str) -> Select[Any]:
    """Return a search of the FTS5 table, whose rows have the ``rowid`` and the ``rank``, of which less is better."""
    # The hidden column of the table's own name stands for all.
    column_ = searched.of_one or searched.index.name
    types: dict[str, Any] = {"rowid": Integer(), "rank": Float()}
    fts = table(searched.index.name, *(column(name, types[name]) for name in columns), column(column_, Text()))
    return select(*(fts.c[name] for name in columns)).where(fts.c[column_].op("MATCH", is_comparison=True)(query))


def _ts_match(searched: TextTarget, query: ColumnElement[Any], escape: bool) -> ColumnElement[bool]:
    index, columns = searched.index, searched.columns
    if is_of_trigrams(index):
        if not escape:
            raise InvalidArgument(
                f"text index {index.name!r}: PostgreSQL has no query language for tokenize={index.tokenize!r}; "
                "only escape=True searches there"
            )
        return trigram_match(index, columns, query)
    return ts_vector(index, columns).op("@@", is_comparison=True)(ts_query(index, query, escape=escape))


def _ts_rank(searched: TextTarget, query: ColumnElement[Any], escape: bool) -> ColumnElement[float]:
    index, columns, weighs = searched.index, searched.columns, searched.of_one is None
    if is_of_trigrams(index):
        return trigram_rank(index, columns, query, weighs=weighs)
    return ts_rank(index, ts_vector(index, columns), ts_query(index, query, escape=escape), weighs=weighs)


def _ts_search(searched: TextTarget, query: ColumnElement[Any], k: Any, where: Any, escape: bool) -> ColumnElement[Any]:
    score = _ts_rank(searched, query, escape).label("score")
    hits = select(searched.key.label("id"), score).where(_ts_match(searched, query, escape)).correlate(None)
    if where is not None:
        hits = hits.where(where)
    if k is not None:
        hits = hits.order_by(score.desc(), searched.key).limit(k)
    return hits.scalar_subquery()


class Forms(Function[Any]):
    """What SQLite and PostgreSQL run, as arguments: so caching, adaption and parameters are SQLAlchemy's own."""

    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: D102 (SQLAlchemy's)
        # As a condition it is one already: SQLite cannot search by "(…) = 1".
        return self


class _Match(Forms):
    inherit_cache = True

    def __init__(self, *forms: ColumnElement[Any]) -> None:
        super().__init__("kv_match", *forms, type_=Boolean())


class _Rank(Forms):
    inherit_cache = True

    def __init__(self, *forms: ColumnElement[Any]) -> None:
        super().__init__("kv_rank", *forms, type_=Float())


class _TextSearch(Forms):
    inherit_cache = True

    def __init__(self, *forms: ColumnElement[Any]) -> None:
        super().__init__("kv_text_search", *forms)


@compiles(Forms)
def _compile_on_sqlite(element: Forms, compiler: SQLCompiler, **kw: Any) -> str:
    if compiler.dialect.name not in ("sqlite", "default"):
        raise InvalidArgument(f"texts are searched on SQLite and PostgreSQL, not on {compiler.dialect.name}")
    return _compiled(element, compiler, 0, kw)


@compiles(Forms, "postgresql")
def _compile_on_postgresql(element: Forms, compiler: SQLCompiler, **kw: Any) -> str:
    return _compiled(element, compiler, 1, kw)


def _compiled(element: Forms, compiler: SQLCompiler, number: int, kw: dict[str, Any]) -> str:
    # A FROM element's flags are not those of the expression inside it.
    kw = {name: value for name, value in kw.items() if name not in ("asfrom", "lateral", "from_linter")}
    text = compiler.process(list(element.clauses)[number], **kw)
    return text if isinstance(element, _TextSearch) else f"({text})"
