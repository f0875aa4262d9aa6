"""The records in ``vault_table``, written by migrations."""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.schema import CreateTable

from ..tables import TableRecord, table_of
from .operation import run

__all__ = ["forget_record", "is_recorded", "write_record"]

_RECORDS: Any = table_of(TableRecord)
_SCHEMA_LOCK = "SELECT pg_advisory_xact_lock(7595446917411070316)"


def write_record(
    operations: Operations, name: str, kind: str, options: dict[str, Any], *, replace: bool = True
) -> None:
    """Record what a table holds, by the newest format; ``vault_table`` is made if it is missing."""
    from ...schema import VERSIONS

    context = operations.migration_context
    impl = context.impl
    if context.as_sql:
        _RECORDS.dispatch.before_create(_RECORDS, None, checkfirst=False, _ddl_runner=impl)
        impl.execute(CreateTable(_RECORDS, if_not_exists=True))
    else:
        if context.dialect.name == "postgresql":
            impl.execute(text(_SCHEMA_LOCK))
        _RECORDS.create(operations.get_bind(), checkfirst=True)
        if not replace and is_recorded(operations, name, kind):
            return
    forget_record(operations, name)
    record = insert(_RECORDS).values(name=name, kind=kind, version=VERSIONS[kind], options=options)
    run(operations, [_literal(operations, record)])


def forget_record(operations: Operations, name: str) -> None:
    """Remove the record of a table."""
    run(operations, [_literal(operations, delete(_RECORDS).where(_RECORDS.c.name == name))])


def is_recorded(operations: Operations, name: str, kind: str) -> bool:
    """Whether a table is recorded as one of that kind."""
    known = select(func.count()).select_from(_RECORDS).where(_RECORDS.c.name == name, _RECORDS.c.kind == kind)
    return bool(operations.get_bind().scalar(known))


def _literal(operations: Operations, statement: Any) -> str:
    dialect = operations.migration_context.dialect
    return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
