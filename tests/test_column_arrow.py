"""Columns as Arrow and Parquet, and back: of every dtype exactly, whole or not at all."""

from __future__ import annotations

import sys
import tracemalloc
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from column_model import DTYPES, elements, equal
from kohakuvault import ColumnVault, CorruptValue, InvalidArgument, NotFound, UnsupportedType
from kohakuvault.orm.tables import Payload

# What Arrow has in another form is among them.
EVERY = {dtype: elements(dtype, 10) for dtype in [*DTYPES, "vec:f64:2:1", "vec:f32:384"]}


@pytest.fixture
def cv(engine) -> ColumnVault:
    return ColumnVault(engine)


@pytest.fixture(params=list(EVERY))
def dtype(request) -> str:
    return request.param


@pytest.fixture
def values(dtype) -> list[object]:
    return list(EVERY[dtype])


def same(column, model) -> bool:
    return len(column) == len(model) and all(equal(x, y) for x, y in zip(column[:], model, strict=True))


def sealed(cv, name, dtype, values, **options):
    """Make a column of several blocks and a tail."""
    column = cv.create_column(name, dtype, block_bytes=64, **options)
    column.extend(values)
    return column


# -- one column ----------------------------------------------------------------------------------


def test_every_dtype_leaves_as_arrow_and_comes_back_exactly(cv, dtype, values):
    column = sealed(cv, "a", dtype, values)
    chunked = column.to_arrow()
    chunked.validate(full=True)
    assert len(chunked) == 10
    assert chunked.null_count == 0
    for source in (chunked, column, pa.RecordBatchReader.from_stream(column), chunked.combine_chunks()):
        other = cv.create_column("b", dtype, block_bytes=64)
        other.extend(source)
        assert same(other, values)
        other.extend(column.to_arrow(3, 7))
        assert same(other, values + values[3:7])
        other[1:9] = column.to_arrow(-2)
        assert same(other, [values[0], *values[8:], values[9], *values[3:7]])
        cv.delete_column("b")


@pytest.mark.parametrize(
    "options", [{"compression": "zstd"}, {"checksum": True}, {"compression": "zstd:1", "checksum": True}]
)
def test_compressed_and_checksummed_columns_are_the_same_arrow(cv, dtype, values, options):
    assert sealed(cv, "a", dtype, values, **options).to_arrow() == sealed(cv, "b", dtype, values).to_arrow()


def test_parts_of_a_column_are_those_of_the_slice(cv, dtype, values):
    column = sealed(cv, "a", dtype, values)
    whole = column.to_arrow()
    for start, stop in [(0, None), (0, 0), (3, 7), (9, None), (-4, -1), (8, 2), (5, 100), (100, None)]:
        low, high, _ = slice(start, stop).indices(10)
        assert column.to_arrow(start, stop).to_pylist() == whole.to_pylist()[low:high], (start, stop)
    assert cv.create_column("empty", dtype).to_arrow().type == whole.type


def test_numbers_and_text_are_of_arrows_own_types(cv):
    expected = {
        "i64": pa.int64(),
        "u8": pa.uint8(),
        "f32": pa.float32(),
        "bool": pa.bool_(),
        "str:utf8": pa.large_string(),
        "str:latin1": pa.large_string(),
        "bytes": pa.large_binary(),
        "bytes:5": pa.binary(5),
        "msgpack": pa.large_binary(),
        "vec:f32:384": pa.list_(pa.float32(), 384),
        "vec:f64:2:1": pa.list_(pa.list_(pa.float64(), 1), 2),
        "vec:i64": pa.large_binary(),
    }
    for dtype, of in expected.items():
        column = sealed(cv, dtype, dtype, EVERY[dtype])
        assert column.to_arrow().type == of
        stream = pa.RecordBatchReader.from_stream(column)
        assert stream.schema == pa.schema([pa.field(dtype, of, nullable=False)])
        assert stream.schema.field(0).metadata == {b"kohakuvault.dtype": dtype.encode()}
    for dtype in ("i64", "bool", "str:utf8", "bytes"):
        assert cv[dtype].to_arrow().to_pylist() == EVERY[dtype]


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=200),
    cut=st.integers(0, 200),
    width=st.sampled_from([pa.string(), pa.large_string()]),
)
def test_text_of_any_length_goes_in_and_comes_out(texts, cut, width):
    column = ColumnVault(":memory:").create_column("a", "str", block_bytes=256)
    # A slice: its offsets do not begin at 0.
    column.extend(pa.array(["x", *texts], width)[1:])
    assert column[:] == texts
    assert column.to_arrow(cut).to_pylist() == texts[cut:]
    assert column.check() == []


