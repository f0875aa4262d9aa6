"""Looking after a VectorKVault."""

from __future__ import annotations

from typing import Any

from ..database_address import display_name
from ..maintenance import Problem, maintenance_of
from ..orm.tables import table_of
from .check import VectorCheck
from .entries import VectorEntries

__all__ = ["VectorCare"]


class VectorCare(VectorEntries):
    """The part of :class:`~kohakuvault.VectorKVault` that checks and counts."""

    def check(self, fix: bool = False) -> list[Problem]:
        """Look for whatever is wrong with the table; return it, an empty list if nothing is.

        That every vector has its length and finite elements, and by cosine a direction, and that every value can be
        read; that the indexes of columns exist and are sound, as far as the database can tell; that the vector index
        has what is in the rows; foreign keys; the table's record in ``vault_table``. Every row is read, one by one.
        Pickles are read only where they are allowed, and are no problem elsewhere.

        Parameters
        ----------
        fix
            Make missing indexes, rebuild damaged ones (the vector index too), write a missing or damaged record anew.
            No row is removed or changed, whether it can be read or not.

        >>> from kohakuvault import VectorKVault
        >>> VectorKVault(":memory:", dimensions=3).check()
        []
        """
        check = VectorCheck(
            self.binding, table_of(self.entity), self._sql, self._record, self._made_with, self._index, fix=fix
        )
        return check.run()

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
            "dimensions": self.dimensions,
            "metric": self.metric,
            "vector_type": self.vector_type,
            "metadata": list(self._sql.metadata.columns),
            **maintenance_of(binding).sizes(table),
        }
