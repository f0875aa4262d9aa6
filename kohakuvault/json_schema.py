"""JSON schemas that packed values are held to."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

from .errors import InvalidArgument, UnsupportedType

__all__ = ["compiled"]

_MAX_DEPTH = 100
_MOST_ERRORS = 10


def compiled(schema: Any) -> tuple[str, Callable[[Any], None]]:
    """Return ``schema`` as JSON with sorted keys, and a function that raises for values that it does not allow.

    Takes a dict, a bool or JSON text. References lead only to parts of the schema: nothing is fetched.
    """
    import jsonschema_rs

    text = _text_of(schema)
    try:
        validator = jsonschema_rs.validator_for(json.loads(text), retriever=_refuse)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise InvalidArgument(f"Schema compilation failed: {_message_of(error)}") from error

    def check(value: Any) -> None:
        try:
            if validator.is_valid(value):
                return
            problems = [_described(problem) for problem in islice(validator.iter_errors(value), _MOST_ERRORS + 1)]
        except ValueError as error:  # a value of a type that JSON does not have
            raise UnsupportedType(f"a JSON schema cannot judge {value!r:.60}: {_message_of(error)}") from error
        more = "; and more" if len(problems) > _MOST_ERRORS else ""
        raise InvalidArgument(f"Validation errors: {'; '.join(sorted(problems[:_MOST_ERRORS]))}{more}")

    return text, check


def _text_of(schema: Any) -> str:
    if not isinstance(schema, (dict, bool, str)):
        raise UnsupportedType(f"a JSON schema is a dict, a bool or JSON text, not {schema!r:.60}")
    try:
        parsed = json.loads(schema) if isinstance(schema, str) else schema
        text = json.dumps(parsed, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the schema is no JSON: {error}") from error
    if _is_deeper(parsed, _MAX_DEPTH):
        raise InvalidArgument(f"the schema is nested deeper than {_MAX_DEPTH} levels")
    return text


def _is_deeper(value: Any, depth: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return depth < 0 or any(_is_deeper(item, depth - 1) for item in items)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is not part of the schema; put what it refers to under $defs")


def _described(problem: Any) -> str:
    path = "".join(f"[{part!r}]" for part in problem.instance_path)
    return f"at {path}: {problem.message}" if path else str(problem.message)


def _message_of(error: BaseException) -> str:
    return str(getattr(error, "message", error)).split("\n", 1)[0]
