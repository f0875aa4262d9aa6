"""``Key``: the key of a dict entry, an ``int``, ``str`` or ``bytes`` that keeps its type and order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Dialect

from ..._native import check_key
from ...errors import CorruptValue, InvalidArgument
from .declared import DeclaredType, blob_literal

__all__ = ["Key"]

# An entry of a PostgreSQL B-tree has at most a third of its 8 kB page, header included.
_LONGEST = 2601


def encode_key(key: Any) -> bytes:
    """Return ``key`` as bytes whose order is int < str (by code point) < bytes."""
    key = check_key(key)
    if isinstance(key, int):
        return b"\x01" + (key + 2**63).to_bytes(8, "big")
    encoded = b"\x02" + key.encode() if isinstance(key, str) else b"\x03" + key
    if len(encoded) > _LONGEST:
        raise InvalidArgument(
            f"key {key[:20]!r}… has {len(encoded) - 1} bytes; this database's indexes hold keys of at most "
            f"{_LONGEST - 1}. Use a digest of it as the key"
        )
    return encoded


def decode_key(data: bytes) -> str | bytes | int:
    """Return the key that :func:`encode_key` made ``data`` from."""
    data = bytes(data)
    tag, body = data[:1], data[1:]
    if tag == b"\x01" and len(body) == 8:
        return int.from_bytes(body, "big") - 2**63
    if tag == b"\x02":
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise CorruptValue(f"stored key {data[:40]!r} is not valid UTF-8: {error}") from error
    if tag == b"\x03":
        return body
    raise CorruptValue(f"stored key {data[:40]!r} has no known tag")


class Key(DeclaredType):
    """A ``str``, ``bytes`` or ``int`` key, kept apart and given back as it was.

    The order is the same on every database: int < str (by code point) < bytes. SQLite stores keys as they
    are (INTEGER, TEXT, BLOB in a column without affinity); other databases as order-preserving tagged bytes.
    """

    cache_ok = True

    def __repr__(self) -> str:
        return "Key()"

    @property
    def declared_name(self) -> str:
        return "key"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return check_key if dialect.name == "sqlite" else encode_key

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        bind = self.bind_processor(dialect)

        def render(key: Any) -> str:
            value = bind(key)
            if isinstance(value, bytes):
                return blob_literal(value, dialect)
            return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"

        return render

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        if dialect.name == "sqlite":
            return None
        return lambda data: None if data is None else decode_key(data)
