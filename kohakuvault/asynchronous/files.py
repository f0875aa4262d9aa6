"""Readers and writers whose ``read`` and ``write`` are coroutines, for what reads and writes without."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from inspect import iscoroutinefunction
from typing import Any, Protocol

from ..kv.stream_source import Reader
from ..kv.stream_target import Writer
from .waiting import await_

__all__ = ["AsyncReader", "AsyncWriter", "as_reader", "as_writer"]


class SupportsAsyncRead(Protocol):
    """A file object of asyncio, such as an ``UploadFile`` of FastAPI, or one of aiofiles."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return up to ``size`` bytes; none at the end."""


class SupportsAsyncWrite(Protocol):
    """A file object of asyncio."""

    def write(self, data: bytes, /) -> Awaitable[int | None]:
        """Write, and return how many bytes that were; None for all of them."""


AsyncReader = Reader | SupportsAsyncRead | AsyncIterable[bytes]
AsyncWriter = Writer | SupportsAsyncWrite


def as_reader(reader: Any) -> Reader:
    """Return ``reader`` as one without coroutines, to be used inside of an operation."""
    if iscoroutinefunction(getattr(reader, "read", None)):
        return _WaitedReader(reader)
    if isinstance(reader, AsyncIterable) and not hasattr(reader, "read"):
        return _WaitedChunks(aiter(reader))
    plain: Reader = reader
    return plain


def as_writer(writer: Any) -> Writer:
    """Return ``writer`` as one without coroutines, to be used inside of an operation."""
    if iscoroutinefunction(getattr(writer, "write", None)):
        return _WaitedWriter(writer)
    plain: Writer = writer
    return plain


class _WaitedReader:
    def __init__(self, reader: SupportsAsyncRead) -> None:
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        part: bytes = await_(self._reader.read(size))
        return part


class _WaitedChunks:
    """Chunks of any size, such as ``request.stream()`` of Starlette, as a reader."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            try:
                self._rest = memoryview(await_(anext(self._chunks)))
            except StopAsyncIteration:
                return b""
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)


class _WaitedWriter:
    def __init__(self, writer: SupportsAsyncWrite) -> None:
        self._writer = writer

    def write(self, data: bytes | memoryview, /) -> int | None:
        count: int | None = await_(self._writer.write(bytes(data)))
        return count
