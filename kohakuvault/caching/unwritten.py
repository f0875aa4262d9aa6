"""What a process must not forget: the caches that hold writes, at a fork and at its end."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from contextlib import suppress
from typing import Any, Protocol

from ..errors import KohakuVaultError

__all__ = ["forget", "remember", "target_of", "watch_forks"]


class Holds(Protocol):
    """A cache, as far as it matters here."""

    @property
    def entries(self) -> int:
        """How many writes wait."""

    def flush(self, binding: Any) -> int:
        """Write them."""

    def forget_parent(self) -> None:
        """Start anew, in a forked child: the parent writes what waited at the fork."""


# Those that hold writes, each with the binding that they will go to. Those of a Session or Connection are its
# transaction's, and go with it.
_unwritten: dict[Holds, Any] = {}
_caches: weakref.WeakSet[Holds] = weakref.WeakSet()


def watch_forks(cache: Holds) -> None:
    """Have ``cache`` start anew in a forked child."""
    _caches.add(cache)


def remember(cache: Holds, binding: Any) -> None:
    """Have what ``cache`` holds written by ``binding`` before a fork and at the end of the process."""
    _unwritten[cache] = binding
    _flush_at_the_end_of_a_child()


def forget(cache: Holds) -> None:
    """Note that ``cache`` holds nothing."""
    _unwritten.pop(cache, None)


def target_of(cache: Holds) -> Any:
    """Return the binding that what ``cache`` holds goes to; None if it holds nothing."""
    return _unwritten.get(cache)


def _flush_before_fork() -> None:
    # So that the child sees it. What cannot be written now stays with the parent.
    for cache, binding in list(_unwritten.items()):
        with suppress(KohakuVaultError):
            cache.flush(binding)


def _forget_in_child() -> None:
    for cache in list(_caches):
        cache.forget_parent()


_child = 0


def _flush_at_the_end_of_a_child() -> None:
    """Have a process of multiprocessing's flush when it ends, which by itself runs nothing of atexit's."""
    global _child
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _child != os.getpid():
        _child = os.getpid()
        util.Finalize(None, _flush_at_exit, exitpriority=100)


def _flush_at_exit() -> None:
    for cache, binding in list(_unwritten.items()):
        try:
            cache.flush(binding)
        except KohakuVaultError as error:
            sys.stderr.write(f"kohakuvault: {cache.entries} cached entries could not be written: {error}\n")


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_flush_before_fork, after_in_child=_forget_in_child)
