"""The native buffers of columns: elements that wait, and runs of elements that were read."""

from __future__ import annotations

import numpy as np
import pytest

from kohakuvault._native import ColumnBuffer, ElementCodec, RunCache, Watch


def test_nothing_is_taken_until_something_waits_and_beyond_the_limit():
    buffer = ColumnBuffer()
    slot = buffer.slot(7, "i64")
    assert not slot.append(1)
    buffer.admit(24)
    assert not slot.append(1)
    assert slot.insert(1, b"\1" + bytes(7), 8)
    assert [slot.append(2), slot.append(3), slot.append(4)] == [True, True, False]
    assert not slot.insert(1, bytes(8), 24)
    assert (buffer.entries, buffer.bytes, slot.bytes) == (3, 24, 24)
    ((column, count, stream),) = buffer.streams()
    assert (column, count) == (7, 3)
    assert ElementCodec("i64").unpack(stream, 3) == [1, 2, 3]
    assert buffer.clear() == 24
    assert (buffer.entries, buffer.streams(), slot.append(5)) == (0, [], False)


def test_limits_of_some_columns():
    buffer = ColumnBuffer()
    mine, other = buffer.slot(1, "u8"), buffer.slot(2, "u8")
    buffer.admit(2, [(1, 4)])
    mine.insert(1, b"a", 1)
    assert [other.append(1), other.append(1)] == [True, False]
    assert [mine.append(1), mine.append(1), mine.append(1)] == [True, True, False]
    # A slot that is made later has the same limits.
    assert not buffer.slot(1, "u8").append(1)
    buffer.admit(0)
    assert not mine.append(1)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("f32", [0.5, -1.0]),
        ("bool", [True, False]),
        ("str:utf8", ["", "☃"]),
        ("bytes:3", [b"abc", b"\0\0\0"]),
        ("msgpack", [{"a": 1}, None]),
        ("vec:f32:2", [[1.0, 2.0], [3.0, 4.0]]),
    ],
)
def test_elements_are_packed_as_a_stream(dtype, values):
    codec, buffer = ElementCodec(dtype), ColumnBuffer()
    slot = buffer.slot(1, dtype)
    buffer.admit(1 << 20)
    ((count, block),) = codec.pack(values, 1 << 20)
    stream = codec.stream(block, count)
    assert slot.insert(count, stream, 1 << 20)
    assert all(slot.append(value) for value in values)
    assert not slot.append(object())
    assert buffer.streams() == [(1, 4, stream + stream)]


def test_columns_come_in_the_order_of_their_ids():
    buffer = ColumnBuffer()
    for column in (5, -3, 2**40):
        buffer.slot(column, "u8").insert(1, b"x", 10)
    assert [column for column, _, _ in buffer.streams()] == [-3, 5, 2**40]


def test_a_slot_is_of_a_dtype_that_exists():
    with pytest.raises(ValueError, match="no such"):
        ColumnBuffer().slot(1, "no such")


def test_a_run_cache_without_a_connection_keeps_nothing():
    cache = RunCache(1 << 20, Watch())
    runs = cache.of(1, 10)
    array = np.arange(10)
    assert (cache.mark(), runs.mark(), runs.put(0, array, 0), runs.notice(0), runs.notice(0)) == (
        0,
        0,
        False,
        False,
        False,
    )
    runs.put_length(10, 0)
    assert runs.view(0, 5) is runs.item(0) is runs.length() is runs.run(0) is None
    assert (cache.entries, cache.bytes, cache.hits) == (0, 0, 0)
    cache.close()
    cache.close()
