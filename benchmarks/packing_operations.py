"""The operations of ``DataPacker`` that are timed, the same code for ours and for the earlier package.

Two Pythons import this, each of which has its own KohakuVault: nothing else but the standard library and numpy here.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from kohakuvault import DataPacker

SMALL = {"id": 5, "data": "value_5"}
DIMENSIONS = 768


def values(dtype: str, count: int) -> list[Any]:
    """Return what is packed: a list of ints, of floats, or of arrays of shape (768,)."""
    if dtype == "i64":
        return list(range(count))
    if dtype == "f64":
        return [number / 3 for number in range(count)]
    return list(np.random.default_rng(7).standard_normal((count, DIMENSIONS), np.float32))


class PackMany:
    """Times packing and unpacking many values; each returns the seconds of one of them."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, int], tuple[Any, list[Any], bytes]] = {}

    def _of(self, dtype: str, count: int) -> tuple[Any, list[Any], bytes]:
        if (dtype, count) not in self._given:
            packer, given = DataPacker(dtype), values(dtype, count)
            self._given[dtype, count] = packer, given, packer.pack_many(given)
        return self._given[dtype, count]

    def pack_many(self, dtype: str, count: int) -> float:
        packer, given, _ = self._of(dtype, count)
        start = perf_counter()
        packer.pack_many(given)
        return (perf_counter() - start) / count

    def unpack_many(self, dtype: str, count: int) -> float:
        packer, _, data = self._of(dtype, count)
        start = perf_counter()
        packer.unpack_many(data, count=count)
        return (perf_counter() - start) / count
