"""Inverted lists: k-means (Lloyd 1982), on a sample of the vectors, some of which it starts from."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["SAMPLE_PER_LIST", "centroids_of", "default_lists", "default_probes", "nearest_centroids"]

Vectors = np.ndarray[Any, np.dtype[np.float32]]

_ROUNDS = 6
_FEWEST_CODES = 20_000
# Vectors of the sample for each list; with fewer, lists are noise.
SAMPLE_PER_LIST = 32
# Vectors compared with all centroids at a time: as many as leave their products in the processor's cache.
_BATCH = 512


def default_lists(rows: int) -> int:
    """Return how many lists a table of ``rows`` rows has: four times the square root."""
    return max(16, int(4 * rows**0.5))


def default_probes(lists: int, rows: int) -> int:
    """Return how many of the lists a search looks at: one in 24, and so many that a small table is not cut at all.

    20,000 codes are looked at in a fraction of a millisecond.
    """
    return min(lists, max(lists // 24, -(-_FEWEST_CODES * lists // max(rows, 1))))


def centroids_of(sample: Vectors, lists: int, seed: int) -> Vectors:
    """Return ``lists`` centroids, fewer if the sample is small, shape ``(lists, dimensions)``."""
    random = np.random.default_rng(seed)
    lists = max(1, min(lists, len(sample) // 8))
    centroids = sample[random.choice(len(sample), lists, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest = nearest_centroids(sample, centroids)
        counts = np.bincount(nearest, minlength=lists)
        filled = counts > 0
        starts = (counts.cumsum() - counts)[filled]
        sums = np.add.reduceat(sample[np.argsort(nearest, kind="stable")], starts, axis=0, dtype=np.float64)
        centroids[filled] = (sums / counts[filled, None]).astype(np.float32)
        # An empty list takes a vector of the fullest, so that it shares its load.
        empty = np.flatnonzero(~filled)
        if len(empty):
            crowded = np.flatnonzero(np.isin(nearest, np.argsort(-counts)[: len(empty)]))
            centroids[empty] = sample[random.choice(crowded, len(empty))]
    return centroids


def nearest_centroids(vectors: Vectors, centroids: Vectors) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the number of the centroid nearest to each vector, by Euclidean distance."""
    half_squares = (centroids.astype(np.float64) ** 2).sum(axis=1).astype(np.float32) / 2
    columns = np.ascontiguousarray(centroids.T)
    nearest = np.empty(len(vectors), np.int64)
    scores = np.empty((min(_BATCH, len(vectors)), len(centroids)), np.float32)
    for start in range(0, len(vectors), _BATCH):
        some = vectors[start : start + _BATCH]
        these = scores[: len(some)]
        np.matmul(some, columns, out=these)
        these -= half_squares
        these.argmax(axis=1, out=nearest[start : start + _BATCH])
    return nearest
