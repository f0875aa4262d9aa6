"""``VectorKVault``: vectors with a value each, searched for the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, Integer, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Dialect

from .binding import Bind, Binding
from .container import Container
from .errors import InvalidArgument, NotFound, UnsupportedType
from .lending import translated_errors
from .orm.distance import check_metric
from .orm.nearest import nearest, query_vector
from .orm.tables import VectorTable, table_of, vector_class
from .packing import unpack
from .schema import entity_of, open_tables
from .statements import Statement

__all__ = ["VectorKVault"]

# Rows fetched at a time when iterating.
_PAGE = 1000

Row = tuple[int, float, Any]


class VectorKVault(Container):
    """Vectors of one length, each with an id and a value, found by their distance to a query.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see ``docs/engine.md``.
    table
        The table's name, or a class mapped from :class:`~kohakuvault.orm.tables.VectorTable`.
    dimensions
        The length of every vector.
    metric
        ``"cosine"`` (1 - cosine similarity), ``"l2"`` (Euclidean), ``"l1"`` (sum of absolute differences) or
        ``"hamming"`` (number of dimensions in which exactly one of the two is greater than zero).
    create
        Make the table if it is missing; ``False`` where Alembic owns the schema.

    Notes
    -----
    Writing: ``insert``, ``insert_many``, ``update``, ``delete``, ``clear``, ``vault[vector] = value``.
    Searching: ``search``, ``get``, ``vault[vector]``.
    By id: ``get_by_id``, ``exists``, ``id in vault``. Iterating gives ids in the order of insertion.
    As rows: ``entity``, the mapped class; :func:`kohakuvault.orm.nearest` searches it in any statement.

    Vectors are stored as float32. A vector of another length, or with NaN or infinity, is an error; so is
    a zero vector where the metric is cosine, because it has no direction.

    Thread-safe. Several processes may use one table.

    Examples
    --------
    >>> search = VectorKVault(":memory:", dimensions=3)
    >>> search.insert_many([[1, 0, 0], [0, 1, 0]], ["east", "north"])
    [1, 2]
    >>> search.search([1, 0.1, 0], k=1)  # doctest: +ELLIPSIS
    [(1, 0.0049..., 'east')]
    """

    def __init__(
        self,
        bind: Bind,
        table: str | type[VectorTable] = "vec_kvault",
        dimensions: int = 768,
        metric: str = "cosine",
        *,
        create: bool = True,
    ) -> None:
        if type(dimensions) is not int or not 1 <= dimensions <= 16_000:
            # 16,000 is what pgvector stores.
            raise InvalidArgument(f"dimensions is an int from 1 to 16000, not {dimensions!r}")
        self.dimensions = dimensions
        self.metric = check_metric(metric)
        self._create = create
        self.entity: type[VectorTable] = entity_of(table, VectorTable, lambda name: vector_class(name, dimensions))
        super().__init__(bind)
        binding = self.binding
        self._sql = _statements(table_of(self.entity), binding.dialect)
        self._open(binding)

    def __repr__(self) -> str:
        name = table_of(self.entity).name
        return f"<VectorKVault {name!r} dimensions={self.dimensions} metric={self.metric!r} {self._where()}>"

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        options = {"dimensions": self.dimensions, "metric": self.metric}
        open_tables(binding, self._tables(), "vectors", options, create=self._create)

    # -- writing -------------------------------------------------------------------------------

    def insert(self, vector: Any, value: Any = None) -> int:
        """Add a vector with its value and return its id."""
        row = self.binding.run_returning(self._sql.insert, self._checked(vector), value)
        return int(row[0])

    def insert_many(self, vectors: Any, values: Iterable[Any] | None = None) -> list[int]:
        """Add vectors, all of them or none, and return their ids.

        Parameters
        ----------
        vectors
            An array of shape ``(n, dimensions)`` or a sequence of ``n`` vectors.
        values
            ``n`` values; None gives every vector the value ``None``.
        """
        rows = self._checked_many(vectors)
        given = [None] * len(rows) if values is None else list(values)
        if len(given) != len(rows):
            raise InvalidArgument(f"{len(rows)} vectors need as many values, not {len(given)}")
        if not given:
            return []
        table = table_of(self.entity)
        returning = insert(table).returning(table.c.id, sort_by_parameter_order=True)
        pairs = [{"vector": vector, "value": value} for vector, value in zip(rows, given, strict=True)]
        with self.binding.transaction() as connection, translated_errors(self.engine):
            return list(connection.scalars(returning, pairs))

    def update(self, id: int, vector: Any = None, value: Any = ...) -> None:
        """Replace the vector, the value or both of a row; what is left out stays."""
        with self.binding.writing() as cursor:
            changed = cursor.one(self._sql.exists, _id(id)) is not None
            if vector is not None:
                cursor.run(self._sql.set_vector, self._checked(vector), id)
            if value is not ...:
                cursor.run(self._sql.set_value, value, id)
        if not changed:
            raise NotFound(f"no id {id!r} in {self!r}")

    def delete(self, id: int) -> None:
        """Remove a row; :class:`NotFound` if there is none."""
        if not self.binding.run(self._sql.delete, _id(id)):
            raise NotFound(f"no id {id!r} in {self!r}")

    def clear(self) -> None:
        """Remove every row."""
        self.binding.run(self._sql.clear)

    def __setitem__(self, vector: Any, value: Any) -> None:
        self.insert(vector, value)

    # -- searching -----------------------------------------------------------------------------

    def search(self, query: Any, k: int = 10, metric: str | None = None) -> list[Row]:
        """Return the ``k`` nearest rows as ``(id, distance, value)``, nearest first.

        Parameters
        ----------
        query
            A vector of ``dimensions`` finite numbers.
        k
            How many rows at most.
        metric
            Another metric than the table's own, for this search.
        """
        metric = self.metric if metric is None else check_metric(metric)
        vector = query_vector(query, table_of(self.entity).c.vector.type, metric)
        binding = self.binding
        binding.require_functions()
        rows = binding.all(self._sql.search(metric), vector, _count(k))
        return [(row[0], float("nan") if row[1] is None else row[1], unpack(row[2])) for row in rows]

    def get(self, query: Any, metric: str | None = None) -> Any:
        """Return the value of the nearest row; :class:`NotFound` if there are no rows."""
        rows = self.search(query, 1, metric)
        if not rows:
            raise NotFound(f"{self!r} is empty")
        return rows[0][2]

    def __getitem__(self, query: Any) -> Any:
        return self.get(query)

    # -- by id ---------------------------------------------------------------------------------

    def get_by_id(self, id: int) -> tuple[np.ndarray[Any, np.dtype[np.float32]], Any]:
        """Return ``(vector, value)`` of a row; :class:`NotFound` if there is none."""
        row = self.binding.one(self._sql.row, _id(id))
        if row is None:
            raise NotFound(f"no id {id!r} in {self!r}")
        return self._sql.vector(row[0]), unpack(row[1])

    def exists(self, id: int) -> bool:
        """Whether there is a row of that id."""
        return self.binding.one(self._sql.exists, _id(id)) is not None

    def __contains__(self, id: int) -> bool:
        return self.exists(id)

    def __len__(self) -> int:
        return int(self.binding.one(self._sql.count)[0])

    def __bool__(self) -> bool:
        return self.binding.one(self._sql.first) is not None

    def count(self) -> int:
        """Return how many rows there are."""
        return len(self)

    def __iter__(self) -> Iterator[int]:
        last = -(2**63)
        while True:
            rows = self.binding.all(self._sql.ids, last, _PAGE)
            for (id,) in rows:
                yield id
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def info(self) -> dict[str, Any]:
        """Return the table's name, dimensions, metric and number of rows."""
        name = table_of(self.entity).name
        return {"table": name, "dimensions": self.dimensions, "metric": self.metric, "count": len(self)}

    # -- checks --------------------------------------------------------------------------------

    def _checked(self, vector: Any) -> Any:
        return query_vector(vector, table_of(self.entity).c.vector.type, self.metric, what="vector")

    def _checked_many(self, vectors: Any) -> Any:
        if not isinstance(vectors, np.ndarray):
            return [self._checked(vector) for vector in vectors]
        if vectors.ndim != 2 or vectors.shape[1] != self.dimensions:
            raise InvalidArgument(f"vectors is an array of shape (n, {self.dimensions}), not {vectors.shape}")
        if vectors.dtype.kind not in "fiu":
            raise UnsupportedType(f"vectors is an array of numbers, not of dtype {vectors.dtype}")
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(vectors, dtype="<f4")
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise InvalidArgument(f"vector {int(bad.argmax())} has NaN, infinity or a number beyond float32")
        if self.metric == "cosine" and (zero := ~rows.any(axis=1)).any():
            raise InvalidArgument(f"vector {int(zero.argmax())} is zero, which has no direction to compare by cosine")
        return rows


