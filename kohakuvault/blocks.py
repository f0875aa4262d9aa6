"""The blocks of a column: finding, reading and changing runs of packed elements in the database.

A column is a sequence of blocks. ``vault_block`` says where each begins and how many elements it has, and
``vault_payload`` holds its bytes, so that inserting in the middle rewrites one payload and shifts the small
rows of the later blocks. Every change first takes the column's row, which makes writers take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from .elements import Elements, Part
from .errors import CorruptValue, NotFound
from .lending import DriverCursor
from .orm.tables import Block, ColumnRecord, Payload, table_of
from .statements import Statement, insert_or_ignore

__all__ = ["BLOCK_BYTES", "BlockStatements", "Blocks", "block_statements"]

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
        return self._existing(self._cursor.one(self._sql.length, self._id)).length

    def read(self, start: int, stop: int) -> list[Part]:
        """Return the elements ``start`` to ``stop``, clipped to those that exist."""
        if stop <= start:
            return []
        return [
            (data, count, max(start - first, 0), min(stop - first, count))
            for first, count, data in self._cursor.all(self._sql.run, self._id, self._id, start, stop)
            if first + count > start
        ]

    def append(self, values: Any) -> None:
        """Add ``values``, which ``Elements.collect`` returned, at the end."""
        column = self.lock()
        last = self._last()
        room = max(column.block_bytes - last.size, 0) if last else 0
        packed = self._elements.pack(values, column.block_bytes, room)
        if not packed:
            return
        length, serial = column.length, column.last_block
        if last and last.count and last.size + len(packed[0][1]) <= column.block_bytes:
            count, data = packed.pop(0)
            if self._elements.item_size is None:
                old = self._cursor.one(self._sql.data, last.payload_id)[0]
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
        """Remove the column."""
        self.lock()
        self.clear()
        self._cursor.run(self._sql.delete_column, self._id)

    def clear(self) -> None:
        """Remove all elements."""
        column = self.lock()
        self._cursor.run(self._sql.clear_payloads, self._id * _SERIALS, (self._id + 1) * _SERIALS)
        self._cursor.run(self._sql.clear_blocks, self._id)
        self._cursor.run(self._sql.set_length, 0, column.last_block, self._id)

    # -- parts of the above --------------------------------------------------------------------

    def _splice(self, start: int, stop: int, values: Any) -> None:
        column = self._locked()
        if start == column.length:
            self.append(values)
            return
        codec = self._elements.codec
        old = [_Run(*row) for row in self._cursor.all(self._sql.run_ids, self._id, self._id, start, max(stop, start + 1))]
        first, last = old[0], old[-1]
        packed = self._elements.pack(values, column.block_bytes)
        added = sum(count for count, _ in packed) - (stop - start)
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

    def _at(self, index: int) -> _Place:
        row = self._cursor.one(self._sql.place, self._id, index)
        if row is None or index >= row[0] + row[1]:
            raise CorruptValue(f"column {self._id} has no block with element {index}, which its length includes")
        return _Place(*row)

    def _last(self) -> _Place | None:
        row = self._cursor.one(self._sql.place, self._id, 2**62)
        return None if row is None else _Place(*row)

    def lock(self) -> _Column:
        """Take the column's row, so that other writers wait, and return it."""
        return self._existing(self._cursor.one(self._sql.lock, self._id))

    def _locked(self) -> _Column:
        return self._existing(self._cursor.one(self._sql.length, self._id))

    def _existing(self, row: Any) -> _Column:
        if row is None:
            raise NotFound("the column has been deleted; look it up again by its name, or create it")
        return _Column(*row)


class _Column(NamedTuple):
    length: int
    last_block: int
    block_bytes: int


class _Place(NamedTuple):
    """A block without its bytes."""

    start: int
    count: int
    payload_id: int
    size: int


class _Run(NamedTuple):
    """A block with its bytes."""

    start: int
    count: int
    payload_id: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + self.count


_columns, _blocks, _payloads = table_of(ColumnRecord), table_of(Block), table_of(Payload)


