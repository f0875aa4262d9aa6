"""The SQL of columns and their blocks, written once in Core and compiled for each dialect when it is first needed."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.engine import Dialect

from ..orm.tables import Block, ColumnRecord, Payload, table_of
from ..statements import Statement, insert_or_ignore

__all__ = ["SERIALS", "BlockStatements", "block_statements"]

# Block ids of one column: `column id * SERIALS + serial number`.
SERIALS = 2**32

_columns, _blocks, _payloads = table_of(ColumnRecord), table_of(Block), table_of(Payload)
_stored = _blocks.join(_payloads, _payloads.c.id == _blocks.c.id)


class BlockStatements:
    """The statements on columns and their blocks, for one dialect.

    Attributes
    ----------
    takes_turns
        Whether a statement that writes sees what was committed before it, as whoever writes is alone: on SQLite.
        Elsewhere the column's row has to be locked by a statement before.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.takes_turns = dialect.name == "sqlite"
        self._by_size: dict[tuple[str, int], Statement] = {}

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    # -- columns -------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> Statement:
        c = _columns.c
        named = select(c.name, c.dtype, c.length).where(c.name.is_not(None))
        return self._statement(named.order_by(c.id))

    @cached_property
    def names(self) -> Statement:
        return self._statement(select(_columns.c.name).where(_columns.c.name.is_not(None)).order_by(_columns.c.id))

    @cached_property
    def nameless(self) -> Statement:
        """Select the ids of the lists that rows own."""
        return self._statement(select(_columns.c.id).where(_columns.c.name.is_(None)).order_by(_columns.c.id))

    @cached_property
    def column(self) -> Statement:
        named = _columns.c.name == bindparam("of_name", type_=_columns.c.name.type)
        c = _columns.c
        found = select(c.id, c.dtype, c.block_bytes, c.compression, c.checksum).where(named)
        return self._statement(found, "of_name")

    @cached_property
    def column_of_id(self) -> Statement:
        c = _columns.c
        found = select(c.name, c.dtype, c.block_bytes, c.compression, c.checksum).where(c.id == _number("of_id"))
        return self._statement(found, "of_id")

    @cached_property
    def insert_column(self) -> Statement:
        new = insert_or_ignore(_columns, self._dialect).returning(_columns.c.id)
        names = ("name", "dtype", "length", "sealed", "block_bytes", "last_block", "compression", "checksum", "tail")
        return self._statement(new, *names)

    @cached_property
    def rename_column(self) -> Statement:
        new = bindparam("new_name", type_=_columns.c.name.type)
        return self._statement(self._update_column(name=new), "new_name", "of_id")

    @cached_property
    def delete_column(self) -> Statement:
        return self._statement(delete(_columns).where(_columns.c.id == _number("of_id")), "of_id")

    @cached_property
    def length(self) -> Statement:
        """Select ``length``, ``sealed`` and the bytes of the tail."""
        c = _columns.c
        found = select(c.length, c.sealed, func.length(c.tail)).where(c.id == _number("of_id"))
        return self._statement(found, "of_id")

    @cached_property
    def lock(self) -> Statement:
        """Lock the column's row as :attr:`head` does, whatever is in it."""
        return self._statement(
            select(_columns.c.id).where(_columns.c.id == _number("of_id")).with_for_update(), "of_id"
        )

    @cached_property
    def head(self) -> Statement:
        """Select what is known of the column, and its tail; lock it, so that other writers wait."""
        # A row lock on PostgreSQL; on SQLite the transaction has the write lock already.
        head = self._column_row(_columns.c.tail).with_for_update()
        return self._statement(head, "of_id")

    @staticmethod
    def _column_row(tail: Any) -> Any:
        c = _columns.c
        return select(c.length, c.sealed, c.last_block, tail).where(c.id == _number("of_id"))

    @cached_property
    def set_head(self) -> Statement:
        new = self._update_column(
            length=_number("new_length"),
            sealed=_number("new_sealed"),
            last_block=_number("new_last"),
            tail=_bytes("new_tail"),
        )
        return self._statement(new, "new_length", "new_sealed", "new_last", "new_tail", "of_id")

    @cached_property
    def set_length(self) -> Statement:
        """Update all of :attr:`set_head` but the tail."""
        new = self._update_column(
            length=_number("new_length"), sealed=_number("new_sealed"), last_block=_number("new_last")
        )
        return self._statement(new, "new_length", "new_sealed", "new_last", "of_id")

    @cached_property
    def append(self) -> Statement:
        """Add ``more`` bytes, which are ``added`` elements, to the tail if that has at most ``most`` bytes yet."""
        fits = func.length(_columns.c.tail) <= bindparam("most", type_=Integer())
        longer = self._update_column(
            length=_columns.c.length + _number("added"), tail=_concatenated(_columns.c.tail, _bytes("more"))
        ).where(fits)
        return self._statement(longer, "added", "more", "of_id", "most")

    @staticmethod
    def _update_column(**values: Any) -> Any:
        return update(_columns).where(_columns.c.id == _number("of_id")).values(**values)

    # -- single elements, of one size, which the stored bytes hold as they are ----------------------

    def element(self, size: int) -> Statement:
        """Select the bytes of element ``index``, if a block has it."""
        return self._of_size("element", size)

    def _element(self, size: int) -> Statement:
        data = func.substr(_payloads.c.data, _offset(_blocks.c.start, size) + _constant(1), _constant(size))
        return self._statement(self._floor(_in_block(data, size)), "index", "of_column")

    def piece(self, size: int) -> Statement:
        """Select the bytes of the elements from ``index`` on, ``many`` bytes or fewer, if a block has the first."""
        return self._of_size("piece", size)

    def _piece(self, size: int) -> Statement:
        many = bindparam("many", type_=Integer())
        data = func.substr(_payloads.c.data, _offset(_blocks.c.start, size) + _constant(1), many)
        return self._statement(self._floor(_in_block(data, size)), "index", "of_column", "many")

    def tail_element(self, size: int) -> Statement:
        """Select the bytes of element ``index``, if the tail has it; of a negative one from the end."""
        return self._of_size("tail_element", size)

    def _tail_element(self, size: int) -> Statement:
        index = case((_number("index") < _constant(0), _number("index") + _columns.c.length), else_=_number("index"))
        offset = cast((index - _columns.c.sealed) * _constant(size) + _constant(1), Integer)
        data = func.substr(_columns.c.tail, offset, _constant(size))
        found = select(data).where(
            _columns.c.id == _number("of_id"),
            index >= _columns.c.sealed,
            index < _columns.c.length,
            func.length(_columns.c.tail) == (_columns.c.length - _columns.c.sealed) * _constant(size),
        )
        return self._statement(found, "index", "of_id")

    def set_element(self, size: int) -> Statement:
        """Overwrite element ``index``, if a block has it. Only where writers take turns."""
        return self._of_size("set_element", size)

    def _set_element(self, size: int) -> Statement:
        start = self._floor_of(_blocks.c.start).scalar_subquery()
        place = self._floor_of(_in_block(_blocks.c.id)).scalar_subquery()
        offset = _offset(start, size)
        data = _overlaid(_payloads.c.data, offset, size)
        count = self._floor_of(_blocks.c.count).scalar_subquery()
        this = (_payloads.c.id == place) & (func.length(_payloads.c.data) == count * _constant(size))
        return self._statement(update(_payloads).where(this).values(data=data), "index", "of_column", "new")

    def set_tail_element(self, size: int) -> Statement:
        """Overwrite element ``index``, if the tail has it."""
        return self._of_size("set_tail_element", size)

    def _set_tail_element(self, size: int) -> Statement:
        index = _number("index")
        offset = cast((index - _columns.c.sealed) * _constant(size), Integer)
        changed = self._update_column(tail=_overlaid(_columns.c.tail, offset, size)).where(
            index >= _columns.c.sealed,
            index < _columns.c.length,
            func.length(_columns.c.tail) >= offset + _constant(size),
        )
        return self._statement(changed, "index", "of_id", "new")

    def _of_size(self, name: str, size: int) -> Statement:
        found = self._by_size.get((name, size))
        if found is None:
            found = self._by_size[name, size] = getattr(self, f"_{name}")(size)
        return found

    # -- whole blocks --------------------------------------------------------------------------

    @cached_property
    def block(self) -> Statement:
        """Select ``start``, ``count`` and ``data`` of the block with element ``index``; no data if it ends before."""
        found = self._floor(_blocks.c.start, _blocks.c.count, _in_block(_payloads.c.data))
        return self._statement(found, "index", "of_column")

    @cached_property
    def tail(self) -> Statement:
        """Select what is known of the column, and its tail."""
        return self._statement(self._column_row(_columns.c.tail), "of_id")

    @cached_property
    def place(self) -> Statement:
        """Select ``id``, ``start``, ``count`` and bytes of the block that element ``index`` is in."""
        found = self._floor(_blocks.c.id, _blocks.c.start, _blocks.c.count, func.length(_payloads.c.data))
        return self._statement(found, "index", "of_column")

    def _floor(self, *columns: Any) -> Any:
        return self._floor_of(*columns).select_from(_stored)

    @staticmethod
    def _floor_of(*columns: Any) -> Any:
        """Select from the block that element ``index`` is in, or would be."""
        return (
            select(*columns)
            .where(_blocks.c.column_id == _number("of_column"), _blocks.c.start <= _number("index"))
            .order_by(_blocks.c.start.desc())
            # Not limit(1), which binds an OFFSET of 0 on SQLite, at a tenth of the statement's time.
            .suffix_with("LIMIT 1")
        )

    @cached_property
    def runs(self) -> Statement:
        """Select the column and its blocks with the elements ``first`` to ``stop``, all of one state.

        The column: NULL, ``sealed``, ``length``, the tail if it is among them. A block: ``id``, ``start``, ``count``,
        ``data``.
        """
        tail = case((_columns.c.length > _number("first"), _columns.c.tail))
        tail = case((_columns.c.sealed < _number("stop"), tail))
        column = select(cast(null(), BigInteger), _columns.c.sealed, _columns.c.length, tail)
        column = column.where(_columns.c.id == _number("of_column"))
        blocks = select(_blocks.c.id, _blocks.c.start, _blocks.c.count, _payloads.c.data).select_from(_stored)
        return self._statement(union_all(column, blocks.where(*self._among())), "of_column", "first", "stop")

    @cached_property
    def summaries(self) -> Statement:
        """Select as :attr:`runs` does, with the blocks' summaries instead of their bytes, and no tail."""
        column = select(cast(null(), BigInteger), _columns.c.sealed, _columns.c.length, cast(null(), LargeBinary))
        column = column.where(_columns.c.id == _number("of_column"))
        blocks = select(_blocks.c.id, _blocks.c.start, _blocks.c.count, _blocks.c.summary)
        return self._statement(union_all(column, blocks.where(*self._among())), "of_column", "first", "stop")

    @cached_property
    def gather(self) -> Statement:
        """Have ``kv_gather`` copy the blocks' elements; select the column as :attr:`runs` does, and how many those are.

        SQLite with the native extension only.
        """
        copied = func.kv_gather(
            bindparam("token", type_=BigInteger()), _blocks.c.start, _blocks.c.count, _payloads.c.data
        )
        total = select(func.sum(copied)).select_from(_stored).where(*self._among()).scalar_subquery()
        tail = case((_columns.c.sealed < _number("stop"), _columns.c.tail))
        column = select(_columns.c.sealed, _columns.c.length, tail, total).where(_columns.c.id == _number("of_column"))
        return self._statement(column, "token", "of_column", "first", "stop")

    def stored(self, size: int) -> Statement:
        """Select how many elements the blocks have up to the last one's end, and the tail."""
        return self._of_size("stored", size)

    def _stored(self, size: int) -> Statement:
        last = select(_blocks.c.start + _blocks.c.count).where(_blocks.c.column_id == _number("of_id"))
        last = last.order_by(_blocks.c.start.desc()).suffix_with("LIMIT 1")
        end = func.coalesce(last.scalar_subquery(), _constant(0))
        tail = func.length(_columns.c.tail).op("/", precedence=8)(_constant(size))
        return self._statement(select(end + tail).where(_columns.c.id == _number("of_id")), "of_id")

    @staticmethod
    def _among() -> list[ColumnElement[bool]]:
        floor = (
            select(func.max(_blocks.c.start))
            .where(_blocks.c.column_id == _number("of_column"), _blocks.c.start <= _number("first"))
            .correlate(None)
            .scalar_subquery()
        )
        return [
            _blocks.c.column_id == _number("of_column"),
            _blocks.c.start >= func.coalesce(floor, _constant(0)),
            _blocks.c.start < _number("stop"),
            _blocks.c.start + _blocks.c.count > _number("first"),
        ]

    # -- changing blocks, once the column's row is locked ------------------------------------------------

    @cached_property
    def insert_payload(self) -> Statement:
        return self._statement(insert(_payloads), "id", "data")

    @cached_property
    def insert_block(self) -> Statement:
        return self._statement(insert(_blocks), "id", "column_id", "start", "count", "summary")

    @cached_property
    def set_data(self) -> Statement:
        return self._statement(self._update_data(_bytes("new")), "new", "of_id")

    def overlay(self, size: int) -> Statement:
        """Overwrite the ``size`` bytes at ``offset`` of a block."""
        return self._of_size("overlay", size)

    def _overlay(self, size: int) -> Statement:
        data = _overlaid(_payloads.c.data, bindparam("offset", type_=Integer()), size)
        return self._statement(self._update_data(data), "offset", "new", "of_id")

    @staticmethod
    def _update_data(data: ColumnElement[Any]) -> Any:
        return update(_payloads).where(_payloads.c.id == _number("of_id")).values(data=data)

    @cached_property
    def set_block(self) -> Statement:
        changed = update(_blocks).where(_blocks.c.id == _number("of_id"))
        changed = changed.values(start=_number("new_start"), count=_number("new_count"), summary=_bytes("new_summary"))
        return self._statement(changed, "new_start", "new_count", "new_summary", "of_id")

    @cached_property
    def shift(self) -> Statement:
        """Move the blocks from ``from_start`` on by so many elements."""
        later = (_blocks.c.column_id == _number("of_column")) & (_blocks.c.start >= _number("from_start"))
        shifted = update(_blocks).where(later).values(start=_blocks.c.start + _number("by"))
        return self._statement(shifted, "by", "of_column", "from_start")

    @cached_property
    def delete_block(self) -> Statement:
        return self._statement(delete(_blocks).where(_blocks.c.id == _number("of_id")), "of_id")

    @cached_property
    def delete_payload(self) -> Statement:
        return self._statement(delete(_payloads).where(_payloads.c.id == _number("of_id")), "of_id")

    @cached_property
    def clear_blocks(self) -> Statement:
        return self._statement(delete(_blocks).where(_blocks.c.column_id == _number("of_column")), "of_column")

    @cached_property
    def clear_payloads(self) -> Statement:
        these = (_payloads.c.id >= _number("after")) & (_payloads.c.id < _number("before"))
        return self._statement(delete(_payloads).where(these), "after", "before")


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


