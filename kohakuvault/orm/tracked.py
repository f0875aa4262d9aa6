"""Dicts, lists and sets that tell the rows they belong to when they are changed in place.

What a column of ``Packed().tracked()`` has in it is made of these, at any depth; so is what is put into them, plain
dicts, lists and sets being copied. Each knows, weakly, the objects whose attribute it is and the tracked containers
that it is in. What is taken out of a container, or put elsewhere, belongs to where it is then.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

from sqlalchemy.orm.attributes import flag_modified
from typing_extensions import Self

from ..errors import InvalidArgument
from ..packing import Cbor, Json, MsgPack, Pickle

__all__ = ["Tracked", "TrackedDict", "TrackedList", "TrackedSet", "plain", "tracked"]

_WRAPPERS = (MsgPack, Json, Cbor, Pickle)


class Tracked:
    """What the tracked containers share. ``==``, iteration and reading are those of dict, list and set."""

    # The attributes that have this, by the state of each object.
    _owners: weakref.WeakKeyDictionary[Any, set[str]] | None = None
    # The containers that have this, by their id, and how many times: two items of a list may be the same.
    _holders: dict[int, tuple[weakref.ref[Any], int]] | None = None

    def changed(self) -> None:
        """Mark every row that this is part of as modified.

        For what changes unnoticed: an array, a bytearray or another object of your own that is in here.
        """
        seen = {id(self)}
        todo = [self]
        while todo:
            part = todo.pop()
            part._flag_owners()
            for reference, _ in list((part._holders or {}).values()):
                holder = reference()
                if holder is not None and id(holder) not in seen:
                    seen.add(id(holder))
                    todo.append(holder)

    def __packed_as__(self) -> Any:
        """Return what is stored: see :mod:`kohakuvault.packing`."""
        return plain(self)

    def _flag_owners(self) -> None:
        for state, keys in list((self._owners or {}).items()):
            for key in list(keys):
                owner = state.obj()
                # The attribute may have been expired, or deleted, since.
                if owner is not None and any(part is self for part in parts(state.dict.get(key))):
                    flag_modified(owner, key)
                else:
                    keys.discard(key)

    def _give_to(self, state: Any, key: str) -> None:
        if self._owners is None:
            self._owners = weakref.WeakKeyDictionary()
        self._owners.setdefault(state, set()).add(key)

    def _take_from(self, state: Any, key: str) -> None:
        if self._owners is not None and state in self._owners:
            self._owners[state].discard(key)

    def _put_into(self, holder: Tracked) -> None:
        if self._holders is None:
            self._holders = {}
        holders, place = self._holders, id(holder)
        found = holders.get(place)
        if found is not None and found[0]() is holder:
            holders[place] = (found[0], found[1] + 1)
            return

        def forget(reference: weakref.ref[Any]) -> None:
            if place in holders and holders[place][0] is reference:
                del holders[place]

        holders[place] = (weakref.ref(holder, forget), 1)

    def _take_out_of(self, holder: Tracked) -> None:
        found = (self._holders or {}).get(id(holder))
        if found is None or self._holders is None:
            return
        if found[1] == 1:
            del self._holders[id(holder)]
        else:
            self._holders[id(holder)] = (found[0], found[1] - 1)

    def _hold(self, value: Any) -> None:
        for part in parts(value):
            part._put_into(self)

    def _release(self, value: Any) -> None:
        for part in parts(value):
            part._take_out_of(self)


class TrackedDict(Tracked, dict[Any, Any]):
    """A dict that tells when it is changed."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__()
        if args or named:
            self._fill(dict(*args, **named))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def __setitem__(self, key: Any, value: Any) -> None:
        before = self.get(key)
        value = tracked(value)
        super().__setitem__(key, value)
        self._hold(value)
        self._release(before)
        self.changed()

    def __delitem__(self, key: Any) -> None:
        before = self.get(key)
        super().__delitem__(key)
        self._release(before)
        self.changed()

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]
        self.update(other)
        return self

    def update(self, *args: Any, **named: Any) -> None:
        """Update as a dict does."""
        self._fill(dict(*args, **named))
        self.changed()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, which is set if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key and return its value."""
        was_there = key in self
        value = super().pop(key, *default)
        if was_there:
            self._release(value)
            self.changed()
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove the last key and return it with its value."""
        key, value = super().popitem()
        self._release(value)
        self.changed()
        return key, value

    def clear(self) -> None:
        """Remove everything."""
        for value in self.values():
            self._release(value)
        super().clear()
        self.changed()

    def _fill(self, items: dict[Any, Any]) -> None:
        for key, item in items.items():
            before = self.get(key)
            value = tracked(item)
            super().__setitem__(key, value)
            self._hold(value)
            self._release(before)


