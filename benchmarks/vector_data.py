"""The vectors that searches are timed on, and what is true of them: nearest rows, intrinsic dimension, filters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clustered import HARD, NORMAL, clustered

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
# 6,504 real embeddings; examples/data/README.md has their source.
MINILM = HERE.parent / "examples" / "data" / "stdlib_minilm.npz"

QUERIES = 1000
MORE = 8_000  # rows of the same distribution, to be added later
NEIGHBOURS = 100  # whose distances the local intrinsic dimension is estimated from


@dataclass(frozen=True)
class VectorSet:
    """Unit vectors: files of ``documents``, ``queries`` and, but for the real set, of ``more`` documents."""

    name: str
    title: str
    folder: Path

    @property
    def documents_file(self) -> str:
        return str(self.folder / "documents.npy")

    @property
    def queries_file(self) -> str:
        return str(self.folder / "queries.npy")

    @property
    def more_file(self) -> str:
        return str(self.folder / "more.npy")

    @cached_property
    def documents(self) -> Array:
        return np.load(self.documents_file, mmap_mode="r")

    @cached_property
    def queries(self) -> Array:
        return np.load(self.queries_file)

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def dimensions(self) -> int:
        return int(self.documents.shape[1])

    def similarities(self, first: int, count: int) -> Iterator[Array]:
        """Yield the cosine similarity of each of those queries to all documents."""
        documents = np.asarray(self.documents)
        for start in range(first, first + count, 50):
            yield from self.queries[start : min(start + 50, first + count)] @ documents.T

    def intrinsic_dimension(self, count: int = 100) -> float:
        """Return the mean local intrinsic dimension at that many queries.

        The maximum-likelihood estimator of Levina & Bickel (2005), as Amsaleg et al. (2015) use it for search:
        minus the reciprocal of the mean of ln(rᵢ / r_k) over the k nearest neighbours, by Euclidean distance.
        """
        found = []
        for similarity in self.similarities(0, min(count, len(self.queries))):
            nearest = -np.partition(-similarity, NEIGHBOURS)[:NEIGHBOURS]
            distance = np.sqrt(np.maximum(2 - 2 * np.sort(nearest)[::-1].astype(np.float64), 1e-12))
            found.append(-1 / np.mean(np.log(distance / distance[-1])))
        return float(np.mean(found))

    def ranks(self, seed: int = 3) -> Array:
        """Return for each document its place by chance and its place by nearness to a document chosen by chance.

        ``rank < n / 10`` is then a filter that a tenth of all passes: of any topic, or of one.
        """
        rng = np.random.default_rng(seed)
        topic = np.empty(len(self), np.int64)
        centre = self.documents[rng.integers(len(self))]
        topic[np.argsort(-(np.asarray(self.documents) @ centre), kind="stable")] = np.arange(len(self))
        return np.stack([rng.permutation(len(self)), topic], axis=1)


@dataclass(frozen=True)
class Truth:
    """The similarity to all documents of a number of queries, of those documents that pass a filter."""

    tenth: Array  # similarity of the k-th nearest document to each query
    documents: Array
    queries: Array
    passing: Array | None
    k: int

    @classmethod
    def of(cls, data: VectorSet, first: int, count: int, k: int, passing: Array | None = None) -> Truth:
        tenth = []
        for similarity in data.similarities(first, count):
            within = similarity if passing is None else similarity[passing]
            tenth.append(-np.partition(-within, min(k, len(within)) - 1)[min(k, len(within)) - 1])
        return cls(np.array(tenth), data.documents, data.queries[first : first + count], passing, k)

    @property
    def wanted(self) -> int:
        """How many results a query should have."""
        return self.k if self.passing is None else min(self.k, int(self.passing.sum()))

    def recall(self, found: Array) -> Array:
        """Return each query's share of results that are as near as the k nearest; ties count, as copies are alike.

        ``found`` has a row of labels for each query, filled with -1.
        """
        shares = []
        for labels, query, tenth in zip(found, self.queries, self.tenth, strict=True):
            right = np.unique(labels[(labels >= 0) & (labels < len(self.documents))])
            if self.passing is not None:
                right = right[self.passing[right]]
            # float32 sums of another order differ by some 1e-7.
            shares.append(np.sum(self.documents[right] @ query >= tenth - 1e-6) / self.wanted)
        return np.minimum(shares, 1)


def _sizes() -> dict[str, tuple[int, int]]:
    return {"20k": (20_000, 384), "100k": (100_000, 384), "100k-768": (100_000, 768), "1m": (1_000_000, 384)}


# Name → number, dimensions and weights of the generated sets; only with --scale those of a million.
GENERATED = {
    name + suffix: (rows, dimensions, weights)
    for name, (rows, dimensions) in _sizes().items()
    for suffix, weights in (("", NORMAL), ("-hard", HARD))
}
REAL = "minilm"
NAMES = (REAL, *GENERATED)
SCALE = ("1m", "1m-hard")


def load(name: str) -> VectorSet:
    """Return the set of that name, which is made the first time; ``"20000x64"`` is one of these numbers."""
    if name == REAL:
        return _kept(REAL, f"{MINILM.stem}, 6,504 × 384, real", _minilm)
    if name in GENERATED:
        rows, dimensions, weights = GENERATED[name]
    else:
        rows, dimensions, weights = *map(int, name.split("x")), NORMAL
    kind = "HARD" if weights == HARD else "NORMAL"
    return _kept(name, f"{rows:,} × {dimensions} {kind}", lambda: _generated(rows, dimensions, weights))


def _kept(name: str, title: str, make: Any) -> VectorSet:
    folder = CACHE / name
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file, array in make().items():
            np.save(folder / f"{file}.npy", array)
        (folder / "complete").touch()
    return VectorSet(name, title, folder)


def _minilm() -> dict[str, Array]:
    with np.load(MINILM) as arrays:
        found = {name: arrays[name].astype(np.float32) for name in ("documents", "queries")}
    return {name: array / np.linalg.norm(array, axis=1, keepdims=True) for name, array in found.items()}


def _generated(rows: int, dimensions: int, weights: tuple[float, float, float, float]) -> dict[str, Array]:
    documents, others = clustered(rows, QUERIES + MORE, dimensions, weights)
    return {"documents": documents, "queries": others[:QUERIES], "more": others[QUERIES:]}
