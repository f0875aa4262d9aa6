"""Pickles of plain data, read without :mod:`pickle`: nothing is imported, looked up or called for them.

The old releases pickled None, tuples, sets, complex numbers, dates, and dicts and lists with bytes or arrays in them.
A pickle is a program for a stack machine. This one knows the instructions that build such values, and of all names that
a pickle can ask for only those in :data:`~kohakuvault.legacy.pickled_types.MAKERS`, which are functions of ours that
check what they are given.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from typing import Any

from .pickled_types import MAKERS, InMaking, Name, NotPlain, TooLarge

__all__ = ["NotPlain", "TooLarge", "plain_value"]

# Levels of containers, as of values that are stored; hashing deeper ones would exhaust the interpreter's stack.
_DEEPEST = 500

# A pickle can name one part many times, and so hold more than fits any memory: nodes, and bytes of text and bytes.
_LARGEST = 1 << 26

_MARK: Any = object()


def plain_value(data: bytes) -> Any:
    """Return the value of a pickle of plain data.

    Raises
    ------
    NotPlain
        if it holds anything else, or is damaged.
    """
    try:
        return _Machine(max(_LARGEST, 4 * len(data))).run(data)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise NotPlain(f"damaged: {type(error).__name__}") from error
    except (RecursionError, MemoryError) as error:
        raise NotPlain("more than memory can hold") from error


class _Machine:
    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._stack: list[Any] = []
        self._memo: list[Any] = []
        # Levels and size, by identity, of containers, which are kept.
        self._measures: dict[int, tuple[int, int]] = {}
        self._kept: list[Any] = []
        # By identity: containers that were taken from the memo, and tuples of arguments, which are no data.
        self._fetched: set[int] = set()
        self._arguments: set[int] = set()

    def run(self, data: bytes) -> Any:
        for opcode, argument, position in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                if position != len(data) - 1 or len(self._stack) != 1:
                    raise NotPlain("damaged: bytes behind its end")
                return self._finished(self._stack[0])
            if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                self._stack.append(argument)
            elif name not in _IGNORED:
                step = _STEPS.get(name)
                if step is None:
                    raise NotPlain(f"the instruction {name}")
                step(self, argument)
        raise NotPlain("damaged: no end")

    # -- the stack -----------------------------------------------------------------------------

    def _popped(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise NotPlain("damaged: a mark where a value should be")
        return value

    def _since_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    def _finished(self, value: Any) -> Any:
        """Return what is data: what was made in two steps when it is; raise for what is not."""
        if type(value) is InMaking:
            return value.finished()
        if type(value) is Name or value is _MARK or id(value) in self._arguments:
            raise NotPlain("damaged: a name where data should be")
        return value

    def _push(self, value: Any, parts: Sequence[Any] = ()) -> None:
        self._measure(value, parts)
        self._stack.append(value)

    def _measure(self, container: Any, parts: Sequence[Any]) -> None:
        """Add ``parts`` to the measures of ``container``; raise if it is nested too deep, or too large."""
        levels, size = self._measures.get(id(container), (1, 1))
        for part in parts:
            some_levels, some_size = self._measures.get(id(part), (0, 1))
            levels = max(levels, 1 + some_levels)
            size += some_size + (len(part) if isinstance(part, (str, bytes, bytearray)) else 0)
        if levels > _DEEPEST or size > self._largest:
            raise TooLarge("nested too deep, or too large")
        if id(container) not in self._measures:
            self._kept.append(container)
        self._measures[id(container)] = levels, size

    def _filled(self, kind: type[Any], parts: Sequence[Any]) -> Any:
        """Return the container on the stack, which ``parts`` go into."""
        target = self._stack[-1]
        # What came from the memo may be in another container, or be its own part.
        if type(target) is not kind or id(target) in self._fetched:
            raise TooLarge("a container that is in itself")
        self._measure(target, parts)
        return target

    # -- instructions --------------------------------------------------------------------------

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def memoize(self, _: Any) -> None:
        self._memo.append(self._stack[-1])

    def get(self, number: Any) -> None:
        value = self._memo[number]
        self._fetched.add(id(value))
        self._stack.append(value)

    def tuple_of(self, count: int | None) -> None:
        parts = self._since_mark() if count is None else [self._popped() for _ in range(count)][::-1]
        if any(type(part) is Name or (type(part) is InMaking and not part.is_data) for part in parts):
            made = tuple(parts)
            self._arguments.add(id(made))
        else:
            # () is always the same object.
            made = tuple(self._finished(part) for part in parts)
        self._push(made, made)

    def append(self, several: bool) -> None:
        parts = [self._finished(part) for part in (self._since_mark() if several else [self._popped()])]
        self._filled(list, parts).extend(parts)

    def set_items(self, several: bool) -> None:
        parts = self._since_mark() if several else [self._popped(), self._popped()][::-1]
        parts = [self._finished(part) for part in parts]
        self._filled(dict, parts).update(zip(parts[::2], parts[1::2], strict=True))

    def add_items(self, _: Any) -> None:
        parts = [self._finished(part) for part in self._since_mark()]
        self._filled(set, parts).update(parts)

    def frozen(self, _: Any) -> None:
        parts = [self._finished(part) for part in self._since_mark()]
        self._push(frozenset(parts), parts)

    def name(self, _: Any) -> None:
        attribute, module = self._popped(), self._popped()
        name = f"{module}.{attribute}"
        if name not in MAKERS:
            raise NotPlain(f"{name:.100}")
        self._stack.append(Name(name))

    def call(self, _: Any) -> None:
        arguments, called = self._popped(), self._popped()
        if type(called) is not Name or type(arguments) is not tuple:
            raise NotPlain("damaged: a call of what is no name")
        self._push(MAKERS[called.name](*arguments), [arguments])

    def new(self, _: Any) -> None:
        arguments, kind = self._popped(), self._popped()
        if type(kind) is not Name or kind.name != "uuid.UUID" or arguments != ():
            raise NotPlain("a new object of a class")
        self._push(MAKERS[kind.name]())

    def build(self, _: Any) -> None:
        state, target = self._popped(), self._stack[-1]
        if type(target) is not InMaking:
            raise NotPlain(f"the state of a {type(target).__name__}")
        target.build(state)
        self._measure(target, [state])


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BYTEARRAY8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    )
)
_IGNORED = frozenset(("PROTO", "FRAME"))
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "EMPTY_SET": lambda machine, _: machine._push(set()),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": lambda machine, _: machine.tuple_of(None),
    "APPEND": lambda machine, _: machine.append(False),
    "APPENDS": lambda machine, _: machine.append(True),
    "SETITEM": lambda machine, _: machine.set_items(False),
    "SETITEMS": lambda machine, _: machine.set_items(True),
    "ADDITEMS": _Machine.add_items,
    "FROZENSET": _Machine.frozen,
    "STACK_GLOBAL": _Machine.name,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.new,
    "BUILD": _Machine.build,
}
