"""The contract of DataPacker, for every dtype."""

from __future__ import annotations

import array
import contextlib
import copy
import ctypes
import datetime
import json
import pickle
import sys
import threading
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kohakuvault import CorruptValue, DataPacker, InvalidArgument, KohakuVaultError, UnsupportedType

F32 = np.float32

# What KohakuVault 1.1.0 packs: dtype, value, bytes.
UPSTREAM = [
    ("i64", 1, "0100000000000000"),
    ("i64", -3, "fdffffffffffffff"),
    ("f64", 1.5, "000000000000f83f"),
    ("bytes", b"ab", "6162"),
    ("bytes:4", b"ab", "61620000"),
    ("str:utf8", "aß", "61c39f"),
    ("str:4:utf8", "ab", "61620000"),
    ("str:utf16le", "a", "6100"),
    ("str:utf16be", "a", "0061"),
    ("str:latin1", "ß", "df"),
    ("str:6:utf16le", "ab", "610062000000"),
    ("msgpack", {"a": 1}, "81a16101"),
    ("cbor", {"a": 1}, "a1616101"),
    ("vec:f32:3", np.array([1, 2, 3], F32), "010000803f0000004000004040"),
    ("vec:i64:2:2", np.arange(4).reshape(2, 2), "04" + "".join(f"{i:02x}00000000000000" for i in range(4))),
    ("vec:f32", np.array([0, 1, 2], F32), "010103000000000000000000803f00000040"),
    ("vec:f32", np.ones((2, 1), F32), "010202000000010000000000803f0000803f"),
    ("vec:f64", np.array([1.5]), "020101000000000000000000f83f"),
    ("vec:i32", np.array([7], np.int32), "03010100000007000000"),
    ("vec:u8", np.array([7, 9], np.uint8), "0501020000000709"),
    ("vec:u16", np.array([7], np.uint16), "0601010000000700"),
    ("vec:u32", np.array([7], np.uint32), "07010100000007000000"),
    ("vec:u64", np.array([7], np.uint64), "0801010000000700000000000000"),
    ("vec:i8", np.array([-1], np.int8), "090101000000ff"),
    ("vec:i16", np.array([-1], np.int16), "0a0101000000ffff"),
]

# dtype, canonical name, size, values.
DTYPES: dict[str, tuple[str, int, list[object]]] = {
    "i8": ("i8", 1, [0, -128, 127]),
    "i16": ("i16", 2, [0, -(2**15), 2**15 - 1]),
    "i32": ("i32", 4, [0, -(2**31), 2**31 - 1]),
    "i64": ("i64", 8, [0, -(2**63), 2**63 - 1]),
    "u8": ("u8", 1, [0, 1, 255]),
    "u16": ("u16", 2, [0, 1, 2**16 - 1]),
    "u32": ("u32", 4, [0, 1, 2**32 - 1]),
    "u64": ("u64", 8, [0, 1, 2**64 - 1]),
    "f32": ("f32", 4, [0.0, -1.5, float("inf")]),
    "f64": ("f64", 8, [0.1, 5e-324, float("-inf")]),
    "bool": ("bool", 1, [True, False, True]),
    "bytes": ("bytes", 0, [b"a", b"", b"\0\xff" * 100]),
    "bytes:3": ("bytes:3", 3, [b"abc", b"\0\0\0", b"\xff\0\0"]),
    "str": ("str:utf8", 0, ["a", "", "\0", "☃𝄞" * 50]),
    "str:utf16le": ("str:utf16le", 0, ["a", "", "\0", "☃𝄞"]),
    "str:utf16be": ("str:utf16be", 0, ["a", "", "\0", "☃𝄞"]),
    "str:latin1": ("str:latin1", 0, ["a", "", "\0ÿ"]),
    "str:ascii": ("str:ascii", 0, ["a", "", "\0\x7f"]),
    "str:8": ("str:8:utf8", 8, ["a", "", "ßßßß"]),
    "str:8:utf16be": ("str:8:utf16be", 8, ["a", "", "𝄞𝄞"]),
    "msgpack": ("msgpack", 0, [{"b": (1, {2}), "a": 2**70}, None, b"x", [datetime.date(2026, 1, 2), Decimal("1.10")]]),
    "cbor": ("cbor", 0, [{"b": [1, {2}], "a": 2**70}, None, b"x", uuid.UUID(int=5)]),
    "json": ("json", 0, [{"b": [1, 2.5, None], "a": "ß"}, None, True, "x", 10**40]),
    "vec:f32:2": ("vec:f32:2", 9, [np.array([1, 2], F32), np.array([np.inf, -0.0], F32)]),
    "vec:bool:1:2": ("vec:bool:1:2", 3, [np.array([[True, False]]), np.array([[False, True]])]),
    "vec:u8:2:1:2": ("vec:u8:2:1:2", 5, [np.arange(4, dtype=np.uint8).reshape(2, 1, 2)] * 2),
    "vec:i16": ("vec:i16", 0, [np.array([1, -2], np.int16), np.zeros((2, 0), np.int16), np.array(5, np.int16)]),
    "vec:bool": ("vec:bool", 0, [np.array([True]), np.zeros((1, 1), bool)]),
}
NEEDS_OFFSETS = {
    dtype for dtype in DTYPES if dtype in ("bytes", "json") or (dtype[:3] == "str" and "8" not in dtype[:5])
}
NEEDS_OFFSETS |= {"str"}


def equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def all_equal(a: list[object], b: list[object]) -> bool:
    return len(a) == len(b) and all(map(equal, a, b))


@pytest.fixture(params=DTYPES)
def dtype(request) -> str:
    return request.param


