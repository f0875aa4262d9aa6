"""Looking after a TextVault."""

from __future__ import annotations

from typing import Any

from ..database_address import display_name
from ..indexing.text.care import rebuild
from ..maintenance import Problem, maintenance_of
from ..orm.tables import table_of
from .check import TextCheck
from .entries import TextEntries

__all__ = ["TextCare"]


class TextCare(TextEntries):
    """The part of :class:`~kohakuvault.TextVault` that checks and counts."""

    def info(self) -> dict[str, Any]:
        """Return the table's name, the columns of text, the number of rows, and how texts are indexed."""
        return {
            "table": table_of(self.entity).name,
            "columns": self.columns,
            "count": len(self),
            "tokenize": self.tokenize,
            "weights": self.weights,
            "metadata": list(self._sql.metadata.columns),
            **self._index.options,
        }

    def rebuild_index(self) -> None:
        """Make the index anew from the rows, in one transaction, whatever state it is in."""
        rebuild(self.binding, self._index)

    def check(self, fix: bool = False) -> list[Problem]:
        """Look for whatever is wrong with the table; return it, an empty list if nothing is.

        That texts are text, and that every value can be read; that the indexes of columns exist and are sound, as far
        as the database can tell; that the text index has what is in the rows, on SQLite, and exists as it was
        declared; foreign keys; the table's record in ``vault_table``. Every row is read, one by one. Pickles are read
        only where they are allowed, and are no problem elsewhere.

        Parameters
        ----------
        fix
            Make missing indexes, rebuild damaged ones (the text index too), write a missing or damaged record anew.
            No row is removed or changed, whether it can be read or not.

        >>> from kohakuvault import TextVault
        >>> TextVault(":memory:").check()
        []
        """
        return TextCheck(self.binding, table_of(self.entity), self._sql, self._index, self._record, fix=fix).run()

    def stats(self) -> dict[str, Any]:
        """Return figures: ``database``, ``table``, ``rows``, what the table was made with, and sizes in bytes.

        SQLite: ``database_bytes``, of the file; ``wal_bytes``, of the file ``-wal`` beside it; ``free_bytes``, of
        pages in the file that are free. PostgreSQL: ``database_bytes``; ``table_bytes``, of the table without its
        indexes; ``index_bytes``.
        """
        binding = self.binding
        table = table_of(self.entity)
        return {
            "database": display_name(binding.engine.url),
            "table": table.name,
            "rows": len(self),
            "columns": self.columns,
            "tokenize": self.tokenize,
            "metadata": list(self._sql.metadata.columns),
            **maintenance_of(binding).sizes(table),
        }
