"""The blocks and the tail of a column: reading and changing runs of packed elements in the database.

A column is a sequence of blocks and, behind them, its tail. ``vault_block`` says where each block begins and how many
elements it has, and ``vault_payload`` holds its bytes, so that inserting in the middle rewrites one payload and shifts
the small rows of the later blocks. The tail has the elements that do not fill a block yet; it is part of the column's
own row, and becomes a block when it is full. Every change first takes that row, which makes writers take turns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from .._native import Gather
from ..binding import Binding
from ..errors import CorruptValue, DriverError, NotFound
from ..lending import DriverCursor
from .elements import PackedElements, Part, reading_blocks
from .form import LARGEST_BLOCK, Form
from .statements import SERIALS, BlockStatements

__all__ = ["Blocks", "Head", "Run"]

# Of a block: its elements, as packed.
Packed = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What the column's row says; ``tail`` as it is stored."""

    length: int
    sealed: int
    last_block: int
    tail: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """A block, or the tail as one: ``id`` is None then."""

    id: int | None
    start: int
    count: int
    data: bytes

    @property
    def end(self) -> int:
        """The element behind the last."""
        return self.start + self.count


class Blocks:
    """The blocks and tail of one column, seen by one cursor; or by a binding, for what is a single statement."""

    def __init__(self, cursor: DriverCursor | Binding, sql: BlockStatements, column_id: int, form: Form) -> None:
        self._cursor: Any = cursor
        self._sql = sql
        self._id = column_id
        self._form = form
        self._elements = form.elements
        self._codec = form.elements.codec
        self._block_bytes = form.block_bytes

    # -- reading -------------------------------------------------------------------------------

    def length(self, *, exact: bool = False) -> int:
        """Return how many elements the column has; raise :class:`NotFound` if the column is gone.

        Python takes memory for as many as it is told, so the tail has to be long enough for them. ``exact`` is for what
        counts from the end: where elements differ in size the tail is read, to see whether it has just as many.
        """
        length, sealed, tail_bytes = self._found(self._cursor.one(self._sql.length, self._id))
        self._check_ends(sealed, length)
        self._require(
            self._form.may_be_tail(length - sealed, tail_bytes),
            f"its tail of {tail_bytes} bytes does not have the elements {sealed} to {length}",
        )
        if exact and self._elements.item_size is None:
            length, sealed, _, tail = self._found(self._cursor.one(self._sql.tail, self._id))
            self._tail_run(sealed, length, tail)
        return int(length)

    def read(self, start: int, stop: int) -> list[Part]:
        """Return the elements ``start`` to ``stop``, clipped to those that exist."""
        return [
            (run.data, run.count, max(start - run.start, 0), min(stop - run.start, run.count))
            for run in self.runs(start, stop)
        ]

    def runs(self, start: int, stop: int) -> list[Run]:
        """Return the blocks, and the tail, with some of the elements ``start`` to ``stop``, checked to be all there."""
        rows = self._cursor.all(self._sql.runs, self._id, start, stop)
        (_, sealed, length, stored), rows = self._split(rows, start, stop)
        runs = []
        for block_id, begin, count, framed in rows:
            self._require(type(framed) is bytes, f"the block at element {begin} has no bytes")
            data = self._form.load(framed, count)
            size = self._elements.item_size
            self._require(
                size is None or len(data) == count * size,
                f"the block at element {begin} does not have the bytes of its {count} elements",
            )
            runs.append(Run(block_id, begin, count, data))
        if stored is not None and length > sealed and start < stop:
            runs.append(self._tail_run(sealed, length, stored))
        return runs

    def gather(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return the bytes of the elements ``start`` to ``stop``, of one size and stored as they are.

        All elements have to exist. Where the native extension is missing, see :meth:`read`.
        """
        size = self._form.direct_size
        assert size is not None
        # Before memory is taken for as many as the column's row says.
        (stored,) = self._found(self._cursor.one(self._sql.stored(size), self._id))
        self._require(type(stored) is int and stop <= stored, f"its blocks and tail end before element {stop}")
        out = np.empty((stop - start) * size, np.uint8)
        gather = Gather(out.data, size, start)
        try:
            row = self._cursor.one(self._sql.gather, gather.token, self._id, start, stop)
        except (CorruptValue, DriverError):
            # Says which block it is, if it is for a block.
            self.runs(start, stop)
            raise
        sealed, length, stored, _ = self._found(row)
        self._check_ends(sealed, length)
        self._require(
            gather.has_once(start, max(start, min(stop, sealed))),
            f"its blocks do not have all of the elements {start} to {min(stop, sealed)} once",
        )
        if stop > sealed:
            tail = self._tail_run(sealed, length, stored)
            first = max(start, sealed)
            data = memoryview(tail.data)[(first - sealed) * size : (stop - sealed) * size]
            out[(first - start) * size :] = np.frombuffer(data, np.uint8)
        return out

    def summaries(self, start: int, stop: int) -> list[tuple[int, int, bytes | None]]:
        """Return ``(start, count, summary)`` of the blocks with elements ``start`` to ``stop``."""
        rows = self._cursor.all(self._sql.summaries, self._id, start, stop)
        blocks = self._split(rows, start, stop)[1]
        return [(begin, count, self._form.load_summary(summary)) for _, begin, count, summary in blocks]

    # -- changing ------------------------------------------------------------------------------

    def lock(self) -> Head:
        """Take the column's row, so that other writers wait, and return it."""
        row = self._found(self._cursor.one(self._sql.head, self._id))
        *numbers, tail = row
        self._require(
            all(type(number) is int for number in numbers)
            and 0 <= row[1] <= row[0] < 2**62
            and 0 <= row[2] < SERIALS
            and type(tail) is bytes,
            f"its row in vault_column has length {row[0]!r}, sealed {row[1]!r}, last_block {row[2]!r} and as its tail "
            f"{type(tail).__name__}",
        )
        return Head(row[0], row[1], row[2], tail)

    def append(self, head: Head, values: Any) -> None:
        """Add ``values``, which ``Elements.collect`` returned or which are :class:`PackedElements`, at the end."""
        tail = self._tail_run(head.sealed, head.length, head.tail)
        if isinstance(values, PackedElements):
            parts = [self._as_part(tail), (values.count, values.data)]
            self._write_end(head, head.sealed, self._joined(parts, self._block_bytes))
            return
        room = max(self._block_bytes - len(tail.data), 0) if tail.count else 0
        packed = self._packed(values, room)
        if not packed:
            return
        if not tail.count:
            self._write_end(head, head.sealed, packed)
            return
        first = [(tail.count, tail.data)]
        if len(tail.data) + len(packed[0][1]) <= self._block_bytes:
            first.append(packed.pop(0))
        self._write_end(head, head.sealed, [*self._joined(first, LARGEST_BLOCK), *packed])

    def append_stream(self, count: int, stream: bytes) -> None:
        """Add ``count`` elements, packed as the tail has them, at the end."""
        room = self._block_bytes - len(stream)
        if self._form.is_plain and room >= 0 and self._cursor.run(self._sql.append, count, stream, self._id, room):
            return
        head = self.lock()
        tail = self._tail_run(head.sealed, head.length, head.tail)
        with reading_blocks:
            added = self._codec.from_stream(stream)
        self._write_end(head, head.sealed, self._joined([self._as_part(tail), added], self._block_bytes))

    def overwrite(self, head: Head, index: int, packed: bytes) -> None:
        """Replace element ``index``, which exists, where elements are stored as they are."""
        size = self._form.direct_size
        assert size is not None
        if index >= head.sealed:
            self._tail_run(head.sealed, head.length, head.tail)
            self._cursor.run(self._sql.set_tail_element(size), index, self._id, packed)
            return
        row = self._cursor.one(self._sql.place, index, self._id)
        self._require(
            row is not None and all(type(number) is int for number in row) and row[1] <= index < row[1] + row[2],
            f"no block has element {index}, which its length includes",
        )
        self._require(
            row[3] == row[2] * size,
            f"the block at element {row[1]} does not have the bytes of its {row[2]} elements",
        )
        self._cursor.run(self._sql.overlay(size), (index - row[1]) * size, packed, row[0])

    def scatter(self, head: Head, places: Sequence[int], values: Any) -> None:
        """Replace the elements at ``places``, which exist and ascend, by as many ``values``."""
        done = 0
        while done < len(places):
            run = self.runs(places[done], places[done] + 1)[-1]
            end = bisect_left(places, run.end, done)
            offsets = [place - run.start for place in places[done:end]]
            parts = self._scattered(run, offsets, self._packed(values[done:end]))
            if run.id is None:
                self._write_end(head, head.sealed, self._joined(parts, self._block_bytes))
            else:
                self._replace(head, [run], self._joined(parts, self._even(parts)))
            head = self.lock()
            done = end

    def _scattered(self, run: Run, offsets: Sequence[int], packed: Sequence[Packed]) -> list[Packed]:
        """Return the elements of ``run``, with those of ``packed`` in the places of those at ``offsets``."""
        size = self._elements.item_size
        if size is not None:
            data = bytearray(run.data)
            cells = np.frombuffer(data, np.uint8).reshape(run.count, size)
            cells[offsets] = np.frombuffer(b"".join(part for _, part in packed), np.uint8).reshape(-1, size)
            return [(run.count, data)]
        parts: list[Packed] = []
        kept = 0
        given = [(part, place) for part in packed for place in range(part[0])]
        for offset, ((count, data), place) in zip(offsets, given, strict=True):
            with reading_blocks:
                parts += [
                    (offset - kept, self._codec.slice(run.data, run.count, kept, offset)),
                    (1, self._codec.slice(data, count, place, place + 1)),
                ]
            kept = offset + 1
        return [*parts, self._behind(run, run.start + kept)]

    def splice(self, head: Head, start: int, stop: int, values: Any) -> None:
        """Replace the elements ``start`` to ``stop`` by ``values``, which ``Elements.collect`` returned."""
        if start == stop and not len(values):
            return
        if start == head.length:
            self.append(head, values)
        elif start >= head.sealed:
            self._splice_tail(head, start, stop, values)
        else:
            self._splice_blocks(head, start, stop, values)

    def clear(self) -> None:
        """Remove all elements."""
        head = self.lock()
        self._clear()
        self._cursor.run(self._sql.set_head, 0, 0, head.last_block, b"", self._id)

    def delete(self) -> None:
        """Remove the column, in whatever state it is."""
        self._cursor.one(self._sql.lock, self._id)
        self._clear()
        self._cursor.run(self._sql.delete_column, self._id)

    # -- parts of the above --------------------------------------------------------------------

    def _clear(self) -> None:
        self._cursor.run(self._sql.clear_payloads, self._id * SERIALS, (self._id + 1) * SERIALS)
        self._cursor.run(self._sql.clear_blocks, self._id)

    def _splice_tail(self, head: Head, start: int, stop: int, values: Any) -> None:
        tail = self._tail_run(head.sealed, head.length, head.tail)
        packed = self._packed(values)
        parts = [self._before(tail, start), *packed, self._behind(tail, stop)]
        self._write_end(head, head.sealed, self._joined(parts, self._block_bytes))

    def _splice_blocks(self, head: Head, start: int, stop: int, values: Any) -> None:
        old = self.runs(start, max(stop, start + 1))
        packed = self._packed(values)
        first, last = old[0], old[-1]
        parts = [self._before(first, start), *packed, self._behind(last, stop)]
        if last.id is None or last.end == head.sealed == stop:
            # Up to the end of the blocks, or into the tail: what is behind them becomes the end of the column.
            if last.id is not None and head.length > head.sealed:
                parts.append(self._as_part(self._tail_run(head.sealed, head.length, head.tail)))
            for run in old:
                self._remove(run)
            self._write_end(head, first.start, self._joined(parts, self._block_bytes))
            return
        parts = [part for part in parts if part[0]]
        old, parts = self._with_neighbour(head, old, parts)
        self._replace(head, old, self._joined(parts, self._even(parts)))

    def _with_neighbour(self, head: Head, old: list[Run], parts: list[Packed]) -> tuple[list[Run], list[Packed]]:
        """Add the next block, or the one before, if what is left of ``old`` is below half a block and fits there."""
        size = sum(len(data) for _, data in parts)
        if size >= self._block_bytes // 2:
            return old, parts
        if old[-1].end < head.sealed:
            (next_,) = self.runs(old[-1].end, old[-1].end + 1)
            if size + len(next_.data) <= self._block_bytes:
                return [*old, next_], [*parts, self._as_part(next_)]
        if old[0].start > 0:
            (before,) = self.runs(old[0].start - 1, old[0].start)
            if size + len(before.data) <= self._block_bytes:
                return [before, *old], [self._as_part(before), *parts]
        return old, parts

    def _replace(self, head: Head, old: list[Run], blocks: list[Packed]) -> None:
        """Put ``blocks`` in the place of ``old``, and shift the blocks behind."""
        added = sum(count for count, _ in blocks) - sum(run.count for run in old)
        if added:
            self._cursor.run(self._sql.shift, added, self._id, old[-1].end)
        position = old[0].start
        for run, (count, data) in zip(old, blocks, strict=False):
            self._cursor.run(self._sql.set_data, self._form.store(data), run.id)
            # After the data: the trigger has just forgotten the summary.
            self._cursor.run(self._sql.set_block, position, count, self._form.summary(data, count), run.id)
            position += count
        for run in old[len(blocks) :]:
            self._remove(run)
        _, serial = self._insert(blocks[len(old) :], position, head.last_block)
        if added or serial != head.last_block:
            self._cursor.run(self._sql.set_length, head.length + added, head.sealed + added, serial, self._id)

    def _write_end(self, head: Head, sealed: int, blocks: list[Packed]) -> None:
        """Write what the column has from ``sealed`` on: blocks, the last of them as the tail unless it is full."""
        count, data = 0, b""
        if blocks and not self._is_full(blocks[-1][1]):
            *blocks, (count, data) = blocks
        sealed, serial = self._insert(blocks, sealed, head.last_block)
        tail = self._form.store_tail(data, count)
        self._cursor.run(self._sql.set_head, sealed + count, sealed, serial, tail, self._id)

    def _is_full(self, data: Any) -> bool:
        size = self._elements.item_size
        return len(data) + (1 if size is None else size) > self._block_bytes

    def _insert(self, blocks: Sequence[Packed], start: int, serial: int) -> tuple[int, int]:
        """Insert new blocks from element ``start`` on; return where they end and the last serial number."""
        if not blocks:
            return start, serial
        last = serial + len(blocks)
        self._require(last < SERIALS, "it has had as many blocks as a column can have; copy it to a new one")
        ids = range(self._id * SERIALS + serial + 1, self._id * SERIALS + last + 1)
        store, summary = self._form.store, self._form.summary
        starts = accumulate((count for count, _ in blocks), initial=start)
        self._cursor.many(
            self._sql.insert_payload, ((block, store(data)) for block, (_, data) in zip(ids, blocks, strict=True))
        )
        self._cursor.many(
            self._sql.insert_block,
            (
                (block, self._id, begin, count, summary(data, count))
                for block, begin, (count, data) in zip(ids, starts, blocks, strict=False)
            ),
        )
        return start + sum(count for count, _ in blocks), last

    def _remove(self, run: Run) -> None:
        if run.id is not None:
            self._cursor.run(self._sql.delete_payload, run.id)
            self._cursor.run(self._sql.delete_block, run.id)

    def _packed(self, values: Any, room: int = 0) -> list[Packed]:
        """Return ``values`` as blocks; those of an array are views of it."""
        size = self._elements.item_size
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or size is None:
            return list(self._elements.pack(values, self._block_bytes, room))
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        full = max(self._block_bytes // size, 1) * size
        first = room // size * size or full
        ends = [min(first, len(data)), *range(first + full, len(data), full), len(data)]
        starts = [0, *ends[:-1]]
        return [
            ((end - start) // size, data[start:end]) for start, end in zip(starts, ends, strict=True) if end > start
        ]

    def _even(self, parts: Sequence[Packed]) -> int:
        """Return the bytes of blocks that ``parts`` fill evenly: a full one and a rest would become many small ones."""
        size = self._elements.item_size
        count = sum(count for count, _ in parts)
        total = sum(len(data) for _, data in parts)
        if size is not None:
            blocks = -(-count // max(self._block_bytes // size, 1))
            return -(-count // blocks) * size if blocks > 1 else self._block_bytes
        blocks = -(-total // self._block_bytes)
        if blocks < 2:
            return self._block_bytes
        # Elements of different sizes do not fill them exactly.
        return min(self._block_bytes, -(-total // blocks) + 2 * total // count)

    def _joined(self, parts: Sequence[Packed], block_bytes: int) -> list[Packed]:
        with reading_blocks:
            return list(self._codec.join([part for part in parts if part[0]], block_bytes))

    def _before(self, run: Run, index: int) -> Packed:
        return self._sliced(run, 0, index - run.start)

    def _behind(self, run: Run, index: int) -> Packed:
        return self._sliced(run, index - run.start, run.count)

    def _sliced(self, run: Run, start: int, stop: int) -> Packed:
        with reading_blocks:
            return stop - start, self._codec.slice(run.data, run.count, start, stop)

    @staticmethod
    def _as_part(run: Run) -> Packed:
        return run.count, run.data

    def _tail_run(self, sealed: int, length: int, stored: Any) -> Run:
        self._require(type(stored) is bytes, "its tail has no bytes")
        count, data = self._form.load_tail(stored)
        self._require(
            count == length - sealed, f"its tail has {count} elements rather than those from {sealed} to {length}"
        )
        return Run(None, sealed, count, data)

    def _split(self, rows: Sequence[Any], start: int, stop: int) -> tuple[Any, list[Any]]:
        """Return the column's row, and in order those of the blocks with the elements ``start`` to ``stop``."""
        column = self._found(next((row for row in rows if row[0] is None), None))
        _, sealed, length, _ = column
        self._check_ends(sealed, length)
        blocks = sorted((row for row in rows if row[0] is not None), key=lambda row: row[1])
        place = None
        for _, begin, count, _ in blocks:
            self._require(
                type(begin) is int and type(count) is int and count > 0 and place in (None, begin) and begin >= 0,
                f"the blocks around element {place if place is not None else begin!r} leave a gap or overlap",
            )
            place = begin + count
        if start < stop and start < sealed:
            self._require(
                place is not None and blocks[0][1] <= start and min(stop, sealed) <= place <= sealed,
                f"its blocks do not have all of the elements {start} to {min(stop, sealed)}",
            )
        return column, blocks

    def _check_ends(self, sealed: Any, length: Any) -> None:
        self._require(
            type(sealed) is int and type(length) is int and 0 <= sealed <= length < 2**62,
            f"its row in vault_column has length {length!r} and sealed {sealed!r}",
        )

    def _found(self, row: Any) -> Any:
        if row is None:
            raise NotFound("the column has been deleted; look it up again by its name, or create it")
        return row

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise CorruptValue(
                f"the column with id {self._id} is damaged: {otherwise}. Its tables were changed by something else"
            )
