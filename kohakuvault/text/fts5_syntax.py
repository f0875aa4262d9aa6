"""Where a query of FTS5 is wrong: its grammar, as https://www.sqlite.org/fts5.html#full_text_query_syntax has it.

Whether it is wrong, the database says; this is asked afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .syntax_error import QuerySyntaxError

__all__ = ["check_fts5"]

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"]|"")*"')
# Letters, digits, the underscore, whatever is not ASCII, and the character SUB.
_BAREWORD = re.compile("[A-Za-z0-9_\x1a\x80-\U0010ffff]+")
_OPERATORS = ("AND", "OR", "NOT")
_OPERAND = "a word, a string in double quotes or a column filter"


class _Token(NamedTuple):
    kind: str  # "string", an operator, a character, or "end"
    text: str
    position: int


def check_fts5(query: str, columns: Sequence[str]) -> None:
    """Raise :class:`QuerySyntaxError` where ``query`` is no query of an index of ``columns``."""
    parser = _Parser(list(_tokens(query)), columns)
    parser.expression()
    parser.take("end", "an operator or the end")


def _tokens(query: str) -> Iterator[_Token]:
    position = 0
    while True:
        position += len(_SPACE.match(query, position)[0])  # type: ignore[index]
        if position == len(query):
            yield _Token("end", "", position)
            return
        char = query[position]
        if char == '"':
            found = _STRING.match(query, position)
            if found is None:
                raise QuerySyntaxError(position, query[position:], "a double quote that ends the string")
            yield _Token("string", found[0], position)
        elif char in "(){}:,+*-^":
            found = re.compile(re.escape(char)).match(query, position)
            yield _Token(char, char, position)
        else:
            found = _BAREWORD.match(query, position)
            if found is None:
                raise QuerySyntaxError(position, char, "a word; put what has other characters into double quotes")
            yield _Token(found[0] if found[0] in _OPERATORS else "string", found[0], position)
        position = found.end()  # type: ignore[union-attr]


class _Parser:
    def __init__(self, tokens: list[_Token], columns: Sequence[str]) -> None:
        self._tokens = tokens
        self._columns = {column.lower() for column in columns}
        self._at = 0

    def next(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def take(self, kind: str, expected: str) -> _Token:
        token = self.next()
        if token.kind != kind:
            raise QuerySyntaxError(token.position, token.text, expected)
        self._at += 1
        return token

    def takes(self, kind: str) -> bool:
        if self.next().kind != kind:
            return False
        self._at += 1
        return True

    def expression(self) -> None:
        """Operands with AND, OR and NOT between them; which binds tighter makes no difference here."""
        self.operand()
        while self.next().kind in _OPERATORS:
            self._at += 1
            self.operand()

    def operand(self) -> None:
        self.filter()
        if self.takes("("):
            self.expression()
            self.take(")", "')' or an operator")
            return
        self.near_set()
        # Operands side by side have AND between them; not if they are in parentheses.
        while self.next().kind in ("string", "^", "{", "-"):
            self.filter()
            self.near_set()

    def filter(self) -> None:
        """``col :``, ``{a b} :``, ``- col :`` or nothing."""
        if self.next().kind not in ("-", "{") and not (self.next().kind == "string" and self.next(1).kind == ":"):
            return
        self.takes("-")
        if self.takes("{"):
            self.column()
            while not self.takes("}"):
                self.column()
        else:
            self.column()
        self.take(":", "':' behind the column filter")

    def column(self) -> None:
        token = self.take("string", "the name of a column")
        name = token.text[1:-1].replace('""', '"') if token.text.startswith('"') else token.text
        if name.lower() not in self._columns:
            raise QuerySyntaxError(token.position, token.text, f"one of the columns {', '.join(sorted(self._columns))}")

    def near_set(self) -> None:
        if self.next().kind == "string" and self.next(1).kind == "(":
            token = self.take("string", "NEAR")
            if token.text != "NEAR":
                raise QuerySyntaxError(token.position, token.text, "NEAR, or an operator before '('")
            self._at += 1
            self.phrase()
            while self.next().kind == "string":
                self.phrase()
            if self.takes(","):
                number = self.take("string", "a number of tokens")
                if not re.fullmatch("[0-9]+", number.text):
                    raise QuerySyntaxError(number.position, number.text, "a number of tokens")
            self.take(")", "')', ',' or another phrase")
            return
        self.takes("^")
        self.phrase()

    def phrase(self) -> None:
        self.take("string", _OPERAND)
        self.takes("*")
        while self.takes("+"):
            self.take("string", "a word or string behind '+'")
            self.takes("*")
