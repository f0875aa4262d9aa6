"""``SearchQuery``: what is searched for in texts, as each database takes it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import ARRAY, Text, TypeDecorator, TypeEngine

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
        Whether it is text, whose words are to be found; otherwise it is in the database's own language.
    form
        What PostgreSQL takes: ``"words"``, a ``tsquery`` of them; ``"text"``, for it to parse itself, an array of words
        where any is enough; ``"trigrams"``, a ``tsquery`` of them and the words, in an array.
    any_word
        Whether one of the words is enough.
    """

    impl = Text
    cache_ok = True

    def __init__(self, escape: bool = True, form: str = "words", any_word: bool = False) -> None:
        super().__init__()
        self.escape = escape
        self.form = form
        self.any_word = any_word

    def __repr__(self) -> str:
        any_word = ", any_word=True" if self.any_word else ""
        return f"SearchQuery(escape={self.escape!r}, form={self.form!r}{any_word})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        is_array = self.escape and (self.form == "trigrams" or (self.form == "text" and self.any_word))
        is_array = is_array and dialect.name == "postgresql"
        return dialect.type_descriptor(ARRAY(Text()) if is_array else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        query = check_query(value, escape=self.escape)
        if not self.escape:
            return query
        # Once each: who pastes a page searches for its words.
        words = list(dict.fromkeys(query.replace("\0", " ").split()))
        if dialect.name != "postgresql":
            return _as_phrases(words, " OR " if self.any_word else " ")
        if self.form == "trigrams":
            return _as_trigrams(words, any_word=self.any_word)
        if self.form == "words":
            return _as_tsquery(words, " | " if self.any_word else " & ")
        return words if self.any_word else " ".join(words)

    # What is shown of a statement is what would be run.
    process_literal_param = process_bind_param


def _as_phrases(words: list[str], between: str) -> str:
    """Return a query of FTS5: every word is a string, which its tokenizer splits, and strings side by side mean AND.

    The operator AND would not do: beside it, a string without tokens matches nothing.
    """
    # Nothing at all would be a syntax error.
    return between.join('"' + word.replace('"', '""') + '"' for word in words) or '""'


def _as_tsquery(words: list[str], between: str) -> str:
    """Return a query of PostgreSQL that means the same: the tokens of a word are adjacent."""
    return between.join(" <-> ".join(tokens) for tokens in map(_tokens, words) if tokens)


def _as_trigrams(words: list[str], *, any_word: bool) -> list[str]:
    """Return a query of PostgreSQL and the words that are long enough, as FTS5 passes over others."""
    words = [word for word in words if len(word) >= 3]
    of_words = [dict.fromkeys(word[at : at + 3] for at in range(len(word) - 2)) for word in words]
    if not any_word:
        return [_all_trigrams(dict.fromkeys(each for trigrams in of_words for each in trigrams)), *words]
    return [" | ".join(f"({_all_trigrams(trigrams)})" for trigrams in of_words), *words]


def _all_trigrams(trigrams: Iterable[str]) -> str:
    return " & ".join("'" + each.replace("\\", "\\\\").replace("'", "''") + "'" for each in trigrams)


def _tokens(word: str) -> list[str]:
    if word.isascii():
        return _ASCII_TOKENS.findall(word)
    separated = "".join(char if _in_token(char) else " " for char in word)
    return [token for token in separated.split() if any(map(str.isalnum, token))]


def _in_token(char: str) -> bool:
    # Marks and joiners too, which PostgreSQL's parser has in words.
    category = unicodedata.category(char)
    return category[0] in "LNM" or category in ("Cf", "Co")
