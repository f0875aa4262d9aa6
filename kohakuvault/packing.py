r"""Auto-pack: a Python value to tagged bytes and back, equal and of the same type.

A stored value is one tag byte and its payload (``docs/format.md`` specifies each). Tags are never guessed from
payload bytes, so no value can be mistaken for another, and a pickle is only read where that was allowed.

>>> unpack(pack({"name": "Alice", "scores": (1, 2.5), "tags": {"admin"}}))
{'name': 'Alice', 'scores': (1, 2.5), 'tags': {'admin'}}
>>> pack(Json({"name": "Alice"}))
b'\t{"name":"Alice"}'
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ._native import pack, pack_cbor, pack_msgpack, unpack, unpack_cbor, unpack_msgpack
from .errors import UnsupportedType

__all__ = [
    "Cbor",
    "ChunkedBytes",
    "Json",
    "MsgPack",
    "Pickle",
    "as_dict",
    "pack",
    "pack_cbor",
    "pack_msgpack",
    "unpack",
    "unpack_cbor",
    "unpack_msgpack",
]


@dataclasses.dataclass(frozen=True, slots=True)
class MsgPack:
    """Store ``value`` as MessagePack, also what would have a tag of its own, such as text. Reads as the value."""

    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Json:
    """Store ``value`` as JSON text, which other programs and SQL can read. Reads as the value.

    Takes str, bool, int, finite float, None, list, and dict with str keys, nested up to 100 deep.
    """

    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Cbor:
    """Store ``value`` as CBOR (RFC 8949). Reads as the value.

    Takes bytes, str, bool, int, float, None, complex, dict, list, set, Decimal (finite, not -0), Fraction, UUID,
    date, and datetime with a fixed offset of whole minutes; in dict keys and sets also tuple and frozenset.
    """

    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Pickle:
    """Store ``value`` as a pickle; only where pickle is allowed, by ``pickle=True``. Reads as the value."""

    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class ChunkedBytes:
    """What the row of a KV table has for bytes that :meth:`KVault.put_file` wrote in chunks, into a table beside it.

    The ORM and :func:`unpack` show it; :class:`KVault` gives the bytes themselves. It cannot be stored: the chunks
    belong to the one entry that names them, and are deleted with it.

    Attributes
    ----------
    stream
        Number of the stream; chunk ``n`` has the id ``stream * 2**32 + n``.
    length
        Bytes in all, more than ``chunk_size``.
    chunk_size
        Bytes in each chunk but the last.
    """

    stream: int
    length: int
    chunk_size: int

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.length // self.chunk_size)


def as_dict(value: Any) -> dict[str, Any]:
    """Return an instance of a dataclass as a dict of its fields; so too the instances in it.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int
    ...     y: int
    >>> as_dict(Point(1, 2))
    {'x': 1, 'y': 2}
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise UnsupportedType(f"as_dict takes an instance of a dataclass, not {value!r:.60}")
    return dataclasses.asdict(value)
