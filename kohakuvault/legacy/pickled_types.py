"""The types of plain data that pickles make by a name, each made by a function that checks what it is given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

__all__ = ["MAKERS", "InMaking", "Name", "NotPlain", "TooLarge"]

# Digits of a Decimal or a Fraction.
_LONGEST = 4000


class NotPlain(Exception):
    """A pickle that holds other things than plain data; the text names the first of them."""


class TooLarge(NotPlain):
    """A pickle of plain data that cannot be stored, whoever loads it."""


class Name:
    """The name of a class or function that we know."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class InMaking:
    """What pickles first make and then give its state: a UUID, an array or a dtype.

    Attributes
    ----------
    is_data
        Whether it can be part of a value.
    """

    __slots__ = ("_from", "_made", "is_data")

    def __init__(self, build: Callable[[Any], Any], made: Any = None, *, is_data: bool = True) -> None:
        self._from = build
        self._made = made
        self.is_data = is_data

    def build(self, state: Any) -> None:
        """Give it its state."""
        self._made = self._from(state)

    def finished(self) -> Any:
        """Return what was made."""
        if self._made is None or not self.is_data:
            raise _damaged()
        return self._made

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype, if it is one."""
        if not isinstance(self._made, np.dtype):
            raise _damaged()
        return self._made


def _damaged() -> NotPlain:
    return NotPlain("damaged: arguments that do not fit")


def _require(holds: bool) -> None:
    if not holds:
        raise _damaged()


def _checked(make: Callable[..., Any], *kinds: tuple[type, ...]) -> Callable[..., Any]:
    """Return ``make`` for arguments of exactly such types, of which the last may be missing."""

    def call(*arguments: Any) -> Any:
        _require(len(arguments) <= len(kinds))
        _require(all(type(argument) in allowed for argument, allowed in zip(arguments, kinds, strict=False)))
        return make(*arguments)

    return call


# -- dates: the classes themselves believe any bytes ---------------------------------------------


def _zone(zone: Any) -> tzinfo | None:
    _require(zone is None or type(zone) in (timezone, ZoneInfo))
    return zone  # type: ignore[no-any-return]


def _datetime(data: bytes, zone: Any = None) -> datetime:
    _require(type(data) is bytes and len(data) == 10)
    year, month = data[0] << 8 | data[1], data[2] & 0x7F
    day, hour, minute, second = data[3:7]
    micros = int.from_bytes(data[7:], "big")
    return datetime(year, month, day, hour, minute, second, micros, _zone(zone), fold=data[2] >> 7)


def _time(data: bytes, zone: Any = None) -> time:
    _require(type(data) is bytes and len(data) == 6)
    micros = int.from_bytes(data[3:], "big")
    return time(data[0] & 0x7F, data[1], data[2], micros, _zone(zone), fold=data[0] >> 7)


def _date(data: bytes) -> date:
    _require(type(data) is bytes and len(data) == 4)
    return date(data[0] << 8 | data[1], data[2], data[3])


def _attribute(owner: Any, name: Any) -> Name:
    # How a ZoneInfo is pickled.
    if type(owner) is not Name or owner.name != "zoneinfo.ZoneInfo" or name != "_unpickle":
        raise NotPlain(f"the attribute {name!a:.100}")
    return Name("zoneinfo.ZoneInfo._unpickle")


def _zone_by_key(key: str, from_cache: bool) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (OSError, ValueError) as error:
        raise NotPlain(f"the time zone {key!a:.100}, which this system does not know") from error


# -- numbers -------------------------------------------------------------------------------------


def _decimal(text: str) -> Decimal:
    _require(len(text) <= _LONGEST)
    return Decimal(text)


def _fraction(numerator: Any, denominator: int = 1) -> Fraction:
    if type(numerator) is int:
        return Fraction(numerator, denominator)
    _require(len(numerator) <= _LONGEST and set(numerator) <= set("0123456789-/"))
    top, _, bottom = numerator.partition("/")
    return Fraction(int(top), int(bottom or 1))


def _uuid_of(state: Any) -> UUID:
    _require(type(state) is dict and type(state.get("int")) is int)
    return UUID(int=state["int"])


# -- numpy ---------------------------------------------------------------------------------------


def _new_dtype(name: str, *flags: Any) -> InMaking:
    _require(type(name) is str and len(name) < 20 and name[:1] in set("biufcSUmM") and name[1:].isdecimal())
    plain = np.dtype(name)

    def build(state: Any) -> np.dtype[Any]:
        _require(type(state) is tuple and len(state) in (8, 9) and state[2:5] == (None, None, None))
        order = state[1]
        _require(order in ("<", ">", "|", "="))
        if len(state) == 8:
            return plain.newbyteorder(order)
        # Of dates: no metadata of the user's, and the unit.
        _, (unit, count, one, _) = state[8]
        _require(plain.kind in "mM" and one == 1 and type(count) is int)
        unit = unit.decode("ascii") if isinstance(unit, bytes) else unit
        _require(unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"))
        if unit == "generic":
            return plain.newbyteorder(order)
        return np.dtype(f"{plain.kind}8[{count}{unit}]").newbyteorder(order)

    return InMaking(build, is_data=False)


def _dtype(dtype: Any) -> np.dtype[Any]:
    _require(type(dtype) is InMaking)
    return dtype.dtype  # type: ignore[no-any-return]


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    _require(type(data) in (bytes, bytearray) and type(shape) is tuple and len(shape) <= 64)
    _require(all(type(size) is int and size >= 0 for size in shape))
    # The bytes are copied: numpy's own, writable ones.
    items = np.frombuffer(bytearray(data), _dtype(dtype)) if data else np.empty(0, _dtype(dtype))
    if items.size and items.dtype.kind == "b":
        _require(int(items.view(np.uint8).max()) <= 1)
    elif items.size and items.dtype.kind == "U":
        _require(int(items.view(f"{items.dtype.str[0]}u4").max()) <= sys.maxunicode)
    return items.reshape(shape, order="F" if order == "F" else "C")


def _new_array(kind: Any, shape: Any, code: Any) -> InMaking:
    _require(type(kind) is Name and kind.name == "numpy.ndarray")

    def build(state: Any) -> np.ndarray[Any, Any]:
        _require(type(state) is tuple and len(state) == 5)
        _, shape, dtype, is_fortran, data = state
        return _array(data, dtype, shape, "F" if is_fortran else "C")

    return InMaking(build)


def _new_scalar(dtype: Any, data: Any) -> Any:
    _require(type(data) is bytes and len(data) == _dtype(dtype).itemsize and len(data) > 0)
    return np.frombuffer(data, _dtype(dtype))[0]


def _no_maker(*arguments: Any) -> Any:
    raise _damaged()


_INT, _LIST, _TEXT = (int,), (list,), (str,)
MAKERS: dict[str, Callable[..., Any]] = {
    "builtins.set": _checked(set, _LIST),
    "builtins.frozenset": _checked(frozenset, _LIST),
    "builtins.complex": _checked(complex, (float,), (float,)),
    "builtins.bytearray": _checked(bytearray, (bytes,)),
    "builtins.getattr": _attribute,
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.time": _time,
    "datetime.timedelta": _checked(timedelta, _INT, _INT, _INT),
    "datetime.timezone": _checked(timezone, (timedelta,), _TEXT),
    "zoneinfo.ZoneInfo": _no_maker,
    "zoneinfo.ZoneInfo._unpickle": _checked(_zone_by_key, _TEXT, (bool, int)),
    "decimal.Decimal": _checked(_decimal, _TEXT),
    "fractions.Fraction": _checked(_fraction, (int, str), _INT),
    "uuid.UUID": lambda: InMaking(_uuid_of),
    "numpy.ndarray": _no_maker,
    "numpy.dtype": _new_dtype,
    **{
        f"numpy.{core}.{name}": make
        for core in ("core", "_core")
        for name, make in (
            ("multiarray._reconstruct", _new_array),
            ("multiarray.scalar", _new_scalar),
            ("numeric._frombuffer", _array),
        )
    },
}
