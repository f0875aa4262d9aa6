"""Marking the words of a query in a text, on PostgreSQL: in the text as it is, which ``ts_headline`` cannot.

What is indexed is a normalized text, in which words have no diacritics and others separate them. So each word of the
text goes the same way, and is compared with the words of the query.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, case, cast, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function

from ..errors import InvalidArgument
from .text_target import TextTarget
from .trigrams import folds, is_of_trigrams, trigram_match, trigram_words
from .tsvector import SEPARATED, ts_query, ts_vector

__all__ = ["marked_piece", "marked_text"]

_ANY_QUERY = r"""
CAST(regexp_replace(replace(querytree({query}), '&', '|'), '<(-|[0-9]+)>', '|', 'g') AS tsquery)
"""

# Words by their number, each with what stands before it; `hit` is 1 for those of the query.
_WORDS = """
WITH kv_query AS MATERIALIZED (SELECT {any} AS words),
kv_word AS MATERIALIZED (
 SELECT number, found[1] AS gap, found[2] AS word
 FROM regexp_matches({text}, {pattern}, 'g') WITH ORDINALITY AS kv_found(found, number)),
kv_hit AS MATERIALIZED (
 SELECT number, gap, word, CASE WHEN {vector} @@ (SELECT words FROM kv_query) THEN 1 ELSE 0 END AS hit,
 count(*) OVER () AS total FROM kv_word)
"""

_MARKED = "CASE WHEN hit = 1 THEN {start} || word || {end} ELSE word END"

_WHOLE = (
    _WORDS
    + "SELECT coalesce(string_agg(gap || "
    + _MARKED
    + ", '' ORDER BY number) || coalesce(substring({text} FROM {tail}), ''), {text}) FROM kv_hit"
)

# Of the windows with most words of the query the one in the middle, so that they are in the middle of it.
_PIECE = (
    _WORDS
    + """,
kv_window AS MATERIALIZED (
 SELECT number, total, sum(hit) OVER (ORDER BY number ROWS BETWEEN CURRENT ROW AND {tokens} - 1 FOLLOWING) AS hits
 FROM kv_hit),
kv_full AS MATERIALIZED (SELECT number, hits FROM kv_window WHERE number <= greatest(1, total - {tokens} + 1)),
kv_best AS MATERIALIZED (
 SELECT number FROM kv_full WHERE hits = (SELECT max(hits) FROM kv_full) ORDER BY number LIMIT {tokens}),
kv_first AS MATERIALIZED (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY number) AS first FROM kv_best)
SELECT coalesce(
 CASE WHEN max(first) > 1 THEN '…' ELSE '' END
 || string_agg(CASE WHEN number = first AND first > 1 THEN '' ELSE gap END || """
    + _MARKED
    + """, '' ORDER BY number)
 || CASE WHEN max(number) < max(total) THEN '…' ELSE coalesce(substring({text} FROM {tail}), '') END,
 {text})
FROM kv_hit, kv_first WHERE number >= first AND number < first + {tokens}
"""
)

# Of trigrams: the words of the query wherever they are in the text.
_PATTERN = r"""
(SELECT string_agg(regexp_replace(word, '([^[:alnum:][:space:]])', '\\\1', 'g'), '|' ORDER BY length(word) DESC)
 FROM {words} AS kv_words(word))
