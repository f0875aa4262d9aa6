"""Searching a TextVault by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import CorruptValue, InvalidArgument, UnsupportedType
from ..orm.tables import table_of
from ..orm.types.search_query import check_query
from ..rows.arguments import as_count
from ..rows.conditions import Condition, Where, condition_of
from ..statements import Statement
from .many import TextMany
from .query_errors import explained_errors
from .searches import Reading, TextSearches, text_searches

__all__ = ["TextSearch"]


class TextSearch(TextMany):
    """The part of :class:`~kohakuvault.TextVault` that searches."""

    def search(
        self,
        query: str,
        k: int = 10,
        column: str | None = None,
        escape: bool = True,
        *,
        where: Where = None,
        any_word: bool = False,
    ) -> list[tuple[int, float, Any]]:
        """Return the ``k`` rows that match ``query`` best as ``(id, score, value)``, the best first.

        Parameters
        ----------
        query
            What somebody typed: every word of it has to be there, or any, whatever characters are in it.
        k
            How many rows at most.
        column
            Which column is searched; by default all of them.
        where
            Which rows are searched: a condition, such as ``vault.c.lang == "en"``, or a dict of values that columns
            of metadata must equal. ``k`` rows are found whenever ``k`` rows match both.
        escape
            With False the query is in the language of FTS5, or of PostgreSQL's ``to_tsquery``.
        any_word
            One of the words is enough, for questions in sentences: the best rows have many of them, and rare ones.

        Raises
        ------
        InvalidArgument
            for a query of that language that is none, with the position of what is wrong.

        >>> from kohakuvault import TextVault
        >>> texts = TextVault(":memory:")
        >>> texts.insert_many([("Rust and C++", "a"), ("only Rust", "b")])
        [1, 2]
        >>> [(id, value) for id, score, value in texts.search("c++ RUST")]
        [(1, 'a')]
        """
        reading, column, condition = self._checked(query, column, where, escape, any_word)
        statement = self._searches.best(column, reading, condition)
        rows = self._run(statement, query, reading, as_count(k), *_values(condition))
        unpack = self._sql.unpack
        try:
            return [(id, score, unpack(value)) for id, score, value in rows]
        except CorruptValue:
            # Which of them?
            return [(id, score, self._unpack_value(id, value)) for id, score, value in rows]

    def search_with_text(
        self,
        query: str,
        k: int = 10,
        column: str | None = None,
        escape: bool = True,
        *,
        where: Where = None,
        any_word: bool = False,
    ) -> list[tuple[int, float, str | dict[str, str], Any]]:
        """Return what :meth:`search` does as ``(id, score, text, value)``, of several columns ``{column: text}``."""
        reading, column, condition = self._checked(query, column, where, escape, any_word)
        statement = self._searches.best(column, reading, condition, *self._columns)
        rows = self._run(statement, query, reading, as_count(k), *_values(condition))
        return [(id, score, self._as_given(texts), self._unpack_value(id, value)) for id, score, *texts, value in rows]

    def search_with_snippets(
        self,
        query: str,
        k: int = 10,
        snippet_column: str | None = None,
        snippet_tokens: int = 10,
        highlight_start: str = "**",
        highlight_end: str = "**",
        escape: bool = True,
        *,
        column: str | None = None,
        where: Where = None,
        any_word: bool = False,
    ) -> list[tuple[int, float, str, Any]]:
        """Return what :meth:`search` does as ``(id, score, snippet, value)``.

        Parameters
        ----------
        query, k, column, where, escape, any_word
            As for :meth:`search`.
        snippet_column
            Which column the snippet is of; by default that of the best piece.
        snippet_tokens
            How many words it has at most, 1 to 64.
        highlight_start, highlight_end
            What stands around the words that were found.

        >>> from kohakuvault import TextVault
        >>> texts = TextVault(":memory:")
        >>> texts["the quick brown fox jumps over the lazy dog"] = None
        >>> [snippet for _, _, snippet, _ in texts.search_with_snippets("fox", snippet_tokens=4)]
        ['the quick brown **fox**…']
        """
        reading, column, condition = self._checked(query, column, where, escape, any_word)
        of = column if snippet_column is None else self._checked_column(snippet_column, "snippet_column")
        if type(snippet_tokens) is not int or not 1 <= snippet_tokens <= 64:
            raise InvalidArgument(f"snippet_tokens is an int from 1 to 64, not {snippet_tokens!r:.60}")
        for mark in (highlight_start, highlight_end):
            check_query(mark, escape=False)
        statement = self._searches.snippets(column, of, reading, condition)
        rows = self._run(
            statement,
            query,
            reading,
            as_count(k),
            snippet_tokens,
            highlight_start,
            highlight_end,
            *_values(condition),
        )
        return [(id, score, piece, self._unpack_value(id, value)) for id, score, piece, value in rows]

    def count_matches(
        self,
        query: str,
        column: str | None = None,
        escape: bool = True,
        *,
        where: Where = None,
        any_word: bool = False,
    ) -> int:
        """Return how many rows :meth:`search` would find with a ``k`` that is large enough."""
        reading, column, condition = self._checked(query, column, where, escape, any_word)
        ((count,),) = self._run(self._searches.count(column, reading, condition), query, reading, *_values(condition))
        return int(count)

    def _run(self, statement: Statement, query: str, reading: Reading, *values: Any) -> list[Any]:
        binding = self.binding
        if reading.escape:
            return binding.all(statement, query, *values)
        with explained_errors(query, self._columns, binding.dialect.name):
            return binding.all(statement, query, *values)

    @property
    def _searches(self) -> TextSearches:
        entity: Any = self.entity
        return text_searches(entity, self.binding.dialect)

    def _checked(
        self, query: Any, column: Any, where: Where, escape: Any, any_word: Any
    ) -> tuple[Reading, str | None, Condition | None]:
        check_query(query, escape=bool(escape))
        for name, flag in (("escape", escape), ("any_word", any_word)):
            if not isinstance(flag, bool):
                raise UnsupportedType(f"{name} is True or False, not {flag!r:.60}")
        column = None if column is None else self._checked_column(column, "column")
        condition = condition_of(where, table_of(self.entity), self._sql.metadata)
        return Reading(escape, any_word), column, condition

    def _checked_column(self, column: Any, what: str) -> str:
        if column not in self._columns:
            raise InvalidArgument(f"{what}={column!r:.60}: the columns of text are {', '.join(self._columns)}")
        return str(column)


def _values(condition: Condition | None) -> Sequence[Any]:
    return () if condition is None else condition.values
