"""Columns as KohakuVault 0.8 wrote them: chunks that grow, and for elements that differ in size an index of entries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .columns import RUN_BYTES, RUN_ITEMS, Run, as_count, as_text, cut
from .dtypes import Decoding, decoding_of
from .source import Budget, Damaged, Source

__all__ = ["ChunkedColumn", "IndexedColumn", "columns_of_086"]

_META = ("col_id", "name", "dtype", "length", "max_chunk_bytes")

# Bytes of an entry of the index: chunk, start and end.
_ENTRY = 12
_INDEX = "adaptive_idx"

# Chunks that are kept for the next entry.
_KEPT = 4


def columns_of_086(source: Source) -> list[ChunkedColumn | IndexedColumn]:
    """Return the columns of a file, in the order in which they were made."""
    if not (source.has_columns("col_meta", *_META) and source.has_columns("col_chunks", "col_id", "chunk_idx", "data")):
        return []
    found: dict[str, ChunkedColumn] = {}
    for number, name, dtype, length, chunk_bytes in source.rows(
        "SELECT col_id, name, dtype, length, max_chunk_bytes FROM col_meta ORDER BY col_id"
    ):
        column = ChunkedColumn(source, number, as_text(name), as_text(dtype), as_count(length), as_count(chunk_bytes))
        found[column.name] = column
    columns: list[ChunkedColumn | IndexedColumn] = []
    for name, column in found.items():
        base = name.removesuffix("_idx")
        if name.endswith("_idx") and column.dtype == _INDEX:
            columns.append(IndexedColumn(source, base, found.get(f"{base}_data"), column))
        elif not (name.endswith("_data") and _is_index(found.get(f"{name.removesuffix('_data')}_idx"))):
            columns.append(column)
    return columns


def _is_index(column: ChunkedColumn | None) -> bool:
    return column is not None and column.dtype == _INDEX


class ChunkedColumn:
    """Elements of equal size: element ``i`` is at byte ``i * size`` of all chunks together."""

    def __init__(self, source: Source, number: object, name: str, dtype: str, length: int, chunk_bytes: int) -> None:
        self.name = name
        self.dtype = dtype
        self.length = length
        self._source = source
        self._number = number
        self._chunk_bytes = chunk_bytes

    def decoding(self) -> Decoding:
        decoding = decoding_of(self.dtype, with_type_byte=True)
        if decoding.size is None:
            raise Damaged("the index of its elements is missing")
        return decoding

    def runs(self) -> Iterator[Run]:
        size = self.decoding().size
        assert size is not None
        return self.bytes_of(size)

    def bytes_of(self, size: int) -> Iterator[bytes]:
        """Give all elements, some at a time."""
        per_chunk = self._chunk_bytes // size
        if not per_chunk or self._chunk_bytes % size:
            raise Damaged("chunks of a size that its elements cannot have")
        for number, start in enumerate(range(0, self.length, per_chunk)):
            count = min(per_chunk, self.length - start)
            data = self.chunk(number)
            whole = min(len(data) // size, count)
            yield from cut(data[: whole * size], size)
            if whole < count:
                raise Damaged(f"chunk {number} is missing, or too short")

    def chunk(self, number: int) -> bytes:
        """Return a chunk, without bytes if there is none."""
        # Chunks that have grown are TEXT.
        row = self._source.row(
            "SELECT CAST(data AS BLOB) FROM col_chunks WHERE col_id = ? AND chunk_idx = ?", self._number, number
        )
        return row[0] if row is not None and isinstance(row[0], bytes) else b""


class IndexedColumn:
    """Elements that differ in size: where each is, in entries of equal size, and their bytes."""

    def __init__(self, source: Source, name: str, data: ChunkedColumn | None, index: ChunkedColumn) -> None:
        self.name = name
        self.length = index.length
        self._data = data
        self._index = index
        self._budget = Budget(source.path)
        self._chunks: dict[int, bytes] = {}

    def decoding(self) -> Decoding:
        if self._data is None:
            raise Damaged("the bytes of its elements are missing")
        decoding = decoding_of(self._data.dtype, with_type_byte=True)
        if decoding.size is not None:
            raise Damaged(f"an index for elements of equal size, of dtype {self._data.dtype!a:.60}")
        return decoding

    def runs(self) -> Iterator[Run]:
        for data in self._index.bytes_of(_ENTRY):
            entries = np.frombuffer(data, "<i4").reshape(-1, 3).tolist()
            parts: list[bytes | None] = []
            size = 0
            for number, start, end in entries:
                part = self._part(number, start, end)
                parts.append(part)
                size += len(part or b"")
                if size >= RUN_BYTES or len(parts) >= RUN_ITEMS:
                    yield parts
                    parts, size = [], 0
            if parts:
                yield parts

    def _part(self, number: int, start: int, end: int) -> bytes | None:
        assert self._data is not None
        chunk = self._chunks.get(number)
        if chunk is None:
            if len(self._chunks) >= _KEPT:
                del self._chunks[next(iter(self._chunks))]
            chunk = self._chunks[number] = self._data.chunk(number)
        if not 0 <= start <= end <= len(chunk):
            return None
        self._budget.take(end - start)
        return chunk[start:end]
