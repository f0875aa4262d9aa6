"""How the elements of one column become stored bytes: as blocks, and as the tail."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .._native import frame, unframe
from ..errors import CorruptValue, InvalidArgument, UnsupportedType
from .elements import Elements, elements_of, reading_blocks

__all__ = ["BLOCK_BYTES", "LARGEST_BLOCK", "LEVELS", "Form"]

# A block and its row header fill one 16 KiB page, so that a point read touches no overflow page.
BLOCK_BYTES = 16_000

# Of zstd.
LEVELS = range(1, 23)

# Bytes of a block with several elements; also more than any element that can be stored.
LARGEST_BLOCK = 1 << 30


@dataclass(frozen=True)
class Form:
    """The elements of a column, and what is done to their blocks before they are stored.

    Attributes
    ----------
    elements
        Those of the dtype.
    block_bytes
        The most bytes of a block, before it is compressed, unless it has one element only; and of the tail.
    compression
        The level of zstd, or None.
    checksum
        Whether a CRC-32C precedes each block and the tail.
    """

    elements: Elements
    block_bytes: int
    compression: int | None = None
    checksum: bool = False

    @classmethod
    def read(cls, dtype: Any, block_bytes: Any, compression: Any, checksum: Any) -> Form:
        """Return the form that the column's row says; raise :class:`CorruptValue` if it can be of no column."""
        try:
            elements = elements_of(dtype)
        except (InvalidArgument, UnsupportedType) as error:
            raise CorruptValue(f"the dtype {dtype!r}, which this release does not know") from error
        if type(block_bytes) is not int or not 0 < block_bytes <= LARGEST_BLOCK:
            raise CorruptValue(f"block_bytes {block_bytes!r}")
        if compression is not None and (type(compression) is not int or compression not in LEVELS):
            raise CorruptValue(f"compression {compression!r}")
        return cls(elements, block_bytes, compression, bool(checksum))

    def is_of(self, dtype: Any, block_bytes: Any, compression: Any, checksum: Any) -> bool:
        """Whether it is the form that a column's row says."""
        own = (self.elements.dtype, self.block_bytes, self.compression, self.checksum)
        return own == (dtype, block_bytes, compression, bool(checksum))

    @cached_property
    def is_plain(self) -> bool:
        """Whether blocks are stored as they are."""
        return self.compression is None and not self.checksum

    @cached_property
    def direct_size(self) -> int | None:
        """Bytes of one element, if all have as many and can be read and written in the stored bytes."""
        return self.elements.item_size if self.is_plain else None

    # -- blocks --------------------------------------------------------------------------------

    def store(self, block: Any) -> Any:
        """Return what is stored for a block."""
        return block if self.is_plain else frame(block, self.compression, self.checksum)

    def load(self, stored: bytes, count: int) -> bytes:
        """Return the block of ``count`` elements that was stored."""
        if self.is_plain:
            return stored
        size = self.elements.item_size
        if size is None:
            size = self.block_bytes if count > 1 else LARGEST_BLOCK
            count = 1
        with reading_blocks:
            return unframe(stored, count * size, self.compression is not None, self.checksum)

    def summary(self, block: Any, count: int) -> bytes | None:
        """Return what ``vault_block`` keeps of the elements of a block; None for what is no number."""
        summary = self.elements.codec.summary(block, count)
        return summary if summary is None or not self.checksum else frame(summary, None, True)

    def load_summary(self, stored: bytes | None) -> bytes | None:
        """Return the summary that ``vault_block`` keeps."""
        if stored is None or not self.checksum:
            return stored
        with reading_blocks:
            return unframe(stored, len(stored), False, True)

    # -- the tail ------------------------------------------------------------------------------

    def store_tail(self, block: Any, count: int) -> bytes:
        """Return what is stored as the tail for the elements of a block."""
        if not count:
            return b""
        tail = self.elements.codec.stream(block, count)
        return frame(tail, None, True) if self.checksum else tail

    def may_be_tail(self, count: int, stored_bytes: int) -> bool:
        """Whether ``count`` elements may take so many bytes as a tail."""
        if not count:
            return stored_bytes == 0
        size = self.elements.item_size
        stream = stored_bytes - (4 if self.checksum else 0)
        # Elements that differ in size have their length in front, as 4 bytes.
        return 4 * count <= stream if size is None else size * count == stream

    def load_tail(self, stored: bytes) -> tuple[int, bytes]:
        """Return the elements of a tail as a block, and how many they are."""
        if not stored:
            return 0, b""
        with reading_blocks:
            tail = unframe(stored, len(stored), False, True) if self.checksum else stored
            return self.elements.codec.from_stream(tail)
