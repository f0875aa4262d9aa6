"""One entry of a KVault: reading, writing, what is atomic, and when it expires."""

from __future__ import annotations

from time import time
from typing import Any

from ..auto_pack import AutoPack, as_bytes
from ..errors import CorruptValue, InvalidArgument, NotFound, StreamLost, UnsupportedType, corrupt_at
from ..lending import DriverCursor
from ..packing import ChunkedBytes
from .base import SWEEP_EVERY, SWEEP_MOST, KVBase
from .expiry import TimeToLive, deadline, is_over

__all__ = ["KVEntries"]

# Entries that are removed in one transaction when they have expired.
_PAGE = 1000

_MISSING: Any = object()


class KVEntries(AutoPack, KVBase):
    """The part of :class:`~kohakuvault.KVault` that reads and writes one entry at a time."""

    # `_find`, `in` and `kv[key] = value` look at `_binding` themselves: a property costs a tenth of a read.

    def _find(self, key: Any) -> Any:
        """Return the packed value of ``key``, or None."""
        if self._writes.waiting and (entry := self._waiting(key)) is not None:
            return None if is_over(entry[1]) else entry[0]
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
        if self._cache is not None and not self._writes.waiting:
            packed = self._cache.read(self._sql.get, key)
        else:
            packed = self._find(key)
        if packed is None:
            raise self._missing(key)
        try:
            value = self._value_of(packed)
            return value if type(value) is not ChunkedBytes else self._join(value)
        except StreamLost:
            # Replaced or removed since the entry was read.
            return self[key]
        except CorruptValue as error:
            raise corrupt_at(key, error) from error

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if there is none."""
        packed = self._find(key)
        if packed is None:
            return default
        try:
            value = self._value_of(packed)
            return value if type(value) is not ChunkedBytes else self._join(value)
        except StreamLost:
            return self.get(key, default)
        except CorruptValue as error:
            raise corrupt_at(key, error) from error

    def __contains__(self, key: Any) -> bool:
        if self._writes.waiting and (entry := self._waiting(key)) is not None:
            return not is_over(entry[1])
        if self._cache is not None:
            return self._cache.contains(self._sql.exists, key)
        binding = self._binding
        if binding is None or binding.epoch != self._epoch:
            binding = self.binding
        row = binding.one(self._sql.exists, key)
        return row is not None and (row[1] is None or not is_over(row[1]))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._takes_any:
            value = as_bytes(value)
        if self._writes.settings is not None and self._wait(key, value, None):
            return
        binding = self._binding
        if binding is None or binding.epoch != self._epoch or self._writes.waiting:
            binding = self._settled
        binding.run(self._sql.put, key, value)

    def __delitem__(self, key: Any) -> None:
        if not self.delete(key):
            raise self._missing(key)

    def __len__(self) -> int:
        return int(self._settled.one(self._sql.count, time())[0])

    def __bool__(self) -> bool:
        return self._settled.one(self._sql.any, time()) is not None

    # -- as methods ----------------------------------------------------------------------------

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

        >>> from kohakuvault import KVault
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
            value = as_bytes(value)
        if self._writes.settings is None or not self._wait(key, value, until):
            self._settled.run(self._sql.put_until, key, value, until)
            if next(self._expiring) % SWEEP_EVERY == 0:
                self._settled.run(self._sql.delete_expired, time(), SWEEP_MOST)

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
                value = self._unpack(key, row[0], cursor)
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
                key = self._sql.key(row[0])
                item = key, self._unpack(key, row[1], cursor)
                cursor.run(self._sql.delete, item[0], 0.0)
                return item
        raise NotFound(f"{self!r} is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, which is first set to ``default`` if there is none."""
        if not self._takes_any:
            default = as_bytes(default)
        with self._settled.writing() as cursor:
            packed = self._find_or_add(cursor, key, default)
            return default if packed is None else self._unpack(key, packed, cursor)

    # -- atomic --------------------------------------------------------------------------------

    def add(self, key: Any, value: Any, ttl: TimeToLive | None = None) -> bool:
        """Set ``key`` only if there is no such key yet; return whether it was set. One statement.

        ``ttl`` is that of :meth:`put`.
        """
        if not self._takes_any:
            value = as_bytes(value)
        return self._settled.run(self._sql.add, key, value, deadline(ttl), time()) > 0

    def replace(self, key: Any, old: Any, new: Any) -> bool:
        """Set ``key`` to ``new`` only if its value is ``old``; return whether it was set. One statement.

        The stored value must be of the type of ``old`` too, and a dict have its order. When it expires stays as it
        was. (Where it was stored by ``Json(x)`` or another wrapper: one transaction.)
        """
        if not self._takes_any:
            old, new = as_bytes(old), as_bytes(new)
        if self._settled.run(self._sql.replace, new, key, old, time()):
            return True
        if type(old) is bytes and self._streams.replace(key, old, new):
            return True
        # The same value in an encoding that was asked for when it was written, as by Json(x)?
        packed, compared = self._find(key), self._sql.pack(old)
        return packed is not None and packed[:1] != compared[:1] and self._replace_encoded(key, compared, new)

    def _replace_encoded(self, key: Any, compared: bytes, new: Any) -> bool:
        with self._settled.writing() as cursor:
            row = cursor.one(self._sql.get_for_update, key)
            if row is None or is_over(row[1]):
                return False
            value = self._unpack(key, row[0], cursor)
            if self._sql.pack(value) != compared:
                return False
            return cursor.run(self._sql.set, new, key) > 0

    def incr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Add ``delta`` to a number, which is ``default`` where there is no such key; return the new one.

        Atomic: no increment is lost between threads or processes. When it expires stays as it was. A number that was
        stored by ``Json(x)`` or another wrapper is stored as a plain one.

        >>> from kohakuvault import KVault
        >>> kv = KVault(":memory:")
        >>> kv.incr("visits"), kv.incr("visits", 10), kv.decr("visits")
        (1, 11, 10)
        """
        _check_numbers("incr", delta, default)
        with self._settled.writing() as cursor:
            packed = self._find_or_add(cursor, key, default + delta)
            if packed is None:
                return default + delta
            value = self._unpack(key, packed, cursor)
            if type(value) not in (int, float):
                raise UnsupportedType(f"incr adds to an int or float; {key!r} is of type {type(value).__name__}")
            try:
                total: int | float = value + delta
            except OverflowError as error:
                raise InvalidArgument(f"{key!r} has an int that is too large to add a float to") from error
            cursor.run(self._sql.set, total, key)
            return total

    def decr(self, key: Any, delta: int | float = 1, default: int | float = 0) -> int | float:
        """Subtract ``delta`` from a number; see :meth:`incr`."""
        _check_numbers("decr", delta, default)
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


def _check_numbers(what: str, delta: Any, default: Any) -> None:
    for name, number in (("delta", delta), ("default", default)):
        if type(number) not in (int, float):
            raise UnsupportedType(f"{what}: {name} is an int or float, not {type(number).__name__}")