def _bytes(name: str) -> Any:
    return bindparam(name, type_=LargeBinary())


def _offset(start: Any, size: int) -> Any:
    """Return where the bytes of element ``index`` begin in the block that begins with element ``start``."""
    return cast((_number("index") - start) * _constant(size), Integer)


def _in_block(value: Any, size: int | None = None) -> Any:
    """Return ``value``, or NULL for a block that ends before element ``index``, or has not the bytes of its elements.

    In a WHERE this would go through all blocks; and the offset in such a block need not be a 32-bit number.
    """
    is_in = _blocks.c.start + _blocks.c.count > _number("index")
    if size is not None:
        is_in &= func.length(_payloads.c.data) == _blocks.c.count * _constant(size)
    return case((is_in, value))


def _constant(number: int) -> Any:
    """Return a number as text of the statement: a parameter would be bound every time."""
    return literal_column(str(number), Integer())


def _overlaid(data: Any, offset: Any, size: int) -> ColumnElement[Any]:
    """Return ``data`` with the bytes ``new``, of which there are ``size``, at ``offset``."""
    return _concatenated(
        func.substr(data, _constant(1), offset), _bytes("new"), func.substr(data, offset + _constant(size + 1))
    )


def _concatenated(first: Any, *others: Any) -> ColumnElement[Any]:
    for other in others:
        first = first.op("||", return_type=LargeBinary())(other)
    # SQLite's || makes text of blobs; the bytes are the same.
    return cast(first, LargeBinary)


@lru_cache(maxsize=64)
def block_statements(dialect: Dialect) -> BlockStatements:
    """Return the statements for ``dialect``."""
    return BlockStatements(dialect)
