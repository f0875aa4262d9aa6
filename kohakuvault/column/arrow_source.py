"""Values for a column that come as Arrow: arrays, chunked arrays, and whatever has Arrow's C interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import CorruptValue, InvalidArgument, UnsupportedType
from .arrow_arrays import has_text_as_arrow, is_binary, is_string, is_tensor, pyarrow
from .elements import Elements, PackedElements
from .form import LARGEST_BLOCK

__all__ = ["arrow_runs", "is_arrow", "record_batches"]

# Bytes of elements of different sizes that are packed at a time.
_RUN_BYTES = 1 << 20


def is_arrow(values: Any) -> bool:
    """Whether ``values`` have Arrow's C interface, and are no numpy arrays in another package's clothes."""
    if isinstance(values, (list, tuple, np.ndarray)):
        return False
    # A Series of pandas: its NaN would become nulls.
    if isinstance(getattr(values, "dtype", None), np.dtype):
        return False
    return hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__")


def record_batches(source: Any) -> Any:
    """Return a ``RecordBatchReader`` of a table, a record batch, a reader or anything that gives such a stream.

    Raises
    ------
    UnsupportedType
        for anything else.
    """
    pa = pyarrow()
    if isinstance(source, pa.RecordBatchReader):
        return source
    if isinstance(source, pa.Table):
        return source.to_reader()
    try:
        if hasattr(source, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(source)
        if hasattr(source, "__arrow_c_array__"):
            batch = source if isinstance(source, pa.RecordBatch) else pa.record_batch(source)
            return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except (pa.ArrowInvalid, TypeError, ValueError) as error:
        raise UnsupportedType(f"{type(source).__name__} gives no Arrow table: {error}") from error
    raise UnsupportedType(
        f"an Arrow table, record batch, reader or anything with __arrow_c_stream__ is expected, not "
        f"{type(source).__name__}"
    )


def arrow_runs(elements: Elements, values: Any) -> Iterator[Any]:
    """Return an iterator over what blocks are made of: arrays, lists or :class:`PackedElements`.

    Raises
    ------
    InvalidArgument
        for a null, whose index is named, and a value that the dtype does not hold.
    UnsupportedType
        for an Arrow type whose values the dtype does not hold, and for a table of several columns.
    """
    return _runs(elements, _arrays(values))


def _runs(elements: Elements, arrays: Iterator[Any]) -> Iterator[Any]:
    place = 0
    for array in arrays:
        if len(array):
            for run in _packable(elements, _decoded(array), place):
                place += len(run)
                yield run


def _arrays(values: Any) -> Iterator[Any]:
    """Return an iterator over the arrays; the first of them is not read yet."""
    pa = pyarrow()
    if isinstance(values, pa.Array):
        return iter([_only_field(values)])
    if isinstance(values, pa.ChunkedArray):
        return map(_only_field, values.chunks)
    if hasattr(values, "__arrow_c_stream__"):
        try:
            reader = pa.RecordBatchReader.from_stream(values)
        except pa.ArrowInvalid:
            # A stream of arrays rather than of record batches.
            return map(_only_field, pa.chunked_array(values).chunks)
        _check_one(reader.schema.names)
        return (batch.column(0) for batch in reader)
    return iter([_only_field(pa.array(values))])


def _only_field(array: Any) -> Any:
    """Return the array itself; of a record batch that came as one array its only column."""
    if not pyarrow().types.is_struct(array.type):
        return array
    _check_one([array.type.field(index).name for index in range(array.type.num_fields)])
    return array.field(0) if not array.null_count else array.flatten()[0]


def _check_one(names: list[str]) -> None:
    if len(names) != 1:
        raise UnsupportedType(
            f"a column takes Arrow values of one column, not the {len(names)} columns {', '.join(map(repr, names))}; "
            "choose one, or see ColumnVault.from_arrow"
        )


def _decoded(array: Any) -> Any:
    """Return an array of another layout as one of the plain types."""
    pa = pyarrow()
    types = pa.types
    if types.is_dictionary(array.type):
        array = _decoded(array.dictionary).take(array.indices)
    if str(array.type) in ("string_view", "binary_view"):
        array = array.cast(pa.large_string() if str(array.type) == "string_view" else pa.large_binary())
    return array


def _packable(elements: Elements, array: Any, place: int) -> Iterator[Any]:
    if array.null_count:
        raise _null(array, place, 1)
    codec = elements.codec
    if codec.is_vector and not is_binary(array.type):
        yield _vectors(elements, array, place)
    elif elements.array_dtype is not None and not codec.is_vector:
        yield elements.collect(_as_numpy(elements, array))
    elif not _takes(elements, array):
        raise _unsupported(elements, array)
    elif has_text_as_arrow(elements):
        yield from _checked(elements, _packed(array), place)
    elif pyarrow().types.is_fixed_size_binary(array.type) and array.type.byte_width == elements.item_size:
        yield _packed_of_one_size(array)
    else:
        yield elements.collect(array.to_pylist())


def _takes(elements: Elements, array: Any) -> bool:
    """Whether the elements, which are no numbers, are what the array has."""
    if elements.codec.element == "str":
        return is_string(array.type)
    if elements.dtype == "json":
        return is_string(array.type) or is_binary(array.type)
    if elements.dtype in ("msgpack", "cbor") or elements.codec.is_vector:
        return elements.item_size is None and is_binary(array.type)
    return is_binary(array.type) or pyarrow().types.is_fixed_size_binary(array.type)


def _as_numpy(elements: Elements, array: Any) -> Any:
    types = pyarrow().types
    if not (types.is_integer(array.type) or types.is_floating(array.type) or types.is_boolean(array.type)):
        raise _unsupported(elements, array)
    return array.to_numpy(zero_copy_only=False)


def _vectors(elements: Elements, array: Any, place: int) -> Any:
    """Return lists of numbers as an array of shape ``(n, *shape)``, or as arrays of one dimension."""
    types = pyarrow().types
    count = len(array)
    shape: list[int] = []
    if is_tensor(array.type):
        shape, numbers = list(array.type.shape), array.storage.flatten()
    elif types.is_list(array.type) or types.is_large_list(array.type):
        lengths = np.diff(_offsets(array))
        numbers = array.flatten()
        if elements.codec.shape is None:
            _refuse_nulls_in(numbers, np.cumsum(lengths), place)
            rows = np.split(_as_numpy(elements, numbers), np.cumsum(lengths)[:-1])
            return elements.collect(rows)
        wrong = np.flatnonzero(lengths != elements.codec.shape[0])
        if wrong.size:
            raise InvalidArgument(
                f"element {place + wrong[0]} has {lengths[wrong[0]]} numbers, and {elements.dtype} has another shape"
            )
        shape = [int(lengths[0])]
    else:
        numbers = array
        while types.is_fixed_size_list(numbers.type):
            shape.append(numbers.type.list_size)
            if numbers.null_count:
                raise _null(numbers, place, max(len(numbers) // count, 1))
            numbers = numbers.flatten()
    if not shape:
        raise _unsupported(elements, array)
    if numbers.null_count:
        raise _null(numbers, place, max(len(numbers) // count, 1))
    return elements.collect(_as_numpy(elements, numbers).reshape(count, *shape))


def _packed(array: Any) -> Iterator[PackedElements]:
    """Return text or bytes of any length as blocks."""
    pa = pyarrow()
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    offsets = _offsets(array)
    heap = memoryview(array.buffers()[2] or b"")
    start = 0
    while start < len(array):
        stop = max(int(np.searchsorted(offsets, offsets[start] + _RUN_BYTES, "right")) - 1, start + 1)
        stop = min(stop, len(array), start + _RUN_BYTES)
        if offsets[stop] - offsets[start] + 4 * (stop - start) > LARGEST_BLOCK:
            raise InvalidArgument(f"a value of {offsets[stop] - offsets[start]} bytes is larger than an element can be")
        ends = (offsets[start + 1 : stop + 1] - offsets[start]).astype("<u4")
        yield PackedElements(stop - start, b"".join((ends.tobytes(), heap[offsets[start] : offsets[stop]])))
        start = stop


def _packed_of_one_size(array: Any) -> PackedElements:
    size, first = array.type.byte_width, array.offset
    return PackedElements(len(array), memoryview(array.buffers()[1])[first * size : (first + len(array)) * size])


def _offsets(array: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where the values of text, bytes or lists begin, and the last ends."""
    types = pyarrow().types
    is_large = types.is_large_string(array.type) or types.is_large_binary(array.type) or types.is_large_list(array.type)
    offsets = np.frombuffer(array.buffers()[1], np.int64 if is_large else np.int32, len(array) + 1 + array.offset)
    return offsets[array.offset :].astype(np.int64, copy=False)


