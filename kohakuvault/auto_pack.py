"""Which values a container takes: any that can be packed, or bytes only."""

from __future__ import annotations

from typing import Any

from .errors import InvalidArgument, UnsupportedType

__all__ = ["AutoPack", "as_bytes"]


class AutoPack:
    """The part of a container that takes any packable value, unless it is told to take bytes only."""

    _takes_any = True
    # What was said on opening.
    _allows_pickle = False

    def auto_pack_enabled(self) -> bool:
        """Whether any packable value is taken, as by default, rather than bytes only."""
        return self._takes_any

    def enable_auto_pack(self, use_pickle: bool | None = None) -> None:
        """Take any packable value again. ``use_pickle`` must be what was said on opening, by ``pickle=``."""
        if use_pickle and not self._allows_pickle:
            raise InvalidArgument("use_pickle=True: pickling is allowed when the vault is opened, by pickle=True")
        self._takes_any = True

    def disable_auto_pack(self) -> None:
        """Take only ``bytes``, ``bytearray`` and ``memoryview`` as values from now on, and store them as ``bytes``.

        Reading is as before: what was stored as another type comes back as that.
        """
        self._takes_any = False


def as_bytes(value: Any) -> bytes:
    """Return what is stored for ``value`` while auto-pack is disabled."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise UnsupportedType(
        f"with auto-pack disabled a value is bytes, bytearray or memoryview, not {type(value).__name__}; call "
        "enable_auto_pack() to store any other"
    )
