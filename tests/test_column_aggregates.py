"""Sums, extremes and ranges agree with Python and numpy, and blocks that need not be read are not."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from column_model import ARRAY_TYPES, INTEGERS, NUMBERS, elements
from kohakuvault import Column, ColumnVault, CorruptValue, InvalidArgument, UnknownOption, UnsupportedType
from kohakuvault.orm.tables import Block, ColumnRecord, Payload

_names = itertools.count()


@pytest.fixture(scope="module")
def vault(shared_engines) -> ColumnVault:
    return ColumnVault(shared_engines("sqlite"))


def new(vault: ColumnVault, dtype: str, values: Any, **options: Any) -> Column:
    column = vault.create_column(f"numbers {next(_names)}", dtype, block_bytes=64, **options)
    column.extend(values)
    return column


def numbers_of(dtype: str) -> st.SearchStrategy[Any]:
    if dtype == "bool":
        return st.booleans()
    if dtype in INTEGERS:
        limits = np.iinfo(ARRAY_TYPES[dtype])
        return st.integers(int(limits.min), int(limits.max)) | st.sampled_from([int(limits.min), int(limits.max), 0])
    return st.floats(width=int(dtype[1:])) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.0])


def expected_sum(values: list[Any], is_float: bool) -> Any:
    if not is_float:
        return sum(map(int, values))
    infinite = {value for value in values if math.isinf(value)}
    if any(value != value for value in values) or len(infinite) == 2:
        return math.nan
    return infinite.pop() if infinite else math.fsum(values)


def is_about(found: Any, expected: Any, values: list[Any]) -> bool:
    if isinstance(expected, int) or math.isnan(expected) or math.isinf(expected):
        return type(found) is type(expected) and (found == expected or (found != found and expected != expected))
    return abs(found - expected) <= 1e-13 * math.fsum(map(abs, values))


def agree(column: Column, values: list[Any], start: int, stop: int | None) -> None:
    """Assert that what is computed of a range is what Python computes of the list."""
    is_float = column.dtype.startswith("f")
    part = values[start:stop]
    total = expected_sum(part, is_float)
    assert is_about(column.sum(start, stop), total, part)
    if not part:
        for compute in (column.mean, column.min, column.max):
            with pytest.raises(InvalidArgument, match="no elements"):
                compute(start, stop)
        return
    assert is_about(column.mean(start, stop), total / len(part), part) or abs(total) > 1e308
    least, greatest = column.min(start, stop), column.max(start, stop)
    if any(value != value for value in part):
        assert math.isnan(least)
        assert math.isnan(greatest)
    else:
        assert (least, greatest) == (min(part), max(part))
        assert type(least) is type(greatest) is type(part[0])


def found_by_python(values: list[Any], lo: Any, hi: Any, start: int, stop: int | None) -> list[int]:
    return [
        index
        for index in range(len(values))[start:stop]
        if values[index] == values[index]
        and (lo is None or lo <= values[index])
        and (hi is None or values[index] <= hi)
    ]


@pytest.mark.parametrize("dtype", NUMBERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_computed_agrees_with_python(vault, dtype, data):
    values = data.draw(st.lists(numbers_of(dtype), max_size=200 if dtype in ("i8", "u8", "bool") else 40))
    if dtype == "f64" and sum(abs(value) for value in values if math.isfinite(value)) > 1e308:
        values = [value / 1e10 for value in values]
    column = new(vault, dtype, values)
    for _ in range(data.draw(st.integers(0, 3))):
        if values:
            index = data.draw(st.integers(0, len(values) - 1))
            column[index] = values[index] = data.draw(numbers_of(dtype))
    ends = st.integers(-len(values) - 2, len(values) + 2)
    start, stop = data.draw(ends), data.draw(st.none() | ends)
    agree(column, values, 0, None)
    agree(column, values, start, stop)
    bound = st.none() | numbers_of(dtype) | st.floats() | st.integers() | st.sampled_from(values or [0])
    lo, hi = data.draw(bound), data.draw(bound)
    assert column.where(lo, hi).tolist() == found_by_python(values, lo, hi, 0, None)
    assert column.where(lo, hi, start, stop).tolist() == found_by_python(values, lo, hi, start, stop)
    vault.delete_column(column.name)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "checksum": True}], ids=["plain", "zstd+checksum"])
@pytest.mark.parametrize("dtype", ["i64", "u64", "u8", "f32", "f64", "bool"])
def test_on_every_database_while_elements_change(shared_engines, database, dtype, options):
    vault = ColumnVault(shared_engines(database))
    values = [value for value in elements(dtype, 200) if not isinstance(value, float) or math.isfinite(value)]
    column = new(vault, dtype, values, **options)

    def check() -> None:
        for start, stop in ((0, None), (3, -5), (8, 16), (len(values) - 2, None), (70, 70)):
            agree(column, values, start, stop)
        lo, hi = sorted(values[3:5])
        for limits in ((lo, hi), (None, lo), (hi, None), (hi, lo)):
            assert column.where(*limits).tolist() == found_by_python(values, *limits, 0, None)
            assert column.where(*limits, 5, 90).tolist() == found_by_python(values, *limits, 5, 90)

    check()
    for index in (0, 9, 70, len(values) - 1):
        column[index] = values[index] = values[2]
        check()
    column[4:30:2] = values[4:30:2] = values[100:113]
    column.insert(20, values[0])
    values.insert(20, values[0])
    del column[40:60], values[40:60]
    check()
    column.sort()
    values.sort()
    check()


def in_blocks(column: Column, payload: Any) -> None:
    """Replace the payloads of all blocks, as another program could."""
    with column.binding.inspecting() as connection:
        low = column._id * 2**32
        connection.execute(
            sqlalchemy.update(Payload).where(Payload.id.between(low, low + 2**32 - 1)).values(data=payload)
        )
        connection.commit()


def test_a_payload_that_another_program_changes_loses_its_summary(engine):
    column = new(ColumnVault(engine), "i64", range(20))
    assert column.sum() == 190
    in_blocks(column, np.arange(100, 108).tobytes())
    with engine.connect() as connection:
        assert connection.scalars(sqlalchemy.select(Block.summary)).all() == [None, None]
    values = [*range(100, 108), *range(100, 108), *range(16, 20)]
    agree(column, values, 0, None)
    assert column.where(104, None).tolist() == found_by_python(values, 104, None, 0, None)
    column[:8] = range(8)
    with engine.connect() as connection:
        summaries = connection.scalars(sqlalchemy.select(Block.summary).order_by(Block.start)).all()
    assert [summary is None for summary in summaries] == [False, True]
    agree(column, [*range(8), *values[8:]], 0, None)


def damage_all_but(column: Column, *starts: int) -> None:
    """Leave no payload but those of the blocks that begin at ``starts``; the summaries stay."""
    with column.binding.inspecting() as connection:
        blocks = connection.execute(sqlalchemy.select(Block).where(Block.column_id == column._id)).all()
        summaries = {block.id: block.summary for block in blocks}
        for block in blocks:
            if block.start not in starts:
                connection.execute(sqlalchemy.update(Payload).where(Payload.id == block.id).values(data=b"?"))
        for block_id, summary in summaries.items():
            connection.execute(sqlalchemy.update(Block).where(Block.id == block_id).values(summary=summary))
        connection.commit()


def test_only_blocks_that_a_range_cuts_are_read(engine):
    column = new(ColumnVault(engine), "i64", range(100))
    damage_all_but(column)
    assert (column.sum(), column.mean(), column.min(), column.max()) == (4950, 49.5, 0, 99)
    assert (column.sum(8, 24), column.max(16, 32), column.min(96)) == (sum(range(8, 24)), 31, 96)
    for start, stop in ((1, 8), (0, 9), (12, None)):
        with pytest.raises(CorruptValue):
            column.sum(start, stop)
    column = new(ColumnVault(engine), "i64", range(100))
    damage_all_but(column, 8)
    assert column.sum(12, 32) == sum(range(12, 32))
    assert column.sum(0, 12) == sum(range(12))


def test_only_blocks_that_may_have_a_value_are_looked_into(engine):
    column = new(ColumnVault(engine), "i64", range(100))
    damage_all_but(column, 16, 24)
    assert column.where(18, 26).tolist() == list(range(18, 27))
    assert column.where(200).tolist() == column.where(None, -1).tolist() == column.where(20.5, 20.9).tolist() == []
    assert column.where(97).tolist() == [97, 98, 99]
    for lo, hi in ((0, 3), (15, 20), (None, None)):
        with pytest.raises(CorruptValue):
            column.where(lo, hi)


def test_sums_of_integers_are_exact_however_large(vault):
    for dtype, value in (("i64", 2**63 - 1), ("i64", -(2**63)), ("u64", 2**64 - 1)):
        column = new(vault, dtype, [value] * 1000)
        assert column.sum() == value * 1000
        assert column.mean() == value * 1000 / 1000


def test_zeros_and_infinities(vault):
    column = new(vault, "f64", [-0.0, 0.0] * 20)
    assert column.where(0).tolist() == column.where(-0.0, 0.0).tolist() == list(range(40))
    assert column.sum() == 0
    column[:] = [math.inf] * 20 + [1.0] * 20
    assert (column.sum(), column.min(), column.max()) == (math.inf, 1.0, math.inf)
    column[30] = -math.inf
    assert math.isnan(column.sum())
    assert column.where(None, -math.inf).tolist() == [30]
    column[31] = math.nan
    assert math.isnan(column.min())
    assert column.where().tolist() == [index for index in range(40) if index != 31]
    assert column.where(10**400).tolist() == list(range(20))


@pytest.mark.parametrize("dtype", ["str:utf8", "bytes", "msgpack", "vec:f32:3", "vec:i64", "bytes:5"])
def test_what_is_no_number_has_no_sum(vault, dtype):
    column = new(vault, dtype, elements(dtype, 30))
    for compute in (column.sum, column.mean, column.min, column.max, column.where):
        with pytest.raises(UnsupportedType, match=dtype.split(":", 1)[0]):
            compute()


@pytest.mark.parametrize("limit", ["1", 1j, Decimal(1), b"", [1], np.longdouble(1), np.str_("1")], ids=repr)
def test_a_limit_is_a_number(vault, limit):
    column = new(vault, "i64", range(40))
    for limits in ((limit, None), (None, limit)):
        with pytest.raises(UnsupportedType, match="lo and hi are numbers"):
            column.where(*limits)
    for limit in (np.float32(7), np.int8(7), np.uint64(7), 7.0, np.float16(7), np.bool_(True)):
        assert column.where(limit, limit).tolist() == [int(limit)]


@pytest.mark.parametrize("summary", [b"", b"\0" * 31, b"\0" * 33, b"\xff" * 32, b"\x01" + b"\0" * 31], ids=len)
def test_a_summary_that_can_be_of_no_such_block_is_named(engine, summary):
    column, healthy = (new(ColumnVault(engine), "i64", range(5, 40)) for _ in range(2))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(Block).where(Block.column_id == column._id).values(summary=summary))
    for compute in (column.sum, column.mean, column.min, column.max):
        with pytest.raises(CorruptValue):
            compute()
    assert column[:] == list(range(5, 40))
    assert healthy.sum() == sum(range(5, 40))
    # A block that is written gets a right one.
    column[:] = column[::-1]
    assert column.sum() == sum(range(5, 40))


@pytest.mark.parametrize(
    "damage",
    [{"count": 12}, {"count": 3}, {"start": 9}, {"start": 4}, {"start": 2**40}, {"count": 2**30}],
    ids=lambda damage: " ".join(f"{name} {value}" for name, value in damage.items()),
)
def test_blocks_that_do_not_follow_each_other_are_named(engine, damage):
    # Whose sums fit blocks of any count.
    column = new(ColumnVault(engine), "i64", [-5, 5] * 20)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(Block).where(Block.start == 8).values(**damage))
    for compute in (column.sum, column.mean, column.min, column.max, column.where, lambda: column.sum(3, 30)):
        with pytest.raises(CorruptValue):
            compute()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.delete(Block).where(Block.start == 32))
        connection.execute(sqlalchemy.update(ColumnRecord).values(length=38))
    with pytest.raises(CorruptValue):
        column.sum()


def test_the_functions_of_numpy_call_those_of_the_column(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("c", "f64", block_bytes=64)
    column.extend(range(100))
    assert np.sum(column) == 4950
    assert np.mean(column) == 49.5
    assert (np.min(column), np.max(column, axis=0)) == (0, 99)
    for wrong in ({"dtype": np.float32}, {"axis": 1}, {"out": np.empty(())}, {"keepdims": True}):
        with pytest.raises(UnknownOption, match=r"numpy.asarray"):
            np.sum(column, **wrong)


def test_summaries_are_under_the_checksum(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("c", "i64", block_bytes=64, checksum=True)
    column.extend(range(100))
    assert (column.sum(), column.min(), column.max()) == (4950, 0, 99)
    with cv.transaction() as connection:
        connection.execute(sqlalchemy.update(Block).values(summary=bytes(36)))
    for operation in (column.sum, lambda: column.where(3, 5)):
        with pytest.raises(CorruptValue, match="checksum"):
            operation()
