"""``VectorIndex``: a vector index of a table, made and dropped with it, on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.engine import Connection, Dialect

from ..errors import InvalidArgument, UnknownOption
from .attached import Attachment, attached_to, check_attachment_name, integer_key
from .distance import check_metric
from .types.vector import Vector

__all__ = ["KINDS", "VectorIndex", "indexes_of"]

# What each is on the other database is in docs/vectors.md.
KINDS = ("auto", "exact", "rabitq", "ivf", "vss", "vec", "hnsw", "ivfflat")

OPTIONS = ("lists", "probes", "m", "ef_construction", "ef_search", "factory")


def indexes_of(table: Any) -> list[VectorIndex]:
    """Return the vector indexes of a table; none of what is no :class:`~sqlalchemy.Table`."""
    return attached_to(table, VectorIndex)


class VectorIndex(Attachment):
    """A vector index, for ``__table_args__`` or the arguments of :class:`~sqlalchemy.Table`.

    ``create_all`` makes it with its table and ``drop_all`` drops it; :meth:`create` and :meth:`drop` do so for a table
    that exists, which a column that is given in the place of its name tells. :func:`~kohakuvault.orm.nearest` uses it
    in searches by its metric.

    Parameters
    ----------
    name
        Of the index. On SQLite the tables ``<name>_meta``, ``<name>_blk``, ``<name>_loc`` and ``<name>_pending`` and
        the triggers ``<name>_insert``, ``<name>_update`` and ``<name>_delete`` are its own.
    column
        The name of a column of type :class:`~kohakuvault.orm.types.Vector`, or the column. The table has one integer
        primary key.
    metric
        ``"cosine"``, ``"l2"``, ``"ip"``, ``"l1"`` or ``"hamming"``.
    kind
        ``"auto"`` chooses by size; ``"exact"``, ``"rabitq"``, ``"ivf"``, ``"vss"``, ``"vec"``, and pgvector's
        ``"hnsw"`` and ``"ivfflat"``; see ``docs/vectors.md``.
    **options
        ``lists`` and ``probes`` of inverted lists, ``m``, ``ef_construction`` and ``ef_search`` of graphs on
        PostgreSQL, positive ints; ``factory`` of the kind vss, a string of FAISS. What an index does not have is not
        used.

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

    def __init__(
        self, name: str, column: str | Column[Any], *, metric: str = "cosine", kind: str = "auto", **options: Any
    ) -> None:
        if kind not in KINDS:
            raise InvalidArgument(f"unknown kind of vector index {kind!r}; expected one of {', '.join(KINDS)}")
        self.name = check_attachment_name(name, "an index")
        self.metric = check_metric(metric)
        self.kind = kind
        self.options = _checked(name, kind, options)
        self._column = column
        if isinstance(column, Column) and isinstance(getattr(column, "table", None), Table):
            # As an Index does, of a column that has its table already.
            self._set_parent_with_dispatch(column.table)

    def __repr__(self) -> str:
        column = self._column if isinstance(self._column, str) else self._column.name
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"VectorIndex({self.name!r}, {column!r}, metric={self.metric!r}, kind={self.kind!r}{options})"

    def _set_parent(self, parent: Any, **kw: Any) -> None:
        super()._set_parent(parent, **kw)
        from ..indexing.following import follow

        follow()

    def _anchor(self) -> Column[Any] | None:
        return self.table.columns.get(self._column_name)

    def copy(self) -> VectorIndex:
        """Return the same index for another table."""
        return VectorIndex(self.name, self._column_name, metric=self.metric, kind=self.kind, **self.options)

    @property
    def _column_name(self) -> str:
        return self._column if isinstance(self._column, str) else self._column.key

    @property
    def column(self) -> Column[Any]:
        """The column of vectors."""
        name = self._column_name
        if getattr(self, "table", None) is None:
            raise InvalidArgument(
                f"vector index {self.name!r} belongs to no table: give it to the Table, or give it the column itself, "
                "VectorIndex(name, table.c.vector)"
            )
        column = self.table.columns.get(name)
        if column is None or not isinstance(column.type, Vector):
            raise InvalidArgument(
                f"vector index {self.name!r}: table {self.table.name!r} has no column {name!r} of type Vector"
            )
        return column

    @property
    def key(self) -> Column[Any]:
        """The column that identifies a row."""
        return integer_key(self.table, f"vector index {self.name!r}")

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

    def create_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that makes the index; on SQLite what is in the table is pending, until that is folded."""
        from ..indexing.ddl import create_statements

        return create_statements(self, dialect)

    def drop_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that drops the index."""
        from ..indexing.ddl import drop_statements

        return drop_statements(self, dialect)

    def rebuild(self, bind: Any, progress: Any = None) -> None:
        """Build the index anew, as is best for the present number of rows: for tables of your own.

        Parameters
        ----------
        bind
            Whatever a container takes. A snapshot of the kind vss is built in transactions of its own, hence not in
            those of a Session or Connection.
        progress
            Called now and then with the rows done and the rows of all.
        """
        from ..binding import bind_to
        from ..indexing.care import build_index

        build_index(bind_to(bind), self, optimizes=True, progress=progress)


def _checked(name: str, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    for option, value in options.items():
        if option not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise UnknownOption(f"vector index {name!r} has no option {option!r}; there are {known}")
        if option == "factory":
            if kind != "vss":
                raise InvalidArgument(f"vector index {name!r}: the option factory is of kind='vss', not of {kind!r}")
        elif type(value) is not int or value < 1:
            raise InvalidArgument(f"vector index {name!r}: {option} is a positive int, not {value!r:.60}")
    return options