"""
_REPLACED = r"""
regexp_replace({piece}, '(' || {pattern} || ')',
 replace({start}, '\', '\\') || '\1' || replace({end}, '\', '\\'), 'g{flag}')
"""
_TRIGRAM_WHOLE = "SELECT coalesce(" + _REPLACED + ", {text})"
_TRIGRAM_PIECE = (
    """
WITH kv_place AS MATERIALIZED (
 SELECT greatest(1, length(substring({text} FROM '(?{flag})^(.*?)(?:' || {pattern} || ')')) + 1 - {tokens} / 2)
 AS first)
SELECT CASE WHEN first > 1 THEN '…' ELSE '' END || """
    + _REPLACED.replace("{piece}", "substring({text} FROM first FOR {tokens} + 2)")
    + """
 || CASE WHEN length({text}) > first + {tokens} + 1 THEN '…' ELSE '' END FROM kv_place
"""
)


def marked_piece(
    searched: TextTarget, number: int | None, query: Any, tokens: Any, start: Any, end: Any, *, escape: bool
) -> ColumnElement[Any]:
    """Return a piece of the text of a column, or of the first of all that has a word of the query."""
    tokens = cast(tokens, Integer())
    if number is not None or len(searched.columns) == 1:
        text = searched.columns[number or 0] if len(searched.columns) > 1 else searched.columns[0]
        return _if_found(searched, query, _of_column(searched, text, query, start, end, tokens, escape), escape)
    pieces = []
    for each in searched.columns:
        piece = _of_column(searched, each, query, start, end, tokens, escape)
        pieces.append((_has_any(searched, each, query, escape), piece))
    return _if_found(searched, query, case(*pieces), escape)


def marked_text(
    searched: TextTarget, number: int | None, query: Any, start: Any, end: Any, *, escape: bool
) -> ColumnElement[Any]:
    """Return the whole text of a column."""
    text = searched.columns[number or 0] if len(searched.columns) > 1 else searched.columns[0]
    return _if_found(searched, query, _of_column(searched, text, query, start, end, None, escape), escape)


def _if_found(searched: TextTarget, query: Any, marked: Any, escape: bool) -> ColumnElement[Any]:
    index, columns = searched.index, searched.columns
    if is_of_trigrams(index):
        return case((trigram_match(index, columns, query), marked))
    found = ts_vector(index, columns).op("@@", is_comparison=True)(ts_query(index, query, escape=escape))
    return case((found, marked))


def _has_any(searched: TextTarget, text: Any, query: Any, escape: bool) -> ColumnElement[bool]:
    index = searched.index
    if is_of_trigrams(index):
        return trigram_match(index, [text], query)
    any_ = _Template("kv_any_word", {"query": ts_query(index, query, escape=escape)})
    return ts_vector(index, [text]).op("@@", is_comparison=True)(any_)


def _of_column(
    searched: TextTarget, text: Any, query: Any, start: Any, end: Any, tokens: Any, escape: bool
) -> ColumnElement[Any]:
    index = searched.index
    expressions = {"text": text, "start": cast(start, Text()), "end": cast(end, Text())}
    if tokens is not None:
        expressions["tokens"] = tokens
    part = "whole" if tokens is None else "piece"
    if is_of_trigrams(index):
        if not escape:
            raise InvalidArgument(f"text index {index.name!r}: only escape=True searches trigrams on PostgreSQL")
        words = trigram_words(query)
        expressions["words"] = select(words.c.word).select_from(words).correlate_except(words).scalar_subquery()
        return _Template(f"kv_trigrams_{part}_{'folded' if folds(index) else 'as_it_is'}", expressions)
    expressions["query"] = ts_query(index, query, escape=escape)
    expressions["vector"] = ts_vector(index, [literal_column("word", Text())])
    return _Template(f"kv_{part}_{'of_parser' if 'postgresql_config' in index.options else 'of_words'}", expressions)


def _templates() -> Iterator[tuple[str, str]]:
    for part, template in (("whole", _WHOLE), ("piece", _PIECE)):
        for by, separated in (("of_words", SEPARATED), ("of_parser", r"\s")):
            text = template.replace("{any}", _ANY_QUERY).replace("{pattern}", f"'([{separated}]*)([^{separated}]+)'")
            yield f"kv_{part}_{by}", f"({text})".replace("{tail}", f"'[{separated}]*$'")
    for part, template in (("whole", _TRIGRAM_WHOLE), ("piece", _TRIGRAM_PIECE)):
        for by, flag in (("folded", "i"), ("as_it_is", "c")):
            text = template.replace("{pattern}", _PATTERN).replace("{flag}", flag)
            yield f"kv_trigrams_{part}_{by}", f"({text})".replace("{piece}", "{text}")
    yield "kv_any_word", _ANY_QUERY


_TEMPLATES = dict(_templates())
_EXPRESSIONS = ("text", "start", "end", "tokens", "words", "query", "vector")
_NAME = re.compile(r"\{(\w+)\}")


class _Template(Function[Any]):
    """SQL of a name, with expressions in it; by both, statements with it are cached."""

    inherit_cache = True

    def __init__(self, name: str, expressions: Mapping[str, Any]) -> None:
        super().__init__(name, *expressions.values(), type_=Text())


@compiles(_Template)
def _compile_template(element: _Template, compiler: SQLCompiler, **kw: Any) -> str:
    template = _TEMPLATES[element.name]
    # In the order in which they were given.
    names = [name for name in _EXPRESSIONS if f"{{{name}}}" in template]
    compiled = {name: compiler.process(each, **kw) for name, each in zip(names, element.clauses, strict=True)}
    return _NAME.sub(lambda found: compiled[found[1]], template)
