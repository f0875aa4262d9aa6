"""Options of KohakuVault 0.8 and 1.1 that its containers of rows had, and what does their work here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnknownOption

__all__ = ["refuse_unknown"]

_PRAGMA = "give {{container}} an engine: create_engine(path, pragmas={{{{{}}}}})"

_INSTEAD = {
    "retries": _PRAGMA.format('"busy_timeout": milliseconds'),
    "backoff_base": _PRAGMA.format('"busy_timeout": milliseconds'),
    "enable_wal": "WAL is the default; " + _PRAGMA.format('"journal_mode": "DELETE"'),
    "page_size": _PRAGMA.format('"page_size": bytes'),
    "mmap_size": _PRAGMA.format('"mmap_size": bytes'),
    "cache_kb": _PRAGMA.format('"cache_size": -kibibytes'),
}


def refuse_unknown(container: str, options: Mapping[str, Any], known: str) -> None:
    """Raise :class:`UnknownOption` for the first of ``options``, naming what there is instead."""
    for name in options:
        advice = _INSTEAD.get(name)
        more = f": {advice.format(container=container)}" if advice else f"; it has {known}"
        raise UnknownOption(f"{container} has no option {name!r}{more}")
