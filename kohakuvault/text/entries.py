"""One row of a TextVault: writing it, and reading it by its id or its text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import CorruptValue, NotFound
from ..lending import DriverCursor
from ..rows.arguments import as_id
from ..rows.entries import corrupt_row
from .arguments import Texts, as_texts, rare_words
from .base import TextBase

__all__ = ["TextEntries"]

_NOT_GIVEN: Any = ...
# What a tokenizer may be whose words of letters and digits are those of the text.
_WORD_BY_WORD = {"unicode61", "ascii", "porter", "trigram", "remove_diacritics", "case_sensitive", "0", "1", "2"}


class TextEntries(TextBase):
    """The part of :class:`~kohakuvault.TextVault` that reads and writes one row at a time."""

    # -- writing -------------------------------------------------------------------------------

    def insert(self, texts: Texts, value: Any = None, metadata: Mapping[str, Any] | None = None) -> int:
        """Add a text with its value and return its id.

        Parameters
        ----------
        texts
            A str; where there are several columns, a dict with the text of each.
        value
            Any value that can be packed.
        metadata
            Values by the name of their column; the others are NULL, read as None.
        """
        row = (*self._texts(texts).values(), self._value(value))
        names, extra = self._sql.metadata.one(metadata)
        with self.binding.writing() as cursor:
            id = self._add(cursor, names, *row, *extra)
            self._changed(cursor, 1)
        return id

    def upsert(self, id: int, texts: Texts, value: Any = None, metadata: Mapping[str, Any] | None = None) -> int:
        """Insert a row under ``id``, in the place of the one that has it now, if there is one; return ``id``.

        What is not given is None; :meth:`update` leaves it as it is. ``id`` is an int of 64 bits.
        """
        row = (as_id(id), *self._texts(texts).values(), self._value(value))
        names, extra = self._sql.metadata.one(metadata)
        with self.binding.writing() as cursor:
            cursor.run(self._sql.upsert(names), *row, *extra)
            self._changed(cursor, 1)
        return int(row[0])

    def update(
        self,
        id: int,
        texts: Texts | None = None,
        value: Any = _NOT_GIVEN,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Replace texts, the value or metadata of a row; what is left out stays, as do columns that are not named.

        :class:`NotFound` if there is no such row.
        """
        id = as_id(id)
        new: dict[str, Any] = {}
        if texts is not None:
            new.update(self._texts(texts, some=True))
        if value is not _NOT_GIVEN:
            new["value"] = self._value(value)
        names, extra = self._sql.metadata.one(metadata)
        new.update(zip(names, extra, strict=True))
        self._update(id, new)

    def __setitem__(self, texts: Texts, value: Any) -> None:
        """Set the value of the row of exactly this text; add the row if there is none.

        Several rows of the text, which :meth:`insert` makes, all have the value then.
        """
        given = self._texts(texts)
        stored = self._value(value)
        with self.binding.writing() as cursor:
            self._lock(cursor, given)
            ids = [row[0] for row in self._of_texts(cursor, given)]
            for id in ids:
                cursor.run(self._sql.set_value, stored, id)
            if not ids:
                self._add(cursor, (), *given.values(), stored)
            self._changed(cursor, len(ids) or 1)

    def __delitem__(self, texts: Texts) -> None:
        """Remove the rows of exactly this text; :class:`NotFound` if there are none."""
        given = self._texts(texts, some=True)
        with self.binding.writing() as cursor:
            self._lock(cursor, given)
            ids = [row[0] for row in self._of_texts(cursor, given)]
            if not ids:
                raise self._no_text(given)
            for id in ids:
                cursor.run(self._sql.delete, id)
            self._changed(cursor, len(ids))

    def _lock(self, cursor: DriverCursor, texts: Mapping[str, str]) -> None:
        # Two that set a new text at once would both find no row of it.
        statement = self._sql.lock_text
        if statement is not None:
            cursor.all(statement, "\n".join(texts.values()))

    # -- reading -------------------------------------------------------------------------------

    def get_by_id(self, id: int) -> tuple[str | dict[str, str], Any]:
        """Return ``(text, value)`` of a row, of several columns ``({column: text}, value)``.

        :class:`NotFound` if there is none.
        """
        row = self.binding.one(self._sql.row, as_id(id))
        if row is None:
            raise self._missing(id)
        return self._unpack(id, row)

    def get(self, texts: Texts, default: Any = _NOT_GIVEN) -> Any:
        """Return the value of the row of exactly this text, of several the first.

        Parameters
        ----------
        texts
            A str; where there are several columns, a dict of the texts of one or more of them.
        default
            What to return if there is none; without it that is :class:`NotFound`.
        """
        given = self._texts(texts, some=True)
        with self.binding.reading() as cursor:
            rows = self._of_texts(cursor, given)
        if rows:
            return self._unpack_value(*rows[0])
        if default is _NOT_GIVEN:
            raise self._no_text(given)
        return default

    def __getitem__(self, texts: Texts) -> Any:
        return self.get(texts)

    def __contains__(self, id: Any) -> bool:
        """Whether there is a row of an id, or of exactly a text."""
        if not isinstance(id, (str, Mapping)):
            return self.exists(id)
        with self.binding.reading() as cursor:
            return bool(self._of_texts(cursor, self._texts(id, some=True)))

    def _of_texts(self, cursor: DriverCursor, texts: Mapping[str, str]) -> list[Any]:
        """Return id and value of the rows of these texts."""
        # The index finds the few rows that have its words; what it does not know is read row by row.
        words = rare_words(texts) if self._knows_words else ""
        statement = self._sql.of_texts(tuple(texts), bool(words))
        return cursor.all(statement, *([words] if words else ()), *texts.values())

    @property
    def _knows_words(self) -> bool:
        """Whether every word of letters and digits is one of the index: nothing leaves it out, or cuts it."""
        said = set(re.findall(r"\w+", self._index.tokenize.lower()))
        return said <= _WORD_BY_WORD and "postgresql_config" not in self._index.options

    def _no_text(self, texts: Mapping[str, str]) -> NotFound:
        shown = next(iter(texts.values())) if len(self._columns) == 1 else dict(texts)
        return NotFound(f"no row with exactly the text {shown!r:.60} in {self!r}; search() finds rows by their words")

    def _texts(self, texts: Any, *, some: bool = False) -> dict[str, str]:
        return as_texts(texts, self._columns, takes_nul=self.binding.dialect.name == "sqlite", some=some)

    def _as_given(self, texts: Any) -> str | dict[str, str]:
        """Return the texts of a row as :meth:`insert` takes them."""
        return texts[0] if len(self._columns) == 1 else dict(zip(self._columns, texts, strict=True))

    def _unpack(self, id: Any, row: Any) -> tuple[str | dict[str, str], Any]:
        *texts, value = row
        try:
            return self._as_given(texts), self._sql.unpack(value)
        except CorruptValue as error:
            raise corrupt_row(id, error) from error
