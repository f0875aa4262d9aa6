"""The SQL of a KV table, written once in Core and compiled for each dialect when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    LargeBinary,
    Table,
    TableValuedAlias,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from .orm.types import Key, Packed
from .packing import unpack
from .statements import Statement, insert_or_ignore, upsert, upsert_from

__all__ = ["KVStatements", "kv_statements"]


class KVStatements:
    """The statements on one table, for one dialect. Keys and values are given as they are; their types convert them.

    Attributes
    ----------
    key
        Turns what the driver returns for a key into the key.
    unpack
        Turns what the driver returns for a value into the value.
    pickle
        Whether values may be pickles.
    encoding
        The encoding of all values, or None.
    takes_rows
        Whether the statements on ``kv_rows`` suit the table's types, where a connection has that function.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._table = table
        self._dialect = dialect
        decode = table.c.key.type.dialect_impl(dialect).result_processor(dialect, None)
        self.key: Callable[[Any], Any] = decode or (lambda key: key)
        values = table.c.value.type
        self.unpack: Callable[[Any], Any] = values.unpack if isinstance(values, Packed) else unpack
        self.pickle = isinstance(values, Packed) and values.pickle
        self.encoding = values.encoding if isinstance(values, Packed) else None
        # Types of the user's own may bind as they like.
        self.takes_rows = type(table.c.key.type) is Key and type(values) is Packed
        self._variants: dict[tuple[Any, ...], Statement] = {}

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    def _bind(self, name: str) -> BindParameter[Any]:
        return bindparam(name, type_=self._table.c.key.type)

    @cached_property
    def _this(self) -> ColumnElement[bool]:
        return self._table.c.key == self._bind("of_key")

    # -- one entry -----------------------------------------------------------------------------

    @cached_property
    def get(self) -> Statement:
        return self._statement(select(self._table.c.value).where(self._this), "of_key")

    @cached_property
    def get_for_update(self) -> Statement:
        # A row lock on PostgreSQL; on SQLite the transaction has the write lock already.
        return self._statement(select(self._table.c.value).where(self._this).with_for_update(), "of_key")

    @cached_property
    def exists(self) -> Statement:
        return self._statement(select(self._table.c.id).where(self._this), "of_key")

    @cached_property
    def put(self) -> Statement:
        put = upsert(self._table, self._dialect, "key", ["value", "expires_at"])
        return self._statement(put, "key", "value")

    @cached_property
    def add(self) -> Statement:
        return self._statement(insert_or_ignore(self._table, self._dialect), "key", "value")

    @cached_property
    def set(self) -> Statement:
        new = bindparam("new", type_=self._table.c.value.type)
        return self._statement(update(self._table).where(self._this).values(value=new), "new", "of_key")

    @cached_property
    def replace(self) -> Statement:
        table = self._table
        old, new = (bindparam(name, type_=table.c.value.type) for name in ("old", "new"))
        changed = update(table).where(self._this, table.c.value == old).values(value=new)
        return self._statement(changed, "new", "of_key", "old")

    @cached_property
    def delete(self) -> Statement:
        return self._statement(delete(self._table).where(self._this), "of_key")

    def end(self, *, last: bool) -> Statement:
        """Select key and value of the entry that was inserted last or first, locked."""

        def build() -> Statement:
            table = self._table
            order = table.c.id.desc() if last else table.c.id
            # Another process may be popping the same one: on PostgreSQL take the next, rather than none.
            chosen = select(table.c.key, table.c.value).order_by(order).limit(1)
            return self._statement(chosen.with_for_update(skip_locked=True))

        return self._made(("end", last), build)

    # -- many entries --------------------------------------------------------------------------

    def get_many(self, count: int) -> Statement:
        """Select key and value of ``count`` keys."""
        columns = (self._table.c.key, self._table.c.value)
        return self._of_keys("get", count, lambda these: select(*columns).where(these))

    def delete_many(self, count: int) -> Statement:
        """Delete ``count`` keys."""
        return self._of_keys("delete", count, lambda these: delete(self._table).where(these))

    def _of_keys(self, what: str, count: int, make: Callable[[Any], Any]) -> Statement:
        def build() -> Statement:
            names = [f"key_{number}" for number in range(count)]
            these = self._table.c.key.in_([self._bind(name) for name in names])
            return self._statement(make(these), *names)

        return self._made((what, count), build)

    # -- many entries, inside the connection ---------------------------------------------------

    @cached_property
    def _rows(self) -> TableValuedAlias:
        rows = func.kv_rows(bindparam("rows", type_=LargeBinary()))
        return rows.table_valued("position", "key", "value", name="row")

    @cached_property
    def put_rows(self) -> Statement:
        """Set the rows of a buffer, made by ``pack_rows``."""
        expires_at = bindparam("expires_at", type_=self._table.c.expires_at.type)
        rows = select(self._rows.c.key, self._rows.c.value, expires_at)
        put = upsert_from(self._table, self._dialect, rows, "key", ["value", "expires_at"])
        return self._statement(put, "rows", "expires_at")

    @cached_property
    def get_rows(self) -> Statement:
        """Select the value of each key in a buffer, made by ``pack_keys``, or NULL."""
        table, rows = self._table, self._rows
        found = rows.outerjoin(table, table.c.key == rows.c.key)
        return self._statement(select(table.c.value).select_from(found).order_by(rows.c.position), "rows")

    @cached_property
    def delete_rows(self) -> Statement:
        """Delete the keys in a buffer, made by ``pack_keys``."""
        keys = select(self._rows.c.key)
        return self._statement(delete(self._table).where(self._table.c.key.in_(keys)), "rows")

    def _made(self, which: tuple[Any, ...], build: Callable[[], Statement]) -> Statement:
        statement = self._variants.get(which)
        if statement is None:
            statement = self._variants[which] = build()
        return statement

    @cached_property
    def clear(self) -> Statement:
        return self._statement(delete(self._table))

    @cached_property
    def count(self) -> Statement:
        return self._statement(select(func.count()).select_from(self._table))

    @cached_property
    def any(self) -> Statement:
        return self._statement(select(self._table.c.id).limit(1))

    # -- pages ---------------------------------------------------------------------------------

    def id_page(self, *, values: bool, reverse: bool) -> Statement:
        """Select a page of ``id, key[, value]`` in the order of insertion, beyond the id ``mark``."""

        def build() -> Statement:
            table = self._table
            mark = bindparam("mark", type_=table.c.id.type)
            beyond = table.c.id < mark if reverse else table.c.id > mark
            columns = [table.c.id, table.c.key, *([table.c.value] if values else [])]
            return self._page(select(*columns).where(beyond), table.c.id, reverse, "mark")

        return self._made(("id", values, reverse), build)

    def key_page(self, *, reverse: bool, low: Literal["from", "after", None], high: bool) -> Statement:
        """Select a page of ``key, value`` in the order of keys: from or after ``low``, before ``high``."""

        def build() -> Statement:
            key = self._table.c.key
            page = select(key, self._table.c.value)
            if low:
                page = page.where(key >= self._bind("low") if low == "from" else key > self._bind("low"))
            if high:
                page = page.where(key < self._bind("high"))
            return self._page(page, key, reverse, *(["low"] if low else []), *(["high"] if high else []))

        return self._made(("key", reverse, low, high), build)

    def _page(self, rows: Any, order: Any, reverse: bool, *names: str) -> Statement:
        page = rows.order_by(order.desc() if reverse else order).limit(bindparam("page", type_=Integer()))
        return self._statement(page, *names, "page")

    def delete_range(self, *, low: bool, high: bool) -> Statement:
        """Delete from ``low`` on, up to ``high`` exclusive."""

        def build() -> Statement:
            removal = delete(self._table)
            if low:
                removal = removal.where(self._table.c.key >= self._bind("low"))
            if high:
                removal = removal.where(self._table.c.key < self._bind("high"))
            return self._statement(removal, *(["low"] if low else []), *(["high"] if high else []))

        return self._made(("delete", low, high), build)


@lru_cache(maxsize=256)
def kv_statements(table: Table, dialect: Dialect) -> KVStatements:
    """Return the statements on ``table`` for ``dialect``."""
    return KVStatements(table, dialect)
