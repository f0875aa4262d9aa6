"""The contract of Column and ColumnVault, for every dtype, on every database and kind of bind."""

from __future__ import annotations

import array
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from kohakuvault import (
    Column,
    ColumnVault,
    CorruptValue,
    InvalidArgument,
    KohakuVaultError,
    NotFound,
    OutOfRange,
    UnsupportedType,
)
from kohakuvault.orm.tables import Block, ColumnRecord, Payload

RNG = np.random.default_rng(3)


def vectors(n: int) -> list[np.ndarray]:
    return [RNG.standard_normal(384).astype(np.float32) for _ in range(n)]


# Ten elements of each dtype, all different.
ELEMENTS = {
    "i64": [0, 1, -1, 2**63 - 1, -(2**63), 5, 6, 7, 8, 9],
    "u8": list(range(246, 256)),
    "f64": [0.0, -1.5, 1e300, 5e-324, float("inf"), 2.0, 3.0, 4.0, 5.0, 6.0],
    "f32": [0.0, 0.5, -1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "bool": [True, False] * 5,
    "str:utf8": ["", "a", "ß", "\0", "☃" * 100, "b", "c", "d", "e", "f"],
    "bytes": [b"", b"a", b"\0", b"\xff" * 300, b"b", b"c", b"d", b"e", b"f", b"g"],
    "msgpack": [{"a": (1, 2)}, [], None, 2**70, "x", b"y", 1.5, True, {1: 2}, [[1]]],
    "cbor": [{"a": [1, 2]}, [], None, 2**70, "x", b"y", 1.5, True, {1: 2}, [[1]]],
    "json": [{"a": [1, 2]}, [], None, 2**70, "x", "ß", 1.5, True, {"1": 2}, [[1]]],
    "vec:f32:384": vectors(10),
    "vec:u8:3:8:8": [RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8) for _ in range(10)],
    "vec:f32": [RNG.standard_normal(shape).astype(np.float32) for shape in [(1,), (2, 3), (0,), (4,), (1, 1, 5)] * 2],
}
# What is run for each dtype on each database; other binds run one dtype of each storage class.
DTYPES = list(ELEMENTS)


def equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(np.asarray(a), np.asarray(b)) and np.asarray(a).dtype == np.asarray(b).dtype
    return type(a) is type(b) and a == b


def same(column: Column, model: list[object]) -> bool:
    """The column has the model's elements, read in each way."""
    return (
        len(column) == len(model)
        and all(equal(x, y) for x, y in zip(column[:], model, strict=True))
        and all(equal(x, y) for x, y in zip(column, model, strict=True))
        and all(equal(column[i], model[i]) for i in range(-len(model), len(model)))
    )


@pytest.fixture(params=DTYPES)
def dtype(request) -> str:
    return request.param


@pytest.fixture
def cv(engine) -> ColumnVault:
    return ColumnVault(engine)


@pytest.fixture
def column(cv, dtype) -> Column:
    # Small blocks, so that ten elements are several.
    return cv.create_column("column", dtype, block_bytes=64)


@pytest.fixture
def values(dtype) -> list[object]:
    return list(ELEMENTS[dtype])


def test_append_extend_index_slice_iterate(column, values):
    assert same(column, [])
    column.append(values[0])
    column.extend(values[1:7])
    column.extend([])
    column += tuple(values[7:9])
    column.extend(value for value in values[9:])
    assert same(column, values)
    for part in (slice(2, 5), slice(-3, None), slice(None, None, 2), slice(None, None, -1), slice(8, 2, -3)):
        assert all(equal(x, y) for x, y in zip(column[part], values[part], strict=True)), part
    for part in (slice(5, 5), slice(7, 3), slice(100, 200), slice(10, None)):
        assert len(column[part]) == 0