@pytest.fixture
def packer(dtype) -> DataPacker:
    return DataPacker(dtype)


@pytest.fixture
def values(dtype) -> list[object]:
    return list(DTYPES[dtype][2])


# -- layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "value", "packed"), UPSTREAM)
def test_the_bytes_are_upstreams(dtype, value, packed):
    packer = DataPacker(dtype)
    assert packer.pack(value).hex() == packed
    assert packer.pack_many([value, value]).hex() == packed * 2
    read = packer.unpack(bytes.fromhex(packed), 0)
    assert equal(read, value.ljust(4, b"\0") if dtype == "bytes:4" else value)


@pytest.mark.parametrize(
    ("dtype", "value", "packed"),
    [
        ("u16", 258, "0201"),
        ("f32", 1.0, "0000803f"),
        ("bool", True, "01"),
        ("json", {"a": [1, "ß"]}, b'{"a":[1,"\xc3\x9f"]}'.hex()),
        ("vec:bool:2", [True, False], "0b0100"),
    ],
)
def test_the_bytes_of_what_upstream_lacks(dtype, value, packed):
    assert DataPacker(dtype).pack(value).hex() == packed


# -- one value, many values ------------------------------------------------------------------------------------


def test_a_packer_says_what_it_packs(packer, dtype):
    name, size, _ = DTYPES[dtype]
    assert (packer.dtype, packer.elem_size, packer.is_varsize) == (name, size, size == 0)
    assert repr(packer) == f"DataPacker('{name}')"
    assert packer.json_schema is None


def test_each_value_comes_back(packer, values):
    for value in values:
        packed = packer.pack(value)
        assert type(packed) is bytes
        assert len(packed) == packer.elem_size or packer.is_varsize
        for data in (packed, bytearray(packed), memoryview(packed), array.array("B", packed)):
            assert equal(packer.unpack(data), value)
        assert equal(packer.unpack(b"xyz" + packed, 3), value)
        assert equal(packer.unpack(memoryview(b"xyz" + packed), offset=np.int64(3)), value)


def test_what_follows_a_value_is_left_alone_where_its_end_is_known(packer, values, dtype):
    for value in values:
        if dtype not in NEEDS_OFFSETS:
            assert equal(packer.unpack(packer.pack(value) + b"\xc1\xff"), value)


def test_many_values_come_back(packer, values, dtype):
    data, offsets = packer.pack_with_offsets(values)
    assert data == packer.pack_many(values) == b"".join(packer.pack(value) for value in values)
    assert offsets == [sum(len(packer.pack(value)) for value in values[:i]) for i in range(len(values))]
    for given_offsets in (offsets, tuple(offsets), iter(offsets), np.array(offsets), array.array("I", offsets)):
        assert all_equal(packer.unpack_many(data, offsets=given_offsets), values)
    assert all_equal(packer.unpack_many(data, len(values), offsets), values)
    assert all_equal(packer.unpack_many(bytearray(data), len(values), [*offsets, len(data)]), values)
    assert all_equal(packer.unpack_many(data, count=2, offsets=offsets[:3]), values[:2])
    if dtype in NEEDS_OFFSETS:
        with pytest.raises(InvalidArgument, match=r"require offsets.* pack_with_offsets"):
            packer.unpack_many(data, count=len(values))
    else:
        for count in (None, len(values)):
            assert all_equal(packer.unpack_many(data, count), values)
        assert all_equal(packer.unpack_many(memoryview(data), count=1), values[:1])
        assert packer.unpack_many(data, count=0) == []


def test_no_values_are_no_bytes(packer, dtype):
    assert packer.pack_many([]) == b""
    assert packer.pack_with_offsets([]) == (b"", [])
    assert packer.unpack_many(b"", offsets=[]) == []
    if dtype not in NEEDS_OFFSETS:
        assert packer.unpack_many(b"") == packer.unpack_many(b"", 0) == []


def test_any_iterable_is_taken(packer, values):
    class Sequence:
        def __len__(self):
            return len(values)

        def __getitem__(self, index):
            return values[index]

        def __iter__(self):
            return iter(values)

    packed = packer.pack_many(values)
    for many in (
        tuple(values),
        iter(values),
        (value for value in values),
        dict(enumerate(values)).values(),
        Sequence(),
    ):
        assert packer.pack_many(many) == packed


def test_vectors_are_new_writable_arrays():
    packer = DataPacker("vec:f32:3")
    data = packer.pack_many(np.arange(6, dtype=F32).reshape(2, 3))
    first, second = packer.unpack_many(data)
    first[:] = 9
    assert second.tolist() == [3, 4, 5]
    assert packer.unpack(data).tolist() == [0, 1, 2]
    one = DataPacker("vec:f32").unpack(DataPacker("vec:f32").pack([1, 2]))
    one[0] = 5


def test_ranges_and_small_integers():
    packer = DataPacker("i64")
    assert packer.unpack_many(packer.pack_many(range(100_000)), count=100_000) == list(range(100_000))


# -- arrays ----------------------------------------------------------------------------------------------------

