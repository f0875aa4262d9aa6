"""What PostgreSQL must have before a table with our types is made: the extension vector, domains, functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import DDL, Table, event
from sqlalchemy.dialects.postgresql import ARRAY, dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from .postgresql_functions import FUNCTIONS
from .types.declared import PGDomain
from .types.packed import ENCODINGS, Packed
from .types.pgvector import PGVector

__all__ = ["required_objects"]

# Of domains whose values queries may look into.
_PACKED = {f"kv_{Packed(encoding).declared_name}" for encoding in ENCODINGS}

_DIALECT = dialect()  # type: ignore[no-untyped-call]

# Of two transactions that make the same, one waits for the other and then finds it there, as a row of the catalog.
_UNLESS_THERE = """
DO $do$ BEGIN
    {create};
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $do$
""".strip()


def required_objects(types: Iterable[TypeEngine[Any]], schema: str | None = None) -> list[str]:
    """Return the statements that make what columns of ``types`` need on PostgreSQL; none for types of others.

    They can be run any number of times, by several processes at once. Nothing drops what they make: it belongs to
    the schema, as an extension does, and other tables may use it.

    Parameters
    ----------
    types
        SQLAlchemy types.
    schema
        The schema of the tables, where their domains are made; by default the first of the ``search_path``.

    >>> from kohakuvault.orm import Packed
    >>> print(required_objects([Packed("cbor")])[0])
    DO $do$ BEGIN
        CREATE DOMAIN kv_cbor AS BYTEA;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END $do$
    """
    implementations = [found for type_ in types for found in _implementations(type_)]
    domains = {each.name for each in implementations if isinstance(each, PGDomain)}
    creations = [f"CREATE DOMAIN {_qualified(name, schema)} AS BYTEA" for name in sorted(domains)]
    if any(isinstance(each, PGVector) for each in implementations):
        creations.insert(0, "CREATE EXTENSION IF NOT EXISTS vector")
    made = [_UNLESS_THERE.format(create=create) for create in creations]
    return [*made, *FUNCTIONS] if domains & _PACKED else made


def _implementations(type_: TypeEngine[Any]) -> Iterator[TypeEngine[Any]]:
    """Return what a type is on PostgreSQL: a variant of it, the type of what an array has."""
    found = type_.dialect_impl(_DIALECT)
    while isinstance(found, TypeDecorator):
        found = found.impl_instance
    if isinstance(found, ARRAY):
        yield from _implementations(found.item_type)
    yield found


def _qualified(name: str, schema: str | None) -> str:
    if schema is None:
        return name
    return '"' + schema.replace('"', '""') + '".' + name


@event.listens_for(Table, "before_create")
def _make_required_objects(table: Table, connection: Any, **kw: Any) -> None:
    """Make what the table's columns need. Where it is there already, that needs no privilege."""
    runner = kw.get("_ddl_runner")
    # Alembic that writes a script has no connection.
    into_script = connection is None or getattr(runner, "as_sql", False)
    target = runner if into_script else connection
    if target is None or target.dialect.name != "postgresql":
        return
    schema = table.schema if into_script else connection.schema_for_object(table)
    for statement in required_objects((column.type for column in table.columns), schema):
        ddl: Any = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
        target.execute(ddl)
