"""Writing a file as a whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["replaced"]


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
