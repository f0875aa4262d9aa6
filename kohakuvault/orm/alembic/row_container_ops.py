"""``op.create_vault_list`` and ``op.create_vault_dict``, and their drops: what rows' containers have in the schema."""

from __future__ import annotations

from typing import Any

from alembic.operations import BatchOperations, Operations
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeEngine

from ..row_containers import VaultList, vault_dict
from .operation import VaultOperation, create_attachment, drop_attachment
from .records import forget_record, write_record

__all__ = ["CreateVaultDictOp", "CreateVaultListOp", "DropVaultDictOp", "DropVaultListOp", "row_dict_table"]


class _VaultListOp(VaultOperation):
    _name = ""

    def __init__(self, table_name: str, column_name: str, *, schema: str | None = None) -> None:
        self.table_name = table_name
        self.column_name = column_name
        self.schema = schema

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructors of both operations take."""
        return {"table_name": self.table_name, "column_name": self.column_name, "schema": self.schema}

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation, and those of the table, column and schema."""
        return (self._name, self.table_name, self.column_name, self.schema)

    def to_list(self) -> VaultList:
        """Return the triggers, of a table that has no other columns."""
        triggers = VaultList(self.column_name)
        Table(
            self.table_name,
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column(self.column_name, BigInteger()),
            triggers,
            schema=self.schema,
        )
        return triggers


@Operations.register_operation("create_vault_list")
@BatchOperations.register_operation("create_vault_list", "batch_create_vault_list")
class CreateVaultListOp(_VaultListOp):
    """Make what a ``vault_list`` has beside its column: triggers, and the tables of columns where they are missing."""

    _name = "create_vault_list"

    def reverse(self) -> DropVaultListOp:
        """Return what drops it."""
        return DropVaultListOp(**self.arguments)

    @classmethod
    def create_vault_list(cls, operations: Any, table_name: Any, column_name: Any, schema: Any = None) -> None:
        """Make the triggers that delete the list of a row, to which a column refers that there is, with the row.

        The tables of a ColumnVault are made where they are missing; with ``--sql`` they have to be there, by
        ``kohakuvault upgrade --sql``.
        """
        operations.invoke(cls(table_name, column_name, schema=schema))

    @classmethod
    def batch_create_vault_list(cls, operations: Any, column_name: Any) -> None:
        """Make the triggers for a column of the batch's table, after what the batch was told before."""
        operations.invoke(cls(operations.impl.table_name, column_name, schema=operations.impl.schema))


@Operations.register_operation("drop_vault_list")
@BatchOperations.register_operation("drop_vault_list", "batch_drop_vault_list")
class DropVaultListOp(_VaultListOp):
    """Drop what a ``vault_list`` has beside its column, and the lists."""

    _name = "drop_vault_list"

    def reverse(self) -> CreateVaultListOp:
        """Return what makes it."""
        return CreateVaultListOp(**self.arguments)

    @classmethod
    def drop_vault_list(cls, operations: Any, table_name: Any, column_name: Any, schema: Any = None) -> None:
        """Delete the lists that a column refers to, and drop their triggers; the column stays."""
        operations.invoke(cls(table_name, column_name, schema=schema))

    @classmethod
    def batch_drop_vault_list(cls, operations: Any, column_name: Any) -> None:
        """Drop them for a column of the batch's table, after what the batch was told before."""
        operations.invoke(cls(operations.impl.table_name, column_name, schema=operations.impl.schema))


@Operations.implementation_for(CreateVaultListOp)
def _create_list(operations: Operations, operation: CreateVaultListOp) -> None:
    create_attachment(operations, operation.to_list())
    if not operations.migration_context.as_sql:
        write_record(operations, "vault_column", "columns", {}, replace=False)


@Operations.implementation_for(DropVaultListOp)
def _drop_list(operations: Operations, operation: DropVaultListOp) -> None:
    drop_attachment(operations, operation.to_list())


def row_dict_table(
    name: str,
    owner: str,
    metadata: MetaData,
    *,
    owner_key: str = "id",
    key_type: TypeEngine[Any] | None = None,
    schema: str | None = None,
    pickle: bool = False,
) -> Table:
    """Return the table of the entries of a ``vault_dict`` whose owners are the rows of table ``owner``."""
    mapping = registry(metadata=metadata)
    key = Column(owner_key, key_type or Integer(), primary_key=True)
    said = {"__tablename__": owner, "__table_args__": {"schema": schema}, "key_of_row": key}
    entity: Any = mapping.mapped(type("Owner", (), {**said, "entries": vault_dict(pickle=pickle, table=name)}))
    table: Table = entity.entries.table
    mapping.dispose()
    return table


