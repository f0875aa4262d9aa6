"""Many entries of a KV table at once: inside the connection where that has ``kv_rows``, otherwise one by one.

Where it has, the driver is given a buffer with many rows and SQLite reads the rows from there, at less than half
the cost of giving it each row. The results are the same either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from .._native import WriteBuffer, pack_keys, pack_rows
from ..errors import InvalidArgument
from ..lending import DriverCursor
from ..statements import filled_up
from .statements import KVStatements

__all__ = ["delete_many", "get_many", "pair", "put_many", "put_waiting"]

# Bytes of a buffer: what is smaller costs more statements, what is larger leaves the processor's cache.
_ROWS = 1 << 18
_KEYS = 1 << 16

# Rows that are given to the driver at a time.
_PAGE = 1000


def put_many(
    cursor: DriverCursor, sql: KVStatements, pairs: Iterable[tuple[Any, Any]], expires_at: float | None
) -> None:
    """Set every ``(key, value)``, reading ``pairs`` bit by bit."""
    rest = iter(pairs)
    if not (sql.takes_rows and cursor.has_rows):
        while some := [pair(item) for item in islice(rest, _PAGE)]:
            cursor.many(sql.put_until, [(key, value, expires_at) for key, value in some])
        return
    while True:
        rows, large = pack_rows(rest, _ROWS, sql.pickle, sql.encoding)
        if rows is not None:
            cursor.run(sql.put_rows, rows, expires_at)
        if large is not None:
            cursor.run(sql.put_until, *large, expires_at)
        elif rows is None:
            return


def put_waiting(cursor: DriverCursor, sql: KVStatements, waiting: WriteBuffer) -> bool:
    """Set the entries of a buffer, which are as the driver takes them, in their order: it is that of insertion.

    Returns whether any of them expires.
    """
    as_rows = sql.takes_rows and cursor.has_rows
    start, expiring = 0, False
    while True:
        start, rows, entries = waiting.page(start, _ROWS, as_rows)
        if rows is not None:
            cursor.run(sql.put_rows, rows, None)
        elif entries is not None:
            cursor.many(sql.put_stored, entries)
            expiring = expiring or any(expires_at is not None for _, _, expires_at in entries)
        else:
            return expiring


def get_many(cursor: DriverCursor, sql: KVStatements, keys: list[Any], default: Any, now: float) -> list[Any]:
    """Return the values of ``keys``, in their order, ``default`` for those that are missing."""
    unpack = sql.unpack
    if not (sql.takes_rows and cursor.has_rows):
        found = {
            sql.key(key): unpack(value)
            for some in filled_up(keys)
            for key, value in cursor.all(sql.get_many(len(some)), *some, now)
        }
        return [found.get(key, default) for key in keys]
    values: list[Any] = []
    for rows in _buffers(keys):
        values += [default if data is None else unpack(data) for (data,) in cursor.each(sql.get_rows, now, rows)]
    return values


def delete_many(cursor: DriverCursor, sql: KVStatements, keys: list[Any], now: float) -> int:
    """Remove ``keys``; return how many of them were there."""
    if not (sql.takes_rows and cursor.has_rows):
        return sum(cursor.run(sql.delete_many(len(some)), *some, now) for some in filled_up(keys))
    return sum(cursor.run(sql.delete_rows, rows, now) for rows in _buffers(keys))


def _buffers(keys: list[Any]) -> Iterator[bytes]:
    rest = iter(keys)
    while (rows := pack_keys(rest, _KEYS)) is not None:
        yield rows


def pair(item: Any) -> tuple[Any, Any]:
    """Return ``item`` if it is a pair; otherwise raise."""
    try:
        key, value = item
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"expected pairs of key and value, not {item!r:.60}") from error
    return key, value
