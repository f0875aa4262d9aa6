"""Where a CBOR value ends that is followed by padding."""

from __future__ import annotations

from .source import Damaged

__all__ = ["end_of_cbor"]


def end_of_cbor(data: bytes) -> int:
    """Return where the first value of ``data`` ends (RFC 8949, section 3; of definite lengths, as was written)."""
    at, left = 0, 1
    while left:
        if at >= len(data):
            raise Damaged("stored value is not valid CBOR: it ends too early")
        kind, info = data[at] >> 5, data[at] & 31
        at += 1
        if info > 27:
            raise Damaged("stored value is not valid CBOR: of an indefinite length")
        size = 0 if info < 24 else 1 << (info - 24)
        count = info if not size else int.from_bytes(data[at : at + size], "big")
        at += size
        left -= 1
        if kind in (2, 3):
            at += count
        elif kind in (4, 5):
            left += count * (kind - 3)
        elif kind == 6:
            left += 1
    if at > len(data):
        raise Damaged("stored value is not valid CBOR: it ends too early")
    return at
