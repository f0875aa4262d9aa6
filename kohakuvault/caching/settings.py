"""When writes that wait are flushed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..binding import Binding
from ..errors import InvalidArgument

__all__ = ["CacheSettings", "settings_for"]


@dataclass(frozen=True)
class CacheSettings:
    """When waiting writes are flushed.

    Attributes
    ----------
    cap_bytes
        What waits takes at most so much memory.
    flush_threshold
        A write is preceded by a flush where otherwise more would wait. At most ``cap_bytes``.
    flush_interval
        Seconds between flushes by a thread in the background; None for no such thread.
    auto_flush
        Whether writes flush by themselves, at ``flush_threshold``.
    """

    cap_bytes: int
    flush_threshold: int
    flush_interval: float | None = None
    auto_flush: bool = True

    def __post_init__(self) -> None:
        for name in ("cap_bytes", "flush_threshold"):
            value = getattr(self, name)
            if type(value) is not int or value <= 0:
                raise InvalidArgument(f"{name} is a number of bytes above zero, not {value!r}")
        object.__setattr__(self, "flush_threshold", min(self.flush_threshold, self.cap_bytes))
        interval = self.flush_interval
        if interval is not None and not (type(interval) in (int, float) and 0 < interval < threading.TIMEOUT_MAX):
            raise InvalidArgument(f"flush_interval is a number of seconds above zero, or None, not {interval!r}")


def settings_for(
    binding: Binding,
    cap_bytes: int,
    flush_threshold: int | None,
    flush_interval: float | None = None,
    auto_flush: bool = True,
) -> CacheSettings:
    """Return the settings, with a quarter of ``cap_bytes`` for no ``flush_threshold``; raise if nothing can wait."""
    binding.check_may_cache()
    if flush_interval is not None and binding.is_joined:
        raise InvalidArgument(
            "flush_interval needs a thread of its own, and a Session or Connection is of one thread only: leave it "
            "out, or bind the vault to the engine"
        )
    if flush_threshold is None and type(cap_bytes) is int:
        flush_threshold = max(cap_bytes // 4, 1)
    return CacheSettings(cap_bytes, flush_threshold, flush_interval, auto_flush)  # type: ignore[arg-type]
