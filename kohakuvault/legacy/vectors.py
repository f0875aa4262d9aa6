"""Old vectors: the tables of sqlite-vec 0.1.6 behind a virtual table, read without that extension."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .source import Damaged, Source, quoted

__all__ = ["OldVectors", "vectors_of"]

_USES_VEC0 = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b.{0,1000}?\bUSING\s+vec0\s*\(", re.IGNORECASE | re.DOTALL)
_VECTOR = re.compile(
    r"[(,]\s*vector\s+(float|int8|bit)\s*\[\s*(\d{1,9})\s*\](?:\s+distance_metric\s*=\s*(\w{1,20}))?", re.IGNORECASE
)
_METRICS = {"cosine": "cosine", "l2": "l2", "l1": "l1"}

# Rows of a chunk, of which sqlite-vec makes 1024.
_MOST_ROWS = 1 << 20

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class OldVectors:
    """A table of vectors.

    Attributes
    ----------
    name
        Of the virtual table.
    dimensions
        The length of every vector.
    metric
        What they are compared by. By cosine they are of length 1.
    """

    source: Source
    name: str
    dimensions: int
    metric: str

    def count(self) -> int:
        """Return how many rows there are, about."""
        return self.source.count(f"{self.name}_rowids")

    def chunks(self) -> Iterator[tuple[Array, Array, Array]]:
        """Give ids, vectors and ids of values, of the rows of one chunk that are not deleted.

        Raises
        ------
        Damaged
            where a chunk is not as it should be.
        """
        chunks, vectors, refs = (
            quoted(f"{self.name}_{suffix}") for suffix in ("chunks", "vector_chunks00", "metadatachunks00")
        )
        rows = self.source.rows(
            f"SELECT c.size, c.validity, c.rowids, v.vectors, m.data FROM {chunks} AS c "  # noqa: S608 (quoted)
            f"LEFT JOIN {vectors} AS v ON v.rowid = c.chunk_id LEFT JOIN {refs} AS m ON m.rowid = c.chunk_id "
            "ORDER BY c.chunk_id"
        )
        for size, *parts in rows:
            if type(size) is not int or not 0 < size <= _MOST_ROWS or size % 8:
                raise Damaged("a chunk of vectors with an impossible size")
            sizes = (size // 8, 8 * size, 4 * size * self.dimensions, 8 * size)
            if any(
                not isinstance(part, bytes) or len(part) != expected
                for part, expected in zip(parts, sizes, strict=True)
            ):
                raise Damaged("a chunk of vectors with parts that are missing, or of another size")
            validity, ids, items, values = parts
            live = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little").astype(bool)
            matrix = np.frombuffer(items, "<f4").reshape(size, self.dimensions)
            yield np.frombuffer(ids, "<i8")[live], matrix[live], np.frombuffer(values, "<i8")[live]

    def value(self, id: int) -> Any:
        """Return the stored value of that id, None if there is none."""
        row = self.source.row(f"SELECT value FROM {quoted(self.name + '_values')} WHERE id = ?", id)  # noqa: S608
        return None if row is None else row[0]


def vectors_of(source: Source) -> list[tuple[str, OldVectors | Damaged]]:
    """Return the tables of vectors of a file by their names, and of those that cannot be read why."""
    return [(name, _vectors(source, name, sql)) for name, sql in source.sql.items() if _USES_VEC0.match(sql)]


def _vectors(source: Source, name: str, sql: str) -> OldVectors | Damaged:
    found = _VECTOR.search(sql)
    if found is None:
        return Damaged("a vec0 table that neither release has made: it has no column of vectors by that name")
    kind, dimensions, metric = found.groups()
    if kind.lower() != "float":
        return Damaged(f"vectors of {kind.lower()}, which neither release could write")
    known = _METRICS.get((metric or "l2").lower())
    if known is None:
        return Damaged(f"the metric {metric!a}")
    if not int(dimensions):
        return Damaged("vectors of no dimensions")
    for suffix, columns in (
        ("chunks", ("chunk_id", "size", "validity", "rowids")),
        ("vector_chunks00", ("vectors",)),
        ("metadatachunks00", ("data",)),
        ("values", ("id", "value")),
    ):
        if not source.has_columns(f"{name}_{suffix}", *columns):
            return Damaged(f"its table {name + '_' + suffix!a} is missing")
    return OldVectors(source, name, int(dimensions), known)