NUMBERS = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_arrays_of_any_stride_and_byte_order(dtype):
    numpy = np.dtype(dtype[0] + str(int(dtype[1:]) // 8))
    packer = DataPacker(dtype)
    matrix = np.arange(24).astype(numpy).reshape(4, 6)
    for values in (matrix[0], matrix[:, 1], matrix[0, ::-2], matrix[1].astype(numpy.newbyteorder()), matrix[0][:0]):
        expected = np.ascontiguousarray(values, numpy.newbyteorder("<")).tobytes()
        assert packer.pack_many(values) == expected
        assert bytes(packer.from_array(values)) == expected
        assert packer.pack_many(memoryview(values)) == expected
    vectors = DataPacker(f"vec:{dtype}:2:3")
    for values in (
        matrix.reshape(4, 2, 3),
        np.asfortranarray(matrix.reshape(4, 2, 3)),
        matrix.reshape(4, 3, 2).transpose(0, 2, 1),
        matrix.astype(numpy.newbyteorder(">")).reshape(4, 2, 3)[::-1],
    ):
        packed = vectors.pack_many(values)
        assert packed == vectors.pack_many(list(values)) == vectors.pack_many([v.tolist() for v in values])
        assert packed == bytes(vectors.from_array(values))
        assert np.array_equal(vectors.to_array(packed), values)
        assert np.array_equal(np.stack(vectors.unpack_many(packed)), values)


def test_other_buffers():
    assert DataPacker("i64").pack_many(array.array("q", [1, 2])) == DataPacker("i64").pack_many([1, 2])
    assert DataPacker("f32").pack_many(array.array("f", [1, 2])) == DataPacker("f32").pack_many([1, 2])
    assert DataPacker("i32").pack_many((ctypes.c_int32 * 2)(1, 2)) == DataPacker("i32").pack_many([1, 2])
    assert DataPacker("bool").pack_many(np.array([True, False])) == b"\1\0"
    assert DataPacker("u8").pack_many(b"abc") == b"abc"
    assert DataPacker("str").pack_many(np.array(["a", "bc"])) == b"abc"
    assert DataPacker("bytes").pack_many(np.array([b"a", b"bc"])) == b"abc"
    assert DataPacker("i64").pack_many(np.array([1, 2], object)) == DataPacker("i64").pack_many([1, 2])
    assert DataPacker("bytes").pack_many([bytearray(b"a"), memoryview(b"b")]) == b"ab"


class Tensor:
    """What other packages have: no buffer, no numpy array, but one that it makes of itself."""

    def __init__(self, values: object) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __iter__(self):
        return iter(map(Tensor, self.values))

    def __len__(self):
        return len(self.values)


def test_what_makes_an_array_of_itself():
    assert DataPacker("f64").pack_many(Tensor([1.5, 2.5])) == DataPacker("f64").pack_many([1.5, 2.5])
    vectors, anything = DataPacker("vec:f32:2"), DataPacker("vec:f32")
    rows = [[1.0, 2.0], [3.0, 4.0]]
    assert (
        vectors.pack_many(Tensor(rows)) == vectors.pack_many([Tensor(row) for row in rows]) == vectors.pack_many(rows)
    )
    assert anything.pack(Tensor(rows)) == anything.pack(rows)
    with pytest.raises(UnsupportedType, match="DoubleArray"):
        anything.pack(pa.array([1.5, None]))  # would be an array with NaN
    assert bytes(DataPacker("i64").from_array(Tensor([1, 2]))) == DataPacker("i64").pack_many([1, 2])
    with pytest.raises(UnsupportedType):
        DataPacker("i64").pack_many(Tensor([1.5]))


def test_packed_data_is_the_memory_of_a_buffer_whatever_its_items_are():
    packer = DataPacker("i64")
    for kind in ("<i8", ">i8", ">f4", "V8", "u1"):
        memory = np.frombuffer(packer.pack_many([1, 258]), kind)
        assert packer.unpack(memory, 8) == 258
        assert packer.unpack_many(memory) == packer.to_array(memory).tolist() == [1, 258]


def test_arrays_are_converted_where_no_value_changes():
    assert DataPacker("i64").pack_many(np.array([1, 2], np.int8)) == DataPacker("i64").pack_many([1, 2])
    assert DataPacker("u8").pack_many(np.array([0, 255])) == b"\0\xff"
    assert DataPacker("f64").pack_many(np.array([1, 2**53])) == DataPacker("f64").pack_many([1.0, 2.0**53])
    assert DataPacker("f32").pack_many(np.array([0.1])) == DataPacker("f32").pack_many([0.1])
    assert DataPacker("f32").pack_many(np.array([0.5, np.nan], np.float16)) == np.array([0.5, np.nan], F32).tobytes()
    assert DataPacker("vec:f32:2").pack(np.array([1, 2])) == DataPacker("vec:f32:2").pack([1.0, 2.0])


@pytest.mark.parametrize(
    ("dtype", "values", "error"),
    [
        ("i64", np.array([1.0]), UnsupportedType),
        ("i64", np.array([np.nan]), UnsupportedType),
        ("i64", np.array([2**63], np.uint64), InvalidArgument),
        ("i8", np.array([300]), InvalidArgument),
        ("u8", np.array([-1]), InvalidArgument),
        ("i64", np.array([True]), UnsupportedType),
        ("bool", np.array([1]), UnsupportedType),
        ("f32", np.array([1e300]), InvalidArgument),
        ("f32", np.array([2**24 + 1]), InvalidArgument),
        ("f64", np.array([2**53 + 1]), InvalidArgument),
        ("f64", np.array([2**63 - 1]), InvalidArgument),
        ("f64", np.array([1j]), UnsupportedType),
        ("f64", np.array(["1.5"]), UnsupportedType),
        ("f64", np.array(["2026-01-01"], "M8[D]"), UnsupportedType),
        ("f64", np.array([(1.0,)], [("a", "f8")]), UnsupportedType),
        ("f64", np.ma.MaskedArray([1.0, 2.0], [True, False]), UnsupportedType),
        ("i64", np.array(5), InvalidArgument),
        ("i64", np.array([[5]]), InvalidArgument),
        ("i64", b"12345678", UnsupportedType),
        ("vec:f32:3", np.zeros((2, 4), F32), InvalidArgument),
        ("vec:f32:3", np.zeros(3, F32), InvalidArgument),
        ("vec:f32:2:2", np.zeros((1, 4), F32), InvalidArgument),
    ],
    ids=str,
)
def test_arrays_that_would_be_changed_are_refused(dtype, values, error):
    with pytest.raises(error):
        DataPacker(dtype).pack_many(values)
    with pytest.raises(error):
        DataPacker(dtype).from_array(values)


# -- views -----------------------------------------------------------------------------------------------------


def test_to_array_is_a_view_that_is_writable_where_the_data_is():
    packer = DataPacker("i64")
    data = packer.pack_many([1, 2, 3])
    view = packer.to_array(data)
    assert view.dtype == np.int64
    assert view.tolist() == [1, 2, 3]
    assert not view.flags.writeable
    assert np.shares_memory(view, np.frombuffer(data, np.uint8))
    writable = bytearray(data)
    packer.to_array(writable, count=2)[1] = 9
    assert packer.unpack_many(writable) == [1, 9, 3]
    assert packer.to_array(b"").shape == (0,)
    assert packer.to_array(data, 0).shape == (0,)


def test_to_array_of_vectors_is_a_view_too():
    packer = DataPacker("vec:f32:2:3")
    values = np.arange(24, dtype=F32).reshape(4, 2, 3)
    data = bytearray(packer.pack_many(values))
    view = packer.to_array(data)
    assert view.dtype == F32
    assert np.array_equal(view, values)
    view[1, 1, 2] = 99
    assert packer.unpack_many(data)[1][1, 2] == 99
    assert np.array_equal(packer.to_array(bytes(data), count=1), values[:1])
    assert packer.to_array(b"").shape == (0, 2, 3)


def test_from_array_is_a_view_where_the_layout_is_the_same():
    packer = DataPacker("f64")
    values = np.arange(3.0)
    view = packer.from_array(values)
    assert (view.format, view.shape, view.readonly) == ("B", (24,), False)
    values[0] = 7
    assert packer.unpack(view) == 7
    values.flags.writeable = False
    assert packer.from_array(values).readonly
    copied = packer.from_array(np.arange(3))
    assert copied.readonly
    assert packer.unpack_many(copied) == [0, 1, 2]
    assert bytes(packer.from_array(np.arange(6.0)[::2])) == packer.pack_many([0, 2, 4])
    assert bytes(packer.from_array(np.zeros(0))) == b""
    # A bool of another program may be any byte; packed ones are 0 and 1.
    odd = np.frombuffer(b"\0\2", np.bool_)
    assert bytes(DataPacker("bool").from_array(odd)) == DataPacker("bool").pack_many(odd) == b"\0\1"


@pytest.mark.parametrize("dtype", ["str", "bytes:4", "msgpack", "vec:f32"])
def test_what_is_no_array_has_no_view(dtype):
    for call in (DataPacker(dtype).to_array, DataPacker(dtype).from_array):
        with pytest.raises(UnsupportedType, match="are no array"):
            call(b"")


def test_from_array_takes_arrays_only():
    for value in ([1, 2], 5, "ab", object(), np.array([1], object)):
        with pytest.raises(UnsupportedType):
            DataPacker("i64").from_array(value)
    with pytest.raises(UnsupportedType, match="in one piece"):
        DataPacker("u8").to_array(memoryview(b"abcd")[::2])


# -- Arrow -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMBERS)
def test_arrow_numbers(dtype):
    packer = DataPacker(dtype)
    kind = {"i": "int", "u": "uint", "f": "float"}[dtype[0]] + dtype[1:]
    values = pa.array(list(range(10)), pa.type_for_alias(kind))
    assert packer.pack_many(values) == packer.pack_many(list(range(10)))
    assert packer.pack_many(values[3:7]) == bytes(packer.from_array(values[3:7])) == packer.pack_many([3, 4, 5, 6])
    assert packer.pack_many(values[:0]) == b""
    with pytest.raises(UnsupportedType, match=r"element 1: null given.* fill_null"):
        packer.pack_many(pa.array([0, 1, None, 3], pa.type_for_alias(kind))[1:])
    assert packer.pack_many(pa.array([None, 1, 2], pa.type_for_alias(kind))[1:]) == packer.pack_many([1, 2])


def test_other_arrow_arrays():
    assert DataPacker("bool").pack_many(pa.array([True] * 9 + [False])[8:]) == b"\1\0"
    assert DataPacker("f32").pack_many(pa.array(np.array([0.5], np.float16))) == DataPacker("f32").pack_many([0.5])
    assert DataPacker("str").pack_many(pa.array(["a", "bc"])) == b"abc"
    assert DataPacker("msgpack").pack_many(pa.array([{"a": 1}])) == DataPacker("msgpack").pack_many([{"a": 1}])
    chunks = pa.chunked_array([[1, 2], [3]])
    assert DataPacker("i64").pack_many(chunks) == DataPacker("i64").pack_many([1, 2, 3])
    assert DataPacker("json").pack_many(pa.table({"a": chunks})) == b'{"a":1}{"a":2}{"a":3}'
    lists = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2))
    vectors = DataPacker("vec:f32:2")
    assert vectors.pack_many(lists[1:]) == vectors.pack_many([[3, 4], [5, 6]])
    nested = pa.array([[[1], [2]], [[3], [4]]], pa.list_(pa.list_(pa.int64(), 1), 2))
    assert DataPacker("vec:i64:2:1").pack_many(nested[1:]) == DataPacker("vec:i64:2:1").pack_many([[[3], [4]]])
    for dtype, values in [
        ("i64", pa.array(["a"])),
        ("i64", pa.array([1.5])),
        ("i8", pa.array([300])),
        ("i64", pa.array([1, 1]).dictionary_encode().cast(pa.float64())),
        ("vec:f32:2", pa.array([[1, 2], None], pa.list_(pa.float32(), 2))),
        ("vec:f32:2", pa.array([[1, None]], pa.list_(pa.float32(), 2))),
        ("vec:f32:3", lists),
        ("str", pa.array(["a", None])),
        ("f64", pa.chunked_array([[1.5, None]])),
    ]:
        with pytest.raises((InvalidArgument, UnsupportedType)):
            DataPacker(dtype).pack_many(values)


