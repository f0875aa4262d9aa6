"""``KVault``: a dict in a table of the application's own database."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, Table, bindparam, delete, func, select
from sqlalchemy.engine import Dialect

from .binding import Bind, Binding
from .container import Container
from .errors import InvalidArgument, NotFound
from .orm.tables import KVTable, kv_class, table_of
from .orm.types import Packed
from .packing import unpack
from .schema import check_name, open_tables
from .statements import Statement, upsert

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

__all__ = ["KVault"]

# Rows fetched at a time when iterating: memory stays flat and a page costs far more than the statement.
_PAGE = 1000

_MISSING: Any = object()


class KVault(Container, MutableMapping[Any, Any]):
    """A persistent dict: keys are ``str``, ``bytes`` or ``int``, values any packable Python value.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see :doc:`/binding`.
    table
        The table's name, or a class mapped from :class:`~kohakuvault.orm.tables.KVTable`.
    create
        Make the table if it is missing; ``False`` where Alembic owns the schema.
    pickle
        Store objects of any class as pickles, and read them. A pickle can run any code when it is read: only
        for databases that nobody else writes to. A mapped class says so itself, by ``__pickle__ = True``.

    Notes
    -----
    Looking up and changing: ``kv[key]``, ``get``, ``in``, ``kv[key] = value``, ``del``, ``pop``,
    ``popitem``, ``setdefault``, ``update``, ``clear``, ``len``.
    Iterating, in insertion order: ``for key in kv``, ``keys``, ``values``, ``items``.
    Together with other writes: ``transaction``.
    As rows: ``entity``, the mapped class.

    A value comes back equal and of the type that went in. What is read is a copy: change it and assign it
    again. Iterating reads pages of rows, so entries added or removed meanwhile may or may not be seen.

    Thread-safe. Several processes may use one table.

    Examples
    --------
    >>> kv = KVault(":memory:")
    >>> kv["user:1"] = {"name": "Alice", "scores": [1, 2.5]}
    >>> kv["user:1"]["name"]
    'Alice'
    >>> "user:2" in kv, kv.get("user:2"), len(kv)
    (False, None, 1)
    """

    def __init__(
        self, bind: Bind, table: str | type[KVTable] = "kv", *, create: bool = True, pickle: bool = False
    ) -> None:
        self.entity = kv_class(check_name(table, "table"), pickle) if isinstance(table, str) else table
        self._create = create
        super().__init__(bind)
        binding = self.binding
        self._sql = _statements(table_of(self.entity), binding.dialect)
        self._unpack = self._sql.unpack
        if pickle and not self._sql.pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        self._open(binding)

    def __repr__(self) -> str:
        state = "closed" if self._binding is None else repr(self._binding.engine.url)
        return f"<KVault {table_of(self.entity).name!r} on {state}>"

    def _open(self, binding: Binding) -> None:
        open_tables(binding, [table_of(self.entity)], "kv", {}, create=self._create)

    def __getitem__(self, key: Any) -> Any:
        row = self.binding.one(self._sql.get, key)
        if row is None:
            raise NotFound(f"no key {key!r} in {self!r}")
        return self._unpack(row[0])

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if there is none."""
        row = self.binding.one(self._sql.get, key)
        return default if row is None else self._unpack(row[0])

    def __contains__(self, key: Any) -> bool:
        return self.binding.one(self._sql.exists, key) is not None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.binding.run(self._sql.put, key, value)

    def __delitem__(self, key: Any) -> None:
        if not self.binding.run(self._sql.delete, key):
            raise NotFound(f"no key {key!r} in {self!r}")

    def __len__(self) -> int:
        return int(self.binding.one(self._sql.count)[0])

    def __bool__(self) -> bool:
        return self.binding.one(self._sql.first) is not None

    def __iter__(self) -> Iterator[Any]:
        for _, key in self._rows(self._sql.keys):
            yield self._sql.key(key)

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, read page by page."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the ``(key, value)`` pairs, read page by page."""
        return _Items(self)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value; ``default``, if given, where there is none."""
        row = self.binding.run_returning(self._sql.pop, key)
        if row is not None:
            return self._unpack(row[0])
        if default is _MISSING:
            raise NotFound(f"no key {key!r} in {self!r}")
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the ``(key, value)`` that was inserted last."""
        row = self.binding.run_returning(self._sql.popitem)
        if row is None:
            raise NotFound(f"{self!r} is empty")
        return self._sql.key(row[0]), self._unpack(row[1])

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, which is first set to ``default`` if there is none."""
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.get, key)
            if row is not None:
                return self._unpack(row[0])
            cursor.run(self._sql.put, key, default)
            return default

    def update(
        self, other: SupportsKeysAndGetItem[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **keywords: Any
    ) -> None:
        """Set every key of ``other`` and ``keywords``: all of them, or none if one cannot be stored."""
        # Not through a dict, which would take the keys 1 and True for one.
        pairs: Any = other
        if isinstance(other, Mapping):
            pairs = other.items()
        elif hasattr(other, "keys"):
            pairs = ((key, pairs[key]) for key in other.keys())
        rows = [*pairs, *keywords.items()]
        if rows:
            with self.binding.writing() as cursor:
                cursor.many(self._sql.put, rows)

    def clear(self) -> None:
        """Remove every entry."""
        self.binding.run(self._sql.clear)

    def _rows(self, statement: Statement) -> Iterator[Any]:
        last = -(2**63)
        while True:
            rows = self.binding.all(statement, last, _PAGE)
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]


class _Values(ValuesView[Any]):
    _mapping: KVault

    def __iter__(self) -> Iterator[Any]:
        vault = self._mapping
        return (vault._unpack(value) for _, _, value in vault._rows(vault._sql.items))


class _Items(ItemsView[Any, Any]):
    _mapping: KVault

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        vault = self._mapping
        return ((vault._sql.key(key), vault._unpack(value)) for _, key, value in vault._rows(vault._sql.items))


class _Statements:
    """The statements on one table, each compiled for one dialect when it is first needed."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._table = table
        self._dialect = dialect
        self._key = bindparam("of_key", type_=table.c.key.type)
        decode = table.c.key.type.dialect_impl(dialect).result_processor(dialect, None)
        self.key: Callable[[Any], Any] = decode or (lambda key: key)
        values = table.c.value.type
        self.pickle = isinstance(values, Packed) and values.pickle
        self.unpack: Callable[[Any], Any] = values.unpack if isinstance(values, Packed) else unpack

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    def _page(self, *columns: Any) -> Statement:
        table = self._table
        page = select(table.c.id, *columns).where(table.c.id > bindparam("after", type_=table.c.id.type))
        return self._statement(page.order_by(table.c.id).limit(bindparam("page", type_=Integer())), "after", "page")

    @cached_property
    def get(self) -> Statement:
        return self._statement(select(self._table.c.value).where(self._table.c.key == self._key), "of_key")

    @cached_property
    def exists(self) -> Statement:
        return self._statement(select(self._table.c.id).where(self._table.c.key == self._key), "of_key")

    @cached_property
    def put(self) -> Statement:
        put = upsert(self._table, self._dialect, "key", ["value", "expires_at"])
        return self._statement(put, "key", "value")

    @cached_property
    def delete(self) -> Statement:
        return self._statement(delete(self._table).where(self._table.c.key == self._key), "of_key")

    @cached_property
    def pop(self) -> Statement:
        removal = delete(self._table).where(self._table.c.key == self._key)
        return self._statement(removal.returning(self._table.c.value), "of_key")

    @cached_property
    def popitem(self) -> Statement:
        last = select(func.max(self._table.c.id)).scalar_subquery()
        removal = delete(self._table).where(self._table.c.id == last)
        return self._statement(removal.returning(self._table.c.key, self._table.c.value))

    @cached_property
    def clear(self) -> Statement:
        return self._statement(delete(self._table))

    @cached_property
    def count(self) -> Statement:
        return self._statement(select(func.count()).select_from(self._table))

    @cached_property
    def first(self) -> Statement:
        return self._statement(select(self._table.c.id).limit(1))

    @cached_property
    def keys(self) -> Statement:
        return self._page(self._table.c.key)

    @cached_property
    def items(self) -> Statement:
        return self._page(self._table.c.key, self._table.c.value)


@lru_cache(maxsize=256)
def _statements(table: Table, dialect: Dialect) -> _Statements:
    return _Statements(table, dialect)
