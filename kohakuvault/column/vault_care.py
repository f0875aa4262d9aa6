"""Looking after all columns of a ColumnVault: checks, figures, and making them compact."""

from __future__ import annotations

from typing import Any

from ..database_address import display_name
from ..maintenance import Problem, maintenance_of
from .care_statements import CareStatements
from .vault_base import ColumnVaultBase
from .vault_check import ColumnsCheck

__all__ = ["ColumnVaultCare"]


class ColumnVaultCare(ColumnVaultBase):
    """The part of :class:`~kohakuvault.ColumnVault` that checks, counts and compacts."""

    def check(self, fix: bool = False) -> list[Problem]:
        """Look for whatever is wrong with the columns; return it, an empty list if nothing is.

        Every block is read, with flat memory: that its checksum and every element are right, its size and count, that
        blocks follow each other without gaps and have, with the tail, as many elements as the column; that summaries
        are of their elements; that every payload has its block and every block its payload; that the indexes, the
        trigger and the record in ``vault_table`` are there and sound. Each column is checked as it is at one moment.
        Damage in one does not stop the check of others. The lists of rows are checked too; a problem of one has its id.

        Parameters
        ----------
        fix
            Repair what can be made of what is there: summaries, the trigger, indexes, the record; and delete payloads
            that no block names. No element is removed or changed.

        >>> from kohakuvault import ColumnVault
        >>> ColumnVault(":memory:").check()
        []
        """
        return ColumnsCheck(self._settled, self._tables(), self._one_state, fix=fix).run()

    def stats(self) -> dict[str, Any]:
        """Return figures: ``database``, ``table``, how many ``columns`` and ``elements`` there are, and sizes in bytes.

        The lists of rows count too.

        SQLite: ``database_bytes``, of the file; ``wal_bytes``, of the file ``-wal`` beside it; ``free_bytes``, of
        pages in the file that are free. PostgreSQL: ``database_bytes``; ``table_bytes``, of the tables of columns
        without their indexes; ``index_bytes``.
        """
        binding = self._settled
        database = maintenance_of(binding)
        tables = self._tables()
        columns, elements = binding.one(CareStatements(database).counts)
        return {
            "database": display_name(binding.engine.url),
            "table": tables[0].name,
            "columns": int(columns),
            "elements": int(elements),
            **database.sizes(*tables),
        }

    def storage_info(self) -> dict[str, int]:
        """Return the sums of :meth:`Column.storage_info` over all columns, of one state, and how many ``columns``."""
        with self._one_state():
            infos = [column.storage_info() for column in self._every()]
        summed = ("elements", "blocks", "packed_bytes", "payload_bytes", "tail_bytes", "stored_bytes")
        return {"columns": len(infos), **{name: sum(info[name] for info in infos) for name in summed}}

    def vacuum(self) -> None:
        """Make columns and the database compact: small neighbouring blocks become one, missing summaries are made.

        Then see :meth:`~kohakuvault.container.Container.optimize`, which this raises as.

        Raises
        ------
        CorruptValue
            for a column that is damaged; see :meth:`check`.
        """
        binding = self._settled
        maintenance_of(binding).require_apart("vacuum()")
        for column in self._every():
            column._compact()
        self.optimize()
