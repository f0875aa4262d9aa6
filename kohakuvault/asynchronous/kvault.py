"""``AsyncKVault``: a dict in a table of the application's own database, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..kv.expiry import TimeToLive
from ..kv.streams import Progress
from ..kvault import KVault
from ..orm.tables import KVTable
from .container import AsyncBind, AsyncContainer
from .files import AsyncReader, AsyncWriter, as_reader, as_writer
from .operations import operation, scan, taken

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

__all__ = ["AsyncKVault"]


class AsyncKVault(AsyncContainer[KVault]):
    """A :class:`~kohakuvault.KVault` whose methods are coroutines.

    Parameters
    ----------
    bind
        A file path, URL, AsyncEngine, AsyncConnection, AsyncSession or another container for asyncio.
    table, create, pickle, read_only, read_cache
        As for :class:`~kohakuvault.KVault`.

    Notes
    -----
    The methods are those of :class:`~kohakuvault.KVault`, with ``await``; ``await kv[key]`` is there, and instead of
    ``kv[key] = value``, ``del kv[key]``, ``key in kv`` and ``len(kv)`` there are ``put``, ``delete``, ``exists`` and
    ``length``. With ``async for``: ``kv``, ``keys``, ``values``, ``items``, ``range``, ``prefix``, ``chunks``.
    With ``async with``: ``transaction``, ``snapshot``, and the container itself, which is closed behind.
    Not here: write caches, since nothing that was awaited may be lost, and ``memoize``.

    Bound to an AsyncEngine, path or URL, each operation is its own transaction, and any number of tasks may use it.
    Bound to an AsyncSession or AsyncConnection, operations are part of its transaction and never commit it.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     async with AsyncKVault(":memory:") as kv:
    ...         await kv.put("user:1", {"name": "Alice"})
    ...         return await kv.get("user:1"), [key async for key in kv]
    >>> asyncio.run(main())
    ({'name': 'Alice'}, ['user:1'])
    """

    _has_it, _each = "await kv.exists(key)", "async for key in kv"

    def __init__(
        self,
        bind: AsyncBind,
        table: str | type[KVTable] = "kv",
        *,
        create: bool = True,
        pickle: bool = False,
        read_only: bool = False,
        read_cache: int | None = None,
    ) -> None:
        options = {"create": create, "pickle": pickle, "read_only": read_only, "read_cache": read_cache}
        make: Callable[[Any], KVault] = partial(_made, table, options)
        super().__init__(bind, make, read_only=read_only)

    # One entry.
    __getitem__ = operation(KVault.__getitem__)
    get = operation(KVault.get)
    put = operation(KVault.put)
    delete = operation(KVault.delete)
    exists = operation(KVault.exists)
    pop = operation(KVault.pop)
    popitem = operation(KVault.popitem)
    setdefault = operation(KVault.setdefault)
    add = operation(KVault.add)
    incr = operation(KVault.incr)
    decr = operation(KVault.decr)
    replace = operation(KVault.replace)
    touch = operation(KVault.touch)
    expires_at = operation(KVault.expires_at)

    # Many.
    length = operation(KVault.__len__)
    get_many = operation(KVault.get_many)
    delete_many = operation(KVault.delete_many)
    delete_range = operation(KVault.delete_range)
    clear = operation(KVault.clear)
    copy = operation(KVault.copy)

    # Not `async def`: an operation is part of the transaction that it is called in.

    def put_many(
        self, items: Iterable[tuple[Any, Any]] | AsyncIterable[tuple[Any, Any]], ttl: TimeToLive | None = None
    ) -> Coroutine[Any, Any, None]:
        """Set every ``(key, value)``: all of them, or none; see :meth:`KVault.put_many`."""
        return self._operate(lambda kv: kv.put_many(taken(items), ttl))

    def update(
        self,
        other: SupportsKeysAndGetItem[Any, Any] | Iterable[tuple[Any, Any]] | AsyncIterable[tuple[Any, Any]] = (),
        /,
        **keywords: Any,
    ) -> Coroutine[Any, Any, None]:
        """Set every key of ``other`` and ``keywords``: all of them, or none; see :meth:`KVault.update`."""
        pairs: Any = taken(other) if isinstance(other, AsyncIterable) else other
        return self._operate(lambda kv: kv.update(pairs, **keywords))

    # In order.
    __aiter__ = scan(KVault.__iter__)
    range = scan(KVault.range)
    prefix = scan(KVault.prefix)
    first = operation(KVault.first)
    last = operation(KVault.last)

    def keys(self, prefix: str | bytes | None = None, limit: int | None = None) -> AsyncGenerator[Any, None]:
        """Iterate over the keys in the order of insertion; with ``prefix`` over those, in the order of keys."""
        return self._iterate(lambda kv: kv.keys(prefix, limit))

    def values(self, prefix: str | bytes | None = None, limit: int | None = None) -> AsyncGenerator[Any, None]:
        """Iterate over the values; see :meth:`keys`."""
        return self._iterate(lambda kv: kv.values(prefix, limit))

    def items(self, prefix: str | bytes | None = None, limit: int | None = None) -> AsyncGenerator[Any, None]:
        """Iterate over the ``(key, value)`` pairs; see :meth:`keys`."""
        return self._iterate(lambda kv: kv.items(prefix, limit))

    # Files.
    def put_file(
        self,
        key: Any,
        reader: AsyncReader,
        *,
        size: int | None = None,
        chunk_size: int | None = None,
        progress: Progress | None = None,
        ttl: TimeToLive | None = None,
    ) -> Coroutine[Any, Any, int]:
        """Set ``key`` to the bytes of a file, chunk by chunk; return how many there are.

        As :meth:`KVault.put_file`; ``reader`` may also have a coroutine ``read(size)``, or be an asynchronous iterator
        of bytes.
        """
        return self._operate(
            lambda kv: kv.put_file(key, as_reader(reader), size=size, chunk_size=chunk_size, progress=progress, ttl=ttl)
        )

    def get_to_file(
        self, key: Any, writer: AsyncWriter, *, chunk_size: int | None = None, progress: Progress | None = None
    ) -> Coroutine[Any, Any, int]:
        """Write the value of ``key``, which must be ``bytes``, chunk by chunk; return how many bytes there are.

        As :meth:`KVault.get_to_file`; ``write`` of the writer may also be a coroutine.
        """
        return self._operate(
            lambda kv: kv.get_to_file(key, as_writer(writer), chunk_size=chunk_size, progress=progress)
        )

    async def chunks(self, key: Any, chunk_size: int = 256 * 1024) -> AsyncGenerator[bytes, None]:
        """Give the value of ``key``, which must be ``bytes``, in pieces: the body of a streaming response.

        Nothing is held between two of them. If the entry is replaced or removed meanwhile, :class:`StreamLost` is
        raised, as by :meth:`KVault.open`.
        """
        file = await self._operate(lambda kv: kv.open(key))
        while chunk := await self._operate(lambda kv: file.raw.read(chunk_size)):
            yield chunk

    # Care.
    check = operation(KVault.check)
    stats = operation(KVault.stats)
    remove_expired = operation(KVault.remove_expired)


def _made(table: str | type[KVTable], options: dict[str, Any], source: Any) -> KVault:
    return KVault(source, table, **options)
