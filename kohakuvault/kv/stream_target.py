"""Where the pieces of a value are written to."""

from __future__ import annotations

import io
import os
from typing import Any, Protocol

from ..errors import UnsupportedType

__all__ = ["SupportsWrite", "Writer", "check_writer"]


class SupportsWrite(Protocol):
    """A binary file object, or anything else with its ``write``."""

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Write, and return how many bytes that were; None for all of them."""


Writer = SupportsWrite | os.PathLike[str]


def check_writer(writer: Any) -> None:
    """Raise unless bytes can be written to ``writer``, as far as can be told before."""
    if isinstance(writer, io.TextIOBase):
        raise UnsupportedType("the writer takes text, and a value is bytes; open the file in binary mode, 'wb'")
    if not isinstance(writer, os.PathLike) and not callable(getattr(writer, "write", None)):
        hint = "; for a path give pathlib.Path(…)" if isinstance(writer, str) else ""
        raise UnsupportedType(f"a writer is a binary file object or a Path, not {type(writer).__name__}{hint}")
