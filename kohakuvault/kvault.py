"""``KVault``: a dict in a table of the application's own database."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self

from .binding import Bind, Binding
from .container import Container
from .errors import InvalidArgument, NotFound, StreamLost, UnsupportedType
from .kv_statements import kv_statements
from .lending import DriverCursor
from .orm.tables import KVTable, kv_class, table_of
from .packing import ChunkedBytes
from .schema import entity_of, open_tables
from .stream_source import Reader
from .streams import Progress, Streams, Writer

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

__all__ = ["KVault"]

# Rows fetched at a time when iterating: memory stays flat and a page costs far more than the statement.
_PAGE = 1000

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

    Notes
    -----
    One entry: ``kv[key]``, ``get``, ``in``, ``kv[key] = value``, ``del``, ``pop``, ``popitem``, ``setdefault``;
    ``put``, ``delete`` and ``exists`` are methods for the same.
    Atomic, also between processes: ``add``, ``incr``, ``decr``, ``replace``.
    Many entries: ``update``, ``|=``, ``get_many``, ``put_many``, ``delete_many``, ``clear``.
    In insertion order: iteration, ``reversed``, ``keys``, ``values``, ``items``, ``copy``.
    In the order of keys: ``range``, ``prefix``, ``first``, ``last``, ``delete_range``.
    Together with other writes: ``transaction``. One consistent state: ``snapshot``.
    Files, and values larger than memory: ``put_file``, ``get_to_file``, ``open``.
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
        self.entity: type[KVTable] = entity_of(table, KVTable, lambda name: kv_class(name, pickle))
        self._create = create
        super().__init__(bind)
        binding = self.binding
        self._sql = kv_statements(table_of(self.entity), binding.dialect)
        self._value_of = self._sql.unpack
        if pickle and not self._sql.pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        self._open(binding)

    def __repr__(self) -> str:
        return f"<KVault {table_of(self.entity).name!r} {self._where()}>"

    def _open(self, binding: Binding) -> None:
        open_tables(binding, [table_of(self.entity)], "kv", {}, create=self._create)

    def __getitem__(self, key: Any) -> Any:
        row = self.binding.one(self._sql.get, key)
        if row is None:
            raise NotFound(f"no key {key!r} in {self!r}")
        try:
            return self._unpack(row[0])
        except StreamLost:
            # Replaced or removed since the row was read.
            return self[key]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if there is none."""
        row = self.binding.one(self._sql.get, key)
        try:
            return default if row is None else self._unpack(row[0])
        except StreamLost:
            return self.get(key, default)

    def _unpack(self, data: Any, cursor: DriverCursor | None = None) -> Any:
        """Return the value that is stored as ``data``, which was read by ``cursor`` if there is one."""
        value = self._value_of(data)
        return value if type(value) is not ChunkedBytes else self._streams.whole(value, cursor)

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
        return self.binding.one(self._sql.any) is not None

    # -- one entry -----------------------------------------------------------------------------

    def put(self, key: Any, value: Any) -> None:
        """Set ``key`` to ``value``, as ``kv[key] = value`` does."""
        self[key] = value

    def exists(self, key: Any) -> bool:
        """Whether there is such a key, as ``key in kv`` does."""
        return key in self

    def delete(self, key: Any) -> bool:
        """Remove ``key``; return whether it was there."""
        return self.binding.run(self._sql.delete, key) > 0

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value; ``default``, if given, where there is none."""
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.get_for_update, key)
            if row is not None:
                # Before it is deleted: what cannot be read is not lost.
                value = self._unpack(row[0], cursor)
                cursor.run(self._sql.delete, key)
                return value
        if default is _MISSING:
            raise NotFound(f"no key {key!r} in {self!r}")
        return default

    def popitem(self, last: bool = True) -> tuple[Any, Any]:
        """Remove and return the ``(key, value)`` that was inserted last, or first."""
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.end(last=last))
            if row is not None:
                item = self._sql.key(row[0]), self._unpack(row[1], cursor)
                cursor.run(self._sql.delete, item[0])
                return item
        raise NotFound(f"{self!r} is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, which is first set to ``default`` if there is none."""
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.get, key)
            while row is None:
                if cursor.run(self._sql.add, key, default):
                    return default
                # Another transaction has just added it (PostgreSQL; on SQLite ours is the only writer).
                row = cursor.one(self._sql.get, key)
            return self._unpack(row[0], cursor)

    def add(self, key: Any, value: Any) -> bool:
        """Set ``key`` only if there is no such key yet; return whether it was set. One statement."""
        return self.binding.run(self._sql.add, key, value) > 0

    def replace(self, key: Any, old: Any, new: Any) -> bool:
        """Set ``key`` to ``new`` only if its value is ``old``; return whether it was set. One statement.

        The stored value must be of the type of ``old`` too, and a dict have its order: compare-and-swap
        compares what is stored.
        """
        if self.binding.run(self._sql.replace, new, key, old):
            return True
        return type(old) is bytes and self._streams.replace(key, old, new)

    def incr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Add ``delta`` to a number, which is ``default`` where there is no such key; return the new one.

        Atomic: no increment is lost between threads or processes.

        >>> kv = KVault(":memory:")
        >>> kv.incr("visits"), kv.incr("visits", 10), kv.decr("visits")
        (1, 11, 10)
        """
        if type(delta) not in (int, float) or type(default) not in (int, float):
            raise UnsupportedType(f"incr adds an int or float to one, not {delta!r} to {default!r}")
        with self.binding.writing() as cursor:
            row = cursor.one(self._sql.get_for_update, key)
            while row is None:
                if cursor.run(self._sql.add, key, default + delta):
                    return default + delta
                row = cursor.one(self._sql.get_for_update, key)
            value = self._unpack(row[0], cursor)
            if type(value) not in (int, float):
                raise UnsupportedType(f"incr adds to an int or float; {key!r} is of type {type(value).__name__}")
            total: int | float = value + delta
            cursor.run(self._sql.set, total, key)
            return total

    def decr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Subtract ``delta`` from a number; see :meth:`incr`."""
        return self.incr(key, -delta, default)

    # -- files and large values ----------------------------------------------------------------

    def put_file(
        self,
        key: Any,
        reader: Reader,
        *,
        size: int | None = None,
        chunk_size: int | None = None,
        progress: Progress | None = None,
        ttl: float | None = None,
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
            Seconds until the entry expires; by default it does not.

        Raises
        ------
        ReaderFailed
            when the reader raises an exception or ends before ``size`` bytes.
        UnsupportedType
            when it gives text, or is nothing that can be read.
        """
        expires_at = None if ttl is None else time.time() + ttl
        return self._streams.put(key, reader, size, chunk_size, progress, expires_at)

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
        return Streams(self.binding, table_of(self.entity), self._sql, create=self._create)

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
        if rows:
            with self.binding.writing() as cursor:
                cursor.many(self._sql.put, rows)

    def get_many(self, keys: Iterable[Any], default: Any = None) -> list[Any]:
        """Return the values of ``keys``, in their order, ``default`` for those that are missing."""
        wanted = list(keys)
        found: dict[Any, Any] = {}
        with self.binding.reading() as cursor:
            for some in _chunks(wanted):
                for key, value in cursor.all(self._sql.get_many(len(some)), *some):
                    found[self._sql.key(key)] = self._unpack(value, cursor)
        return [found.get(key, default) for key in wanted]

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Remove ``keys``, all at once; return how many of them were there."""
        wanted = list(keys)
        with self.binding.writing() as cursor:
            return sum(cursor.run(self._sql.delete_many(len(some)), *some) for some in _chunks(wanted))

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
        return (self._sql.key(key) for _, key in self._pages(values=False))

    def __reversed__(self) -> Iterator[Any]:
        return (self._sql.key(key) for _, key in self._pages(values=False, reverse=True))

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, read page by page."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the ``(key, value)`` pairs, read page by page."""
        return _Items(self)

    def copy(self) -> dict[Any, Any]:
        """Return all entries as a ``dict``."""
        return dict(self.items())

    def _pages(self, *, values: bool, reverse: bool = False) -> Iterator[Any]:
        statement = self._sql.id_page(values=values, reverse=reverse)
        mark = 2**63 - 1 if reverse else -(2**63)
        while True:
            rows = self.binding.all(statement, mark, _PAGE)
            yield from rows
            if len(rows) < _PAGE:
                return
            mark = rows[-1][0]

    # -- in the order of keys ------------------------------------------------------------------

    def range(self, low: Any = None, high: Any = None, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """Iterate over the entries with ``low <= key < high`` in the order of keys: int < str < bytes.

        None is no bound. Read page by page.

        >>> kv = KVault(":memory:")
        >>> kv.update(a=1, b=2, c=3)
        >>> list(kv.range("a", "c")), list(kv.range("b", reverse=True))
        ([('a', 1), ('b', 2)], [('c', 3), ('b', 2)])
        """
        start: Literal["from", "after"] = "from"
        while True:
            bounds = [bound for bound in (low, high) if bound is not None]
            statement = self._sql.key_page(reverse=reverse, low=None if low is None else start, high=high is not None)
            rows = self.binding.all(statement, *bounds, _PAGE)
            for key, value in rows:
                yield self._sql.key(key), self._unpack(value)
            if len(rows) < _PAGE:
                return
            if reverse:
                high = self._sql.key(rows[-1][0])
            else:
                low, start = self._sql.key(rows[-1][0]), "after"

    def prefix(self, prefix: str | bytes, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        """Iterate over the entries whose key begins with ``prefix``, of its type, in the order of keys."""
        return self.range(*_prefix_bounds(prefix), reverse=reverse)

    def first(self) -> tuple[Any, Any]:
        """Return the ``(key, value)`` of the smallest key; :class:`NotFound` if there is none."""
        return self._end(reverse=False)

    def last(self) -> tuple[Any, Any]:
        """Return the ``(key, value)`` of the largest key; :class:`NotFound` if there is none."""
        return self._end(reverse=True)

    def _end(self, *, reverse: bool) -> tuple[Any, Any]:
        row = self.binding.one(self._sql.key_page(reverse=reverse, low=None, high=False), 1)
        if row is None:
            raise NotFound(f"{self!r} is empty")
        return self._sql.key(row[0]), self._unpack(row[1])

    def delete_range(self, low: Any = None, high: Any = None) -> int:
        """Remove the entries with ``low <= key < high``; None is no bound. Return how many there were."""
        statement = self._sql.delete_range(low=low is not None, high=high is not None)
        return self.binding.run(statement, *(bound for bound in (low, high) if bound is not None))


class _Keys(KeysView[Any]):
    _mapping: KVault

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping)


class _Values(ValuesView[Any]):
    _mapping: KVault

    def __iter__(self) -> Iterator[Any]:
        return (self._mapping._unpack(value) for _, _, value in self._mapping._pages(values=True))

    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping._unpack(value) for _, _, value in self._mapping._pages(values=True, reverse=True))


class _Items(ItemsView[Any, Any]):
    _mapping: KVault

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._pairs(reverse=False)

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return self._pairs(reverse=True)

    def _pairs(self, *, reverse: bool) -> Iterator[tuple[Any, Any]]:
        vault = self._mapping
        decode = vault._sql.key
        return ((decode(key), vault._unpack(value)) for _, key, value in vault._pages(values=True, reverse=reverse))


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


def _prefix_bounds(prefix: str | bytes) -> tuple[Any, Any]:
    """Return the half-open range of the keys that begin with ``prefix``."""
    if isinstance(prefix, bytes):
        # The last byte that can be raised; behind nothing but ff there is no bound.
        stem = prefix.rstrip(b"\xff")
        return prefix, stem[:-1] + bytes([stem[-1] + 1]) if stem else None
    if isinstance(prefix, str):
        letters = prefix.rstrip(chr(sys.maxunicode))
        if not letters:
            return prefix, b""  # the smallest key that is not text
        # Surrogates are no characters.
        following = ord(letters[-1]) + 1
        return prefix, letters[:-1] + chr(0xE000 if following == 0xD800 else following)
    raise UnsupportedType(f"a prefix is str or bytes, not {type(prefix).__name__}")
