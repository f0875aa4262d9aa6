"""The records in ``vault_table``, written by migrations."""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations
from sqlalchemy import func, select, text
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable

from ..tables import TableRecord, table_of
from .operation import run

__all__ = ["forget_record", "forgetting_statement", "is_recorded", "record_statement", "write_record"]

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
    run(operations, [record_statement(context.dialect, name, kind, VERSIONS[kind], options)])


def forget_record(operations: Any, name: str) -> None:
    """Remove the record of a table."""
    run(operations, [forgetting_statement(operations.get_context().dialect, name)])


def is_recorded(operations: Operations, name: str, kind: str) -> bool:
    """Whether a table is recorded as one of that kind."""
    known = select(func.count()).select_from(_RECORDS).where(_RECORDS.c.name == name, _RECORDS.c.kind == kind)
    return bool(operations.get_bind().scalar(known))


def record_statement(dialect: Dialect, name: str, kind: str, version: int, options: dict[str, Any]) -> str:
    """Return the SQL that inserts a record."""
    values = {"name": name, "kind": kind, "version": version, "options": options}
    literals = ", ".join(_literal(dialect, column, value) for column, value in values.items())
    return f"INSERT INTO vault_table (name, kind, version, options) VALUES ({literals})"  # noqa: S608 (literals)


def forgetting_statement(dialect: Dialect, name: str) -> str:
    """Return the SQL that removes a record."""
    return f"DELETE FROM vault_table WHERE name = {_literal(dialect, 'name', name)}"  # noqa: S608 (a literal)


def _literal(dialect: Dialect, column: str, value: Any) -> str:
    # By the type: SQLAlchemy's compilers double backslashes where they do not know the server.
    process = _RECORDS.c[column].type.dialect_impl(dialect).literal_processor(dialect)
    return str(process(value))