def _checked(elements: Elements, runs: Iterator[PackedElements], place: int) -> Iterator[PackedElements]:
    for run in runs:
        try:
            elements.check(run.data, len(run))
        except CorruptValue as error:
            raise InvalidArgument(
                f"{_first_wrong(elements, run, place)} is not what a {elements.dtype} column holds: {error}"
            ) from error
        place += len(run)
        yield run


def _first_wrong(elements: Elements, run: PackedElements, place: int) -> str:
    for index in range(len(run)):
        try:
            elements.unpack_one(run.data, len(run), index)
        except CorruptValue:
            return f"element {place + index}"
    return f"one of the elements {place} to {place + len(run)}"


def _refuse_nulls_in(numbers: Any, ends: np.ndarray[Any, Any], place: int) -> None:
    if numbers.null_count:
        first = _first_null(numbers)
        raise _of_null(place + int(np.searchsorted(ends, first, "right")))


def _null(array: Any, place: int, per_element: int) -> InvalidArgument:
    return _of_null(place + _first_null(array) // per_element)


def _first_null(array: Any) -> int:
    return int(np.argmin(array.is_valid().to_numpy(zero_copy_only=False)))


def _of_null(index: int) -> InvalidArgument:
    return InvalidArgument(f"element {index} is null or has one, and a column has no nulls: fill or drop them first")


def _unsupported(elements: Elements, array: Any) -> UnsupportedType:
    encoded = elements.dtype in ("msgpack", "cbor", "json") or elements.codec.is_vector
    hint = "; it takes elements that are encoded already, as binary; for values give array.to_pylist()"
    return UnsupportedType(
        f"values of the Arrow type {array.type} cannot go into a {elements.dtype} column as they are"
        + (hint if encoded else "; cast them if that is what you want")
    )
