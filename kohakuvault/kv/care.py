"""Looking after a KVault."""

from __future__ import annotations

from time import time
from typing import Any

from ..database_address import display_name
from ..maintenance import Problem, maintenance_of
from ..orm.tables import table_of
from .check import KVCheck
from .entries import KVEntries

__all__ = ["KVCare"]


class KVCare(KVEntries):
    """The part of :class:`~kohakuvault.KVault` that checks, counts and compacts."""

    def check(self, fix: bool = False) -> list[Problem]:
        """Look for whatever is wrong with the table; return it, an empty list if nothing is.

        That every key and value can be read and every column has values of its types; that the indexes exist and are
        sound, as far as the database can tell; foreign keys; the table's record in ``vault_table``. Every row is read,
        one by one. Pickles are read only where they are allowed, and are no problem elsewhere.

        Parameters
        ----------
        fix
            Make missing indexes, rebuild damaged ones, write a missing or damaged record anew, remove what has
            expired, and the bytes of streams that no entry names: what a ``put_file`` left whose process was killed.
            (One that is writing now raises :class:`StreamLost` then.) No other entry is removed or changed, whether
            it can be read or not.

        >>> from kohakuvault import KVault
        >>> KVault(":memory:").check()
        []
        """
        return self._check(fix=fix).run()

    def _check(self, **options: Any) -> KVCheck:
        table = table_of(self.entity)
        return KVCheck(self._settled, table, self._sql, self._streams, self.remove_expired, **options)

    def stats(self) -> dict[str, Any]:
        """Return figures: ``database``, ``table``, ``entries``, ``expired`` (and not yet removed) and sizes.

        Sizes are in bytes. SQLite: ``database_bytes``, of the file; ``wal_bytes``, of the file ``-wal`` beside it;
        ``free_bytes``, of pages in the file that are free. PostgreSQL: ``database_bytes``; ``table_bytes``, of the
        table without its indexes; ``index_bytes``.

        ``waiting`` entries and ``waiting_bytes`` are in the write cache; they are not among the ``entries``, unless
        those are there already. ``read_cache`` is None, why it is off, or its ``entries``, ``bytes``, ``hits`` and
        ``misses``.
        """
        binding = self.binding
        table = table_of(self.entity)
        entries, expired = binding.one(self._sql.counts, time())
        kept = self.read_cache
        return {
            "database": display_name(binding.engine.url),
            "table": table.name,
            "entries": int(entries),
            "expired": int(expired),
            **maintenance_of(binding).sizes(table),
            "waiting": self._writes.entries,
            "waiting_bytes": self._writes.waiting_bytes,
            "read_cache": kept and (kept.reason or kept.figures()),
        }

    def optimize(self) -> None:
        """Remove what has expired, then see :meth:`~kohakuvault.container.Container.optimize`."""
        maintenance_of(self.binding).require_apart("optimize()")
        self.remove_expired()
        super().optimize()
