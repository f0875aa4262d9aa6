"""Blocks of elements: as streams, their summaries, and the frames in which they are stored."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohakuvault._native import CorruptBlock, ElementCodec, frame, unframe

MUCH = 1 << 20


def block_of(codec: ElementCodec, values: list[object]) -> tuple[int, bytes]:
    """All of ``values`` in one block."""
    return (codec.pack(values, MUCH) or [(0, b"")])[0]


# -- streams -------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40)))
def test_a_stream_is_each_element_behind_its_length(elements):
    codec = ElementCodec("bytes")
    count, block = block_of(codec, elements)
    stream = codec.stream(block, count)
    assert stream == b"".join(struct.pack("<I", len(element)) + element for element in elements)
    assert codec.from_stream(stream) == (count, block)


@given(st.lists(st.text(max_size=9)), st.lists(st.text(max_size=9)))
def test_streams_are_joined_by_appending(first, second):
    codec = ElementCodec("str")
    streams = [codec.stream(block, count) for count, block in (block_of(codec, first), block_of(codec, second))]
    count, block = codec.from_stream(b"".join(streams))
    assert codec.unpack(block, count) == first + second


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_a_block_of_fixed_size_elements_is_its_own_stream(values):
    codec = ElementCodec("i64")
    count, block = block_of(codec, values)
    assert codec.stream(block, count) == block
    assert codec.from_stream(block) == (count, block)
    assert codec.from_stream(memoryview(block)) == (count, block)


def test_a_stream_of_many_megabytes():
    codec = ElementCodec("bytes")
    elements = [bytes([n]) * 100_000 for n in range(100)]
    ((count, block),) = codec.pack(elements, 1 << 30)
    assert codec.from_stream(bytearray(codec.stream(block, count))) == (count, block)


@pytest.mark.parametrize(
    ("dtype", "stream", "message"),
    [
        ("i64", b"\0" * 15, "a stream of 15 bytes; expected elements of 8 bytes"),
        ("bytes:3", b"\0" * 4, "a stream of 4 bytes; expected elements of 3 bytes"),
        ("str", b"\1\0\0", "the stream of 3 bytes ends inside element 0, which starts at 0"),
        ("bytes", b"\1\0\0\0a\2\0\0\0b", "the stream of 10 bytes ends inside element 1, which starts at 5"),
        ("bytes", b"\xff\xff\xff\xff", "the stream of 4 bytes ends inside element 0, which starts at 0"),
    ],
)
def test_what_is_no_stream_is_corrupt(dtype, stream, message):
    with pytest.raises(CorruptBlock, match=message):
        ElementCodec(dtype).from_stream(stream)


def test_what_is_no_block_has_no_stream():
    with pytest.raises(CorruptBlock, match="expected 2 elements of 8 bytes"):
        ElementCodec("i64").stream(b"\0" * 15, 2)
    with pytest.raises(CorruptBlock, match=r"element 0 lies at 0\.\.5 of a heap of 3 bytes"):
        ElementCodec("bytes").stream(struct.pack("<II", 5, 3) + b"abc", 2)


# -- summaries -----------------------------------------------------------------------------------------

INTEGERS = {f"{kind}{bits}": (kind, bits) for kind in "iu" for bits in (8, 16, 32, 64)}


def values_of(dtype: str) -> st.SearchStrategy[Any]:
    """One element of a scalar dtype; the ends of its range often."""
    if dtype == "bool":
        return st.booleans()
    if dtype in INTEGERS:
        kind, bits = INTEGERS[dtype]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind == "i" else (0, (1 << bits) - 1)
        return st.integers(low, high) | st.sampled_from([low, high])
    return st.floats(width=int(dtype[1:]))


@st.composite
def blocks(draw, elements=values_of):
    """A scalar dtype and blocks of its elements, as lists."""
    dtype = draw(st.sampled_from([*INTEGERS, "f32", "f64", "bool"]))
    return dtype, draw(st.lists(st.lists(elements(dtype), min_size=1, max_size=20), min_size=1, max_size=5))


def summary_of(codec: ElementCodec, values: list[Any]) -> tuple[int, bytes]:
    count, block = block_of(codec, values)
    summary = codec.summary(block, count)
    assert summary is not None
    assert len(summary) == 32
    return count, summary


@given(blocks())
def test_summaries_of_blocks_make_the_summary_of_a_column(drawn):
    dtype, lists = drawn
    codec = ElementCodec(dtype)
    least, greatest, total, nans = codec.summarize([summary_of(codec, values) for values in lists])
    values = [value for values in lists for value in values if value == value]
    assert nans == sum(map(len, lists)) - len(values)
    if not values:
        assert math.isnan(least)
        assert math.isnan(greatest)
        assert total == 0
        return
    assert (least, greatest) == (min(values), max(values))
    assert type(least) is type(greatest) is type(values[0])
    if not dtype.startswith("f"):
        assert total == sum(values)
        assert type(total) is int
    elif sum(abs(value) for value in values if math.isfinite(value)) >= 1e308:
        # A sum that overflows on the way is an infinity, or no number beside one of the other sign.
        return
    elif infinite := {value for value in values if math.isinf(value)}:
        assert total == infinite.pop() if len(infinite) == 1 else math.isnan(total)
    else:
        assert total == pytest.approx(math.fsum(values), rel=1e-14, abs=1e-14 * max(map(abs, values)))


@given(blocks(), st.data())
def test_pruning_agrees_with_python_comparisons(drawn, data):
    dtype, (values, *_) = drawn
    codec = ElementCodec(dtype)
    _, summary = summary_of(codec, values)
    near = st.sampled_from(values).flatmap(
        lambda value: st.sampled_from([value, value + 1, value - 1, math.nextafter(value, math.inf)])
    )
    # Ints that floats of that size cannot tell apart.
    nearest = near.filter(math.isfinite).flatmap(lambda value: st.integers(int(value) - 2, int(value) + 2))
    bound = near | nearest | st.none() | st.integers() | st.floats() | st.sampled_from([10**400, -(10**400)])
    low, high = data.draw(bound), data.draw(bound)
    found = codec.may_contain(summary, low, high)
    values = [value for value in values if value == value]
    if any((low is None or low <= value) and (high is None or value <= high) for value in values):
        assert found
    if all(low is not None and value < low for value in values):
        assert not found
    if all(high is not None and value > high for value in values):
        assert not found


@pytest.mark.parametrize(
    ("dtype", "value", "low", "high", "expected"),
    [
        ("i64", 2**53 + 1, float(2**53), float(2**53), False),
        ("i64", 2**53 + 1, float(2**53), None, True),
        ("u64", 2**64 - 1, float(2**64), None, False),
        ("f64", float(2**53), 2**53 + 1, None, False),
        ("f64", float(2**53), None, 2**53 - 1, False),
        ("f64", math.inf, None, 10**400, False),
        ("f64", math.inf, 10**400, None, True),
        ("f64", -math.inf, None, -(10**400), True),
        ("f64", math.nan, None, None, False),
        ("i8", 3, math.nan, None, False),
        ("i8", 3, None, math.nan, False),
        ("i8", 3, 2.5, 3.5, True),
        ("i8", 3, 3.1, 3.9, False),
        ("i8", 3, 4, 2, False),
        ("bool", True, True, None, True),
        ("bool", False, 0.5, None, False),
        ("f32", 0.5, np.float32(0.5), np.int64(1), True),
    ],
)
def test_bounds_are_compared_exactly(dtype, value, low, high, expected):
    codec = ElementCodec(dtype)
    assert codec.may_contain(summary_of(codec, [value])[1], low, high) is expected


@pytest.mark.parametrize("bound", ["1", None.__class__, 1j, np.longdouble(1) + np.finfo(np.longdouble).eps])
def test_a_bound_is_an_int_or_a_float(bound):
    codec = ElementCodec("i64")
    with pytest.raises(TypeError, match="a bound is an int or a float"):
        codec.may_contain(summary_of(codec, [1])[1], bound, None)


def test_sums_of_floats_are_compensated_and_infinities_stay():
    codec = ElementCodec("f64")
    for values, total in [([1e100, 1.0, -1e100], 1.0), ([0.1] * 10, 1.0), ([1.0, math.inf], math.inf)]:
        assert codec.summarize([summary_of(codec, values)])[2] == total
        assert codec.summarize([summary_of(codec, [value]) for value in values])[2] == total


def test_what_has_no_summary():
    for dtype in ("bytes", "str:4", "vec:f32:2", "vec:i8"):
        codec = ElementCodec(dtype)
        assert codec.summary(b"", 0) is None
        with pytest.raises(ValueError, match="have no summaries"):
            codec.summarize([])
        with pytest.raises(ValueError, match="have no summaries"):
            codec.may_contain(bytes(32), None, None)
    codec = ElementCodec("i64")
    assert codec.summary(b"", 0) is None
    assert codec.summarize([]) is None


@pytest.mark.parametrize(
    ("dtype", "count", "summary", "message"),
    [
        ("i64", 1, bytes(31), "a summary of 31 bytes; expected 32"),
        ("i64", 1, struct.pack("<qq16x", 2, 1), "elements from 2 to 1"),
        ("i8", 1, struct.pack("<qqqq", 0, 128, 128, 0), "a summary of i8 with elements from 0 to 128"),
        ("bool", 1, struct.pack("<qqqq", 0, 2, 2, 0), "a summary of bool"),
        ("i64", 2, struct.pack("<qqqq", 1, 3, 7, 0), "is not a summary of 2 elements"),
        ("i64", 0, bytes(32), "is not a summary of 0 elements"),
        ("f64", 2, struct.pack("<dddQ", 1, 2, 3, 3), "is not a summary of 2 elements"),
        ("f64", 2, struct.pack("<dddQ", math.nan, math.nan, 0, 1), "is not a summary of 2 elements"),
    ],
)
def test_what_is_no_summary_is_corrupt(dtype, count, summary, message):
    with pytest.raises(CorruptBlock, match=message):
        ElementCodec(dtype).summarize([(count, summary)])


def test_a_damaged_block_has_no_summary():
    with pytest.raises(CorruptBlock, match="expected 2 elements of 8 bytes"):
        ElementCodec("i64").summary(b"\0" * 15, 2)
    with pytest.raises(CorruptBlock, match="bool byte 0x02"):
        ElementCodec("bool").summary(b"\0\2", 2)


# -- frames --------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.integers(1, 400), st.none() | st.integers(1, 9), st.booleans())
def test_a_frame_gives_back_the_block(part, times, compress, checksum):
    block = part * times
    stored = frame(block, compress, checksum)
    assert unframe(stored, len(block), compress is not None, checksum) == block
    if block:
        message = f"a block of {len(block)} bytes; expected at most {len(block) - 1}"
        with pytest.raises(CorruptBlock, match=message):
            unframe(stored, len(block) - 1, compress is not None, checksum)


def test_a_checksum_is_crc32c_and_a_wrong_one_is_named():
    assert frame(b"123456789", None, True) == b"\x83\x92\x06\xe3123456789"
    with pytest.raises(CorruptBlock, match="the checksum is 0xe3069283; that of the bytes is 0x"):
        unframe(b"\x83\x92\x06\xe3123456788", 100, False, True)
    with pytest.raises(CorruptBlock, match="3 bytes cannot hold a checksum"):
        unframe(b"123", 100, False, True)


def test_the_checksum_is_of_what_is_stored():
    block = bytes(10_000)
    compressed = frame(block, 3, False)
    assert len(compressed) < 100
    assert frame(block, 3, True)[4:] == compressed


def test_bombs_are_refused_before_they_are_unpacked():
    bomb = frame(bytes(1 << 26), 1, False)
    with pytest.raises(CorruptBlock, match="a block of 67108864 bytes; expected at most 1000"):
        unframe(bomb, 1000, True, False)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"", "not a zstd frame"),
        (b"no frame at all", "not a zstd frame"),
        (frame(b"abc" * 99, 3, False)[:-1], "zstd: "),
        (frame(b"abc" * 99, 3, False) + b"more", "4 bytes follow the zstd frame"),
    ],
)
def test_what_is_not_one_frame_is_corrupt(stored, message):
    with pytest.raises(CorruptBlock, match=message):
        unframe(stored, 1000, True, False)


@pytest.mark.parametrize("level", [0, 23, -1])
def test_levels_are_from_1_to_22(level):
    with pytest.raises(ValueError, match=f"compression level {level}; expected 1 to 22"):
        frame(b"", level, False)


def test_buffers_are_framed_too():
    block = np.arange(50_000)
    stored = frame(block, 3, True)
    assert unframe(bytearray(stored), block.nbytes, True, True) == block.tobytes()
    assert unframe(memoryview(block), block.nbytes, False, False) == block.tobytes()
