"""What a VectorKVault is opened with, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidArgument
from ..orm.distance import check_metric
from ..orm.types.vector_elements import element_of

__all__ = [
    "INDEXES",
    "as_options",
    "check_dimensions",
    "check_index",
    "check_vector_type",
    "chosen_metric",
]

# Kinds of index; None is for none.
INDEXES = (None, "auto", "exact", "rabitq", "ivf", "vss", "vec", "hnsw", "ivfflat")

# What pgvector stores.
_MOST_DIMENSIONS = 16_000


def check_dimensions(dimensions: Any) -> int:
    """Return ``dimensions`` if vectors may have so many; otherwise raise."""
    if type(dimensions) is not int or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise InvalidArgument(f"dimensions is an int from 1 to {_MOST_DIMENSIONS}, not {dimensions!r:.60}")
    return dimensions


def check_vector_type(vector_type: Any) -> str:
    """Return ``vector_type`` if it is a type of elements; otherwise raise."""
    return element_of(vector_type).name


def check_index(index: Any) -> str | None:
    """Return ``index`` if it is a kind of index; otherwise raise."""
    if isinstance(index, str) or index is None:
        for known in INDEXES:
            if index == known:
                return known
    raise InvalidArgument(f"index is one of {', '.join(map(repr, INDEXES))}, not {index!r:.60}")


def as_options(options: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Return the options of an index in a form that can be compared."""
    if options is not None and not isinstance(options, Mapping):
        raise InvalidArgument(f"index_options is a dict, such as {{'lists': 1000}}, not {options!r:.60}")
    return tuple(sorted((options or {}).items()))


def chosen_metric(metric: Any, vector_type: str) -> str:
    """Return the metric of a table, which its ``vector_type`` may decide; raise if the two do not go together."""
    if metric is None:
        return "hamming" if vector_type == "bit" else "cosine"
    return check_metric(metric, vector_type)
