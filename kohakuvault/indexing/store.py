"""What every kind of vector index does on SQLite with the rows of its table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sqlalchemy.engine import Connection

from ..errors import KohakuVaultError
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .building import Progress
from .state import packed_bytes, unpacked

__all__ = ["IndexStore", "Step", "comparable", "is_whole"]

# Part of building an index, in a transaction of its own.
Step = Callable[[DriverCursor], None]


class IndexStore(ABC):
    """Where an index keeps what it knows of rows, beside ``<name>_meta`` and ``<name>_pending``.

    Raises :class:`InvalidArgument` for an index that cannot be kept so.

    Attributes
    ----------
    backend
        The extension that its tables need, by its name in :data:`~kohakuvault.backends.BACKENDS`.
    commits
        Whether building it takes effect at COMMIT only, so that it cannot be part of a transaction of somebody's.
    """

    backend: str | None = None
    commits = False

    def __init__(self, index: VectorIndex) -> None:
        self.index = index

    @abstractmethod
    def create(self, connection: Connection) -> None:
        """Make its tables that are missing."""

    @abstractmethod
    def drop(self, connection: Connection) -> None:
        """Drop its tables, where there are any."""

    def meta(self) -> dict[str, Any]:
        """Return what ``<name>_meta`` says of it, beside what it says of every index."""
        return {}

    @abstractmethod
    def take_in(self, cursor: DriverCursor) -> None:
        """Take in the rows of a table that there is, all of which are pending, when the index is made."""

    @abstractmethod
    def steps(self, *, optimizes: bool, progress: Progress | None) -> Iterator[Step]:
        """Give the parts of building it anew, each to be done in a transaction before the next is asked for."""

    def explain(self, error: KohakuVaultError) -> KohakuVaultError:
        """Return what to raise for an error of building it."""
        return error

    @abstractmethod
    def due(self, cursor: DriverCursor) -> int | None:
        """Return the number of pending rows from which they are to be folded; None for never."""

    @abstractmethod
    def fold(self, cursor: DriverCursor) -> None:
        """Bring what is pending in, in the transaction of ``cursor``."""

    @abstractmethod
    def describe(self, cursor: DriverCursor) -> dict[str, Any]:
        """Return what there is to say: ``in_use``, ``bytes`` and more."""


def is_whole(vector: Any, index: VectorIndex) -> bool:
    """Whether what is stored as a vector has the bytes of one."""
    return isinstance(vector, bytes) and len(vector) == packed_bytes(index.element, index.dimensions)


def comparable(rows: list[Any], index: VectorIndex) -> tuple[list[Any], np.ndarray[Any, np.dtype[np.float32]]]:
    """Return those of whole rows ``(id, vector)`` that have finite numbers and, for cosine, a direction; and the numbers.

    The numbers have shape ``(n, dimensions)`` and for cosine length 1. The distance of other rows is NaN or infinite:
    they come last, and are only looked for where there are not enough rows before them.
    """
    numbers = unpacked([row[1] for row in rows], index.element, index.dimensions, index.metric)
    keeps = np.isfinite(numbers).all(axis=1)
    if index.metric == "cosine":
        keeps &= numbers.any(axis=1)
    return [row for row, keep in zip(rows, keeps.tolist(), strict=True) if keep], numbers[keeps]
