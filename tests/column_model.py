"""What the tests of columns share: every dtype, random elements of each, and what holds of stored columns."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import sqlalchemy

from kohakuvault import Column
from kohakuvault._native import unframe
from kohakuvault.orm.tables import Block, ColumnRecord, Payload

INTEGERS = [f"{kind}{bits}" for kind in "iu" for bits in (8, 16, 32, 64)]
NUMBERS = [*INTEGERS, "f32", "f64", "bool"]
FIXED = [
    *NUMBERS,
    *("bytes:5", "str:6:utf8", "str:8:utf16le", "str:8:utf16be", "str:5:latin1", "str:5:ascii"),
    *("vec:f32:3", "vec:u8:2:3", "vec:i16:2:1:2", "vec:bool:4"),
]
VARIABLE = [
    *("bytes", "str:utf8", "str:utf16le", "str:utf16be", "str:latin1", "str:ascii"),
    *("msgpack", "cbor", "json", "vec:f32", "vec:i64"),
]
# The whole grammar.
DTYPES = [*FIXED, *VARIABLE]

ARRAY_TYPES = {
    **{name: f"<{name[0]}{int(name[1:]) // 8}" for name in INTEGERS},
    "f32": "<f4",
    "f64": "<f8",
    "bool": "|b1",
}
_ALPHABETS = {"ascii": "ab\0~Z", "latin1": "aß\0ÿZ"}
_DOCUMENTS = {
    "msgpack": [{"a": (1, 2)}, [], None, 2**70, "x", b"y", 1.5, True, {1: 2}, [[1]], {1, 2}],
    "cbor": [{"a": [1, 2]}, [], None, 2**70, "x", b"y", 1.5, True, {1: 2}, [[1]], {1, 2}],
    "json": [{"a": [1, 2]}, [], None, 2**70, "x", "ß☃", 1.5, True, {"1": 2}, [[1]]],
}


def element(dtype: str, rng: random.Random) -> Any:
    """Return one element as it is read back; the ends of its range often."""
    kind, *rest = dtype.split(":")
    if kind == "vec":
        shape = tuple(map(int, rest[1:])) or tuple(rng.randrange(4) for _ in range(rng.randint(1, 3)))
        flat = [element(rest[0], rng) for _ in range(int(np.prod(shape)))]
        return np.array(flat, ARRAY_TYPES[rest[0]]).reshape(shape)
    if kind in INTEGERS:
        bits = int(kind[1:])
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "i" else (0, (1 << bits) - 1)
        return rng.choice([low, high, 0, 1]) if rng.random() < 0.2 else rng.randint(low, high)
    if kind in ("f32", "f64"):
        number = rng.choice([0.0, -0.0, float("inf"), 5e-324]) if rng.random() < 0.1 else rng.gauss(0, 1e6)
        return float(np.float32(number)) if kind == "f32" else number
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "bytes":
        if rest:
            return rng.randbytes(int(rest[0]))
        return rng.randbytes(rng.choice([0, 1, 5, 12, 90]))
    if kind == "str":
        encoding = rest[-1]
        alphabet = _ALPHABETS.get(encoding, "aß☃𝄞\0Z")
        text = "".join(rng.choices(alphabet, k=rng.choice([0, 1, 2, 3, 9])))
        if len(rest) == 2:
            while len(text.encode(encoding.replace("utf16", "utf-16-"))) > int(rest[0]) or text.endswith("\0"):
                text = text[:-1]
        return text
    value = rng.choice(_DOCUMENTS[kind])
    return rng.randint(-(2**40), 2**40) if value is None and rng.random() < 0.5 else value


def elements(dtype: str, count: int, seed: Any = 0) -> list[Any]:
    """Return ``count`` elements, always the same for the same arguments."""
    rng = random.Random(f"{dtype} {seed}")
    return [element(dtype, rng) for _ in range(count)]


def equal(a: object, b: object) -> bool:
    """Whether ``a`` is ``b`` as a value, type included; NaN is NaN, and -0.0 is not 0.0."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float) and isinstance(b, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes() or (a != a and b != b)
    return type(a) is type(b) and a == b


def all_equal(found: Any, expected: Any) -> bool:
    """Whether two runs of elements are equal one by one."""
    return len(found) == len(expected) and all(map(equal, found, expected))


def has(column: Column, model: list[Any]) -> bool:
    """Whether the column has the model's elements, and is stored as it should be."""
    check_storage(column)
    return len(column) == len(model) and all_equal(column[:], model)


def check_storage(column: Column) -> None:
    """Assert what docs/format.md says of the rows of a column."""
    form = column._form
    codec = column._elements.codec
    record = sqlalchemy.select(ColumnRecord.__table__).where(ColumnRecord.id == column._id)
    blocks = sqlalchemy.select(Block.__table__).where(Block.column_id == column._id).order_by(Block.start)
    low = column._id * 2**32
    payloads = sqlalchemy.select(Payload.__table__).where(Payload.id.between(low, low + 2**32 - 1))
    with column.binding.inspecting() as connection:
        (row,) = connection.execute(record).all()
        rows = connection.execute(blocks).all()
        data = dict(connection.execute(payloads).all())
    assert {block.id for block in rows} == set(data), "payloads and blocks are of each other"
    place = 0
    for block in rows:
        assert block.start == place
        assert block.count > 0
        assert low < block.id <= low + row.last_block
        stored = form.load(bytes(data[block.id]), block.count)
        codec.check(stored, block.count)
        assert len(stored) <= form.block_bytes or block.count == 1, "a block is too large"
        assert block.summary in (None, form.summary(stored, block.count)), "a summary is of other elements"
        place += block.count
    assert row.sealed == place
    tail = bytes(row.tail)
    if form.checksum and tail:
        tail = unframe(tail, len(tail), False, True)
    count, stored = codec.from_stream(tail)
    codec.check(stored, count)
    assert row.length == place + count
    assert len(stored) <= form.block_bytes or count == 1, "the tail is too large"