# -- values that are refused -----------------------------------------------------------------------------------

REFUSED = [
    ("i64", 2**63, InvalidArgument, "out of range"),
    ("i64", -(2**63) - 1, InvalidArgument, "out of range"),
    ("u64", -1, InvalidArgument, "out of range"),
    ("i8", 128, InvalidArgument, "-128 to 127"),
    ("i64", 1.0, UnsupportedType, "expected int"),
    ("i64", float("nan"), UnsupportedType, "expected int"),
    ("i64", True, UnsupportedType, "expected int"),
    ("i64", np.True_, UnsupportedType, "expected int"),
    ("i64", "5", UnsupportedType, "expected int"),
    ("i64", None, UnsupportedType, "expected int"),
    ("f32", 1e300, InvalidArgument, "out of range"),
    ("f32", 2**24 + 1, InvalidArgument, "exactly"),
    ("f64", 2**53 + 1, InvalidArgument, "exactly"),
    ("f64", 10**400, InvalidArgument, "out of range"),
    ("f64", True, UnsupportedType, "expected float"),
    ("f64", "1.5", UnsupportedType, "expected float"),
    ("f64", 1j, UnsupportedType, "expected float"),
    ("f64", Decimal("1.5"), UnsupportedType, "expected float"),
    ("bool", 1, UnsupportedType, "expected bool"),
    ("bool", "False", UnsupportedType, "expected bool"),
    ("bytes", "a", UnsupportedType, "expected bytes"),
    ("bytes", [1], UnsupportedType, "expected bytes"),
    ("bytes:4", b"hello", InvalidArgument, "Data too long"),
    ("str", b"a", UnsupportedType, "expected str"),
    ("str", "\ud800", InvalidArgument, "surrogates"),
    ("str:4:utf8", "hello", InvalidArgument, "Data too long"),
    ("str:4:utf8", "ßßß", InvalidArgument, "Data too long"),
    ("str:4:utf8", "a\0", InvalidArgument, "NUL"),
    ("str:ascii", "é", InvalidArgument, "non-ASCII"),
    ("str:latin1", "€", InvalidArgument, "outside Latin1 range"),
    ("msgpack", object, UnsupportedType, "cannot store"),
    ("cbor", (1,), UnsupportedType, "as CBOR"),
    ("json", {1: 2}, UnsupportedType, "keys are str"),
    ("json", float("nan"), UnsupportedType, "finite"),
    ("json", (1,), UnsupportedType, "as JSON"),
    ("vec:f32:3", [1, 2], InvalidArgument, "shape"),
    ("vec:f32:3", np.zeros(4, F32), InvalidArgument, "shape"),
    ("vec:f32:2:2", [[1, 2], [3]], InvalidArgument, "shape"),
    ("vec:f32:3", 5, UnsupportedType, "expected an array"),
    ("vec:f32:3", "abc", UnsupportedType, "expected an array"),
    ("vec:f32:3", b"0123456789ab", UnsupportedType, "f32"),
    ("vec:f32:1", [1e300], InvalidArgument, "out of range"),
    ("vec:f32:1", np.array([1e300]), InvalidArgument, "f32"),
    ("vec:f32:1", np.array([2**24 + 1]), InvalidArgument, "f32"),
    ("vec:f32", [[1, 2], [3]], InvalidArgument, "shape"),
    ("vec:f32", "abc", UnsupportedType, "expected an array"),
    ("vec:i64:1", [1.5], UnsupportedType, "expected int"),
    ("vec:i64:1", np.array([1.5]), UnsupportedType, "f64"),
    ("vec:i64:1", np.array([True]), UnsupportedType, "bool"),
    ("vec:f64:1", np.ma.MaskedArray([1.0], [True]), UnsupportedType, "masked"),
]


