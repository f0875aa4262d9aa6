"""Looking after one column: checks, figures, and making it compact."""

from __future__ import annotations

from typing import Any

from ..errors import NotFound
from ..maintenance import Problem, maintenance_of
from .block_care import BlockCare
from .care_statements import CareStatements
from .check import ColumnCheck, ColumnState
from .reading import ColumnReading

__all__ = ["ColumnCare"]

# Blocks that are summarized in one transaction.
_MANY = 64


class ColumnCare(ColumnReading):
    """The part of :class:`~kohakuvault.Column` that checks and counts."""

    def check(self) -> list[Problem]:
        """Read the whole column and look for whatever is wrong with it; return it, an empty list if nothing is.

        See :meth:`ColumnVault.check`, which can also repair.
        """
        whats: list[str] = []
        with self._vault._one_state():
            binding = self.binding
            database = maintenance_of(binding)
            sql = CareStatements(database)
            row = binding.one(sql.state, self._id)
            if row is None:
                raise NotFound(f"column {self.name!r} has been deleted; look it up again by its name, or create it")
            check = ColumnCheck(binding, database, sql, ColumnState(*row), whats.append)
            check.run()
            check.check_orphans()
        whats += [] if check.summary_problem is None else [check.summary_problem]
        return [Problem(what, self.name, of="column") for what in whats]

    def storage_info(self) -> dict[str, Any]:
        """Return figures about how the column is stored, of one state.

        ``elements`` and ``blocks``; ``packed_bytes``, of all elements before they are compressed; ``payload_bytes``, of
        the blocks as they are stored; ``tail_bytes``, of the elements that fill no block yet; ``stored_bytes``, of
        both; and the options ``block_bytes``, ``compression`` (None, ``"zstd:3"``) and ``checksum``. Of a compressed
        column whose elements vary in size every block is read.
        """
        with self._vault._one_state():
            binding, form = self.binding, self._form
            sql = CareStatements(maintenance_of(binding))
            row = binding.one(sql.length_and_tail, self._id)
            if row is None:
                raise NotFound(f"column {self.name!r} has been deleted; look it up again by its name, or create it")
            length, tail_bytes = row
            blocks, payload_bytes = map(int, binding.one(sql.totals, self._id))
            size = form.elements.item_size
            packed_bytes = self._packed_bytes(sql) if size is None else length * size
        return {
            "elements": length,
            "blocks": blocks,
            "packed_bytes": packed_bytes,
            "payload_bytes": payload_bytes,
            "tail_bytes": tail_bytes,
            "stored_bytes": payload_bytes + tail_bytes,
            "block_bytes": form.block_bytes,
            "compression": None if form.compression is None else f"zstd:{form.compression}",
            "checksum": form.checksum,
        }

    def _mean_bytes(self) -> int:
        """Return at most how many bytes an element has in the mean, without reading the blocks."""
        binding = self._settled
        sql = CareStatements(maintenance_of(binding))
        blocks, payload_bytes = map(int, binding.one(sql.totals, self._id))
        if self._form.compression is not None:
            payload_bytes = max(payload_bytes, blocks * self._form.block_bytes)
        length, tail_bytes = binding.one(sql.length_and_tail, self._id) or (0, 0)
        return -(-(payload_bytes + tail_bytes) // max(length, 1))

    def _compact(self) -> None:
        """Merge small blocks, and summarize those that have no summary, some in each transaction."""
        binding = self._settled
        sql = CareStatements(maintenance_of(binding))
        with binding.writing() as cursor:
            care = BlockCare(cursor, self._sql, self._id, self._form, sql)
            care.lock()
            care.merge_small()
        last: int | None = -1 if self._has_summaries else None
        while last is not None:
            with binding.writing() as cursor:
                care = BlockCare(cursor, self._sql, self._id, self._form, sql)
                care.lock()
                last = care.summarize_missing(last, _MANY)

    @property
    def _has_summaries(self) -> bool:
        elements = self._elements
        return elements.array_dtype is not None and not elements.codec.is_vector

    def _packed_bytes(self, sql: CareStatements) -> int:
        """Return the bytes of all elements, which vary in size, as they are packed."""
        form = self._form
        with self._settled.reading() as cursor:
            blocks = BlockCare(cursor, self._sql, self._id, form, sql)
            return blocks.packed_bytes()
