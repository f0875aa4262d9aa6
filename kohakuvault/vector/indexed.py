"""The index of a VectorKVault: which there is, how well it finds, and building it anew."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidArgument
from ..indexing.care import Progress, build_index, describe_index
from ..lending import translated_errors
from ..orm.tables import table_of
from ..rows.arguments import as_count
from .search import VectorSearch

__all__ = ["Recall", "VectorIndexed"]


@dataclass(frozen=True)
class Recall:
    """How many of the nearest rows searches by the index found.

    Attributes
    ----------
    mean, p5
        The mean over the queries of the share that was found, and its 5th percentile, 0 to 1.
    queries, k
        How many searches, for how many rows each.
    """

    mean: float
    p5: float
    queries: int
    k: int


class VectorIndexed(VectorSearch):
    """The part of :class:`~kohakuvault.VectorKVault` that looks after its index."""

    def rebuild_index(self, progress: Progress | bool | None = None) -> None:
        """Build the index anew from the rows, whatever state it is in; a damaged one is mended by that.

        One transaction. Inverted lists stay as many as they are, with new centroids.

        Parameters
        ----------
        progress
            True shows a progress bar on standard error; a function is called with the rows done and the rows of all.
        """
        self._build(progress, optimizes=False)

    def optimize(self, progress: Progress | bool | None = None) -> None:
        """Build the index that is best for the present number of rows, and make the database compact.

        The only way to inverted lists: those are learned, on SQLite, of ``index="ivf"``, and from 300,000 rows on of
        ``"auto"``. On PostgreSQL this makes the index of ``"auto"``, from 5,000 rows on, and of ``"ivfflat"``, of which
        there is none before.

        The index is built in one transaction. Then follows :meth:`Container.optimize`, unless the vault is bound to a
        Session or Connection, or in a transaction, where databases cannot be made compact.

        Parameters
        ----------
        progress
            As for :meth:`rebuild_index`.
        """
        if self._index is not None:
            self._build(progress, optimizes=True)
        binding = self.binding
        if not binding.is_joined and not binding.holds_transaction:
            super().optimize()

    def recall(self, sample: int = 100, k: int = 10) -> Recall:
        """Measure the index: what searches find, beside the exact answer.

        Parameters
        ----------
        sample
            How many rows, taken at random, are searched for; each of them once.
        k
            How many of their nearest are compared, beside the row itself.
        """
        count, most = as_count(k), as_count(sample, "sample")
        if not count or not most:
            raise InvalidArgument(f"recall() needs a sample and a k of at least 1, not {sample!r} and {k!r}")
        binding = self.binding
        binding.require_functions()
        by_index = self._searches.nearest(self.metric, None)
        exactly = self._searches.nearest(self.metric, None, exact=True)
        shares = []
        with binding.reading() as cursor:
            for vector in self._sample(cursor, most):
                expected = {row[0] for row in cursor.all(exactly, vector, count + 1)}
                found = {row[0] for row in cursor.all(by_index, vector, count + 1)}
                if expected:
                    shares.append(len(expected & found) / len(expected))
        if not shares:
            return Recall(1.0, 1.0, 0, count)
        return Recall(float(np.mean(shares)), float(np.percentile(shares, 5)), len(shares), count)

    def info(self) -> dict[str, Any]:
        """Return the table's name, dimensions, metric, number of rows, and its index.

        ``index`` is a dict: ``kind``, as it was asked for; ``in_use``, what ``"auto"`` chose, or None while every row
        is compared; ``pending``, the rows that are not in it yet, which every search compares; ``lists`` and
        ``probes`` of inverted lists; ``bytes``. None for no index.
        """
        facts: dict[str, Any] = {
            "table": table_of(self.entity).name,
            "dimensions": self.dimensions,
            "metric": self.metric,
            "vector_type": self.vector_type,
            "count": len(self),
        }
        with translated_errors(self.engine), self.binding.reading() as cursor:
            facts["index"] = None if self._index is None else describe_index(cursor, self._index)
        return facts

    def _build(self, progress: Progress | bool | None, *, optimizes: bool) -> None:
        if self._index is None:
            raise InvalidArgument(f"{self!r} has no index: it was made with index=None")
        with _shown(progress) as report:
            build_index(self.binding, self._index, optimizes=optimizes, progress=report)

    def _sample(self, cursor: Any, size: int) -> list[Any]:
        """Return the vectors of rows all over the table."""
        least, greatest = cursor.one(self._sql.id_bounds)
        if least is None:
            return []
        random = np.random.default_rng()
        starts = np.unique(random.integers(least, greatest, size, endpoint=True)).tolist()
        rows = (cursor.one(self._sql.row_from, start) for start in starts)
        found = {row[0]: row[1] for row in rows if row is not None}
        return [self._sql.vector(vector) for vector in found.values()]


@contextmanager
def _shown(progress: Progress | bool | None) -> Any:
    if callable(progress):
        yield progress
        return
    if progress not in (None, True, False):
        raise InvalidArgument(f"progress is True, False or a function of rows done and rows of all, not {progress!r}")
    if not progress:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("index", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