def test_assignment_to_elements_and_slices(column, values):
    column.extend(values)
    model = list(values)
    for index, value in [(0, values[3]), (-1, values[0]), (5, values[9])]:
        column[index] = value
        model[index] = value
        assert same(column, model)
    for part, new in [
        (slice(2, 4), values[:2]),
        (slice(0, 0), values[4:6]),
        (slice(1, 8), values[:1]),
        (slice(3, 3), values),
        (slice(None, None, 2), None),
        (slice(None, None, -3), None),
        (slice(100, 200), values[:2]),
        (slice(None), values),
        (slice(None), []),
    ]:
        new = values[:1] * len(model[part]) if new is None else new
        column[part] = new
        model[part] = new
        assert same(column, model), part


def test_insert_and_delete_anywhere(column, values):
    column.extend(values)
    model = list(values)
    for index in (0, 5, -1, 100, -100):
        column.insert(index, values[4])
        model.insert(index, values[4])
        assert same(column, model)
    for index in (0, -1, 6, slice(2, 5), slice(None, None, 3), slice(3, 1)):
        del column[index]
        del model[index]
        assert same(column, model)
    assert equal(column.pop(), model.pop())
    assert equal(column.pop(1), model.pop(1))
    column.reverse()
    model.reverse()
    assert same(column, model)
    column.clear()
    assert same(column, [])
    column.extend(values)
    assert same(column, values)


def test_a_second_handle_and_a_reopened_vault_see_the_same(cv, column, values):
    other = cv["column"]
    column.extend(values[:5])
    other.extend(values[5:])
    assert same(column, values)
    assert same(ColumnVault(cv)["column"], values)
    assert cv.list_columns() == [("column", column.dtype, 10)]


def test_self_assignment_and_self_extension(column, values):
    column.extend(values)
    column.extend(column)
    assert same(column, values * 2)
    column[2:4] = column
    assert same(column, values[:2] + values * 2 + values[4:] + values)


@pytest.mark.parametrize("index", [10, -11, 10**30, -(10**30)])
def test_an_index_beyond_the_ends_is_an_index_error(column, values, index):
    column.extend(values)
    for operation in (
        lambda: column[index],
        lambda: column.__setitem__(index, values[0]),
        lambda: column.__delitem__(index),
        lambda: column.pop(index),
    ):
        with pytest.raises(IndexError) as caught:
            operation()
        assert isinstance(caught.value, OutOfRange)
    assert same(column, values)


def test_numpy_ints_are_indices_and_other_things_are_not(column, values):
    column.extend(values)
    assert equal(column[np.int64(3)], values[3])
    assert all(equal(x, y) for x, y in zip(column[np.int8(1) : np.int8(3)], values[1:3], strict=True))
    for wrong in ("1", 1.0, None, {1}, [1.0], ["1"]):
        with pytest.raises(UnsupportedType, match=r"index|indices"):
            column[wrong]


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


def test_a_wrong_value_is_refused_and_changes_nothing(column, values, dtype):
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
    assert same(column, values)


def test_an_iterable_that_fails_half_way_adds_nothing(column, values):
    def failing():
        yield from values
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        column.extend(failing())
    with pytest.raises(RuntimeError, match="half-way"):
        column[0:0] = failing()
    assert same(column, [])


NUMERIC = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "bool"]


@pytest.mark.parametrize("numeric", NUMERIC)
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


def test_blocks_of_every_size_and_elements_larger_than_a_block(cv):
    for block_bytes in (64, 100, 1000, 16_000):
        column = cv.create_column(f"b{block_bytes}", "bytes", block_bytes=block_bytes)
        model = [bytes([i % 256]) * (i * 7 % 300) for i in range(100)]
        column.extend(model[:50])
        for value in model[50:]:
            column.append(value)
        assert column[:] == model
        column[10] = b"x" * 100_000
        model[10] = b"x" * 100_000
        assert column[:] == model
        assert column[10] == model[10]


