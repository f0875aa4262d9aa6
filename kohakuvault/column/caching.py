"""Elements appended to one Column that wait in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import Self

from ..caching.settings import settings_for
from .base import ColumnBase
from .vault_caching import CAP_BYTES

__all__ = ["ColumnCaching"]


class ColumnCaching(ColumnBase):
    """The part of :class:`~kohakuvault.Column` that lets elements wait."""

    @contextmanager
    def cache(self, cap_bytes: int = CAP_BYTES, flush_threshold: int | None = None) -> Iterator[Self]:
        """Return a context in which ``append`` and small ``extend`` of this column wait; see :meth:`ColumnVault.cache`.

        They count toward the same memory as those of other columns that wait, and are written with them.
        """
        binding = self.binding
        settings = settings_for(binding, cap_bytes, flush_threshold)
        before = self._vault._writes.begin_column(binding, self._id, settings)
        try:
            yield self
        finally:
            self._vault._writes.end_column(self.binding, self._id, before)

    def enable_cache(self, cap_bytes: int = CAP_BYTES, flush_threshold: int | None = None) -> None:
        """Let elements of this column wait until :meth:`disable_cache`, or until its ColumnVault is closed."""
        binding = self.binding
        self._vault._writes.begin_column(binding, self._id, settings_for(binding, cap_bytes, flush_threshold))
        self._vault._enabled_columns.add(self._id)

    def disable_cache(self) -> None:
        """Write what waits, and every element directly from now on, unless elements of all columns wait.

        If writing fails what waits still does, and is written before the next write.
        """
        self._vault._enabled_columns.discard(self._id)
        self._vault._writes.end_column(self.binding, self._id, None)

    def flush_cache(self) -> int:
        """Write what waits, of all columns in one transaction; return how many bytes were of this column.

        If it fails, all of it still waits.
        """
        return self._vault._writes.flush_for(self.binding, self._id)