class TrackedList(Tracked, list[Any]):
    """A list that tells when it is changed."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__([tracked(value) for value in values])
        for value in self:
            self._hold(value)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (list(self),)

    def __setitem__(self, index: Any, value: Any) -> None:
        before = self[index]
        if isinstance(index, slice):
            value = [tracked(item) for item in value]
            super().__setitem__(index, value)
            self._exchange(before, value)
        else:
            value = tracked(value)
            super().__setitem__(index, value)
            self._exchange([before], [value])

    def __delitem__(self, index: Any) -> None:
        before = self[index]
        super().__delitem__(index)
        self._exchange(before if isinstance(index, slice) else [before], ())

    def __iadd__(self, values: Iterable[Any]) -> Self:  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> Self:
        before = list(self)
        super().__imul__(times)
        self._exchange(before, self)
        return self

    def append(self, value: Any) -> None:
        """Add a value at the end."""
        value = tracked(value)
        super().append(value)
        self._exchange((), [value])

    def extend(self, values: Iterable[Any]) -> None:
        """Add values at the end."""
        added = [tracked(value) for value in values]
        super().extend(added)
        self._exchange((), added)

    def insert(self, index: SupportsIndex, value: Any) -> None:
        """Put a value before the index."""
        value = tracked(value)
        super().insert(index, value)
        self._exchange((), [value])

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Remove a value and return it."""
        value = super().pop(index)
        self._exchange([value], ())
        return value

    def remove(self, value: Any) -> None:
        """Remove the first that is equal."""
        del self[self.index(value)]

    def clear(self) -> None:
        """Remove everything."""
        before = list(self)
        super().clear()
        self._exchange(before, ())

    def sort(self, **options: Any) -> None:
        """Sort in place; ``key=`` and ``reverse=`` as those of a list."""
        try:
            super().sort(**options)
        finally:
            # Even if a comparison fails, the order may be another.
            self.changed()

    def reverse(self) -> None:
        """Reverse in place."""
        super().reverse()
        self.changed()

    def _exchange(self, before: Iterable[Any], after: Iterable[Any]) -> None:
        for value in after:
            self._hold(value)
        for value in before:
            self._release(value)
        self.changed()


class TrackedSet(Tracked, set[Any]):
    """A set that tells when it is changed. Nothing in it can change: its elements are hashable."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (set(self),)

    def __repr__(self) -> str:
        # As those of the others are.
        return repr(set(self))

    def add(self, value: Any) -> None:
        """Add an element."""
        super().add(value)
        self.changed()

    def remove(self, value: Any) -> None:
        """Remove an element, which is there."""
        super().remove(value)
        self.changed()

    def discard(self, value: Any) -> None:
        """Remove an element if it is there."""
        super().discard(value)
        self.changed()

    def pop(self) -> Any:
        """Remove some element and return it."""
        value = super().pop()
        self.changed()
        return value

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        self.changed()

    def update(self, *others: Iterable[Any]) -> None:
        """Add the elements of others."""
        super().update(*others)
        self.changed()

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keep what is in all others."""
        super().intersection_update(*others)
        self.changed()

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove what is in any other."""
        super().difference_update(*others)
        self.changed()

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        """Keep what is in one of the two alone."""
        super().symmetric_difference_update(other)
        self.changed()

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]
        return self._combined(set.__ior__, other)

    def __iand__(self, other: Any) -> Self:  # type: ignore[misc]
        return self._combined(set.__iand__, other)

    def __isub__(self, other: Any) -> Self:  # type: ignore[misc]
        return self._combined(set.__isub__, other)

    def __ixor__(self, other: Any) -> Self:  # type: ignore[misc]
        return self._combined(set.__ixor__, other)

    def _combined(self, operation: Any, other: Any) -> Self:
        result: Self = operation(self, other)
        self.changed()
        return result


def tracked(value: Any) -> Any:
    """Return a dict, list or set as a tracked one, with everything in it; a tuple of such; anything else as it is.

    What is tracked already stays the same object. A container that contains itself is an :class:`InvalidArgument`.
    """
    try:
        return _tracked(value)
    except RecursionError:
        raise _endless() from None


def _tracked(value: Any) -> Any:
    # One frame of Python for each level, so that all that can be packed can be tracked.
    kind = type(value)
    if kind is dict:
        new_dict = TrackedDict()
        for key, item in value.items():
            part = _tracked(item)
            dict.__setitem__(new_dict, key, part)
            new_dict._hold(part)
        return new_dict
    if kind is list:
        new_list = TrackedList()
        for item in value:
            part = _tracked(item)
            list.append(new_list, part)
            new_list._hold(part)
        return new_list
    if kind is set:
        return TrackedSet(value)
    if kind is tuple:
        items = []
        for item in value:
            items.append(_tracked(item))  # noqa: PERF401 (no frame of a comprehension)
        return value if all(map(operator.is_, items, value)) else tuple(items)
    return value


def plain(value: Any) -> Any:
    """Return the value with plain dicts, lists and sets in place of tracked ones.

    A container that contains itself is an :class:`InvalidArgument`.
    """
    try:
        return _plain(value)
    except RecursionError:
        raise _endless() from None


def _endless() -> InvalidArgument:
    return InvalidArgument("a value is nested too deep, or has a container that contains itself: it cannot be stored")


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is TrackedDict or kind is dict:
        new_dict = {}
        for key, item in value.items():
            new_dict[key] = _plain(item)
        return new_dict
    if kind is TrackedList or kind is list:
        new_list = []
        for item in value:
            new_list.append(_plain(item))  # noqa: PERF401 (no frame of a comprehension)
        return new_list
    if kind is TrackedSet:
        return set(value)
    if kind is tuple:
        items = []
        for item in value:
            items.append(_plain(item))  # noqa: PERF401
        return tuple(items)
    return kind(_plain(value.value)) if kind in _WRAPPERS else value


def parts(value: Any) -> Iterator[Tracked]:
    """Return the tracked containers that a value is, or that are in it if it is a tuple."""
    if isinstance(value, Tracked):
        yield value
    elif type(value) is tuple:
        for item in value:
            yield from parts(item)