@pytest.mark.parametrize(("dtype", "value", "error", "message"), REFUSED, ids=str)
def test_values_that_would_be_changed_are_refused(dtype, value, error, message):
    packer = DataPacker(dtype)
    with pytest.raises(error, match=message):
        packer.pack(value)
    with pytest.raises(error, match=f"element 0: .*{message}" if dtype != "str" else message):
        packer.pack_many([value])
    good = DTYPES.get(dtype, ("", 0, []))[2][:1]
    if good:
        with pytest.raises(error, match="element 1: " if dtype != "str" else message):
            packer.pack_with_offsets([*good, value])


def test_one_value_is_no_sequence_of_values(packer):
    for value in (5, None, "abc", {"a": 1}, int):
        with pytest.raises(UnsupportedType, match="sequence"):
            packer.pack_many(value)


def test_what_an_iterator_raises_is_passed_on(packer, values):
    def failing():
        yield values[0]
        raise ValueError("half-way")

    with pytest.raises(ValueError, match=r"^half-way$") as caught:
        packer.pack_many(failing())
    assert not isinstance(caught.value, KohakuVaultError)


def test_a_list_that_shrinks_while_it_is_packed_is_an_error():
    class Shrinking:
        def __index__(self):
            values.clear()
            return 1

    values: list[object] = [Shrinking(), 2, 3]
    with pytest.raises(RuntimeError, match="changed size"):
        DataPacker("i64").pack_many(values)


