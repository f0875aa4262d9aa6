"""``KVault``: a dict in a table of the application's own database."""

from __future__ import annotations

import io
import operator
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, count, islice
from time import time
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy import Table
from typing_extensions import Self

from .binding import Bind, Binding
from .container import Container
from .engine import display_name
from .errors import InvalidArgument, NotFound, StreamLost, UnsupportedType
from .expiry import TimeToLive, deadline, is_over
from .kv_many import delete_many, get_many, pair, put_many, put_stored
from .kv_options import refuse_unknown
from .kv_scan import Form, Items, Keys, KVScan, Values, prefix_bounds
from .kv_statements import KVStatements, Order, kv_statements
from .lending import DriverCursor
from .maintenance import Problem, maintenance_of
from .maintenance.kv_check import KVCheck
from .memoize import memoize
from .orm.tables import KVTable, kv_class, table_of
from .packing import ChunkedBytes
from .read_cache import ReadCache
from .schema import entity_of, open_tables
from .stream_source import Reader
from .streams import Progress, Streams, Writer
from .write_cache import CacheSettings, Waiting, WriteCache

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

__all__ = ["KVault"]

# Entries that are removed in one transaction when they have expired.
_PAGE = 1000

# One in so many writes that expire also removes up to so many entries that have.
_SWEEP_EVERY, _SWEEP_MOST = 64, 256

