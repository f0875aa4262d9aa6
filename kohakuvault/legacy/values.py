"""One stored value of a dict, or beside a vector or text: bytes as they are, or ten bytes of header and a payload."""

from __future__ import annotations

import json
import pickle as pickles
from collections.abc import Callable
from typing import Any

from ..errors import KohakuVaultError
from ..packing import pack, unpack_cbor, unpack_msgpack
from .arrays import array_of
from .numbers import number_of
from .plain_pickle import NotPlain, TooLarge, plain_value
from .source import Damaged

__all__ = ["NotTaken", "ValueReader"]

_MAGIC, _CLOSING = b"\x89K", b"VK"
_HEADER = 10

AMBIGUOUS = "eight bytes that may be an int, a float or a small array: read by the rule of numbers="
LIKE_A_HEADER = "bytes that begin as a header does, and are none: taken as bytes"


class NotTaken(Exception):
    """A value that is not taken; the text says why, the same for all values of which the same is true."""


class ValueReader:
    """Reads the values of one table.

    Parameters
    ----------
    numbers
        What eight bytes are that may be an int or a float.
    pickle
        Whether pickles may be loaded that hold other things than plain data. They can run any code.
    """

    def __init__(self, numbers: str, pickle: bool) -> None:
        self._numbers = numbers
        self._pickle = pickle

    def read(self, data: Any, note: Callable[[str], None]) -> Any:
        """Return the value; tell ``note`` what there is to say of it.

        Raises
        ------
        NotTaken
            if there is no value to be had.
        """
        if not isinstance(data, bytes):
            raise NotTaken("its value is a number")
        if data[:2] != _MAGIC or len(data) < _HEADER:
            return data
        if data[8:_HEADER] != _CLOSING:
            # Those releases wrote no such header; they stored bytes as they were given, and could not read these.
            note(LIKE_A_HEADER)
            return data
        version, encoding, flags = data[2:5]
        if version != 1:
            raise NotTaken(f"a header of version {version}")
        if flags or any(data[5:8]):
            raise NotTaken("a header with flags that neither release sets")
        read = _READERS.get(encoding)
        payload = data[_HEADER:]
        try:
            if encoding == 1:
                return self._unpickled(payload)
            if encoding == 2:
                return self._packed(payload, note)
            if read is None:
                raise NotTaken(f"a header with the unknown encoding {encoding}")
            return read(payload)
        except Damaged as error:
            raise NotTaken(f"damaged: {error}") from error
        except KohakuVaultError as error:
            raise NotTaken(f"damaged: {_shortened(error)}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise NotTaken(f"damaged: {type(error).__name__} in its {_NAMES.get(encoding, 'payload')}") from error

    def _packed(self, payload: bytes, note: Callable[[str], None]) -> Any:
        if len(payload) != 8:
            array = array_of(payload)
            # Of no dimensions: those releases stored numpy's scalars so.
            return array if array.ndim else array[()]
        value, ambiguous = number_of(payload, self._numbers)
        if ambiguous:
            note(AMBIGUOUS)
        return value

    def _unpickled(self, payload: bytes) -> Any:
        try:
            return plain_value(payload)
        except TooLarge as error:
            raise NotTaken(f"a pickle of what cannot be stored: {error}") from error
        except NotPlain as error:
            if not self._pickle:
                raise NotTaken(
                    f"a pickle of more than plain data ({error}): --pickle, or pickle=True, loads it, which runs "
                    "whatever code it holds"
                ) from error
        try:
            value = pickles.loads(payload)  # noqa: S301 (the user allowed it)
            # What is loaded may be what no pickle can be made of, and that by any exception.
            pack(value, True)
        except Exception as error:
            reason = f"{type(error).__name__}: {error!s:.100}"
            raise NotTaken(f"a pickle that could not be loaded, or not be stored: {reason}") from error
        return value


def _shortened(error: Exception) -> str:
    return str(error)[:200]


_READERS: dict[int, Callable[[bytes], Any]] = {
    0: bytes,
    3: json.loads,
    4: unpack_msgpack,
    5: unpack_cbor,
    6: lambda payload: payload.decode(),
}
_NAMES = {1: "pickle", 2: "number or array", 3: "JSON", 4: "MessagePack", 5: "CBOR", 6: "text"}
