"""What became of each table and column of an old file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ImportReport", "ItemReport", "Remark"]

# Of a remark, the first so many rows are named.
_NAMED = 5

_LONGEST_NAME = 60

# Different reasons; the name of a class, say, is part of one.
_REASONS = 20
_OTHERS = "other reasons"


@dataclass
class Remark:
    """What holds for some rows: how many, and the first of them.

    Attributes
    ----------
    count
        Of rows.
    first
        Keys, ids or indexes of the first of them, as text.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: Any, count: int = 1) -> None:
        """Count a row, or several from ``place`` on."""
        self.count += count
        if len(self.first) < _NAMED:
            shown = repr(place)
            self.first.append(shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…")


@dataclass
class ItemReport:
    """What became of one table or column.

    Attributes
    ----------
    kind
        ``"kv"``, ``"column"``, ``"vectors"`` or ``"text"``.
    name, new_name
        In the old file and in the new database.
    taken
        Rows, or elements, that are in the new database.
    not_taken
        Rows that are not, and elements that are the dtype's zero instead, by the reason.
    notes
        Rows that are, and of which there is something to say.
    """

    kind: str
    name: str
    new_name: str
    taken: int = 0
    not_taken: dict[str, Remark] = field(default_factory=dict)
    notes: dict[str, Remark] = field(default_factory=dict)

    def refuse(self, reason: str, place: Any, count: int = 1) -> None:
        """Count a row that is not taken."""
        _remark(self.not_taken, reason).add(place, count)

    def note(self, text: str, place: Any, count: int = 1) -> None:
        """Count a row that there is something to say of."""
        _remark(self.notes, text).add(place, count)

    @property
    def left(self) -> int:
        """How many rows are not taken."""
        return sum(remark.count for remark in self.not_taken.values())

    @property
    def is_complete(self) -> bool:
        """Whether all of it is in the new database."""
        return not self.not_taken


@dataclass
class ImportReport:
    """What became of an old file, in :attr:`items`; ``str(report)`` is to be read by people.

    Attributes
    ----------
    source
        The path of the old file.
    items
        Of each table and column, in the order in which they were imported.
    """

    source: str
    items: list[ItemReport] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether everything was taken."""
        return all(item.is_complete for item in self.items)

    @property
    def taken(self) -> int:
        """Rows and elements that were taken."""
        return sum(item.taken for item in self.items)

    @property
    def left(self) -> int:
        """Rows and elements that were not."""
        return sum(item.left for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        return {
            "source": self.source,
            "complete": self.is_complete,
            "items": [
                {
                    "kind": item.kind,
                    "name": item.name,
                    "new_name": item.new_name,
                    "taken": item.taken,
                    "not_taken": _remarks(item.not_taken),
                    "notes": _remarks(item.notes),
                }
                for item in self.items
            ],
        }

    def __str__(self) -> str:
        lines = []
        for item in self.items:
            lines.append(f"{item.kind} {item.name!r}: {item.taken:,} taken, {item.left:,} not taken")
            lines += [f"  not taken: {said}" for said in lines_of(item.not_taken)]
            lines += [f"  note: {said}" for said in lines_of(item.notes)]
        return "\n".join(lines)


def _remark(remarks: dict[str, Remark], text: str) -> Remark:
    if text not in remarks and len(remarks) >= _REASONS:
        text = _OTHERS
    return remarks.setdefault(text, Remark())


def lines_of(remarks: dict[str, Remark]) -> list[str]:
    """Return a line for each remark."""
    return [
        f"{remark.count:,} × {text} ({', '.join(remark.first)}{', …' if remark.count > len(remark.first) else ''})"
        for text, remark in remarks.items()
    ]


def _remarks(remarks: dict[str, Remark]) -> list[dict[str, Any]]:
    return [{"what": text, "count": remark.count, "first": remark.first} for text, remark in remarks.items()]