def test_depth_is_bounded():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    cyclic: list[object] = []
    cyclic.append(cyclic)
    for dtype in ("msgpack", "cbor", "json", "vec:f32", "vec:f32:1:1"):
        for value in (deep, cyclic):
            with pytest.raises((InvalidArgument, UnsupportedType)):
                DataPacker(dtype).pack(value)
    while deep:
        deep = deep.pop()  # type: ignore[assignment]
    for dtype, data in [
        ("msgpack", b"\x91" * 100_000),
        ("cbor", b"\x81" * 100_000),
        ("json", b"[" * 100_000),
        ("json", b"[" * 100_000 + b"]" * 100_000),
    ]:
        with pytest.raises(CorruptValue):
            DataPacker(dtype).unpack(data)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("foo", "Unknown dtype"),
        ("", "Unknown dtype"),
        ("i64:2", "takes no parameters"),
        ("json:3", "takes no parameters"),
        ("bytes:0", "not a size"),
        ("str:utf7", "unknown encoding"),
        ("vec:str", "unknown vector element"),
        ("vec:f32:0", "not a size"),
        ("vec:f64:65536:65536", "exceed"),
    ],
)
def test_dtypes_that_there_are_not(dtype, message):
    with pytest.raises(InvalidArgument, match=message):
        DataPacker(dtype)


def test_a_dtype_is_text():
    for dtype in (5, None, b"i64", np.int64):
        with pytest.raises(UnsupportedType, match="as dtype"):
            DataPacker(dtype)


# -- data that is refused --------------------------------------------------------------------------------------


def test_short_data_is_an_error(packer, values, dtype):
    for value in values:
        packed = packer.pack(value)
        for length in range(min(len(packed), 20)):
            if dtype not in NEEDS_OFFSETS:
                with pytest.raises(CorruptValue):
                    packer.unpack(packed[:length])
                with pytest.raises(CorruptValue):
                    packer.unpack_many(packed[:length], count=1)
                with pytest.raises(CorruptValue):
                    packer.unpack_many(packed[:length], offsets=[0])
    if dtype not in NEEDS_OFFSETS:
        with pytest.raises(CorruptValue, match="Not enough data"):
            packer.unpack_many(packer.pack_many(values), count=len(values) + 1)
        with pytest.raises(CorruptValue):
            packer.unpack_many(packer.pack_many(values), count=2**60)


def test_bytes_that_belong_to_no_element_are_an_error(packer, values, dtype):
    data = packer.pack(values[0])
    if dtype not in NEEDS_OFFSETS - {"json"}:
        with pytest.raises(CorruptValue, match="element 0"):
            packer.unpack_many(data + b"\1", offsets=[0])
        if not packer.is_varsize and packer.elem_size > 1:
            with pytest.raises(CorruptValue, match="no whole number of elements"):
                packer.unpack_many(data + b"\1")


@pytest.mark.parametrize("offsets", [[3, 0], [-1], [10**6], [0, 10**6], [0, 2**63], [2**200], [1, 0, 1]])
def test_offsets_that_are_no_places_are_errors(packer, values, offsets):
    data = packer.pack_many(values)
    with pytest.raises(InvalidArgument, match="offset"):
        packer.unpack_many(data, offsets=offsets)
    if max(offsets) < 2**62:
        with pytest.raises(InvalidArgument, match="offset"):
            packer.unpack_many(data, offsets=np.array(offsets))


def test_offsets_of_another_type_are_errors(packer, values):
    data = packer.pack_many(values)
    for offsets in ([1.5], ["a"], 5, "01", np.array([0.0]), np.array([[0]]), [None], b"\0"):
        if offsets == b"\0":
            offsets = [True]
        with pytest.raises(UnsupportedType):
            packer.unpack_many(data, offsets=offsets)
    with pytest.raises(InvalidArgument, match="3 offsets given for 1 elements"):
        packer.unpack_many(data, 1, [0, 0, 0])


def test_offsets_and_counts_out_of_range(packer, values):
    data = packer.pack_many(values)
    for offset in (-1, len(data) + 1, 2**40, 2**70, -(2**70)):
        with pytest.raises(InvalidArgument, match="offset"):
            packer.unpack(data, offset)
    for count in (-1, 2**70):
        with pytest.raises(InvalidArgument, match="count"):
            packer.unpack_many(data, count)
    for bad in (1.5, "1", True, b""):
        with pytest.raises(UnsupportedType, match="expected an int"):
            packer.unpack(data, bad)
        with pytest.raises(UnsupportedType, match="expected an int"):
            packer.unpack_many(data, bad)


def test_data_is_bytes(packer):
    for data in ("abc", 5, None, [1, 2]):
        with pytest.raises(UnsupportedType):
            packer.unpack(data)
        with pytest.raises(UnsupportedType):
            packer.unpack_many(data)
        with pytest.raises(UnsupportedType):
            packer.to_array(data)


