"""Reading the elements of a Column: one, some, or all, as Python values or arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InvalidArgument, UnsupportedType
from ..lending import DriverCursor
from .base import ColumnBase
from .elements import Part
from .places import END, as_index, as_slice, is_many, place_of, places_of, span

__all__ = ["ColumnReading"]

# Of `take`: elements that are not asked for are read too rather than begin another read, up to so many bytes.
_NEAR_BYTES = 64_000
_SPAN_BYTES = 16 << 20

# Blocks whose bytes are gathered rather than read one by one.
_GATHERED = 2

_Array = np.ndarray[Any, Any]


class ColumnReading(ColumnBase):
    """The part of :class:`~kohakuvault.Column` that reads."""

    def __getitem__(self, index: Any) -> Any:
        if type(index) is int and -END < index < END:
            return self._at(index)
        if type(index) is slice:
            return self._slice(index)
        if is_many(index):
            return self.take(index, as_array=self._elements.stacks)
        return self._at(as_index(index))

    def _at(self, index: int) -> Any:
        if self._vault._cache is not None and (value := self._kept_at(index)) is not None:
            return value
        size = self._size
        if size is None:
            return self._at_of_block(index)
        binding = self._settled
        if 0 <= index < self._sealed:
            row = binding.one(self._element, index, self._id)
            if row is None or row[0] is None:
                row = binding.one(self._tail_element, index, self._id)
                self._sealed = index
        else:
            row = binding.one(self._tail_element, index, self._id)
            if row is None and index >= 0:
                row = binding.one(self._element, index, self._id)
                if row is not None and row[0] is not None:
                    self._sealed = index + 1
        if row is None or row[0] is None:
            return self._sought(index)
        return self._elements.unpack_one(row[0], 1, 0)

    def _at_of_block(self, index: int) -> Any:
        form = self._form
        if index >= 0:
            row = self._settled.one(self._sql.block, index, self._id)
            if row is not None and type(row[0]) is type(row[1]) is int and type(row[2]) is bytes:
                start, count, data = row
                return self._elements.unpack_one(form.load(data, count), count, index - start)
        return self._sought(index)

    def _sought(self, index: int) -> Any:
        """Return element ``index``, wherever it is; or say that it is beyond the end, or that the column is damaged."""
        with self._settled.reading() as cursor:
            blocks = self._blocks(cursor)
            place = place_of(index, blocks.length(exact=index < 0))
            return self._elements.unpack(blocks.read(place, place + 1))[0]

    def _slice(self, index: slice) -> Any:
        if index.step is None or index.step == 1:
            if self._vault._cache is not None and (array := self._kept(index.start, index.stop)) is not None:
                return array.copy() if self._elements.stacks else array.tolist()
            return self._between(index.start, index.stop, self._elements.unpack)
        index = as_slice(index)
        with self._settled.reading() as cursor:
            places = range(self._blocks(cursor).length(exact=True))[index]
            if not places:
                return self._elements.unpack([])
            low, high = span(places)
            run = self._elements.unpack(self._parts(cursor, low, high))
            return run[places[0] - low :: places.step]

    def _array_of(self, start: Any, stop: Any) -> _Array:
        array: _Array = self._between(start, stop, self._elements.to_numpy)
        return array

    def _kept(self, start: Any, stop: Any) -> _Array | None:
        """Return elements as a read-only array, from the read cache; None if it does not have them."""
        cache, runs = self._cached, self._runs
        if cache is None:
            return None
        if runs is not None and (array := runs.view(start, stop)) is not None:
            return array
        return cache.read(self, 0 if start is None else as_index(start), None if stop is None else as_index(stop))

    def _kept_at(self, index: int) -> Any:
        """Return an element from the read cache; None if it does not have it."""
        cache = self._cached
        if cache is None:
            return None
        runs, stacks = self._runs, self._elements.stacks
        if runs is not None and not stacks and (value := runs.item(index)) is not None:
            return value
        array = self._kept(index, index + 1 or None)
        if array is None or not len(array):
            return None
        return array[0].copy() if stacks else array.item()

    def _between(self, start: Any, stop: Any, unpack: Any) -> Any:
        """Return what ``unpack`` makes of the elements ``start`` to ``stop``, as a slice has them."""
        start = 0 if start is None else start if type(start) is int and -END < start < END else as_index(start)
        stop = END if stop is None else stop if type(stop) is int and -END < stop < END else as_index(stop)
        if start >= 0 and stop >= 0:
            if stop <= start:
                return unpack([])
            part = self._few(start, stop)
            if part is not None:
                return unpack([part])
            if self._size is None or (stop - start) * self._size <= _GATHERED * self._form.block_bytes:
                # One statement, and so one state, without the length.
                return unpack(self._blocks(self._settled).read(start, stop))
        with self._settled.reading() as cursor:
            length = self._blocks(cursor).length(exact=start < 0 or stop < 0)
            start, stop, _ = slice(start, stop).indices(length)
            return unpack(self._parts(cursor, start, stop))

    def _few(self, start: int, stop: int) -> Part | None:
        """Return a few elements by one statement, if they are in one place and all there."""
        size, count = self._size, stop - start
        if size is None or count * size > self._form.block_bytes:
            return None
        binding = self._settled
        if start < self._sealed:
            row = binding.one(self._piece, start, self._id, count * size)
            if row is not None and row[0] is not None and len(row[0]) == count * size:
                return row[0], count, 0, count
            return None
        row = binding.one(self._sql.tail, self._id)
        if row is None:
            return None
        length, sealed, _, tail = row
        if type(length) is not int or type(sealed) is not int or type(tail) is not bytes:
            return None
        self._sealed = sealed
        if not sealed <= start <= stop <= length or len(tail) != (length - sealed) * size:
            return None
        return tail, length - sealed, start - sealed, stop - sealed

    def _parts(self, cursor: DriverCursor, start: int, stop: int) -> list[Part]:
        """Return the elements ``start`` to ``stop``, which exist, in a transaction of ``cursor``."""
        count = stop - start
        size = self._size
        if size is not None and count * size > _GATHERED * self._form.block_bytes and cursor.gathers:
            return [(self._blocks(cursor).gather(start, stop).data, count, 0, count)]
        return self._blocks(cursor).read(start, stop) if count > 0 else []

    def __iter__(self) -> Iterator[Any]:
        start, page = 0, self._page()
        while True:
            values = self._between(start, start + page, self._elements.unpack)
            yield from values
            if len(values) < page:
                return
            start += page

    def __reversed__(self) -> Iterator[Any]:
        stop, page = len(self), self._page()
        while stop > 0:
            start = max(stop - page, 0)
            yield from self._between(start, stop, self._elements.unpack)[::-1]
            stop = start

    def iter_batches(
        self,
        batch_size: int | None = None,
        *,
        batch_bytes: int = 1 << 20,
        start: int = 0,
        stop: int | None = None,
        as_array: bool = True,
    ) -> Iterator[Any]:
        """Iterate over the elements ``start`` to ``stop``, many at a time.

        Parameters
        ----------
        batch_size
            Elements of a batch; the last one may have fewer. By default as many as ``batch_bytes`` hold.
        batch_bytes
            Bytes of a batch of elements of one size; elements of different sizes are taken for 64 bytes each.
        as_array
            Give arrays as :meth:`to_numpy` does, or what ``col[a:b]`` is.
        """
        if batch_size is None:
            size = max(1, as_index(batch_bytes) // (self._elements.item_size or 64))
        else:
            size = as_index(batch_size)
        if size < 1:
            raise InvalidArgument(f"batch_size is an int of at least 1, not {batch_size!r}")
        unpack = self._elements.to_numpy if as_array else self._elements.unpack
        start, stop, _ = slice(start, stop).indices(self._length(exact=True))
        return self._batches(start, stop, size, unpack)

    def _batches(self, start: int, stop: int, size: int, unpack: Any) -> Iterator[Any]:
        while start < stop:
            batch = self._between(start, min(start + size, stop), unpack)
            if len(batch):
                yield batch
            start += size

    def to_numpy(self, start: int = 0, stop: int | None = None, *, out: _Array | None = None) -> _Array:
        """Return the elements ``start`` to ``stop`` as a new array, of dtype ``object`` where elements vary in size.

        With a read cache it may be a view of what is kept, which is read-only.

        Parameters
        ----------
        start, stop
            As of a slice.
        out
            Copy them there instead, and return that: an array of exactly their shape and dtype.
        """
        array = self._kept(start, stop) if self._vault._cache is not None else None
        if array is None:
            array = self._array_of(start, stop)
        if out is None:
            return array
        given: Any = out
        if not isinstance(given, np.ndarray):
            raise UnsupportedType(f"out is an array, not {type(given).__name__}")
        if out.shape != array.shape or out.dtype != array.dtype:
            given = f"{out.dtype} {out.shape}"
            raise InvalidArgument(f"out is an array of {array.dtype} and shape {array.shape} for this, not {given}")
        np.copyto(out, array)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array:
        if copy is False:
            raise InvalidArgument("a column is read from the database, which copies it: copy=False is impossible")
        array = self.to_numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def take(self, indices: Any, *, as_array: bool = True) -> Any:
        """Return the elements at ``indices``: ints in any order, repeated or not, or a mask.

        Parameters
        ----------
        indices
            Ints, negative ones from the end; or as many bools as there are elements.
        as_array
            Return an array as :meth:`to_numpy` does, or a list.

        Raises
        ------
        OutOfRange
            for an index beyond the ends.
        """
        with self._settled.reading() as cursor:
            places = places_of(indices, self._blocks(cursor).length(exact=True))
            taken = self._taken(cursor, places)
        return taken if as_array or self._elements.stacks else taken.tolist()

    def _taken(self, cursor: DriverCursor, places: np.ndarray[Any, np.dtype[np.int64]]) -> _Array:
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        size = self._elements.item_size or 64
        # Where the next one is far away, or the span long enough, another read begins.
        gaps = np.diff(ordered) * size > _NEAR_BYTES
        starts = [0, *(np.flatnonzero(gaps) + 1).tolist()]
        empty = self._elements.to_numpy([])
        taken = np.empty((len(places), *empty.shape[1:]), empty.dtype)
        for first, end in zip(starts, [*starts[1:], len(ordered)], strict=True):
            for begin, stop in _short_spans(ordered, first, end, max(_SPAN_BYTES // size, 1)):
                low, high = int(ordered[begin]), int(ordered[stop - 1]) + 1
                run = self._elements.to_numpy(self._parts(cursor, low, high))
                taken[order[begin:stop]] = run[ordered[begin:stop] - low]
        return taken

    def read(self, start: int = 0, count: int | None = None) -> Any:
        """Return ``count`` elements from ``start`` on, all by default, as ``col[a:b]`` does."""
        return self._between(*_counted(start, count), self._elements.unpack)

    def read_array(self, start: int = 0, count: int | None = None, *, copy: bool = False) -> _Array:
        """Return ``count`` elements from ``start`` on, all by default, as :meth:`to_numpy` does.

        ``copy=True`` is for an array that can be written to, whether there is a read cache or not.
        """
        array = self.to_numpy(*_counted(start, count))
        return array.copy() if copy and not array.flags.writeable else array

    def read_buffer(self, start: int = 0, count: int | None = None) -> bytes:
        """Return the bytes of ``count`` elements of one size from ``start`` on, back to back, as they are in blocks."""
        size = self._elements.item_size
        if size is None:
            raise UnsupportedType(f"elements of {self.dtype} have no size in common; read() returns their values")
        return b"".join(
            memoryview(data)[first * size : stop * size]
            for data, _, first, stop in self._between(*_counted(start, count), list)
        )


def _counted(start: Any, count: Any) -> tuple[int, int | None]:
    if type(start) is int and type(count) is int and 0 <= start < END and 0 <= count < END:
        return start, start + count
    start = as_index(start)
    if count is None:
        return start, None
    count = as_index(count)
    if start < 0 or count < 0:
        raise InvalidArgument(f"start and count are not negative; {start} and {count} are given")
    return start, start + count


def _short_spans(ordered: np.ndarray[Any, Any], first: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Divide ``ordered[first:end]`` so that the places of each division span at most ``most`` elements."""
    while first < end:
        stop = first + int(np.searchsorted(ordered[first:end], ordered[first] + most))
        yield first, stop
        first = stop