class BlockStatements:
    """The statements on blocks, each compiled for one dialect when it is first needed."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    @cached_property
    def columns(self) -> Statement:
        return self._statement(select(_columns.c.name, _columns.c.dtype, _columns.c.length).order_by(_columns.c.id))

    @cached_property
    def column(self) -> Statement:
        named = _columns.c.name == bindparam("of_name", type_=_columns.c.name.type)
        return self._statement(select(_columns.c.id, _columns.c.dtype).where(named), "of_name")

    @cached_property
    def insert_column(self) -> Statement:
        new = insert_or_ignore(_columns, self._dialect).returning(_columns.c.id)
        return self._statement(new, "name", "dtype", "length", "block_bytes", "last_block")

    @cached_property
    def length(self) -> Statement:
        return self._statement(self._column_row, "of_id")

    @cached_property
    def lock(self) -> Statement:
        # A row lock on PostgreSQL; on SQLite the transaction has the write lock already.
        return self._statement(self._column_row.with_for_update(), "of_id")

    @cached_property
    def _column_row(self) -> Any:
        row = select(_columns.c.length, _columns.c.last_block, _columns.c.block_bytes)
        return row.where(_columns.c.id == _number("of_id"))

    def element(self, item_size: int | None) -> Statement:
        """Select ``start, count, data`` of the block with an element; of fixed size, only that element's bytes."""
        if item_size is None:
            return self._statement(self._floor(_payloads.c.data), "of_column", "index")
        # Of a block that ends before the element, the offset may not even be a 32-bit number.
        in_block = _blocks.c.start + _blocks.c.count > _number("index_end")
        offset = cast((_number("index_in") - _blocks.c.start) * item_size + 1, Integer)
        data = func.substr(_payloads.c.data, offset, item_size)
        return self._statement(self._floor(data).where(in_block), "index_in", "of_column", "index", "index_end")

    @cached_property
    def place(self) -> Statement:
        return self._statement(self._floor(_blocks.c.payload_id, func.length(_payloads.c.data)), "of_column", "index")

    def _floor(self, *columns: Any) -> Any:
        """Select the block that element ``index`` is in, or would be."""
        joined = _blocks.join(_payloads, _payloads.c.id == _blocks.c.payload_id)
        return (
            select(_blocks.c.start, _blocks.c.count, *columns)
            .select_from(joined)
            .where(_blocks.c.column_id == _number("of_column"), _blocks.c.start <= _number("index"))
            .order_by(_blocks.c.start.desc())
            .limit(1)
        )

    @cached_property
    def run(self) -> Statement:
        return self._statement(self._run(_payloads.c.data), "in_column", "of_column", "first", "stop")

    @cached_property
    def run_ids(self) -> Statement:
        columns = (_blocks.c.payload_id, _payloads.c.data)
        return self._statement(self._run(*columns), "in_column", "of_column", "first", "stop")

    def _run(self, *columns: Any) -> Any:
        """Select the blocks with elements ``first`` to ``stop``."""
        floor = (
            select(func.max(_blocks.c.start))
            .where(_blocks.c.column_id == _number("in_column"), _blocks.c.start <= _number("first"))
            .scalar_subquery()
        )
        joined = _blocks.join(_payloads, _payloads.c.id == _blocks.c.payload_id)
        return (
            select(_blocks.c.start, _blocks.c.count, *columns)
            .select_from(joined)
            .where(
                _blocks.c.column_id == _number("of_column"),
                _blocks.c.start >= floor,
                _blocks.c.start < _number("stop"),
            )
            .order_by(_blocks.c.start)
        )

    @cached_property
    def data(self) -> Statement:
        return self._statement(select(_payloads.c.data).where(_payloads.c.id == _number("of_id")), "of_id")

    @cached_property
    def set_data(self) -> Statement:
        return self._statement(self._update_data(_bytes("new")), "new", "of_id")

    @cached_property
    def extend_data(self) -> Statement:
        return self._statement(self._update_data(_concatenated(_payloads.c.data, _bytes("more"))), "more", "of_id")

    @cached_property
    def overlay(self) -> Statement:
        before = func.substr(_payloads.c.data, 1, bindparam("offset", type_=Integer()))
        after = func.substr(_payloads.c.data, bindparam("after", type_=Integer()))
        data = _concatenated(before, _bytes("new"), after)
        return self._statement(self._update_data(data), "offset", "new", "after", "of_id")

    @staticmethod
    def _update_data(data: ColumnElement[Any]) -> Any:
        return update(_payloads).where(_payloads.c.id == _number("of_id")).values(data=data)

    @cached_property
    def set_count(self) -> Statement:
        this = (_blocks.c.column_id == _number("of_column")) & (_blocks.c.start == _number("of_start"))
        changed = update(_blocks).where(this).values(count=bindparam("new", type_=Integer()))
        return self._statement(changed, "new", "of_column", "of_start")

    @cached_property
    def set_length(self) -> Statement:
        changed = (
            update(_columns)
            .where(_columns.c.id == _number("of_id"))
            .values(length=_number("new_length"), last_block=_number("new_last"))
        )
        return self._statement(changed, "new_length", "new_last", "of_id")

    @cached_property
    def shift_away(self) -> Statement:
        later = (_blocks.c.column_id == _number("of_column")) & (_blocks.c.start >= _number("from_start"))
        shifted = update(_blocks).where(later).values(start=-1 - (_blocks.c.start + _number("by")))
        return self._statement(shifted, "by", "of_column", "from_start")

    @cached_property
    def shift_back(self) -> Statement:
        away = (_blocks.c.column_id == _number("of_column")) & (_blocks.c.start < 0)
        return self._statement(update(_blocks).where(away).values(start=-1 - _blocks.c.start), "of_column")

    @cached_property
    def insert_block(self) -> Statement:
        return self._statement(insert(_blocks), "column_id", "start", "count", "payload_id")

    @cached_property
    def insert_payload(self) -> Statement:
        return self._statement(insert(_payloads), "id", "data")

    @cached_property
    def delete_blocks(self) -> Statement:
        these = _blocks.c.start.between(_number("first"), _number("last"))
        removal = delete(_blocks).where(_blocks.c.column_id == _number("of_column"), these)
        return self._statement(removal, "of_column", "first", "last")

    @cached_property
    def delete_payload(self) -> Statement:
        return self._statement(delete(_payloads).where(_payloads.c.id == _number("of_id")), "of_id")

    @cached_property
    def clear_blocks(self) -> Statement:
        return self._statement(delete(_blocks).where(_blocks.c.column_id == _number("of_column")), "of_column")

    @cached_property
    def clear_payloads(self) -> Statement:
        these = (_payloads.c.id > _number("after")) & (_payloads.c.id < _number("before"))
        return self._statement(delete(_payloads).where(these), "after", "before")

    @cached_property
    def delete_column(self) -> Statement:
        return self._statement(delete(_columns).where(_columns.c.id == _number("of_id")), "of_id")


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


def _bytes(name: str) -> Any:
    return bindparam(name, type_=LargeBinary())


def _concatenated(first: Any, *others: Any) -> ColumnElement[Any]:
    for other in others:
        first = first.op("||", return_type=LargeBinary())(other)
    # SQLite's || makes text of blobs; the bytes are the same.
    return cast(first, LargeBinary)


@lru_cache(maxsize=64)
def block_statements(dialect: Dialect) -> BlockStatements:
    """Return the statements for ``dialect``."""
    return BlockStatements(dialect)
