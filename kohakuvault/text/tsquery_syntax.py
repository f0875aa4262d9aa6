"""Where a query of PostgreSQL's ``to_tsquery`` is wrong.

By https://www.postgresql.org/docs/current/datatype-textsearch.html#DATATYPE-TSQUERY. Whether it is wrong, the
database says; this is asked afterwards.
"""

from __future__ import annotations

import re

from .syntax_error import QuerySyntaxError

__all__ = ["check_tsquery"]

_SPACE = re.compile(r"\s*")
_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)+'", re.DOTALL)
_WORD = re.compile(r"(?:[^\s!&|()<:'\\]|\\.)(?:[^\s!&|()<:\\]|\\.)*", re.DOTALL)
_LABELS = re.compile(r":[*ABCDabcd]*")
_BINARY = re.compile(r"&|\||<(?:-|[0-9]+)>")
_MOST_APART = 16_384


def check_tsquery(query: str) -> None:
    """Raise :class:`QuerySyntaxError` where ``query`` is none."""
    _Parser(query).whole()


class _Parser:
    def __init__(self, query: str) -> None:
        self._query = query
        self._at = 0

    def skip(self) -> None:
        self._at += len(_SPACE.match(self._query, self._at)[0])  # type: ignore[index]

    def takes(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._query, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def fail(self, expected: str) -> None:
        raise QuerySyntaxError(self._at, self._query[self._at : self._at + 1], expected)

    def whole(self) -> None:
        self.expression(0)
        if self._at < len(self._query):
            self.fail("'&', '|', '<->' or the end")

    def expression(self, depth: int) -> None:
        self.operand(depth)
        while True:
            self.skip()
            start = self._at
            operator = self.takes(_BINARY)
            if operator is None:
                return
            if operator[1:-1].isdigit() and int(operator[1:-1]) > _MOST_APART:
                self._at = start
                self.fail(f"a distance of at most {_MOST_APART}")
            self.operand(depth)

    def operand(self, depth: int) -> None:
        self.skip()
        while self._query.startswith("!", self._at):
            self._at += 1
            self.skip()
        if self._query.startswith("(", self._at):
            self._at += 1
            self.expression(depth + 1)
            if not self._query.startswith(")", self._at):
                self.fail("')', '&', '|' or '<->'")
            self._at += 1
            return
        if self._query.startswith("'", self._at):
            if self.takes(_QUOTED) is None:
                self.fail("a quote that ends the word")
        elif self.takes(_WORD) is None:
            self.fail("a word, '!' or '('")
        self.takes(_LABELS)
