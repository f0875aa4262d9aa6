"""``Packed``: any auto-packed Python value in one column."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Dialect

from ...errors import InvalidArgument, KohakuVaultError
from ...packing import ChunkedBytes, pack, unpack
from ..packed_path import PackedComparator
from .declared import DeclaredType

if TYPE_CHECKING:
    from .tracked_packed import TrackedPacked

__all__ = ["ENCODINGS", "Packed"]

ENCODINGS = (None, "msgpack", "cbor", "json", "pickle")


class Packed(DeclaredType):
    """A Python value stored as tagged bytes, equal and of the same type when read (:mod:`kohakuvault.packing`).

    Parameters
    ----------
    encoding
        ``"msgpack"``, ``"cbor"``, ``"json"`` or ``"pickle"`` for all values; by default each has the one that suits
        it. What the encoding would change is refused. Reading takes all of them.
    pickle
        Store objects of any class as pickles, and read them. A pickle can run any code when it is read: only for
        databases that nobody else writes to. It is not part of the schema: a reflected column never allows it.

    ``None`` is a value like any other and is stored as such; an SQL NULL, which only other writers make in
    a nullable column, reads as ``None`` too.
    """

    cache_ok = True
    # So that the ORM binds None through this type rather than as NULL.
    should_evaluate_none = True
    comparator_factory = PackedComparator

    def __init__(self, encoding: str | None = None, pickle: bool = False) -> None:
        if encoding not in ENCODINGS:
            raise InvalidArgument(f"{encoding!r} is no encoding: None, 'msgpack', 'cbor', 'json' and 'pickle' are")
        super().__init__()
        self.encoding = encoding
        self.pickle = pickle

    def __repr__(self) -> str:
        given = [repr(self.encoding)] if self.encoding else []
        return f"Packed({', '.join([*given, 'pickle=True'] if self.pickle else given)})"

    def tracked(self) -> TrackedPacked:
        """Return the same type for columns in whose dicts, lists and sets changes in place are noticed.

        They are :class:`~kohakuvault.orm.tracked.TrackedDict` and so on, as are those in them, at any depth: changing
        one marks the row as modified. They are stored as plain dicts, lists and sets.
        """
        from .tracked_packed import TrackedPacked

        return TrackedPacked(self.encoding, self.pickle)

    @property
    def declared_name(self) -> str:
        return self.encoding or "packed"

    @property
    def pack(self) -> Callable[[Any], bytes]:
        """The function that makes bytes of a value."""
        if self.encoding is None and not self.pickle:
            return pack
        return partial(pack, allow_pickle=self.pickle, encoding=self.encoding)

    @property
    def unpack(self) -> Callable[[Any], Any]:
        """The function that makes a value of bytes."""
        return partial(unpack, allow_pickle=True) if self.pickle else unpack

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        if self.encoding == "pickle" and not self.pickle:
            raise InvalidArgument("Packed('pickle') can neither write nor read; say Packed('pickle', pickle=True)")
        return self.pack

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        unpack = self.unpack
        return lambda data: None if data is None else unpack(data)

    def compare_values(self, x: Any, y: Any) -> bool:
        if x is y:
            return True
        try:
            # By bytes: == on arrays is an array, and 1 == True == 1.0 would hide a change of type.
            return self.pack(x) == self.pack(y)
        except KohakuVaultError:
            # What cannot be stored: the ORM's mark of a value that was not loaded, or a reference to chunks.
            return type(x) is type(y) is ChunkedBytes and bool(x == y)
