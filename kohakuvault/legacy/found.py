"""What there is in an old file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .columns_086 import columns_of_086
from .columns_110 import columns_of_110
from .dicts import dicts_of
from .source import Damaged, Source
from .texts import texts_of
from .vectors import vectors_of

__all__ = ["Found", "found_in"]

# What a column of 0.8 is called where one of 1.1 has its name: each release saw only its own.
_TWIN = " (0.8)"


@dataclass(frozen=True)
class Found:
    """A table or column.

    Attributes
    ----------
    kind
        ``"kv"``, ``"column"``, ``"vectors"`` or ``"text"``.
    name
        In the old file, and in the new database unless it gets a prefix.
    total
        Rows or elements, as far as the file says.
    content
        What reads it; of a dict None; or :class:`Damaged` where that is known to be impossible.
    """

    kind: str
    name: str
    total: int
    content: Any


def found_in(source: Source) -> list[Found]:
    """Return all that KohakuVault 0.8 and 1.1 have put into a file."""
    found = [Found("kv", name, source.count(name), None) for name in dicts_of(source)]
    names: set[str] = set()
    for column in (*columns_of_110(source), *columns_of_086(source)):
        name = column.name if column.name not in names else column.name + _TWIN
        names.add(name)
        found.append(Found("column", name, column.length, column))
    for kind, tables in (("vectors", vectors_of(source)), ("text", texts_of(source))):
        for name, table in tables:
            total = 0 if isinstance(table, Damaged) else table.count()
            found.append(Found(kind, name, total, table))
    return found
