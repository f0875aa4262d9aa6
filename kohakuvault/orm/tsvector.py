"""What PostgreSQL indexes of texts, and what it searches for: expressions that an index and its queries share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Float,
    Text,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function

from ..errors import InvalidArgument
from .text_index import TextIndex

__all__ = ["PORTER", "SEPARATED", "or_lacking", "ts_config", "ts_query", "ts_rank", "ts_vector"]

# Made with the first index that stems: PostgreSQL's own for English leaves out common words, which FTS5 finds.
PORTER = "kv_porter"

_TOKENIZE = re.compile(
    r"\s*(porter(?:\s+unicode61)?|unicode61)(?:\s+remove_diacritics\s+'?([012])'?)?\s*", re.IGNORECASE
)

# Those that FTS5 leaves out. The names of regular expressions of PostgreSQL, for its string literals.
_DIACRITICS: ColumnElement[Any] = literal_column(r"'[\u0300-\u0331]+'")
# What PostgreSQL's parser makes addresses, numbers with signs, tags and compounds of is separates words, as for FTS5.
SEPARATED = r"\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f\u2010-\u205e"
_SEPARATORS: ColumnElement[Any] = literal_column(f"'[{SEPARATED}]+'")
_NOTHING: ColumnElement[Any] = literal_column("''")
_SPACE: ColumnElement[Any] = literal_column("' '")
_ALL: ColumnElement[Any] = literal_column("'g'")
_NFC: ColumnElement[Any] = literal_column("NFC")
_NFD: ColumnElement[Any] = literal_column("NFD")
# Between the texts of two columns, so that no phrase is found across them. No token has an underscore.
_GAP: ColumnElement[Any] = literal_column("'kv_gap'")
_GAP_VECTOR: ColumnElement[Any] = literal_column("CAST('kv_gap:1' AS tsvector)")
_LABELS = "DCBA"


def ts_config(index: TextIndex) -> str:
    """Return the name of the text search configuration of an index."""
    own = index.options.get("postgresql_config")
    if own is not None:
        return str(own)
    return PORTER if _tokenizer(index)[0] == "porter" else "pg_catalog.simple"


def ts_vector(index: TextIndex, columns: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return what of the columns of an index, or one of them, is indexed."""
    labels = _labels(index) if len(columns) > 1 else None
    vectors: list[ColumnElement[Any]] = []
    for number, each in enumerate(columns):
        vector = func.to_tsvector(
            _regconfig(index), _normalized(index, func.coalesce(each, _NOTHING)), type_=TSVECTOR()
        )
        if labels is not None:
            vector = func.setweight(vector, literal_column(f"'{labels[number]}'"), type_=TSVECTOR())
        vectors.append(vector)
    if len(vectors) == 1:
        return vectors[0]
    joined = reduce(lambda left, right: left.op("||")(_GAP_VECTOR).op("||")(right), vectors)
    return func.ts_delete(joined, _GAP, type_=TSVECTOR())


def ts_query(index: TextIndex, query: ColumnElement[Any], *, escape: bool) -> ColumnElement[Any]:
    """Return what is searched for; ``query`` is a :class:`~kohakuvault.orm.types.search_query.SearchQuery`."""
    if escape and "postgresql_config" in index.options:
        if getattr(query.type, "any_word", False):
            return _any_of(index, query)
        return func.plainto_tsquery(_regconfig(index), query)
    return func.to_tsquery(_regconfig(index), _normalized(index, query, separates=False))


def _any_of(index: TextIndex, words: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a query for any of some words, each of which the configuration makes a query of."""
    rows = func.unnest(cast(words, ARRAY(Text()))).table_valued(column("word", Text())).render_derived(name="kv_words")
    each = cast(func.plainto_tsquery(_regconfig(index), rows.c.word), Text())
    # A word that the configuration leaves out is an empty query.
    joined = func.string_agg(func.nullif(each, _NOTHING), literal_column("' | '"), type_=Text())
    found = select(func.coalesce(joined, _NOTHING)).select_from(rows).correlate_except(rows).scalar_subquery()
    return cast(found, TSQUERY())


def ts_rank(
    index: TextIndex, vector: ColumnElement[Any], query: ColumnElement[Any], *, weighs: bool
) -> ColumnElement[float]:
    """Return how well a vector matches: more is better. ``weighs`` if it is one of all columns."""
    # PostgreSQL has weights from 0 to 1.
    weights = dict.fromkeys(_LABELS, 1.0)
    largest = 1.0
    labels = _labels(index) if weighs else None
    if labels is not None and index.weights is not None:
        largest = max(index.weights)
        weights |= {label: weight / largest for label, weight in zip(labels, index.weights, strict=True)}
    array: ColumnElement[Any] = literal_column(
        "CAST(ARRAY[" + ", ".join(repr(weights[label]) for label in _LABELS) + "] AS real[])"
    )
    score: ColumnElement[float] = func.ts_rank_cd(array, vector, query, type_=Float())
    return score if largest == 1.0 else score * literal_column(repr(largest), Float())


def _regconfig(index: TextIndex) -> ColumnElement[Any]:
    # In the text of the statement, as in that of the index.
    name = ts_config(index).replace("'", "''")
    return literal_column(f"CAST('{name}' AS regconfig)")


def _tokenizer(index: TextIndex) -> tuple[str, bool]:
    """Return the tokenizer, and whether it leaves out diacritics."""
    found = _TOKENIZE.fullmatch(index.tokenize)
    if found is None:
        raise InvalidArgument(
            f"text index {index.name!r}: PostgreSQL has nothing like tokenize={index.tokenize!r}; it has 'unicode61' "
            "and 'porter' with the option remove_diacritics, and 'trigram' with case_sensitive; or a text search "
            "configuration of yours by postgresql_config="
        )
    return found[1].lower().split()[0], found[2] != "0"


def _labels(index: TextIndex) -> list[str] | None:
    """Return PostgreSQL's label for the weight of each column; None if all weigh the same."""
    if index.weights is None or len(set(index.weights)) == 1:
        return None
    distinct = sorted(set(index.weights))
    if len(distinct) > len(_LABELS):
        raise InvalidArgument(
            f"text index {index.name!r}: PostgreSQL tells four weights apart, and there are {len(distinct)}; "
            "give some columns the same"
        )
    return [_LABELS[distinct.index(weight)] for weight in index.weights]


def _normalized(index: TextIndex, text: ColumnElement[Any], *, separates: bool = True) -> ColumnElement[Any]:
    """Return a text in which PostgreSQL's parser sees the words that FTS5 does.

    A configuration of the user's has the text as it is.
    """
    if "postgresql_config" in index.options:
        return text
    if _tokenizer(index)[1]:
        bare = func.normalize(func.regexp_replace(func.normalize(text, _NFD), _DIACRITICS, _NOTHING, _ALL), _NFC)
        # What is ASCII has none, which is known sooner. Case is a matter of PostgreSQL's dictionaries.
        text = case((func.octet_length(text) == func.char_length(text), text), else_=bare)
    return func.regexp_replace(text, _SEPARATORS, _SPACE, _ALL) if separates else text


def or_lacking(expression: Callable[[], ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return an expression for PostgreSQL; if it has none, one that raises why not when it is compiled."""
    try:
        return expression()
    except InvalidArgument as error:
        return _Lacking("kv_lacking", literal(str(error)))


class _Lacking(Function[Any]):
    inherit_cache = True


@compiles(_Lacking)
def _compile_lacking(element: _Lacking, compiler: SQLCompiler, **kw: Any) -> str:
    (message,) = element.clauses
    raise InvalidArgument(message.effective_value)
