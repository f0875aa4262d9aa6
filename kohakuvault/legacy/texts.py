"""Old texts: an FTS5 table with its own content, which is in ordinary rows beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .source import Damaged, Source, quoted

__all__ = ["OldTexts", "texts_of"]

_USES_FTS5 = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b.{0,1000}?\bUSING\s+fts5\s*\(", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"()\'=]+))\s*(UNINDEXED)?\s*(?:,|\)\s*\Z)', re.IGNORECASE)


@dataclass(frozen=True)
class OldTexts:
    """A table of texts.

    Attributes
    ----------
    name
        Of the virtual table.
    columns
        The names of its columns of text.
    """

    source: Source
    name: str
    columns: tuple[str, ...]

    def count(self) -> int:
        """Return how many rows there are."""
        return self.source.count(f"{self.name}_content")

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Give id, stored value (None if there is none), and the texts, as they are stored, of every row."""
        count = len(self.columns)
        texts = ", ".join(f"c.c{number}" for number in range(count))
        content, values = quoted(f"{self.name}_content"), quoted(f"{self.name}_values")
        return self.source.rows(
            f"SELECT c.id, v.value, {texts} FROM {content} AS c LEFT JOIN {values} AS v ON v.id = c.c{count} "  # noqa: S608
            "ORDER BY c.id"
        )


def texts_of(source: Source) -> list[tuple[str, OldTexts | Damaged]]:
    """Return the tables of texts of a file by their names, and of those that cannot be read why."""
    found = []
    for name, sql in source.sql.items():
        start = _USES_FTS5.match(sql)
        # An FTS5 table of the application's own has no values beside it.
        if start is not None and source.has_columns(f"{name}_values", "id", "value"):
            found.append((name, _texts(source, name, sql, start.end())))
    return found


def _texts(source: Source, name: str, sql: str, at: int) -> OldTexts | Damaged:
    columns: list[tuple[str, bool]] = []
    while at < len(sql):
        column = _COLUMN.match(sql, at)
        if column is None:
            return Damaged("an FTS5 table that neither release has made")
        quoted_name, bare_name, unindexed = column.groups()
        columns.append((bare_name or (quoted_name or "").replace('""', '"'), unindexed is not None))
        at = column.end()
    if len(columns) < 2 or columns[-1] != ("value_ref", True):
        return Damaged("an FTS5 table that neither release has made")
    stored = [f"c{number}" for number in range(len(columns))]
    if not source.has_columns(f"{name}_content", "id", *stored):
        return Damaged("its table of texts is missing")
    return OldTexts(source, name, tuple(column for column, _ in columns[:-1]))
