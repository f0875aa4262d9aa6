"""What the files of the old releases hold, and what an import makes of it: read by the writer and by the tests.

Runs in the environments of those releases too, which have numpy only.
"""

from __future__ import annotations

import collections
import datetime
import fractions
import os
import pickle
import uuid
from decimal import Decimal

import numpy as np


class Bomb:
    """Loading its pickle makes a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def forged(payload: bytes, encoding: int, version: int = 1, flags: int = 0, reserved: int = 0) -> bytes:
    """Bytes that are a header and a payload, which a user stored as bytes."""
    return b"\x89K" + bytes((version, encoding, flags, reserved, 0, 0)) + b"VK" + payload


UTC = datetime.timezone.utc
DEEP: object = None
for _ in range(300):
    DEEP = [DEEP]

# Values that come back as they are.
SAME = {
    "text": "héllo ☃",
    "empty text": "",
    "raw": b"\x00\xffraw",
    "empty": b"",
    "large": bytes(range(256)) * 20_000,
    "bytes like a header": b"\x89K\x01\x06\x00\x00\x00\x00VX and more",
    "short header": b"\x89K\x01",
    "one": 1,
    "minus one": -1,
    "million": 1_000_000,
    "milliseconds": 1_717_750_000_000,
    "nanoseconds": 1_717_750_000_123_456_789,
    "2**53-1": 2**53 - 1,
    "-2**53": -(2**53),
    "pi": 3.141592653589793,
    "95.5": 95.5,
    "3.0": 3.0,
    "-1e-9": -1e-9,
    "inf": float("inf"),
    "nan": float("nan"),
    "none": None,
    "tuple": (1, "a", (2.5, None)),
    "set": {1, 2, 3},
    "frozenset": frozenset(("a", "b")),
    "complex": 1.5 - 2j,
    "datetime": datetime.datetime(2024, 2, 29, 12, 30, 1, 5),
    "aware": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
    "date": datetime.date(1999, 12, 31),
    "timedelta": datetime.timedelta(days=-1, microseconds=7),
    "uuid": uuid.UUID(int=77),
    "dict": {"b": 1, "a": [True, None, 1.5, "x", {"deep": []}], "big": 2**64 - 1, "low": -(2**63)},
    "list": [1, 2.0, "three"],
    "dict with bytes": {"b": b"\x00\x01", 1: "int key", "array": np.arange(3.0)},
    "huge int": [2**100],
    "deep": DEEP,
    "f32": np.arange(12, dtype=np.float32).reshape(3, 4),
    "f64": np.linspace(0, 1, 5),
    "u64": np.array([0, 2**64 - 1], np.uint64),
    "i8": np.arange(-3, 4, dtype=np.int8),
    "u8 of two": np.array([7, 9], np.uint8),
    "i16 of one": np.array([-5], np.int16),
    "no items": np.zeros((0, 3), np.int32),
    "bools": np.array([True, False]),
    "f16": np.array([1.5, -0.25], np.float16),
    "complexes": np.array([1 + 2j]),
    "strings": np.array(["a", "bcd"]),
    "dates": np.array(["2024-01-01"], "datetime64[D]"),
    "f32 scalar": np.float32(1.5),
    "i64 scalar": np.int64(-7),
}

# Values that the old releases stored as others.
STORED_AS = {
    "true": (True, 1),
    "false": (False, 0),
    "zero": (0.0, 0),
    "beyond": (2**63, float(2**63)),
    "decimal": (Decimal("1.25"), 1.25),
    "fraction": (fractions.Fraction(1, 2), 0.5),
    "tuple in dict": ({"t": (1, 2)}, {"t": [1, 2]}),
    "nan in dict": ({"n": float("nan")}, {"n": None}),
    "bool scalar": (np.bool_(True), 1.0),
    "forged text": (forged(b"text", 6), "text"),
    "forged raw": (forged(b"raw", 0), b"raw"),
}

# Of these nobody can say what they were.
AMBIGUOUS = {
    "0.0 and 0": 0.0,
    "u8": np.array([1, 2], np.uint8),
    "1e300": 1e300,
    "-0.0": -0.0,
    "2**60+2**59": 2**60 + 2**59,
}

# What is not taken, by a part of the reason.
REFUSED = {
    "deque": (collections.deque([1, 2]), "collections.deque"),
    "range": (range(3), "builtins.range"),
    "flags": (forged(b"x", 6, flags=1), "flags"),
    "reserved": (forged(b"x", 6, reserved=1), "flags"),
    "version": (forged(b"x", 6, version=2), "version 2"),
    "encoding": (forged(b"x", 7), "unknown encoding 7"),
    "no text": (forged(b"\xff", 6), "text"),
    "no msgpack": (forged(b"\x91", 4), "MessagePack"),
    "deep msgpack": (forged(b"\x91" * 5000 + b"\xc0", 4), "nested"),
    "deep cbor": (forged(b"\x81" * 5000 + b"\xf6", 5), "nested"),
    "long cbor": (forged(b"\x9b" + b"\xff" * 8, 5), "CBOR"),
    "deep json": (forged(b"[" * 100_000, 3), "JSON"),
    "surrogate": (forged(b'"\\ud800"', 3), "surrogate"),
    "no array": (forged(b"\x01\x02\x00\x00\x00\x00", 2), "array"),
    "no pickle": (forged(b"\x80\x04", 1), "pickle"),
    "loop": (forged(b"\x80\x04]\x94h\x00a.", 1), "in itself"),
    # Ten million million tuples, by naming each twice.
    "laughs": (
        forged(b"\x80\x04K\x01\x85\x94" + b"".join(b"h%c\x86\x94" % n for n in range(90)) + b".", 1),
        "too large",
    ),
}

KEYS = {b"\xff\xfe": "no UTF-8", b"": "empty", b"nul\x00": "nul", "é".encode(): "text", b"k" * 5000: "long"}


def bomb(path: str) -> bytes:
    """A pickle that makes a directory, as a user's bytes."""
    return forged(pickle.dumps(Bomb(path)), 1)


