"""Numpy arrays and scalars as bytes: dtype, shape, items in C order (``docs/format.md``)."""

from __future__ import annotations

import math
import re
import struct
import sys
from typing import Any

import numpy as np

from .errors import CorruptValue, UnsupportedType

__all__ = ["array_of", "parts"]

_UTF32 = {"<": "utf-32-le", ">": "utf-32-be"}

_MAX_DIMENSIONS = 64  # numpy's own limit
_STORABLE_DTYPE = re.compile(r"[<>|](b1|[iu][1248]|f[248]|c8|c16|[mM]8(\[\w+\])?|S\d+|U\d+)")


def parts(value: Any, allow_pickle: bool) -> tuple[bytes, Any] | None:
    """Return the payload of an array or scalar: its header, and its items as something with a buffer.

    None if only pickle can store it, and may. Raises :class:`UnsupportedType` for what would not come back equal
    and of the same type.
    """
    is_array = type(value) is np.ndarray
    if type(value) is np.bytes_:
        return _header(value.dtype), bytes(value)
    if type(value) is np.str_:
        # Neither through an array nor str(), which drop NUL at the end.
        return _header(value.dtype), value.encode(_UTF32[value.dtype.str[0]], "surrogatepass")
    array = value if is_array else np.asarray(value)
    dtype = array.dtype
    name = dtype.str
    if dtype.names or dtype.subdtype or not _STORABLE_DTYPE.fullmatch(name):
        if allow_pickle:
            return None
        raise UnsupportedType(
            f"cannot store a numpy value of dtype {dtype}: bool, integers, float16 to float64, complex, datetime64, "
            "timedelta64 and fixed-width strings are taken. Convert it with astype() or tolist()"
        )
    if not is_array and np.dtype(name).type is not type(value):
        # A subclass, or one of C's types of the same size, such as numpy.longlong: pickle would change them too.
        kind = type(value)
        raise UnsupportedType(
            f"cannot store {value!r} of type {kind.__module__}.{kind.__qualname__}: it would come back as "
            f"{np.dtype(name).type.__name__}. Convert it to that first"
        )
    header = _header(dtype, array.shape)
    if array.nbytes == 0:
        return header, b""
    return header, np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> bytes:
    name = dtype.str.encode()
    return struct.pack(f"<B{len(name)}sB{len(shape)}Q", len(name), name, len(shape), *shape)


def array_of(source: bytes, start: int, stop: int, scalar: bool) -> Any:
    """Return the array (new, writable, C-ordered), or the scalar, of the payload ``source[start:stop]``.

    Raises :class:`CorruptValue` if that is no such payload.
    """
    data = memoryview(source)[start:stop]
    try:
        name_end = 1 + data[0]
        name = str(data[1:name_end], "ascii")
        if not _STORABLE_DTYPE.fullmatch(name):
            raise CorruptValue(f"stored array has the unknown dtype {name!r}")
        dtype = np.dtype(name)
        ndim = data[name_end]
        if ndim > _MAX_DIMENSIONS or (scalar and ndim):
            raise CorruptValue(f"stored array has {ndim} dimensions, which it cannot have")
        shape = struct.unpack_from(f"<{ndim}Q", data, name_end + 1)
        body = data[name_end + 1 + 8 * ndim :]
        if math.prod(shape) * dtype.itemsize != len(body):
            raise CorruptValue(f"stored array of shape {shape} and dtype {name} has {len(body)} bytes of data")
        if scalar and dtype.kind in "SU":
            text = str(body, _UTF32[dtype.str[0]], "surrogatepass") if dtype.kind == "U" else None
            return np.bytes_(body) if text is None else np.str_(text)
        if not dtype.itemsize:
            raise CorruptValue(f"stored array has the dtype {name}, whose items have no size")
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype)
        if array.nbytes:
            array.reshape(-1).view(np.uint8)[:] = body
            if dtype.kind == "b" and array.view(np.uint8).max() > 1:
                raise CorruptValue("stored array of bool has bytes other than 0 and 1")
            if dtype.kind == "U" and array.reshape(-1).view(f"{name[0]}u4").max() > sys.maxunicode:
                raise CorruptValue("stored array of text has numbers that are no characters")
        return array[()] if scalar else array
    except CorruptValue:
        raise
    except (IndexError, struct.error, TypeError, OverflowError, ValueError) as error:
        raise CorruptValue(f"stored array is damaged: {error}") from error