@pytest.mark.parametrize(
    ("dtype", "data", "message"),
    [
        ("bool", b"\2", "bool byte"),
        ("str", b"\xff", "not valid utf8"),
        ("str", b"\xed\xa0\x80", "not valid utf8"),
        ("str:ascii", b"\x80", "not valid ascii"),
        ("str:utf16le", b"a", "not valid utf16le"),
        ("str:utf16le", b"\0\xd8", "not valid utf16le"),
        ("str:2", b"\xffa", "not valid utf8"),
        ("vec:f32:1", b"\2\0\0\0\0", "vector type 0x02; expected 0x01"),
        ("vec:bool:1", b"\x0b\2", "bool byte"),
        ("vec:f32", b"\2\1\0\0\0\0", "vector type 0x02; expected 0x01"),
        ("vec:f32", b"\1\1\xff\xff\xff\xff", "exceed"),
        ("vec:f32", b"\1\xff" + b"\1\0\0\0" * 255, "dimensions"),
        ("msgpack", b"\xc1", "MessagePack"),
        ("msgpack", b"\xdd\xff\xff\xff\xff\1", "MessagePack"),
        ("msgpack", b"\xc7\3\x12abc", "pickle"),
        ("cbor", b"\xff", "CBOR"),
        ("cbor", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\1", "CBOR"),
        ("json", b"{", "JSON"),
        ("json", b"\xff", "UTF-8"),
    ],
)
def test_damaged_data_is_named(dtype, data, message):
    packer = DataPacker(dtype)
    with pytest.raises(CorruptValue, match=message):
        packer.unpack(data)
    with pytest.raises(CorruptValue, match=message):
        packer.unpack_many(data, offsets=[0])
    if dtype in ("bool", "vec:f32:1", "vec:bool:1"):
        with pytest.raises(CorruptValue):
            packer.to_array(data)


OWN = (InvalidArgument, UnsupportedType, CorruptValue)


@given(st.sampled_from(sorted(DTYPES)), st.binary(max_size=60), st.data())
def test_unpacking_anything_is_harmless(dtype, data, draw):
    packer = DataPacker(dtype)
    # Likely heads, so that what is behind them is read too.
    data = draw.draw(st.sampled_from([b"", b"\1", b"\x0a\1", b"\x0b\1\1\0\0\0", b"\x93", b"\xd9\x81", b"["])) + data
    integers = st.one_of(st.integers(-2, len(data) + 2), st.sampled_from([2**31, 2**63, -(2**64)]))
    count, offset = draw.draw(st.none() | integers), draw.draw(integers)
    offsets = draw.draw(st.none() | st.lists(integers, max_size=5) | st.lists(integers, max_size=5).map(sorted))
    for call in (
        lambda: packer.unpack(data, offset),
        lambda: packer.unpack_many(data, count, offsets),
        lambda: packer.to_array(data, count),
    ):
        with contextlib.suppress(OWN):
            call()


# -- properties ------------------------------------------------------------------------------------------------

SCALARS = {
    **{f"i{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "bytes": st.binary(),
    "bytes:5": st.binary(min_size=5, max_size=5),
    "str": st.text(),
    "str:utf16le": st.text(),
    "str:utf16be": st.text(),
    "str:latin1": st.text(st.characters(max_codepoint=255)),
    "str:ascii": st.text(st.characters(max_codepoint=127)),
}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
SCALARS |= {"json": TREES, "cbor": TREES, "msgpack": TREES}


@given(st.sampled_from(sorted(SCALARS)), st.data())
def test_values_round_trip(dtype, data):
    packer = DataPacker(dtype)
    values = data.draw(st.lists(SCALARS[dtype], max_size=20))
    packed, offsets = packer.pack_with_offsets(values)
    assert packed == packer.pack_many(tuple(values))
    assert repr(packer.unpack_many(packed, offsets=offsets)) == repr(values)
    if dtype not in NEEDS_OFFSETS and dtype != "bytes:5":
        assert repr(packer.unpack_many(packed, len(values))) == repr(values)
    for value, offset, end in zip(values, offsets, [*offsets, len(packed)][1:], strict=True):
        assert repr(packer.unpack(packed[:end], offset)) == repr(value)


@given(TREES | st.text(st.sampled_from('"\\/\b\f\n\r\t\0\x1f\x7f\u2028é𝄞')))
def test_json_is_what_the_standard_library_writes(value):
    packed = DataPacker("json").pack(value)
    assert packed == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@given(st.text(), st.integers(1, 12))
def test_text_of_a_size_round_trips_or_is_refused(text, size):
    packer = DataPacker(f"str:{size}:utf8")
    try:
        packed = packer.pack(text)
    except InvalidArgument:
        assert len(text.encode()) > size or text.endswith("\0")
    else:
        assert len(packed) == size
        assert packer.unpack(packed) == text


@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda dtype: st.tuples(
            st.just(dtype),
            hnp.arrays(dtype[0] + str(int(dtype[1:]) // 8), hnp.array_shapes(min_dims=2, max_dims=4, max_side=4)),
        )
    )
)
def test_vectors_round_trip(example):
    dtype, values = example
    shape = ":".join(map(str, values.shape[1:]))
    fixed, free = DataPacker(f"vec:{dtype}:{shape}"), DataPacker(f"vec:{dtype}")
    packed = fixed.pack_many(values)
    assert packed == fixed.pack_many(list(values))
    assert fixed.to_array(packed).tobytes() == values.tobytes()
    assert all_equal(fixed.unpack_many(packed), list(values))
    assert all_equal(free.unpack_many(free.pack_many(list(values))), list(values))


@given(hnp.arrays(st.sampled_from(["i8", "i4", "u8", "u1", "f4", "f8", "?"]), 3), st.sampled_from([*NUMBERS, "bool"]))
def test_arrays_are_taken_and_refused_like_their_values(values, dtype):
    assume(values.dtype.kind != "f" or np.isfinite(values).all())
    packer = DataPacker(dtype)

    def outcome(given: object) -> object:
        try:
            return packer.pack_many(given)
        except OWN as error:
            return type(error)

    assert outcome(values) == outcome(values.tolist())


# -- the packer itself -----------------------------------------------------------------------------------------


def test_packers_are_values(packer, dtype):
    again = DataPacker(packer.dtype)
    assert packer == again
    assert hash(packer) == hash(again)
    assert packer != DataPacker("bytes:77")
    assert packer != dtype
    for twin in (pickle.loads(pickle.dumps(packer)), copy.copy(packer), copy.deepcopy(packer)):
        assert twin == packer
    with pytest.raises(AttributeError):
        packer.dtype = "f64"


def test_packers_work_in_threads():
    packer = DataPacker("msgpack")
    values = [{"id": i, "vector": np.arange(i % 5)} for i in range(300)]
    packed = packer.pack_many(values)
    failures: list[object] = []

    def work():
        same = [packer.pack_many(values) == packed and len(packer.unpack_many(packed)) == 300 for _ in range(20)]
        if not all(same):
            failures.append(same)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_packing_leaks_nothing():
    packer, vectors = DataPacker("json"), DataPacker("vec:f32:2")
    marker = object()
    value, row = [marker], np.zeros(2, F32)
    before = sys.getrefcount(marker), sys.getrefcount(row)
    for _ in range(50):
        with pytest.raises(UnsupportedType):
            packer.pack_many([1, marker])
        vectors.unpack_many(vectors.pack_many([row, row]))
    assert (sys.getrefcount(marker), sys.getrefcount(row)) == before
    assert value == [marker]


# -- JSON schemas ----------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


@pytest.mark.parametrize("dtype", ["msgpack", "cbor", "json"])
def test_a_schema_is_held_to_when_packing(dtype):
    packer = DataPacker(dtype).with_json_schema(SCHEMA)
    assert packer.dtype == dtype
    value = {"name": "Alice", "age": 5}
    assert packer.pack(value) == DataPacker(dtype).pack(value)
    assert packer.unpack(packer.pack(value)) == value
    with pytest.raises(InvalidArgument, match=r'^Validation errors: "name" is a required property$'):
        packer.pack({})
    with pytest.raises(
        InvalidArgument, match=r"^Validation errors: .*'age'.* -1 is less than.*; at \['name'\]: 5 is not"
    ):
        packer.pack({"age": -1, "name": 5})
    for call in (packer.pack_many, packer.pack_with_offsets):
        call([value, value])
        with pytest.raises(InvalidArgument, match=r"^element 1: Validation errors: "):
            call(iter([value, {}]))
    # What is stored already is read, whatever the schema says.
    assert packer.unpack(DataPacker(dtype).pack({})) == {}


def test_a_schema_of_the_class_is_one_of_msgpack():
    packer = DataPacker.with_json_schema(SCHEMA)
    assert packer == DataPacker("msgpack", SCHEMA) == DataPacker("msgpack").with_json_schema(SCHEMA)
    assert packer.pack({"name": "x"}) == bytes.fromhex("81a46e616d65a178")


def test_packers_with_a_schema_are_values():
    packer = DataPacker("json", json_schema=SCHEMA)
    reordered = DataPacker("json", json_schema=dict(reversed(SCHEMA.items())))
    assert packer == reordered
    assert hash(packer) == hash(reordered)
    assert packer not in {DataPacker("json"), DataPacker("cbor", SCHEMA), DataPacker("json", True)}
    assert packer == pickle.loads(pickle.dumps(packer)) == eval(repr(packer)) == copy.deepcopy(packer)
    assert DataPacker("json", packer.json_schema) == packer


@pytest.mark.parametrize(
    ("schema", "error", "message"),
    [
        ({"type": "nope"}, InvalidArgument, "Schema compilation failed"),
        ({"$ref": "http://example.com/x.json"}, InvalidArgument, "example.com"),
        ({"$ref": "file:///etc/passwd"}, InvalidArgument, "passwd"),
        ({"const": float("nan")}, InvalidArgument, "no JSON"),
        ({"const": b""}, InvalidArgument, "no JSON"),
        ("{", InvalidArgument, "no JSON"),
        (5, UnsupportedType, "JSON schema"),
        ([], UnsupportedType, "JSON schema"),
    ],
)
def test_schemas_that_are_none(schema, error, message):
    with pytest.raises(error, match=message):
        DataPacker.with_json_schema(schema)


def test_a_schema_that_is_too_deep():
    schema: dict[str, object] = {}
    for _ in range(200):
        schema = {"not": schema}
    with pytest.raises(InvalidArgument, match="deeper than 100"):
        DataPacker.with_json_schema(schema)


def test_a_schema_judges_values_of_many_types_only():
    for dtype in ("i64", "str", "vec:f32:2"):
        with pytest.raises(UnsupportedType, match="msgpack, cbor and json"):
            DataPacker(dtype).with_json_schema(SCHEMA)


def test_values_that_a_schema_cannot_judge():
    packer = DataPacker("msgpack", {"type": ["object", "array", "number"], "items": {"type": "string"}})
    with pytest.raises(UnsupportedType, match="cannot judge"):
        packer.pack([b"x"])
    deep: list[object] = []
    for _ in range(99):
        deep = [deep]
    recursive = {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
    DataPacker("msgpack", recursive).pack(deep)
    with pytest.raises(InvalidArgument, match="deeper than 100"):
        DataPacker("msgpack", recursive).pack([[deep]])
    cyclic: list[object] = []
    cyclic.append(cyclic)
    with pytest.raises(InvalidArgument, match="deeper than 100"):
        DataPacker("msgpack", recursive).pack(cyclic)


# -- the example that the project began with -------------------------------------------------------------------


def test_the_first_example():
    packer_i64 = DataPacker("i64")
    assert packer_i64.unpack(packer_i64.pack(42), 0) == 42
    packer_msg = DataPacker("msgpack")
    assert packer_msg.unpack(packer_msg.pack({"key": "value"}), 0) == {"key": "value"}
    values = list(range(100_000))
    packed = packer_i64.pack_many(values)
    assert packer_i64.unpack_many(packed, count=100_000) == values
