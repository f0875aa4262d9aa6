"""Texts that methods of a TextVault are given, checked before anything is written or looked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidArgument, UnsupportedType

__all__ = ["Texts", "as_text", "as_texts", "rare_words"]

Texts = str | Mapping[str, str]

# Words of a text that are tokens for every tokenizer, or have trigrams; nothing beside them can be part of them.
_WORDS = re.compile(r"(?<![\w\x80-\U0010ffff])[A-Za-z0-9]{3,64}(?![\w\x80-\U0010ffff])")
_LOOKED_UP = 4


def as_text(text: Any, *, takes_nul: bool, what: str = "a text") -> str:
    """Return ``text`` if a database can hold it; otherwise raise."""
    if not isinstance(text, str):
        raise UnsupportedType(f"{what} is a str, not {text!r:.60} of type {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{what}, {text!r:.60}, has a lone surrogate, which no database holds") from error
    if "\0" in text and not takes_nul:
        raise InvalidArgument(f"{what}, {text!r:.60}, has a NUL character, which PostgreSQL's text cannot hold")
    return str(text)


def as_texts(texts: Any, columns: Sequence[str], *, takes_nul: bool, some: bool = False) -> dict[str, str]:
    """Return the text of each column, of all of them or with ``some`` of those that are given.

    A str is the text of the only column.
    """
    if isinstance(texts, str):
        if len(columns) > 1:
            raise InvalidArgument(
                f"one text is given, and there are the columns {', '.join(columns)}: give a dict of texts by column"
            )
        return {columns[0]: as_text(texts, takes_nul=takes_nul)}
    if not isinstance(texts, Mapping):
        raise UnsupportedType(
            f"texts are a str or a dict of str by column, not {texts!r:.60} of type {type(texts).__name__}"
        )
    for name in texts:
        if name not in columns:
            raise InvalidArgument(f"there is no column of text {name!r:.60}; there are {', '.join(columns)}")
    missing = [name for name in columns if name not in texts]
    if (missing and not some) or not texts:
        raise InvalidArgument(f"no text is given for the column {', '.join(missing)}")
    return {
        name: as_text(texts[name], takes_nul=takes_nul, what=f"the text of {name!r}")
        for name in columns
        if name in texts
    }


def rare_words(texts: Mapping[str, str]) -> str:
    """Return a query of some words that all are in ``texts``: long ones, as these are in few others.

    Empty if there are none that every tokenizer would find.
    """
    words = {word for text in texts.values() for word in _WORDS.findall(text[:20_000])}
    return " ".join(sorted(words, key=lambda word: (-len(word), word))[:_LOOKED_UP])
