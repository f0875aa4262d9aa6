"""The SQL of a KV table, written once in Core and compiled for each dialect when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    ScalarSelect,
    Table,
    TableClause,
    TableValuedAlias,
    and_,
    bindparam,
    column,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import UserDefinedType

from .._native import check_key
from ..errors import CorruptValue
from ..orm.types import Key, Packed
from ..packing import pack, unpack
from ..statements import Statement, upsert, upsert_from

__all__ = ["KVStatements", "Order", "kv_statements", "owned_statements"]

Order = Literal["id", "key"]


class _AsItIs(UserDefinedType[Any]):
    """What the driver takes without conversion; a bind parameter of no type would take the column's."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        raise NotImplementedError("only for bind parameters")


class _ByRowid(TableClause):
    """A table of SQLite that is read in the order of its rows, whatever indexes it has."""

    inherit_cache = False


@compiles(_ByRowid)
def _not_indexed(table: _ByRowid, compiler: SQLCompiler, **options: Any) -> str:
    text: str = compiler.visit_table(table, **options)  # type: ignore[no-untyped-call]
    return f"{text} NOT INDEXED" if options.get("asfrom") else text


class KVStatements:
    """The statements on one table, for one dialect. Keys and values are given as they are; their types convert them.

    Attributes
    ----------
    key, unpack
        Turn what the driver returns for a key or a value into that.
    stored_key, pack
        Turn a key or a value into what the driver takes for it.
    pickle
        Whether values may be pickles.
    encoding
        The encoding of all values, or None.
    takes_rows
        Whether the statements on ``kv_rows`` suit the table's types, where a connection has that function.
    packs_plainly
        Whether ``stored_key`` only checks the key, and ``pack`` is that of :mod:`kohakuvault.packing` with ``pickle``.

    Of a table with the dicts of many owners (``is_owned``) every statement is about one of them, and takes that owner
    as the last of its values; see :class:`OwnedStatements`.
    """

    def __init__(self, table: Table, dialect: Dialect, *, is_owned: bool = False) -> None:
        self._table = table
        self._dialect = dialect
        self._owner: Column[Any] | None = table.c.owner_id if is_owned else None
        self._identity = ["owner_id", "key"] if is_owned else ["key"]
        decode = table.c.key.type.dialect_impl(dialect).result_processor(dialect, None)
        # Types of the user's own have keys of their own.
        self.key: Callable[[Any], Any] = decode or (_checked_key if type(table.c.key.type) is Key else lambda key: key)
        self.stored_key: Callable[[Any], Any] = table.c.key.type.dialect_impl(dialect).bind_processor(dialect) or (
            lambda key: key
        )
        values = table.c.value.type
        # That of the type itself, as for writes that do not wait.
        self.pack: Callable[[Any], bytes] = values.dialect_impl(dialect).bind_processor(dialect) or pack
        self.unpack: Callable[[Any], Any] = values.unpack if isinstance(values, Packed) else unpack
        self.pickle = isinstance(values, Packed) and values.pickle
        self.encoding = values.encoding if isinstance(values, Packed) else None
        # Types of the user's own may bind as they like.
        self.takes_rows = type(table.c.key.type) is Key and type(values) is Packed
        self.packs_plainly = self.takes_rows and self.encoding is None and self.stored_key is check_key
        self._variants: dict[tuple[Any, ...], Statement] = {}

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names if self._owner is None else (*names, "of_owner"), self._dialect)

    def _insertion(self, element: Any, *names: str) -> Statement:
        """Return a statement that inserts its values, of the columns ``names``."""
        return Statement(element, names if self._owner is None else (*names, "owner_id"), self._dialect)

    def _owned(self, statement: Any) -> Any:
        """Return ``statement`` of the owner's entries only, if there are others."""
        return statement if self._owner is None else statement.where(self._owner == self._of_owner)

    @cached_property
    def _of_owner(self) -> BindParameter[Any]:
        assert self._owner is not None
        return bindparam("of_owner", type_=self._owner.type)

    def _bind(self, name: str) -> BindParameter[Any]:
        return bindparam(name, type_=self._table.c.key.type)

    @cached_property
    def _this(self) -> ColumnElement[bool]:
        return self._table.c.key == self._bind("of_key")

    @cached_property
    def _now(self) -> BindParameter[float]:
        return bindparam("now", type_=Float())

    @cached_property
    def _live(self) -> ColumnElement[bool]:
        return self._is_live(self._table.c.expires_at)

    def _is_live(self, expires_at: ColumnElement[Any]) -> ColumnElement[bool]:
        return or_(expires_at.is_(None), expires_at > self._now)

    # -- one entry -----------------------------------------------------------------------------

    @cached_property
    def get(self) -> Statement:
        """Select value and expires_at of a key."""
        found = select(self._table.c.value, self._table.c.expires_at).where(self._this)
        return self._statement(self._owned(found), "of_key")

    @cached_property
    def get_for_update(self) -> Statement:
        """As ``get``, with a row lock on PostgreSQL; on SQLite the transaction has the write lock already."""
        columns = (self._table.c.value, self._table.c.expires_at)
        return self._statement(self._owned(select(*columns).where(self._this).with_for_update()), "of_key")

    @cached_property
    def exists(self) -> Statement:
        """Select id and expires_at of a key."""
        found = select(self._table.c.id, self._table.c.expires_at).where(self._this)
        return self._statement(self._owned(found), "of_key")

    @cached_property
    def put(self) -> Statement:
        put = upsert(self._table, self._dialect, self._identity, ["value", "expires_at"])
        return self._insertion(put, "key", "value")

    @cached_property
    def put_until(self) -> Statement:
        """As ``put``, with expires_at."""
        put = upsert(self._table, self._dialect, self._identity, ["value", "expires_at"])
        return self._insertion(put, "key", "value", "expires_at")

    @cached_property
    def put_stored(self) -> Statement:
        """As ``put_until``, with key and value as ``stored_key`` and ``pack`` give them."""
        new: dict[str, Any] = {
            name: bindparam(f"stored_{name}", type_=_AsItIs()) for name in ("key", "value", "expires_at")
        }
        if self._owner is not None:
            new["owner_id"] = self._of_owner
        put = upsert(self._table, self._dialect, self._identity, ["value", "expires_at"]).values(new)
        return self._statement(put, "stored_key", "stored_value", "stored_expires_at")

    @cached_property
    def add(self) -> Statement:
        """Insert an entry unless there is one that has not expired."""
        expired = self._table.c.expires_at <= self._now
        add = upsert(self._table, self._dialect, self._identity, ["value", "expires_at"], where=expired)
        return self._insertion(add, "key", "value", "expires_at", "now")

    @cached_property
    def set(self) -> Statement:
        """Change the value of an entry, and not when it expires."""
        new = bindparam("new", type_=self._table.c.value.type)
        changed = update(self._table).where(self._this).values(value=new)
        return self._statement(self._owned(changed), "new", "of_key")

    @cached_property
    def replace(self) -> Statement:
        table = self._table
        old, new = (bindparam(name, type_=table.c.value.type) for name in ("old", "new"))
        changed = update(table).where(self._this, table.c.value == old, self._live).values(value=new)
        return self._statement(self._owned(changed), "new", "of_key", "old", "now")

    @cached_property
    def touch(self) -> Statement:
        until = bindparam("until", type_=Float())
        touched = update(self._table).where(self._this, self._live).values(expires_at=until)
        return self._statement(self._owned(touched), "until", "of_key", "now")

    @cached_property
    def delete(self) -> Statement:
        return self._statement(self._owned(delete(self._table).where(self._this, self._live)), "of_key", "now")

    def end(self, *, last: bool) -> Statement:
        """Select key and value of the entry that was inserted last or first, locked."""

        def build() -> Statement:
            table = self._table
            order = table.c.id.desc() if last else table.c.id
            # Another process may be popping the same one: on PostgreSQL take the next, rather than none.
            chosen = self._owned(select(table.c.key, table.c.value).where(self._live).order_by(order).limit(1))
            return self._statement(chosen.with_for_update(skip_locked=True), "now")

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
            return self._statement(self._owned(make(these & self._live)), *names, "now")

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
        owner = [] if self._owner is None else [self._of_owner]
        rows = select(*owner, self._rows.c.key, self._rows.c.value, expires_at)
        put = upsert_from(self._table, self._dialect, rows, self._identity, ["value", "expires_at"])
        return self._statement(put, "rows", "expires_at")

    @cached_property
    def get_rows(self) -> Statement:
        """Select the value of each key in a buffer, made by ``pack_keys``, or NULL."""
        table, rows = self._table, self._rows
        same = and_(table.c.key == rows.c.key, self._live)
        found = rows.outerjoin(table, same if self._owner is None else and_(self._owner == self._of_owner, same))
        return self._statement(select(table.c.value).select_from(found).order_by(rows.c.position), "now", "rows")

    @cached_property
    def delete_rows(self) -> Statement:
        """Delete the keys in a buffer, made by ``pack_keys``."""
        keys = select(self._rows.c.key)
        removal = delete(self._table).where(self._table.c.key.in_(keys), self._live)
        return self._statement(self._owned(removal), "rows", "now")

    def _made(self, which: tuple[Any, ...], build: Callable[[], Statement]) -> Statement:
        statement = self._variants.get(which)
        if statement is None:
            statement = self._variants[which] = build()
        return statement

    @cached_property
    def clear(self) -> Statement:
        return self._statement(self._owned(delete(self._table)))

    @cached_property
    def count(self) -> Statement:
        """Count by two indexes: reading expires_at of every row would read the whole table."""
        every, expired = self._counts
        return self._statement(select(every - expired), "now")

    @cached_property
    def counts(self) -> Statement:
        """Count the entries, and those that have expired and are still there."""
        every, expired = self._counts
        return self._statement(select(every - expired, expired), "now")

    @cached_property
    def _counts(self) -> tuple[ScalarSelect[int], ScalarSelect[int]]:
        every = self._owned(select(func.count()).select_from(self._table))
        expired = every.where(self._table.c.expires_at <= self._now)
        return every.scalar_subquery(), expired.scalar_subquery()

    @cached_property
    def any(self) -> Statement:
        return self._statement(self._owned(select(self._table.c.id).where(self._live).limit(1)), "now")

    @cached_property
    def delete_expired(self) -> Statement:
        """Delete as many entries that have expired as ``most`` says."""
        table = self._table
        most = bindparam("most", type_=Integer())
        some = select(table.c.id).where(table.c.expires_at <= self._now).limit(most).with_for_update(skip_locked=True)
        removal = delete(table).where(table.c.id.in_(self._owned(some).scalar_subquery()))
        return self._statement(removal, "now", "most")

    # -- ranges --------------------------------------------------------------------------------

    @cached_property
    def largest_id(self) -> Statement:
        return self._statement(self._owned(select(func.max(self._table.c.id))))

    def scan(
        self,
        order: Order,
        *,
        low: Literal["from", "after"] | None = None,
        high: bool = False,
        reverse: bool = False,
        values: bool = True,
        limit: bool = False,
        collect: bool = False,
    ) -> Statement:
        """Select the order's column, key and value, in the order of ids (insertion) or keys.

        From or after ``low``, before ``high``; the values are those that are there of low, high, now and limit.

        With ``collect``, instead, give the keys and values to a PageScan, and select the order's column of each row
        with which a page is full; with ``limit`` stop there. The values are low, high, now and the PageScan's token.
        """

        def build() -> Statement:
            by_rowid = collect and order == "id" and self._owner is None
            source = self._by_rowid if by_rowid else self._table.c
            mark = source[order]
            columns = [source["key"], *([source["value"]] if values else [])]
            if by_rowid:
                columns = [self._collect(*columns)]
            rows = self._owned(select(mark.label("mark"), *columns).where(self._is_live(source["expires_at"])))
            rows = rows.order_by(mark.desc() if reverse else mark)
            bound = {name: bindparam(name, type_=mark.type) for name in ("low", "high")}
            if low:
                rows = rows.where(mark >= bound["low"] if low == "from" else mark > bound["low"])
            if high:
                rows = rows.where(mark < bound["high"])
            names = [*(["low"] if low else []), *(["high"] if high else []), "now"]
            if collect:
                # Without its LIMIT the query inside would be merged with the one around it, whose conditions and rows
                # have no order.
                last, *inner = rows.limit(literal_column("-1")).subquery().c
                full = select(last).where(inner[0] if by_rowid else self._collect(*inner))
                return self._statement(full.limit(literal_column("1")) if limit else full, *names, "token")
            if not limit:
                return self._statement(rows, *names)
            return self._statement(rows.limit(bindparam("limit", type_=Integer())), *names, "limit")

        return self._made(("scan", order, low, high, reverse, values, limit, collect), build)

    @cached_property
    def _by_rowid(self) -> dict[str, ColumnElement[Any]]:
        """Columns to collect from before the query's order is made, which costs less: rows are in that order."""
        columns = {column.key: column.name for column in self._table.c}
        source = _ByRowid(
            self._table.name, *(column(each.name, each.type) for each in self._table.c), schema=self._table.schema
        )
        return {key: source.c[name] for key, name in columns.items()}

    @staticmethod
    def _collect(*columns: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.kv_collect(bindparam("token", type_=Integer()), *columns, type_=Integer()).label("is_full")

    def delete_range(self, *, low: bool, high: bool) -> Statement:
        """Delete from ``low`` on, up to ``high`` exclusive."""

        def build() -> Statement:
            removal = delete(self._table).where(self._live)
            if low:
                removal = removal.where(self._table.c.key >= self._bind("low"))
            if high:
                removal = removal.where(self._table.c.key < self._bind("high"))
            return self._statement(self._owned(removal), *(["low"] if low else []), *(["high"] if high else []), "now")

        return self._made(("delete", low, high), build)


def _checked_key(key: Any) -> Any:
    if type(key) in (str, int, bytes):
        return key
    raise CorruptValue(
        f"the key {key!r:.60} of a row is of type {type(key).__name__}, which no key has: something else wrote it. "
        "check() finds all such rows"
    )


@lru_cache(maxsize=256)
def kv_statements(table: Table, dialect: Dialect) -> KVStatements:
    """Return the statements on ``table`` for ``dialect``."""
    return KVStatements(table, dialect)


class OwnedStatements:
    """What :class:`KVStatements` has, with an owner given to each statement: cheap to make, and compiles nothing.

    Parameters
    ----------
    shared
        The statements on the table, which take any owner.
    owner
        The value of ``owner_id``.
    """

    def __init__(self, shared: KVStatements, owner: Any) -> None:
        self._shared = shared
        self._of = owner

    def __getattr__(self, name: str) -> Any:
        # Only once for each name: what is set here is found without.
        found = self._given(getattr(self._shared, name))
        if name in _MAKERS:
            make = found

            def found(*arguments: Any, **options: Any) -> Any:
                return self._given(make(*arguments, **options))

        setattr(self, name, found)
        return found

    def _given(self, found: Any) -> Any:
        return found.given(self._of) if isinstance(found, Statement) else found


# Methods that return a statement.
_MAKERS = ("end", "get_many", "delete_many", "scan", "delete_range")


@lru_cache(maxsize=256)
def _of_any_owner(table: Table, dialect: Dialect) -> KVStatements:
    return KVStatements(table, dialect, is_owned=True)


def owned_statements(table: Table, dialect: Dialect, owner: Any) -> KVStatements:
    """Return the statements on the entries of one owner in ``table``, for ``dialect``."""
    statements: Any = OwnedStatements(_of_any_owner(table, dialect), owner)
    return cast(KVStatements, statements)
