"""Iterating over a KVault: its entries in order, and the views that ``keys()``, ``values()`` and ``items()`` give."""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import UnsupportedType
from .kv_statements import KVStatements, Order
from .scanning import Run
from .statements import Statement

if TYPE_CHECKING:
    from .kvault import KVault

__all__ = ["Items", "KVScan", "Keys", "Values", "prefix_bounds"]


@dataclass
class KVScan:
    """Entries whose id or key is at least ``low`` and less than ``high`` (None: no bound); those that have not expired.

    Rows are mark, key and, if ``values``, value, as the driver gives them. See :class:`~kohakuvault.scanning.Scan`.
    """

    sql: KVStatements
    order: Order
    # What has expired then is left out, of every page.
    now: float
    low: Any = None
    high: Any = None
    reverse: bool = False
    values: bool = True

    def whole(self) -> tuple[Statement, Sequence[Any]]:
        return self._statement(self.low, "from", self.high, None)

    def page(self, mark: Any, size: int) -> tuple[Statement, Sequence[Any]]:
        if mark is None:
            return self._statement(self.low, "from", self.high, size)
        if self.order == "key":
            mark = self.sql.key(mark)
        if self.reverse:
            return self._statement(self.low, "from", mark, size)
        return self._statement(mark, "after", self.high, size)

    def bound(self, run: Run) -> None:
        # Keys that are added in between belong to a range; what is inserted at the end would never end.
        if self.order == "id" and not self.reverse:
            ((largest,),) = run(self.sql.largest_id)
            self.high = (largest or 0) + 1

    def _statement(self, low: Any, kind: Any, high: Any, limit: int | None) -> tuple[Statement, Sequence[Any]]:
        statement = self.sql.scan(
            self.order,
            low=None if low is None else kind,
            high=high is not None,
            reverse=self.reverse,
            values=self.values,
            limit=limit is not None,
        )
        values = [value for value in (low, high) if value is not None]
        return statement, [*values, self.now] if limit is None else [*values, self.now, limit]


def prefix_bounds(prefix: str | bytes) -> tuple[Any, Any]:
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


class Keys(KeysView[Any]):
    """The keys of a KVault, in the order of insertion."""

    _mapping: KVault

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping)


class Values(ValuesView[Any]):
    """The values of a KVault, in the order of insertion."""

    _mapping: KVault

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._items("id"))

    def __reversed__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._items("id", reverse=True))


class Items(ItemsView[Any, Any]):
    """The entries of a KVault, in the order of insertion."""

    _mapping: KVault

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._items("id")

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._items("id", reverse=True)
