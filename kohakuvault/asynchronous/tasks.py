"""On whose behalf an operation runs: of the running task, or of the one that called it.

``asyncio.wait_for()`` and ``gather()`` run coroutines in tasks of their own. An operation that was called inside of a
``transaction()`` is part of that all the same; a task that calls operations by itself is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["acting_as", "current_caller"]

Task = asyncio.Task[Any]

# The caller, and the task that acts for it: what that task starts inherits the variable, and is not to act for anybody.
_acting: ContextVar[tuple[Task, Task] | None] = ContextVar("kohakuvault.acting", default=None)


def current_caller() -> Task | None:
    """Return the task that what runs now belongs to; None outside of a loop."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    acting = _acting.get()
    return acting[0] if acting is not None and acting[1] is task else task


@contextmanager
def acting_as(caller: Task) -> Iterator[None]:
    """Run the block, in this task, on behalf of ``caller``."""
    task = asyncio.current_task()
    assert task is not None
    token = _acting.set((caller, task))
    try:
        yield
    finally:
        _acting.reset(token)
