"""The SQL function ``kv_gather``, and the ``Gather`` whose buffer it fills."""

from __future__ import annotations

import array
import gc
import sqlite3
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kohakuvault
from kohakuvault import extension
from kohakuvault._native import Gather
from kohakuvault.lending import DriverCursor

NATIVE = extension.best_rung(sqlite3.dbapi2)


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    assert NATIVE != "create_function", "the tests of kv_gather would test nothing"
    connection = kohakuvault.create_engine(":memory:", driver="sqlite3").raw_connection().dbapi_connection
    connection.execute("CREATE TABLE block (start, count, data)")
    return connection


def store(connection: sqlite3.Connection, values: np.ndarray, counts: Sequence[int]) -> None:
    """Keep ``values`` in blocks of so many elements."""
    connection.execute("DELETE FROM block")
    ends = np.cumsum(counts)
    for end, count in zip(ends.tolist(), counts, strict=True):
        connection.execute(
            "INSERT INTO block VALUES (?, ?, ?)", (end - count, count, values[end - count : end].tobytes())
        )


GATHER = "SELECT sum(kv_gather(?, start, count, data)) FROM block"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.sampled_from(["u1", "i2", "f4", "i8"]), st.data())
def test_a_buffer_gets_the_elements_it_has_room_for(connection, counts, dtype, data):
    values = np.arange(sum(counts)).astype(dtype)
    store(connection, values, counts)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(values) + 5)] * 2)))
    found = np.full(stop - start, 77, dtype)
    gather = Gather(found, found.itemsize, start)
    ((copied,),) = connection.execute(GATHER, (gather.token,))
    expected = values[start:stop]
    assert copied == len(expected)
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert (found[len(expected) :] == 77).all()


@pytest.mark.parametrize(
    ("blocks", "is_whole"),
    [
        ([(0, 4), (4, 8), (8, 12)], True),
        ([(8, 12), (0, 4), (4, 8)], True),
        ([(0, 20)], True),
        ([(0, 4), (8, 12)], False),
        ([(0, 5), (4, 8), (8, 12)], False),
        ([(0, 4), (5, 9), (8, 12)], False),
        ([(0, 4), (4, 8), (4, 8), (8, 12)], False),
        ([(0, 4), (4, 8), (8, 9)], False),
        ([(3, 12)], False),
        ([], False),
    ],
)
def test_it_tells_whether_each_element_was_copied_once(connection, blocks, is_whole):
    gather = Gather(bytearray(8), 1, 2)
    assert gather.has_once(2, 2)
    for start, stop in blocks:
        connection.execute("SELECT kv_gather(?, ?, ?, zeroblob(?))", (gather.token, start, stop - start, stop - start))
    assert gather.has_once(2, 10) is is_whole
    if is_whole:
        assert not gather.has_once(2, 9)
        assert not gather.has_once(3, 10)


def test_only_the_part_of_a_block_that_is_wanted_is_copied(connection):
    buffer = bytearray(b"......")
    gather = Gather(buffer, 2, 10)
    for start, data, copied in [(8, b"aabb", 0), (9, b"aabb", 1), (11, b"cc", 1), (12, b"ddee", 1), (13, b"ee", 0)]:
        row = connection.execute("SELECT kv_gather(?, ?, ?, ?)", (gather.token, start, len(data) // 2, data)).fetchone()
        assert row == (copied,)
    assert buffer == b"bbccdd"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("0, 2, x'0102'", r"corrupt block: 2 bytes; expected 2 elements of 2 bytes"),
        ("0, 1, x'010203'", r"corrupt block: 3 bytes; expected 1 elements of 2 bytes"),
        ("0, -1, x''", r"corrupt block: 0 bytes; expected -1 elements"),
        ("0, 9223372036854775807, x'0102'", r"corrupt block: 2 bytes; expected 9223372036854775807 elements"),
        ("-1, 1, x'0102'", r"corrupt block: it has 1 elements from number -1 on"),
        ("9223372036854775807, 1, x'0102'", r"corrupt block: it has 1 elements from number 9223372036854775807 on"),
        ("0, 1, 'ab'", r"corrupt block: expected INTEGER, INTEGER and BLOB; INTEGER, INTEGER and TEXT given"),
        ("0, 1, NULL", r"corrupt block: .* and NULL given"),
        ("0.0, 1, x'0102'", r"corrupt block: .*; REAL, INTEGER and BLOB given"),
        ("0, '1', x'0102'", r"corrupt block: .*; INTEGER, TEXT and BLOB given"),
    ],
)
def test_a_damaged_block_is_an_sql_error(connection, arguments, message):
    buffer = bytearray(4)
    gather = Gather(buffer, 2, 0)
    with pytest.raises(sqlite3.OperationalError, match=message):
        connection.execute(f"SELECT kv_gather(?, {arguments})", (gather.token,)).fetchall()
    assert buffer == bytes(4)