@settings(max_examples=30, deadline=None)
@given(flags=st.lists(st.booleans(), max_size=100), start=st.integers(0, 100))
def test_bools_are_bits_in_arrow(flags, start):
    column = ColumnVault(":memory:").create_column("a", "bool", block_bytes=64)
    column.extend(pa.array([True, *flags])[1:])
    assert column[:] == flags
    assert column.to_arrow(start).to_pylist() == flags[start:]


def test_a_column_is_read_by_whoever_takes_arrow_batch_by_batch(cv):
    column = cv.create_column("n", "i64")
    column.extend(np.arange(300_000))
    table = pa.table(column)
    assert table.column_names == ["n"]
    assert table["n"].num_chunks > 1
    assert table["n"].combine_chunks().to_numpy().tolist() == list(range(300_000))
    # Behind the reader's back: what is gone is not read.
    reader = pa.RecordBatchReader.from_stream(column)
    first = reader.read_next_batch()
    del column[200_000:]
    assert sum(batch.num_rows for batch in reader) + first.num_rows == 200_000


# -- what a column takes -------------------------------------------------------------------------


def test_numbers_are_converted_if_no_value_changes(cv):
    column = cv.create_column("a", "i64")
    column.extend(pa.array([1, 2], pa.int8()))
    column.extend(pa.chunked_array([[3], [], [4]], pa.uint32()))
    assert column[:] == [1, 2, 3, 4]
    small = cv.create_column("b", "u8")
    for wrong in (pa.array([1, 256]), pa.array([-1])):
        with pytest.raises(InvalidArgument, match="u8 holds"):
            small.extend(wrong)
    for wrong in (pa.array([1.0]), pa.array([True]), pa.array(["1"]), pa.array([1], pa.timestamp("s"))):
        with pytest.raises(UnsupportedType):
            small.extend(wrong)
    assert len(small) == 0
    floats = cv.create_column("c", "f64")
    floats.extend(pa.array([1, 2]))
    floats.extend(pa.array([0.5], pa.float32()))
    assert floats[:] == [1.0, 2.0, 0.5]


@pytest.mark.parametrize(
    ("dtype", "array", "index"),
    [
        ("i64", pa.array([1, 2, None]), 2),
        ("i64", pa.array([0, 1, None])[1:], 1),
        ("str", pa.chunked_array([["a", "b"], ["c", None]]), 3),
        ("bool", pa.array([None, True]), 0),
        ("bytes", pa.array([b"", None]), 1),
        ("vec:f32:2", pa.array([[1, 2], None], pa.list_(pa.float32(), 2)), 1),
        ("vec:f32:2", pa.array([[1, 2], [3, 4], [5, None]], pa.list_(pa.float32(), 2)), 2),
        ("vec:f32", pa.array([[], [1, 2], [], [5, None]], pa.list_(pa.float32())), 3),
        ("f64", pa.nulls(2), 0),
    ],
)
def test_a_null_is_an_error_that_names_its_index_and_nothing_is_added(cv, dtype, array, index):
    column = cv.create_column("a", dtype)
    with pytest.raises(InvalidArgument, match=f"element {index} is null"):
        column.extend(array)
    assert len(column) == 0


