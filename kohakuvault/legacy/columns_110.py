"""Columns as KohakuVault 1.1 wrote them: blocks with a count of rows, and offsets where elements differ in size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .columns import RUN_BYTES, RUN_ITEMS, Run, as_count, as_text, cut
from .dtypes import Decoding, decoding_of
from .source import Damaged, Source

__all__ = ["BlockColumn", "columns_of_110"]

_BLOCKS = """
SELECT b.first_row, b.row_count, b.used_bytes, d.payload, d.offsets
FROM kvault_col_blocks AS b LEFT JOIN kvault_col_data AS d ON d.block_id = b.block_id
WHERE b.col_id = ? ORDER BY b.block_no
"""


def columns_of_110(source: Source) -> list[BlockColumn]:
    """Return the columns of a file, in the order in which they were made."""
    if not (
        source.has_columns("kvault_col_columns", "col_id", "name", "dtype", "length")
        and source.has_columns(
            "kvault_col_blocks", "block_id", "col_id", "block_no", "first_row", "row_count", "used_bytes"
        )
        and source.has_columns("kvault_col_data", "block_id", "payload", "offsets")
        and source.has_columns("kvault_col_format", "version")
    ):
        return []
    version = source.row("SELECT version FROM kvault_col_format")
    columns = source.rows("SELECT col_id, name, dtype, length FROM kvault_col_columns ORDER BY col_id")
    return [
        BlockColumn(source, number, as_text(name), as_text(dtype), as_count(length), version == (1,))
        for number, name, dtype, length in columns
    ]


class BlockColumn:
    """A column in blocks."""

    def __init__(self, source: Source, number: Any, name: str, dtype: str, length: int, is_known: bool) -> None:
        self.name = name
        self.length = length
        self._source = source
        self._number = number
        self._dtype = dtype
        self._is_known = is_known

    def decoding(self) -> Decoding:
        if not self._is_known:
            raise Damaged("a format of columns that is not that of 1.1")
        return decoding_of(self._dtype, with_type_byte=False)

    def runs(self) -> Iterator[Run]:
        size = self.decoding().size
        row = 0
        for first, count, used, payload, offsets in self._source.rows(_BLOCKS, self._number):
            if first != row or type(count) is not int or count < 0 or type(used) is not int:
                raise Damaged("a block that does not follow the one before it")
            if not isinstance(payload, bytes) or not 0 <= used <= len(payload):
                raise Damaged("a block whose bytes are missing, or too few")
            if size is None:
                yield from _items(payload, count, used, offsets)
            elif used != count * size:
                raise Damaged("a block whose bytes are not those of its elements")
            else:
                yield from cut(payload[:used], size)
            row += count
        if row < self.length:
            raise Damaged("blocks are missing at its end")


def _items(payload: bytes, count: int, used: int, offsets: Any) -> Iterator[list[bytes]]:
    if not isinstance(offsets, bytes) or len(offsets) < 8 * (count + 1):
        raise Damaged("a block whose offsets are missing, or too few")
    places = np.frombuffer(offsets, "<u8", count + 1)
    if places[0] != 0 or places[-1] != used or (places[1:] < places[:-1]).any():
        raise Damaged("a block whose offsets do not ascend to its end")
    parts: list[bytes] = []
    size = start = 0
    for end in places[1:].tolist():
        parts.append(payload[start:end])
        size += end - start
        start = end
        if size >= RUN_BYTES or len(parts) >= RUN_ITEMS:
            yield parts
            parts, size = [], 0
    if parts:
        yield parts
