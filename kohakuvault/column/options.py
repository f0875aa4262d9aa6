"""The options of a column when it is made, and what became of those of KohakuVault 0.x and 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidArgument, UnknownOption, UnsupportedType
from .block_size import fitting_block_bytes
from .elements import elements_of
from .form import LEVELS, Form

__all__ = ["chosen_form", "refuse_unknown"]

_LEAST, _MOST = 64, 1 << 26

# Options of KohakuVault 0.8 and 1.1, and what does their work here.
_INSTEAD = {
    "min_chunk_bytes": "blocks do not grow; block_bytes is the most that one holds",
    "max_chunk_bytes": "block_bytes is the most that a block holds",
    "chunk_bytes": "block_bytes is the most that a block holds",
    "use_rust_packer": "elements are always packed by Rust; leave it out",
}


def refuse_unknown(what: str, known: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`UnknownOption` for the first of ``options``, naming what there is instead."""
    for name in options:
        advice = _INSTEAD.get(name)
        raise UnknownOption(f"{what} has no option {name!r}" + (f": {advice}" if advice else f"; it has {known}"))


def chosen_form(dtype: str, block_bytes: Any, compression: Any, checksum: Any) -> Form:
    """Return the form of a new column; raise if the options are of no use."""
    elements = elements_of(dtype)
    if block_bytes is None:
        block_bytes = fitting_block_bytes(elements.item_size)
    elif type(block_bytes) is not int or not _LEAST <= block_bytes <= _MOST:
        raise InvalidArgument(f"block_bytes is an int from {_LEAST} to 2**26, not {block_bytes!r}")
    if type(checksum) is not bool:
        raise UnsupportedType(f"checksum is True or False, not {checksum!r}")
    return Form(elements, block_bytes, _level(compression), checksum)


def _level(compression: Any) -> int | None:
    if compression is None:
        return None
    if compression == "zstd":
        return 3
    name, _, level = compression.partition(":") if isinstance(compression, str) else ("", "", "")
    if name == "zstd" and level.isdecimal() and int(level) in LEVELS:
        return int(level)
    raise InvalidArgument(f"compression is None, 'zstd', or 'zstd:1' to 'zstd:22' (default 3), not {compression!r}")
