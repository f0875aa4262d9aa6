"""What the declared type of a column says: the way back from a database's name to our type.

SQLAlchemy's reflection knows the names that are fixed as soon as this is imported. For those that say a shape, and for
domains in schemas that the ``search_path`` does not lead to, it calls a listener.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from sqlalchemy import Table, event, inspect
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import LargeBinary, NullType, TypeEngine

from ..errors import InvalidArgument
from .types import Key, Packed, PackedArray, Tensor, Vector
from .types.array_elements import ARRAY_ELEMENTS

__all__ = ["reflected_type", "type_named"]

_FIXED: dict[str, Callable[[], TypeEngine[Any]]] = {
    "key": Key,
    "packed": Packed,
    **{encoding: partial(Packed, encoding) for encoding in ("msgpack", "cbor", "json", "pickle")},
    "array": PackedArray,
    **{f"array_{elem}": partial(PackedArray, elem) for elem in ARRAY_ELEMENTS},
}
_VECTORS: dict[str, Callable[..., TypeEngine[Any]]] = {
    "f32": Vector,
    **{elem: partial(Vector, elem=elem) for elem in ("f16", "i8", "bit")},
}
# Int8 is halfvec too, which nothing tells.
_PGVECTOR_ELEMENTS = {"vector": "f32", "halfvec": "f16"}
_DECLARED = re.compile(r"(?:kv_(?P<domain>\w+)|(?P<blob>\w+)_blob(?:\((?P<size>\d+)\))?)", re.IGNORECASE)
_PGVECTOR = re.compile(r"(?P<name>vector|halfvec)(?:\((?P<size>\d+)\))?", re.IGNORECASE)


def type_named(name: str) -> TypeEngine[Any] | None:
    """Return the type that a database calls ``name``; None if that is none of ours.

    >>> type_named("TENSOR_U8_64_64_3_BLOB"), type_named("halfvec(384)"), type_named("BLOB")
    (Tensor('u8', 64, 64, 3), Vector(384, elem='f16'), None)
    """
    vector = _PGVECTOR.fullmatch(name)
    if vector is not None:
        return _checked(_VECTORS[_PGVECTOR_ELEMENTS[vector["name"].lower()]], *_sizes(vector["size"]))
    declared = _DECLARED.fullmatch(name)
    if declared is None:
        return None
    what = (declared["domain"] or declared["blob"]).lower()
    if declared["blob"] is not None and what in _VECTORS:
        return _checked(_VECTORS[what], *_sizes(declared["size"]))
    if declared["size"] is None and what in _FIXED:
        return _FIXED[what]()
    kind, _, rest = what.partition("_")
    elem, *shape = rest.split("_")
    if kind == "tensor" and declared["size"] is None and all(map(str.isdecimal, shape)):
        return _checked(Tensor, elem, *map(int, shape))
    return None


def _sizes(size: str | None) -> list[int]:
    return [] if size is None else [int(size)]


def _checked(make: Callable[..., TypeEngine[Any]], *arguments: Any) -> TypeEngine[Any] | None:
    try:
        return make(*arguments)
    except InvalidArgument:
        return None


def reflected_type(
    bind: Engine | Connection | Inspector, table: str, column: str, schema: str | None = None
) -> TypeEngine[Any] | None:
    """Return our type that a column of a database was declared as; None if it was not, or is not there.

    On PostgreSQL a column of bits is none, because ``bit`` says nothing about being a vector, and one of int8 is read
    as float16, because both are ``halfvec``.
    """
    inspector = bind if isinstance(bind, Inspector) else inspect(bind)
    if inspector.dialect.name == "sqlite":
        declared = _sqlite_names(inspector, table, schema).get(column)
        return None if declared is None else type_named(declared)
    try:
        columns = inspector.get_columns(table, schema=schema)
    except NoSuchTableError:
        return None
    for found in columns:
        if found["name"] == column:
            return _ours(found["type"], inspector)
    return None


def _ours(type_: TypeEngine[Any], inspector: Inspector) -> TypeEngine[Any] | None:
    """Return what a type that SQLAlchemy reflected is of ours."""
    if isinstance(type_, (Key, Packed, PackedArray, Tensor, Vector)):
        return type_
    if isinstance(type_, NullType):
        return None
    if isinstance(type_, DOMAIN):
        return type_named(type_.name or "")
    # pgvector's own class, where the application imports that.
    return type_named(type_.compile(inspector.dialect))


def _sqlite_names(inspector: Inspector, table: str, schema: str | None) -> dict[str, str]:
    """Return the declared types of a table's columns."""
    quote = inspector.dialect.identifier_preparer.quote_identifier
    pragma = f"PRAGMA {'' if schema is None else quote(schema) + '.'}table_xinfo({quote(table)})"
    bind: Any = inspector.bind
    with bind.connect() if isinstance(bind, Engine) else nullcontext(bind) as connection:
        return {row[1]: row[2] for row in connection.exec_driver_sql(pragma)}


@event.listens_for(Table, "column_reflect")
def _recognise(inspector: Inspector, table: Table, column: Any) -> None:
    """Give a reflected column our type, where SQLAlchemy does not know the name."""
    type_ = column["type"]
    if isinstance(type_, DOMAIN):
        found = type_named(type_.name or "")
    elif isinstance(type_, NullType) and inspector.dialect.name == "sqlite":
        found = type_named(_sqlite_names(inspector, table.name, table.schema).get(column["name"]) or "")
    else:
        return
    if found is not None:
        column["type"] = found


def _reflecting(make: Callable[..., TypeEngine[Any]], most: int = 0) -> Callable[..., TypeEngine[Any]]:
    """Return what SQLAlchemy calls with the numbers that stand behind a name, ``most`` of them."""
    # Another number, and it is a stranger's column of that name, which has bytes.
    return lambda *numbers: (len(numbers) <= most and _checked(make, *numbers)) or LargeBinary()


def _register() -> None:
    sqlite: dict[str, Any] = SQLiteDialect.ischema_names
    postgresql: dict[str, Any] = PGDialect.ischema_names
    for name, make in _FIXED.items():
        sqlite.setdefault(f"{name.upper()}_BLOB", _reflecting(make))
        postgresql.setdefault(f"kv_{name}", _reflecting(make))
    for elem, make in _VECTORS.items():
        sqlite.setdefault(f"{elem.upper()}_BLOB", _reflecting(make, 1))
    # pgvector's own classes where the application has imported that: its types are what its code expects.
    for name, elem in _PGVECTOR_ELEMENTS.items():
        postgresql.setdefault(name, _reflecting(_VECTORS[elem], 1))


_register()
