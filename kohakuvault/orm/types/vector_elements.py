"""What the elements of a vector are: how each type is packed, read and written as PostgreSQL's text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..._native import pack_vector, vector_from_text, vector_text
from ...errors import CorruptValue, InvalidArgument, UnsupportedType

__all__ = ["ELEMENTS", "Element", "element_of", "vector_as_text", "vector_bytes"]

Array = np.ndarray[Any, np.dtype[Any]]
Form = TypeVar("Form", bytes, str)


def vector_bytes(value: Any, dimensions: int | None, elem: str = "f32") -> bytes:
    """Return ``value`` packed as it is stored.

    Parameters
    ----------
    value
        A 1-d array or sequence of numbers, of bits also of bools; or the packed bytes themselves, of bits also as an
        array of uint8.
    dimensions
        The length that the vector must have; ``None`` for any.
    elem
        The type of its elements, one of :data:`ELEMENTS`.

    Raises
    ------
    InvalidArgument
        for another length, another shape, NaN or infinity, or a number that the element type cannot hold.
    UnsupportedType
        for anything that is not numbers.
    """
    return _checked(pack_vector, value, dimensions, elem)


def vector_as_text(value: Any, dimensions: int | None, elem: str = "f32") -> str:
    """Return ``value`` as the text that PostgreSQL reads; takes and raises what :func:`vector_bytes` does."""
    return _checked(vector_text, value, dimensions, elem)


def _checked(function: Callable[[Any, int | None, str], Form], value: Any, dimensions: int | None, elem: str) -> Form:
    try:
        return function(value, dimensions, elem)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    except TypeError as error:
        raise UnsupportedType(str(error)) from error


@dataclass(frozen=True)
class Element:
    """One type of elements. A vector of ``dimensions`` of them is read as an array of ``dtype``."""

    name: str
    dtype: np.dtype[Any]
    #: Bytes that hold one or, of bits, eight elements.
    cell_bytes: int
    unpack: Callable[[bytes, int | None], Array]
    from_text: Callable[[str], Array]

    def size(self, dimensions: int) -> int:
        """Return the bytes of a packed vector."""
        return -(-dimensions // 8) if self.name == "bit" else dimensions * self.cell_bytes

    def from_bytes(self, packed: bytes, dimensions: int | None) -> Array:
        """Return a new array of a packed vector; :class:`CorruptValue` if the bytes are none."""
        wrong = not packed or len(packed) % self.cell_bytes
        if wrong or (dimensions is not None and len(packed) != self.size(dimensions)):
            expected = "whole elements" if dimensions is None else f"{self.size(dimensions)}, of {dimensions} elements"
            raise CorruptValue(f"stored vector of {self.name} has {len(packed)} bytes; expected {expected}")
        return self.unpack(packed, dimensions)

    def convert(self, array: Array) -> Array:
        """Return numbers that a database gave as an array of ``dtype``, each of them unchanged."""
        converted = array.astype(self.dtype)
        if self.dtype.kind != "f" and not np.array_equal(converted, array):
            raise CorruptValue(f"stored vector has numbers that are no {self.name}: {array!r:.80}")
        return converted


def element_of(elem: str) -> Element:
    """Return the element type of a name, or raise :class:`InvalidArgument`."""
    try:
        return ELEMENTS[elem]
    except (KeyError, TypeError):
        names = ", ".join(ELEMENTS)
        raise InvalidArgument(f"unknown element type {elem!r}; expected one of {names}") from None


def _unpack_numbers(dtype: str) -> Callable[[bytes, int | None], Array]:
    stored = np.dtype(dtype)
    return lambda packed, dimensions: np.frombuffer(packed, stored).astype(stored.newbyteorder("="))


def _unpack_bits(packed: bytes, dimensions: int | None) -> Array:
    bits = np.unpackbits(np.frombuffer(packed, np.uint8)).view(np.bool_)
    if bits[dimensions:].any():
        raise CorruptValue(f"stored vector of bits has some behind its {dimensions} dimensions")
    return bits[:dimensions]


def _numbers_from_text(text: str) -> Array:
    return np.frombuffer(vector_from_text(text), "<f4")


def _bits_from_text(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8) - ord("0")


def _numbers(name: str, stored: str) -> Element:
    dtype = np.dtype(stored).newbyteorder("=")
    return Element(name, dtype, dtype.itemsize, _unpack_numbers(stored), _numbers_from_text)


#: The element types by name.
ELEMENTS = {
    "f32": _numbers("f32", "<f4"),
    "f16": _numbers("f16", "<f2"),
    "i8": _numbers("i8", "i1"),
    "bit": Element("bit", np.dtype(np.bool_), 1, _unpack_bits, _bits_from_text),
}
