"""The SQL of looking after columns: reading every block with what is known of it, and what belongs to none."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, Integer, LargeBinary, bindparam, case, cast, delete, func, or_, select, update

from ..maintenance.base import Maintenance
from ..orm.tables import Block, ColumnRecord, Payload, table_of
from ..statements import Statement
from .statements import SERIALS

__all__ = ["CareStatements"]

_columns, _blocks, _payloads = table_of(ColumnRecord), table_of(Block), table_of(Payload)
_stored = _blocks.join(_payloads, _payloads.c.id == _blocks.c.id)


class CareStatements:
    """The statements, for one database."""

    def __init__(self, database: Maintenance) -> None:
        self._database = database
        self._dialect = database.binding.dialect

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    @cached_property
    def ids(self) -> Statement:
        """Select the id of every column."""
        return self._statement(select(_columns.c.id).order_by(_columns.c.id))

    @cached_property
    def state(self) -> Statement:
        """Select the row of a column, but its tail: as ``ColumnState`` has it."""
        c = _columns.c
        row = select(c.id, c.name, c.dtype, c.block_bytes, c.compression, c.checksum, c.length, c.sealed, c.last_block)
        return self._statement(row.where(c.id == _number("of_id")), "of_id")

    @cached_property
    def tail(self) -> Statement:
        """Select the tail of a column, and its storage class."""
        tail = _columns.c.tail
        found = select(self._database.storage_class(tail), self._database.readable(tail))
        return self._statement(found.where(_columns.c.id == _number("of_id")), "of_id")

    @cached_property
    def blocks(self) -> Statement:
        """Select ``id``, ``start``, ``count``, summary, storage class of the payload, and payload, by ``id``."""
        data = _payloads.c.data
        found = (
            select(
                _blocks.c.id,
                _blocks.c.start,
                _blocks.c.count,
                _blocks.c.summary,
                self._database.storage_class(data),
                self._database.readable(data),
            )
            .select_from(_blocks.outerjoin(_payloads, _payloads.c.id == _blocks.c.id))
            .where(_blocks.c.column_id == _number("of_column"), _blocks.c.id > _number("after"))
            .order_by(_blocks.c.id)
            .limit(bindparam("many", type_=Integer()))
        )
        return self._statement(found, "of_column", "after", "many")

    @cached_property
    def breaks(self) -> Statement:
        """Select ``start`` and where it should be, of the first blocks of a column that do not begin there."""
        end = func.lag(_blocks.c.start + _blocks.c.count, 1, cast(0, BigInteger))
        expected = end.over(order_by=(_blocks.c.start, _blocks.c.id)).label("expected")
        of_column = _blocks.c.column_id == _number("of_column")
        places = select(_blocks.c.start, _blocks.c.count, expected).where(of_column).subquery()
        wrong = or_(places.c.start != places.c.expected, places.c.count < 1)
        found = select(places.c.start, places.c.expected).where(wrong).order_by(places.c.start).limit(10)
        return self._statement(found, "of_column")

    @cached_property
    def totals(self) -> Statement:
        """Select how many blocks a column has, and the bytes that are stored for them."""
        size = func.coalesce(func.sum(func.length(_payloads.c.data)), 0)
        found = select(func.count(), size).select_from(_stored)
        return self._statement(found.where(_blocks.c.column_id == _number("of_column")), "of_column")

    @cached_property
    def length_and_tail(self) -> Statement:
        """Select the length of a column, and the bytes of its tail."""
        c = _columns.c
        return self._statement(select(c.length, func.length(c.tail)).where(c.id == _number("of_id")), "of_id")

    @cached_property
    def counts(self) -> Statement:
        """Select how many columns there are, and their elements."""
        return self._statement(
            select(func.count(), func.coalesce(func.sum(_columns.c.length), 0)).select_from(_columns)
        )

    @cached_property
    def misplaced(self) -> Statement:
        """Select ``id`` and ``column_id`` of the first blocks whose id is of another column."""
        low = _blocks.c.column_id * SERIALS
        wrong = or_(_blocks.c.id < low, _blocks.c.id >= low + SERIALS)
        return self._statement(select(_blocks.c.id, _blocks.c.column_id).where(wrong).limit(10))

    @cached_property
    def orphans(self) -> Statement:
        """Select how many payloads from ``low`` to ``high`` no block names, and their bytes."""
        size = func.coalesce(func.sum(func.length(_payloads.c.data)), 0)
        return self._statement(select(func.count(), size).select_from(_payloads).where(*_nameless()), "low", "high")

    @cached_property
    def delete_orphans(self) -> Statement:
        return self._statement(delete(_payloads).where(*_nameless()), "low", "high")

    @cached_property
    def payload(self) -> Statement:
        """Select the elements of a block, and its payload."""
        found = select(_blocks.c.count, _payloads.c.data).select_from(_stored).where(_blocks.c.id == _number("of_id"))
        return self._statement(found, "of_id")

    @cached_property
    def set_summary(self) -> Statement:
        changed = update(_blocks).where(_blocks.c.id == _number("of_id"))
        changed = changed.values(summary=bindparam("new", type_=LargeBinary()))
        return self._statement(changed, "new", "of_id")

    @cached_property
    def without_summary(self) -> Statement:
        """Select the first ids of a column's blocks that have no summary."""
        found = select(_blocks.c.id).where(_blocks.c.column_id == _number("of_column"), _blocks.c.summary.is_(None))
        found = found.where(_blocks.c.id > _number("after")).order_by(_blocks.c.id)
        return self._statement(found.limit(bindparam("many", type_=Integer())), "of_column", "after", "many")

    @cached_property
    def small(self) -> Statement:
        """Select where blocks begin that would fit one of ``most`` bytes with the next one.

        By their elements of ``size`` bytes each, or the bytes that are stored if that is 0.
        """
        size = _number("size")
        bytes_ = case((size > 0, _blocks.c.count * size), else_=cast(func.length(_payloads.c.data), BigInteger))
        in_order = (_blocks.c.start, _blocks.c.id)
        next_ = func.lead(bytes_).over(order_by=in_order).label("next")
        of_column = _blocks.c.column_id == _number("of_column")
        blocks = select(_blocks.c.start, bytes_.label("bytes"), next_).select_from(_stored).where(of_column).subquery()
        found = select(blocks.c.start).where(blocks.c.bytes + blocks.c.next <= _number("most"))
        return self._statement(found.order_by(blocks.c.start), "size", "of_column", "most")


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


def _nameless() -> list[Any]:
    named = select(_blocks.c.id).where(_blocks.c.id == _payloads.c.id).exists()
    return [_payloads.c.id >= _number("low"), _payloads.c.id < _number("high"), ~named]
