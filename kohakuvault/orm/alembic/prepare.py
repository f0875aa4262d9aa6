"""``op.prepare_vault_types``: what PostgreSQL needs before columns of our types are added."""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.types import TypeEngine

from .operation import VaultOperation

__all__ = ["PrepareVaultTypesOp"]


@Operations.register_operation("prepare_vault_types")
class PrepareVaultTypesOp(VaultOperation):
    """Make the extension, domains and functions that columns of these types need, where they are missing."""

    def __init__(self, types: tuple[TypeEngine[Any], ...]) -> None:
        self.types = types

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation and the types."""
        return ("prepare_vault_types", *map(repr, self.types))

    def reverse(self) -> PrepareVaultTypesOp:
        """Return the same: other tables may use what there is, so that nothing is dropped."""
        return self

    @classmethod
    def prepare_vault_types(cls, operations: Any, *types: Any) -> None:
        """Make what PostgreSQL needs before columns of these types are added; elsewhere, do nothing.

        ``op.create_table`` does so by itself; ``op.add_column`` and ``op.alter_column`` do not.
        """
        operations.invoke(cls(tuple(type_() if isinstance(type_, type) else type_ for type_ in types)))


@Operations.implementation_for(PrepareVaultTypesOp)
def _prepare(operations: Operations, operation: PrepareVaultTypesOp) -> None:
    context = operations.migration_context
    # What is done before a table with such columns is made.
    columns = [Column(f"c{number}", type_) for number, type_ in enumerate(operation.types)]
    table: Any = Table("_", MetaData(), *columns)
    table.dispatch.before_create(table, context.connection, checkfirst=False, _ddl_runner=context.impl)
