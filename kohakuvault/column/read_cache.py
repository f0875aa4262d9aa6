"""The read cache of columns in an SQLite file: runs of elements as arrays, never older than the last commit.

Before each answer it is looked whether anything was committed; if so, everything is forgotten and read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from ..binding import Binding
from ..caching.reads import Reads
from ..orm.tables import Block, ColumnRecord, Payload, table_of
from .elements import Elements

if TYPE_CHECKING:
    from .reading import ColumnReading

__all__ = ["ColumnReadCache"]

# Bytes of a run: read in about the time of ten single elements, and large enough that few slices lie across two.
_RUN_BYTES = 1 << 18

# What takes a larger part of the capacity would drive out too much else.
_LARGEST = 4

_Array = np.ndarray[Any, Any]


class ColumnReadCache(Reads[_native.RunCache]):
    """Runs of the elements of columns of numbers, and of vectors of one shape, that are in memory as arrays.

    An entry is a run: 256 KiB of elements, from a multiple of as many on. It is kept when it is read from for the
    second time with no commit in between, so that what changes all the time costs nothing. Arrays that are given are
    read-only views of runs.

    Parameters
    ----------
    binding
        Where the columns are read. Only an engine on an SQLite file in WAL mode can have a cache.
    capacity
        Bytes of memory for the runs, about.
    """

    def __init__(self, binding: Binding, capacity: int) -> None:
        tables = [table_of(entity) for entity in (ColumnRecord, Block, Payload)]
        super().__init__(binding, tables, capacity, _native.RunCache)

    def runs_of(self, column_id: int, elements: Elements) -> _native.ColumnRuns | None:
        """Return what keeps the runs of a column; None where its elements are not kept."""
        size = elements.item_size
        if not size or elements.array_dtype is None or size > self.capacity // _LARGEST:
            return None
        return self._native.of(column_id, max(min(_RUN_BYTES, self.capacity // _LARGEST) // size, 1))

    def read(self, column: ColumnReading, start: int, stop: int | None) -> _Array | None:
        """Return the elements ``start`` to ``stop``, as a slice has them, and keep their runs.

        None for those that are read by SQLite: for the first time, or too many.
        """
        _, mark = self._marked()
        runs = column._runs = self.runs_of(column._id, column._elements)
        if not mark or runs is None:
            return None
        length = runs.length()
        if length is None:
            length = column._length()
            runs.put_length(length, mark)
        start, stop, _ = slice(start, stop).indices(length)
        size, per_run = column._elements.item_size, runs.per_run
        assert size is not None
        if start >= stop or (stop - start) * size > self.capacity // _LARGEST:
            return None
        numbers = range(start // per_run, (stop - 1) // per_run + 1)
        if sum(runs.notice(number) for number in numbers) < len(numbers):
            return None
        parts = []
        for number in numbers:
            first = number * per_run
            run = runs.run(number)
            if run is None:
                run = _read_only(column._array_of(first, min(first + per_run, length)))
                if not runs.put(number, run, mark):
                    return None
            parts.append(run[max(start - first, 0) : stop - first])
        if runs.mark() != mark:
            # Something was committed meanwhile: the parts may be of different states.
            return None
        return parts[0] if len(parts) == 1 else _read_only(np.concatenate(parts))


def _read_only(array: _Array) -> _Array:
    """Return a copy whose memory cannot be made writable."""
    copy: _Array = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
    return copy
