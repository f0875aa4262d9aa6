"""The dtypes of old columns: which of ours holds their elements, and how the bytes become those.

======================  =====================  ===================================================
old                     new
======================  =====================  ===================================================
``i8`` … ``f64``        the same               ``bool`` too
``f16``                 ``f32``                every float16 is a float32
``bytes``, ``bytes:N``  the same               the padding is kept
``str``, ``str:utf8``   ``str:utf8``           ``utf16le``, ``utf16be``, ``latin1`` and ``ascii`` likewise
``str:<other codec>``   ``str:utf8``           the same text
``str:N:<encoding>``    the same               of another codec ``str:utf8``
``msgpack``, ``cbor``   the same               ``msgpack:N``, ``cbor:N`` too, without the padding
``vec:<T>:<dims>``      the same               of ``f16`` ``vec:f32:<dims>``
``vec:<T>``             the same
======================  =====================  ===================================================
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from ..column.elements import elements_of
from ..errors import InvalidArgument, KohakuVaultError
from ..packing import unpack_cbor, unpack_msgpack
from .arrays import NUMPY, array_of, type_byte
from .cbor_end import end_of_cbor
from .source import Damaged

__all__ = ["Decoding", "decoding_of"]

# What our encodings are called by codecs.
_OURS = {
    "utf-8": "utf8",
    "utf-16-le": "utf16le",
    "utf-16-be": "utf16be",
    "iso8859-1": "latin1",
    "ascii": "ascii",
}
_CODECS = {"utf16le": "utf-16-le", "utf16be": "utf-16-be"}

# Their decoders take time that grows with the square of the length.
_SLOW = frozenset(("idna", "punycode"))

Refuse = Callable[[str, int], None]


@dataclass(frozen=True)
class Decoding:
    """How the bytes of a column become elements of ours.

    Attributes
    ----------
    dtype
        Ours.
    size
        Bytes of each old element; None where they differ.
    run
        Gives the elements of bytes with whole elements, of equal size.
    one
        Gives one element, where a run is no array.
    zero
        The element that stands for one that cannot be read.
    """

    dtype: str
    size: int | None
    zero: Any
    one: Callable[[bytes], Any] | None = None
    run: Callable[[bytes, Refuse], Any] | None = None

    def elements(self, data: bytes, refuse: Refuse) -> Any:
        """Return the elements of ``data``, which are of equal size; tell ``refuse`` of each that cannot be read."""
        if self.run is not None:
            return self.run(data, refuse)
        assert self.size is not None
        return self.items([data[at : at + self.size] for at in range(0, len(data), self.size)], refuse)

    def items(self, parts: Sequence[bytes | None], refuse: Refuse) -> list[Any]:
        """Return the elements that have these bytes; tell ``refuse`` of each that cannot be read."""
        assert self.one is not None
        values = []
        for index, part in enumerate(parts):
            try:
                if part is None:
                    raise Damaged("the index leads to bytes that there are not")
                values.append(self.one(part))
            except (Damaged, KohakuVaultError, ValueError, RecursionError, MemoryError) as error:
                reason = str(error) if isinstance(error, (Damaged, KohakuVaultError)) else type(error).__name__
                refuse(f"damaged: {reason:.200}", index)
                values.append(self.zero)
        return values


def decoding_of(dtype: str, *, with_type_byte: bool) -> Decoding:
    """Return how elements of the old ``dtype`` are read; raise :class:`Damaged` if there is no such dtype.

    ``with_type_byte``: whether vectors of one shape have their type in front, as they have in 0.8.6.
    """
    kind, *rest = dtype.split(":")
    try:
        if not rest and kind in NUMPY:
            found = _numbers(kind)
        elif kind in ("vec", "vector") and rest:
            found = _vectors(rest[0], tuple(map(_count, rest[1:])), with_type_byte)
        elif kind == "bytes" and len(rest) <= 1:
            found = _bytes(_count(rest[0]) if rest else 0)
        elif kind in ("str", "string") and len(rest) <= 2:
            found = _text(rest)
        elif kind in ("msgpack", "cbor") and len(rest) <= 1:
            found = _values(kind, _count(rest[0]) if rest else 0)
        else:
            raise Damaged(f"the dtype {dtype!a:.60}, which neither release has")
        elements_of(found.dtype)
    except (InvalidArgument, LookupError, ValueError) as error:
        raise Damaged(f"the dtype {dtype!a:.60} cannot be one: {error!s:.100}") from error
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 10:
        raise ValueError(f"{text!a:.20} is no size")
    return int(text)


def _numbers(kind: str) -> Decoding:
    return Decoding(_new_number(kind), NUMPY[kind].itemsize, 0, run=lambda data, refuse: _array(data, kind))


def _new_number(kind: str) -> str:
    return "f32" if kind == "f16" else kind


def _array(data: Any, kind: str) -> Any:
    if kind == "bool":
        # As those releases read it.
        return np.frombuffer(data, np.uint8) != 0
    array = np.frombuffer(data, NUMPY[kind])
    return array.astype(np.float32) if kind == "f16" else array


def _vectors(kind: str, shape: tuple[int, ...], with_type_byte: bool) -> Decoding:
    if kind not in NUMPY:
        raise ValueError(f"{kind!a:.20} is no type of elements")
    if not shape:
        empty = np.zeros(0, NUMPY[kind])
        return Decoding(f"vec:{kind}", None, empty, one=lambda data: array_of(data, kind))
    new = ":".join(map(str, ("vec", _new_number(kind), *shape)))
    size = math.prod(shape) * NUMPY[kind].itemsize
    if not with_type_byte:
        return Decoding(new, size, 0, run=lambda data, refuse: _array(data, kind).reshape(-1, *shape))

    expected = type_byte(kind)

    def run(data: Any, refuse: Refuse) -> Any:
        rows = np.frombuffer(data, np.uint8).reshape(-1, size + 1)
        wrong = rows[:, 0] != expected
        items = np.ascontiguousarray(rows[:, 1:])
        items[wrong] = 0
        for index in np.flatnonzero(wrong).tolist():
            refuse("damaged: the type byte of a vector is another's", index)
        return _array(items.reshape(-1), kind).reshape(-1, *shape)

    return Decoding(new, size + 1, 0, run=run)


def _bytes(size: int) -> Decoding:
    if size:
        return Decoding(f"bytes:{size}", size, b"\0" * size, one=bytes)
    return Decoding("bytes", None, b"", one=bytes)


def _text(rest: list[str]) -> Decoding:
    size = _count(rest[0]) if rest and rest[0].isdecimal() else None
    given = rest[-1] if rest and not rest[-1].isdecimal() else "utf8"
    codec = codecs.lookup(_CODECS.get(given, given))
    if codec.name in _SLOW or not codec._is_text_encoding:
        raise LookupError(f"{given!a:.20} is no encoding of text")
    ours = _OURS.get(codec.name)
    name = codec.name

    def one(data: bytes) -> str:
        text = str(data, name)
        return text.rstrip("\0") if size else text

    if size:
        return Decoding(f"str:{size}:{ours}" if ours else "str:utf8", size, "", one=one)
    return Decoding(f"str:{ours or 'utf8'}", None, "", one=one)


def _values(kind: str, size: int) -> Decoding:
    unpack, end = (unpack_msgpack, _end_of_msgpack) if kind == "msgpack" else (unpack_cbor, end_of_cbor)
    if not size:
        return Decoding(kind, None, None, one=unpack)

    def one(data: bytes) -> Any:
        stop = end(data)
        if data[stop:].strip(b"\0"):
            raise Damaged("other bytes than padding behind a value")
        return unpack(data[:stop])

    return Decoding(kind, size, None, one=one)


def _end_of_msgpack(data: bytes) -> int:
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    try:
        unpacker.skip()
    except (msgpack.UnpackException, ValueError) as error:
        raise Damaged("stored value is not valid MessagePack") from error
    return int(unpacker.tell())
