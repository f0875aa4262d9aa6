"""``VectorIndex``: a vector index of a table, made and dropped with it, on every database."""

from __future__ import annotations

import weakref
from typing import Any

from sqlalchemy import Column, Integer, Table, event
from sqlalchemy.engine import Connection
from sqlalchemy.schema import SchemaItem

from ..errors import InvalidArgument
from .distance import check_metric
from .types.vector import Vector

__all__ = ["KINDS", "VectorIndex", "indexes_of"]

# What each is on the other database is in docs/vectors.md.
KINDS = ("auto", "exact", "rabitq", "ivf", "vss", "vec", "hnsw", "ivfflat")

_indexes: weakref.WeakKeyDictionary[Table, list[VectorIndex]] = weakref.WeakKeyDictionary()


def indexes_of(table: Any) -> list[VectorIndex]:
    """Return the vector indexes of a table; none of what is no :class:`~sqlalchemy.Table`."""
    return _indexes.get(table, []) if isinstance(table, Table) else []


class VectorIndex(SchemaItem):
    """A vector index, for ``__table_args__`` or the arguments of :class:`~sqlalchemy.Table`.

    ``create_all`` makes it with its table and ``drop_all`` drops it; :meth:`create` and :meth:`drop` do so for a table
    that exists. :func:`~kohakuvault.orm.nearest` uses it in searches by its metric.

    Parameters
    ----------
    name
        Of the index. On SQLite the tables ``<name>_meta``, ``<name>_blk``, ``<name>_loc`` and ``<name>_pending`` and the
        triggers ``<name>_insert``, ``<name>_update`` and ``<name>_delete`` are its own.
    column
        The name of a column of type :class:`~kohakuvault.orm.types.Vector`, or the column. The table has one integer
        primary key.
    metric
        ``"cosine"``, ``"l2"``, ``"ip"``, ``"l1"`` or ``"hamming"``.
    kind
        ``"auto"`` chooses by size; ``"exact"``, ``"rabitq"``, ``"ivf"``, ``"vss"``, ``"vec"``, and pgvector's ``"hnsw"`` and
        ``"ivfflat"``; see ``docs/vectors.md``.
    **options
        Of the kind: ``lists`` and ``probes`` (ivf, ivfflat), ``m``, ``ef_construction`` and ``ef_search`` (hnsw), ``factory`` (vss).

    Examples
    --------
    ::

        class Doc(Base):
            __tablename__ = "doc"
            id: Mapped[int] = mapped_column(primary_key=True)
            embedding: Mapped[np.ndarray] = mapped_column(Vector(384))
            __table_args__ = (VectorIndex("doc_embedding", "embedding", metric="cosine"),)
    """

    __visit_name__ = "vector_index"

    table: Table

    def __init__(
        self, name: str, column: str | Column[Any], *, metric: str = "cosine", kind: str = "auto", **options: Any
    ) -> None:
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidArgument(f"an index is named by a str that is not empty, not {name!r}")
        if kind not in KINDS:
            raise InvalidArgument(f"unknown kind of vector index {kind!r}; expected one of {', '.join(KINDS)}")
        self.name = name
        self.metric = check_metric(metric)
        self.kind = kind
        self.options = options
        self._column = column

    def __repr__(self) -> str:
        column = self._column if isinstance(self._column, str) else self._column.name
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"VectorIndex({self.name!r}, {column!r}, metric={self.metric!r}, kind={self.kind!r}{options})"

    def _set_parent(self, parent: Any, **kw: Any) -> None:
        self.table = parent
        _indexes.setdefault(parent, []).append(self)
        from ..indexing.following import follow

        follow()
        event.listen(parent, "after_create", self._with_table("create"))
        event.listen(parent, "before_drop", self._with_table("drop"))

    @property
    def column(self) -> Column[Any]:
        """The column of vectors."""
        name = self._column if isinstance(self._column, str) else self._column.key
        column = self.table.columns.get(name)
        if column is None or not isinstance(column.type, Vector):
            raise InvalidArgument(
                f"vector index {self.name!r}: table {self.table.name!r} has no column {name!r} of type Vector"
            )
        return column

    @property
    def key(self) -> Column[Any]:
        """The column that identifies a row."""
        keys = list(self.table.primary_key.columns)
        if len(keys) != 1 or not isinstance(keys[0].type, Integer):
            raise InvalidArgument(
                f"vector index {self.name!r}: table {self.table.name!r} needs one primary key column, an integer"
            )
        return keys[0]

    @property
    def vector_type(self) -> Vector:
        """The type of the column."""
        kind = self.column.type
        assert isinstance(kind, Vector)
        return kind

    @property
    def element(self) -> str:
        """The element type of the column."""
        return self.vector_type.elem

    @property
    def dimensions(self) -> int:
        """The dimensions of the column."""
        dimensions = self.vector_type.dimensions
        if dimensions is None:
            raise InvalidArgument(
                f"vector index {self.name!r}: column {self.column.name!r} is Vector() without dimensions, and an index "
                "is of vectors of one length: declare Vector(dimensions)"
            )
        return dimensions

    def create(self, connection: Connection, checkfirst: bool = False) -> None:
        """Make the index of a table that exists, and put what is in the table into it.

        With ``checkfirst`` nothing is done if there is an index of that name.
        """
        from ..indexing.ddl import create, exists

        if not (checkfirst and exists(connection, self)):
            create(connection, self)

    def drop(self, connection: Connection) -> None:
        """Drop the index; the table stays as it is."""
        from ..indexing.ddl import drop

        drop(connection, self)

    def _with_table(self, what: str) -> Any:
        def run(table: Table, connection: Connection, **kw: Any) -> None:
            getattr(self, what)(connection)

        return run
