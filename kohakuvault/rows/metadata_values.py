"""Which values a column of metadata takes: those that it gives back equal and of the same type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
from sqlalchemy import JSON, Column, Enum
from sqlalchemy.engine import Dialect

from ..errors import InvalidArgument, UnsupportedType

__all__ = ["Check", "check_of"]

Check = Callable[[Any], Any]


def check_of(column: Column[Any], dialect: Dialect) -> Check:
    """Return the function that returns a value for ``column`` as its type takes it, or raises."""
    try:
        expected: type[Any] = column.type.python_type
    except NotImplementedError:
        expected = object
    process: Any = column.type.dialect_impl(dialect).bind_processor(dialect)
    if isinstance(column.type, JSON):
        expected = object
        # The general one, or else the driver's, which comes too late.
        process = JSON.bind_processor(column.type, dialect) or json.dumps  # type: ignore[no-untyped-call]
    members = column.type.enums if isinstance(column.type, Enum) and column.type.enum_class is None else None
    narrow = _NARROW.get(expected)
    keeps_zone = bool(getattr(column.type, "timezone", False)) and dialect.name != "sqlite"

    def check(value: Any) -> Any:
        if value is None:
            if column.nullable or column.default is not None:
                return None
            raise InvalidArgument(f"metadata {column.key!r} is not given, and the column cannot be NULL")
        if isinstance(value, np.generic):
            value = value.item()
        if narrow is not None:
            value = narrow(column.key, value)
        elif not isinstance(value, expected):
            raise _other_type(column.key, value, expected.__name__)
        if members is not None and value not in members:
            raise InvalidArgument(f"metadata {column.key!r} is one of {', '.join(members)}, not {value!r:.60}")
        if isinstance(value, (datetime, time)) and value.tzinfo is not None and not keeps_zone:
            raise InvalidArgument(f"metadata {column.key!r}: {value!r} has a time zone, which the column does not keep")
        if process is not None:
            try:
                process(value)
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise InvalidArgument(f"metadata {column.key!r} cannot be {value!r:.60}: {error}") from error
        return value

    return check


def _other_type(name: str, value: Any, expected: str) -> UnsupportedType:
    return UnsupportedType(f"metadata {name!r} is {expected} or None, not {value!r:.60} of type {type(value).__name__}")


def _bool(name: str, value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _other_type(name, value, "bool")


def _int(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _other_type(name, value, "int")
    if not -(2**63) <= value < 2**63:
        raise InvalidArgument(f"metadata {name!r} is an int of 64 bits, and this one has {value.bit_length()}")
    return value


def _float(name: str, value: Any) -> float:
    if not isinstance(value, (float, int)) or isinstance(value, bool):
        raise _other_type(name, value, "float")
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidArgument(f"metadata {name!r}: an int that is too large for a float") from error
    if math.isnan(number):
        raise InvalidArgument(f"metadata {name!r} is NaN, which SQLite does not keep; None is for what is not known")
    return number


def _str(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _other_type(name, value, "str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"metadata {name!r}: {value!r:.60} has a lone surrogate") from error
    return value


def _bytes(name: str, value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _other_type(name, value, "bytes")
    return bytes(value)


def _date(name: str, value: Any) -> date:
    # A datetime is a date too, and would lose its time.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _other_type(name, value, "date")
    return value


def _decimal(name: str, value: Any) -> Decimal:
    if not isinstance(value, (Decimal, int)) or isinstance(value, bool):
        raise _other_type(name, value, "Decimal")
    return Decimal(value)


_NARROW: dict[type[Any], Callable[[str, Any], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    date: _date,
    Decimal: _decimal,
}
