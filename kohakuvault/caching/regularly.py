"""The thread that flushes a cache at intervals."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from ..errors import KohakuVaultError
from .unwritten import target_of

__all__ = ["RegularFlush"]


class Flushable(Protocol):
    """A cache, as far as it matters here."""

    error: BaseException | None
    regularly: RegularFlush | None

    @property
    def entries(self) -> int:
        """How many writes wait."""

    @property
    def is_held(self) -> bool:
        """Whether nothing may flush by itself now."""

    def flush(self, binding: Any) -> int:
        """Write them."""

    def forget_parent(self) -> None:
        """Start anew, in a forked child."""


class RegularFlush:
    """Flushes ``cache`` every ``interval`` seconds, until it is stopped or the cache is gone.

    A failure is told by the cache's ``error``, and tried again after the next interval.
    """

    def __init__(self, cache: Flushable, interval: float) -> None:
        self._stop = threading.Event()
        self._cache = weakref.ref(cache)
        self._interval = interval
        self._thread = threading.Thread(target=self._run, name="kohakuvault flush", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it does."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End, after a flush that may be going on."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            cache = self._cache()
            if cache is None or cache.regularly is not self:
                # Another has taken its place: an interrupt while it was started hid that it was.
                return
            binding = target_of(cache)
            if binding is None:
                cache.error = None
                continue
            if cache.is_held:
                continue
            try:
                cache.flush(binding)
                cache.error = None
            except KohakuVaultError as error:
                cache.error = error
            del cache, binding
