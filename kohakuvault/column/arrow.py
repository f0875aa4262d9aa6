"""A Column as Arrow: one chunked array, or a stream of batches that others read without copying."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .arrow_arrays import arrow_chunks, arrow_field, arrow_type, pyarrow
from .reading import ColumnReading

__all__ = ["ColumnArrow"]


class ColumnArrow(ColumnReading):
    """The part of :class:`~kohakuvault.Column` that gives Arrow. Needs pyarrow: ``pip install kohakuvault[arrow]``."""

    def to_arrow(self, start: int = 0, stop: int | None = None) -> Any:
        """Return the elements ``start`` to ``stop``, of one state, as a ``pyarrow.ChunkedArray``.

        Numbers and bools are of Arrow's own types, text is ``large_string``, ``bytes`` ``large_binary``, ``bytes:N``
        ``fixed_size_binary``, vectors of one shape are fixed-size lists. Elements of ``msgpack``, ``cbor`` and
        ``vec:T`` are ``large_binary``, as they are packed; those of ``json`` are ``large_string``, their text.

        Raises
        ------
        UnsupportedType
            where pyarrow is not installed.
        """
        return pyarrow().chunked_array(self._arrow_chunks(start, stop), arrow_type(self._elements))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give a stream of record batches with one column, of the column's name, for pyarrow, polars, duckdb, pandas.

        Read a megabyte at a time, as iterating does, in whatever thread the reader runs: elements that are inserted or
        removed meanwhile shift those that follow.
        """
        pa = pyarrow()
        schema = pa.schema([arrow_field(self.name, self._elements)])
        reader = pa.RecordBatchReader.from_batches(schema, self._record_batches(schema, len(self)))
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream

    def _record_batches(self, schema: Any, length: int) -> Iterator[Any]:
        pa = pyarrow()
        page = self._page()
        for start in range(0, length, page):
            for chunk in self._arrow_chunks(start, min(start + page, length)):
                yield pa.record_batch([chunk], schema=schema)

    def _arrow_chunks(self, start: int, stop: int | None) -> list[Any]:
        elements = self._elements
        chunks: list[Any] = self._between(start, stop, lambda parts: arrow_chunks(elements, parts))
        return chunks
