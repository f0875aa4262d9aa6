"""Waiting for what must not be left half-way when a task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.util import concurrency
from sqlalchemy.util.concurrency import greenlet_spawn

from .tasks import acting_as, current_caller

__all__ = ["await_", "cancelled_once", "ended", "uncancelled"]

Result = TypeVar("Result")

# Waits inside of greenlet_spawn. Its name in SQLAlchemy 2.1, and before.
await_: Any = getattr(concurrency, "await_", None) or concurrency.await_only


async def ended(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until ``future`` is done, however often this task is cancelled; return the error that says so."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


async def cancelled_once(function: Callable[[], Result]) -> Result:
    """Return ``function()``, run as ``greenlet_spawn`` does; of however many cancellations it learns of one.

    So what it does then is done to its end. psycopg closes a connection whose rollback is cancelled too.
    """
    task = _started(function)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await ended(task)
        if not task.cancelled():
            task.exception()
        raise
    return task.result()


async def uncancelled(function: Callable[[], Result], undo: Callable[[Result], Any] | None = None) -> Result:
    """Run ``function`` to its end, as ``greenlet_spawn`` does, also if this task is cancelled meanwhile.

    The task is cancelled behind it; ``undo`` is for what the function returned and nobody will take then.
    """
    task = _started(function)
    cancelled = await ended(task)
    result = task.result()
    if cancelled is None:
        return result
    if undo is not None:
        await ended(_started(lambda: undo(result)))
    raise cancelled


def _started(function: Callable[[], Result]) -> asyncio.Task[Result]:
    """Run ``function`` in a task that acts for whoever this one acts for."""
    caller = current_caller()
    assert caller is not None

    async def run() -> Result:
        with acting_as(caller):
            return await greenlet_spawn(function)

    return asyncio.create_task(run())
