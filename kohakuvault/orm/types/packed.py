"""``Packed``: any auto-packed Python value in one column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import LargeBinary, TypeDecorator, TypeEngine

from ...packing import pack, unpack

__all__ = ["Packed"]


class Packed(TypeDecorator[Any]):
    """A Python value stored as tagged bytes, equal and of the same type when read (:mod:`kohakuvault.packing`).

    ``None`` is a value like any other and is stored as such; an SQL NULL, which only other writers make in
    a nullable column, reads as ``None`` too.
    """

    impl = LargeBinary
    cache_ok = True
    # So that the ORM binds None through this type rather than as NULL.
    should_evaluate_none = True

    def __repr__(self) -> str:
        return "Packed()"

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return pack

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        return lambda value: f"X'{pack(value).hex()}'" if dialect.name == "sqlite" else f"'\\x{pack(value).hex()}'"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return lambda data: None if data is None else unpack(bytes(data))

    def compare_values(self, x: Any, y: Any) -> bool:
        # By bytes: == on arrays is an array, and 1 == True == 1.0 would hide a change of type.
        return x is y or pack(x) == pack(y)
