"""``op.create_vector_index`` and ``op.drop_vector_index``."""

from __future__ import annotations

from typing import Any

from alembic.operations import BatchOperations, Operations
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, inspect
from sqlalchemy.exc import NoSuchTableError

from ...errors import InvalidArgument
from ..types import Vector
from ..vector_index import VectorIndex
from .operation import VaultOperation, create_attachment, drop_attachment, in_order

__all__ = ["CreateVectorIndexOp", "DropVectorIndexOp"]


class _VectorIndexOp(VaultOperation):
    """A vector index, and the little of its table that making it takes."""

    _name = ""

    def __init__(
        self,
        index_name: str,
        table_name: str,
        column_name: str | None = None,
        *,
        type_: Vector | None = None,
        metric: str = "cosine",
        kind: str = "auto",
        key: str | None = None,
        schema: str | None = None,
        **options: Any,
    ) -> None:
        self.index_name = index_name
        self.table_name = table_name
        self.column_name = column_name
        self.type_ = type_
        self.metric = metric
        self.kind = kind
        self.key = key
        self.schema = schema
        self.options = options

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructors of both operations take."""
        return {
            "index_name": self.index_name,
            "table_name": self.table_name,
            "column_name": self.column_name,
            "type_": self.type_,
            "metric": self.metric,
            "kind": self.kind,
            "key": self.key,
            "schema": self.schema,
            **self.options,
        }

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation, those of the index, table and column, and the rest."""
        rest = {
            "type_": repr(self.type_),
            "metric": self.metric,
            "kind": self.kind,
            "key": self.key,
            "schema": self.schema,
            **self.options,
        }
        return (self._name, self.index_name, self.table_name, self.column_name, rest)

    @classmethod
    def from_index(cls, index: VectorIndex) -> Any:
        """Return the operation for an index of a model."""
        key = index.key.name
        return cls(
            index.name,
            index.table.name,
            index.column.name,
            type_=index.vector_type,
            metric=index.metric,
            kind=index.kind,
            key=None if key == "id" else key,
            schema=index.table.schema,
            **index.options,
        )

    def to_index(self, type_: Vector, key: str | None = None) -> VectorIndex:
        """Return the index, of a table that has no other columns than the two."""
        index = VectorIndex(
            self.index_name, self.column_name or "vector", metric=self.metric, kind=self.kind, **self.options
        )
        Table(
            self.table_name,
            MetaData(),
            Column(key or self.key or "id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
            Column(self.column_name or "vector", type_),
            index,
            schema=self.schema,
        )
        return index


@Operations.register_operation("create_vector_index")
@BatchOperations.register_operation("create_vector_index", "batch_create_vector_index")
class CreateVectorIndexOp(_VectorIndexOp):
    """Make a vector index of a table that there is."""

    _name = "create_vector_index"

    def reverse(self) -> DropVectorIndexOp:
        """Return what drops it."""
        return DropVectorIndexOp(**self.arguments)

    @classmethod
    def create_vector_index(
        cls,
        operations: Any,
        index_name: Any,
        table_name: Any,
        column_name: Any,
        type_: Any = None,
        metric: Any = "cosine",
        kind: Any = "auto",
        key: Any = None,
        schema: Any = None,
        **options: Any,
    ) -> None:
        """Make a vector index of a table that there is, and put what is in the table into it.

        Parameters
        ----------
        index_name, table_name, column_name
            Its name, that of the table, and that of the column of vectors.
        type_
            The type of the column, such as ``Vector(384)``; reflected where it is not given, which ``--sql`` cannot.
        metric, kind, **options
            As of :class:`~kohakuvault.orm.VectorIndex`.
        key
            The name of the primary key; by default it is reflected, or ``"id"`` with ``--sql``.
        schema
            Of the table, on PostgreSQL.
        """
        operations.invoke(
            cls(
                index_name,
                table_name,
                column_name,
                type_=type_,
                metric=metric,
                kind=kind,
                key=key,
                schema=schema,
                **options,
            )
        )

    @classmethod
    def batch_create_vector_index(
        cls,
        operations: Any,
        index_name: Any,
        column_name: Any,
        type_: Any = None,
        metric: Any = "cosine",
        kind: Any = "auto",
        key: Any = None,
        **options: Any,
    ) -> None:
        """Make a vector index of the table of the batch, after what the batch was told before."""
        table = operations.impl.table_name
        schema = operations.impl.schema
        operations.invoke(
            cls(
                index_name, table, column_name, type_=type_, metric=metric, kind=kind, key=key, schema=schema, **options
            )
        )


@Operations.register_operation("drop_vector_index")
@BatchOperations.register_operation("drop_vector_index", "batch_drop_vector_index")
class DropVectorIndexOp(_VectorIndexOp):
    """Drop a vector index."""

    _name = "drop_vector_index"

    def reverse(self) -> CreateVectorIndexOp:
        """Return what makes it, if the operation says what it is."""
        if self.column_name is None or self.type_ is None:
            raise self.irreversible("column_name and type_, as create_vector_index has them")
        return CreateVectorIndexOp(**self.arguments)

    @classmethod
    def drop_vector_index(
        cls,
        operations: Any,
        index_name: Any,
        table_name: Any,
        column_name: Any = None,
        type_: Any = None,
        metric: Any = "cosine",
        kind: Any = "auto",
        key: Any = None,
        schema: Any = None,
        **options: Any,
    ) -> None:
        """Drop a vector index; the table stays as it is.

        Only ``index_name`` and ``table_name`` are needed, and ``kind`` with ``--sql`` on SQLite. The rest, which is as
        of :meth:`create_vector_index`, is what the operation needs to be reversed.
        """
        operations.invoke(
            cls(
                index_name,
                table_name,
                column_name,
                type_=type_,
                metric=metric,
                kind=kind,
                key=key,
                schema=schema,
                **options,
            )
        )

    @classmethod
    def batch_drop_vector_index(
        cls,
        operations: Any,
        index_name: Any,
        column_name: Any = None,
        type_: Any = None,
        metric: Any = "cosine",
        kind: Any = "auto",
        key: Any = None,
        **options: Any,
    ) -> None:
        """Drop a vector index of the table of the batch, after what the batch was told before."""
        table = operations.impl.table_name
        schema = operations.impl.schema
        operations.invoke(
            cls(
                index_name, table, column_name, type_=type_, metric=metric, kind=kind, key=key, schema=schema, **options
            )
        )


@Operations.implementation_for(CreateVectorIndexOp)
def _create(operations: Operations, operation: CreateVectorIndexOp) -> None:
    in_order(operations)
    type_, key = _looked_up(operations, operation)
    create_attachment(operations, operation.to_index(type_, key))


@Operations.implementation_for(DropVectorIndexOp)
def _drop(operations: Operations, operation: DropVectorIndexOp) -> None:
    # Dropping looks at the name only.
    drop_attachment(operations, operation.to_index(operation.type_ or Vector(1)))


def _looked_up(operations: Operations, operation: CreateVectorIndexOp) -> tuple[Vector, str]:
    """Return the type of the column and the name of the key, as they were given or as they are."""
    type_, key = operation.type_, operation.key
    if operations.migration_context.as_sql or (type_ is not None and key is not None):
        found = None
    else:
        inspector = inspect(operations.get_bind())
        try:
            found = {
                column["name"]: column["type"]
                for column in inspector.get_columns(operation.table_name, schema=operation.schema)
            }
            keys = inspector.get_pk_constraint(operation.table_name, schema=operation.schema)["constrained_columns"]
        except NoSuchTableError as error:
            raise InvalidArgument(
                f"vector index {operation.index_name!r}: there is no table {operation.table_name!r}"
            ) from error
        key = key or (keys[0] if len(keys) == 1 else None)
    if type_ is None and found is not None:
        type_ = found.get(operation.column_name or "")  # type: ignore[assignment]
    if not isinstance(type_, Vector):
        raise InvalidArgument(
            f"vector index {operation.index_name!r}: the type of column {operation.column_name!r} is not known; give "
            "type_, such as type_=Vector(384)"
        )
    return type_, key or "id"