def test_other_layouts_of_the_same_values_are_taken(cv):
    text = cv.create_column("text", "str")
    text.extend(pa.array(["b", "a", "b"]).dictionary_encode())
    text.extend(pa.array(["c"], pa.string_view()))
    text.extend(pa.DictionaryArray.from_arrays([1, 0], pa.array(["d", "e"], pa.string_view())))
    assert text[:] == ["b", "a", "b", "c", "e", "d"]
    data = cv.create_column("data", "bytes")
    data.extend(pa.array([b"ab", b"cd"], pa.binary(2)))
    data.extend(pa.array([b"e" * 20], pa.binary_view()))
    assert data[:] == [b"ab", b"cd", b"e" * 20]
    padded = cv.create_column("padded", "bytes:4")
    padded.extend(pa.array([b"ab", b""]))
    assert padded[:] == [b"ab\0\0", b"\0\0\0\0"]
    with pytest.raises(InvalidArgument, match="bytes:4"):
        padded.extend(pa.array([b"abcde"]))
    with pytest.raises(UnsupportedType, match="string"):
        data.extend(pa.array(["text"]))
    with pytest.raises(UnsupportedType, match="binary"):
        text.extend(pa.array([b"bytes"]))


def test_vectors_are_taken_from_lists_of_their_length_and_from_tensors(cv):
    pairs = cv.create_column("pairs", "vec:f32:2")
    expected = np.arange(6, dtype=np.float32).reshape(3, 2)
    pairs.extend(pa.array(expected.tolist(), pa.list_(pa.float32())))
    pairs.extend(pa.array([[9, 9], *expected.tolist()], pa.large_list(pa.float64()))[1:])
    pairs.extend(pa.FixedShapeTensorArray.from_numpy_ndarray(expected))
    assert np.array_equal(pairs[:], np.concatenate([expected] * 3))
    with pytest.raises(InvalidArgument, match="element 1 has 3 numbers"):
        pairs.extend(pa.array([[1, 2], [1, 2, 3]], pa.list_(pa.float32())))
    with pytest.raises(InvalidArgument, match="shape"):
        pairs.extend(pa.array([[1, 2, 3]], pa.list_(pa.float32(), 3)))
    with pytest.raises(UnsupportedType, match="string"):
        pairs.extend(pa.array(["12"]))
    ragged = cv.create_column("ragged", "vec:f32")
    ragged.extend(pa.array([[1, 2], [], [3]], pa.list_(pa.float32())))
    assert [array.tolist() for array in ragged] == [[1, 2], [], [3]]


def test_encoded_elements_are_checked(cv):
    for dtype, wrong in [("msgpack", b"\xc1"), ("cbor", b"\xff"), ("vec:f32", b"\x01\x01"), ("json", b"{")]:
        column = cv.create_column(dtype, dtype)
        column.extend(EVERY[dtype][:2])
        good = column.to_arrow().to_pylist()
        with pytest.raises(InvalidArgument, match="element 2"):
            column.extend(pa.array([*good, wrong], pa.binary()))
        assert len(column) == 2
        with pytest.raises(UnsupportedType, match="to_pylist"):
            column.extend(pa.array([1]))


def test_one_column_of_a_table_is_chosen_by_whoever_gives_it(cv):
    column = cv.create_column("a", "i64")
    column.extend(pa.table({"x": [1, 2]}))
    column.extend(pa.record_batch({"x": [3]}))
    assert column[:] == [1, 2, 3]
    for several in (pa.table({"x": [1], "y": [2]}), pa.record_batch({"x": [1], "y": [2]})):
        with pytest.raises(UnsupportedType, match="2 columns 'x', 'y'"):
            column.extend(several)


def test_a_stream_that_fails_leaves_the_column_as_it_was(cv):
    column = sealed(cv, "a", "i64", range(10))

    def batches():
        yield pa.record_batch({"x": [1] * 100})
        raise OSError("the source is gone")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())
    with pytest.raises(OSError, match="the source is gone"):
        column.extend(reader)
    assert column[:] == list(range(10))


def test_a_series_made_of_a_numpy_array_is_that_array(cv):
    class Series:
        """As one of pandas: it would give its NaN as nulls."""

        dtype = np.dtype(np.float64)

        def __array__(self, dtype=None, copy=None):
            return np.array([1.0, np.nan])

        def __iter__(self):
            return iter(np.array([1.0, np.nan]))

        def __arrow_c_stream__(self, requested_schema=None):
            raise AssertionError

    column = cv.create_column("a", "f64")
    column.extend(Series())
    assert np.array_equal(column.to_numpy(), [1.0, np.nan], equal_nan=True)