class _VaultDictOp(VaultOperation):
    _name = ""

    def __init__(
        self,
        table_name: str,
        owner_table: str,
        *,
        owner_key: str = "id",
        key_type: TypeEngine[Any] | None = None,
        schema: str | None = None,
        pickle: bool = False,
    ) -> None:
        self.table_name = table_name
        self.owner_table = owner_table
        self.owner_key = owner_key
        self.key_type = Integer() if key_type is None else key_type
        self.schema = schema
        self.pickle = pickle

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructors of both operations take."""
        return {
            "table_name": self.table_name,
            "owner_table": self.owner_table,
            "owner_key": self.owner_key,
            "key_type": self.key_type,
            "schema": self.schema,
            "pickle": self.pickle,
        }

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation, those of the tables, and the rest."""
        rest = {key: value for key, value in self.arguments.items() if not key.endswith("_table")}
        rest.pop("table_name")
        return (self._name, self.table_name, self.owner_table, {**rest, "key_type": repr(self.key_type)})

    def to_table(self, metadata: MetaData) -> Table:
        """Return the table of the entries."""
        return row_dict_table(
            self.table_name,
            self.owner_table,
            metadata,
            owner_key=self.owner_key,
            key_type=self.key_type,
            schema=self.schema,
            pickle=self.pickle,
        )


@Operations.register_operation("create_vault_dict")
class CreateVaultDictOp(_VaultDictOp):
    """Make the table of the entries of a ``vault_dict``, with its triggers and record."""

    _name = "create_vault_dict"

    def reverse(self) -> DropVaultDictOp:
        """Return what drops it."""
        return DropVaultDictOp(**self.arguments)

    @classmethod
    def create_vault_dict(
        cls,
        operations: Any,
        table_name: Any,
        owner_table: Any,
        owner_key: Any = "id",
        key_type: Any = None,
        schema: Any = None,
        pickle: Any = False,
    ) -> None:
        """Make the table of the entries of a ``vault_dict``, for the rows of a table that there is.

        Parameters
        ----------
        table_name
            Of the entries: ``<owner_table>_<attribute>``, unless ``vault_dict(table=…)`` says another.
        owner_table, owner_key, key_type
            The table of the rows that have the dicts, and the name and type of its primary key, by default
            ``Integer()``.
        schema
            Of both tables, on PostgreSQL.
        pickle
            As of ``vault_dict``.
        """
        operations.invoke(
            cls(table_name, owner_table, owner_key=owner_key, key_type=key_type, schema=schema, pickle=pickle)
        )


@Operations.register_operation("drop_vault_dict")
class DropVaultDictOp(_VaultDictOp):
    """Drop the table of the entries of a ``vault_dict``, with its triggers and record."""

    _name = "drop_vault_dict"

    def reverse(self) -> CreateVaultDictOp:
        """Return what makes it."""
        return CreateVaultDictOp(**self.arguments)

    @classmethod
    def drop_vault_dict(
        cls,
        operations: Any,
        table_name: Any,
        owner_table: Any,
        owner_key: Any = "id",
        key_type: Any = None,
        schema: Any = None,
        pickle: Any = False,
    ) -> None:
        """Drop the table of the entries of a ``vault_dict``; the arguments are those of :meth:`create_vault_dict`."""
        operations.invoke(
            cls(table_name, owner_table, owner_key=owner_key, key_type=key_type, schema=schema, pickle=pickle)
        )


@Operations.implementation_for(CreateVaultDictOp)
def _create_dict(operations: Operations, operation: CreateVaultDictOp) -> Table:
    table = operation.to_table(operations.schema_obj.metadata())
    operations.migration_context.impl.create_table(table)
    write_record(operations, table.fullname, "dict", {})
    return table


@Operations.implementation_for(DropVaultDictOp)
def _drop_dict(operations: Operations, operation: DropVaultDictOp) -> None:
    table = operation.to_table(MetaData())
    operations.migration_context.impl.drop_table(table)
    forget_record(operations, table.fullname)
