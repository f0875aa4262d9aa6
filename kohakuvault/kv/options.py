"""What became of the options of KohakuVault 0.x and 1.x's ``KVault``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnknownOption

__all__ = ["refuse_unknown"]

_PRAGMA = "give KVault an engine: create_engine(path, pragmas={{{}}})"

# Options of KohakuVault 1.1, and what does their work here.
_INSTEAD = {
    "chunk_size": "put_file() and get_to_file() take it",
    "retries": _PRAGMA.format('"busy_timeout": milliseconds'),
    "backoff_base": _PRAGMA.format('"busy_timeout": milliseconds'),
    "enable_wal": "WAL is the default; " + _PRAGMA.format('"journal_mode": "DELETE"'),
    "page_size": _PRAGMA.format('"page_size": bytes'),
    "mmap_size": _PRAGMA.format('"mmap_size": bytes'),
    "cache_kb": _PRAGMA.format('"cache_size": -kibibytes'),
    "reader_cache_kb": "read_cache=bytes keeps hot values in memory",
    "reader_idle_limit": "connections are kept as they are needed; leave it out",
}


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Raise :class:`UnknownOption` for the first of ``options``, naming what there is instead."""
    for name in options:
        advice = _INSTEAD.get(name)
        known = "create, pickle, read_only and read_cache"
        raise UnknownOption(f"KVault has no option {name!r}" + (f": {advice}" if advice else f"; it has {known}"))
