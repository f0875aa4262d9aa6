"""What the containers for asyncio share: a bind, opening, transactions, and an end."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlalchemy.util.concurrency import greenlet_spawn
from typing_extensions import Self

from ..binding import bind_to
from ..container import Container
from ..database_address import display_name
from ..errors import InvalidArgument
from .binding import AsyncEngineBinding, Held
from .engine import SharedEngine, shared_engine
from .loops import OneLoop
from .operations import Face, operation
from .tasks import Task, acting_as, current_caller
from .waiting import cancelled_once, ended

__all__ = ["AsyncBind", "AsyncContainer"]

C_co = TypeVar("C_co", bound=Container, covariant=True)
R = TypeVar("R")

AsyncBind: TypeAlias = """(
    str | os.PathLike[str] | URL | AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]
    | AsyncContainer[Any]
)"""

# Sessions and Connections are for one task at a time: operations that are gathered take turns.
_turns: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()


class AsyncContainer(Face[C_co]):
    """Base class of the containers for asyncio: each operation is a coroutine that does what the other container does.

    Opened by the first operation, by ``await``-ing it, or by ``async with``, which also closes it.
    """

    def __init__(self, bind: AsyncBind, make: Callable[[Any], C_co], *, read_only: bool = False) -> None:
        if isinstance(bind, async_scoped_session):
            bind = bind()
        known = (str, os.PathLike, URL, AsyncEngine, AsyncConnection, AsyncSession, AsyncContainer)
        if not isinstance(bind, known):
            name = type(self).__name__
            is_plain = isinstance(bind, (Engine, Connection, Session))
            hint = f"; {name.removeprefix('Async')} takes that" if is_plain else ""
            raise InvalidArgument(
                f"bind of an {name} is a path, URL, AsyncEngine, AsyncConnection, AsyncSession or another Async "
                f"container, not {type(bind).__module__}.{type(bind).__name__}{hint}"
            )
        self._bind: AsyncBind = bind
        self._make = make
        self._read_only = read_only
        self._is_closed = False
        self._shared: SharedEngine | None = None
        # Where it was given a path, it is of one loop.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Lock | None = None
        self._container: Any = None
        self._sync_engine: Engine | None = None
        # Of the transactions of tasks; that of a path or URL is not known before the loop is.
        self._engine_binding: AsyncEngineBinding | None = None
        self._one_loop: OneLoop = bind._one_loop if isinstance(bind, AsyncContainer) else OneLoop()
        if isinstance(bind, AsyncEngine):
            self._engine_binding = _binding_of(bind)
            # Its connections are of the loop that they were opened in, but those of a NullPool, which keeps none; of
            # SQLite files there are some of our own.
            if bind.dialect.name == "sqlite" or not isinstance(bind.sync_engine.pool, NullPool):
                self._one_loop = self._engine_binding.one_loop

    # -- opening and closing -------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened_self().__await__()

    async def _opened_self(self) -> Self:
        await self._operate(_nothing)
        return self

    async def __aenter__(self) -> Self:
        return await self._opened_self()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the database go; the container cannot be used any more. Closing twice is harmless.

        The connections of a path or URL are closed with the last container of this loop that uses them. An AsyncEngine,
        AsyncConnection or AsyncSession that was given stays open.
        """
        self._is_closed = True
        container, self._container, self._engine_binding = self._container, None, None
        shared, self._shared = self._shared, None
        if container is not None:
            await greenlet_spawn(container.close)
        if shared is not None and self._loop is asyncio.get_running_loop():
            await shared.leave()

    def __repr__(self) -> str:
        if self._is_closed:
            where = "closed"
        elif self._sync_engine is not None:
            where = f"on {display_name(self._sync_engine.url)}"
        else:
            where = "not open yet"
        return f"<{type(self).__name__} {where}>"

    @property
    def engine(self) -> AsyncEngine:
        """The engine that statements run on."""
        bind = self._bind
        if isinstance(bind, AsyncContainer):
            return bind.engine
        if isinstance(bind, AsyncEngine):
            return bind
        if isinstance(bind, AsyncConnection):
            return bind.engine
        if self._shared is not None:
            return self._shared.engine
        self._known()
        assert self._sync_engine is not None
        return AsyncEngine(self._sync_engine)

    def _known(self) -> C_co:
        if self._container is None:
            state = "closed; open a new one" if self._is_closed else "not open yet: await it, or use async with"
            raise InvalidArgument(f"this {type(self).__name__} is {state}")
        container: C_co = self._container
        return container

    async def _opened(self) -> C_co:
        """Return the container, opened if it is not yet."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            # What it had in a loop that is over ended with that.
            self._container = self._shared = self._engine_binding = self._opening = self._loop = None
        if self._container is None:
            if self._is_closed:
                self._known()
            if self._opening is None:
                self._opening = asyncio.Lock()
            async with self._opening:
                if self._container is None:
                    self._container = await self._open(loop)
        container: C_co = self._container
        return container

    async def _open(self, loop: asyncio.AbstractEventLoop) -> C_co:
        bind = self._bind
        source: Any
        if isinstance(bind, AsyncContainer):
            source = await bind._opened()
            self._loop = bind._loop
        elif isinstance(bind, AsyncEngine):
            source = bind.sync_engine
        elif isinstance(bind, (AsyncSession, AsyncConnection)):
            source = bind.sync_session if isinstance(bind, AsyncSession) else bind.sync_connection
            if source is None:
                raise InvalidArgument("the AsyncConnection is not open: use async with engine.connect() as connection")
        else:
            if self._shared is None:
                assert not isinstance(bind, async_scoped_session)
                self._shared = shared_engine(bind, read_only=self._read_only)
                self._engine_binding = _binding_of(self._shared.engine)
            self._loop = loop
            source = self._shared.engine.sync_engine

        def opened() -> C_co:
            container = self._make(source)
            self._sync_engine = container.engine
            return container

        return await greenlet_spawn(opened)

    # -- operations --------------------------------------------------------------------------------

    def _operate(self, function: Callable[[C_co], R]) -> Coroutine[Any, Any, R]:
        caller = current_caller()
        return self._run(function, caller, self._held_by(caller))

    def _held_by(self, caller: Task | None) -> Held | None:
        binding = self._root._engine_binding
        return None if binding is None else binding.held_by(caller)

    @property
    def _root(self) -> AsyncContainer[Any]:
        return self._bind._root if isinstance(self._bind, AsyncContainer) else self

    def _turn(self) -> AbstractAsyncContextManager[Any]:
        """Return the context of one operation on a Session or Connection; elsewhere there may be many at once."""
        bind = self._root._bind
        if isinstance(bind, (AsyncSession, AsyncConnection)):
            return _turns.setdefault(bind, asyncio.Lock())
        return nullcontext()

    async def _run(self, function: Callable[[C_co], R], caller: Task | None, held: Held | None) -> R:
        self._one_loop.enter(self)
        if held is None:
            async with self._turn():
                container = self._container
                if container is None or self._loop is not None:
                    container = await self._opened()
                return await self._spawned(function, container)
        assert caller is not None
        async with held.lock:
            if held.cursor is None:
                raise InvalidArgument(
                    "the transaction() in which this was called has ended: await it inside of the block"
                )
            with acting_as(caller):
                return await self._spawned(function, await self._opened())

    async def _spawned(self, function: Callable[[C_co], R], container: Any) -> R:
        assert self._sync_engine is not None
        if self._sync_engine.dialect.name == "sqlite":
            return await greenlet_spawn(function, container)
        return await cancelled_once(lambda: function(container))

    # -- transactions ------------------------------------------------------------------------------

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Group operations: all of them take effect, or none if the block is left by an exception.

        The transaction is of the bind, so every container on the same engine takes part, in this task: what is called
        in the block, also through ``asyncio.gather`` or ``wait_for``. A task that is started in the block is not part
        of it. Blocks nest by savepoints. Gives the AsyncConnection, for statements of your own.
        """
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[AsyncConnection, None]:
        async with self._entered(Container.transaction) as connection:
            yield AsyncConnection(self.engine, connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[None, None]:
        """Return a context in which all that this task reads is of one state, whatever others commit meanwhile.

        Of every container with the same bind. Writing is refused. See :meth:`KVault.snapshot`.
        """
        async with self._entered(Container.snapshot):
            yield

    @asynccontextmanager
    async def _entered(self, enter: Callable[[C_co], AbstractContextManager[R]]) -> AsyncGenerator[R, None]:
        """Return a context of the container's own, entered and left in steps between which other tasks go on."""
        caller = current_caller()
        assert caller is not None
        leave: Callable[..., bool | None] | None = None

        def begin(container: Any) -> R:
            nonlocal leave
            manager = enter(container)
            given = manager.__enter__()
            leave = manager.__exit__
            return given

        try:
            # It may have been entered when this task is cancelled.
            given = await self._operate(begin)
            yield given
        except BaseException as error:
            if leave is None or not await self._left(caller, leave, type(error), error, error.__traceback__):
                raise
        else:
            assert leave is not None
            await self._left(caller, leave, None, None, None)

    async def _left(self, caller: Task, leave: Callable[..., R], *error: Any) -> R:
        """Leave a context, whatever is cancelled meanwhile."""
        held = self._held_by(caller)

        async def end() -> R:
            async with self._turn() if held is None else held.lock:
                with acting_as(caller):
                    return await greenlet_spawn(leave, *error)

        ending = asyncio.ensure_future(end())
        cancelled = await ended(ending)
        result = ending.result()
        if cancelled is not None:
            raise cancelled
        return result

    # -- care --------------------------------------------------------------------------------------

    optimize = operation(Container.optimize)
    checkpoint = operation(Container.checkpoint)
    backup = operation(Container.backup)


def _binding_of(engine: AsyncEngine) -> AsyncEngineBinding:
    binding = bind_to(engine.sync_engine)
    assert isinstance(binding, AsyncEngineBinding)
    return binding


def _nothing(container: Container) -> None:
    """Do nothing: opening is what is wanted."""
