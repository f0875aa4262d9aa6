"""Vectors on their way to PostgreSQL in pgvector's binary form, on engines of ours whose driver is psycopg.

The form is what ``vector_recv``, ``halfvec_recv`` and ``bit_recv`` read: big-endian, a third of the bytes of the text
and nothing to parse. Elsewhere vectors are sent as text.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine

__all__ = ["BinaryVector", "binary_vector", "send_binary", "sends_binary"]

# Set on the dialect, which is all that a type is told of.
_MARK = "kohakuvault_sends_binary"

_DRIVERS = ("psycopg", "psycopg_async")

# Of each element type, how it is packed, and how it is sent.
_NUMBERS = {"f32": ("<f4", ">f4"), "f16": ("<f2", ">f2"), "i8": ("i1", ">f2")}


class BinaryVector:
    """A vector in the form that PostgreSQL reads."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"<vector of {len(self.data)} bytes>"


def binary_vector(packed: bytes, dimensions: int | None, elem: str) -> BinaryVector:
    """Return a vector that is packed as SQLite stores it."""
    if elem == "bit":
        return BinaryVector(struct.pack(">i", dimensions) + packed)
    stored, sent = _NUMBERS[elem]
    array = np.frombuffer(packed, stored)
    return BinaryVector(struct.pack(">HH", len(array), 0) + array.astype(sent).tobytes())


def sends_binary(dialect: Dialect) -> bool:
    """Whether connections of this dialect's engine take a :class:`BinaryVector`."""
    return getattr(dialect, _MARK, False)


def send_binary(engine: Engine) -> None:
    """Have connections of ``engine`` take a :class:`BinaryVector`, if all of them can."""
    if engine.dialect.driver not in _DRIVERS or getattr(engine.pool, "checkedout", int)():
        # A connection that is in use goes on without.
        return

    def connect(connection: Any, record: Any) -> None:
        connection.adapters.register_dumper(BinaryVector, _dumper())

    event.listen(engine, "connect", connect)
    engine.dispose()
    setattr(engine.dialect, _MARK, True)


@cache
def _dumper() -> type[Any]:
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class BinaryVectorDumper(Dumper):
        format = Format.BINARY
        # Unknown: statements cast to the type, whose number differs from one database to another.
        oid = 0

        def dump(self, obj: Any) -> bytes:
            data: bytes = obj.data
            return data

    return BinaryVectorDumper
