"""The statements on the tables of a vector index on SQLite."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import bindparam, column, delete, func, insert, literal, literal_column, select, table, true
from sqlalchemy.engine import Dialect

from ..orm.vector_index import VectorIndex
from ..statements import Statement

__all__ = ["IndexStatements", "index_statements"]

# Blocks of a list have ids from list << SERIAL_BITS.
SERIAL_BITS = 32


class IndexStatements:
    """The statements on one index, each compiled when it is first needed. Vectors are read as the bytes they are."""

    def __init__(self, index: VectorIndex, dialect: Dialect) -> None:
        self._dialect = dialect
        self._meta = table(f"{index.name}_meta", column("key"), column("value"))
        self._blocks = table(f"{index.name}_blk", column("id"), column("data"))
        self._places = table(f"{index.name}_loc", column("id"), column("blk"))
        self._pending = table(f"{index.name}_pending", column("id"))
        # Without types: nothing is to be converted.
        self._rows = table(index.table.name, column(index.key.name), column(index.column.name))
        self._key, self._vector = self._rows.c[index.key.name], self._rows.c[index.column.name]

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    @cached_property
    def exists(self) -> Statement:
        """A row, if any of the index's tables is there."""
        known = table("sqlite_master", column("name"))
        own = [self._meta.name, self._blocks.name, self._places.name, self._pending.name]
        return self._statement(select(known.c.name).where(known.c.name.in_([literal(name) for name in own])))

    @cached_property
    def meta(self) -> Statement:
        """Every ``key, value``."""
        return self._statement(select(self._meta.c.key, self._meta.c.value))

    @cached_property
    def set_meta(self) -> Statement:
        """Set the value of a key."""
        new = insert(self._meta).prefix_with("OR REPLACE")
        return self._statement(new.values(key=bindparam("of"), value=bindparam("new")), "of", "new")

    @cached_property
    def forget_meta(self) -> Statement:
        """Remove a key."""
        return self._statement(delete(self._meta).where(self._meta.c.key == bindparam("of")), "of")

    @cached_property
    def pending_count(self) -> Statement:
        """How many rows are pending, at most ``limit``."""
        some = select(self._pending.c.id).limit(bindparam("limit")).subquery()
        return self._statement(select(func.count()).select_from(some), "limit")

    @cached_property
    def pending(self) -> Statement:
        """``id, vector, block`` of pending rows after ``after``, at most ``limit``."""
        joined = self._pending.outerjoin(self._rows, self._key == self._pending.c.id)
        joined = joined.outerjoin(self._places, self._places.c.id == self._pending.c.id)
        rows = select(self._pending.c.id, self._vector, self._places.c.blk).select_from(joined)
        rows = rows.where(self._pending.c.id > bindparam("after")).order_by(self._pending.c.id)
        return self._statement(rows.limit(bindparam("limit")), "after", "limit")

    @cached_property
    def pending_rows(self) -> Statement:
        """``id, vector`` of pending rows after ``after``, at most ``limit``."""
        joined = self._pending.outerjoin(self._rows, self._key == self._pending.c.id)
        rows = select(self._pending.c.id, self._vector).select_from(joined)
        rows = rows.where(self._pending.c.id > bindparam("after")).order_by(self._pending.c.id)
        return self._statement(rows.limit(bindparam("limit")), "after", "limit")

    @cached_property
    def pending_ids(self) -> Statement:
        """The id of every pending row."""
        return self._statement(select(self._pending.c.id))

    @cached_property
    def present(self) -> Statement:
        """The id of every row that has a vector."""
        return self._statement(select(self._key).where(self._vector.is_not(None)))

    @cached_property
    def settle(self) -> Statement:
        """Remove a row from what is pending."""
        return self._statement(delete(self._pending).where(self._pending.c.id == bindparam("of")), "of")

    @cached_property
    def settle_all(self) -> Statement:
        """Remove every row from what is pending."""
        return self._statement(delete(self._pending))

    @cached_property
    def note(self) -> Statement:
        """Note a row as pending."""
        new = insert(self._pending).prefix_with("OR IGNORE")
        return self._statement(new.values(id=bindparam("of")), "of")

    @cached_property
    def note_all(self) -> Statement:
        """Note every row of the table as pending that is not."""
        known = select(self._pending.c.id)
        missing = select(self._key).where(self._key.not_in(known))
        return self._statement(insert(self._pending).from_select(["id"], missing))

    @cached_property
    def note_unplaced(self) -> Statement:
        """Note every row as pending that has a vector and is in no block."""
        placed = select(self._places.c.id)
        missing = select(self._key).where(self._key.not_in(placed), self._vector.is_not(None))
        return self._statement(insert(self._pending).from_select(["id"], missing))

    @cached_property
    def rows(self) -> Statement:
        """``id, vector`` of rows after ``after`` that have a vector, at most ``limit``."""
        rows = select(self._key, self._vector).where(self._key > bindparam("after"), self._vector.is_not(None))
        return self._statement(rows.order_by(self._key).limit(bindparam("limit")), "after", "limit")

    @cached_property
    def count(self) -> Statement:
        """How many rows have a vector."""
        return self._statement(select(func.count(self._vector)).select_from(self._rows))

    @cached_property
    def vector(self) -> Statement:
        """The vector of a row."""
        return self._statement(select(self._vector).where(self._key == bindparam("of")), "of")

    @cached_property
    def bounds(self) -> Statement:
        """The least and the greatest id of a row."""
        return self._statement(select(func.min(self._key), func.max(self._key)).select_from(self._rows))

    @cached_property
    def next_row(self) -> Statement:
        """``id, vector`` of the first row with a vector from ``start`` on."""
        rows = select(self._key, self._vector).where(self._key >= bindparam("start"), self._vector.is_not(None))
        return self._statement(rows.order_by(self._key).limit(literal_column("1")), "start")

    @cached_property
    def has_blocks(self) -> Statement:
        """A row, if there are blocks."""
        return self._statement(select(self._blocks.c.id).limit(literal_column("1")))

    @cached_property
    def size(self) -> Statement:
        """How many blocks there are, and their bytes."""
        size = func.coalesce(func.sum(func.length(self._blocks.c.data)), 0)
        return self._statement(select(func.count(), size).select_from(self._blocks))

    @cached_property
    def block(self) -> Statement:
        """The bytes of a block."""
        return self._statement(select(self._blocks.c.data).where(self._blocks.c.id == bindparam("of")), "of")

    @cached_property
    def blocks(self) -> Statement:
        """``id, data`` of every block."""
        return self._statement(select(self._blocks.c.id, self._blocks.c.data).order_by(self._blocks.c.id))

    @cached_property
    def places(self) -> Statement:
        """``id, block`` of every row that is in a block."""
        return self._statement(select(self._places.c.id, self._places.c.blk).order_by(self._places.c.id))

    @cached_property
    def last_block(self) -> Statement:
        """The greatest id of a block from ``first`` to below ``end``, or NULL."""
        ids = self._blocks.c.id
        last = select(func.max(ids)).where(ids >= bindparam("first"), ids < bindparam("end"))
        return self._statement(last, "first", "end")

    @cached_property
    def put_block(self) -> Statement:
        """Write a block."""
        new = insert(self._blocks).prefix_with("OR REPLACE")
        return self._statement(new.values(id=bindparam("of"), data=bindparam("new")), "of", "new")

    @cached_property
    def drop_block(self) -> Statement:
        """Remove a block."""
        return self._statement(delete(self._blocks).where(self._blocks.c.id == bindparam("of")), "of")

    @cached_property
    def clear_blocks(self) -> Statement:
        """Remove every block."""
        return self._statement(delete(self._blocks))

    @cached_property
    def put_place(self) -> Statement:
        """Write which block a row is in."""
        new = insert(self._places).prefix_with("OR REPLACE")
        return self._statement(new.values(id=bindparam("of"), blk=bindparam("new")), "of", "new")

    @cached_property
    def drop_place(self) -> Statement:
        """Forget which block a row was in."""
        return self._statement(delete(self._places).where(self._places.c.id == bindparam("of")), "of")

    @cached_property
    def clear_places(self) -> Statement:
        """Forget the blocks of all rows."""
        return self._statement(delete(self._places).where(true()))


@lru_cache(maxsize=256)
def index_statements(index: VectorIndex, dialect: Dialect) -> IndexStatements:
    """Return the statements on an index; the same for the same arguments."""
    return IndexStatements(index, dialect)
