"""PostgreSQL's types of vectors: pgvector's ``vector`` and ``halfvec``, and the server's own ``bit``.

Int8 is ``halfvec`` as float16 is: an index of pgvector takes the dimensions from the column, and of a domain has none.

Vectors travel in their text form, which needs no registration on the connection.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.types import TypeEngine, UserDefinedType

__all__ = ["PGHalfVector", "PGVector", "postgresql_type"]


class PGVector(UserDefinedType[Any]):
    """``vector(n)``: float32."""

    cache_ok = True
    render_bind_cast = True
    _name = "VECTOR"

    def __init__(self, dimensions: int | None = None) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **kw: Any) -> str:
        return self._name if self.dimensions is None else f"{self._name}({self.dimensions})"


class PGHalfVector(PGVector):
    """``halfvec(n)``: float16, and int8, every value of which float16 has."""

    cache_ok = True
    _name = "HALFVEC"


class _Bits(BIT):
    """``bit(n)``. Reflected as SQLAlchemy's own, because not every bit string is a vector."""

    cache_ok = True
    render_bind_cast = True


def postgresql_type(elem: str, dimensions: int | None) -> TypeEngine[Any]:
    """Return the type of columns of vectors whose elements are ``elem``."""
    if elem == "bit":
        return _Bits(dimensions)
    return PGVector(dimensions) if elem == "f32" else PGHalfVector(dimensions)
