"""Errors of the database about a query in its own language, as errors that say where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import DriverError, InvalidArgument
from .fts5_syntax import check_fts5
from .syntax_error import QuerySyntaxError
from .tsquery_syntax import check_tsquery

__all__ = ["explained_errors"]

# How the messages begin, or what is in them, that are about a query.
_OF_FTS5 = ("fts5: ", "fts5 expression", "unterminated string", "unknown special query", "expected integer, got")
_OF_POSTGRESQL = ("in tsquery", "tsquery is too large", "distance in phrase operator")


@contextmanager
def explained_errors(query: str, columns: Sequence[str], database: str) -> Iterator[None]:
    """Turn what ``database`` says of a ``query`` in its language into :class:`InvalidArgument` with the position."""
    try:
        yield
    except DriverError as error:
        message = str(error)
        if database == "sqlite":
            # Of a column filter; of other columns there can be no question.
            is_of_query = message.startswith(_OF_FTS5) or message.startswith("no such column: ")
            language = "FTS5"
        else:
            is_of_query = any(part in message for part in _OF_POSTGRESQL)
            language = "to_tsquery"
        if not is_of_query:
            raise
        try:
            if database == "sqlite":
                check_fts5(query, columns)
            else:
                check_tsquery(query)
            where = message
        except QuerySyntaxError as wrong:
            where = str(wrong)
        raise InvalidArgument(
            f"{query!r:.200} is no query of {language}: {where}. With escape=True all of its words are searched for"
        ) from error
