"""Values as JSON: those that come back equal and of the same type."""

from __future__ import annotations

import json
import math
from typing import Any

from .errors import InvalidArgument, UnsupportedType

__all__ = ["dumps", "loads"]

loads = json.loads


def dumps(value: Any, max_depth: int) -> bytes:
    """Return ``value`` as JSON in UTF-8; raise :class:`UnsupportedType` for what JSON would change."""
    _check(value, max_depth)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"text with lone surrogates cannot be stored: {error}; encode it to bytes with 'surrogatepass'"
        ) from error
    except ValueError as error:  # an int with more digits than Python converts
        raise InvalidArgument(f"cannot pack as JSON: {error}") from error


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return
    if kind is float:
        if math.isfinite(value):
            return
        raise UnsupportedType(f"cannot store {value!r} as JSON, which has finite numbers only; use MessagePack")
    if kind is not list and kind is not dict:
        raise UnsupportedType(
            f"cannot store a value of type {kind.__module__}.{kind.__qualname__} as JSON, which would change it: str, "
            "bool, int, finite float, None, list and dict with str keys are taken. Convert it first, or use MessagePack"
        )
    if depth == 0:
        raise InvalidArgument("cannot pack as JSON: nested deeper than 100 levels, or a container that contains itself")
    if kind is list:
        for item in value:
            _check(item, depth - 1)
        return
    for key, item in value.items():
        if type(key) is not str:
            raise UnsupportedType(
                f"cannot store a dict with the key {key!r:.60} as JSON, whose keys are str; use MessagePack"
            )
        _check(item, depth - 1)
