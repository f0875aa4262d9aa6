"""Taking turns: how many tasks of one loop may use something at once. Others wait, in the order of their coming."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from types import TracebackType

from ..errors import DatabaseBusy
from .tasks import Task, current_caller
from .waiting import await_

__all__ = ["Turns"]


class Turns:
    """A re-entrant lock of tasks, for code inside of ``greenlet_spawn``; or up to ``most`` locks.

    Parameters
    ----------
    most
        How many tasks have a turn at once.
    patience
        Seconds after which whoever waits is told that the database is busy, unless turns have been given meanwhile;
        None to wait for as long as it takes.
    """

    def __init__(self, most: int, patience: float | None = None) -> None:
        self._most = most
        self._patience = patience
        # What belongs to a loop that was closed is of no interest to the next.
        self._of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = weakref.WeakKeyDictionary()

    def acquire(self) -> None:
        """Wait for a turn of the current task; it may have several of its own."""
        task = current_caller()
        assert task is not None
        turns = self._turns()
        if task in turns.depth:
            turns.depth[task] += 1
        elif len(turns.depth) < self._most and not turns.waiting:
            turns.depth[task] = 1
        else:
            await_(turns.wait(task, self._patience))

    def release(self) -> None:
        """End the turn that was taken last."""
        turns = self._turns()
        task = current_caller()
        assert task is not None
        turns.depth[task] -= 1
        if not turns.depth[task]:
            del turns.depth[task]
            turns.hand_on()

    def _turns(self) -> _Turns:
        loop = asyncio.get_running_loop()
        turns = self._of_loop.get(loop)
        if turns is None:
            turns = self._of_loop[loop] = _Turns()
        return turns

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class _Turns:
    """Those of one loop."""

    def __init__(self) -> None:
        self.depth: dict[Task, int] = {}
        self.waiting: deque[tuple[asyncio.Future[None], Task]] = deque()
        self._given = 0

    async def wait(self, task: Task, patience: float | None) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (future, task)
        self.waiting.append(entry)
        given = self._given
        try:
            while not future.done():
                await asyncio.wait([future], timeout=patience)
                if not future.done() and given == self._given:
                    raise DatabaseBusy(
                        f"another task of this process has been in a transaction for {patience:g} s: end it first, and "
                        "do not wait inside of a transaction for a task that writes"
                    )
                given = self._given
        except BaseException:
            if future.done():
                # The turn came at the same moment.
                del self.depth[task]
                self.hand_on()
            else:
                self.waiting.remove(entry)
            raise

    def hand_on(self) -> None:
        if self.waiting:
            future, task = self.waiting.popleft()
            self._given += 1
            self.depth[task] = 1
            future.set_result(None)
