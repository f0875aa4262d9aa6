"""``SearchQuery``: what is searched for in texts, as each database takes it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import Text, TypeDecorator

from ...errors import InvalidArgument, UnsupportedType

__all__ = ["SearchQuery", "check_query"]

_ASCII_TOKENS = re.compile("[A-Za-z0-9]+")


def check_query(query: Any, *, escape: bool) -> str:
    """Return ``query`` if it can be searched for; otherwise raise."""
    if not isinstance(query, str):
        raise UnsupportedType(f"a query is a str, or a bindparam, not {type(query).__name__}")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"the query {query!r:.60} has a lone surrogate, which no text has") from error
    if "\0" in query and not escape:
        raise InvalidArgument(f"the query {query!r:.60} contains a NUL; with escape=True it would separate words")
    return query


class SearchQuery(TypeDecorator[str]):
    """The type of what is searched for; of no column.

    Parameters
    ----------
    escape
        Whether it is text, all of whose words are to be found; otherwise it is in the database's own language.
    parsed
        Whether PostgreSQL parses the text itself, by a configuration of the user's.
    """

    impl = Text
    cache_ok = True

    def __init__(self, escape: bool = True, parsed: bool = False) -> None:
        super().__init__()
        self.escape = escape
        self.parsed = parsed

    def __repr__(self) -> str:
        return f"SearchQuery(escape={self.escape!r}, parsed={self.parsed!r})"

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        query = check_query(value, escape=self.escape)
        if not self.escape:
            return query
        # Once each: who pastes a page searches for its words.
        words = list(dict.fromkeys(query.replace("\0", " ").split()))
        if dialect.name == "postgresql":
            return " ".join(words) if self.parsed else _as_tsquery(words)
        return _as_phrases(words)

    # What is shown of a statement is what would be run.
    process_literal_param = process_bind_param


def _as_phrases(words: list[str]) -> str:
    """Return a query of FTS5: every word is a string, which its tokenizer splits, and strings side by side mean AND.

    The operator AND would not do: beside it, a string without tokens matches nothing.
    """
    # Nothing at all would be a syntax error.
    return " ".join('"' + word.replace('"', '""') + '"' for word in words) or '""'


def _as_tsquery(words: list[str]) -> str:
    """Return a query of PostgreSQL that means the same: the tokens of a word are adjacent."""
    return " & ".join(" <-> ".join(tokens) for tokens in map(_tokens, words) if tokens)


def _tokens(word: str) -> list[str]:
    if word.isascii():
        return _ASCII_TOKENS.findall(word)
    separated = "".join(char if _in_token(char) else " " for char in word)
    return [token for token in separated.split() if any(map(str.isalnum, token))]


def _in_token(char: str) -> bool:
    # Marks and joiners too, which PostgreSQL's parser has in words.
    category = unicodedata.category(char)
    return category[0] in "LNM" or category in ("Cf", "Co")
