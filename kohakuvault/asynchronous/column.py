"""``AsyncColumn``: one column of an ``AsyncColumnVault``."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from ..columns import Column, ColumnVault
from .operations import Face, operation, scan, taken

if TYPE_CHECKING:
    from .columns import AsyncColumnVault

__all__ = ["AsyncColumn"]

R = TypeVar("R")


class AsyncColumn(Face[Column]):
    """A :class:`~kohakuvault.Column` whose methods are coroutines.

    ``vault[name]`` gives one without looking; the first operation raises :class:`NotFound` if there is no such column.

    Notes
    -----
    The methods are those of :class:`~kohakuvault.Column`, with ``await``; ``await column[i]`` and ``await column[a:b]``
    are there, and for ``column[i] = value``, ``del column[i]``, ``value in column`` and ``len(column)`` there are
    ``set``, ``delete``, ``contains`` and ``length``. With ``async for``: ``column`` and ``iter_batches``.
    """

    _has_it, _each = "await column.contains(value)", "async for value in column"

    def __init__(self, vault: AsyncColumnVault, name: str, column: Column | None = None) -> None:
        self._vault = vault
        self._name = name
        self._column = column

    def __repr__(self) -> str:
        return f"<AsyncColumn {self.name!r} of {self._vault!r}>"

    @property
    def name(self) -> str:
        """The column's name."""
        return self._name if self._column is None else self._column.name

    def _operate(self, function: Callable[[Column], R]) -> Coroutine[Any, Any, R]:
        return self._vault._operate(lambda vault: function(self._found(vault)))

    def _found(self, vault: ColumnVault) -> Column:
        column = self._column
        # Another vault, after a loop that is over.
        if column is None or column._vault is not vault:
            column = self._column = vault[self._name]
        return column

    def dtype(self) -> Coroutine[Any, Any, str]:
        """Return the dtype string."""
        return self._operate(lambda column: column.dtype)

    # Reading.
    __getitem__ = operation(Column.__getitem__)
    get = operation(Column.__getitem__)
    take = operation(Column.take)
    read = operation(Column.read)
    read_array = operation(Column.read_array)
    read_buffer = operation(Column.read_buffer)
    to_numpy = operation(Column.to_numpy)
    to_arrow = operation(Column.to_arrow)
    length = operation(Column.__len__)
    __aiter__ = scan(Column.__iter__)
    iter_batches = scan(Column.iter_batches)

    # Looking for values.
    contains = operation(Column.__contains__)
    index = operation(Column.index)
    count = operation(Column.count)
    sum = operation(Column.sum)
    mean = operation(Column.mean)
    min = operation(Column.min)
    max = operation(Column.max)
    where = operation(Column.where)

    # Writing.
    append = operation(Column.append)
    append_array = operation(Column.append_array)
    insert = operation(Column.insert)
    set = operation(Column.__setitem__)
    delete = operation(Column.__delitem__)
    pop = operation(Column.pop)
    remove = operation(Column.remove)
    reverse = operation(Column.reverse)
    sort = operation(Column.sort)
    clear = operation(Column.clear)

    def extend(self, values: Iterable[Any] | AsyncIterable[Any]) -> Coroutine[Any, Any, None]:
        """Append every one of ``values``: all of them, or none; see :meth:`Column.extend`."""
        return self._operate(lambda column: column.extend(taken(values)))

    # Care.
    check = operation(Column.check)
    storage_info = operation(Column.storage_info)
