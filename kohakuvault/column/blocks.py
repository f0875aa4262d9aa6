"""The blocks of a column: finding, reading and changing runs of packed elements in the database.

A column is a sequence of blocks. ``vault_block`` says where each begins and how many elements it has, and
``vault_payload`` holds its bytes, so that inserting in the middle rewrites one payload and shifts the small
rows of the later blocks. Every change first takes the column's row, which makes writers take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CorruptValue, NotFound
from ..lending import DriverCursor
from .elements import Elements, Part, reading_blocks
from .statements import BlockStatements

__all__ = ["BLOCK_BYTES", "Blocks"]

# A block and its row header fill one 16 KiB page, so that a point read touches no overflow page.
BLOCK_BYTES = 16_000

_SERIALS = 2**32  # payload ids of one column


class Blocks:
    """The blocks of one column, seen by one cursor."""

    def __init__(self, cursor: DriverCursor, sql: BlockStatements, column_id: int, elements: Elements) -> None:
        self._cursor = cursor
        self._sql = sql
        self._id = column_id
        self._elements = elements

    def length(self) -> int:
        """Return how many elements the column has; raise :class:`NotFound` if the column is gone."""
        return self._column(self._cursor.one(self._sql.length, self._id)).length

    def read(self, start: int, stop: int) -> list[Part]:
        """Return the elements ``start`` to ``stop``, clipped to those that exist."""
        if stop <= start:
            return []
        return [
            (run.data, run.count, max(start - run.start, 0), min(stop - run.start, run.count))
            for run in self._runs(start, stop)
            if run.end > start
        ]

    def append(self, values: Any) -> None:
        """Add ``values``, which ``Elements.collect`` returned, at the end."""
        column = self.lock()
        last = self._last(column.length)
        room = max(column.block_bytes - last.size, 0) if last else 0
        packed = self._elements.pack(values, column.block_bytes, room)
        if not packed:
            return
        length, serial = column.length, column.last_block
        if last and last.size + len(packed[0][1]) <= column.block_bytes:
            count, data = packed.pop(0)
            if self._elements.item_size is None:
                old = self._cursor.one(self._sql.data, last.payload_id)[0]
                with reading_blocks():
                    ((_, data),) = self._elements.codec.join([(last.count, old), (count, data)], 2**32 - 1)
                self._cursor.run(self._sql.set_data, data, last.payload_id)
            else:
                self._cursor.run(self._sql.extend_data, data, last.payload_id)
            self._cursor.run(self._sql.set_count, last.count + count, self._id, last.start)
            length += count
        length, serial = self._insert(packed, length, serial)
        self._cursor.run(self._sql.set_length, length, serial, self._id)

    def overwrite(self, index: int, value: Any) -> None:
        """Replace element ``index``, which exists."""
        packed = self._elements.pack_one(value)
        self.lock()
        size = self._elements.item_size
        if size is None:
            self._splice(index, index + 1, [value])
            return
        found = self._at(index)
        offset = (index - found.start) * size
        self._cursor.run(self._sql.overlay, offset, packed, offset + size + 1, found.payload_id)

    def splice(self, start: int, stop: int, values: Any) -> None:
        """Replace the elements ``start`` to ``stop`` by ``values``, which ``Elements.collect`` returned."""
        self.lock()
        self._splice(start, stop, values)

    def delete(self) -> None:
        """Remove the column, in whatever state it is."""
        self._cursor.one(self._sql.lock, self._id)
        self._clear()
        self._cursor.run(self._sql.delete_column, self._id)

    def clear(self) -> None:
        """Remove all elements."""
        column = self.lock()
        self._clear()
        self._cursor.run(self._sql.set_length, 0, column.last_block, self._id)

    # -- parts of the above --------------------------------------------------------------------

    def _clear(self) -> None:
        self._cursor.run(self._sql.clear_payloads, self._id * _SERIALS, (self._id + 1) * _SERIALS)
        self._cursor.run(self._sql.clear_blocks, self._id)

    def _splice(self, start: int, stop: int, values: Any) -> None:
        column = self._column(self._cursor.one(self._sql.length, self._id))
        if start == column.length:
            self.append(values)
            return
        codec = self._elements.codec
        old = self._runs(start, max(stop, start + 1))
        first, last = old[0], old[-1]
        packed = self._elements.pack(values, column.block_bytes)
        added = sum(count for count, _ in packed) - (stop - start)
        with reading_blocks():
            parts = [
                (start - first.start, codec.slice(first.data, first.count, 0, start - first.start)),
                *packed,
                (last.end - stop, codec.slice(last.data, last.count, stop - last.start, last.count)),
            ]
            blocks = codec.join([part for part in parts if part[0]], column.block_bytes)

        self._cursor.run(self._sql.delete_blocks, self._id, first.start, last.start)
        if added:
            # In two steps: a shifted block may not meet the next one, which has not been shifted yet.
            self._cursor.run(self._sql.shift_away, added, self._id, last.end)
            self._cursor.run(self._sql.shift_back, self._id)
        position = first.start
        for run, (count, data) in zip(old, blocks, strict=False):
            self._cursor.run(self._sql.set_data, data, run.payload_id)
            self._cursor.run(self._sql.insert_block, self._id, position, count, run.payload_id)
            position += count
        for run in old[len(blocks) :]:
            self._cursor.run(self._sql.delete_payload, run.payload_id)
        _, serial = self._insert(blocks[len(old) :], position, column.last_block)
        self._cursor.run(self._sql.set_length, column.length + added, serial, self._id)

    def _insert(self, blocks: Sequence[tuple[int, bytes]], start: int, serial: int) -> tuple[int, int]:
        """Insert new blocks from element ``start`` on; return where they end and the last serial number."""
        if not blocks:
            return start, serial
        rows, payloads = [], []
        for count, data in blocks:
            serial += 1
            payload_id = self._id * _SERIALS + serial
            payloads.append((payload_id, data))
            rows.append((self._id, start, count, payload_id))
            start += count
        self._cursor.many(self._sql.insert_payload, payloads)
        self._cursor.many(self._sql.insert_block, rows)
        return start, serial

    def _runs(self, start: int, stop: int) -> list[_Run]:
        """Return the blocks with the elements ``start`` to ``stop``, checked to be all there."""
        rows = self._cursor.all(self._sql.run, self._id, self._id, self._id, start, stop)
        if not rows:
            length = self.length()
            self._require(length <= start, f"no block has element {start}, which its length {length} includes")
            return []
        size = self._elements.item_size
        length = rows[0][-1]
        runs = [_Run(*row[:-1]) for row in rows]
        place = runs[0].start
        self._require(type(place) is int and place >= 0, f"a block begins at {place!r}")
        for run in runs:
            self._require(
                run.start == place and type(run.count) is int and run.count > 0,
                f"the blocks around element {place} leave a gap or overlap",
            )
            self._require(
                type(run.data) is bytes and (size is None or len(run.data) == run.count * size),
                f"the block at element {place} does not have the bytes of its {run.count} elements",
            )
            place = run.end
        self._require(
            type(length) is int and min(stop, length) <= place <= length,
            f"its blocks end at element {place} and its length is {length!r}",
        )
        return runs

    def _at(self, index: int) -> _Place:
        return self._place(self._cursor.one(self._sql.place, self._id, index), index)

    def _last(self, length: int) -> _Place | None:
        row = self._cursor.one(self._sql.place, self._id, 2**62)
        if row is None and length == 0:
            return None
        last = self._place(row, length - 1)
        self._require(last.start + last.count == length, f"its blocks do not end where its length {length} says")
        return last

    def _place(self, row: Any, index: int) -> _Place:
        size = self._elements.item_size
        self._require(
            row is not None and all(type(number) is int for number in row) and row[0] <= index < row[0] + row[1],
            f"no block has element {index}, which its length includes",
        )
        place = _Place(*row)
        self._require(
            size is None or place.size == place.count * size,
            f"the block at element {place.start} does not have the bytes of its {place.count} elements",
        )
        return place

    def lock(self) -> _Column:
        """Take the column's row, so that other writers wait, and return it."""
        return self._column(self._cursor.one(self._sql.lock, self._id))

    def _column(self, row: Any) -> _Column:
        if row is None:
            raise NotFound("the column has been deleted; look it up again by its name, or create it")
        self._require(
            all(type(number) is int for number in row)
            and 0 <= row[0] < 2**62
            and 0 <= row[1] < _SERIALS
            and 0 < row[2] < 2**31,
            f"its row in vault_column has length {row[0]!r}, last_block {row[1]!r} and block_bytes {row[2]!r}",
        )
        return _Column(*row)

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise CorruptValue(
                f"the column with id {self._id} is damaged: {otherwise}. Its tables were changed by something else"
            )


@dataclass(frozen=True, slots=True)
class _Column:
    length: int
    last_block: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A block without its bytes."""

    start: int
    count: int
    payload_id: int
    size: int


@dataclass(frozen=True, slots=True)
class _Run:
    """A block with its bytes."""

    start: int
    count: int
    payload_id: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + self.count
