"""Paths into packed values: what a dict or list in a column holds, as SQL expressions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Numeric,
    String,
    TypeDecorator,
    bindparam,
    func,
    literal_column,
)
from sqlalchemy.sql.operators import ColumnOperators, in_op, not_in_op
from sqlalchemy.types import TypeEngine

from .. import _native
from ..errors import InvalidArgument

__all__ = ["PackedComparator", "PackedPath"]

MAX_STEPS = 512
_INT64 = range(-(1 << 63), 1 << 63)
_ACCESSORS = "as_string(), as_integer(), as_float() or as_boolean()"

# By the type of the value that it is compared with; bool before int, which it is a subclass of.
_BY_VALUE = ((bool, "as_boolean"), (str, "as_string"), (int, "as_integer"), (float, "as_float"))
_BY_COLUMN = ((Boolean, "as_boolean"), (String, "as_string"), (Integer, "as_integer"), (Numeric, "as_float"))


class _Accessors:
    """What both a column of packed values and a path in it have; they say where that is."""

    def _place(self) -> tuple[ColumnElement[Any], tuple[str | int, ...]]:
        raise NotImplementedError

    def _value(self, function: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        column, steps = self._place()
        return getattr(func, function)(column, _path_literal(steps), type_=type_)  # type: ignore[no-any-return]

    def as_string(self) -> ColumnElement[str | None]:
        """Return the str that is there; NULL if something else is, or nothing, or a str with a NUL character."""
        return self._value("kv_text", String())

    def as_integer(self) -> ColumnElement[int | None]:
        """Return the int that is there; NULL if something else is (a float or bool, say), or it exceeds 64 bits."""
        return self._value("kv_integer", BigInteger())

    def as_float(self) -> ColumnElement[float | None]:
        """Return the float, or the int of 64 bits as a float, that is there; NULL if something else is, or NaN."""
        return self._value("kv_real", Float(53))

    def as_boolean(self) -> ColumnElement[bool | None]:
        """Return the bool that is there; NULL if something else is."""
        return self._value("kv_boolean", Boolean())

    def contains(self, other: Any, **kw: Any) -> ColumnElement[bool]:
        """Whether the value that is there contains ``other``, as PostgreSQL's ``@>`` means it for ``jsonb``.

        A dict contains a dict if it has all its keys with values that contain the other's. A list, tuple or set
        contains one if each item of the other is contained in some item; and any item that is no container itself.
        Everything else contains what is equal to it: ints and floats by their value, other types by their stored bytes.
        NULL if nothing is there.

        Parameters
        ----------
        other
            A value that the column takes, nested at most 100 deep; or an expression of a packed value.
        """
        if kw.get("autoescape") or kw.get("escape"):
            raise InvalidArgument("escape= is for texts: say as_string() first to search in the text that is there")
        column, steps = self._place()
        arguments = [column, _part(other, column.type)]
        if steps:
            arguments.append(_path_literal(steps))
        return func.kv_contains(*arguments, type_=Boolean())


class PackedPath(_Accessors, ColumnOperators):
    """A place in the values of a packed column: ``Doc.meta["a"][0]``. It is an expression once it has a type.

    A str step is the key of a dict; an int step is a position in a list or tuple, from the end if it is negative, or an
    int key of a dict. Comparing it with a str, bool, int or float gives it that type; anything else needs
    ``as_string()``, ``as_integer()``, ``as_float()`` or ``as_boolean()``.
    """

    __slots__ = ("_column", "_steps")

    def __init__(self, column: ColumnElement[Any], steps: tuple[str | int, ...]) -> None:
        self._column = column
        self._steps = steps

    def __repr__(self) -> str:
        return f"<path {self._column}{''.join(f'[{step!r}]' for step in self._steps)}>"

    def __getitem__(self, step: Any) -> PackedPath:
        return PackedPath(self._column, (*self._steps, _check_step(step, len(self._steps))))

    def __bool__(self) -> NoReturn:
        # As of every expression: `if Doc.meta["x"]` would always be true.
        raise TypeError(
            f"{self!r} is neither true nor false in Python: compare it, or say as_boolean(), in a statement"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self!r} is a place in a column and cannot be iterated over")

    def __clause_element__(self) -> NoReturn:
        self._refuse("has no type of its own")

    # Comparing makes an expression, so it is found by identity in sets and dicts.
    __hash__ = ColumnOperators.__hash__

    def _place(self) -> tuple[ColumnElement[Any], tuple[str | int, ...]]:
        return self._column, self._steps

    # The two methods through which all operators of SQLAlchemy go.

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:  # noqa: D102
        return op(self._typed_as(op, other), *other, **kwargs)

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._typed_as(op, (other,)).reverse_operate(op, other, **kwargs)

    def _typed_as(self, op: Any, others: tuple[Any, ...]) -> ColumnElement[Any]:
        """Return the typed expression that can be compared with all ``others``."""
        values = others
        if op in {in_op, not_in_op} and isinstance(others[0], (list, tuple, set, frozenset)):
            values = tuple(others[0])
        accessors = {self._accessor_for(value) for value in values}
        if accessors == {"as_integer", "as_float"}:
            accessors = {"as_float"}
        if len(accessors) != 1:
            name = getattr(op, "__name__", "this")
            self._refuse(f"cannot tell its type for {name}" if not accessors else "is compared with several types")
        return getattr(self, accessors.pop())()  # type: ignore[no-any-return]

    def _accessor_for(self, value: Any) -> str:
        if value is None:
            raise InvalidArgument(
                f"{self!r} is compared with None. Where there is no str (or int, …), as_string().is_(None) (or "
                "as_integer()…) is true; contains(None) is where a None is stored"
            )
        if type(value) is int and value not in _INT64:
            raise InvalidArgument(
                f"{self!r} is compared with {value}, which has more than 64 bits; contains() finds it"
            )
        if hasattr(value, "__clause_element__"):
            value = value.__clause_element__()
        known, by_type = (value.type, _BY_COLUMN) if isinstance(value, ColumnElement) else (value, _BY_VALUE)
        for class_, accessor in by_type:
            if isinstance(known, class_):
                return accessor
        self._refuse(
            f"is compared with {value!r:.60} of type {type(value).__name__}; that needs a str, bool, int or float, or "
            "contains()"
        )

    def _refuse(self, what: str) -> NoReturn:
        raise InvalidArgument(f"{self!r} {what}: say {_ACCESSORS} to use what is there")


class PackedComparator(_Accessors, TypeDecorator.Comparator[Any]):
    """What a column of type :class:`~kohakuvault.orm.types.Packed` can be asked: ``Doc.meta["a"].as_string()``.

    Without a step the accessors are about the stored value itself.
    """

    def __getitem__(self, step: Any) -> PackedPath:
        return PackedPath(self.expr, (_check_step(step, 0),))

    def _place(self) -> tuple[ColumnElement[Any], tuple[str | int, ...]]:
        return self.expr, ()


def _check_step(step: Any, depth: int) -> str | int:
    if depth >= MAX_STEPS:
        raise InvalidArgument(f"a path has at most {MAX_STEPS} steps, for values are nested no deeper")
    if isinstance(step, int) and not isinstance(step, bool):
        if step not in _INT64:
            raise InvalidArgument(f"a position or int key in a path has 64 bits; {step} has more")
        return int(step)
    if not isinstance(step, str):
        raise InvalidArgument(
            f"{step!r:.60} of type {type(step).__name__} is no step of a path: a str is a key, an int a position or key"
        )
    key = str(step)
    if "\0" in key:
        raise InvalidArgument(f"the key {key!r:.60} has a NUL character, which SQL text cannot have")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"the key {key!r:.60} is no Unicode text: {error}") from error
    return key


def _path_literal(steps: Iterable[str | int]) -> ColumnElement[str]:
    """Return a path as SQL text, so that expression indexes match and the statement cache tells paths apart."""
    path = json.dumps(list(steps), ensure_ascii=False).replace("'", "''")
    # SQLAlchemy and drivers look for %(name)s in the whole text of a statement.
    path = path.replace("%", "\\u0025")
    return literal_column(f"'{path}'", String())


def _part(value: Any, type_: Any) -> ColumnElement[Any]:
    if isinstance(value, PackedPath):
        raise InvalidArgument(f"{value!r} cannot be what is looked for: a value can, or a column of packed values")
    if hasattr(value, "__clause_element__"):
        value = value.__clause_element__()
    if isinstance(value, ColumnElement):
        return value
    packed = type_.pack(value)
    if _native.packed_contains(packed, packed) is None:
        raise InvalidArgument("contains() looks for values that are nested at most 100 deep")
    return bindparam(None, value, type_=type_, unique=True)
