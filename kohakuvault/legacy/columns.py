"""Old columns of either format, as runs of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from .dtypes import Decoding

__all__ = ["RUN_BYTES", "RUN_ITEMS", "OldColumn", "Run", "as_count", "as_text", "cut"]

# Bytes, and where they differ in size elements, that are in memory at a time.
RUN_BYTES = 1 << 22
RUN_ITEMS = 4096

# Whole elements of equal size, or the bytes of each, None where they are not to be found.
Run = bytes | Sequence[bytes | None]


class OldColumn(Protocol):
    """A column of an old file.

    Attributes
    ----------
    name
        Without what 0.8.6 adds to the names of columns whose elements differ in size.
    length
        Elements, as the file says.
    """

    name: str
    length: int

    def decoding(self) -> Decoding:
        """Return how elements are read; raise :class:`Damaged` where that is not known."""

    def runs(self) -> Iterator[Run]:
        """Give all elements; raise :class:`Damaged` where they end too early."""


def as_count(value: Any) -> int:
    """Return a number of the file's that can count something, 0 for what cannot."""
    return value if type(value) is int and value >= 0 else 0


def as_text(value: Any) -> str:
    """Return a text of the file's, "" for what is none."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Give whole elements of ``size`` bytes, some at a time."""
    step = max(RUN_BYTES // size, 1) * size
    for start in range(0, len(data), step):
        yield data[start : start + step]
