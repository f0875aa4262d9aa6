"""Auto-pack: a Python value to tagged bytes and back, equal and of the same type.

A stored value is one tag byte and its payload (``docs/format.md`` specifies each). Tags are never
guessed from payload bytes, so no value can be mistaken for another, and nothing here ever unpickles.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import cbor2
import msgpack
import numpy as np

from .errors import CorruptValue, InvalidArgument, UnsupportedType

__all__ = ["pack", "pack_cbor", "pack_msgpack", "unpack", "unpack_cbor", "unpack_msgpack"]

# One byte in front of every stored value. Tags are part of the file format: never renumber.
BYTES, TEXT, NONE, FALSE, TRUE, INT, FLOAT = range(7)
MSGPACK, CBOR, JSON, ARRAY, PICKLE, SCALAR = range(7, 13)

# MessagePack extension types for what MessagePack itself would lose. Also part of the format.
# A tuple is an array whose first element is an empty EXT_TUPLE: nesting it as the extension's payload would
# need a decoder inside a decoder, and msgpack's takes 40 kB of C stack.
EXT_TUPLE, EXT_INT, EXT_ARRAY, EXT_SCALAR = range(1, 5)

# Nesting that can be written; it also catches containers that contain themselves.
MAX_DEPTH = 256

_MAX_DIMENSIONS = 64  # numpy's own limit
_STORABLE_DTYPE = re.compile(r"[<>|](b1|[iu][1248]|f[248]|c8|c16|[mM]8(\[\w+\])?|[SU][1-9]\d{0,8})")
_DOUBLE = struct.Struct("<d")


def pack(value: Any) -> bytes:
    """Return ``value`` as one tag byte and its payload.

    Takes ``bytes``, ``str``, ``bool``, ``int`` of any size, ``float``, ``None``, ``dict``, ``list`` and
    ``tuple`` of such values nested up to 256 deep, and numpy arrays and scalars of bool, integer, float,
    complex, datetime and fixed-width string dtypes, also nested.

    Raises
    ------
    UnsupportedType
        (a ``TypeError``) for any other type, subclasses of these included, because they would not come
        back as the same type.
    InvalidArgument
        (a ``ValueError``) for text with lone surrogates and for nesting that is too deep or cyclic.

    >>> unpack(pack({"name": "Alice", "scores": (1, 2.5)}))
    {'name': 'Alice', 'scores': (1, 2.5)}
    """
    packer = _PACKERS.get(type(value))
    if packer is not None:
        return packer(value)
    if isinstance(value, np.generic):
        return _SCALAR_TAG + _array_payload(np.asarray(value))
    _refuse(value)


def unpack(data: bytes) -> Any:
    """Return the value that :func:`pack` made ``data`` from.

    Raises
    ------
    CorruptValue
        when ``data`` cannot have been written by :func:`pack`.
    """
    try:
        unpacker = _UNPACKERS[data[0]]
    except (IndexError, TypeError):
        raise CorruptValue(
            f"stored value {_short(data)} does not begin with a known tag: it was written by something else, "
            "or is damaged"
        ) from None
    return unpacker(data)


def pack_msgpack(value: Any) -> bytes:
    """Return ``value`` as MessagePack; tuples, big ints and numpy values travel as extension types."""
    _check_nested(value, _MSGPACK_LEAVES, "MessagePack", MAX_DEPTH)
    return _msgpack(value)


def unpack_msgpack(data: bytes | memoryview) -> Any:
    """Return the value that :func:`pack_msgpack`, or any MessagePack writer, made ``data`` from."""
    try:
        if _TUPLE_MARK in bytes(data):
            return _Tuples().unpack(data)
        return _unpackb(data, ext_hook=_from_extension, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise CorruptValue(f"stored value is not valid MessagePack: {str(error) or type(error).__name__}") from error


def pack_cbor(value: Any) -> bytes:
    """Return ``value`` as CBOR (RFC 8949); types that CBOR would change are refused."""
    _check_nested(value, _CBOR_LEAVES, "CBOR", MAX_DEPTH)
    try:
        return cbor2.dumps(value)
    except UnicodeEncodeError as error:
        raise _surrogates(error) from error


def unpack_cbor(data: bytes | memoryview) -> Any:
    """Return the value that :func:`pack_cbor`, or any CBOR writer, made ``data`` from."""
    try:
        return cbor2.loads(bytes(data))
    except (ValueError, TypeError, RecursionError, MemoryError, OverflowError, EOFError) as error:
        raise CorruptValue(f"stored value is not valid CBOR: {str(error) or type(error).__name__}") from error
    except cbor2.CBORDecodeError as error:
        raise CorruptValue(f"stored value is not valid CBOR: {error}") from error


def _refuse(value: Any) -> NoReturn:
    kind = type(value)
    raise UnsupportedType(
        f"cannot store {_short(value)} of type {kind.__module__}.{kind.__qualname__}: a stored value comes back "
        "as the same type, so only bytes, str, bool, int, float, None, dict, list, tuple and numpy arrays and "
        "scalars are taken. Convert it first, for instance with dict(...), list(...) or bytes(...)"
    )


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def _surrogates(error: UnicodeEncodeError) -> InvalidArgument:
    return InvalidArgument(
        f"text with lone surrogates cannot be stored: {error}; encode it to bytes with 'surrogatepass'"
    )


# -- packing ---------------------------------------------------------------------------------------

_packb = msgpack.packb
_unpackb = msgpack.unpackb

_TUPLE = msgpack.ExtType(EXT_TUPLE, b"")
_TUPLE_MARK: bytes = msgpack.packb(_TUPLE)
_MSGPACK_TAG, _ARRAY_TAG, _SCALAR_TAG = bytes([MSGPACK]), bytes([ARRAY]), bytes([SCALAR])


def _pack_text(value: str) -> bytes:
    try:
        return b"\x01" + value.encode()
    except UnicodeEncodeError as error:
        raise _surrogates(error) from error


def _int_payload(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _array_payload(array: np.ndarray[Any, Any]) -> bytes:
    name = array.dtype.str
    if array.dtype.names or array.dtype.subdtype or not _STORABLE_DTYPE.fullmatch(name):
        raise UnsupportedType(
            f"cannot store a numpy value of dtype {array.dtype}: bool, integers, float16 to float64, complex, "
            "datetime64, timedelta64 and fixed-width strings are taken. Convert it with astype() or tolist()"
        )
    header = struct.pack(f"<B{len(name)}sB{array.ndim}Q", len(name), name.encode(), array.ndim, *array.shape)
    return header + array.tobytes()


_PACKERS: dict[type, Callable[[Any], bytes]] = {
    bytes: lambda value: b"\x00" + value,
    str: _pack_text,
    type(None): lambda value: b"\x02",
    bool: lambda value: b"\x04" if value else b"\x03",
    int: lambda value: b"\x05" + _int_payload(value),
    float: lambda value: b"\x06" + _DOUBLE.pack(value),
    dict: lambda value: _MSGPACK_TAG + pack_msgpack(value),
    list: lambda value: _MSGPACK_TAG + pack_msgpack(value),
    tuple: lambda value: _MSGPACK_TAG + pack_msgpack(value),
    np.ndarray: lambda value: _ARRAY_TAG + _array_payload(value),
}


def _msgpack(value: Any) -> bytes:
    try:
        return _packb(value, default=_to_extension, strict_types=True)  # type: ignore[no-any-return]
    except UnicodeEncodeError as error:
        raise _surrogates(error) from error


def _to_extension(value: Any) -> msgpack.ExtType | list[Any]:
    """Give msgpack a form that it knows for what it cannot say itself."""
    kind = type(value)
    if kind is tuple:
        return [_TUPLE, *value]
    if kind is int:
        return msgpack.ExtType(EXT_INT, _int_payload(value))
    if kind is np.ndarray:
        return msgpack.ExtType(EXT_ARRAY, _array_payload(value))
    if isinstance(value, np.generic):
        return msgpack.ExtType(EXT_SCALAR, _array_payload(np.asarray(value)))
    _refuse(value)


# What comes back equal and of the same type. (cbor2 would turn a tuple into a list, both would turn a
# bytearray into bytes.) Numpy scalars are leaves of many types; _check_nested knows them by their base class.
_CBOR_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
_MSGPACK_LEAVES = _CBOR_LEAVES | {np.ndarray}


def _check_nested(value: Any, leaves: frozenset[type], encoding: str, depth: int) -> None:
    """Raise for the first thing in ``value`` that would not come back as it is."""
    kind = type(value)
    if kind in leaves:
        return
    if depth < 0:
        raise InvalidArgument(
            f"cannot pack as {encoding}: nested deeper than {MAX_DEPTH} levels, or a container that contains itself"
        )
    if kind is list or (kind is tuple and np.ndarray in leaves):
        for item in value:
            _check_nested(item, leaves, encoding, depth - 1)
    elif kind is dict:
        for key, item in value.items():
            _check_nested(key, leaves, encoding, depth - 1)
            _check_nested(item, leaves, encoding, depth - 1)
    elif np.ndarray not in leaves:
        raise UnsupportedType(
            f"cannot store {_short(value)} of type {kind.__qualname__} as {encoding}: bytes, str, bool, int, float, "
            "None, dict and list are taken. Convert it first, or use MessagePack for tuples and arrays"
        )
    elif not isinstance(value, np.generic):
        _refuse(value)


# -- unpacking -------------------------------------------------------------------------------------


def _unpack_text(data: bytes) -> str:
    try:
        return data[1:].decode()
    except UnicodeDecodeError as error:
        raise CorruptValue(f"stored text is not valid UTF-8: {error}") from error


def _unpack_float(data: bytes) -> float:
    value: float = _DOUBLE.unpack_from(data, 1)[0] if len(data) == 9 else _wrong_length("float", data)
    return value


def _unpack_int(data: bytes) -> int:
    return int.from_bytes(data[1:], "little", signed=True) if len(data) > 1 else _wrong_length("int", data)


def _constant(value: Any) -> Callable[[bytes], Any]:
    return lambda data: value if len(data) == 1 else _wrong_length(repr(value), data)


def _wrong_length(kind: str, data: bytes) -> NoReturn:
    raise CorruptValue(f"stored {kind} has {len(data) - 1} payload bytes, which it cannot have")


def _array(data: memoryview) -> np.ndarray[Any, Any]:
    """Return the array of an ARRAY payload: a new, writable, C-ordered array."""
    try:
        name_end = 1 + data[0]
        name = str(data[1:name_end], "ascii")
        if not _STORABLE_DTYPE.fullmatch(name):
            raise CorruptValue(f"stored array has the unknown dtype {name!r}")
        dtype = np.dtype(name)
        ndim = data[name_end]
        if ndim > _MAX_DIMENSIONS:
            raise CorruptValue(f"stored array has {ndim} dimensions; numpy allows {_MAX_DIMENSIONS}")
        shape = struct.unpack_from(f"<{ndim}Q", data, name_end + 1)
        body = data[name_end + 1 + 8 * ndim :]
        if math.prod(shape) * dtype.itemsize != len(body):
            raise CorruptValue(f"stored array of shape {shape} and dtype {name} has {len(body)} bytes of data")
        array: np.ndarray[Any, Any] = np.empty(shape, dtype)
        if array.nbytes:
            array.reshape(-1).view(np.uint8)[:] = body
            if dtype.kind == "b" and array.view(np.uint8).max() > 1:
                raise CorruptValue("stored array of bool has bytes other than 0 and 1")
            if dtype.kind == "U" and array.reshape(-1).view(f"{name[0]}u4").max() > sys.maxunicode:
                raise CorruptValue("stored array of text has numbers that are no characters")
        return array
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, OverflowError) as error:
        raise CorruptValue(f"stored array is damaged: {error}") from error
    except ValueError as error:
        if isinstance(error, CorruptValue):
            raise
        raise CorruptValue(f"stored array is damaged: {error}") from error


def _from_extension(code: int, data: bytes) -> Any:
    if code == EXT_INT:
        return int.from_bytes(data, "little", signed=True)
    if code == EXT_ARRAY:
        return _array(memoryview(data))
    if code == EXT_SCALAR:
        return _array(memoryview(data))[()]
    raise CorruptValue(f"stored value has the unknown MessagePack extension type {code}")


class _Tuples:
    """Decodes MessagePack that contains the mark of a tuple; slower, because every list is looked at."""

    def __init__(self) -> None:
        self._open = 0

    def unpack(self, data: bytes | memoryview) -> Any:
        value = _unpackb(data, ext_hook=self._extension, list_hook=self._list, strict_map_key=False)
        if self._open:
            raise CorruptValue("stored value has the mark of a tuple outside of an array's first place")
        return value

    def _extension(self, code: int, data: bytes) -> Any:
        if code == EXT_TUPLE and not data:
            self._open += 1
            return _TUPLE
        return _from_extension(code, data)

    def _list(self, items: list[Any]) -> list[Any] | tuple[Any, ...]:
        if items and items[0] is _TUPLE:
            self._open -= 1
            return tuple(items[1:])
        return items


_UNPACKERS: tuple[Callable[[bytes], Any], ...] = tuple(
    {
        BYTES: lambda data: data[1:],
        TEXT: _unpack_text,
        NONE: _constant(None),
        FALSE: _constant(False),
        TRUE: _constant(True),
        INT: _unpack_int,
        FLOAT: _unpack_float,
        MSGPACK: lambda data: unpack_msgpack(memoryview(data)[1:]),
        CBOR: lambda data: unpack_cbor(memoryview(data)[1:]),
        JSON: lambda data: _unreadable("JSON"),
        ARRAY: lambda data: _array(memoryview(data)[1:]),
        PICKLE: lambda data: _unreadable("pickle"),
        SCALAR: lambda data: _array(memoryview(data)[1:])[()],
    }[tag]
    for tag in range(13)
)


def _unreadable(encoding: str) -> NoReturn:
    raise CorruptValue(f"stored value is tagged as {encoding}, which this version does not read")
