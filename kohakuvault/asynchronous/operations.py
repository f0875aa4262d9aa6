"""How a method of a container becomes a coroutine, and an iterator of one an asynchronous iterator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator
from functools import partial, wraps
from itertools import islice
from typing import Any, ClassVar, Concatenate, Generic, NoReturn, ParamSpec, TypeVar

from ..errors import UnsupportedType
from .binding import paging
from .waiting import await_

__all__ = ["Face", "operation", "scan", "taken"]

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

# Entries that are read in one step of an `async for`; the database gives them page by page, of other sizes.
_STEP = 256


class Face(Generic[C_co]):
    """Something whose operations are those of ``C_co``, run so that other tasks go on meanwhile."""

    # What there is for `in` and for iteration.
    _has_it: ClassVar[str]
    _each: ClassVar[str]

    # Without these two Python would call __getitem__ with 0, 1, 2, …, and take every coroutine for an element.

    def __contains__(self, value: object) -> NoReturn:
        raise UnsupportedType(f"`in` cannot wait for a database, as an {type(self).__name__} does: use {self._has_it}")

    def __iter__(self) -> NoReturn:
        raise UnsupportedType(
            f"an {type(self).__name__} waits for its database when iterated over: use {self._each}, or for a list "
            f"[… {self._each}]"
        )

    def _operate(self, function: Callable[[C_co], R]) -> Coroutine[Any, Any, R]:
        """Return a coroutine that gives ``function(…)``; it is part of the transaction that it is called in, if any."""
        raise NotImplementedError

    async def _iterate(self, begin: Callable[[C_co], Iterable[R]]) -> AsyncGenerator[R, None]:
        """Give what ``begin`` gives, some at a time."""
        iterator: Iterator[R] | None = None
        failed: BaseException | None = None

        def some(container: Any) -> list[R]:
            nonlocal iterator, failed
            found: list[R] = []
            with paging():
                try:
                    if iterator is None:
                        iterator = iter(begin(container))
                    found.extend(islice(iterator, _STEP))
                except Exception as error:  # noqa: BLE001 (raised behind what was read before it)
                    failed = error
            return found

        ended = False
        while not ended:
            entries = await self._operate(some)
            ended = len(entries) < _STEP
            for entry in entries:
                yield entry
            if failed is not None:
                raise failed


def operation(
    method: Callable[Concatenate[C, P], R],
) -> Callable[Concatenate[Face[C], P], Coroutine[Any, Any, R]]:
    """Return the coroutine method that does what ``method`` of the container does."""

    @wraps(method)
    def call(self: Face[C], /, *arguments: P.args, **keywords: P.kwargs) -> Coroutine[Any, Any, R]:
        return self._operate(lambda container: method(container, *arguments, **keywords))

    call.__doc__ = f"Await what ``{method.__qualname__}`` returns.\n\n        {method.__doc__ or ''}"
    return call


def scan(
    method: Callable[Concatenate[C, P], Iterable[R]],
) -> Callable[Concatenate[Face[C], P], AsyncGenerator[R, None]]:
    """Return the method that gives, as an asynchronous iterator, what the iterator of ``method`` gives."""

    @wraps(method)
    def call(self: Face[C], /, *arguments: P.args, **keywords: P.kwargs) -> AsyncGenerator[R, None]:
        return self._iterate(partial(_begin, method, arguments, keywords))

    call.__doc__ = f"Iterate over what ``{method.__qualname__}`` gives.\n\n        {method.__doc__}"
    return call


def _begin(method: Callable[..., R], arguments: Any, keywords: Any, container: Any) -> R:
    return method(container, *arguments, **keywords)


def taken(items: Iterable[R] | AsyncIterable[R]) -> Iterable[R]:
    """Return ``items`` as what a container takes, inside of an operation."""
    return _waited(items) if isinstance(items, AsyncIterable) else items


def _waited(items: AsyncIterable[R]) -> Iterator[R]:
    iterator = aiter(items)
    while True:
        try:
            item = await_(anext(iterator))
        except StopAsyncIteration:
            return
        yield item
