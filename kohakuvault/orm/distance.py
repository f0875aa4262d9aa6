"""Distances between vectors as SQL expressions, and the metrics they are named by."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Float, bindparam, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import NullType, TypeEngine

from ..errors import InvalidArgument

__all__ = ["METRICS", "Distance", "check_metric", "elem_of", "vector_operand"]

METRICS = ("cosine", "l2", "l1", "hamming", "ip")

_PG_OPERATORS = {"cosine": "<=>", "l2": "<->", "l1": "<+>", "ip": "<#>"}


def check_metric(metric: str, elem: str = "f32") -> str:
    """Return ``metric`` if it is one of :data:`METRICS` that vectors of ``elem`` have, or raise InvalidArgument."""
    if metric not in METRICS:
        raise InvalidArgument(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    if elem == "bit" and metric != "hamming":
        raise InvalidArgument(f"vectors of bits have no distance by {metric}; use metric='hamming'")
    return metric


def elem_of(type_: TypeEngine[Any]) -> str:
    """Return the element type of vectors in columns of ``type_``: float32 where it does not say."""
    return getattr(type_, "elem", "f32")


def vector_operand(value: Any, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return ``value``, a vector or an expression of one, as an expression to be compared with a ``type_``."""
    if hasattr(value, "__clause_element__"):
        value = value.__clause_element__()
    if not isinstance(value, ColumnElement):
        return bindparam(None, value, type_=type_, unique=True)
    if isinstance(value, BindParameter) and isinstance(value.type, NullType):
        return type_coerce(value, type_)
    if hasattr(value.type, "elem") and elem_of(value.type) != elem_of(type_):
        raise InvalidArgument(
            f"{value} has elements of {elem_of(value.type)}; expected {elem_of(type_)}, which it is compared with"
        )
    return value


class Distance(Function[float]):
    """The distance between two vectors: ``float``, or NULL where either is NULL.

    ========= ==========================================================================
    metric    meaning
    ========= ==========================================================================
    cosine    1 - (a . b) / (norm(a) norm(b)), 0 to 2
    l2        Euclidean distance (not squared)
    l1        sum of absolute differences
    hamming   number of dimensions in which exactly one of the two is greater than zero
    ip        -(a . b), the negative inner product
    ========= ==========================================================================

    Both have elements of the same type; those of bits have ``hamming`` only. SQLite runs the native functions
    ``kv_<metric>_distance``; PostgreSQL pgvector's operators.
    """

    inherit_cache = True

    def __init__(self, left: ColumnElement[Any], right: Any, metric: str) -> None:
        self.metric = check_metric(metric, elem_of(left.type))
        # The metric is part of the name, so the statement cache tells the metrics apart; element types are part of
        # the operands' types.
        super().__init__(f"kv_{metric}_distance", left, vector_operand(right, left.type), type_=Float())


@compiles(Distance, "sqlite")
def _compile_function(element: Distance, compiler: SQLCompiler, **kw: Any) -> str:
    left, right = element.clauses
    arguments = [compiler.process(left, **kw), compiler.process(right, **kw)]
    if elem_of(left.type) != "f32":
        arguments.append(f"'{elem_of(left.type)}'")
    return f"{element.name}({', '.join(arguments)})"


@compiles(Distance, "postgresql")
def _compile_operator(element: Distance, compiler: SQLCompiler, **kw: Any) -> str:
    left, right = (compiler.process(clause, **kw) for clause in element.clauses)
    if element.metric != "hamming":
        return f"({left} {_PG_OPERATORS[element.metric]} {right})"
    if elem_of(next(iter(element.clauses)).type) == "bit":
        return f"({left} <~> {right})"
    return f"(binary_quantize({left}) <~> binary_quantize({right}))"
