"""What every kind of vector index does on SQLite with the rows of its table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy.engine import Connection

from ..errors import KohakuVaultError
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .building import Progress
from .learning import batches
from .state import packed_bytes, unpacked
from .statements import IndexStatements

__all__ = ["Anew", "IndexStore", "Step", "comparable", "is_whole", "missed_rows"]

Anew = Callable[[Connection], None]

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
    def tables(self, cursor: DriverCursor) -> Sequence[str]:
        """Return the names of the tables that there have to be."""

    @abstractmethod
    def create(self, connection: Connection) -> None:
        """Make its tables that are missing."""

    @abstractmethod
    def create_statements(self) -> list[str]:
        """Return the SQL that makes its tables, without a database to look at."""

    @abstractmethod
    def drop_statements(self) -> list[str]:
        """Return the SQL that drops its tables."""

    @classmethod
    @abstractmethod
    def drop(cls, connection: Connection, name: str) -> None:
        """Drop its tables for the index ``name``, where there are any, whatever state they are in."""

    def meta(self) -> dict[str, str]:
        """Return what ``<name>_meta`` says of it, as SQL, beside what it says of every index."""
        return {}

    @abstractmethod
    def take_in(self, cursor: DriverCursor) -> None:
        """Take in the rows of a table that there is, all of which are pending, when the index is made."""

    @abstractmethod
    def steps(self, anew: Anew, *, optimizes: bool, progress: Progress | None) -> Iterator[Step]:
        """Give the parts of building it anew, each to be done in a transaction before the next is asked for.

        ``anew`` makes the index's tables and triggers anew, those of its store too unless building it :attr:`commits`.
        """

    def explain(self, error: KohakuVaultError) -> KohakuVaultError:
        """Return what to raise for an error of building it."""
        return error

    @abstractmethod
    def check(self, cursor: DriverCursor) -> list[str]:
        """Return what is wrong with what is kept, beside what :func:`~.check.check_index` finds in every index."""

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
    """Return the rows ``(id, vector)`` with finite numbers and, for cosine, a direction; and the numbers.

    The vectors are :func:`whole <is_whole>`. The numbers have shape ``(n, dimensions)`` and for cosine length 1. The
    distance of other rows is NaN or infinite: they come last, and are only looked for where there are not enough rows
    before them.
    """
    numbers = unpacked([row[1] for row in rows], index.element, index.dimensions, index.metric)
    keeps = np.isfinite(numbers).all(axis=1)
    if index.metric == "cosine":
        keeps &= numbers.any(axis=1)
    return [row for row, keep in zip(rows, keeps.tolist(), strict=True) if keep], numbers[keeps]


def missed_rows(cursor: DriverCursor, sql: IndexStatements, index: VectorIndex, known: set[int]) -> list[str]:
    """Return, as a problem, how many rows with a vector are neither among ``known`` nor pending."""
    pending = {row[0] for row in cursor.all(sql.pending_ids)}
    missed: list[int] = []
    for batch in batches(cursor, sql):
        rows = [row for row in batch if row[0] not in known and row[0] not in pending]
        whole = [row for row in rows if is_whole(row[1], index)]
        # Those that cannot be compared are in no index.
        missed += [row[0] for row in rows if not is_whole(row[1], index)]
        missed += [row[0] for row in comparable(whole, index)[0]] if whole else []
    if not missed:
        return []
    return [f"{len(missed)} rows are neither in a vector index nor pending, such as id {missed[0]}"]