def test_appending_fills_blocks(cv):
    column = cv.create_column("c", "i64")
    for number in range(300):
        column.append(number)
    column.extend(range(300, 5000))
    with cv.engine.connect() as connection:
        sizes = connection.scalars(sqlalchemy.select(Block.count).order_by(Block.start)).all()
    assert sizes == [2000, 2000]
    assert column[:] == list(range(5000))


def test_a_column_costs_little_more_than_its_bytes(cv):
    column = cv.create_column("c", "f64")
    column.extend(RNG.standard_normal(200_000))
    with cv.engine.connect() as connection:
        stored = connection.scalar(sqlalchemy.select(sqlalchemy.func.sum(sqlalchemy.func.length(Payload.data))))
    assert stored == 1_600_000


def test_columns_by_name(cv):
    column = cv.create_column("scores", "f64")
    assert "scores" in cv
    assert "other" not in cv
    assert list(cv) == ["scores"]
    assert len(cv) == 1
    with pytest.raises(InvalidArgument, match="exists already"):
        cv.create_column("scores", "f64")
    assert cv.ensure("scores", "f64").name == "scores"
    with pytest.raises(InvalidArgument, match="has dtype 'f64', not 'i64'"):
        cv.ensure("scores", "i64")
    cv.ensure("naïve ☃ 'quoted\"", "str").append("x")
    assert cv["naïve ☃ 'quoted\""][:] == ["x"]
    with pytest.raises(NotFound, match="no column 'other'; there are 'scores'"):
        cv["other"]
    column.extend([1.0] * 5000)
    assert cv.delete_column("scores") is True
    assert cv.delete_column("scores") is False
    for operation in (lambda: len(column), lambda: column.append(1.0), lambda: column[:]):
        with pytest.raises(NotFound, match="deleted"):
            operation()
    new = cv.create_column("scores", "i64")
    assert new[:] == []
    with pytest.raises(NotFound, match="deleted"):
        column.append(1.0)


@pytest.mark.parametrize(
    "dtype_", ["", "i63", "vec", "vec:f32:0", "vec:f32:-1", "vec:str:3", "str:klingon", "bytes:0", 5, None]
)
def test_an_unknown_dtype_is_named(dtype_):
    with pytest.raises((InvalidArgument, UnsupportedType), match="dtype"):
        ColumnVault(":memory:").create_column("c", dtype_)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", None, 5])
def test_an_impossible_name_is_refused(name):
    with pytest.raises((InvalidArgument, UnsupportedType), match="name"):
        ColumnVault(":memory:").create_column(name, "i64")


def test_every_kind_of_bind(bind):
    cv = ColumnVault(bind)
    numbers, texts = cv.create_column("n", "i64"), cv.create_column("t", "str:utf8")
    numbers.extend(range(5000))
    texts.extend(map(str, range(5000)))
    numbers[2500:2600] = [-1]
    del texts[10]
    texts[0] = "zero"
    numbers.insert(0, 7)
    model = [7, *range(5000)]
    model[2501:2601] = [-1]
    assert numbers[:] == model
    assert texts[:] == ["zero", *map(str, [*range(1, 10), *range(11, 5000)])]
    assert numbers.pop() == 4999


