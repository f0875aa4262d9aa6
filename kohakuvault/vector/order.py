"""The rows of a VectorKVault in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..row_scan import RowScan
from .entries import Array, VectorEntries

__all__ = ["VectorOrder"]


class VectorOrder(VectorEntries):
    """The part of :class:`~kohakuvault.VectorKVault` that iterates: lazily, and over one state where there is one."""

    def items(self) -> Iterator[tuple[int, tuple[Array, Any]]]:
        """Iterate over ``(id, (vector, value))``.

        >>> from kohakuvault import VectorKVault
        >>> search = VectorKVault(":memory:", dimensions=2)
        >>> search.insert([3, 4], "a")
        1
        >>> [(id, vector.tolist(), value) for id, (vector, value) in search.items()]
        [(1, [3.0, 4.0], 'a')]
        """
        return self._scan(RowScan(self._sql.every_row, lambda row: (row[0], self._unpack(*row))))
