"""Where the pieces of a value are written to."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..errors import UnsupportedType

__all__ = ["SupportsWrite", "Writer", "check_writer", "replaced"]


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


@contextmanager
def replaced(path: os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write: beside ``path``, which it replaces at the end, unless that is a device or a pipe."""
    file = Path(path)
    if file.exists() and not file.is_file():
        with file.open("wb") as special:
            yield special
        return
    target = file.resolve()
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as opened:
            if target.exists():
                # Before anything is in it: who may not read the old one may not read this.
                partial.chmod(stat.S_IMODE(target.stat().st_mode))
            yield opened
        partial.replace(target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
