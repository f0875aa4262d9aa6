"""The elements of one dtype: Python and numpy values to packed blocks and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .._native import CorruptBlock, ElementCodec
from ..array_conversion import converted
from ..errors import CorruptValue, InvalidArgument, UnsupportedType

__all__ = ["Elements", "PackedElements", "Part", "elements_of", "reading_blocks"]

# The elements `start` to `stop` of a block: its data, the count of all its elements, start, stop.
Part = tuple[Any, int, int, int]

_FORMATS = ("msgpack", "cbor", "json")
_NUMPY = {
    **{f"{kind}{bits}": f"<{kind}{bits // 8}" for kind in "iu" for bits in (8, 16, 32, 64)},
    "f32": "<f4",
    "f64": "<f8",
    "bool": "|b1",
}


@dataclass(frozen=True, slots=True)
class PackedElements:
    """Elements that are packed already, all in one block of any size: ``collect`` need not see them."""

    count: int
    data: Any

    def __len__(self) -> int:
        return self.count


@lru_cache(maxsize=256)
def elements_of(dtype: str) -> Elements:
    """Return the :class:`Elements` of ``dtype``; raise :class:`InvalidArgument` if there is no such dtype."""
    if not isinstance(dtype, str):
        raise UnsupportedType(f"dtype is a str such as 'i64' or 'vec:f32:384', not {dtype!r}")
    try:
        codec = ElementCodec(dtype)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if codec.is_vector:
        return AnyShapeElements(codec) if codec.shape is None else VectorElements(codec)
    return Elements(codec)


class Elements:
    """Scalars, text, bytes, and the values of msgpack, cbor and json. A run of elements is a ``list``.

    Attributes
    ----------
    dtype
        The canonical dtype string.
    item_size
        Bytes of one element; None where they differ.
    array_dtype
        The numpy dtype of the elements; None where they are no numbers.
    stacks
        Whether a run of elements is an array, and no list.
    """

    stacks = False

    def __init__(self, codec: ElementCodec) -> None:
        self.codec = codec
        self.dtype = codec.dtype
        self.item_size = codec.item_size
        self.array_dtype = np.dtype(_NUMPY[codec.element]) if codec.element in _NUMPY else None

    # -- packing -------------------------------------------------------------------------------

    def pack(self, values: Any, block_bytes: int, room: int = 0) -> list[tuple[int, bytes]]:
        """Return ``values`` as ``(count, data)`` blocks of at most ``block_bytes``, the first of ``room`` if given."""
        with packing_errors:
            return self.codec.pack(values, block_bytes, room)

    def pack_one(self, value: Any) -> bytes:
        """Return the packed bytes of one element."""
        with packing_errors:
            return self.codec.pack_one(value)

    def pack_entry(self, value: Any) -> bytes:
        """Return what the tail of a column has of one element: its length too, where elements differ in size."""
        packed = self.pack_one(value)
        return packed if self.item_size is not None else len(packed).to_bytes(4, "little") + packed

    def collect(self, values: Iterable[Any]) -> Any:
        """Return ``values`` as something that :meth:`pack` takes, having run any iterator to its end."""
        if isinstance(values, np.ma.MaskedArray):
            raise UnsupportedType("a masked array has no values where it is masked; fill them with filled()")
        if isinstance(values, np.ndarray):
            if self.array_dtype is not None and values.dtype.kind != "O":
                return self._exact(values)
            # msgpack keeps the types of numpy's numbers.
            return list(values) if self.codec.element in _FORMATS else values.tolist()
        if isinstance(values, (list, tuple)):
            return values
        if self.array_dtype is not None and not isinstance(values, (str, bytes, bytearray)):
            try:
                return self._exact(np.asarray(memoryview(values)))  # type: ignore[arg-type]
            except TypeError:
                pass
        return list(_iterator(values, self.dtype))

    def _exact(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return ``array`` with exactly the element type; raise where that would change a value."""
        target = self.array_dtype
        assert target is not None
        self._check_shape(array)
        if array.dtype != target:
            array = converted(array, target, self.dtype)
        return np.ascontiguousarray(array)

    def _check_shape(self, array: np.ndarray[Any, Any]) -> None:
        if array.ndim != 1:
            raise InvalidArgument(f"a {self.dtype} column takes arrays of shape (n,), not {array.shape}")

    # -- unpacking -----------------------------------------------------------------------------

    def unpack(self, parts: Sequence[Part]) -> Any:
        """Return the elements of ``parts``, one after the other."""
        values: list[Any] = []
        try:
            if len(parts) == 1:
                return self.codec.unpack(*parts[0])
            for data, count, start, stop in parts:
                values += self.codec.unpack(data, count, start, stop)
        except _UNREADABLE as error:
            raise _corrupt(error) from error
        return values

    def values_of(self, packable: Any) -> Any:
        """Return the values of what :meth:`collect` returned, or of :class:`PackedElements`."""
        if isinstance(packable, PackedElements):
            return self.unpack([(packable.data, len(packable), 0, len(packable))])
        return packable

    def unpack_one(self, data: bytes, count: int, index: int) -> Any:
        """Return element ``index`` of a block."""
        try:
            return self.codec.unpack_one(data, count, index)
        except _UNREADABLE as error:
            raise _corrupt(error) from error

    def check(self, data: Any, count: int) -> None:
        """Read every element of a block; raise :class:`CorruptValue` if one is not as it should be."""
        with reading_blocks:
            self.codec.check(data, count)

    def unpack_packable(self, parts: Sequence[Part]) -> Any:
        """Return the elements of ``parts`` as what is unpacked, and packed again, soonest."""
        return self.unpack(parts) if self.array_dtype is None or self.item_size is None else self.to_numpy(parts)

    def to_numpy(self, parts: Sequence[Part]) -> np.ndarray[Any, Any]:
        """Return the elements of ``parts`` as a new array."""
        if self.array_dtype is None or self.item_size is None:
            array = np.empty(sum(stop - start for _, _, start, stop in parts), dtype=object)
            for index, value in enumerate(self.unpack(parts)):
                array[index] = value  # one by one: a list is one value, not a row
            return array
        return self._stacked(parts, (-1,))

    def _stacked(self, parts: Sequence[Part], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        assert self.item_size is not None
        assert self.array_dtype is not None
        size = self.item_size
        joined: Any
        if len(parts) == 1 and type(parts[0][0]) is memoryview and not parts[0][0].readonly:
            # Read for this call; bytes are the database driver's.
            data, _, start, stop = parts[0]
            joined = data[start * size : stop * size]
        else:
            joined = bytearray().join([memoryview(data)[start * size : stop * size] for data, _, start, stop in parts])
        if len(joined) != size * sum(stop - start for _, _, start, stop in parts):
            raise CorruptValue(f"a block of {self.dtype} elements is shorter than its count of elements")
        array = np.frombuffer(joined, self.array_dtype)
        if self.array_dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
            raise CorruptValue("a block of bool elements has bytes other than 0 and 1")
        return array.reshape(shape)


class VectorElements(Elements):
    """Vectors of one shape. A run of elements is an array of shape ``(n, *shape)``."""

    stacks = True

    def __init__(self, codec: ElementCodec) -> None:
        super().__init__(codec)
        assert codec.shape is not None
        self._shape = codec.shape

    def collect(self, values: Iterable[Any]) -> Any:
        values = super().collect(values)
        if isinstance(values, np.ndarray):
            return values
        assert self.array_dtype is not None
        return [_native_array(item, self.array_dtype, self.dtype) for item in values]

    def pack_one(self, value: Any) -> bytes:
        assert self.array_dtype is not None
        return super().pack_one(_native_array(value, self.array_dtype, self.dtype))

    def unpack(self, parts: Sequence[Part]) -> Any:
        return self._stacked(parts, (-1, *self._shape))

    def unpack_one(self, data: bytes, count: int, index: int) -> Any:
        return self._stacked([(data, count, index, index + 1)], self._shape)

    def to_numpy(self, parts: Sequence[Part]) -> np.ndarray[Any, Any]:
        return self._stacked(parts, (-1, *self._shape))

    def _check_shape(self, array: np.ndarray[Any, Any]) -> None:
        if array.shape[1:] != self._shape:
            expected = ", ".join(map(str, self._shape))
            raise InvalidArgument(f"a {self.dtype} column takes arrays of shape (n, {expected}), not {array.shape}")


class AnyShapeElements(Elements):
    """Arrays of any shape. A run of elements is a list of arrays."""

    def collect(self, values: Iterable[Any]) -> Any:
        assert self.array_dtype is not None
        return [_native_array(item, self.array_dtype, self.dtype) for item in _iterator(values, self.dtype)]

    def pack_one(self, value: Any) -> bytes:
        assert self.array_dtype is not None
        return super().pack_one(_native_array(value, self.array_dtype, self.dtype))

    def unpack(self, parts: Sequence[Part]) -> Any:
        return [self._array(*item) for item in super().unpack(parts)]

    def unpack_one(self, data: bytes, count: int, index: int) -> Any:
        return self._array(*super().unpack_one(data, count, index))

    def _array(self, shape: tuple[int, ...], data: bytes) -> np.ndarray[Any, Any]:
        assert self.array_dtype is not None
        return np.frombuffer(bytearray(data), self.array_dtype).reshape(shape)


def _iterator(values: Any, dtype: str) -> Iterator[Any]:
    """Return an iterator over ``values``; raise :class:`UnsupportedType` if they have none."""
    try:
        return iter(values)
    except TypeError:
        raise UnsupportedType(
            f"an iterable of {dtype} elements is expected, not {type(values).__name__}; append() adds one element"
        ) from None


def _native_array(item: Any, target: np.dtype[Any], dtype: str) -> Any:
    """Return ``item`` with the element type if it is an array; anything else is for the codec to judge."""
    if isinstance(item, np.ndarray) and item.dtype != target:
        return converted(item, target, dtype)
    return item


class _PackingErrors:
    """Raises what the codec finds wrong with a value as ours. A class: a generator would cost more than a number."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, (InvalidArgument, UnsupportedType)):
            return
        if isinstance(error, TypeError):
            raise UnsupportedType(str(error)) from error
        if isinstance(error, (ValueError, OverflowError)):
            raise InvalidArgument(str(error)) from error


_UNREADABLE = (CorruptBlock, TypeError, IndexError, OverflowError)


def _corrupt(error: BaseException) -> CorruptValue:
    return CorruptValue(f"{error}; the block was changed by something else, or the file is damaged")


class _ReadingBlocks:
    """Raises what the codec finds wrong with stored bytes as :class:`CorruptValue`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, _UNREADABLE):
            raise _corrupt(error) from error


packing_errors = _PackingErrors()
reading_blocks = _ReadingBlocks()
