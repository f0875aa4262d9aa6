"""Which event loop something is used in: one at a time."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any

from ..errors import InvalidArgument

__all__ = ["OneLoop"]


class OneLoop:
    """The event loop that a container, or an engine, belongs to for as long as that runs.

    What tasks wait for, and what they hold, is of their loop: another one, in another thread, would wait for ever.
    A loop that has stopped hands on to the next, as with one ``asyncio.run()`` after the other.
    """

    __slots__ = ("_lock", "_loop", "_thread")

    def __init__(self) -> None:
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._thread = ""
        self._lock = threading.Lock()

    def enter(self, what: Any) -> None:
        """Belong to the running loop; raise :class:`InvalidArgument`, which names ``what``, if another one runs."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop() is loop:
            return
        with self._lock:
            known = None if self._loop is None else self._loop()
            here = threading.current_thread().name
            if known is not None and known is not loop and known.is_running():
                raise InvalidArgument(
                    f"{what!r} belongs to the event loop that runs in the thread {self._thread!r}, and is used in "
                    f"another, in the thread {here!r}: open a container in each loop, by path or on an AsyncEngine of "
                    f"that loop, or share {type(what).__name__.removeprefix('Async')}, which is for threads"
                )
            self._loop, self._thread = weakref.ref(loop), here
