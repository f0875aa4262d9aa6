"""The blocks of a list that a row owns, or would: it has none before something is stored in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import NotFound
from .blocks import Blocks, Run
from .elements import Part

__all__ = ["AbsentBlocks", "RowBlocks"]


class RowBlocks(Blocks):
    """The blocks of a list that a row owns."""

    def _found(self, row: Any) -> Any:
        if row is None:
            raise NotFound("the list has been deleted: the row that owned it was, or it refers to no list any more")
        return row


class AbsentBlocks(Blocks):
    """Those of a list that there is not yet: it reads as an empty one."""

    def length(self, *, exact: bool = False) -> int:
        """Return 0."""
        return 0

    def read(self, start: int, stop: int) -> list[Part]:
        """Return no elements."""
        return []

    def runs(self, start: int, stop: int) -> list[Run]:
        """Return no blocks."""
        return []

    def gather(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return no bytes."""
        return np.empty(0, np.uint8)

    def summaries(self, start: int, stop: int) -> list[tuple[int, int, bytes | None]]:
        """Return no summaries."""
        return []
