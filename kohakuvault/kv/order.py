"""The entries of a KVault in order: of insertion, as a dict has them, and of keys."""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from itertools import islice
from time import time
from typing import Any, overload

from ..errors import InvalidArgument, NotFound, UnsupportedType
from ..orm.types.key import prefix_bounds
from .entries import KVEntries
from .scan import Form, Items, Keys, KVScan, Values
from .statements import Order

__all__ = ["KVOrder"]


class KVOrder(KVEntries):
    """The part of :class:`~kohakuvault.KVault` that iterates."""

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
        if limit is not None:
            if type(limit) is not int:
                raise UnsupportedType(f"limit is an int or None, not {limit!r:.60}")
            if limit < 0:
                raise InvalidArgument("limit is negative: expected zero or more, or None for all")
            limit = min(limit, sys.maxsize)
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

        >>> from kohakuvault import KVault
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
            key = self._sql.key(row[1])
            return key, self._unpack(key, row[2], cursor)

    def delete_range(self, low: Any = None, high: Any = None) -> int:
        """Remove the entries with ``low <= key < high``; None is no bound. Return how many there were."""
        statement = self._sql.delete_range(low=low is not None, high=high is not None)
        return self._settled.run(statement, *(bound for bound in (low, high) if bound is not None), time())
