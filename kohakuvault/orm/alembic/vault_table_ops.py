"""``op.create_vault_table`` and ``op.drop_vault_table``: a table of a container, its record, and its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.operations import Operations
from alembic.operations.ops import CreateTableOp
from alembic.operations.schemaobj import SchemaObjects
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.schema import DropTable, SchemaItem

from ...errors import InvalidArgument
from ..chunks import chunk_table
from .implied_table import KINDS, implied_table
from .operation import VaultOperation
from .records import forget_record, is_recorded, write_record

__all__ = ["CreateVaultTableOp", "DropVaultTableOp"]


class _VaultTableOp(VaultOperation):
    _name = ""

    def __init__(
        self,
        table_name: str,
        kind: str,
        columns: Sequence[SchemaItem] = (),
        *,
        schema: str | None = None,
        pickle: bool = False,
        options: dict[str, Any] | None = None,
        table_kw: dict[str, Any] | None = None,
        is_of_table: bool = False,
        namespace: MetaData | None = None,
    ) -> None:
        self.table_name = table_name
        self.kind = kind
        self.columns = list(columns)
        self.schema = schema
        self.pickle = pickle
        self.options = options or {}
        self.table_kw = table_kw or {}
        # Whether ``unique`` and ``index`` of the columns are among the constraints already.
        self.is_of_table = is_of_table
        # Whose schema is not rendered.
        self.namespace = namespace

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructors of both operations take."""
        return {
            "table_name": self.table_name,
            "kind": self.kind,
            "columns": self.columns,
            "schema": self.schema,
            "pickle": self.pickle,
            "options": self.options,
            "table_kw": self.table_kw,
            "is_of_table": self.is_of_table,
            "namespace": self.namespace,
        }

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation, the name and kind of the table, and the rest."""
        rest = {"schema": self.schema, "pickle": self.pickle, **self.options, **self.table_kw}
        return (self._name, self.table_name, self.kind, [repr(item) for item in self.columns], rest)

    def to_table(self, migration_context: Any = None) -> Table:
        """Return the table: with the columns that were given, or those that every table of the kind has."""
        objects = SchemaObjects(migration_context)
        if any(isinstance(item, Column) and item.name == "id" for item in self.columns):
            included = {"_constraints_included": True} if self.is_of_table else {}
            return objects.table(self.table_name, *self.columns, schema=self.schema, **self.table_kw, **included)
        if self.kind not in KINDS:
            raise InvalidArgument(f"a table of kind {self.kind!r} is given with all of its columns, id too")
        metadata = objects.metadata()
        table = implied_table(
            self.table_name,
            self.kind,
            metadata,
            self.columns,
            schema=self.schema,
            pickle=self.pickle,
            options=self.options,
            table_kw=self.table_kw,
        )
        for key in table.foreign_keys:
            objects._ensure_table_for_fk(metadata, key)
        return table

    def to_create_table(self) -> CreateTableOp:
        """Return what makes the table alone."""
        included: dict[str, Any] = {"_constraints_included": True} if self.is_of_table else {}
        included["_namespace_metadata"] = self.namespace or MetaData()
        return CreateTableOp(self.table_name, self.columns, schema=self.schema, **self.table_kw, **included)


@Operations.register_operation("create_vault_table")
class CreateVaultTableOp(_VaultTableOp):
    """Make a table of a container, with its record in ``vault_table``."""

    _name = "create_vault_table"

    def reverse(self) -> DropVaultTableOp:
        """Return what drops it."""
        return DropVaultTableOp(**self.arguments)

    @classmethod
    def create_vault_table(
        cls,
        operations: Any,
        table_name: Any,
        kind: Any,
        *columns: Any,
        schema: Any = None,
        pickle: Any = False,
        dimensions: Any = None,
        vector_type: Any = None,
        metric: Any = None,
        index: Any = None,
        **table_kw: Any,
    ) -> None:
        """Make a table of a container and its record, so that the container opens it with ``create=False``.

        Parameters
        ----------
        table_name, kind
            The name, and ``"kv"``, ``"vectors"`` or another kind of ``docs/format.md``.
        *columns
            Further columns, constraints and indexes. If the column ``id`` is among them they are all that there are;
            otherwise they follow those of the mixin of the kind.
        schema
            Of the table, on PostgreSQL.
        pickle
            As ``__pickle__`` of the mixin.
        dimensions, vector_type, metric, index
            Of the kind vectors: as of :class:`~kohakuvault.VectorKVault`. ``index`` is the kind of the index, which
            :meth:`create_vector_index` makes.
        **table_kw
            As of ``op.create_table``.
        """
        options = _options(kind, dimensions=dimensions, vector_type=vector_type, metric=metric, index=index)
        operations.invoke(
            cls(table_name, kind, columns, schema=schema, pickle=pickle, options=options, table_kw=table_kw)
        )


@Operations.register_operation("drop_vault_table")
class DropVaultTableOp(_VaultTableOp):
    """Drop a table of a container, its record and its chunks."""

    _name = "drop_vault_table"

    def reverse(self) -> CreateVaultTableOp:
        """Return what makes it."""
        if self.kind == "vectors" and "dimensions" not in self.options:
            raise self.irreversible("dimensions, and what else create_vault_table has")
        return CreateVaultTableOp(**self.arguments)

    @classmethod
    def drop_vault_table(
        cls,
        operations: Any,
        table_name: Any,
        kind: Any,
        *columns: Any,
        schema: Any = None,
        pickle: Any = False,
        dimensions: Any = None,
        vector_type: Any = None,
        metric: Any = None,
        index: Any = None,
        **table_kw: Any,
    ) -> None:
        """Drop a table of a container, its record, and the table of its large values.

        Only ``table_name`` and ``kind`` are needed. The rest, which is as of :meth:`create_vault_table`, is what the
        operation needs to be reversed. Its vector and text indexes are dropped before, each by its operation.
        """
        options = _options(kind, dimensions=dimensions, vector_type=vector_type, metric=metric, index=index)
        operations.invoke(
            cls(table_name, kind, columns, schema=schema, pickle=pickle, options=options, table_kw=table_kw)
        )


def _options(kind: str, **given: Any) -> dict[str, Any]:
    known = KINDS.get(kind, tuple(given))
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in known:
            raise InvalidArgument(f"a table of kind {kind!r} has no option {name!r}")
    if kind == "vectors":
        options = {"vector_type": "f32", "index": None, **options}
    return options


@Operations.implementation_for(CreateVaultTableOp)
def _create(operations: Operations, operation: CreateVaultTableOp) -> Table:
    from ...schema import VERSIONS

    if operation.kind not in VERSIONS:
        raise InvalidArgument(f"{operation.kind!r} is no kind of table; there are {', '.join(sorted(VERSIONS))}")
    if operation.kind == "vectors" and "dimensions" not in operation.options:
        raise InvalidArgument(f"create_vault_table({operation.table_name!r}, 'vectors') needs dimensions=")
    table = operation.to_table(operations.migration_context)
    operations.migration_context.impl.create_table(table)
    write_record(operations, table.fullname, operation.kind, operation.options)
    return table


@Operations.implementation_for(DropVaultTableOp)
def _drop(operations: Operations, operation: DropVaultTableOp) -> None:
    impl = operations.migration_context.impl
    table = Table(operation.table_name, MetaData(), schema=operation.schema)
    chunks = chunk_table(table)
    # Another table of that name is somebody's own.
    has_chunks = operations.migration_context.as_sql or is_recorded(operations, chunks.fullname, "chunks")
    impl.drop_table(table)
    if has_chunks:
        impl.execute(DropTable(chunks, if_exists=True))
        forget_record(operations, chunks.fullname)
    forget_record(operations, table.fullname)
