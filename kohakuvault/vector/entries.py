"""One row of a VectorKVault: writing it, and reading it by its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CorruptValue
from ..orm.nearest import query_vector
from ..rows.arguments import as_id
from ..rows.entries import corrupt_row
from .base import VectorBase

__all__ = ["VectorEntries"]

Array = np.ndarray[Any, np.dtype[Any]]

_NOT_GIVEN: Any = ...


class VectorEntries(VectorBase):
    """The part of :class:`~kohakuvault.VectorKVault` that reads and writes one row at a time."""

    # -- writing -------------------------------------------------------------------------------

    def insert(self, vector: Any, value: Any = None, metadata: Mapping[str, Any] | None = None) -> int:
        """Add a vector with its value and return its id.

        Parameters
        ----------
        vector
            ``dimensions`` finite numbers: an array of shape ``(dimensions,)`` or a sequence.
        value
            Any value that can be packed.
        metadata
            Values by the name of their column; the others are NULL, read as None.
        """
        row = self._row(vector, value)
        names, extra = self._sql.metadata.one(metadata)
        with self.binding.writing() as cursor:
            id = self._add(cursor, names, *row, *extra)
            self._changed(cursor, 1)
        return id

    def __setitem__(self, vector: Any, value: Any) -> None:
        self.insert(vector, value)

    def upsert(self, id: int, vector: Any, value: Any = None, metadata: Mapping[str, Any] | None = None) -> int:
        """Insert a row under ``id``, in the place of the one that has it now, if there is one; return ``id``.

        What is not given is None; :meth:`update` leaves it as it is. ``id`` is an int of 64 bits.
        """
        row = (as_id(id), *self._row(vector, value))
        names, extra = self._sql.metadata.one(metadata)
        with self.binding.writing() as cursor:
            cursor.run(self._sql.upsert(names), *row, *extra)
            self._changed(cursor, 1)
        return row[0]

    def update(
        self, id: int, vector: Any = None, value: Any = _NOT_GIVEN, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Replace the vector, the value or metadata of a row; what is left out stays.

        :class:`NotFound` if there is no such row. Of ``metadata`` the columns that are given are replaced.
        """
        id = as_id(id)
        new: dict[str, Any] = {}
        if vector is not None:
            new["vector"] = self._vector(vector)
        if value is not _NOT_GIVEN:
            new["value"] = self._value(value)
        names, extra = self._sql.metadata.one(metadata)
        new.update(zip(names, extra, strict=True))
        self._update(id, new)

    def _row(self, vector: Any, value: Any) -> tuple[Any, Any]:
        return self._vector(vector), self._value(value)

    def _vector(self, vector: Any) -> Array:
        return query_vector(vector, self._vector_column, self.metric, what="vector")

    # -- reading -------------------------------------------------------------------------------

    def get_by_id(self, id: int) -> tuple[Array, Any]:
        """Return ``(vector, value)`` of a row; :class:`NotFound` if there is none."""
        row = self.binding.one(self._sql.row, as_id(id))
        if row is None:
            raise self._missing(id)
        return self._unpack(id, *row)

    def _unpack(self, id: Any, vector: Any, value: Any) -> tuple[Array, Any]:
        try:
            return self._sql.vector(vector), self._sql.unpack(value)
        except CorruptValue as error:
            raise corrupt_row(id, error) from error
