"""``nearest``: the k rows whose vectors are nearest to a query, as one expression for every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Float,
    Integer,
    Select,
    String,
    bindparam,
    column,
    func,
    literal,
    select,
)
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import TableValuedAlias

from ..errors import InvalidArgument
from .distance import Distance, check_metric, elem_of, vector_operand
from .pgvector import prepared_for
from .types.vector import Vector
from .types.vector_elements import Array
from .vector_index import VectorIndex, indexes_of

__all__ = ["LACKS_TABLES", "nearest", "query_vector"]

# Set on the dialect of an engine whose connections have the functions of the extension without its tables.
LACKS_TABLES = "kohakuvault_lacks_tables"


def nearest(
    vector: InstrumentedAttribute[Any] | ColumnElement[Any],
    query: Any,
    k: int | BindParameter[int] = 10,
    *,
    where: ColumnElement[bool] | None = None,
    metric: str = "cosine",
    key: InstrumentedAttribute[Any] | ColumnElement[Any] | None = None,
    exact: bool = False,
) -> TableValuedAlias:
    """Return the ``k`` rows nearest to ``query``, as a FROM element with the columns ``id`` and ``distance``.

    Parameters
    ----------
    vector
        A mapped attribute or table column of type :class:`~kohakuvault.orm.types.Vector`.
    query
        The vector to search for: whatever the column takes; or a ``bindparam``.
    k
        How many rows at most; a non-negative int or a ``bindparam``.
    where
        A condition on the rows of the same table. It is applied before the search, so ``k`` rows are
        found whenever ``k`` rows match it.
    metric
        ``"cosine"``, ``"l2"``, ``"l1"``, ``"hamming"`` or ``"ip"``; of bits only ``"hamming"``. See
        :class:`~kohakuvault.orm.distance.Distance`.
    key
        The column that becomes ``id``: integer or text; by default the table's primary key.
    exact
        Compare every row, even if there is an index.

    Examples
    --------
    ::

        hit = nearest(Doc.embedding, q, k=10, where=Doc.lang == "en")
        session.execute(select(Doc, hit.c.distance).join(hit, hit.c.id == Doc.id).order_by(hit.c.distance))

    Rows with a NULL vector are left out. Rows without a distance (cosine with a zero vector) are found last;
    their ``distance`` is NaN on PostgreSQL and NULL on SQLite, which has no NaN: order by
    ``hit.c.distance.nulls_last()`` if there may be any.
    """
    check_metric(metric)
    column_, key_ = _columns(vector, key)
    elem = elem_of(column_.type)
    check_metric(metric, elem)
    if not isinstance(query, BindParameter):
        query = query_vector(query, column_.type, metric)
    query = vector_operand(query, column_.type)
    if not isinstance(k, BindParameter):
        if type(k) is not int or k < 0:
            raise InvalidArgument(f"k must be a non-negative int, not {k!r}")
        k = bindparam(None, k, type_=Integer(), unique=True)

    # Both forms travel as arguments of one function, so that caching, adaption and the collection of bound
    # parameters are SQLAlchemy's own; each dialect renders the form that it runs. correlate(None): the
    # enclosing statement usually selects from the same table.
    elements = () if elem == "f32" else (elem,)
    hits = select(func.kv_nearest(key_, column_, query, k, metric, *elements, type_=String())).correlate(None)
    distance: ColumnElement[float] = Distance(column_, query, metric)
    # pgvector's indexes serve the bare operator only.
    orders = [_ordered(key_, column_, distance + 0.0, k), _ordered(key_, column_, distance, k)]
    if where is not None:
        hits, orders = hits.where(where), [ordered.where(where) for ordered in orders]
    exactly, by_index = orders
    forms: list[ColumnElement[Any]] = [hits.scalar_subquery(), exactly.scalar_subquery()]
    index = None if exact else _index_of(column_, key_, metric)
    if index is not None:
        forms.append(_by_index(index, query, k, key_, where))
        prepared = prepared_for(index, k)
        if prepared is not None:
            forms += [by_index.where(prepared).scalar_subquery(), k]
    found = _Nearest(*forms)
    return found.table_valued(column("id", key_.type), column("distance", Float()))


def query_vector(query: Any, type_: Any, metric: str, *, what: str = "query") -> Array:
    """Return ``query`` as an array of the column's elements that ``metric`` can compare, or raise why it cannot.

    Numbers are rounded as those of the stored vectors were.
    """
    column_type = type_ if isinstance(type_, Vector) else Vector()
    check_metric(metric, column_type.elem)
    array = column_type.from_bytes(column_type.to_bytes(query))
    if metric == "cosine" and not array.any():
        raise InvalidArgument(
            f"the {what} is a zero vector, which has no direction to compare by cosine; use metric='l2'"
        )
    return array


def _ordered(
    key: ColumnElement[Any], vector: ColumnElement[Any], distance: ColumnElement[float], k: Any
) -> Select[Any]:
    """Return ORDER BY distance LIMIT k."""
    found = select(key.label("id"), distance.label("distance")).where(vector.is_not(None))
    return found.order_by(distance, key).limit(k).correlate(None)


def _columns(vector: Any, key: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    column_: ColumnElement[Any] = vector.__clause_element__() if hasattr(vector, "__clause_element__") else vector
    if key is not None:
        return column_, key.__clause_element__() if hasattr(key, "__clause_element__") else key
    parent = getattr(vector, "parent", None)
    source = sqlalchemy_inspect(parent).selectable if parent is not None else getattr(column_, "table", None)
    primary = list(getattr(source, "primary_key", ()))
    if len(primary) != 1:
        raise InvalidArgument(
            f"{vector} belongs to a table with {len(primary)} primary key columns; "
            "name the column that identifies a row with key="
        )
    return column_, primary[0]


def _index_of(column_: ColumnElement[Any], key: ColumnElement[Any], metric: str) -> VectorIndex | None:
    """Return the index that a search can use: of this column, by this metric, that gives this key."""
    source = getattr(column_, "table", None)
    table = getattr(source, "element", source)
    for index in indexes_of(table):
        if index.metric == metric and index.column.name == column_.name and index.key.name == key.name:
            return index
    return None


def _by_index(
    index: VectorIndex, query: Any, k: Any, key: ColumnElement[Any], where: ColumnElement[bool] | None
) -> ColumnElement[Any]:
    """Return the call of ``kv_knn``."""
    arguments = [literal(index.name), query, k]
    if where is not None:
        arguments.append(select(func.kv_idset(key)).where(where).correlate(None).scalar_subquery())
    return func.kv_knn(*arguments)


class _Nearest(Function[Any]):
    """The forms of one search: SQLite's aggregate, ORDER BY distance LIMIT k, and where there is an index those by it.

    These are: by ours, and where pgvector has one, by that and ``k``.
    """

    inherit_cache = True

    def __init__(self, *forms: ColumnElement[Any]) -> None:
        super().__init__("kv_nearest_rows", *forms)


@compiles(_Nearest)
def _compile_ordered(element: _Nearest, compiler: SQLCompiler, **kw: Any) -> str:
    _, exactly, *indexed = list(element.clauses)
    if len(indexed) < 3:
        return compiler.process(exactly, **_nested(kw))
    # An index of pgvector looks at so many rows at most, of which fewer than k may fulfil a condition.
    by_index, every_row, k = (compiler.process(form, **_nested(kw)) for form in (indexed[1], exactly, indexed[2]))
    count = "(SELECT count(*) FROM kv_hits)"
    return (
        f"(WITH kv_hits AS MATERIALIZED {by_index} SELECT id, distance FROM kv_hits WHERE {count} >= {k} "  # noqa: S608
        f"UNION ALL SELECT id, distance FROM {every_row} AS kv_all WHERE {count} < {k})"
    )


@compiles(_Nearest, "sqlite")
def _compile_on_sqlite(element: _Nearest, compiler: SQLCompiler, **kw: Any) -> str:
    hits, _, *indexed = list(element.clauses)
    if indexed and not getattr(compiler.dialect, LACKS_TABLES, False):
        found = compiler.process(indexed[0], **_nested(kw))
        return f"(SELECT id, distance FROM {found})"  # noqa: S608 (compiled SQL, no text of the user's)
    found = compiler.process(hits, **_nested(kw))
    columns = "json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS distance"
    return f"(SELECT {columns} FROM json_each({found}))"  # noqa: S608 (compiled SQL, no text of the user's)


def _nested(kw: dict[str, Any]) -> dict[str, Any]:
    # A FROM element's flags are not those of the scalar subquery inside it.
    return {name: value for name, value in kw.items() if name not in ("asfrom", "lateral", "from_linter")}
