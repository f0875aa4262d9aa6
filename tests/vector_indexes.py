"""What the tests of vector indexes share: kinds, data, tables, and what numpy says of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Integer, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from kohakuvault import VectorKVault
from kohakuvault.binding import bind_to
from kohakuvault.indexing.check import check_index
from kohakuvault.orm import Vector, VectorIndex, nearest
from kohakuvault.orm.vector_index import indexes_of

DIMENSIONS = 16

# Each kind on the databases that have it, None for no index. What is "small" has so few rows that it has no blocks.
KINDS = {
    "sqlite": (None, "exact", "rabitq", "ivf", "auto", "small"),
    "postgresql": (None, "exact", "hnsw", "ivfflat", "auto"),
}
# Of mapped classes, which have the same indexes: one of each sort.
MAPPED_KINDS = [
    ("sqlite", "exact"),
    ("sqlite", "rabitq"),
    ("sqlite", "auto"),
    ("postgresql", "hnsw"),
    ("postgresql", "exact"),
]
CASES = [(database, kind) for database, kinds in KINDS.items() for kind in kinds]

METRICS = ("cosine", "l2", "ip", "l1", "hamming")

# Whose searches find exactly the nearest rows, by every metric; "auto" by those that one-bit codes have nothing for.
EXACT = (None, "exact", "small")

# As small as they can be, so that a few rows go through everything that many would.
FOLD = 40
FIRST_FOLD = 100


def supports(kind: str | None, metric: str) -> bool:
    """Whether an index of that kind can be made for the metric on SQLite."""
    return kind not in ("rabitq", "ivf") or metric in ("cosine", "l2", "ip")


def is_exact(database: str, kind: str | None, metric: str) -> bool:
    """Whether searches find exactly the nearest rows."""
    if database == "postgresql":
        return kind in EXACT
    return kind in EXACT or metric in ("l1", "hamming")


@contextmanager
def small_thresholds(fold: int = FOLD, first: int = FIRST_FOLD) -> Iterator[None]:
    """Have indexes fold after so few rows, and learn inverted lists of few."""
    with (
        mock.patch("kohakuvault.indexing.kinds.FOLD", fold),
        mock.patch.dict("kohakuvault.indexing.kinds.FIRST_FOLD", {"auto": first}),
        mock.patch("kohakuvault.indexing.kinds._FIRST_FOLD", first),
    ):
        yield


def clustered(count: int, seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Vectors around a few centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, dimensions)) * 2
    return (centres[rng.integers(0, 20, count)] + rng.standard_normal((count, dimensions))).astype(np.float32)


def whole(count: int, seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Vectors of small whole numbers, many of them equal: distances are exact and there are ties."""
    numbers = np.random.default_rng(seed).integers(-3, 4, (count, dimensions)).astype(np.float32)
    numbers[:, 0] = 5
    return np.concatenate([numbers[: count // 2], numbers[: count - count // 2]])


def distances(metric: str, data: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The distances by numpy, in float64."""
    data, query = data.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        return 1 - data @ query / (np.linalg.norm(data, axis=1) * np.linalg.norm(query))
    if metric == "l2":
        return np.linalg.norm(data - query, axis=1)
    if metric == "l1":
        return np.abs(data - query).sum(axis=1)
    if metric == "ip":
        return -(data @ query)
    return ((data > 0) != (query > 0)).sum(axis=1).astype(np.float64)


def order(far: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The ids by distance, those of equal distance by id; what differs by rounding only is equal."""
    return ids[np.lexsort((ids, far.round(9)))]


def check_search(
    hits: list[Any], metric: str, ids: np.ndarray, data: np.ndarray, query: np.ndarray, k: int, *, exact: bool
) -> float:
    """Check what was found, as ``(id, distance, …)``, and return the share of the nearest rows among it."""
    far = distances(metric, data, query)
    by_id = dict(zip(ids.tolist(), far.tolist(), strict=True))
    found = [hit[0] for hit in hits]
    assert len(found) == len(set(found)) == min(k, len(ids))
    given = np.array([hit[1] for hit in hits])
    assert np.allclose(given, [by_id[id] for id in found], rtol=1e-5, atol=1e-5)
    assert (np.diff(given) >= 0).all()
    nearest_far = np.sort(far)[: len(found)]
    if exact:
        assert np.allclose(given, nearest_far, rtol=1e-5, atol=1e-5)
    if not found:
        return 1.0
    return float(np.mean(given <= nearest_far[-1] + 1e-5))


def index_of(vault: VectorKVault) -> VectorIndex:
    """The index of a vault."""
    return the_index(vault.entity)


def the_index(entity: Any) -> VectorIndex:
    """The index of a mapped class."""
    (index,) = indexes_of(entity.__table__)
    return index


def check(bind: Any, index: VectorIndex) -> None:
    """Fail unless an index is as its table left it."""
    with bind_to(bind).reading() as cursor:
        assert check_index(cursor, index) == []


def mapped(
    kind: str | None,
    metric: str = "cosine",
    elem: str = "f32",
    dimensions: int = DIMENSIONS,
    *,
    table: str = "doc",
    name: str = "doc_index",
    columns: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A new mapped class with ``id``, ``part`` and ``embedding``, and an index."""

    class Base(DeclarativeBase):
        pass

    arguments = () if kind is None else (VectorIndex(name, "embedding", metric=metric, kind=kind, **options),)
    attributes: dict[str, Any] = {
        "__tablename__": table,
        "__table_args__": arguments,
        "__annotations__": {"id": Mapped[int], "part": Mapped[int | None], "embedding": Mapped[Any]},
        "id": mapped_column(primary_key=True),
        "part": mapped_column(Integer()),
        "embedding": mapped_column(Vector(dimensions, elem), nullable=True),
        **(columns or {}),
    }
    return type("Doc", (Base,), attributes)


def search(session: Any, entity: Any, query: Any, k: int = 10, **options: Any) -> list[tuple[int, float]]:
    """Search by ``nearest()``; ``(id, distance)``, nearest first."""
    hit = nearest(entity.embedding, query, k, **options)
    rows = session.execute(select(hit.c.id, hit.c.distance).order_by(hit.c.distance.nulls_last(), hit.c.id))
    return [tuple(row) for row in rows]


def add(session: Session, entity: Any, data: np.ndarray, first: int = 1) -> np.ndarray:
    """Add rows in a transaction, and return their ids."""
    ids = np.arange(first, first + len(data))
    session.add_all(
        entity(id=int(id), part=int(id) % 10, embedding=vector) for id, vector in zip(ids, data, strict=True)
    )
    session.commit()
    return ids


NewUrl = Callable[[str], sqlalchemy.URL]


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """Every test of a module that imports this has small thresholds."""
    with small_thresholds():
        yield


@contextmanager
def engine_of(database: str, new_url: NewUrl, **options: Any) -> Iterator[sqlalchemy.Engine]:
    """An engine of ours on a new, empty database."""
    engine = kohakuvault.create_engine(new_url(database), **options)
    try:
        yield engine
    finally:
        engine.dispose()
