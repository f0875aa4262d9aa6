"""``snippet`` and ``highlight``: texts in which the words of a query are marked, as expressions for every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Integer, Text, bindparam, column, literal_column, select, table
from sqlalchemy.sql.functions import Function

from ..errors import InvalidArgument, UnsupportedType
from .match import Forms, search_operand
from .postgresql_snippet import marked_piece, marked_text
from .text_target import TextTarget, text_target
from .tsvector import or_lacking

__all__ = ["highlight", "snippet"]

# What FTS5 takes.
_MOST_TOKENS = 64


def snippet(
    target: Any,
    query: str | BindParameter[str],
    *,
    tokens: int | BindParameter[int] = 10,
    start: str | BindParameter[str] = "**",
    end: str | BindParameter[str] = "**",
    column: Any = None,
    escape: bool = True,
    any_word: bool = False,
) -> ColumnElement[str | None]:
    """Return a piece of a row's text with the words of ``query`` in it, marked; NULL for a row that does not match.

    Parameters
    ----------
    target, query, escape, any_word
        As for :func:`~kohakuvault.orm.match`, beside which it is used, or beside ``text_search``.
    tokens
        How many words the piece has at most, 1 to 64; with ``tokenize="trigram"`` characters, and two more.
    start, end
        What stands around words that were found. Where text is left out there is ``…``.
    column
        The column, of several, that the piece is of; by default the one that suits best: on SQLite, by how many of the
        words are near each other; on PostgreSQL the first that has any of them.

    Examples
    --------
    ::

        hit = text_search(Doc, "rust")
        select(Doc.id, snippet(Doc, "rust")).join(hit, hit.c.id == Doc.id).order_by(hit.c.score.desc())
    """
    searched = text_target(target)
    if not isinstance(tokens, BindParameter):
        if type(tokens) is not int or not 1 <= tokens <= _MOST_TOKENS:
            raise InvalidArgument(f"tokens is an int from 1 to {_MOST_TOKENS}, not {tokens!r:.60}")
        tokens = bindparam(None, tokens, type_=Integer(), unique=True)
    marks = [_mark(start, "start"), _mark(end, "end")]
    number = None if column is None else _number(searched, column)
    words = search_operand(searched, query, escape, any_word)
    place = _place(searched, number)
    on_sqlite = _marked(searched, words, "snippet", literal_column(str(place)), *marks, literal_column("'…'"), tokens)
    return _Marked(
        on_sqlite,
        or_lacking(lambda: marked_piece(searched, number, words, tokens, *marks, escape=escape)),
    )


def highlight(
    target: Any,
    query: str | BindParameter[str],
    *,
    start: str | BindParameter[str] = "**",
    end: str | BindParameter[str] = "**",
    column: Any = None,
    escape: bool = True,
    any_word: bool = False,
) -> ColumnElement[str | None]:
    """Return a row's whole text with the words of ``query`` marked; NULL for a row that does not match.

    Parameters
    ----------
    target, query, escape, any_word
        As for :func:`~kohakuvault.orm.match`.
    start, end
        What stands around words that were found.
    column
        The column of several that the text is of; the target says it if it is one.
    """
    searched = text_target(target)
    number = _number(searched, column) if column is not None else None
    if number is None and len(searched.columns) > 1:
        names = ", ".join(each.name for each in searched.index.columns)
        raise InvalidArgument(f"highlight() is of one column: name one by column=, of {names}")
    marks = [_mark(start, "start"), _mark(end, "end")]
    words = search_operand(searched, query, escape, any_word)
    place = max(_place(searched, number), 0)
    on_sqlite = _marked(searched, words, "highlight", literal_column(str(place)), *marks)
    return _Marked(on_sqlite, or_lacking(lambda: marked_text(searched, number, words, *marks, escape=escape)))


def _mark(mark: Any, what: str) -> BindParameter[str]:
    if isinstance(mark, BindParameter):
        return mark
    if not isinstance(mark, str):
        raise UnsupportedType(f"{what} is a str or a bindparam, not {mark!r:.60} of type {type(mark).__name__}")
    if "\0" in mark:
        raise InvalidArgument(f"{what} {mark!r:.60} has a NUL character, which SQL text cannot have")
    return bindparam(None, mark, type_=Text(), unique=True)


def _number(searched: TextTarget, column: Any) -> int:
    """Return which of the columns of the index is meant."""
    name = getattr(column, "name", None) or getattr(column, "key", None)
    for number, each in enumerate(searched.index.columns):
        if name in (each.name, each.key):
            return number
    raise InvalidArgument(f"column={column!r:.60} is none of the text index {searched.index.name!r}")


def _place(searched: TextTarget, number: int | None) -> int:
    """Return the number of the column for FTS5; -1 is the best."""
    if number is None and len(searched.columns) == 1:
        return _number(searched, searched.columns[0])
    return -1 if number is None else number


def _marked(searched: TextTarget, query: Any, function: str, *arguments: Any) -> ColumnElement[Any]:
    """Return a search of the FTS5 table that gives the marked text of the row."""
    name = searched.index.name
    of = searched.of_one or name
    fts = table(name, column("rowid", Integer()), column(name, Text()), *([column(of, Text())] if of != name else []))
    marked: Any = Function(function, fts.c[name], *arguments, type_=Text())
    found = select(marked).where(fts.c[of].op("MATCH", is_comparison=True)(query), fts.c.rowid == searched.key)
    return found.correlate_except(fts).scalar_subquery()


class _Marked(Forms):
    inherit_cache = True

    def __init__(self, *forms: ColumnElement[Any]) -> None:
        super().__init__("kv_marked", *forms, type_=Text())
