"""``Packed``: any auto-packed Python value in one column."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import LargeBinary, TypeDecorator, TypeEngine

from ...errors import InvalidArgument, KohakuVaultError
from ...packing import ChunkedBytes, pack, unpack
from ..packed_path import PackedComparator

__all__ = ["Packed"]

_ENCODINGS = (None, "msgpack", "cbor", "json", "pickle")


class Packed(TypeDecorator[Any]):
    """A Python value stored as tagged bytes, equal and of the same type when read (:mod:`kohakuvault.packing`).

    Parameters
    ----------
    encoding
        ``"msgpack"``, ``"cbor"``, ``"json"`` or ``"pickle"`` for all values; by default each has the one that suits
        it. What the encoding would change is refused. Reading takes all of them.
    pickle
        Store objects of any class as pickles, and read them. A pickle can run any code when it is read: only for
        databases that nobody else writes to.

    ``None`` is a value like any other and is stored as such; an SQL NULL, which only other writers make in
    a nullable column, reads as ``None`` too.
    """

    impl = LargeBinary
    cache_ok = True
    # So that the ORM binds None through this type rather than as NULL.
    should_evaluate_none = True
    comparator_factory = PackedComparator

    def __init__(self, encoding: str | None = None, pickle: bool = False) -> None:
        if encoding not in _ENCODINGS:
            raise InvalidArgument(f"{encoding!r} is no encoding: None, 'msgpack', 'cbor', 'json' and 'pickle' are")
        if encoding == "pickle" and not pickle:
            raise InvalidArgument("Packed(encoding='pickle') can neither write nor read; say pickle=True as well")
        super().__init__()
        self.encoding = encoding
        self.pickle = pickle

    def __repr__(self) -> str:
        given = [f"encoding={self.encoding!r}"] if self.encoding else []
        return f"Packed({', '.join([*given, 'pickle=True'] if self.pickle else given)})"

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

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return self.pack

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        pack = self.pack
        return lambda value: f"X'{pack(value).hex()}'" if dialect.name == "sqlite" else f"'\\x{pack(value).hex()}'"

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
