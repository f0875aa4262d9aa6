"""The SQL of the chunks of large values, written once in Core and compiled for each dialect when first needed."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    LargeBinary,
    Table,
    bindparam,
    case,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    table,
)
from sqlalchemy.engine import Dialect

from ..orm.chunks import CHUNKED_LENGTH, CHUNKED_TAG, chunk_table
from ..statements import Statement, insert_or_ignore, upsert

__all__ = ["StreamStatements", "stream_statements"]


class StreamStatements:
    """The statements on a KV table and the chunks of its values. Values of entries are given as packed bytes.

    Of a table with the dicts of many owners (``is_owned``) those on entries take the owner as the last of their values,
    but for those that look for what belongs to any.
    """

    def __init__(self, entries: Table, dialect: Dialect, *, is_owned: bool = False) -> None:
        # Here a value is the packed bytes.
        columns = [column(each.name, LargeBinary() if each.name == "value" else each.type) for each in entries.c]
        self._entries: Any = table(entries.name, *columns, schema=entries.schema)
        self._chunks = chunk_table(entries)
        self._dialect = dialect
        self.is_owned = is_owned

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    @cached_property
    def put(self) -> Statement:
        """Set an entry to ``value``."""
        owner = ["owner_id"] if self.is_owned else []
        put = upsert(self._entries, self._dialect, [*owner, "key"], ["value", "expires_at"])
        return self._statement(put, "key", "value", "expires_at", *owner)

    # -- chunks --------------------------------------------------------------------------------

    @cached_property
    def begin(self) -> Statement:
        """Insert a first chunk, unless there is one of that number."""
        return self._statement(insert_or_ignore(self._chunks, self._dialect), "id", "data")

    @cached_property
    def insert(self) -> Statement:
        return self._statement(insert(self._chunks), "id", "data")

    @cached_property
    def chunk(self) -> Statement:
        return self._statement(select(self._chunks.c.data).where(self._chunks.c.id == _number("of_id")), "of_id")

    @cached_property
    def lock(self) -> Statement:
        """Lock a chunk's row on PostgreSQL; on SQLite the transaction has the write lock already."""
        this = select(self._chunks.c.id).where(self._chunks.c.id == _number("of_id"))
        return self._statement(this.with_for_update(), "of_id")

    @cached_property
    def sizes(self) -> Statement:
        """Select how many chunks a stream has, and how many of them have the place and size that they should."""
        identity, size = self._chunks.c.id, func.length(self._chunks.c.data)
        is_full = (identity < _number("of_last")) & (size == _number("full"))
        is_rest = (identity == _number("last")) & (size == _number("rest"))
        right = func.coalesce(func.sum(case((is_full | is_rest, 1), else_=0)), 0)
        counted = select(func.count(), right).where(self._of_stream)
        return self._statement(counted, "of_last", "full", "last", "rest", "low", "high")

    @cached_property
    def delete(self) -> Statement:
        """Delete the chunks of a stream."""
        return self._statement(delete(self._chunks).where(self._of_stream), "low", "high")

    @cached_property
    def discard(self) -> Statement:
        """Delete the chunks of a stream, unless the entry ``key`` has the value that names it."""
        these = select(self._entries.c.id).where(self._is_named, self._entries.c.value == _bytes("named"))
        removal = delete(self._chunks).where(self._of_stream, ~exists(self._owned(these)))
        return self._statement(removal, "low", "high", "of_key", "named", *self._owner)

    def _owned(self, entries: Any) -> Any:
        owner = self._entries.c.owner_id if self.is_owned else None
        return entries if owner is None else entries.where(owner == bindparam("of_owner", type_=owner.type))

    @property
    def _owner(self) -> list[str]:
        return ["of_owner"] if self.is_owned else []

    @property
    def _of_stream(self) -> Any:
        return self._chunks.c.id.between(_number("low"), _number("high"))

    @property
    def _is_named(self) -> Any:
        return self._entries.c.key == bindparam("of_key", type_=self._entries.c.key.type)

    # -- which streams there are ---------------------------------------------------------------

    @cached_property
    def has_value(self) -> Statement:
        """Select an entry that has the packed value, by looking at all of them."""
        this = select(self._entries.c.id).where(self._entries.c.value == _bytes("named")).limit(1)
        return self._statement(this, "named")

    @cached_property
    def chunked(self) -> Statement:
        """Select ``key, value`` of the entries whose bytes are in chunks."""
        return self._statement(self._owned(self._chunked), *self._owner)

    @cached_property
    def all_chunked(self) -> Statement:
        """As :attr:`chunked`, of every owner."""
        return self._statement(self._chunked)

    @property
    def _chunked(self) -> Any:
        value = self._entries.c.value
        # By length first, which SQLite knows without reading the value.
        is_chunked = (func.length(value) == CHUNKED_LENGTH) & (func.substr(value, 1, 1) == bytes([CHUNKED_TAG]))
        return select(self._entries.c.key, value).where(is_chunked).order_by(self._entries.c.id)

    @cached_property
    def streams(self) -> Statement:
        """Select ``stream, bytes`` of the chunks there are."""
        stream = self._chunks.c.id.bitwise_rshift(literal_column("32"))
        size = func.sum(func.length(self._chunks.c.data))
        return self._statement(select(stream, size).group_by(stream).order_by(stream))


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


def _bytes(name: str) -> Any:
    return bindparam(name, type_=LargeBinary())


@lru_cache(maxsize=256)
def stream_statements(entries: Table, dialect: Dialect, *, is_owned: bool = False) -> StreamStatements:
    """Return the statements on ``entries`` and the chunks beside it, for ``dialect``."""
    return StreamStatements(entries, dialect, is_owned=is_owned)
