"""Looking after the blocks of a column: summaries that are missing, and small neighbours that become one."""

from __future__ import annotations

from collections.abc import Iterable

from ..lending import DriverCursor
from .blocks import Blocks
from .care_statements import CareStatements
from .elements import reading_blocks
from .form import Form
from .statements import BlockStatements

__all__ = ["BlockCare"]

# Bytes in front of a block that has a checksum.
_CHECKSUM = 4


class BlockCare(Blocks):
    """The blocks of one column, seen by one cursor, whose row is locked."""

    def __init__(
        self, cursor: DriverCursor, sql: BlockStatements, column_id: int, form: Form, care: CareStatements
    ) -> None:
        super().__init__(cursor, sql, column_id, form)
        self._care = care

    def summarize(self, ids: Iterable[int]) -> None:
        """Write the summaries of blocks anew."""
        for block_id in ids:
            row = self._cursor.one(self._care.payload, block_id)
            if row is not None:
                count, stored = row
                with reading_blocks:
                    summary = self._form.summary(self._form.load(stored, count), count)
                self._cursor.run(self._care.set_summary, summary, block_id)

    def summarize_missing(self, after: int, many: int) -> int | None:
        """Summarize ``many`` blocks that have no summary, of those behind ``after``; return the last, None if none."""
        ids = [block_id for (block_id,) in self._cursor.all(self._care.without_summary, self._id, after, many)]
        self.summarize(ids)
        return ids[-1] if ids else None

    def packed_bytes(self) -> int:
        """Return the bytes of all elements before they are compressed; those of a compressed column are read."""
        head = self._cursor.one(self._sql.tail, self._id)
        length, sealed, _, stored = self._found(head)
        size = len(self._tail_run(sealed, length, stored).data)
        if self._form.compression is None:
            blocks, stored_bytes = self._cursor.one(self._care.totals, self._id)
            return size + int(stored_bytes) - (_CHECKSUM * int(blocks) if self._form.checksum else 0)
        place = 0
        while place < sealed:
            runs = [run for run in self.runs(place, place + 1) if run.id is not None]
            size += sum(len(run.data) for run in runs)
            place = runs[-1].end
        return size

    def merge_small(self) -> int:
        """Make one block of neighbours wherever they fit one; return how many fewer there are."""
        merged = end = 0
        size = self._elements.item_size or 0
        for (start,) in self._cursor.all(self._care.small, size, self._id, self._block_bytes):
            if start >= end:
                fewer, end = self._merge_from(start)
                merged += fewer
        return merged

    def _merge_from(self, start: int) -> tuple[int, int]:
        """Merge a block and those behind it that fit; return how many fewer there are, and where they end."""
        head = self.lock()
        group = self.runs(start, start + 1)
        size = len(group[0].data)
        while group[-1].end < head.sealed:
            (following,) = self.runs(group[-1].end, group[-1].end + 1)
            size += len(following.data)
            if size > self._block_bytes:
                break
            group.append(following)
        if len(group) > 1:
            blocks = self._joined([self._as_part(run) for run in group], self._block_bytes)
            self._replace(head, group, blocks)
        return len(group) - 1, group[-1].end
