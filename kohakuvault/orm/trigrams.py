"""Parts of words on PostgreSQL, as FTS5's tokenizer ``trigram`` finds them: by what every PostgreSQL has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from typing import Any

from sqlalchemy import ColumnElement, Float, Text, and_, cast, exists, func, literal_column, or_, select
from sqlalchemy import column as sql_column
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import TableValuedAlias

from .text_index import TextIndex

__all__ = ["folds", "is_of_trigrams", "trigram_match", "trigram_rank", "trigram_vector", "trigram_words"]

_TOKENIZE = re.compile(r"\s*trigram(?:\s+case_sensitive\s+'?([01])'?)?\s*", re.IGNORECASE)

_NOTHING: ColumnElement[Any] = literal_column("''")
_END: ColumnElement[Any] = literal_column("chr(1)")
_THREE: ColumnElement[Any] = literal_column("'(...)'")
_EACH_ENDED: ColumnElement[Any] = literal_column(r"'\1' || chr(1)")
_ALL: ColumnElement[Any] = literal_column("'g'")


def is_of_trigrams(index: TextIndex) -> bool:
    """Whether an index on PostgreSQL is one of trigrams."""
    return "postgresql_config" not in index.options and _TOKENIZE.fullmatch(index.tokenize) is not None


def folds(index: TextIndex) -> bool:
    """Whether an index of trigrams takes upper and lower case for the same."""
    found = _TOKENIZE.fullmatch(index.tokenize)
    return found is None or found[1] != "1"


def trigram_vector(index: TextIndex, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return what is indexed: every three characters in a row, and the one or two that are left at the end."""
    pieces: list[ColumnElement[Any]] = []
    for column in columns:
        text = _text(index, column)
        # Those that begin at the first character, the fourth and so on, then at the second, and at the third.
        for start in ("1", "2", "3"):
            rest = func.substr(text, literal_column(start))
            pieces.append(func.regexp_replace(rest, _THREE, _EACH_ENDED, _ALL, type_=Text()))
    ended = reduce(lambda left, right: left.op("||")(_END).op("||")(right), pieces[1:], pieces[0])
    found = func.array_remove(func.string_to_array(ended, _END), _NOTHING)
    return func.array_to_tsvector(found, type_=TSVECTOR())


def trigram_match(
    index: TextIndex, columns: Sequence[ColumnElement[Any]], query: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return whether each word of a query, or any if it says so, is in one of the columns.

    ``query`` is a :class:`~kohakuvault.orm.types.search_query.SearchQuery` of trigrams.
    """
    trigrams = cast(_folded(index, _Part("kv_part", query, literal_column("1"), type_=Text())), TSQUERY())
    found = trigram_vector(index, columns).op("@@", is_comparison=True)(trigrams)
    # The index finds the rows that have the trigrams, in whatever order.
    words = trigram_words(query)
    word = words.c.word
    there = or_(*(func.strpos(_text(index, column), _folded(index, word)) > literal_column("0") for column in columns))
    some = exists(literal_column("1")).select_from(words).correlate_except(words)
    # The query is a SearchQuery, which says it.
    any_word = getattr(query.type, "any_word", False)
    return and_(found, some.where(there) if any_word else ~some.where(~there))


def trigram_rank(
    index: TextIndex, columns: Sequence[ColumnElement[Any]], query: ColumnElement[Any], *, weighs: bool
) -> ColumnElement[float]:
    """Return how often the words of a query are in the columns: of each word, more counts ever less."""
    weights = index.weights if weighs and index.weights is not None else (1.0,) * len(columns)
    words = trigram_words(query)
    folded = _folded(index, words.c.word)
    often: ColumnElement[Any] = literal_column("0.0", Float())
    for column, weight in zip(columns, weights, strict=True):
        text = _text(index, column)
        taken = func.length(text) - func.length(func.replace(text, folded, _NOTHING))
        often += literal_column(repr(weight), Float()) * taken / func.length(folded)
    # As BM25 does it, of texts that are as long as others.
    each = often / (often + literal_column("1.2", Float()))
    total = select(func.sum(each)).select_from(words).correlate_except(words).scalar_subquery()
    return cast(func.coalesce(total, literal_column("0.0")), Float())


def trigram_words(query: ColumnElement[Any]) -> TableValuedAlias:
    """Return the words of a query of trigrams, as rows."""
    words = func.unnest(_Part("kv_part", query, literal_column("2:")))
    return words.table_valued(sql_column("word", Text())).render_derived(name="kv_words")


def _text(index: TextIndex, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _folded(index, func.coalesce(column, _NOTHING))


def _folded(index: TextIndex, text: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a text in which characters are compared: in lower case, unless the tokenizer tells cases apart."""
    return func.lower(text, type_=Text()) if folds(index) else text


class _Part(Function[Any]):
    """An element or slice of an array."""

    inherit_cache = True


@compiles(_Part)
def _compile_part(element: _Part, compiler: SQLCompiler, **kw: Any) -> str:
    array, place = (compiler.process(each, **kw) for each in element.clauses)
    return f"(CAST({array} AS text[]))[{place}]"
