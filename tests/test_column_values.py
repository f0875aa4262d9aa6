"""What goes into a column comes out of it, or is refused: Python values, arrays and vectors."""

from __future__ import annotations

import array
from collections import OrderedDict

import numpy as np
import pytest

from column_model import ARRAY_TYPES, FIXED, NUMBERS, VARIABLE, all_equal, elements, equal
from kohakuvault import Column, ColumnVault, InvalidArgument, KohakuVaultError, UnsupportedType

RNG = np.random.default_rng(3)


@pytest.fixture
def cv(engine) -> ColumnVault:
    return ColumnVault(engine)


WRONG = {
    "i64": ["5", 1.5, True, None, 2**63, np.float64(1)],
    "u8": [-1, 256, 1.0],
    "f64": ["1.5", None, 1j],
    "f32": [1e300, "x"],
    "bool": [1, "True", None],
    "str:utf8": [b"x", 1, None, "\ud800"],
    "bytes": ["x", 1, None],
    "msgpack": [object(), OrderedDict(a=1)],
    "cbor": [object(), (1, 2)],
    "json": [object(), (1, 2), {1: 2}, float("nan"), b"x"],
    "vec:f32:384": [
        np.zeros(383, np.float32),
        [1.0] * 385,
        "x" * 384,
        1.0,
        np.zeros((1, 384), np.float32),
        np.zeros(384, complex),
    ],
    "vec:u8:3:8:8": [np.zeros((3, 8), np.uint8), np.zeros((3, 8, 8), np.float32), np.full((3, 8, 8), 256)],
    "vec:f32": ["x", None, np.zeros(2, complex)],
}


@pytest.mark.parametrize("dtype", WRONG)
def test_a_wrong_value_is_refused_and_changes_nothing(cv, dtype):
    column, values = cv.create_column("c", dtype, block_bytes=64), elements(dtype, 30)
    column.extend(values)
    for wrong in WRONG[dtype]:
        for operation in (
            lambda: column.append(wrong),
            lambda: column.extend([values[0], wrong]),
            lambda: column.__setitem__(0, wrong),
            lambda: column.__setitem__(slice(1, 3), [values[0], wrong]),
            lambda: column.insert(2, wrong),
        ):
            with pytest.raises((TypeError, ValueError)) as caught:
                operation()
            assert isinstance(caught.value, KohakuVaultError), wrong
    assert all_equal(column[:], values)


@pytest.mark.parametrize("numeric", NUMBERS)
def test_arrays_go_in_and_come_out(cv, numeric):
    column = cv.create_column("c", numeric)
    target = column.to_numpy().dtype
    data = (np.arange(3000) % 100).astype(target)
    column.extend(data)
    column.extend(data[::-3])
    column.extend(data.astype(target.newbyteorder(">")))
    expected = np.concatenate([data, data[::-3], data])
    assert column.to_numpy().dtype == target
    assert np.array_equal(column.to_numpy(), expected)
    assert np.array_equal(np.asarray(column), expected)
    assert np.array_equal(column.to_numpy(2990, 3010), expected[2990:3010])
    assert column[:] == expected.tolist()
    if numeric != "bool":
        codes = {
            "i1": "b",
            "i2": "h",
            "i4": "i",
            "i8": "q",
            "u1": "B",
            "u2": "H",
            "u4": "I",
            "u8": "Q",
            "f4": "f",
            "f8": "d",
        }
        column[:] = array.array(codes[target.str[1:]], [1, 2, 3])
        assert column[:] == [1, 2, 3]


@pytest.mark.parametrize(
    ("numeric", "wrong"),
    [
        ("i64", np.array([1.0])),
        ("i64", np.array([np.nan])),
        ("i64", np.array([2**63], dtype=np.uint64)),
        ("i8", np.array([300])),
        ("u8", np.array([-1])),
        ("i64", np.array([True])),
        ("f32", np.array([1e300])),
        ("f64", np.array([1j])),
        ("f64", np.array(["1.5"])),
        ("bool", np.array([1])),
        ("i64", np.zeros((2, 2), dtype=np.int64)),
        ("i64", np.array(5)),
    ],
)
def test_an_array_that_would_change_is_refused(numeric, wrong):
    column = ColumnVault(":memory:").create_column("c", numeric)
    with pytest.raises((UnsupportedType, InvalidArgument)):
        column.extend(wrong)
    assert len(column) == 0


