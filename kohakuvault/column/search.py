"""Looking for a value in a Column, and comparing it with a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidArgument
from .places import END
from .reading import ColumnReading

__all__ = ["ColumnSearch"]


class ColumnSearch(ColumnReading):
    """The part of :class:`~kohakuvault.Column` that looks for values. Reads a megabyte at a time."""

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the index of the first element that equals ``value``; raise :class:`InvalidArgument` if none does."""
        start, stop, _ = slice(start, stop).indices(self._length(exact=True))
        for begin, run in self._compared_runs(start, stop):
            place = self._first_equal(run, value)
            if place is not None:
                return begin + place
        raise InvalidArgument(f"{value!r:.80} is not in column {self.name!r}")

    def count(self, value: Any) -> int:
        """Return how many elements equal ``value``."""
        return sum([self._equal(run, value) for _, run in self._compared_runs(0, END)])

    def __contains__(self, value: object) -> bool:
        return any(self._first_equal(run, value) is not None for _, run in self._compared_runs(0, END))

    def _compared_runs(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        page = self._page()
        elements = self._elements
        as_numbers = elements.array_dtype is not None and elements.item_size is not None
        unpack = elements.to_numpy if as_numbers else elements.unpack
        while start < stop:
            run = self._between(start, min(start + page, stop), unpack)
            yield start, run
            if len(run) < page:
                return
            start += page

    def _matches(self, run: Any, value: Any) -> Any:
        """Return which elements of a run equal ``value``: an array of bools."""
        if not isinstance(run, np.ndarray):
            return np.fromiter((_same(element, value) for element in run), bool, len(run))
        if run.ndim > 1:
            vector = _as_vector(value, run.shape[1:])
            axes = tuple(range(1, run.ndim))
            return np.zeros(len(run), bool) if vector is None else (run == vector).all(axis=axes)
        if not isinstance(value, (int, float, np.bool_, np.integer, np.floating)):
            # Of a class that may compare itself with numbers in its own way.
            return self._matches(run.tolist(), value)
        exact = _as_of(run.dtype, value)
        return np.zeros(len(run), bool) if exact is None else run == exact

    def _first_equal(self, run: Any, value: Any) -> int | None:
        found = self._matches(run, value)
        place = int(found.argmax()) if len(found) else 0
        return place if len(found) and found[place] else None

    def _equal(self, run: Any, value: Any) -> int:
        return int(np.count_nonzero(self._matches(run, value)))

    def __eq__(self, other: object) -> Any:
        """Whether the elements are those of a list, or of another column."""
        if not isinstance(other, (list, ColumnReading)):
            return NotImplemented
        others: Sequence[Any] | ColumnReading = other
        if self is other:
            return True
        if self._length(exact=True) != len(others):
            return False
        return all(_same(mine, theirs) for mine, theirs in zip(self, others, strict=False))

    # As a list, which it equals.
    __hash__ = None  # type: ignore[assignment]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        try:
            return np.array_equal(np.asarray(a), np.asarray(b))
        except ValueError:
            # Ragged: no array at all.
            return False
    return bool(a == b)


def _as_vector(value: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """Return ``value`` as an array of that shape, or None if it is none."""
    try:
        array = np.asarray(value)
    except ValueError:
        # Ragged.
        return None
    return array if array.shape == shape else None


def _as_of(dtype: np.dtype[Any], value: Any) -> Any:
    """Return the number of ``dtype`` that equals ``value`` as Python compares them, or None if there is none."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        exact = dtype.type(value)
        return exact if exact.item() == value else None
    except (OverflowError, ValueError):
        # Beyond the range, NaN or infinity among integers.
        return None
