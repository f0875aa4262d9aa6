"""The statements that make a text index and drop it: for a connection, or for a script of Alembic's."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Dialect

from ...errors import InvalidArgument
from ...orm.text_index import TextIndex
from . import fts5, gin

__all__ = ["create_statements", "drop_statements"]


def create_statements(index: TextIndex, dialect: Dialect) -> list[str]:
    """Return what makes an index of a table that exists, and puts what is in the table into it."""
    statements: list[str] = _module(index, dialect).create_statements(index, dialect)
    return statements


def drop_statements(index: TextIndex, dialect: Dialect) -> list[str]:
    """Return what drops an index, also one that is there in parts or not at all."""
    statements: list[str] = _module(index, dialect).drop_statements(index, dialect)
    return statements


def _module(index: TextIndex, dialect: Dialect) -> Any:
    modules = {"sqlite": fts5, "postgresql": gin}
    if dialect.name not in modules:
        raise InvalidArgument(
            f"text index {index.name!r}: there are such on SQLite and PostgreSQL, not on {dialect.name}"
        )
    return modules[dialect.name]
