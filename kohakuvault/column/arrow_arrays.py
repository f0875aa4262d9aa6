"""Packed elements as Arrow arrays, without a Python object for each where their bytes are the same.

A field's metadata has the dtype, so that a column that left as Arrow comes back as what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import CorruptValue, UnsupportedType
from .elements import Elements, Part, elements_of, reading_blocks

__all__ = [
    "DTYPE_KEY",
    "arrow_chunks",
    "arrow_field",
    "arrow_type",
    "dtype_of_field",
    "encoded_as",
    "has_text_as_arrow",
    "is_binary",
    "is_string",
    "is_tensor",
    "pyarrow",
]

DTYPE_KEY = b"kohakuvault.dtype"

# Bytes of the elements of different sizes that become one chunk.
_CHUNK_BYTES = 16 << 20

# Of the table of ends in front of elements of different sizes.
_END = 4

_SCALARS = {
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "f32": "float32",
    "f64": "float64",
    "bool": "bool_",
}


def pyarrow() -> Any:
    """Return the module; raise :class:`UnsupportedType` where it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        raise UnsupportedType(
            f"Arrow and Parquet need pyarrow, which cannot be imported ({error}): pip install kohakuvault[arrow]"
        ) from error
    return pyarrow


def arrow_type(elements: Elements) -> Any:
    """Return the Arrow type of elements.

    Numbers and bools have their own. Text is ``large_string``; so is JSON, as its text. ``bytes`` are ``large_binary``,
    ``bytes:N`` ``fixed_size_binary``. Vectors of one shape are fixed-size lists, nested where they have several
    dimensions. MessagePack, CBOR and vectors of any shape are ``large_binary`` of the packed element.
    """
    pa = pyarrow()
    codec = elements.codec
    if _is_text(elements):
        return pa.large_string()
    if codec.element not in _SCALARS or codec.shape is None:
        return pa.large_binary() if elements.item_size is None else pa.binary(elements.item_size)
    of = getattr(pa, _SCALARS[codec.element])()
    for length in reversed(codec.shape):
        of = pa.list_(of, length)
    return of


def arrow_field(name: str, elements: Elements) -> Any:
    """Return the field of a column: without nulls, and with the dtype in its metadata."""
    return pyarrow().field(name, arrow_type(elements), nullable=False, metadata={DTYPE_KEY: elements.dtype.encode()})


def dtype_of_field(field: Any) -> str:
    """Return the dtype for the values of an Arrow field: that of its metadata, or the one of its type.

    Raises
    ------
    UnsupportedType
        for a type that no dtype holds as it is.
    """
    named = (field.metadata or {}).get(DTYPE_KEY)
    dtype = _dtype_of(field.type) if named is None else named.decode(errors="replace")
    if dtype is None:
        raise UnsupportedType(
            f"column {field.name!r} has the Arrow type {field.type}, which no dtype holds as it is: cast it, or say "
            f"what it becomes by dtypes={{{field.name!r}: …}}"
        )
    return elements_of(dtype).dtype


def encoded_as(field: Any) -> str | None:
    """Return the dtype whose packed elements a field has, by its metadata; None where it has values."""
    dtype = (field.metadata or {}).get(DTYPE_KEY, b"").decode(errors="replace")
    return dtype if dtype in ("msgpack", "cbor", "json") or (dtype[:4] == "vec:" and dtype.count(":") == 1) else None


def _dtype_of(of: Any) -> str | None:
    pa = pyarrow()
    types = pa.types
    if types.is_dictionary(of):
        return _dtype_of(of.value_type)
    if is_tensor(of):
        return _vector_dtype(of.value_type, of.shape)
    shape = []
    while types.is_fixed_size_list(of):
        shape.append(of.list_size)
        of = of.value_type
    if shape:
        return _vector_dtype(of, shape)
    if types.is_list(of) or types.is_large_list(of):
        return _vector_dtype(of.value_type, [])
    if is_string(of):
        return "str:utf8"
    if types.is_fixed_size_binary(of):
        return f"bytes:{of.byte_width}"
    return "bytes" if is_binary(of) else _scalar_dtype(of)


def _scalar_dtype(of: Any) -> str | None:
    pa = pyarrow()
    return next((dtype for dtype, name in _SCALARS.items() if of == getattr(pa, name)()), None)


def _vector_dtype(of: Any, shape: Sequence[int]) -> str | None:
    scalar = _scalar_dtype(of)
    return None if scalar is None or 0 in shape else ":".join(["vec", scalar, *map(str, shape)])