@pytest.mark.parametrize(
    ("token", "message"),
    [(0, "no such gathering in this process"), ("x", "expected an INTEGER; TEXT given"), (None, "NULL given")],
)
def test_what_is_no_gathering_is_an_sql_error(connection, token, message):
    with pytest.raises(sqlite3.OperationalError, match=message):
        connection.execute("SELECT kv_gather(?, 0, 1, x'01')", (token,)).fetchall()


def test_a_gathering_that_is_gone_in_the_middle_is_an_sql_error(connection):
    buffer = bytearray(4)
    gathers = [Gather(buffer, 1, 0)]
    rows = connection.execute("SELECT kv_gather(?, column1, 1, x'01') FROM (VALUES (0), (1), (2))", (gathers[0].token,))
    assert next(rows) == (1,)
    gathers.clear()
    buffer.extend(b"free again")
    with pytest.raises(sqlite3.OperationalError, match="no such gathering any more"):
        rows.fetchall()


def test_a_buffer_is_held_as_long_as_the_gathering_lives():
    buffer = bytearray(8)
    gather = Gather(buffer, 1, 0)
    with pytest.raises(BufferError):
        buffer.extend(b"x")
    del gather
    buffer.extend(b"x")


def test_a_buffer_outlives_its_name(connection):
    values = np.arange(5)
    store(connection, values, [5])
    gather = Gather(memoryview(bytearray(40)), 8, 0)
    gc.collect()
    assert connection.execute(GATHER, (gather.token,)).fetchone() == (5,)


@pytest.mark.parametrize(
    ("buffer", "item_size", "start", "error", "message"),
    [
        (b"read-only", 1, 0, BufferError, "cannot be written to"),
        (np.zeros(8)[::2], 8, 0, BufferError, "has gaps"),
        ("text", 1, 0, TypeError, "a buffer is needed; str given"),
        (bytearray(9), 2, 0, ValueError, "a buffer of 9 bytes; expected a multiple of the item size, 2"),
        (bytearray(9), 0, 0, ValueError, "a multiple of the item size, 0"),
        (bytearray(9), 1, -1, ValueError, "start -1"),
        (bytearray(9), 1, 2**63 - 1, ValueError, "the last index would exceed"),
    ],
)
def test_what_cannot_be_gathered_into(buffer, item_size, start, error, message):
    with pytest.raises(error, match=message):
        Gather(buffer, item_size, start)


@pytest.mark.parametrize("buffer", [bytearray(), array.array("q", [0, 0]), np.zeros((3, 2)), np.empty(0)])
def test_any_writable_memory_will_do(connection, buffer):
    store(connection, np.arange(10), [10])
    gather = Gather(buffer, 8, 2)
    assert connection.execute(GATHER, (gather.token,)).fetchone() == (memoryview(buffer).nbytes // 8,)
    assert memoryview(buffer).tobytes() == np.arange(2, 2 + memoryview(buffer).nbytes // 8).tobytes()


def test_several_threads_fill_one_buffer(tmp_path):
    values = np.arange(200_000)
    found = np.zeros_like(values)
    gather = Gather(found, 8, 0)
    engine = kohakuvault.create_engine(tmp_path / "blocks.db", driver="sqlite3")
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        driver.execute("CREATE TABLE block (start, count, data)")
        store(driver, values, [1000] * 200)
        driver.commit()

    def fill(part: int) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"{GATHER} WHERE start / 1000 % 4 = ?", (gather.token, part)).fetchall()

    threads = [threading.Thread(target=fill, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(("rung", "expected"), [(NATIVE, True), ("create_function", False)])
def test_connections_know_whether_they_gather(rung, expected):
    engine = kohakuvault.create_engine(":memory:", driver="sqlite3", extension=rung)
    connection = engine.raw_connection().dbapi_connection
    assert extension.has_gather(connection) is expected
    assert DriverCursor(connection, engine).gathers is expected
