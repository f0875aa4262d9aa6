"""Iterating over a KVault: its entries in order, and the views that ``keys()``, ``values()`` and ``items()`` give."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Sequence, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._native import PageScan
from ..errors import CorruptValue, InvalidArgument, UnsupportedType, corrupt_at
from ..lending import DriverCursor
from ..packing import ChunkedBytes
from ..scanning import Run
from ..statements import Statement
from .statements import KVStatements, Order

if TYPE_CHECKING:
    from ..kvault import KVault

__all__ = ["Form", "Items", "KVScan", "Keys", "Values"]

Form = Literal["keys", "values", "items"]

# A page that is collected: rows of the first, for whoever wants only one; rows, and bytes, of those that follow, which
# are to fit into the processor's cache.
_FIRST, _MOST, _BYTES = 8, 1000, 1 << 18


@dataclass
class KVScan:
    """Entries whose id or key is at least ``low`` and less than ``high`` (None: no bound); those that have not expired.

    Entries are keys, values or pairs, as ``form`` says. See :class:`~kohakuvault.scanning.Scan`.
    """

    sql: KVStatements
    # Makes bytes of a value in chunks, read by a cursor if there is one.
    join: Callable[[ChunkedBytes, DriverCursor | None], bytes]
    form: Form
    order: Order
    # What has expired then is left out, of every page.
    now: float
    low: Any = None
    high: Any = None
    reverse: bool = False
    _cursor: DriverCursor | None = None

    def whole(self, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        return self._statement(self.low, "from", self.high, None, token)

    def page(self, mark: Any, size: int | None = None, token: int | None = None) -> tuple[Statement, Sequence[Any]]:
        if mark is None:
            return self._statement(self.low, "from", self.high, size, token, pages=True)
        if self.order == "key":
            mark = self.sql.key(mark)
        if self.reverse:
            return self._statement(self.low, "from", mark, size, token, pages=True)
        return self._statement(mark, "after", self.high, size, token, pages=True)

    def bound(self, run: Run) -> None:
        # Keys that are added in between belong to a range; what is inserted at the end would never end.
        if self.order == "id" and not self.reverse:
            ((largest,),) = run(self.sql.largest_id)
            self.high = (largest or 0) + 1

    def beside(self, cursor: DriverCursor) -> None:
        self._cursor = cursor

    def entries(self, rows: Iterable[Any]) -> Iterator[Any]:
        decode = self.sql.key
        if self.form == "keys":
            return (decode(key) for _, key in rows)
        if self.form == "values":
            return (self._value(decode(key), value) for _, key, value in rows)
        return ((key := decode(stored), self._value(key, value)) for _, stored, value in rows)

    def collector(self) -> PageScan | None:
        return PageScan(self.form, _FIRST, _MOST, _BYTES) if self.sql.takes_rows else None

    def collected(self, collector: PageScan) -> Iterator[Iterable[Any]]:
        while (taken := collector.take()) is not None:
            entries, left = taken
            yield entries
            if left is not None:
                value = self._value(*left)
                yield [value if self.form == "values" else (left[0], value)]

    def _value(self, key: Any, stored: Any) -> Any:
        try:
            value = self.sql.unpack(stored)
            return value if type(value) is not ChunkedBytes else self.join(value, self._cursor)
        except CorruptValue as error:
            raise corrupt_at(key, error) from error

    def _statement(
        self, low: Any, kind: Any, high: Any, limit: int | None, token: int | None, *, pages: bool = False
    ) -> tuple[Statement, Sequence[Any]]:
        statement = self.sql.scan(
            self.order,
            low=None if low is None else kind,
            high=high is not None,
            reverse=self.reverse,
            values=self.form != "keys",
            limit=pages,
            collect=token is not None,
        )
        last = limit if token is None else token
        values = [value for value in (low, high, self.now, last) if value is not None]
        return statement, values


class Keys(KeysView[Any]):
    """The keys of a KVault, in the order of insertion."""

    _mapping: KVault

    def __contains__(self, key: object) -> bool:
        # What cannot be a key is in no set of keys.
        try:
            return key in self._mapping
        except (UnsupportedType, InvalidArgument):
            return False

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping)


class Values(ValuesView[Any]):
    """The values of a KVault, in the order of insertion."""

    _mapping: KVault

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._scan("values", "id")

    def __reversed__(self) -> Iterator[Any]:
        return self._mapping._scan("values", "id", reverse=True)


class Items(ItemsView[Any, Any]):
    """The entries of a KVault, in the order of insertion."""

    _mapping: KVault

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        try:
            return super().__contains__(item)
        except (UnsupportedType, InvalidArgument):
            return False

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._scan("items", "id")

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._scan("items", "id", reverse=True)