def test_arrays_that_fit_are_converted():
    cv = ColumnVault(":memory:")
    for number, (dtype, given_, expected) in enumerate(
        [
            ("i64", np.array([1, 2], np.uint8), [1, 2]),
            ("u8", np.array([255]), [255]),
            ("f64", np.array([1, 2]), [1.0, 2.0]),
            ("f32", np.array([0.5]), [0.5]),
            ("f32", np.array([np.inf]), [float("inf")]),
        ]
    ):
        column = cv.create_column(f"c{number}", dtype)
        column.extend(given_)
        assert column[:] == expected


def test_vectors_are_stacked_and_converted(cv):
    column = cv.create_column("v", "vec:f32:3")
    data = RNG.standard_normal((500, 3)).astype(np.float32)
    column.extend(data)
    column.extend([[1, 2, 3], (4.0, 5.0, 6.0), np.array([7, 8, 9])])
    column.append(np.array([1.5, 2.5, 3.5]))
    assert column[:].shape == (504, 3)
    assert column[:].dtype == np.float32
    assert np.array_equal(column[:500], data)
    assert np.array_equal(column[500:], [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1.5, 2.5, 3.5]])
    assert column[0:0].shape == (0, 3)
    column[0] = [0, 0, 0]
    read = column[0]
    read[0] = 5
    assert np.array_equal(column[0], [0, 0, 0])


@pytest.mark.parametrize("dtype", FIXED)
def test_as_arrays(cv, dtype):
    column, values = cv.create_column("c", dtype, block_bytes=64), elements(dtype, 60)
    column.extend(values)
    whole = column.to_numpy()
    if dtype.startswith(("bytes", "str")):
        assert whole.dtype == object
        assert whole.tolist() == values
        return
    kind = dtype.removeprefix("vec:").partition(":")[0]
    expected = np.array(values, ARRAY_TYPES[kind])
    for start, stop in ((0, None), (3, 50), (-7, None), (2, -2), (50, 10), (59, 99)):
        found = column.to_numpy(start, stop)
        assert equal(found, expected[start:stop])
        assert found.flags.writeable
        assert equal(column.read_array(3, 20), expected[3:23])
        out = np.empty_like(expected[start:stop])
        assert column.to_numpy(start, stop, out=out) is out
        assert equal(out, expected[start:stop])
    assert equal(np.asarray(column), expected)
    assert equal(np.array(column, copy=True), expected)
    assert equal(np.asarray(column, "O").astype(expected.dtype), expected)
    assert equal(np.concatenate(list(column.iter_batches(7))), expected)
    assert equal(column.take([5, 5, -1, 0]), expected[[5, 5, -1, 0]])
    assert equal(column.take([]), expected[:0])
    with pytest.raises(ValueError, match="copy=False"):
        column.__array__(copy=False)
    for out in (np.empty((59, *expected.shape[1:]), expected.dtype), expected.astype(complex)):
        with pytest.raises(InvalidArgument, match="out is an array of"):
            column.to_numpy(out=out)
    with pytest.raises(UnsupportedType, match="out is an array"):
        column.to_numpy(out=[])
    strided = np.empty((120, *expected.shape[1:]), expected.dtype)[::2]
    assert equal(column.to_numpy(out=strided), expected)
    # What was read is a copy, and what was written is too.
    whole[...] = 0
    given_ = expected.copy()
    column.extend(given_)
    given_[...] = 0
    assert equal(column.to_numpy(), np.concatenate([expected, expected]))


@pytest.mark.parametrize("dtype", VARIABLE)
def test_elements_of_different_sizes_as_arrays_of_objects(cv, dtype):
    column, values = cv.create_column("c", dtype, block_bytes=64), elements(dtype, 30)
    column.extend(values)
    for found in (column.to_numpy(), np.asarray(column), np.concatenate(list(column.iter_batches(4)))):
        assert (found.dtype, found.shape) == (object, (30,))
        assert all_equal(list(found), values)
    out = np.empty(5, object)
    assert column.to_numpy(2, 7, out=out) is out
    assert all_equal(list(out), values[2:7])
    assert all_equal(list(column.take([3, -1, 3])), [values[3], values[-1], values[3]])


