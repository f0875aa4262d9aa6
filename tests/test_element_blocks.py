"""``ElementCodec``: blocks as streams."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohakuvault._native import CorruptBlock, ElementCodec

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
    with pytest.raises(CorruptBlock, match="element 0 lies at 0..5 of a heap of 3 bytes"):
        ElementCodec("bytes").stream(struct.pack("<II", 5, 3) + b"abc", 2)
