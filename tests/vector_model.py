"""What a VectorKVault should do, by numpy in float64: distances, and the check of what a search found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "bit": np.bool_}

# An id's vector, value and language.
Row = tuple[np.ndarray, Any, str | None]


def distance(metric: str, a: np.ndarray, b: np.ndarray) -> float:
    """The distance of two vectors; NaN where there is none."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        return float(1 - a @ b / norms) if norms else float("nan")
    if metric == "l2":
        return float(np.linalg.norm(a - b))
    if metric == "l1":
        return float(np.abs(a - b).sum())
    if metric == "ip":
        return float(-(a @ b))
    return float(((a > 0) != (b > 0)).sum())


def check_found(
    found: list[tuple[int, float, Any]],
    among: Mapping[int, Row],
    query: np.ndarray,
    metric: str,
    k: int,
    *,
    is_exact: bool = True,
) -> None:
    """Fail unless ``found`` has the ``k`` nearest rows; of equally far ones any will do.

    If it is not exact, of ``k`` rows at their distances, nearest first, which need not all be the nearest.
    """
    distances = {id: distance(metric, vector, query) for id, (vector, _, _) in among.items()}
    ids = [id for id, _, _ in found]
    assert len(set(ids)) == len(ids) == min(k, len(among))
    assert [value for _, _, value in found] == [among[id][1] for id in ids]
    given = [given for _, given, _ in found]
    assert np.allclose(given, [distances[id] for id in ids], rtol=1e-5, atol=1e-5, equal_nan=True)
    if is_exact:
        nearest = np.sort(list(distances.values()))[: len(ids)]
        assert np.allclose(given, nearest, rtol=1e-5, atol=1e-5, equal_nan=True)
    else:
        assert np.array_equal(given, np.sort(given), equal_nan=True)
