"""Distances between vectors as SQL expressions, and the metrics they are named by."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Float, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function

from ..errors import InvalidArgument

__all__ = ["METRICS", "Distance", "check_metric"]

METRICS = ("cosine", "l2", "l1", "hamming")

_PG_OPERATORS = {"cosine": "<=>", "l2": "<->", "l1": "<+>"}


def check_metric(metric: str) -> str:
    """Return ``metric`` if it is one of :data:`METRICS`; otherwise raise :class:`InvalidArgument`."""
    if metric not in METRICS:
        raise InvalidArgument(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    return metric


class Distance(Function[float]):
    """The distance between two vectors: ``float``, or NULL where either is NULL.

    ========= ==========================================================================
    metric    meaning
    ========= ==========================================================================
    cosine    1 - (a . b) / (norm(a) norm(b)), 0 to 2
    l2        Euclidean distance (not squared)
    l1        sum of absolute differences
    hamming   number of dimensions in which exactly one of the two is greater than zero
    ========= ==========================================================================

    SQLite runs the native functions ``kv_<metric>_distance``; PostgreSQL pgvector's operators.
    """

    inherit_cache = True

    def __init__(self, left: ColumnElement[Any], right: Any, metric: str) -> None:
        self.metric = check_metric(metric)
        if not isinstance(right, ColumnElement) and not hasattr(right, "__clause_element__"):
            right = bindparam(None, right, type_=left.type, unique=True)
        # The metric is part of the name, so the statement cache tells the metrics apart.
        super().__init__(f"kv_{metric}_distance", left, right, type_=Float())


@compiles(Distance, "postgresql")
def _compile_operator(element: Distance, compiler: SQLCompiler, **kw: Any) -> str:
    left, right = (compiler.process(clause, **kw) for clause in element.clauses)
    if element.metric == "hamming":
        return f"(binary_quantize({left}) <~> binary_quantize({right}))"
    return f"({left} {_PG_OPERATORS[element.metric]} {right})"
