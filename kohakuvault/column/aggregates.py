"""Sums, extremes and ranges of the numbers in a Column, mostly from the summaries of its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidArgument, UnknownOption, UnsupportedType
from ..lending import DriverCursor
from .elements import reading_blocks
from .places import as_index
from .reading import ColumnReading

__all__ = ["ColumnAggregates"]


@dataclass(frozen=True, slots=True)
class _Totals:
    many: int
    min: Any
    max: Any
    sum: Any
    nans: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Some elements that follow each other, with a summary of exactly these or None."""

    start: int
    stop: int
    summary: bytes | None


class ColumnAggregates(ColumnReading):
    """The part of :class:`~kohakuvault.Column` that computes. Only for columns of numbers and bools.

    Every block of such a column has a summary: its least and greatest element, their sum, and how many are NaN. Only
    blocks that are cut by ``start`` or ``stop``, or in which single elements were assigned since, are read.

    ``numpy.sum``, ``mean``, ``min`` and ``max`` of a column call these.
    """

    def sum(self, /, start: int = 0, stop: int | None = None, **numpy: Any) -> Any:
        """Return the sum of the elements ``start`` to ``stop``; 0 if there are none.

        Of integers exactly, however large. Of floats as a float64, compensated for rounding within each block
        (Neumaier, 1974); NaN if one is.

        Raises
        ------
        UnsupportedType
            if the elements are no numbers.
        """
        _refuse(numpy, "sum()")
        totals = self._totals(start, stop, "sum()")
        if totals is None:
            return 0.0 if self._is_float else 0
        return float("nan") if totals.nans else totals.sum

    def mean(self, /, start: int = 0, stop: int | None = None, **numpy: Any) -> float:
        """Return the arithmetic mean of the elements ``start`` to ``stop``; NaN if one is.

        Raises
        ------
        InvalidArgument
            if there are no elements.
        UnsupportedType
            if the elements are no numbers.
        """
        _refuse(numpy, "mean()")
        totals = self._some(start, stop, "mean()")
        return float("nan") if totals.nans else totals.sum / totals.many

    def min(self, /, start: int = 0, stop: int | None = None, **numpy: Any) -> Any:
        """Return the least of the elements ``start`` to ``stop``; NaN if one is, as numpy does.

        Raises as :meth:`mean`.
        """
        _refuse(numpy, "min()")
        totals = self._some(start, stop, "min()")
        return float("nan") if totals.nans else totals.min

    def max(self, /, start: int = 0, stop: int | None = None, **numpy: Any) -> Any:
        """Return the greatest of the elements ``start`` to ``stop``; NaN if one is, as numpy does.

        Raises as :meth:`mean`.
        """
        _refuse(numpy, "max()")
        totals = self._some(start, stop, "max()")
        return float("nan") if totals.nans else totals.max

    def where(
        self, lo: Any = None, hi: Any = None, start: int = 0, stop: int | None = None
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the indices of the elements from ``lo`` to ``hi``, both included, in ascending order.

        Blocks without such are not read. NaN is in no range.

        Parameters
        ----------
        lo, hi
            Numbers; None for no limit.
        start, stop
            Look only there.

        Raises
        ------
        UnsupportedType
            if the elements are no numbers, or a limit is none.
        """
        self._check_numbers("where()")
        lo, hi = (limit.item() if isinstance(limit, np.generic) else limit for limit in (lo, hi))
        for limit in (lo, hi):
            if limit is not None and not isinstance(limit, (int, float)):
                raise UnsupportedType(f"lo and hi are numbers or None, not {type(limit).__name__}")
        found = [np.empty(0, np.int64)]
        may_contain = self._elements.codec.may_contain
        with self._settled.reading() as cursor:
            for stretch in self._stretches(cursor, start, stop):
                with reading_blocks:
                    if stretch.summary is not None and not may_contain(stretch.summary, lo, hi):
                        continue
                run = self._elements.to_numpy(self._parts(cursor, stretch.start, stretch.stop))
                found.append(np.flatnonzero(_in_range(run, lo, hi)) + stretch.start)
        return np.concatenate(found)

    @property
    def _is_float(self) -> bool:
        dtype = self._elements.array_dtype
        return dtype is not None and dtype.kind == "f"

    def _some(self, start: int, stop: int | None, what: str) -> _Totals:
        totals = self._totals(start, stop, what)
        if totals is None:
            where = "" if (start, stop) == (0, None) else f" from {start} to {'the end' if stop is None else stop}"
            raise InvalidArgument(f"{what} of no elements: column {self.name!r} has none{where}")
        return totals

    def _totals(self, start: int, stop: int | None, what: str) -> _Totals | None:
        self._check_numbers(what)
        codec = self._elements.codec
        summaries: list[tuple[int, bytes]] = []
        count = 0
        with self._settled.reading() as cursor:
            for stretch in self._stretches(cursor, start, stop):
                many = stretch.stop - stretch.start
                count += many
                if stretch.summary is not None:
                    summaries.append((many, stretch.summary))
                    continue
                with reading_blocks:
                    for data, size, first, end in self._parts(cursor, stretch.start, stretch.stop):
                        summary = codec.summary(codec.slice(data, size, first, end), end - first)
                        if summary is not None:
                            summaries.append((end - first, summary))
        if not count:
            return None
        with reading_blocks:
            totals = codec.summarize(summaries)
        return None if totals is None else _Totals(count, *totals)

    def _stretches(self, cursor: DriverCursor, start: int, stop: int | None) -> Iterator[_Stretch]:
        """Divide the elements ``start`` to ``stop`` at the ends of blocks, in the order of their indices."""
        blocks = self._blocks(cursor)
        start, stop, _ = slice(as_index(start), None if stop is None else as_index(stop)).indices(blocks.length())
        place = start
        if start < stop:
            for first, count, summary in blocks.summaries(start, stop):
                place = min(first + count, stop)
                whole = start <= first and first + count <= stop
                yield _Stretch(max(first, start), place, summary if whole else None)
        if place < stop:
            yield _Stretch(place, stop, None)

    def _check_numbers(self, what: str) -> None:
        if self._elements.array_dtype is None or self._elements.stacks or self._elements.item_size is None:
            raise UnsupportedType(f"{what} is of numbers, and column {self.name!r} is of {self.dtype}")


def _refuse(numpy: Mapping[str, Any], what: str) -> None:
    """Raise for what numpy's function of that name has been given, and this has no use for."""
    for name, given in numpy.items():
        if name not in ("axis", "dtype", "out") or (given is not None and not (name == "axis" and given == 0)):
            raise UnknownOption(f"{what} of a column has no {name}; numpy.asarray(column) is an array, which has more")


def _in_range(run: np.ndarray[Any, Any], lo: Any, hi: Any) -> np.ndarray[Any, Any]:
    found = np.ones(len(run), bool) if run.dtype.kind != "f" else ~np.isnan(run)
    if lo is not None:
        found &= _compared(run, lo, np.greater_equal, above=False)
    if hi is not None:
        found &= _compared(run, hi, np.less_equal, above=True)
    return found


def _compared(run: np.ndarray[Any, Any], limit: Any, compare: Any, *, above: bool) -> Any:
    """Compare exactly: numpy would make floats of large integers, and refuses those beyond its dtype."""
    kind = run.dtype.kind
    if kind == "b":
        run, kind = run.view(np.uint8), "u"
    if kind == "f":
        return compare(run.astype(np.float64, copy=False), _as_float(limit, above))
    limits = np.iinfo(run.dtype)
    if isinstance(limit, float):
        if np.isnan(limit):
            return np.zeros(len(run), bool)
        if np.isinf(limit):
            return np.full(len(run), (limit > 0) == above)
        limit = int(np.floor(limit)) if above else int(np.ceil(limit))
    if limit < limits.min:
        return np.full(len(run), not above)
    if limit > limits.max:
        return np.full(len(run), above)
    return compare(run, run.dtype.type(limit))


def _as_float(limit: Any, above: bool) -> float:
    """Return the greatest float that is no more than an integer ``limit`` from above, or the least from below."""
    try:
        number = float(limit)
    except OverflowError:
        return float("inf") if limit > 0 else float("-inf")
    if above and number > limit:
        return float(np.nextafter(number, -np.inf))
    if not above and number < limit:
        return float(np.nextafter(number, np.inf))
    return number
