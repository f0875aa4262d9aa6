"""How databases name our types: by the declared type of a column on SQLite, by a domain on PostgreSQL.

A name changes nothing about the bytes: every name on SQLite contains BLOB, so that no value is converted, and a domain
without constraints is its base type in all but name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine import Dialect
from sqlalchemy.types import LargeBinary, NullType, TypeDecorator, TypeEngine, UserDefinedType

__all__ = ["DeclaredType", "NamedBlob", "PGDomain", "blob_literal", "compiled_name"]


class NamedBlob(UserDefinedType[Any]):
    """A column of SQLite that converts nothing, and says by the name of its type what is in it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **kw: Any) -> str:
        return self.name


class PGDomain(UserDefinedType[Any]):
    """A domain of ours over ``bytea``, in the schema of the table whose column has it.

    Only the definition of a column names the domain: casts name ``bytea``, so that statements need no ``search_path``
    that leads to the domain.
    """

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **kw: Any) -> str:
        expression, preparer = kw.get("type_expression"), kw.get("identifier_preparer")
        if isinstance(expression, Column):
            table = getattr(expression, "table", None)
            schema = None if preparer is None or table is None else preparer.schema_for_object(table)
            return self.name if schema is None else f"{preparer.quote_schema(schema)}.{self.name}"  # type: ignore[union-attr]
        return self.name if expression is None and preparer is None else "BYTEA"


class DeclaredType(TypeDecorator[Any]):
    """Bytes in a column whose declared type says what they are."""

    impl = LargeBinary
    cache_ok = True

    @property
    def declared_name(self) -> str:
        """The name, in lower case and without what is the database's: of ``KEY_BLOB`` and ``kv_key`` it is ``key``."""
        raise NotImplementedError

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(NamedBlob(f"{self.declared_name.upper()}_BLOB"))
        if dialect.name == "postgresql":
            return dialect.type_descriptor(PGDomain(f"kv_{self.declared_name}"))
        return dialect.type_descriptor(LargeBinary())

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        bind = self.bind_processor(dialect)
        assert bind is not None
        return lambda value: blob_literal(bind(value), dialect)

    def compare_against_backend(self, dialect: Dialect, conn_type: TypeEngine[Any]) -> bool:
        """Return whether a column of the type that reflection found is as one of this type is made."""
        return compiled_name(self, dialect) == compiled_name(conn_type, dialect)


def compiled_name(type_: TypeEngine[Any], dialect: Dialect) -> str | None:
    """Return the name of a type in DDL, in lower case and without a schema; None for one that has none."""
    if isinstance(type_, NullType):
        return None
    return type_.compile(dialect).lower().rpartition(".")[2]


def blob_literal(data: bytes, dialect: Dialect) -> str:
    """Return bytes as SQL."""
    # Bare, it would be text for PostgreSQL where nothing says otherwise.
    return f"X'{data.hex()}'" if dialect.name == "sqlite" else rf"CAST('\x{data.hex()}' AS BYTEA)"
