"""``KVault``: a dict in a table of the application's own database."""

from __future__ import annotations

import operator
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from contextlib import AbstractContextManager
from itertools import count, islice
from time import time
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy import Table
from typing_extensions import Self

from .binding import Bind, Binding
from .container import Container
from .engine import display_name
from .errors import CorruptValue, InvalidArgument, NotFound, UnsupportedType
from .expiry import TimeToLive, deadline
from .kv_options import refuse_unknown
from .kv_scan import Items, Keys, KVScan, Values, prefix_bounds
from .kv_statements import Order, kv_statements
from .lending import DriverCursor
from .maintenance import Problem, maintenance_of
from .maintenance.kv_check import KVCheck
from .orm.tables import KVTable, kv_class, table_of
from .schema import entity_of, open_tables

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

__all__ = ["KVault"]

# Entries that are removed in one transaction when they have expired.
_PAGE = 1000

# One in so many writes that expire removes up to four times as many that have.
_SWEEP_EVERY = 64

# Keys that one statement looks up.
_CHUNKS = (1, 8, 64, 512)

_MISSING: Any = object()


class KVault(Container, MutableMapping[Any, Any]):
    """A persistent dict: keys are ``str``, ``bytes`` or ``int``, values any packable Python value.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see ``docs/engine.md``.
    table
        The table's name, or a class mapped from :class:`~kohakuvault.orm.tables.KVTable`.
    create
        Make the table if it is missing; ``False`` where Alembic owns the schema.
    pickle
        Store objects of any class as pickles, and read them. A pickle can run any code when it is read: only
        for databases that nobody else writes to. A mapped class says so itself, by ``__pickle__ = True``.
    read_only
        Refuse every write. The table must exist; an SQLite file that is given by path is opened read-only.

    Notes
    -----
    One entry: ``kv[key]``, ``get``, ``in``, ``kv[key] = value``, ``del``, ``pop``, ``popitem``, ``setdefault``;
    ``put``, ``delete`` and ``exists`` are methods for the same.
    Atomic, also between processes: ``add``, ``incr``, ``decr``, ``replace``.
    Many entries: ``update``, ``|=``, ``get_many``, ``put_many``, ``delete_many``, ``clear``.
    In insertion order: iteration, ``reversed``, ``keys``, ``values``, ``items``, ``copy``.
    In the order of keys: ``range``, ``prefix``, ``first``, ``last``, ``delete_range``.
    Together with other writes: ``transaction``. One consistent state: ``snapshot``.
    Looking after it: ``check``, ``stats``, ``optimize``, ``checkpoint``, ``backup``, ``remove_expired``.
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
        self,
        bind: Bind,
        table: str | type[KVTable] = "kv",
        *,
        create: bool = True,
        pickle: bool = False,
        read_only: bool = False,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown)
        self._table = table
        self.entity: type[KVTable] = entity_of(table, KVTable, lambda name: kv_class(name, pickle))
        self._read_only = read_only
        self._create = create and not read_only
        super().__init__(bind, read_only=read_only)
        binding = self.binding
        self._sql = kv_statements(table_of(self.entity), binding.dialect)
        self._unpack = self._sql.unpack
        self._takes_any = True
        self._expiring = count()
        if pickle and not self._sql.pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        self._open(binding)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"create": self._create, "pickle": self._sql.pickle, "read_only": self._read_only}
        return _reopen, (self._address(), self._table, options)

    def __repr__(self) -> str:
        return f"<KVault {table_of(self.entity).name!r} {self._where()}>"

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        open_tables(binding, self._tables(), "kv", {}, create=self._create)

    def _find(self, key: Any) -> Any:
        """Return the packed value of ``key``, or None."""
        row = self.binding.one(self._sql.get, key)
        return None if row is None or _is_over(row[1]) else row[0]

    def __getitem__(self, key: Any) -> Any:
        packed = self._find(key)
        if packed is None:
            raise self._missing(key)
        return self._unpack(packed)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if there is none."""
        packed = self._find(key)
        return default if packed is None else self._unpack(packed)

    def __contains__(self, key: Any) -> bool:
        row = self.binding.one(self._sql.expires_at, key)
        return row is not None and not _is_over(row[0])

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._takes_any:
            value = _as_bytes(value)
        self.binding.run(self._sql.put, key, value)

    def __delitem__(self, key: Any) -> None:
        if not self.delete(key):
            raise self._missing(key)

    def __len__(self) -> int:
        return int(self.binding.one(self._sql.count, time())[0])

    def __bool__(self) -> bool:
        return self.binding.one(self._sql.any, time()) is not None

    def _missing(self, key: Any) -> NotFound:
        return NotFound(f"no key {key!r} in {self!r}")

    # -- one entry -----------------------------------------------------------------------------

    def put(self, key: Any, value: Any, ttl: TimeToLive | None = None) -> None:
        """Set ``key`` to ``value``, as ``kv[key] = value`` does; with ``ttl`` it expires.

        Parameters
        ----------
        ttl
            Seconds, or a timedelta, from now on. None: it does not expire, whatever was said for the key before.

        Notes
        -----
        An entry that has expired is invisible at once, to everything but ``clear``. Now and then ``put`` with a
        ``ttl`` removes some of those; :meth:`remove_expired` removes all.

        >>> kv = KVault(":memory:")
        >>> kv.put("session", {"user": 1}, ttl=3600)
        >>> kv.touch("session", ttl=7200), kv["session"]
        (True, {'user': 1})
        """
        until = deadline(ttl)
        if until is None:
            self[key] = value
            return
        if not self._takes_any:
            value = _as_bytes(value)
        self.binding.run(self._sql.put_until, key, value, until)
        self._sweep()

    def exists(self, key: Any) -> bool:
        """Whether there is such a key, as ``key in kv`` does."""
        return key in self

    def delete(self, key: Any) -> bool:
        """Remove ``key``; return whether it was there."""
        return self.binding.run(self._sql.delete, key, time()) > 0

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value; ``default``, if given, where there is none."""
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.get_for_update, key)
            if row is not None and not _is_over(row[1]):
                # Before it is deleted: what cannot be read is not lost.
                value = self._unpack(row[0])
                cursor.run(self._sql.delete, key, 0.0)
                return value
        if default is _MISSING:
            raise self._missing(key)
        return default

    def popitem(self, last: bool = True) -> tuple[Any, Any]:
        """Remove and return the ``(key, value)`` that was inserted last, or first."""
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.end(last=last), time())
            if row is not None:
                item = self._sql.key(row[0]), self._unpack(row[1])
                cursor.run(self._sql.delete, item[0], 0.0)
                return item
        raise NotFound(f"{self!r} is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, which is first set to ``default`` if there is none."""
        if not self._takes_any:
            default = _as_bytes(default)
        with self.binding.writing() as cursor:
            packed = self._find_or_add(cursor, key, default)
            return default if packed is None else self._unpack(packed)

    def add(self, key: Any, value: Any, ttl: TimeToLive | None = None) -> bool:
        """Set ``key`` only if there is no such key yet; return whether it was set. One statement.

        ``ttl`` is that of :meth:`put`.
        """
        if not self._takes_any:
            value = _as_bytes(value)
        return self.binding.run(self._sql.add, key, value, deadline(ttl), time()) > 0

    def replace(self, key: Any, old: Any, new: Any) -> bool:
        """Set ``key`` to ``new`` only if its value is ``old``; return whether it was set. One statement.

        The stored value must be of the type of ``old`` too, and a dict have its order: compare-and-swap
        compares what is stored. When it expires stays as it was.
        """
        if not self._takes_any:
            old, new = _as_bytes(old), _as_bytes(new)
        return self.binding.run(self._sql.replace, new, key, old, time()) > 0

    def incr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Add ``delta`` to a number, which is ``default`` where there is no such key; return the new one.

        Atomic: no increment is lost between threads or processes. When it expires stays as it was.

        >>> kv = KVault(":memory:")
        >>> kv.incr("visits"), kv.incr("visits", 10), kv.decr("visits")
        (1, 11, 10)
        """
        if type(delta) not in (int, float) or type(default) not in (int, float):
            raise UnsupportedType(f"incr adds an int or float to one, not {delta!r} to {default!r}")
        with self.binding.writing() as cursor:
            packed = self._find_or_add(cursor, key, default + delta)
            if packed is None:
                return default + delta
            value = self._unpack(packed)
            if type(value) not in (int, float):
                raise UnsupportedType(f"incr adds to an int or float; {key!r} is of type {type(value).__name__}")
            total: int | float = value + delta
            cursor.run(self._sql.set, total, key)
            return total

    def decr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Subtract ``delta`` from a number; see :meth:`incr`."""
        return self.incr(key, -delta, default)

    def _find_or_add(self, cursor: DriverCursor, key: Any, value: Any) -> Any:
        """Return the packed value of ``key``, locked, or None after adding ``value``."""
        while True:
            row = cursor.one(self._sql.get_for_update, key)
            if row is not None and not _is_over(row[1]):
                return row[0]
            if cursor.run(self._sql.add, key, value, None, time()):
                return None
            # Another transaction has just added it (PostgreSQL; on SQLite ours is the only writer).

    # -- expiry --------------------------------------------------------------------------------

    def touch(self, key: Any, ttl: TimeToLive | None = None) -> bool:
        """Let ``key`` live for ``ttl`` from now on, None for ever; return whether there is such a key."""
        return self.binding.run(self._sql.touch, deadline(ttl), key, time()) > 0

    def expires_at(self, key: Any) -> float | None:
        """Return when ``key`` expires, in seconds since 1970 as :func:`time.time` counts; None for never."""
        row = self.binding.one(self._sql.expires_at, key)
        if row is None or _is_over(row[0]):
            raise self._missing(key)
        return None if row[0] is None else float(row[0])

    def remove_expired(self) -> int:
        """Remove the entries that have expired, some at a time so that nobody waits long; return how many."""
        removed = 0
        while some := self.binding.run(self._sql.delete_expired, time(), _PAGE):
            removed += some
        return removed

    def _sweep(self) -> None:
        """Remove some of what has expired, at the first of every few writes that expire."""
        if next(self._expiring) % _SWEEP_EVERY == 0:
            self.binding.run(self._sql.delete_expired, time(), 4 * _SWEEP_EVERY)

    # -- many entries --------------------------------------------------------------------------

    def update(
        self, other: SupportsKeysAndGetItem[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **keywords: Any
    ) -> None:
        """Set every key of ``other`` and ``keywords``: all of them, or none if one cannot be stored."""
        # Not through a dict, which would take the keys 1 and True for one.
        pairs: Any = other
        if isinstance(other, Mapping):
            pairs = other.items()
        elif hasattr(other, "keys"):
            pairs = ((key, pairs[key]) for key in other.keys())  # noqa: SIM118 (need not be iterable)
        self.put_many([*pairs, *keywords.items()])

    def put_many(self, items: Iterable[tuple[Any, Any]]) -> None:
        """Set every ``(key, value)``: all of them, or none if one cannot be stored."""
        rows = [_pair(item) for item in items]
        if not self._takes_any:
            rows = [(key, _as_bytes(value)) for key, value in rows]
        if rows:
            with self.binding.writing() as cursor:
                cursor.many(self._sql.put, rows)

    def get_many(self, keys: Iterable[Any], default: Any = None) -> list[Any]:
        """Return the values of ``keys``, in their order, ``default`` for those that are missing."""
        wanted = list(keys)
        found: dict[Any, Any] = {}
        now = time()
        with self.binding.reading() as cursor:
            for some in _chunks(wanted):
                for key, value in cursor.all(self._sql.get_many(len(some)), *some, now):
                    found[self._sql.key(key)] = self._unpack(value)
        return [found.get(key, default) for key in wanted]

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Remove ``keys``, all at once; return how many of them were there."""
        wanted = list(keys)
        now = time()
        with self.binding.writing() as cursor:
            return sum(cursor.run(self._sql.delete_many(len(some)), *some, now) for some in _chunks(wanted))

    def clear(self) -> None:
        """Remove every entry."""
        self.binding.run(self._sql.clear)

    def __ior__(  # type: ignore[misc]  # as dict has it: | takes mappings, |= pairs too
        self, other: SupportsKeysAndGetItem[Any, Any] | Iterable[tuple[Any, Any]]
    ) -> Self:
        self.update(other)
        return self

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented

    # -- in insertion order --------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self._keys("id")

    def __reversed__(self) -> Iterator[Any]:
        return self._keys("id", reverse=True)

    @overload
    def keys(self) -> KeysView[Any]: ...
    @overload
    def keys(self, prefix: str | bytes | None, limit: int | None = None, *, batch_size: int = ...) -> Iterator[Any]: ...
    @overload
    def keys(self, *, limit: int | None, batch_size: int = ...) -> Iterator[Any]: ...
    def keys(
        self, prefix: str | bytes | None = None, limit: int | None = None, *, batch_size: int | None = None
    ) -> KeysView[Any] | Iterator[Any]:
        """Return a view of the keys, in the order of insertion.

        With ``prefix`` or ``limit``, an iterator over the first ``limit`` keys, those that begin with ``prefix`` in
        the order of keys. (``batch_size`` has no effect: rows are read one by one.)
        """
        if prefix is None and limit is None:
            return Keys(self)
        return self._some(self._keys, prefix, limit)

    @overload
    def values(self) -> ValuesView[Any]: ...
    @overload
    def values(
        self, prefix: str | bytes | None, limit: int | None = None, *, batch_size: int = ...
    ) -> Iterator[Any]: ...
    @overload
    def values(self, *, limit: int | None, batch_size: int = ...) -> Iterator[Any]: ...
    def values(
        self, prefix: str | bytes | None = None, limit: int | None = None, *, batch_size: int | None = None
    ) -> ValuesView[Any] | Iterator[Any]:
        """Return a view of the values, or an iterator over some; see :meth:`keys`."""
        if prefix is None and limit is None:
            return Values(self)
        return (value for _, value in self._some(self._items, prefix, limit))

    @overload
    def items(self) -> ItemsView[Any, Any]: ...
    @overload
    def items(
        self, prefix: str | bytes | None, limit: int | None = None, *, batch_size: int = ...
    ) -> Iterator[tuple[Any, Any]]: ...
    @overload
    def items(self, *, limit: int | None, batch_size: int = ...) -> Iterator[tuple[Any, Any]]: ...
    def items(
        self, prefix: str | bytes | None = None, limit: int | None = None, *, batch_size: int | None = None
    ) -> ItemsView[Any, Any] | Iterator[tuple[Any, Any]]:
        """Return a view of the ``(key, value)`` pairs, or an iterator over some; see :meth:`keys`."""
        if prefix is None and limit is None:
            return Items(self)
        return self._some(self._items, prefix, limit)

    def copy(self) -> dict[Any, Any]:
        """Return all entries as a ``dict``."""
        return dict(self.items())

    @staticmethod
    def _some(entries: Callable[..., Iterator[Any]], prefix: str | bytes | None, limit: int | None) -> Iterator[Any]:
        if limit is not None and operator.index(limit) < 0:
            raise InvalidArgument(f"limit={limit}: expected zero or more, or None for all")
        chosen = entries("id") if prefix is None else entries("key", *prefix_bounds(prefix))
        return islice(chosen, limit)

    def _keys(self, order: Order, low: Any = None, high: Any = None, *, reverse: bool = False) -> Iterator[Any]:
        decode = self._sql.key
        scan = KVScan(self._sql, order, low, high, reverse, values=False)
        with self.binding.scanning(scan) as batches:
            for rows in batches:
                for _, key in rows:
                    yield decode(key)

    def _items(
        self, order: Order, low: Any = None, high: Any = None, *, reverse: bool = False
    ) -> Iterator[tuple[Any, Any]]:
        decode, unpack = self._sql.key, self._unpack
        scan = KVScan(self._sql, order, low, high, reverse)
        with self.binding.scanning(scan) as batches:
            for rows in batches:
                for _, key, value in rows:
                    yield decode(key), unpack(value)

    # -- in the order of keys ------------------------------------------------------------------

    def range(self, low: Any = None, high: Any = None, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """Iterate over the entries with ``low <= key < high`` in the order of keys: int < str < bytes.

        None is no bound.

        >>> kv = KVault(":memory:")
        >>> kv.update(a=1, b=2, c=3)
        >>> list(kv.range("a", "c")), list(kv.range("b", reverse=True))
        ([('a', 1), ('b', 2)], [('c', 3), ('b', 2)])
        """
        return self._items("key", low, high, reverse=reverse)

    def prefix(self, prefix: str | bytes, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """Iterate over the entries whose key begins with ``prefix``, of its type, in the order of keys."""
        return self._items("key", *prefix_bounds(prefix), reverse=reverse)

    def first(self) -> tuple[Any, Any]:
        """Return the ``(key, value)`` of the smallest key; :class:`NotFound` if there is none."""
        return self._end(reverse=False)

    def last(self) -> tuple[Any, Any]:
        """Return the ``(key, value)`` of the largest key; :class:`NotFound` if there is none."""
        return self._end(reverse=True)

    def _end(self, *, reverse: bool) -> tuple[Any, Any]:
        row = self.binding.one(self._sql.scan("key", reverse=reverse, limit=True), time(), 1)
        if row is None:
            raise NotFound(f"{self!r} is empty")
        return self._sql.key(row[1]), self._unpack(row[2])

    def delete_range(self, low: Any = None, high: Any = None) -> int:
        """Remove the entries with ``low <= key < high``; None is no bound. Return how many there were."""
        statement = self._sql.delete_range(low=low is not None, high=high is not None)
        return self.binding.run(statement, *(bound for bound in (low, high) if bound is not None), time())

    # -- several together ----------------------------------------------------------------------

    def snapshot(self) -> AbstractContextManager[None]:
        """Return a context in which all that this thread reads is of one state, whatever others commit meanwhile.

        Of every container with the same bind. Reading is also faster in it: twice, on SQLite files. Writing is
        refused. The state is kept by a read transaction, so a long one keeps SQLite's WAL file from being reused.
        Bound to a Session on PostgreSQL it needs a transaction at REPEATABLE READ.

        >>> kv = KVault(":memory:")
        >>> kv["a"] = kv["b"] = 1
        >>> with kv.snapshot():
        ...     kv["a"], kv["b"]
        (1, 1)
        """
        return self.binding.snapshot()

    # -- looking after it ----------------------------------------------------------------------

    def check(self, fix: bool = False) -> list[Problem]:
        """Look for whatever is wrong with the table; return it, an empty list if nothing is.

        That every key and value can be read and every column has values of its types; that the indexes exist and are
        sound, as far as the database can tell; foreign keys; the table's record in ``vault_table``. Every row is read,
        one by one. Pickles are read only where they are allowed, and are no problem elsewhere.

        Parameters
        ----------
        fix
            Make missing indexes, rebuild damaged ones, write a missing or damaged record anew, and remove what has
            expired. No other entry is removed or changed, whether it can be read or not.

        >>> KVault(":memory:").check()
        []
        """
        return KVCheck(self.binding, table_of(self.entity), self._sql, self.remove_expired, fix=fix).run()

    def stats(self) -> dict[str, Any]:
        """Return figures: ``database``, ``table``, ``entries``, ``expired`` (and not yet removed) and sizes.

        Sizes are in bytes. SQLite: ``database_bytes``, of the file; ``wal_bytes``, of the file ``-wal`` beside it;
        ``free_bytes``, of pages in the file that are free. PostgreSQL: ``database_bytes``; ``table_bytes``, of the
        table without its indexes; ``index_bytes``.
        """
        binding = self.binding
        table = table_of(self.entity)
        entries, expired = binding.one(self._sql.counts, time())
        return {
            "database": display_name(binding.engine.url),
            "table": table.name,
            "entries": int(entries),
            "expired": int(expired),
            **maintenance_of(binding).sizes(table),
        }

    def optimize(self) -> None:
        """Remove what has expired, then see :meth:`~kohakuvault.container.Container.optimize`."""
        maintenance_of(self.binding).require_apart("optimize()")
        self.remove_expired()
        super().optimize()

    # -- which values --------------------------------------------------------------------------

    def auto_pack_enabled(self) -> bool:
        """Whether any packable value is taken, as by default, rather than bytes only."""
        return self._takes_any

    def enable_auto_pack(self, use_pickle: bool | None = None) -> None:
        """Take any packable value again. ``use_pickle`` must be what was said on opening, by ``pickle=``."""
        if use_pickle and not self._sql.pickle:
            raise InvalidArgument("use_pickle=True: pickling is allowed when the vault is opened, by pickle=True")
        self._takes_any = True

    def disable_auto_pack(self) -> None:
        """Take only ``bytes``, ``bytearray`` and ``memoryview`` as values from now on, and store them as ``bytes``.

        Reading is as before: what was stored as another type comes back as that.
        """
        self._takes_any = False


def _reopen(address: str, table: Any, options: dict[str, Any]) -> KVault:
    return KVault(address, table, **options)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise UnsupportedType(
        f"with auto-pack disabled a value is bytes, bytearray or memoryview, not {type(value).__name__}; call "
        "enable_auto_pack() to store any other"
    )


def _is_over(expires_at: float | None) -> bool:
    try:
        return expires_at is not None and expires_at <= time()
    except TypeError as error:
        raise CorruptValue(
            f"expires_at is {expires_at!r:.60}, which is no number: something else wrote it. Set it by touch(key, ttl)"
        ) from error


def _pair(item: Any) -> tuple[Any, Any]:
    try:
        key, value = item
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"expected pairs of key and value, not {item!r:.60}") from error
    return key, value


def _chunks(keys: list[Any]) -> Iterator[list[Any]]:
    """Cut ``keys`` into lists of a few sizes, so that a few statements serve; the last is filled up by repeating."""
    for start in range(0, len(keys), _CHUNKS[-1]):
        some = keys[start : start + _CHUNKS[-1]]
        size = next(size for size in _CHUNKS if size >= len(some))
        yield some + some[-1:] * (size - len(some))