# -- columns: dtype, elements, and the new dtype -------------------------------------------------

TEXTS = ["a", "", "é☃" * 50, "x" * 3000]
VALUES = [{"a": 0}, [0] * 70, None, "text", 1.5, [0.0, {"b": []}]]
FIXED_VALUES = [{"a": 0}, [0] * 12, 0, 0.0, "", None]
OLD_DTYPES = {
    "i64": (list(range(-5000, 5000)), "i64"),
    "f64": ([0.1 * n for n in range(3000)], "f64"),
    "bytes": ([b"a" * (n % 50) for n in range(3000)] + [b"large" * 1000], "bytes"),
    "bytes:4": ([b"a\0\0\0", b"bcde"], "bytes:4"),
    "str": (TEXTS, "str:utf8"),
    "str:utf8": (TEXTS, "str:utf8"),
    "str:utf16le": (TEXTS, "str:utf16le"),
    "str:latin1": (["é", "ÿ" * 9], "str:latin1"),
    "str:ascii": (["a", "b" * 99], "str:ascii"),
    "str:9": (["a", "bcé", ""], "str:9:utf8"),
    "str:8:utf16le": (["ab", "é", ""], "str:8:utf16le"),
    "msgpack": (VALUES, "msgpack"),
    "msgpack:40": (FIXED_VALUES, "msgpack"),
    "cbor": (VALUES, "cbor"),
    "cbor:40": (FIXED_VALUES, "cbor"),
    "vec:f32:3": (np.arange(9000, dtype=np.float32).reshape(-1, 3), "vec:f32:3"),
    "vec:i16:2:2": (np.arange(40, dtype=np.int16).reshape(-1, 2, 2), "vec:i16:2:2"),
    "vec:f32": ([np.zeros((2, 3), np.float32), np.ones(0, np.float32), np.arange(5, dtype=np.float32)], "vec:f32"),
    "vec:u64": ([np.array([1, 2**64 - 1], np.uint64)], "vec:u64"),
}
NEW_DTYPES = {
    **OLD_DTYPES,
    **{
        kind: ([np.iinfo(name).min, 0, 5, np.iinfo(name).max], kind)
        for kind, name in (
            *(("i8", "i1"), ("i16", "i2"), ("i32", "i4"), ("u8", "u1"), ("u16", "u2"), ("u32", "u4"), ("u64", "u8")),
        )
    },
    "f32": ([1.5, -0.25, 3e38], "f32"),
    "f16": ([1.5, -65504.0, 6e-8], "f32"),
    "bool": ([True, False, True], "bool"),
    "vec:f16:2": (np.array([[1.5, 2.5]], np.float16), "vec:f32:2"),
    "vec:bool:3": (np.array([[True, False, True]] * 5), "vec:bool:3"),
    "str:utf-32-le": (TEXTS, "str:utf8"),
    "str:utf-16": (TEXTS, "str:utf8"),
    "str:shift_jis": (["日本", ""], "str:utf8"),
}


def dtypes(release: str):
    """Return the dtypes that a release has: elements, and the new dtype."""
    return OLD_DTYPES if release == "0.8.6" else NEW_DTYPES


def vectors(count: int, dimensions: int) -> np.ndarray:
    """Return the same vectors each time."""
    return np.random.default_rng(count).normal(size=(count, dimensions)).astype(np.float32)
