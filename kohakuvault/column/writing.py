"""Changing the elements of a Column: every operation takes effect as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from typing_extensions import Self

from ..binding import Binding
from ..errors import InvalidArgument, UnsupportedType
from .arrow_source import arrow_runs, is_arrow
from .blocks import Blocks, Head
from .form import LARGEST_BLOCK
from .places import as_index, as_slice, is_many, place_of, places_of, span
from .search import ColumnSearch

__all__ = ["ColumnWriting"]

# An `extend` of so few elements may be one statement, as `append` is.
_FEW = 64

# Of an `extend` that waits: more bytes are better written at once. Of elements that differ in size, the least.
_LITTLE = 1 << 16
_LEAST_SIZE = 5


class ColumnWriting(ColumnSearch):
    """The part of :class:`~kohakuvault.Column` that writes."""

    def append(self, value: Any) -> None:
        """Add ``value`` at the end."""
        put = self._put
        if put is not None:
            # Written out: this takes a third of a microsecond.
            binding = self._vault._binding
            if binding is not None and binding.epoch == self._epoch and binding.may_wait and put(value):
                return
        packed = self._elements.pack_entry(value)
        if not self._waits(1, packed) and not self._appended(1, packed):
            self._append([value])

    def extend(self, values: Iterable[Any]) -> None:
        """Add all ``values`` at the end, or none if one of them cannot be packed.

        Fastest from a list or, for numbers and vectors, an array of the column's element type. Arrow arrays, and
        whatever has Arrow's C interface, are read batch by batch, in one transaction; a null is an error.
        """
        if is_arrow(values) and not isinstance(values, ColumnSearch):
            self._extend_by_arrow(values)
            return
        collected = self._collected(values)
        count = len(collected)
        if not count:
            return
        if self._vault._writes.is_on and self._all_wait(collected):
            return
        if count <= _FEW and self._form.is_plain:
            packed = self._elements.pack(collected, self._form.block_bytes)
            if len(packed) == 1 and self._appended(count, self._elements.codec.stream(packed[0][1], count)):
                return
        self._append(collected)

    def append_array(self, values: np.ndarray[Any, Any]) -> None:
        """Add the elements of an array at the end: ``extend`` for arrays only."""
        if not isinstance(values, np.ndarray):
            raise UnsupportedType(f"append_array takes an array, not {type(values).__name__}; extend() takes both")
        self.extend(values)

    @property
    def _binding_to_wait(self) -> Binding:
        """The binding, for elements that wait for a column that there is."""
        return self.binding

    def _waits(self, count: int, stream: bytes) -> bool:
        """Let elements, packed as the tail has them, wait; return False if they have to be written directly."""
        writes = self._vault._writes
        if not writes.is_on:
            self._put = None
            return False
        binding = self._binding_to_wait
        self._put = writes.put_of(binding, self._id, self._form)
        return binding.may_wait and writes.offer(binding, self._id, self.name, self._form, count, stream)

    def _all_wait(self, collected: Any) -> bool:
        """Let the values of an ``extend`` wait, if they are few."""
        elements, count = self._elements, len(collected)
        if count * (elements.item_size or _LEAST_SIZE) > _LITTLE:
            return False
        blocks = elements.pack(collected, LARGEST_BLOCK)
        return (
            len(blocks) == 1
            and len(blocks[0][1]) <= _LITTLE
            and self._waits(count, elements.codec.stream(blocks[0][1], count))
        )

    def _appended(self, count: int, stream: bytes) -> bool:
        """Add elements, packed as the tail has them, to the tail by one statement if they fit there."""
        room = self._form.block_bytes - len(stream)
        if not self._form.is_plain or room < 0:
            return False
        return self._settled.run(self._sql.append, count, stream, self._id, room) > 0

    def _append(self, collected: Any) -> None:
        with self._writing() as cursor:
            blocks = self._blocks(cursor)
            blocks.append(blocks.lock(), collected)

    def _extend_by_arrow(self, values: Any) -> None:
        runs = arrow_runs(self._elements, values)
        with self._writing() as cursor:
            blocks = self._blocks(cursor)
            head = blocks.lock()
            for run in runs:
                blocks.append(head, run)
                head = blocks.lock()

    def _packable(self, values: Any) -> list[Any]:
        """Return ``values`` as what :meth:`Blocks.append` takes, one after the other."""
        if is_arrow(values) and not isinstance(values, ColumnSearch):
            return list(arrow_runs(self._elements, values))
        return [self._collected(values)]

    def _collected(self, values: Any) -> Any:
        if isinstance(values, ColumnSearch):
            # It may be this one; and within one transaction it must not be read page by page while it grows.
            values = values.to_numpy() if values._elements.array_dtype is not None else values[:]
        elif is_arrow(values):
            runs = list(arrow_runs(self._elements, values))
            values = [value for run in runs for value in self._elements.values_of(run)]
        return self._elements.collect(values)

    def insert(self, index: int, value: Any) -> None:
        """Insert ``value`` before element ``index``, as ``list.insert`` does."""
        index = as_index(index)
        collected = self._elements.collect([value])

        def change(blocks: Blocks, head: Head) -> None:
            place = min(max(index + head.length if index < 0 else index, 0), head.length)
            blocks.splice(head, place, place, collected)

        self._change(change)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._set_slice(as_slice(index), self._collected(value))
        elif is_many(index):
            self._set_many(index, self._collected(value))
        else:
            self._set(as_index(index), value)

    def _set(self, index: int, value: Any) -> None:
        size = self._size
        if size is None:
            collected = self._elements.collect([value])
            self._change(lambda blocks, head: blocks.scatter(head, [place_of(index, head.length)], collected))
            return
        packed = self._elements.pack_one(value)
        binding, sql = self._settled, self._sql
        if index >= self._sealed:
            if binding.run(sql.set_tail_element(size), index, self._id, packed):
                return
        elif index >= 0 and sql.takes_turns and binding.run(sql.set_element(size), index, self._id, packed):
            return

        def change(blocks: Blocks, head: Head) -> None:
            self._sealed = head.sealed
            blocks.overwrite(head, place_of(index, head.length), packed)

        self._change(change)

    def _set_slice(self, index: slice, values: Any) -> None:
        def change(blocks: Blocks, head: Head) -> None:
            start, stop, step = index.indices(head.length)
            if step == 1:
                blocks.splice(head, start, max(start, stop), values)
                return
            places = range(start, stop, step)
            if len(places) != len(values):
                raise InvalidArgument(
                    f"{len(values)} values cannot be assigned to the {len(places)} elements of a slice with step {step}"
                )
            if step < 0:
                places, given = places[::-1], values[::-1]
            else:
                given = values
            blocks.scatter(head, places, given)

        self._change(change)

    def _set_many(self, indices: Any, values: Any) -> None:
        def change(blocks: Blocks, head: Head) -> None:
            places = places_of(indices, head.length)
            if len(places) != len(values):
                raise InvalidArgument(f"{len(values)} values cannot be assigned to {len(places)} elements")
            # Of an element that is named twice, the last value counts.
            unique, from_behind = np.unique(places[::-1], return_index=True)
            if len(unique) < len(places):
                # The others have to be such that they could be stored, too.
                self._elements.pack(values, self._form.block_bytes)
            chosen = len(places) - 1 - from_behind
            given = values[chosen] if isinstance(values, np.ndarray) else [values[place] for place in chosen.tolist()]
            blocks.scatter(head, unique.tolist(), given)

        self._change(change)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, slice):
            part = as_slice(index)
            self._change(lambda blocks, head: self._remove(blocks, head, range(head.length)[part]))
        elif is_many(index):
            self._change(lambda blocks, head: self._remove_many(blocks, head, places_of(index, head.length)))
        else:
            at = as_index(index)
            self._change(lambda blocks, head: self._remove_one(blocks, head, place_of(at, head.length)))

    @staticmethod
    def _remove_one(blocks: Blocks, head: Head, place: int) -> None:
        blocks.splice(head, place, place + 1, [])

    def _remove(self, blocks: Blocks, head: Head, places: range) -> None:
        if not places:
            return
        low, high = span(places)
        if len(places) == high - low:
            blocks.splice(head, low, high, [])
        else:
            self._remove_many(blocks, head, np.arange(low, high, abs(places.step)))

    def _remove_many(self, blocks: Blocks, head: Head, places: np.ndarray[Any, Any]) -> None:
        if not len(places):
            return
        low, high = int(places.min()), int(places.max()) + 1
        kept = np.ones(high - low, bool)
        kept[places - low] = False
        run = self._elements.unpack_packable(blocks.read(low, high))
        if isinstance(run, np.ndarray):
            blocks.splice(head, low, high, run[kept])
        else:
            blocks.splice(head, low, high, [value for value, stays in zip(run, kept.tolist(), strict=True) if stays])

    def pop(self, index: int = -1) -> Any:
        """Remove and return element ``index``."""
        index = as_index(index)

        def change(blocks: Blocks, head: Head) -> Any:
            place = place_of(index, head.length)
            value = self._elements.unpack(blocks.read(place, place + 1))[0]
            blocks.splice(head, place, place + 1, [])
            return value

        return self._change(change)

    def remove(self, value: Any) -> None:
        """Remove the first element that equals ``value``; raise :class:`InvalidArgument` if there is none."""

        def change(blocks: Blocks, head: Head) -> None:
            # By the same transaction; but comparing may have run code of the caller's.
            place = self.index(value)
            head = blocks.lock()
            if place < head.length:
                self._remove_one(blocks, head, place)

        self._change(change)

    def reverse(self) -> None:
        """Reverse the order of all elements, which are read for it."""
        self._rewrite(lambda run: run[::-1])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort the elements, which are read for it, as ``list.sort`` does. NaN counts as the greatest."""

        def ordered(run: Any) -> Any:
            if isinstance(run, np.ndarray) and key is None and run.ndim == 1:
                # Reversed twice, as equal numbers that differ, 0.0 and -0.0, stay in their order.
                return np.sort(run[::-1], kind="stable")[::-1] if reverse else np.sort(run, kind="stable")
            values = run.tolist() if isinstance(run, np.ndarray) and run.ndim == 1 else list(run)
            values.sort(key=key, reverse=reverse)
            return values

        self._rewrite(ordered, calls_back=key is not None)

    def _rewrite(self, order: Callable[[Any], Any], *, calls_back: bool = False) -> None:
        """Replace all elements by the same in another order; ``calls_back`` if that runs code of the caller's."""

        def change(blocks: Blocks, head: Head) -> None:
            if head.length > 1:
                before = blocks.read(0, head.length)
                values = self._elements.collect(order(self._elements.unpack_packable(before)))
                if calls_back and (blocks.lock() != head or blocks.read(0, head.length) != before):
                    raise InvalidArgument("key() changed the column while it was being sorted")
                blocks.splice(head, 0, head.length, values)

        self._change(change)

    def clear(self) -> None:
        """Remove all elements."""
        self._change(lambda blocks, head: blocks.clear())

    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    def _change(self, change: Callable[[Blocks, Head], Any]) -> Any:
        """Run ``change`` in a transaction in which no one else changes the column."""
        with self._writing() as cursor:
            blocks = self._blocks(cursor)
            return change(blocks, blocks.lock())
