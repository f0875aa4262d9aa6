"""Many rows of a VectorKVault at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._native import pack_rows
from ..auto_pack import as_bytes
from ..errors import InvalidArgument
from ..lending import DriverCursor
from ..rows.arguments import as_ids, as_values
from ..statements import Statement, filled_up
from .entries import VectorEntries
from .packed_vectors import PackedVectors, pack_vectors

__all__ = ["VectorMany"]

# Bytes of a buffer: what is smaller costs more statements, what is larger leaves the processor's cache.
_ROWS = 1 << 18

Metadata = Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any] | None]


class VectorMany(VectorEntries):
    """The part of :class:`~kohakuvault.VectorKVault` that reads and writes many rows, all or none."""

    def insert_many(
        self, vectors: Any, values: Iterable[Any] | None = None, metadata: Metadata | None = None
    ) -> list[int]:
        """Add vectors, all of them or none, and return their ids.

        Parameters
        ----------
        vectors
            An array of shape ``(n, dimensions)`` and any dtype of real numbers, or an iterable of ``n`` vectors. Bits
            may also be packed: an array of uint8, shape ``(n, ceil(dimensions / 8))``.
        values
            ``n`` values; None gives every vector the value ``None``.
        metadata
            Sequences of ``n`` values by the name of their column, or ``n`` dicts of values by column.
        """
        rows = self._vectors(vectors)
        given = self._values(values, len(rows))
        names, extra = self._sql.metadata.many(metadata, len(rows))
        if not given:
            return []
        with self.binding.writing() as cursor:
            ids = self._insert(cursor, rows, given, names, extra)
            self._changed(cursor, len(ids))
        return ids

    def _insert(
        self,
        cursor: DriverCursor,
        vectors: PackedVectors,
        values: Sequence[Any],
        names: tuple[str, ...],
        extra: Sequence[Sequence[Any]],
    ) -> list[int]:
        sql = self._sql
        reserved = sql.ids.reserve(cursor, len(vectors))
        if reserved is None:
            rows = zip(vectors, values, extra, strict=True)
            return [self._add(cursor, names, vector, value, *more) for vector, value, more in rows]
        ids = list(reserved)
        if names or not (sql.takes_rows and cursor.has_rows and isinstance(reserved, range)):
            self._run_many(cursor, sql.insert_as(names), ids, vectors, values, extra)
            return ids
        pairs = zip(vectors, values, strict=True)
        first = ids[0]
        left = len(ids)
        while left:
            packed, large = pack_rows(pairs, _ROWS, sql.pickle, sql.encoding)
            if packed is not None:
                added = cursor.run(sql.insert_rows, first, packed)
                first, left = first + added, left - added
            if large is not None:
                cursor.run(sql.insert_as(), first, *large)
                first, left = first + 1, left - 1
        return ids

    def upsert_many(
        self, ids: Any, vectors: Any, values: Iterable[Any] | None = None, metadata: Metadata | None = None
    ) -> list[int]:
        """Insert rows under ``ids``, in the place of those that have them now; all or none. Return the ids.

        Parameters are those of :meth:`insert_many`; of an id that is given twice the last row counts. What is not
        given is None.
        """
        chosen = as_ids(ids)
        rows = self._vectors(vectors)
        if len(rows) != len(chosen):
            raise InvalidArgument(f"{len(chosen)} ids need as many vectors, not {len(rows)}")
        given = self._values(values, len(rows))
        names, extra = self._sql.metadata.many(metadata, len(rows))
        if chosen:
            with self.binding.writing() as cursor:
                self._run_many(cursor, self._sql.upsert(names), chosen, rows, given, extra)
                self._changed(cursor, len(chosen))
        return chosen

    def get_many(self, ids: Any, default: Any = None) -> list[Any]:
        """Return ``(vector, value)`` of each of ``ids``, in their order, ``default`` for those that are missing."""
        chosen = as_ids(ids)
        with self.binding.reading() as cursor:
            found = {
                id: self._unpack(id, vector, value)
                for some in filled_up(list(dict.fromkeys(chosen)))
                for id, vector, value in cursor.all(self._sql.get_many(len(some)), *some)
            }
        return [found.get(id, default) for id in chosen]

    def _vectors(self, vectors: Any) -> PackedVectors:
        return pack_vectors(vectors, self._vector_column, self.metric)

    def _values(self, values: Iterable[Any] | None, count: int) -> list[Any]:
        given = as_values(values, count)
        return given if self._takes_any else [as_bytes(value) for value in given]

    def _run_many(
        self,
        cursor: DriverCursor,
        statement: Statement,
        ids: Sequence[int],
        vectors: PackedVectors,
        values: Sequence[Any],
        extra: Sequence[Sequence[Any]],
    ) -> None:
        rows = zip(ids, vectors, values, extra, strict=True)
        cursor.many(statement, ((id, vector, value, *more) for id, vector, value, more in rows))