def test_a_damaged_block_is_an_error(cv, engine):
    column = sealed(cv, "a", "str", ["a" * 20] * 10)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(Payload).values(data=b"\xff" * 64))
    with pytest.raises(CorruptValue):
        column.to_arrow()
    with pytest.raises((pa.ArrowException, CorruptValue, OSError)):
        pa.table(column)


def test_without_pyarrow_the_error_says_how_to_get_it(cv):
    column = sealed(cv, "a", "i64", range(3))
    with mock.patch.dict(sys.modules, {"pyarrow": None}):
        for call in (column.to_arrow, column.__arrow_c_stream__, cv.to_arrow, lambda: cv.from_parquet("x")):
            with pytest.raises(UnsupportedType, match=r"pip install kohakuvault\[arrow\]"):
                call()


# -- several columns -----------------------------------------------------------------------------


@pytest.fixture
def everything(cv) -> ColumnVault:
    for dtype, values in EVERY.items():
        sealed(cv, f"of {dtype}", dtype, values)
    return cv


def same_vaults(one: ColumnVault, other: ColumnVault, times: int = 1) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and same(one[name], list(other[name]) * times) for name in other
    )


def test_every_dtype_is_in_a_table_and_comes_back_exactly(everything):
    table = everything.to_arrow()
    table.validate(full=True)
    assert table.column_names == list(everything)
    for source in (table, table.to_reader(max_chunksize=3), table.combine_chunks().to_batches()[0]):
        other = ColumnVault(":memory:")
        assert other.from_arrow(source) == 10
        assert same_vaults(other, everything)
    assert other.from_arrow(table) == 10
    assert same_vaults(other, everything, times=2)


