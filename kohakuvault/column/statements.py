"""The SQL of a column's blocks, written once in Core and compiled for each dialect when it is first needed."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

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

from ..orm.tables import Block, ColumnRecord, Payload, table_of
from ..statements import Statement, insert_or_ignore

__all__ = ["BlockStatements", "block_statements"]

_columns, _blocks, _payloads = table_of(ColumnRecord), table_of(Block), table_of(Payload)


class BlockStatements:
    """The statements on columns and their blocks, for one dialect."""

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
        """Select ``start, count, size, data`` of the block with an element; of fixed size, only the element's bytes."""
        length = func.length(_payloads.c.data)
        if item_size is None:
            return self._statement(self._floor(length, _payloads.c.data), "of_column", "index")
        # Of a block that ends before the element, the offset may not even be a 32-bit number.
        in_block = _blocks.c.start + _blocks.c.count > _number("index_end")
        offset = cast((_number("index_in") - _blocks.c.start) * item_size + 1, Integer)
        data = func.substr(_payloads.c.data, offset, item_size)
        return self._statement(self._floor(length, data).where(in_block), "index_in", "of_column", "index", "index_end")

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
        """Select ``start, count, payload_id, data, length of the column`` of blocks with ``first`` to ``stop``."""
        floor = (
            select(func.max(_blocks.c.start))
            .where(_blocks.c.column_id == _number("in_column"), _blocks.c.start <= _number("first"))
            .scalar_subquery()
        )
        length = select(_columns.c.length).where(_columns.c.id == _number("length_of")).scalar_subquery()
        joined = _blocks.join(_payloads, _payloads.c.id == _blocks.c.payload_id)
        run = (
            select(_blocks.c.start, _blocks.c.count, _blocks.c.payload_id, _payloads.c.data, length)
            .select_from(joined)
            .where(
                _blocks.c.column_id == _number("of_column"),
                _blocks.c.start >= floor,
                _blocks.c.start < _number("stop"),
            )
            .order_by(_blocks.c.start)
        )
        return self._statement(run, "length_of", "in_column", "of_column", "first", "stop")

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
