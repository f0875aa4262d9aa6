"""What autogenerate compares beside what Alembic does: the vector indexes of tables."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import ModifyTableOps
from sqlalchemy import Table, func, literal_column, select
from sqlalchemy.engine import Connection

from ..attached import attached_to
from ..pgvector import POSTGRESQL_TYPES, kind_on_postgresql
from ..row_containers import VaultList
from ..vector_index import VectorIndex, indexes_of
from .found_indexes import FoundIndex
from .own_relations import OwnRelations
from .row_container_ops import CreateVaultListOp, DropVaultListOp
from .vector_index_ops import CreateVectorIndexOp, DropVectorIndexOp

__all__ = ["compares", "current", "own_relations"]

# While autogenerate runs: what of the database is ours.
current: ContextVar[OwnRelations | None] = ContextVar("kohakuvault.own_relations", default=None)

_OPTIONS = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",)}


def compares(target: str, group: str, priority: str = "MEDIUM") -> Callable[[Any], Any]:
    """Register a comparison in a group of its own, so that none of others' is left out for it."""
    try:
        from alembic.util import DispatchPriority
    except ImportError:
        # Before 1.18.
        return comparators.dispatch_for(target)
    return comparators.dispatch_for(target, subgroup=group, priority=DispatchPriority[priority])


def own_relations(context: Any) -> OwnRelations:
    """Return what of the database of a migration context is ours, as it was when autogenerate began."""
    own = current.get()
    if own is None:
        own = OwnRelations.of(context.connection, _mapped(context.opts.get("target_metadata")))
        current.set(own)
    return own


def _mapped(metadata: Any) -> list[Table]:
    each = metadata if isinstance(metadata, (list, tuple)) else [metadata]
    return [table for one in each if one is not None for table in one.tables.values()]


@compares("schema", "kohakuvault.begin", "FIRST")
def _begin(context: AutogenContext, upgrade_ops: Any, schemas: Any) -> None:
    current.set(None)
    own_relations(context.migration_context)


@compares("schema", "kohakuvault.end", "LAST")
def _end(context: AutogenContext, upgrade_ops: Any, schemas: Any) -> None:
    current.set(None)


@compares("table", "kohakuvault.vector")
def _vector_indexes(
    context: AutogenContext,
    modify_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    conn_table: Table | None,
    metadata_table: Table | None,
) -> None:
    """Have indexes made that are missing, and dropped that are too many; those that changed both."""
    connection = context.connection
    assert connection is not None
    if connection.dialect.name not in ("sqlite", "postgresql"):
        return
    own = own_relations(context.migration_context)
    there = {index.name: index for index in own.found if (index.schema, index.table) == (schema, str(name))}
    plain = set() if metadata_table is None else {index.name for index in metadata_table.indexes}
    declared = {} if metadata_table is None else {index.name: index for index in indexes_of(metadata_table)}
    dropped = {}
    for index_name, found in sorted(there.items()):
        wanted = declared.get(index_name)
        if index_name not in plain and (wanted is None or not _is_same(connection, found, wanted)):
            dropped[index_name] = found
            modify_ops.ops.append(_drop(found))
    for index_name, wanted in sorted(declared.items()):
        if index_name in dropped or (index_name not in there and _is_wanted(connection, wanted, conn_table)):
            modify_ops.ops.append(CreateVectorIndexOp.from_index(wanted))


@compares("table", "kohakuvault.lists")
def _vault_lists(
    context: AutogenContext,
    modify_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    conn_table: Table | None,
    metadata_table: Table | None,
) -> None:
    """Have the triggers made that lists of rows miss, and dropped that no list has."""
    own = own_relations(context.migration_context)
    there = {column for of_schema, table, column in own.lists if (of_schema, table) == (schema, str(name))}
    declared = set()
    if metadata_table is not None:
        declared = {metadata_table.c[each.column_name].name for each in attached_to(metadata_table, VaultList)}
    for column in sorted(there - declared):
        modify_ops.ops.append(DropVaultListOp(str(name), column, schema=schema))
    for column in sorted(declared - there):
        modify_ops.ops.append(CreateVaultListOp(str(name), column, schema=schema))


def _drop(found: FoundIndex) -> DropVectorIndexOp:
    return DropVectorIndexOp(
        found.name,
        str(found.table),
        found.column,
        type_=found.type_,
        metric=found.metric,
        kind=found.kind,
        key=None if found.key == "id" else found.key,
        schema=found.schema,
        **found.options,
    )


def _is_same(connection: Connection, found: FoundIndex, wanted: VectorIndex) -> bool:
    """Whether an index is as it is declared, as far as this database tells."""
    same = (found.column, found.metric, found.dimensions) == (wanted.column.name, wanted.metric, wanted.dimensions)
    if connection.dialect.name == "sqlite":
        from ...indexing.kinds import kind_on_sqlite

        return (
            same
            and (found.key, found.element) == (wanted.key.name, wanted.element)
            and found.kind == kind_on_sqlite(wanted)
            and found.options == wanted.options
        )
    kind = kind_on_postgresql(wanted)
    options = {name: value for name, value in wanted.options.items() if name in _OPTIONS.get(kind or "", ())}
    # Lists that were not asked for are chosen by the number of rows.
    made_with = {name: value for name, value in found.options.items() if name in options or name not in ("lists",)}
    # Vectors of two kinds of elements may be of one type there.
    is_of_type = POSTGRESQL_TYPES[found.element] == POSTGRESQL_TYPES[wanted.element]
    return same and is_of_type and found.kind == kind and made_with == options


def _is_wanted(connection: Connection, wanted: VectorIndex, conn_table: Table | None) -> bool:
    """Whether an index that is not there is missing: on PostgreSQL some are made when there are rows enough."""
    if connection.dialect.name == "sqlite" or conn_table is None or wanted.column.name not in conn_table.columns:
        return True
    kind = kind_on_postgresql(wanted)
    if kind is None:
        return False
    if kind == "hnsw" and wanted.kind != "auto":
        return True
    from ...indexing.pgvector import WORTHWHILE

    enough = WORTHWHILE[wanted.kind == "auto"]
    some = select(literal_column("1")).select_from(wanted.table).limit(enough).subquery()
    return (connection.scalar(select(func.count()).select_from(some)) or 0) >= enough