@pytest.mark.parametrize("rows", [None, 1, 3, 1000])
def test_every_dtype_is_in_a_parquet_file_and_comes_back_exactly(everything, tmp_path, rows):
    path = tmp_path / "all.parquet"
    everything.to_parquet(path, row_group_rows=rows)
    assert parquet.ParquetFile(path).num_row_groups == -(-10 // (rows or 10))
    other = ColumnVault(":memory:")
    assert other.from_parquet(path) == 10
    assert same_vaults(other, everything)
    assert other.from_parquet(path, names=["of i64", "of msgpack"]) == 10
    assert len(other["of i64"]) == 20
    assert len(other["of u8"]) == 10
    assert other.check() == []


def test_what_others_write_to_parquet_is_read(tmp_path):
    path = tmp_path / "others.parquet"
    table = pa.table(
        {"n": pa.array([1, 2], pa.int16()), "s": ["a", "b"], "v": pa.array([[1.0], []], pa.list_(pa.float32()))}
    )
    parquet.write_table(table, path)
    cv = ColumnVault(":memory:")
    assert cv.from_parquet(path) == 2
    assert [entry[:2] for entry in cv.list_columns()] == [("n", "i16"), ("s", "str:utf8"), ("v", "vec:f32")]
    assert cv["n"][:] == [1, 2]
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(InvalidArgument, match=r"others\.parquet"):
        cv.from_parquet(path)
    with pytest.raises(FileNotFoundError):
        cv.from_parquet(tmp_path / "missing")


def test_no_columns_and_no_rows_are_a_table_too(cv, tmp_path):
    assert cv.to_arrow().num_columns == 0
    cv.create_column("a", "i64")
    cv.create_column("b", "str")
    assert cv.to_arrow().num_rows == 0
    cv.to_parquet(tmp_path / "empty.parquet")
    other = ColumnVault(":memory:")
    assert other.from_parquet(tmp_path / "empty.parquet") == 0
    assert other.list_columns() == [("a", "i64", 0), ("b", "str:utf8", 0)]


def test_columns_of_different_lengths_are_no_table(cv, tmp_path):
    sealed(cv, "a", "i64", range(3))
    sealed(cv, "b", "i64", range(4))
    for call in (cv.to_arrow, lambda: cv.to_parquet(tmp_path / "a")):
        with pytest.raises(InvalidArgument, match="3 of 'a', 4 of 'b'"):
            call()
    assert cv.to_arrow(["b"]).num_rows == 4
    assert cv.to_arrow(["b", "b"][:1]).column_names == ["b"]
    with pytest.raises(NotFound, match="'c'"):
        cv.to_arrow(["c"])
    with pytest.raises(UnsupportedType, match="list of names"):
        cv.to_arrow("ab")
    assert not [file for file in tmp_path.iterdir() if file.name.startswith("a")]


def test_dtypes_are_those_of_the_arrow_types_unless_they_are_given(cv):
    table = pa.table({"n": pa.array([1, 2], pa.int16()), "s": ["a", "b"], "f": pa.array([b"ab", b"cd"], pa.binary(2))})
    cv.from_arrow(table, dtypes={"n": "f64"}, names=["f", "n"])
    assert cv.list_columns() == [("f", "bytes:2", 2), ("n", "f64", 2)]
    with pytest.raises(InvalidArgument, match="'n' has dtype 'f64'"):
        cv.from_arrow(table, dtypes={"n": "i64"})
    with pytest.raises(NotFound, match="'x'"):
        cv.from_arrow(table, dtypes={"x": "i64"})
    with pytest.raises(NotFound, match="'y'"):
        cv.from_arrow(table, names=["y"])
    for of in (pa.timestamp("us"), pa.decimal128(5), pa.float16(), pa.struct([("a", pa.int8())])):
        with pytest.raises(UnsupportedType, match="'wrong'"):
            cv.from_arrow(pa.table({"n": [1], "wrong": pa.nulls(1, of)}))
    assert "wrong" not in cv
    assert len(cv["n"]) == 2
    twice = pa.table([[1], [2]], names=["n", "n"])
    with pytest.raises(InvalidArgument, match="two columns named 'n'"):
        cv.from_arrow(twice)
    with pytest.raises(UnsupportedType, match="list"):
        cv.from_arrow([1, 2])


def test_packed_elements_do_not_become_values_of_another_dtype(cv):
    sealed(cv, "a", "msgpack", [1, "x"])
    table = cv.to_arrow()
    other = ColumnVault(":memory:")
    other.create_column("a", "bytes")
    with pytest.raises(InvalidArgument, match="packed as 'msgpack'"):
        other.from_arrow(table)
    assert len(other["a"]) == 0


def test_a_table_is_added_as_a_whole_or_not_at_all(cv):
    sealed(cv, "a", "i64", range(5))
    batches = [pa.record_batch({"new": ["x"] * 100, "a": [1] * 100}) for _ in range(5)]
    schema = batches[0].schema
    bad = pa.record_batch({"new": ["y"], "a": pa.array([None], pa.int64())})
    with pytest.raises(InvalidArgument, match="column 'a': element 0 is null"):
        cv.from_arrow(pa.RecordBatchReader.from_batches(schema, [*batches, bad]))
    assert cv.list_columns() == [("a", "i64", 5)]
    assert cv.from_arrow(pa.RecordBatchReader.from_batches(schema, batches)) == 500
    assert cv.list_columns() == [("a", "i64", 505), ("new", "str:utf8", 500)]
    with pytest.raises(RuntimeError), cv.transaction():
        cv.from_arrow(pa.table({"later": [1]}))
        raise RuntimeError
    assert "later" not in cv


def test_a_parquet_file_is_replaced_when_it_is_complete(cv, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"old")
    sealed(cv, "a", "str", ["x" * 30] * 10)
    with cv.transaction() as connection:
        connection.execute(sqlalchemy.update(Payload).values(data=b"\xff" * 64))
    with pytest.raises(CorruptValue):
        cv.to_parquet(path)
    assert path.read_bytes() == b"old"
    cv["a"].clear()
    cv.to_parquet(str(path), compression=None)
    assert parquet.read_table(path).num_rows == 0
    assert [file.name for file in tmp_path.iterdir() if "parquet" in file.name] == ["a.parquet"]
    for wrong in (0, 1.5):
        with pytest.raises(InvalidArgument, match="row_group_rows"):
            cv.to_parquet(path, row_group_rows=wrong)


def test_a_vault_that_is_bound_to_a_session_gives_and_takes_tables(bind, tmp_path):
    cv = ColumnVault(bind)
    assert cv.from_arrow(pa.table({"a": [1, 2], "b": ["x", "y"]})) == 2
    assert cv.to_arrow().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    cv.to_parquet(tmp_path / "a.parquet")
    assert cv.from_parquet(tmp_path / "a.parquet") == 2
    assert cv["b"][:] == ["x", "y"] * 2
    with cv.transaction():
        cv["a"].append(5)
        cv["b"].append("z")
        assert cv.to_arrow().num_rows == 5


def test_what_waits_is_in_tables_and_comes_before_what_is_added(cv, tmp_path):
    for name in ("a", "b"):
        cv.create_column(name, "i64")
    with cv.cache():
        cv["a"].append(1)
        cv["b"].append(2)
        assert cv.to_arrow().to_pydict() == {"a": [1], "b": [2]}
        cv["a"].append(3)
        cv["b"].append(4)
        cv.append_row({"a": 5, "b": 6})
        cv["a"].append(7)
        cv["a"].extend(pa.array([8]))
        cv["b"].append(9)
        cv.from_arrow(pa.table({"b": [10]}))
        cv["b"].append(11)
        cv.append_rows({"a": [12], "b": [13]})
        cv["a"].append(14)
        cv.to_parquet(tmp_path / "a.parquet", ["a"])
        assert cv["a"].storage_info()["elements"] == 7
    assert cv["a"][:] == [1, 3, 5, 7, 8, 12, 14] == parquet.read_table(tmp_path / "a.parquet")["a"].to_pylist()
    assert cv["b"][:] == [2, 4, 6, 9, 10, 11, 13]
    assert cv.check() == []


def test_streams_and_parquet_files_of_any_length_take_little_memory(tmp_path):
    cv = ColumnVault(tmp_path / "a.db")
    cv.create_column("n", "f64").extend(np.random.default_rng(0).random(3_000_000))
    path = tmp_path / "a.parquet"
    other = ColumnVault(tmp_path / "b.db")
    for call in (
        lambda: sum(batch.num_rows for batch in pa.RecordBatchReader.from_stream(cv["n"])),
        lambda: cv.to_parquet(path, row_group_rows=200_000),
        lambda: other.from_parquet(path),
    ):
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Of 24 MB.
        assert peak < 12_000_000
    assert other["n"].to_numpy().tobytes() == cv["n"].to_numpy().tobytes()


# -- rows ----------------------------------------------------------------------------------------


def test_rows_are_added_to_several_columns_or_to_none(cv):
    for name, dtype in (("n", "i64"), ("s", "str"), ("v", "vec:f32:2")):
        cv.create_column(name, dtype, block_bytes=64)
    cv.append_rows({"s": ["a", "b"], "n": (number for number in (1, 2)), "v": np.ones((2, 2), np.float32)})
    cv.append_rows({"n": pa.array([3]), "s": pa.array(["c"]), "v": [[2.0, 2.0]]})
    cv.append_row({"v": [3, 4], "s": "d", "n": 4})
    cv.append_rows({"n": [], "s": []})
    cv.append_rows({})
    assert cv["n"][:] == [1, 2, 3, 4]
    assert cv["s"][:] == ["a", "b", "c", "d"]
    assert cv["v"][-1].tolist() == [3, 4]
    lengths = [entry[2] for entry in cv.list_columns()]
    for wrong, error, message in [
        ({"n": [1, 2], "s": ["x"]}, InvalidArgument, "2 of 'n', 1 of 's'"),
        ({"n": [1], "s": [2]}, UnsupportedType, "str"),
        ({"n": [1], "x": [2]}, NotFound, "'x'"),
        ({"n": [1], "s": "x"}, UnsupportedType, "append_row takes one"),
        ({"n": 1, "s": ["x"]}, UnsupportedType, "append_row takes one"),
        ({"n": pa.array([None], pa.int64()), "s": ["x"]}, InvalidArgument, "element 0 is null"),
        ([("n", [1])], UnsupportedType, "mapping"),
    ]:
        with pytest.raises(error, match=message):
            cv.append_rows(wrong)
    for wrong, error in [({"n": 1, "s": 2}, UnsupportedType), ({"n": 1, "x": 2}, NotFound), (5, UnsupportedType)]:
        with pytest.raises(error):
            cv.append_row(wrong)
    assert [entry[2] for entry in cv.list_columns()] == lengths
    cv.append_rows({"n": cv["n"], "s": cv["s"], "v": cv["v"]})
    assert cv["n"][:] == [1, 2, 3, 4] * 2