def is_tensor(of: Any) -> bool:
    """Whether an Arrow type is of tensors of one shape, in C order."""
    if not isinstance(of, pyarrow().FixedShapeTensorType):
        return False
    return of.permutation is None or list(of.permutation) == sorted(of.permutation)


def is_string(of: Any) -> bool:
    """Whether an Arrow type is of text."""
    types = pyarrow().types
    return bool(types.is_string(of) or types.is_large_string(of) or str(of) == "string_view")


def is_binary(of: Any) -> bool:
    """Whether an Arrow type is of bytes of any length."""
    types = pyarrow().types
    return bool(types.is_binary(of) or types.is_large_binary(of) or str(of) == "binary_view")


# -- from packed elements --------------------------------------------------------------------------


def arrow_chunks(elements: Elements, parts: Sequence[Part]) -> list[Any]:
    """Return the elements of ``parts`` as Arrow arrays, few and large; none for no elements."""
    parts = [part for part in parts if part[2] < part[3]]
    if not parts:
        return []
    if elements.item_size is not None and not _is_text(elements):
        return [_of_one_size(elements, parts)]
    if has_text_as_arrow(elements):
        return [_of_any_size(elements, some) for some in _grouped(parts)]
    return [pyarrow().array(elements.unpack(some), arrow_type(elements)) for some in _grouped(parts)]


def has_text_as_arrow(elements: Elements) -> bool:
    """Whether elements of different sizes have the bytes that Arrow has."""
    return elements.item_size is None and (
        elements.codec.element != "str" or elements.dtype in ("str:utf8", "str:ascii")
    )


def _is_text(elements: Elements) -> bool:
    return elements.codec.element == "str" or elements.dtype == "json"


def _of_one_size(elements: Elements, parts: Sequence[Part]) -> Any:
    pa = pyarrow()
    size = elements.item_size
    assert size is not None
    count = sum(stop - start for _, _, start, stop in parts)
    pieces = [memoryview(data)[start * size : stop * size] for data, _, start, stop in parts]
    joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(joined) != count * size:
        raise CorruptValue(f"a block of {elements.dtype} elements is shorter than its count of elements")
    of = arrow_type(elements)
    if elements.array_dtype is None:
        return pa.Array.from_buffers(of, count, [None, pa.py_buffer(joined)])
    return _nested(of, count, _numbers(joined, elements.array_dtype))


def _numbers(data: Any, dtype: np.dtype[Any]) -> Any:
    """Return numbers back to back as an Arrow array."""
    pa = pyarrow()
    if dtype.kind != "b":
        native = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
        return pa.Array.from_buffers(pa.from_numpy_dtype(native.dtype), len(native), [None, pa.py_buffer(native)])
    flags = np.frombuffer(data, np.uint8)
    if flags.max(initial=0) > 1:
        raise CorruptValue("a block of bool elements has bytes other than 0 and 1")
    bits = np.packbits(flags, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(flags), [None, pa.py_buffer(bits)])


def _nested(of: Any, count: int, numbers: Any) -> Any:
    """Return ``count`` elements of type ``of`` that have ``numbers``."""
    pa = pyarrow()
    if not pa.types.is_fixed_size_list(of):
        return numbers
    return pa.Array.from_buffers(of, count, [None], children=[_nested(of.value_type, count * of.list_size, numbers)])


def _of_any_size(elements: Elements, parts: Sequence[Part]) -> Any:
    pa = pyarrow()
    offsets = [np.zeros(1, np.int64)]
    heaps = []
    end = 0
    for data, count, start, stop in parts:
        with reading_blocks:
            elements.codec.check(data, count)
        ends = np.frombuffer(data, "<u4", count).astype(np.int64)
        first = int(ends[start - 1]) if start else 0
        last = int(ends[stop - 1])
        offsets.append(ends[start:stop] + (end - first))
        heaps.append(memoryview(data)[_END * count + first : _END * count + last])
        end += last - first
    heap = heaps[0] if len(heaps) == 1 else b"".join(heaps)
    buffers = [None, pa.py_buffer(np.concatenate(offsets)), pa.py_buffer(heap)]
    return pa.Array.from_buffers(arrow_type(elements), sum(map(len, offsets)) - 1, buffers)


def _grouped(parts: Sequence[Part]) -> Iterator[list[Part]]:
    group: list[Part] = []
    size = 0
    for part in parts:
        if group and size + len(part[0]) > _CHUNK_BYTES:
            yield group
            group, size = [], 0
        group.append(part)
        size += len(part[0])
    yield group