@pytest.mark.parametrize(
    ("dtype_", "damage"),
    [
        ("i64", b"\0" * 15),
        ("i64", b""),
        ("bool", b"\x02\x02"),
        ("str:utf8", b"\xff" * 12),
        ("str:utf8", b""),
        ("str:utf8", b"\x01\0\0\0\x02\0\0\0\xff\xff"),
        ("bytes", b"\xff\xff\xff\xff\0\0\0\0ab"),
        ("msgpack", b"\x01\0\0\0\x02\0\0\0\xc1\xc1"),
        ("vec:f32", b"\x02\0\0\0\x04\0\0\0\x01\xff\x01\xff"),
        ("vec:f32:2", b"\0" * 7),
    ],
)
def test_a_corrupt_block_is_a_named_error_and_harms_nothing_else(engine, dtype_, damage):
    cv = ColumnVault(engine)
    values = {
        "i64": [1, 2],
        "bool": [True, False],
        "str:utf8": ["a", "b"],
        "bytes": [b"a", b"b"],
        "msgpack": [1, 2],
    }
    values["vec:f32"] = values["vec:f32:2"] = [[1.0, 2.0], [3.0, 4.0]]
    column, healthy = cv.create_column("c", dtype_, block_bytes=64), cv.create_column("healthy", "i64")
    column.extend(values[dtype_] * 64)
    healthy.extend([1, 2])
    with engine.begin() as connection:
        ident = connection.scalar(sqlalchemy.select(ColumnRecord.id).where(ColumnRecord.name == "c"))
        where = Payload.id.between(ident * 2**32, (ident + 1) * 2**32)
        connection.execute(sqlalchemy.update(Payload).where(where).values(data=damage))
    for operation in (lambda: column[:], lambda: column[1], lambda: list(column), lambda: column.to_numpy()):
        with pytest.raises(CorruptValue):
            operation()
    assert healthy[:] == [1, 2]


@pytest.mark.parametrize("dtype_", ["i64", "str:utf8"])
@pytest.mark.parametrize("damage", [b"\0" * 15, b"", b"\xff" * 16, b"\1\0\0\0a"])
def test_a_corrupt_tail_is_a_named_error(engine, dtype_, damage):
    cv = ColumnVault(engine)
    column = cv.create_column("c", dtype_)
    column.extend(range(3) if dtype_ == "i64" else ["a", "b", "c"])
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(ColumnRecord).values(tail=damage))
    for operation in (lambda: column[:], lambda: column[1], lambda: column[-1], lambda: column.to_numpy(), column.pop):
        with pytest.raises(CorruptValue):
            operation()


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "extend", "insert", "set", "setslice", "del", "delslice", "pop", "reverse", "clear"]
        ),
        st.integers(-12, 12),
        st.integers(-12, 12),
        st.sampled_from([None, 1, 1, 1, 2, -1, -3]),
        st.lists(st.integers(-5, 5), max_size=12),
    ),
    max_size=12,
)


def apply(target, name, i, j, step, values, convert):
    new = [convert(value) for value in values]
    if name == "append":
        target.append(convert(i))
    elif name == "extend":
        target.extend(new)
    elif name == "insert":
        target.insert(i, convert(j))
    elif name == "set":
        target[i] = convert(j)
    elif name == "setslice":
        target[i:j:step] = new
    elif name == "del":
        del target[i]
    elif name == "delslice":
        del target[i:j:step]
    elif name == "pop":
        return target.pop(i)
    else:
        getattr(target, name)()
    return None


@pytest.fixture(scope="module", params=["", "cache", "read_cache", "cache+read_cache"])
def vault(request, tmp_path_factory) -> Iterator[ColumnVault]:
    ways = request.param.split("+")
    path = tmp_path_factory.mktemp("columns") / "a.db"
    with ColumnVault(path, read_cache=1 << 20) if "read_cache" in ways else ColumnVault(":memory:") as vault:
        if "cache" in ways:
            vault.enable_cache(flush_threshold=200)
        yield vault


@pytest.mark.parametrize(("name", "convert"), [("i64", int), ("str", lambda n: "x" * (abs(n) * 5))])
@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_it_does_what_a_list_does(vault, name, convert, steps):
    vault.delete_column("c")
    column, model = vault.create_column("c", name, block_bytes=64), []
    for operation in steps:
        try:
            expected, failure = apply(model, *operation, convert), None
        except (IndexError, ValueError) as error:
            expected, failure = None, type(error)
        if failure is None:
            assert apply(column, *operation, convert) == expected
        else:
            with pytest.raises(failure):
                apply(column, *operation, convert)
        assert column[:] == model
        assert len(column) == len(model)
