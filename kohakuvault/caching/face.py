"""What every container that lets writes wait has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from typing_extensions import Self

from ..binding import Binding
from ..container import Container
from .settings import CacheSettings
from .writes import WriteCache

__all__ = ["Caching"]


class Caching(Container):
    """The part of a container that lets writes wait.

    Each adds ``cache`` and ``enable_cache``, with limits that suit what it stores.
    """

    _writes: WriteCache[Any]
    _has_enabled = False

    @property
    def _settled(self) -> Binding:
        """The binding, after what waits to be written was written."""
        binding = self.binding
        if self._writes.waiting:
            binding.settle()
        return binding

    @contextmanager
    def _cached(self, settings: CacheSettings) -> Iterator[Self]:
        binding = self.binding
        before = self._writes.begin(binding, settings)
        try:
            yield self
        finally:
            self._writes.end(binding, before)

    def _enable(self, settings: CacheSettings) -> None:
        self._writes.begin(self.binding, settings)
        self._has_enabled = True

    def disable_cache(self, *, discard: bool = False) -> None:
        """Write what waits, or forget it with ``discard``, and every write directly from now on.

        If writing fails what waits still does, and is written before the next write.
        """
        self._has_enabled = False
        if discard:
            self._writes.drop()
        self._writes.end(self.binding, None)

    def lock_cache(self) -> AbstractContextManager[None]:
        """Return a context in which writes that can wait never flush by themselves.

        Other writes, and reads that do not know what waits, flush in it too.
        """
        return self._writes.held()

    @property
    def background_flush_error(self) -> BaseException | None:
        """Why the last flush by ``flush_interval`` failed, None if it did not. What it was to write still waits."""
        return self._writes.error

    def close(self) -> None:
        """Let the database go, after writing what waits; see :meth:`Container.close`."""
        if self._binding is not None:
            if self._has_enabled:
                self.disable_cache()
            if self._writes.waiting:
                self._settled  # noqa: B018 (writes)
        super().close()
