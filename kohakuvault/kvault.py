"""``KVault``: a dict in a table of the application's own database.

Its parts are in :mod:`kohakuvault.kv`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from itertools import chain, islice
from time import time
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from .auto_pack import as_bytes
from .errors import CorruptValue
from .kv.caching import KVCaching
from .kv.care import KVCare
from .kv.expiry import TimeToLive, deadline, is_over
from .kv.files import KVFiles
from .kv.many import delete_many, get_many, pair, put_many
from .kv.memoize import memoize
from .kv.order import KVOrder
from .lending import DriverCursor
from .packing import ChunkedBytes

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

__all__ = ["KVault"]

# Pairs that are taken from an iterator before a transaction begins.
_PAGE = 1000


class KVault(KVOrder, KVFiles, KVCaching, KVCare, MutableMapping[Any, Any]):
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
        files can have that; see :class:`~kohakuvault.kv.read_cache.ReadCache`, and its ``reason``.

    Attributes
    ----------
    read_cache
        The :class:`~kohakuvault.kv.read_cache.ReadCache`, or None.

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
            source: Any = other
            pairs = ((key, source[key]) for key in source.keys())  # noqa: SIM118 (need not be iterable)
        self.put_many(chain(pairs, keywords.items()))

    def put_many(self, items: Iterable[tuple[Any, Any]], ttl: TimeToLive | None = None) -> None:
        """Set every ``(key, value)``: all of them, or none if one cannot be stored or ``items`` raises.

        One transaction, and of ``items`` no more than 1000 pairs or some megabytes in memory at a time. From the
        1001st pair on an iterator is read while the transaction is open: what it does with this vault then is part
        of that, and may be overwritten by pairs that it gave before, which it does not see.
        ``ttl`` is that of :meth:`put`.
        """
        pairs = iter(items)
        if not self._takes_any:
            pairs = ((key, as_bytes(value)) for key, value in map(pair, pairs))
        until = deadline(ttl)
        first = list(islice(pairs, _PAGE))
        if first:
            with self._settled.writing() as cursor:
                put_many(cursor, self._sql, chain(first, pairs), until)

    def get_many(self, keys: Iterable[Any], default: Any = None) -> list[Any]:
        """Return the values of ``keys``, in their order, ``default`` for those that are missing."""
        wanted = list(keys)
        with self._settled.reading() as cursor:
            try:
                values = get_many(cursor, self._sql, wanted, default, time())
            except CorruptValue:
                # Which of them? By the same cursor, and so the same state.
                return [self._one_of_many(cursor, key, default) for key in wanted]
            return [value if type(value) is not ChunkedBytes else self._join(value, cursor) for value in values]

    def _one_of_many(self, cursor: DriverCursor, key: Any, default: Any) -> Any:
        row = cursor.one(self._sql.get, key)
        return default if row is None or is_over(row[1]) else self._unpack(key, row[0], cursor)

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

    memoize = memoize
