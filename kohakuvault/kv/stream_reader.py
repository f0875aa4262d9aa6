"""A value as a readable, seekable file object that has one chunk of it in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ChunkReader"]


class ChunkReader(io.RawIOBase):
    """Reads ``length`` bytes that are in chunks of ``chunk_size``; ``load`` returns the chunk of a number.

    Attributes
    ----------
    name
        The key, as text unless it is ``bytes``.
    """

    mode = "rb"

    def __init__(self, key: Any, length: int, chunk_size: int, load: Callable[[int], bytes]) -> None:
        self.name = key if isinstance(key, (str, bytes)) else str(key)
        self._length = length
        self._chunk_size = chunk_size
        self._load = load
        self._number = -1
        self._chunk = b""
        self._position = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {self._length} bytes>"

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes from the beginning."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset`` from the beginning, the position or the end; return the new position."""
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}
        if whence not in bases:
            raise InvalidArgument(f"whence is 0, 1 or 2, not {whence!r}")
        position = bases[whence] + offset
        if position < 0:
            raise InvalidArgument(f"cannot seek to {position}, before the beginning")
        self._position = position
        return position

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer``, up to the end of the chunk; return how many bytes that were."""
        self._check_open()
        piece = self._rest_of_chunk()
        with memoryview(buffer).cast("B") as target:
            count = min(len(piece), len(target))
            target[:count] = piece[:count]
        self._position += count
        return count

    def readall(self) -> bytes:
        """Return the bytes from here to the end."""
        self._check_open()
        pieces = []
        while piece := self._rest_of_chunk():
            pieces.append(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Let the chunk go."""
        self._chunk, self._number = b"", -1
        super().close()

    def _rest_of_chunk(self) -> memoryview:
        """Return what there is of the chunk from the position on; nothing at the end of the value."""
        if self._position >= self._length:
            return memoryview(b"")
        number, offset = divmod(self._position, self._chunk_size)
        if number != self._number:
            self._chunk = self._load(number)
            self._number = number
        return memoryview(self._chunk)[offset:]

    def _check_open(self) -> None:
        if self.closed:
            raise InvalidArgument("I/O operation on a closed file")
