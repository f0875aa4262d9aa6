"""The binding of an ``AsyncEngine``: that of an Engine, with transactions of tasks instead of threads."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from sqlalchemy.engine import Connection, Engine

from ..binding.on_engine import EngineBinding
from ..engine import busy_timeout
from ..errors import InvalidArgument
from ..lending import DriverCursor, Lender, is_single, translated_errors
from ..scanning import Scan, pages
from ..statements import Statement
from .lending import async_lender_for
from .loops import OneLoop
from .tasks import Task, current_caller
from .turns import Turns
from .waiting import await_, uncancelled

__all__ = ["AsyncEngineBinding", "Held", "paging"]


# Whether what is read now is a step of an ``async for``.
_paging: ContextVar[bool] = ContextVar("kohakuvault.paging", default=False)


@contextmanager
def paging() -> Iterator[None]:
    """Read page by page in the block, as an ``async for`` does.

    One that is left half-way is not closed at once, and must not keep a connection, nor a transaction that reads.
    """
    token = _paging.set(True)
    try:
        yield
    finally:
        _paging.reset(token)


class Held:
    """A transaction, or snapshot, that a task has open."""

    __slots__ = ("connection", "cursor", "lock", "only_reads")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.cursor: DriverCursor | None = None
        self.only_reads = False
        # One operation at a time: others may run in tasks of their own.
        self.lock = asyncio.Lock()


class _HeldByTasks:
    """What each task has open; to :class:`EngineBinding`, the attributes of the current one."""

    def __init__(self) -> None:
        self.of: weakref.WeakKeyDictionary[Task, Held] = weakref.WeakKeyDictionary()

    def _set(self, name: str, value: Any) -> None:
        task = current_caller()
        assert task is not None
        held = self.of.get(task)
        if held is None:
            if not value:
                return
            held = self.of[task] = Held()
        setattr(held, name, value)
        if held.cursor is None and held.connection is None:
            del self.of[task]

    def _get(self) -> Held | None:
        task = current_caller()
        return None if task is None else self.of.get(task)

    @property
    def connection(self) -> Connection | None:
        held = self._get()
        return None if held is None else held.connection

    @connection.setter
    def connection(self, connection: Connection | None) -> None:
        self._set("connection", connection)

    @property
    def cursor(self) -> DriverCursor | None:
        held = self._get()
        return None if held is None else held.cursor

    @cursor.setter
    def cursor(self, cursor: DriverCursor | None) -> None:
        self._set("cursor", cursor)

    @property
    def only_reads(self) -> bool:
        held = self._get()
        return False if held is None else held.only_reads

    @only_reads.setter
    def only_reads(self, only_reads: bool) -> None:
        self._set("only_reads", only_reads)


class AsyncEngineBinding(EngineBinding):
    """Each operation is its own transaction, unless this task is inside ``transaction()``.

    Everything here runs inside of ``run_sync()`` or ``greenlet_spawn()``. On SQLite files the tasks of this process
    write in turn: SQLite itself would have them try again after ever longer pauses.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.one_loop = OneLoop()
        in_turn = engine.dialect.name == "sqlite" and not is_single(engine)
        self._writers: AbstractContextManager[None] = (
            Turns(1, busy_timeout(engine) / 1000) if in_turn else nullcontext()
        )

    def _new_lender(self) -> Lender:
        return async_lender_for(self.engine)

    def _new_held(self) -> Any:
        return _HeldByTasks()

    def held_by(self, task: Task | None) -> Held | None:
        """Return what ``task`` has open."""
        return None if task is None else self._held.of.get(task)

    def check_may_cache(self) -> None:
        raise InvalidArgument(
            "writes of tasks do not wait in memory: each is in the database when it has been awaited. Write many at "
            "once, by put_many(), extend() or inside of transaction()"
        )

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with translated_errors(self.engine):
            connection: Connection = await_(uncancelled(self.engine.connect, Connection.close))
        with connection:
            yield connection

    def run(self, statement: Statement, *values: Any) -> int:
        with self._writers:
            return super().run(statement, *values)

    def run_returning(self, statement: Statement, *values: Any) -> Any:
        with self._writers:
            return super().run_returning(statement, *values)

    @contextmanager
    def writing(self) -> Iterator[DriverCursor]:
        with self._writers, super().writing() as cursor:
            yield cursor

    @contextmanager
    def scanning(self, scan: Scan) -> Iterator[Iterator[Iterable[Any]]]:
        if not _paging.get():
            with super().scanning(scan) as batches:
                yield batches
            return
        scan.bound(self.all)
        yield pages(scan, self._borrowed)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._writers, super().transaction() as connection:
            yield connection
