"""``Packed().tracked()``: a packed value whose dicts, lists and sets tell when they are changed in place."""

from __future__ import annotations

from .packed import Packed

__all__ = ["TrackedPacked"]


class TrackedPacked(Packed):
    """What :meth:`Packed.tracked` returns. ``orm/tracked_attributes.py`` finds the attributes that have it."""

    cache_ok = True

    def __repr__(self) -> str:
        return f"{super().__repr__()}.tracked()"

    def tracked(self) -> TrackedPacked:
        return self
