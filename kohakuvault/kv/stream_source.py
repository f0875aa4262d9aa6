"""What is to be stored, cut into chunks: from a binary file object, a path, or bytes in memory."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import InvalidArgument, KohakuVaultError, ReaderFailed, UnsupportedType

__all__ = ["Reader", "Source", "opened", "whole_number"]


class SupportsRead(Protocol):
    """A binary file object, or anything else with its ``read``."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none of them only at the end."""


Reader = SupportsRead | bytes | bytearray | memoryview | os.PathLike[str]


class Source:
    """The bytes that a reader gives, up to ``size`` of them.

    Attributes
    ----------
    total
        How many there will be, or None where the reader does not say.
    """

    def __init__(self, reader: SupportsRead, size: int | None, total: int | None) -> None:
        self._reader = reader
        self._size = size
        self.total = total if size is None else size

    def chunks(self, chunk_size: int) -> Iterator[bytes]:
        """Give chunks of ``chunk_size`` bytes, the last one smaller and never empty.

        Raises
        ------
        ReaderFailed
            when the reader raises an exception, returns None or more than it was asked for, or ends before ``size``.
        UnsupportedType
            when it returns anything but bytes.
        """
        done = 0
        while True:
            wanted = chunk_size if self._size is None else min(chunk_size, self._size - done)
            chunk = self._exactly(wanted)
            done += len(chunk)
            if chunk:
                yield chunk
            if len(chunk) < wanted and self._size is not None:
                raise ReaderFailed(
                    f"the reader ended after {done} of {self._size} bytes; nothing was stored. Leave size out if the "
                    "reader may end anywhere"
                )
            if len(chunk) < chunk_size:
                return

    def _exactly(self, size: int) -> bytes:
        """Return ``size`` bytes; fewer only where the reader ends."""
        parts: list[bytes] = []
        while size > 0:
            part = self._read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, size: int) -> bytes:
        try:
            part: Any = self._reader.read(size)
        except KohakuVaultError:
            raise
        except Exception as error:
            raise ReaderFailed(
                f"the reader raised {type(error).__name__}: {error}; nothing was stored, and the old value is as it was"
            ) from error
        if part is None:
            raise ReaderFailed(
                "the reader returned None, as one in non-blocking mode does when it has no bytes yet; nothing was "
                "stored. Make it blocking"
            )
        if isinstance(part, str):
            raise _text()
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise UnsupportedType(f"a reader returns bytes, not {type(part).__name__}; nothing was stored")
        if len(part) > size:
            raise ReaderFailed(f"the reader returned {len(part)} bytes where {size} were asked for; nothing was stored")
        # A copy of what the reader may use again.
        return bytes(part)


class _Memory:
    """Bytes in memory as a reader, without a copy of all of them."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self._view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        self._position = 0
        self.size = view.nbytes

    def read(self, size: int) -> bytes:
        self._position += size
        return self._view[self._position - size : self._position].tobytes()


@contextmanager
def opened(reader: Any, size: int | None) -> Iterator[Source]:
    """Give a :class:`Source` of ``reader``; a path is opened, and closed behind."""
    size = None if size is None else whole_number("size", size, 0)
    if isinstance(reader, (bytes, bytearray, memoryview)):
        memory = _Memory(reader)
        yield Source(memory, size, memory.size)
    elif isinstance(reader, os.PathLike):
        with open(reader, "rb") as file:
            yield Source(file, size, os.fstat(file.fileno()).st_size)
    elif isinstance(reader, io.TextIOBase):
        raise _text()
    elif callable(getattr(reader, "read", None)):
        yield Source(reader, size, None)
    else:
        raise UnsupportedType(
            f"a reader is a binary file object, bytes, bytearray, memoryview or pathlib.Path, not {reader!r:.60} of "
            f"type {type(reader).__name__}"
        )


def whole_number(name: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """Return ``value`` if it is an int from ``least`` to ``most``; otherwise raise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnsupportedType(f"{name} is an int, not {value!r:.60} of type {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidArgument(f"{name} is from {least} to {most}, not {value}")
    return value


def _text() -> UnsupportedType:
    return UnsupportedType("the reader gives text; open the file in binary mode ('rb'). Nothing was stored")
