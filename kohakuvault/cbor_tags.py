"""The types that CBOR has tags for, as :mod:`cbor2` writes and reads them.

======  ====================  ==========================================
tag     type                  content
======  ====================  ==========================================
0       aware ``datetime``    RFC 3339 text
1       aware ``datetime``    seconds since 1970; read only
2, 3    ``int``               big-endian bytes; in Rust
4       ``Decimal``           ``[exponent, mantissa]``
30      ``Fraction``          ``[numerator, denominator]``
37      ``UUID``              16 bytes
100     ``date``              days since 1970; read only
258     ``set``               array; in Rust
1004    ``date``              RFC 3339 text
43000   ``complex``           ``[real, imaginary]``
55799   any                   the value itself; read only
======  ====================  ==========================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

__all__ = ["tag_of", "value_of"]


def tag_of(value: Any) -> tuple[int, Any] | None:
    """Return the tag and content that stand for ``value``; None if no reader would give it back as it is."""
    write = _WRITERS.get(type(value))
    return None if write is None else write(value)


def value_of(tag: int, content: Any) -> Any:
    """Return the value of a tag and its content; raise for unknown tags and unfit content."""
    read = _READERS.get(tag)
    if read is None:
        raise ValueError(f"unknown tag {tag}")
    return read(content)


def _write_datetime(value: datetime) -> tuple[int, str] | None:
    zone = value.tzinfo
    # The text has neither a zone's key or name nor seconds of an offset.
    if type(zone) is not timezone or zone != timezone(offset := zone.utcoffset(None)) or value.fold:
        return None
    if len(zone.__getinitargs__()) > 1 or offset % timedelta(minutes=1):  # type: ignore[attr-defined]
        return None
    text = value.isoformat()
    return 0, text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _write_decimal(value: Decimal) -> tuple[int, list[int]] | None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or (sign and not any(digits)):
        return None  # NaN, infinity, -0
    return 4, [exponent, int(Decimal((sign, digits, 0)))]


_WRITERS: dict[type, Callable[[Any], tuple[int, Any] | None]] = {
    datetime: _write_datetime,
    date: lambda value: (1004, value.isoformat()),
    Decimal: _write_decimal,
    Fraction: lambda value: (30, [value.numerator, value.denominator]),
    UUID: lambda value: (37, value.bytes),
    complex: lambda value: (43000, [value.real, value.imag]),
}

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _read_datetime(text: str) -> datetime:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r:.60} is no RFC 3339 timestamp")
    *numbers, fraction, utc, sign, hours, minutes = match.groups()
    zone = timezone.utc
    if not utc:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-offset if sign == "-" else offset)
    year, month, day, hour, minute, second = map(int, numbers)
    return datetime(year, month, day, hour, minute, second, int((fraction or "0").ljust(6, "0")), zone)


def _read_epoch(seconds: float) -> datetime:
    if type(seconds) not in {int, float}:
        raise TypeError("a timestamp is a number")
    return _EPOCH + timedelta(seconds=seconds)


def _read_decimal(content: Any) -> Decimal:
    exponent, mantissa = content
    if type(exponent) is not int or type(mantissa) is not int:
        raise TypeError("a decimal fraction is two ints")
    sign, digits, _ = Decimal(mantissa).as_tuple()
    value = Decimal((sign, digits, exponent))
    if value.as_tuple().exponent != exponent:
        raise ValueError("a decimal fraction has an exponent out of range")
    return value


def _read_fraction(content: Any) -> Fraction:
    numerator, denominator = content
    if type(numerator) is not int or type(denominator) is not int:
        raise TypeError("a rational number is two ints")
    return Fraction(numerator, denominator)


def _read_complex(content: Any) -> complex:
    real, imaginary = content
    if type(real) not in {int, float} or type(imaginary) not in {int, float}:
        raise TypeError("a complex number is two numbers")
    return complex(real, imaginary)


_READERS: dict[int, Callable[[Any], Any]] = {
    0: _read_datetime,
    1: _read_epoch,
    4: _read_decimal,
    30: _read_fraction,
    37: lambda data: UUID(bytes=data),
    100: lambda days: date(1970, 1, 1) + timedelta(days=days),
    1004: date.fromisoformat,
    43000: _read_complex,
    55799: lambda value: value,
}
