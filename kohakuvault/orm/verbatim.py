"""``Verbatim``: a statement as it is, for what runs DDL, be it a connection or Alembic's ``--sql``."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

__all__ = ["Verbatim"]


class Verbatim(ExecutableDDLElement):
    """SQL as the driver takes it: nothing in it is replaced, be it ``%`` or ``:name``."""

    inherit_cache = False

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(Verbatim)
def _as_it_is(element: Verbatim, compiler: Any, **kw: Any) -> str:
    return element.sql
