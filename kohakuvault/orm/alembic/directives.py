"""What autogenerate's operations become before they are rendered: ours, where those say more, and in order."""

from __future__ import annotations

from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, LargeBinary, MetaData, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine

from ..tables import kind_of
from ..types import Packed, Vector
from ..vector_index import indexes_of
from .implied_table import KINDS
from .operation import VaultOperation
from .prepare import PrepareVaultTypesOp
from .rendering import name_of_type
from .repack import RepackColumnOp, is_repacked
from .row_container_ops import CreateVaultDictOp
from .vault_table_ops import CreateVaultTableOp

__all__ = ["rewrite_directives"]

_DIALECTS = (sqlite.dialect(), postgresql.dialect())  # type: ignore[no-untyped-call]


def rewrite_directives(context: Any, revision: Any, directives: list[Any]) -> None:
    """Put our operations in the place of Alembic's. Of the form of ``process_revision_directives``."""
    for script in directives:
        pairs = zip(script.upgrade_ops_list, script.downgrade_ops_list, strict=True)
        for upgrade, downgrade in pairs:
            changed = _rewritten(upgrade.ops)
            if changed != upgrade.ops:
                upgrade.ops[:] = changed
                upgrade.reverse_into(downgrade)
            # Whatever the database: a script that was written on SQLite may have to run on PostgreSQL.
            for each in (upgrade, downgrade):
                types = _new_types(each.ops)
                if types:
                    each.ops.insert(0, PrepareVaultTypesOp(tuple(types)))


def _rewritten(operations: list[Any]) -> list[Any]:
    result: list[Any] = []
    made: set[tuple[str, str]] = set()
    for operation in operations:
        if isinstance(operation, ops.CreateTableOp) and (vault := _vault_table(operation)) is not None:
            result.append(vault)
            if isinstance(vault, CreateVaultDictOp):
                made |= {(vault.table_name, str(index.name)) for index in vault.to_table(MetaData()).indexes}
            elif not vault.columns:
                made |= {(vault.table_name, str(index.name)) for index in vault.to_table().indexes}
        elif isinstance(operation, ops.ModifyTableOps):
            result += _in_order(operation, made)
        else:
            result.append(operation)
    return [each for each in result if (getattr(each, "table_name", ""), getattr(each, "index_name", "")) not in made]


def _in_order(modify: ops.ModifyTableOps, made: set[tuple[str, str]]) -> list[Any]:
    """Return operations on a table with ours apart: outside of batches, drops before the rest and others after."""
    before: list[Any] = []
    kept: list[Any] = []
    after: list[Any] = []
    for operation in modify.ops:
        if isinstance(operation, VaultOperation):
            (before if operation.to_diff_tuple()[0].startswith("drop_") else after).append(operation)
        elif isinstance(operation, ops.CreateIndexOp) and (modify.table_name, str(operation.index_name)) in made:
            continue
        elif isinstance(operation, ops.AlterColumnOp) and (repack := _repack(operation)) is not None:
            if operation.has_changes():
                kept.append(operation)
            after.insert(0, repack)
        else:
            kept.append(operation)
    if len(kept) == len(modify.ops) and not before and not after:
        return [modify]
    rest = ops.ModifyTableOps(modify.table_name, kept, schema=modify.schema)
    return [*before, *([rest] if kept else []), *after]


def _repack(operation: ops.AlterColumnOp) -> RepackColumnOp | None:
    """Take the change of type out of an operation, if values have to be rewritten for it."""
    to, from_ = operation.modify_type, operation.existing_type
    if to is None or from_ is None or not is_repacked(to, from_):
        return None
    if isinstance(from_, LargeBinary) and not isinstance(from_, Packed):
        # As every database has it.
        from_ = LargeBinary()
    elif type(from_).__module__.startswith("sqlalchemy.dialects.sqlite"):
        from_ = from_.as_generic()
    # What else is altered is so before the values are rewritten, and after they were on the way back.
    operation.modify_type = None
    operation.existing_type = from_
    return RepackColumnOp(operation.table_name, operation.column_name, to=to, from_=from_, schema=operation.schema)


def _vault_table(operation: ops.CreateTableOp) -> CreateVaultTableOp | CreateVaultDictOp | None:
    """Return what makes a table of a container with its record; None for other tables."""
    columns = [column for column in operation.columns if isinstance(column, Column)]
    table: Any = next((getattr(column, "table", None) for column in columns), None)
    kind = None if table is None else kind_of(table)
    if table is None or kind is None:
        return None
    value = table.c["value"].type
    if kind == "dict":
        (owner,) = table.c["owner_id"].foreign_keys
        return CreateVaultDictOp(
            operation.table_name,
            owner.column.table.name,
            owner_key=owner.column.name,
            key_type=owner.column.type,
            schema=operation.schema,
            pickle=bool(getattr(value, "pickle", False)),
        )
    options: dict[str, Any] = {}
    if kind == "vectors":
        type_ = table.c["vector"].type
        assert isinstance(type_, Vector)
        options = {"dimensions": type_.dimensions, "vector_type": type_.elem, "index": None}
        for index in indexes_of(table):
            if index.column.name == "vector":
                options.update(metric=index.metric, index=index.kind)
    explicit = CreateVaultTableOp(
        operation.table_name,
        kind,
        operation.columns,
        schema=operation.schema,
        options=options,
        table_kw=operation.kw,
        is_of_table=operation._constraints_included,
        namespace=operation._namespace_metadata,
    )
    if kind not in KINDS:
        return explicit
    implied = CreateVaultTableOp(
        operation.table_name,
        kind,
        schema=operation.schema,
        pickle=bool(getattr(value, "pickle", False)),
        options=options,
    )
    return implied if _ddl(implied.to_table()) == _ddl(table) else explicit


def _ddl(table: Table) -> list[str]:
    indexes = sorted(repr((str(index.name), [str(each) for each in index.expressions])) for index in table.indexes)
    return [*(str(CreateTable(table).compile(dialect=dialect)) for dialect in _DIALECTS), *indexes]


def _new_types(operations: list[Any]) -> list[TypeEngine[Any]]:
    """Return our types that columns of existing tables are given."""
    found: dict[str, TypeEngine[Any]] = {}
    for operation in operations:
        for each in operation.ops if isinstance(operation, ops.ModifyTableOps) else [operation]:
            type_: Any = None
            if isinstance(each, ops.AddColumnOp):
                type_ = each.column.type
            elif isinstance(each, ops.AlterColumnOp):
                type_ = each.modify_type
            if type_ is not None and name_of_type(type_) is not None:
                found[repr(type_)] = type_
    return list(found.values())