# What may wait to be written.
_CAP_BYTES = 64 << 20

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
    read_cache
        Bytes of memory in which values that were read are kept, until anything in the database changes. Only SQLite
        files can have that; see :class:`~kohakuvault.read_cache.ReadCache`, and its ``reason``.

    Attributes
    ----------
    read_cache
        The :class:`~kohakuvault.read_cache.ReadCache`, or None.

    Notes
    -----
    One entry: ``kv[key]``, ``get``, ``in``, ``kv[key] = value``, ``del``, ``pop``, ``popitem``, ``setdefault``;
    ``put``, ``delete`` and ``exists`` are methods for the same.
    Atomic, also between processes: ``add``, ``incr``, ``decr``, ``replace``.
    Many entries: ``update``, ``|=``, ``get_many``, ``put_many``, ``delete_many``, ``clear``.
    In insertion order: iteration, ``reversed``, ``keys``, ``values``, ``items``, ``copy``.
    In the order of keys: ``range``, ``prefix``, ``first``, ``last``, ``delete_range``.
    Together with other writes: ``transaction``. One consistent state: ``snapshot``.
    Results of functions: ``memoize``.
    Files, and values larger than memory: ``put_file``, ``get_to_file``, ``open``.
    Looking after it: ``check``, ``stats``, ``optimize``, ``checkpoint``, ``backup``, ``remove_expired``.
    As rows: ``entity``, the mapped class.

    A value comes back equal and of the type that went in. What is read is a copy: change it and assign it
    again. Iterating is lazy and gives one state, that of its beginning, where the database has such; see
    ``docs/kvault.md``.

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
        read_cache: int | None = None,
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
        self._value_of = self._sql.unpack
        self._takes_any = True
        self._expiring = count()
        self._writes = _write_cache(binding, self._sql, table_of(self.entity).name)
        self._has_enabled = False
        if pickle and not self._sql.pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        self._open(binding)
        self.read_cache: ReadCache | None = None
        if read_cache is not None:
            self.read_cache = ReadCache(binding, table_of(self.entity), read_cache)
        self._cache = self.read_cache if self.read_cache is not None and self.read_cache.reason is None else None

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "create": self._create,
            "pickle": self._sql.pickle,
            "read_only": self._read_only,
            "read_cache": self.read_cache and self.read_cache.capacity,
        }
        return _reopen, (self._address(), self._table, options)

    def __repr__(self) -> str:
        return f"<KVault {table_of(self.entity).name!r} {self._where()}>"

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        open_tables(binding, self._tables(), "kv", {}, create=self._create)

    @property
    def _settled(self) -> Binding:
        """The binding, after what waits to be written was written."""
        binding = self.binding
        if self._writes.waiting:
            binding.settle()
        return binding

    def _waiting(self, key: Any) -> Waiting | None:
        self._sql.stored_key(key)
        return self._writes.waiting.get(key) if self.binding.may_wait else None

    # The next ones look at `_binding` themselves: a property costs a tenth of a read.

    def _find(self, key: Any) -> Any:
        """Return the packed value of ``key``, or None."""
        if self._writes.waiting and (entry := self._waiting(key)) is not None:
            return None if is_over(entry[2]) else entry[1]
        if self._cache is not None:
            return self._cache.read(self._sql.get, key)
        binding = self._binding
        if binding is None or binding.epoch != self._epoch:
            binding = self.binding
        row = binding.one(self._sql.get, key)
        if row is None:
            return None
        packed, expires_at = row
        return packed if expires_at is None or not is_over(expires_at) else None

    def __getitem__(self, key: Any) -> Any:
        packed = self._find(key)
        if packed is None:
            raise self._missing(key)
        value = self._value_of(packed)
        if type(value) is not ChunkedBytes:
            return value
        try:
            return self._join(value)
        except StreamLost:
            # Replaced or removed since the entry was read.
            return self[key]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if there is none."""
        packed = self._find(key)
        if packed is None:
            return default
        value = self._value_of(packed)
        if type(value) is not ChunkedBytes:
            return value
        try:
            return self._join(value)
        except StreamLost:
            return self.get(key, default)

    def _unpack(self, packed: Any, cursor: DriverCursor) -> Any:
        """Return the value that is stored as ``packed``, which was read by ``cursor``."""
        value = self._value_of(packed)
        return value if type(value) is not ChunkedBytes else self._join(value, cursor)

    def _join(self, value: ChunkedBytes, cursor: DriverCursor | None = None) -> bytes:
        return self._streams.whole(value, cursor)

    def __contains__(self, key: Any) -> bool:
        if self._writes.waiting and (entry := self._waiting(key)) is not None:
            return not is_over(entry[2])
        if self._cache is not None:
            return self._cache.contains(self._sql.exists, key)
        binding = self._binding
        if binding is None or binding.epoch != self._epoch:
            binding = self.binding
        row = binding.one(self._sql.exists, key)
        return row is not None and (row[1] is None or not is_over(row[1]))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._takes_any:
            value = _as_bytes(value)
        if self._writes.settings is not None and self._wait(key, value, None):
            return
        binding = self._binding
        if binding is None or binding.epoch != self._epoch or self._writes.waiting:
            binding = self._settled
        binding.run(self._sql.put, key, value)

    def _wait(self, key: Any, value: Any, expires_at: float | None) -> bool:
        """Let an entry wait to be written; return False if it must be written directly."""
        binding = self.binding
        entry = (*self._sql.stored(key, value), expires_at)
        return binding.may_wait and self._writes.offer(binding, key, entry)

    def __delitem__(self, key: Any) -> None:
        if not self.delete(key):
            raise self._missing(key)

    def __len__(self) -> int:
        return int(self._settled.one(self._sql.count, time())[0])

    def __bool__(self) -> bool:
        return self._settled.one(self._sql.any, time()) is not None

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
        if self._writes.settings is None or not self._wait(key, value, until):
            self._settled.run(self._sql.put_until, key, value, until)
            if next(self._expiring) % _SWEEP_EVERY == 0:
                self._settled.run(self._sql.delete_expired, time(), _SWEEP_MOST)

    def exists(self, key: Any) -> bool:
        """Whether there is such a key, as ``key in kv`` does."""
        return key in self

    def delete(self, key: Any) -> bool:
        """Remove ``key``; return whether it was there."""
        return self._settled.run(self._sql.delete, key, time()) > 0

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value; ``default``, if given, where there is none."""
        with self._settled.writing() as cursor:
            row = cursor.one(self._sql.get_for_update, key)
            if row is not None and not is_over(row[1]):
                # Before it is deleted: what cannot be read is not lost.
                value = self._unpack(row[0], cursor)
                cursor.run(self._sql.delete, key, 0.0)
                return value
        if default is _MISSING:
            raise self._missing(key)
        return default

    def popitem(self, last: bool = True) -> tuple[Any, Any]:
        """Remove and return the ``(key, value)`` that was inserted last, or first."""
        with self._settled.writing() as cursor:
            row = cursor.one(self._sql.end(last=last), time())
            if row is not None:
                item = self._sql.key(row[0]), self._unpack(row[1], cursor)
                cursor.run(self._sql.delete, item[0], 0.0)
                return item
        raise NotFound(f"{self!r} is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, which is first set to ``default`` if there is none."""
        if not self._takes_any:
            default = _as_bytes(default)
        with self._settled.writing() as cursor:
            packed = self._find_or_add(cursor, key, default)
            return default if packed is None else self._unpack(packed, cursor)

    def add(self, key: Any, value: Any, ttl: TimeToLive | None = None) -> bool:
        """Set ``key`` only if there is no such key yet; return whether it was set. One statement.

        ``ttl`` is that of :meth:`put`.
        """
        if not self._takes_any:
            value = _as_bytes(value)
        return self._settled.run(self._sql.add, key, value, deadline(ttl), time()) > 0

    def replace(self, key: Any, old: Any, new: Any) -> bool:
        """Set ``key`` to ``new`` only if its value is ``old``; return whether it was set. One statement.

        The stored value must be of the type of ``old`` too, and a dict have its order: compare-and-swap
        compares what is stored. When it expires stays as it was.
        """
        if not self._takes_any:
            old, new = _as_bytes(old), _as_bytes(new)
        if self._settled.run(self._sql.replace, new, key, old, time()):
            return True
        return type(old) is bytes and self._streams.replace(key, old, new)

    def incr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Add ``delta`` to a number, which is ``default`` where there is no such key; return the new one.

        Atomic: no increment is lost between threads or processes. When it expires stays as it was.

        >>> kv = KVault(":memory:")
        >>> kv.incr("visits"), kv.incr("visits", 10), kv.decr("visits")
        (1, 11, 10)
        """
        if type(delta) not in (int, float) or type(default) not in (int, float):
            raise UnsupportedType(f"incr adds an int or float to one, not {delta!r} to {default!r}")
        with self._settled.writing() as cursor:
            packed = self._find_or_add(cursor, key, default + delta)
            if packed is None:
                return default + delta
            value = self._unpack(packed, cursor)
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
            if row is not None and not is_over(row[1]):
                return row[0]
            if cursor.run(self._sql.add, key, value, None, time()):
                return None
            # Another transaction has just added it (PostgreSQL; on SQLite ours is the only writer).

    # -- expiry --------------------------------------------------------------------------------

    def touch(self, key: Any, ttl: TimeToLive | None = None) -> bool:
        """Let ``key`` live for ``ttl`` from now on, None for ever; return whether there is such a key."""
        return self._settled.run(self._sql.touch, deadline(ttl), key, time()) > 0

    def expires_at(self, key: Any) -> float | None:
        """Return when ``key`` expires, in seconds since 1970 as :func:`time.time` counts; None for never."""
        row = self._settled.one(self._sql.exists, key)
        if row is None or is_over(row[1]):
            raise self._missing(key)
        return None if row[1] is None else float(row[1])

    def remove_expired(self) -> int:
        """Remove the entries that have expired, some at a time so that nobody waits long; return how many."""
        removed = 0
        while some := self._settled.run(self._sql.delete_expired, time(), _PAGE):
            removed += some
        return removed

    # -- files and large values ----------------------------------------------------------------

    def put_file(
        self,
        key: Any,
        reader: Reader,
        *,
        size: int | None = None,
        chunk_size: int | None = None,
        progress: Progress | None = None,
        ttl: TimeToLive | None = None,
    ) -> int:
        """Set ``key`` to the bytes of a file, chunk by chunk; return how many there are.

        The value may be larger than memory. It is ``bytes`` for ``kv[key]``. The old value stays until all of the new
        one is stored, and for good if the reader fails or ends too early. Other writers are not kept waiting
        while the reader is read, unless this is part of a transaction of yours.

        Parameters
        ----------
        key
            As for ``kv[key] = value``.
        reader
            A binary file object or anything else with ``read(size)``, ``bytes``, ``bytearray``, ``memoryview``, or a
            :class:`pathlib.Path`.
        size
            How many bytes to read; by default all until the reader ends.
        chunk_size
            Bytes that are read at a time and stored in one row, and that ``open`` reads; 256 KiB by default.
        progress
            Called after each chunk with the number of bytes that were read so far, and the number of all or None.
        ttl
            That of :meth:`put`.

        Raises
        ------
        ReaderFailed
            when the reader raises an exception or ends before ``size`` bytes.
        UnsupportedType
            when it gives text, or is nothing that can be read.
        """
        return self._streams.put(key, reader, size, chunk_size, progress, deadline(ttl))

    def get_to_file(
        self, key: Any, writer: Writer, *, chunk_size: int | None = None, progress: Progress | None = None
    ) -> int:
        """Write the value of ``key``, which must be ``bytes``, chunk by chunk; return how many bytes there are.

        Parameters
        ----------
        key
            As for ``kv[key]``.
        writer
            A binary file object or anything else with ``write(bytes)``, or a :class:`pathlib.Path`.
        chunk_size
            Bytes that are written at a time; by default as they were stored.
        progress
            Called after each write with the number of bytes so far, and of all.
        """
        return self._streams.copy(key, writer, chunk_size, progress)

    def open(self, key: Any) -> io.BufferedReader:
        r"""Return the value of ``key``, which must be ``bytes``, as a readable, seekable file object.

        It has one chunk in memory and keeps no transaction open. If the entry is replaced or removed meanwhile, the
        next read beyond that chunk raises :class:`StreamLost`.

        >>> kv = KVault(":memory:")
        >>> kv.put_file("notes.txt", b"first line\nsecond line\n")
        23
        >>> with kv.open("notes.txt") as file:
        ...     file.readlines()
        [b'first line\n', b'second line\n']
        """
        return self._streams.open(key)

    @property
    def _streams(self) -> Streams:
        return Streams(self._settled, table_of(self.entity), self._sql, create=self._create)

    # -- many entries --------------------------------------------------------------------------

    def update(
        self, other: SupportsKeysAndGetItem[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **keywords: Any
    ) -> None:
        """Set every key of ``other`` and ``keywords``: all of them, or none if one cannot be stored."""
        # Not through a dict, which would take the keys 1 and True for one.
        pairs: Any = other
        if isinstance(other, Mapping):
            pairs = other.items()
            if isinstance(other, KVault) and other.engine is self.engine:
                # Without WAL, nobody can read the file while much is being written.
                pairs = list(pairs)
        elif hasattr(other, "keys"):
            pairs = ((key, pairs[key]) for key in other.keys())  # noqa: SIM118 (need not be iterable)
        self.put_many(chain(pairs, keywords.items()))

    def put_many(self, items: Iterable[tuple[Any, Any]], ttl: TimeToLive | None = None) -> None:
        """Set every ``(key, value)``: all of them, or none if one cannot be stored or ``items`` raises.

        One transaction, and of ``items`` no more than 1000 pairs or some megabytes in memory at a time. An
        iterator that gives more is read while the transaction is open, so it must not write to this database.
        ``ttl`` is that of :meth:`put`.
        """
        pairs = iter(items)
        if not self._takes_any:
            pairs = ((key, _as_bytes(value)) for key, value in map(pair, pairs))
        until = deadline(ttl)
        first = list(islice(pairs, _PAGE))
        if first:
            with self._settled.writing() as cursor:
                put_many(cursor, self._sql, chain(first, pairs), until)

    def get_many(self, keys: Iterable[Any], default: Any = None) -> list[Any]:
        """Return the values of ``keys``, in their order, ``default`` for those that are missing."""
        wanted = list(keys)
        with self._settled.reading() as cursor:
            values = get_many(cursor, self._sql, wanted, default, time())
            return [value if type(value) is not ChunkedBytes else self._join(value, cursor) for value in values]

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Remove ``keys``, all at once; return how many of them were there."""
        wanted = list(keys)
        with self._settled.writing() as cursor:
            return delete_many(cursor, self._sql, wanted, time())

    def clear(self) -> None:
        """Remove every entry."""
        self._settled.run(self._sql.clear)

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
        return self._scan("keys", "id")

    def __reversed__(self) -> Iterator[Any]:
        return self._scan("keys", "id", reverse=True)

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
        the order of keys. (``batch_size`` has no effect.)
        """
        if prefix is None and limit is None:
            return Keys(self)
        return self._some("keys", prefix, limit)

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
        return self._some("values", prefix, limit)

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
        return self._some("items", prefix, limit)

    def copy(self) -> dict[Any, Any]:
        """Return all entries as a ``dict``."""
        return dict(self.items())

    def _some(self, form: Form, prefix: str | bytes | None, limit: int | None) -> Iterator[Any]:
        if limit is not None and operator.index(limit) < 0:
            raise InvalidArgument(f"limit={limit}: expected zero or more, or None for all")
        chosen = self._scan(form, "id") if prefix is None else self._scan(form, "key", *prefix_bounds(prefix))
        return islice(chosen, limit)

    def _scan(
        self, form: Form, order: Order, low: Any = None, high: Any = None, *, reverse: bool = False
    ) -> Iterator[Any]:
        scan = KVScan(self._sql, self._join, form, order, time(), low, high, reverse)
        with self._settled.scanning(scan) as batches:
            for entries in batches:
                yield from entries

    # -- in the order of keys ------------------------------------------------------------------

    def range(self, low: Any = None, high: Any = None, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """Iterate over the entries with ``low <= key < high`` in the order of keys: int < str < bytes.

        None is no bound.

        >>> kv = KVault(":memory:")
        >>> kv.update(a=1, b=2, c=3)
        >>> list(kv.range("a", "c")), list(kv.range("b", reverse=True))
        ([('a', 1), ('b', 2)], [('c', 3), ('b', 2)])
        """
        return self._scan("items", "key", low, high, reverse=reverse)

    def prefix(self, prefix: str | bytes, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """Iterate over the entries whose key begins with ``prefix``, of its type, in the order of keys."""
        return self._scan("items", "key", *prefix_bounds(prefix), reverse=reverse)

    def first(self) -> tuple[Any, Any]:
        """Return the ``(key, value)`` of the smallest key; :class:`NotFound` if there is none."""
        return self._end(reverse=False)

    def last(self) -> tuple[Any, Any]:
        """Return the ``(key, value)`` of the largest key; :class:`NotFound` if there is none."""
        return self._end(reverse=True)

    def _end(self, *, reverse: bool) -> tuple[Any, Any]:
        with self._settled.reading() as cursor:
            row = cursor.one(self._sql.scan("key", reverse=reverse, limit=True), time(), 1)
            if row is None:
                raise NotFound(f"{self!r} is empty")
            return self._sql.key(row[1]), self._unpack(row[2], cursor)

    def delete_range(self, low: Any = None, high: Any = None) -> int:
        """Remove the entries with ``low <= key < high``; None is no bound. Return how many there were."""
        statement = self._sql.delete_range(low=low is not None, high=high is not None)
        return self._settled.run(statement, *(bound for bound in (low, high) if bound is not None), time())

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
        return self._settled.snapshot()

    # -- writes that wait ----------------------------------------------------------------------

    @contextmanager
    def cache(
        self,
        cap_bytes: int = _CAP_BYTES,
        flush_threshold: int | None = None,
        auto_flush: bool = True,
        *,
        flush_interval: float | None = None,
    ) -> Iterator[Self]:
        """Return a context in which ``kv[key] = value`` and ``put`` wait in memory and are written many at a time.

        Every read sees what waits, also through other KVaults with the same bind. At the end, exception or not, all of
        it is written; a flush that fails raises and keeps what waits, so that it can be tried again. Until it is
        written, other processes and connections do not see it, and a process that is killed loses it.

        Bound to a Session or Connection, what waits is part of its transaction: written before the commit, before a
        savepoint and before other statements, forgotten with a rollback. Inside ``transaction()`` writes do not wait.

        Parameters
        ----------
        cap_bytes
            The memory that may be taken, in bytes of keys and packed values.
        flush_threshold
            Bytes that wait before the next write flushes first; a quarter of ``cap_bytes`` by default.
        auto_flush
            False: only the end and :meth:`flush_cache` flush; writing more than ``cap_bytes`` is an error.
        flush_interval
            Seconds after which a thread in the background flushes; see :attr:`background_flush_error`.

        >>> kv = KVault(":memory:")
        >>> with kv.cache():
        ...     for number in range(1000):
        ...         kv[number] = number
        >>> len(kv)
        1000
        """
        settings = self._settings(cap_bytes, flush_threshold, flush_interval, auto_flush)
        before = self._writes.turn(self.binding, settings)
        try:
            yield self
        finally:
            self._writes.turn(self.binding, before)

    def enable_cache(
        self,
        cap_bytes: int = _CAP_BYTES,
        flush_threshold: int | None = None,
        flush_interval: float | None = None,
        auto_flush: bool = True,
    ) -> None:
        """Let writes wait until :meth:`disable_cache` or :meth:`close`; see :meth:`cache`. Again: with other limits."""
        self._writes.turn(self.binding, self._settings(cap_bytes, flush_threshold, flush_interval, auto_flush))
        self._has_enabled = True

    def disable_cache(self) -> None:
        """Write what waits, and every write directly from now on."""
        self._writes.turn(self.binding, None)
        self._has_enabled = False

    def flush_cache(self) -> int:
        """Write what waits, in one transaction; return how many entries. If it fails, all of it still waits."""
        return self._writes.flush(self.binding)

    def lock_cache(self) -> AbstractContextManager[None]:
        """Return a context in which no write flushes: what is written in it becomes visible to others together."""
        return self._writes.held()

    @property
    def background_flush_error(self) -> BaseException | None:
        """Why the last flush by ``flush_interval`` failed, None if it did not. What it was to write still waits."""
        return self._writes.error

    def close(self) -> None:
        """Let the database go, after writing what waits; see :meth:`Container.close`."""
        if self._binding is not None:
            if self._has_enabled:
                self.disable_cache()
            elif self._writes.waiting:
                self._settled  # noqa: B018 (writes)
        if self.read_cache is not None:
            self.read_cache.close()
            self.read_cache = self._cache = None
        super().close()

    def _settings(
        self, cap_bytes: int, flush_threshold: int | None, flush_interval: float | None, auto_flush: bool
    ) -> CacheSettings:
        binding = self.binding
        binding.check_may_cache()
        if flush_interval is not None and binding.is_joined:
            raise InvalidArgument(
                "flush_interval needs a thread of its own, and a Session or Connection is of one thread only: leave it "
                "out, or bind the vault to the engine"
            )
        if flush_threshold is None and type(cap_bytes) is int:
            flush_threshold = max(cap_bytes // 4, 1)
        return CacheSettings(cap_bytes, flush_threshold, flush_interval, auto_flush)  # type: ignore[arg-type]

    # -- results of functions ------------------------------------------------------------------

    memoize = memoize

    # -- looking after it ----------------------------------------------------------------------

    def check(self, fix: bool = False) -> list[Problem]:
        """Look for whatever is wrong with the table; return it, an empty list if nothing is.

        That every key and value can be read and every column has values of its types; that the indexes exist and are
        sound, as far as the database can tell; foreign keys; the table's record in ``vault_table``. Every row is read,
        one by one. Pickles are read only where they are allowed, and are no problem elsewhere.

        Parameters
        ----------
        fix
            Make missing indexes, rebuild damaged ones, write a missing or damaged record anew, remove what has
            expired, and the bytes of streams that no entry names: what a ``put_file`` left whose process was killed.
            (One that is writing now raises :class:`StreamLost` then.) No other entry is removed or changed, whether
            it can be read or not.

        >>> KVault(":memory:").check()
        []
        """
        return KVCheck(
            self._settled, table_of(self.entity), self._sql, self._streams, self.remove_expired, fix=fix
        ).run()

    def stats(self) -> dict[str, Any]:
        """Return figures: ``database``, ``table``, ``entries``, ``expired`` (and not yet removed) and sizes.

        Sizes are in bytes. SQLite: ``database_bytes``, of the file; ``wal_bytes``, of the file ``-wal`` beside it;
        ``free_bytes``, of pages in the file that are free. PostgreSQL: ``database_bytes``; ``table_bytes``, of the
        table without its indexes; ``index_bytes``.

        ``waiting`` entries and ``waiting_bytes`` are in the write cache; they are not among the ``entries``, unless
        those are there already. ``read_cache`` is None, why it is off, or its ``entries``, ``bytes``, ``hits`` and
        ``misses``.
        """
        binding = self.binding
        table = table_of(self.entity)
        entries, expired = binding.one(self._sql.counts, time())
        kept = self.read_cache
        return {
            "database": display_name(binding.engine.url),
            "table": table.name,
            "entries": int(entries),
            "expired": int(expired),
            **maintenance_of(binding).sizes(table),
            "waiting": len(self._writes.waiting),
            "waiting_bytes": self._writes.bytes,
            "read_cache": kept and (kept.reason or kept.figures()),
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


def _write_cache(binding: Binding, sql: KVStatements, name: str) -> WriteCache:
    def write(cursor: DriverCursor, entries: list[Waiting]) -> None:
        put_stored(cursor, sql, entries)
        if any(expires_at is not None for _, _, expires_at in entries):
            cursor.run(sql.delete_expired, time(), _SWEEP_MOST)

    cache = binding.caches.setdefault(name, WriteCache(write))
    assert isinstance(cache, WriteCache)
    return cache


def _reopen(address: str, table: Any, options: dict[str, Any]) -> KVault:
    return KVault(address, table, **options)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise UnsupportedType(
        f"with auto-pack disabled a value is bytes, bytearray or memoryview, not {type(value).__name__}; call "
        "enable_auto_pack() to store any other"
    )