@pytest.mark.parametrize("dtype", [*NUMBERS, "vec:u8:2:3", "vec:f32:3"])
def test_arrays_are_assigned_everywhere(cv, dtype):
    kind = dtype.removeprefix("vec:").partition(":")[0]
    column, model = cv.create_column("c", dtype, block_bytes=64), np.array(elements(dtype, 120), ARRAY_TYPES[kind])
    new = np.array(elements(dtype, 120, "new"), ARRAY_TYPES[kind])
    column.append_array(model)
    for part in (slice(3, 70), slice(None, None, 3), slice(None, None, -1), slice(100, 2, -7), slice(-5, None)):
        model[part] = new[part]
        column[part] = new[part]
        assert equal(column.to_numpy(), model)
        # Of any stride and byte order.
        model[part] = new[::-1][part]
        column[part] = new[::-1].astype(new.dtype.newbyteorder(">"))[part]
        assert equal(column.to_numpy(), model)
    many = RNG.permutation(120)[:50]
    column[many] = new[:50]
    model[many] = new[:50]
    assert equal(column.to_numpy(), model)
    mask = RNG.random(120) < 0.3
    column[mask] = new[mask][::-1]
    model[mask] = new[mask][::-1]
    assert equal(column.to_numpy(), model)
    column[10:12] = new[:40]
    model = np.concatenate([model[:10], new[:40], model[12:]])
    assert equal(column.to_numpy(), model)
    with pytest.raises(UnsupportedType, match="append_array takes an array"):
        column.append_array(model.tolist())


def sorted_column(cv: ColumnVault, dtype: str, values: list[object], **how: object) -> list[object]:
    column: Column = cv.ensure(f"sorted {dtype}", dtype, block_bytes=64)
    column[:] = values
    column.sort(**how)
    return column[:]


def test_numbers_are_sorted_as_a_list_is(cv):
    for dtype in NUMBERS:
        values = elements(dtype, 60)
        for reverse in (False, True):
            assert sorted_column(cv, dtype, values, reverse=reverse) == sorted(values, reverse=reverse)
    zeros = [0.0, -0.0, 1.0, -0.0, 0.0]
    for reverse in (False, True):
        assert all_equal(sorted_column(cv, "f64", zeros, reverse=reverse), sorted(zeros, reverse=reverse))
    nan = float("nan")
    assert all_equal(sorted_column(cv, "f64", [nan, 1.0, nan, -1.0]), [-1.0, 1.0, nan, nan])
    assert all_equal(sorted_column(cv, "f64", [nan, 1.0, nan, -1.0], reverse=True), [nan, nan, 1.0, -1.0])


def test_numbers_are_found_as_python_compares_them(cv):
    column = cv.create_column("i", "i64")
    column.extend([1, 2**53, 2**53 + 1, 0])
    for value, there in [
        (True, True),
        (1.0, True),
        (1.5, False),
        (2.0**53, True),
        (float("nan"), False),
        (2**70, False),
    ]:
        assert (value in column) is there
        assert column.count(value) == int(there)
    assert column.index(np.float64(2**53)) == 1
    assert column.index(2**53 + 1) == 2
    assert column.index(False) == 3
    floats = cv.create_column("f", "f32")
    floats.extend([0.5, 0.1, -0.0])
    for value, there in [(0.5, True), (0.1, False), (np.float32(0.1), True), (0, True), (10**400, False), ("0", False)]:
        assert (value in floats) is there


class Everything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


@pytest.mark.parametrize("dtype", ["i64", "f32", "bool", "str:utf8", "msgpack"])
def test_an_object_that_compares_itself_is_asked(cv, dtype):
    column = cv.create_column("c", dtype, block_bytes=64)
    column.extend(elements(dtype, 30))
    assert Everything() in column
    assert column.count(Everything()) == 30
    assert column.index(Everything(), 7) == 7