def _count(k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
        raise InvalidArgument(f"k is a non-negative int, not {k!r}")
    return min(int(k), 2**31 - 1)


def _id(id: Any) -> int:
    if isinstance(id, bool) or not isinstance(id, (int, np.integer)) or not -(2**63) <= id < 2**63:
        raise UnsupportedType(f"an id is an int of 64 bits, not {id!r}")
    return int(id)


class _Statements:
    """The statements on one table, each compiled for one dialect when it is first needed."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._table = table
        self._dialect = dialect
        self._this = table.c.id == bindparam("of_id", type_=BigInteger())
        self.vector: Any = table.c.vector.type.dialect_impl(dialect).result_processor(dialect, None)
        self._searches: dict[str, Statement] = {}

    def _statement(self, element: Any, *names: str) -> Statement:
        return Statement(element, names, self._dialect)

    def search(self, metric: str) -> Statement:
        """Select ``id, distance, value`` of the ``k`` nearest."""
        if metric not in self._searches:
            table = self._table
            query = bindparam("query", type_=table.c.vector.type)
            hit = nearest(table.c.vector, query, bindparam("k", type_=Integer()), metric=metric)
            found = select(table.c.id, hit.c.distance, table.c.value).join(hit, hit.c.id == table.c.id)
            self._searches[metric] = self._statement(
                found.order_by(hit.c.distance.nulls_last(), table.c.id), "query", "k"
            )
        return self._searches[metric]

    @cached_property
    def insert(self) -> Statement:
        return self._statement(insert(self._table).returning(self._table.c.id), "vector", "value")

    @cached_property
    def set_vector(self) -> Statement:
        new = bindparam("new", type_=self._table.c.vector.type)
        return self._statement(update(self._table).where(self._this).values(vector=new), "new", "of_id")

    @cached_property
    def set_value(self) -> Statement:
        new = bindparam("new", type_=self._table.c.value.type)
        return self._statement(update(self._table).where(self._this).values(value=new), "new", "of_id")

    @cached_property
    def delete(self) -> Statement:
        return self._statement(delete(self._table).where(self._this), "of_id")

    @cached_property
    def clear(self) -> Statement:
        return self._statement(delete(self._table))

    @cached_property
    def row(self) -> Statement:
        return self._statement(select(self._table.c.vector, self._table.c.value).where(self._this), "of_id")

    @cached_property
    def exists(self) -> Statement:
        return self._statement(select(self._table.c.id).where(self._this), "of_id")

    @cached_property
    def first(self) -> Statement:
        return self._statement(select(self._table.c.id).limit(1))

    @cached_property
    def count(self) -> Statement:
        return self._statement(select(func.count()).select_from(self._table))

    @cached_property
    def ids(self) -> Statement:
        table = self._table
        page = select(table.c.id).where(table.c.id > bindparam("after", type_=BigInteger()))
        return self._statement(page.order_by(table.c.id).limit(bindparam("page", type_=Integer())), "after", "page")


@lru_cache(maxsize=256)
def _statements(table: Table, dialect: Dialect) -> _Statements:
    return _Statements(table, dialect)
