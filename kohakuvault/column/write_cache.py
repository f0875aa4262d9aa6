"""Elements of columns that wait to be appended; see :mod:`kohakuvault.caching.writes`.

Those of all columns of a bind are written in one transaction: never those of some columns and not of others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.engine import Dialect

from .._native import ColumnBuffer, ColumnSlot
from ..binding import Binding
from ..caching.settings import CacheSettings
from ..caching.writes import WriteCache
from ..errors import NotFound
from ..lending import DriverCursor
from .blocks import Blocks
from .form import Form
from .statements import block_statements

__all__ = ["ColumnWriteCache", "write_cache_of"]


class _Open(NamedTuple):
    """A column that elements have waited for."""

    name: str
    form: Form
    slot: ColumnSlot


class ColumnWriteCache(WriteCache[ColumnBuffer]):
    """What waits to be appended to the columns of one bind.

    ``settings`` are those of all columns; some may have their own.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(ColumnBuffer)
        self._sql = block_statements(dialect)
        self._own: dict[int, CacheSettings] = {}
        self._open: dict[int, _Open] = {}
        # Columns that the last flush did not find: name, and how many elements waited for it.
        self._gone: list[tuple[str, int]] = []

    @property
    def is_on(self) -> bool:
        """Whether elements of any column wait."""
        return self.settings is not None or bool(self._own)

    def begin_column(self, binding: Binding, column_id: int, settings: CacheSettings) -> CacheSettings | None:
        """As ``begin``, for one column."""
        with self._lock:
            self.flush(binding)
            before = self._own.get(column_id)
            self._own[column_id] = settings
            self._admit()
            return before

    def end_column(self, binding: Binding, column_id: int, settings: CacheSettings | None) -> None:
        """As ``end``, for one column, which is one of all again with None."""
        with self._lock:
            if settings is None:
                self._own.pop(column_id, None)
            else:
                self._own[column_id] = settings
            self._admit()
            self.flush(binding)

    def _admit(self) -> None:
        own = [(column_id, min(self._most(settings), sys.maxsize)) for column_id, settings in self._own.items()]
        self._buffer.admit(min(self._most(self.settings), sys.maxsize), own)

    def put_of(self, binding: Binding, column_id: int, form: Form) -> Callable[[Any], bool] | None:
        """Return what takes an element that can wait without ado: it returns whether it did, False for a wrong value.

        None where :meth:`offer` has to be asked: always in a Session, which is told of every write.
        """
        open_ = self._open.get(column_id)
        if open_ is None or open_.form != form or binding.is_joined:
            return None
        return open_.slot.append

    def offer(self, binding: Binding, column_id: int, name: str, form: Form, count: int, stream: bytes) -> bool:
        """Let elements, packed as the tail has them, wait; return False if they have to be written directly.

        Such are those that are too large to wait. Raises as :meth:`WriteCache._take`.
        """
        with self._lock:
            settings = self._own.get(column_id, self.settings)
            if settings is None:
                return False
            slot = self._slot(column_id, name, form)

            def add(buffer: ColumnBuffer, most: int) -> bool:
                return slot.insert(count, stream, most)

            return self._take(binding, settings, len(stream), add)

    def offer_row(self, binding: Binding, row: Sequence[tuple[int, str, Form, bytes]]) -> bool:
        """As :meth:`offer`, for one element of each of several columns: no flush comes between them."""
        with self._lock:
            settings = self.settings
            if settings is None:
                return False
            slots = [(self._slot(column_id, name, form), stream) for column_id, name, form, stream in row]
            size = sum(len(stream) for _, stream in slots)

            def add(buffer: ColumnBuffer, most: int) -> bool:
                if buffer.bytes + size > most:
                    return False
                for slot, stream in slots:
                    slot.insert(1, stream, sys.maxsize)
                return True

            return self._take(binding, settings, size, add)

    def _slot(self, column_id: int, name: str, form: Form) -> ColumnSlot:
        """Return what takes the elements of a column."""
        open_ = self._open.get(column_id)
        if open_ is None or open_.form != form:
            slot = self._buffer.slot(column_id, form.elements.codec.dtype)
            open_ = self._open[column_id] = _Open(name, form, slot)
        return open_.slot

    def flush_for(self, binding: Binding, column_id: int) -> int:
        """Write all that waits, of all columns; return how many bytes were of one."""
        with self._lock:
            open_ = self._open.get(column_id)
            size = open_.slot.bytes if open_ is not None else 0
            self.flush(binding)
            return size

    def flush(self, binding: Binding) -> int:
        """Write all that waits in one transaction; return how many bytes.

        Raises
        ------
        NotFound
            if a column has been deleted, after what waited for the others was written.
        """
        with self._lock:
            count = super().flush(binding)
            self._tell_gone()
            return count

    def flush_on(self, cursor: DriverCursor) -> None:
        """Write all that waits by ``cursor``, whose transaction it is part of. Raises as :meth:`flush`."""
        with self._lock:
            super().flush_on(cursor)
            self._tell_gone()

    def _write(self, cursor: DriverCursor, waiting: ColumnBuffer) -> None:
        self._gone = []
        for column_id, count, stream in waiting.streams():
            open_ = self._open[column_id]
            try:
                Blocks(cursor, self._sql, column_id, open_.form).append_stream(count, stream)
            except NotFound:
                self._gone.append((open_.name, count))

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, []
        if gone:
            columns = ", ".join(f"{count} for {name!r}" for name, count in gone)
            raise NotFound(
                f"elements that waited are lost, as their columns have been deleted meanwhile: {columns}. "
                "What waited for other columns was written"
            )

    def forget_parent(self) -> None:
        """Start anew in a forked child."""
        self._open = {}
        self._gone = []
        super().forget_parent()


def write_cache_of(binding: Binding) -> ColumnWriteCache:
    """Return the cache that all columns of a bind share."""
    cache = binding.caches.get(_NAME)
    if cache is None:
        # Of two threads that are here at once, one's is taken.
        cache = binding.caches.setdefault(_NAME, ColumnWriteCache(binding.dialect))
    assert isinstance(cache, ColumnWriteCache)
    return cache


# Beside the caches of dicts, which have the names of their tables: none begins so.
_NAME = "vault_column"
