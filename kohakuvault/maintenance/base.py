"""What looking after a database consists of, whichever it is."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Table, TableClause, text

from ..binding import Binding
from ..errors import InvalidArgument
from ..statements import Statement

__all__ = ["Maintenance", "Problem", "Progress"]

# Called with the number of bytes so far and of all of them.
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Problem:
    """Something that ``check()`` found.

    Attributes
    ----------
    what
        What is wrong, in a sentence.
    where
        The key of the entry, the name of the column or the id of the row; None where it is no single one, or its key
        cannot be read.
    fixed
        Whether it has been repaired.
    of
        What ``where`` names: ``"key"``, ``"column"`` or ``"row"``.
    """

    what: str
    where: str | bytes | int | None = None
    fixed: bool = False
    of: str = "key"

    def __str__(self) -> str:
        place = "" if self.where is None else f"{self.of} {self.where!r:.200}: "
        return place + self.what + (" (fixed)" if self.fixed else "")


class Maintenance(ABC):
    """What differs between databases. Statements run by a binding; each is a transaction of its own."""

    # The types of values that the columns of containers may have, as `storage_class` names them.
    CLASSES: ClassVar[Mapping[str, tuple[str, ...]]]

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    @abstractmethod
    def checkpoint(self) -> tuple[int, int, int]:
        """See :meth:`kohakuvault.container.Container.checkpoint`."""

    @abstractmethod
    def optimize(self, tables: Iterable[TableClause]) -> None:
        """Compact the database, or ``tables`` where that is enough, and renew the planner's statistics."""

    @abstractmethod
    def backup(self, path: str | os.PathLike[str], *, overwrite: bool, progress: Progress | None) -> None:
        """See :meth:`kohakuvault.container.Container.backup`."""

    @abstractmethod
    def sizes(self, *tables: Table) -> dict[str, int]:
        """Return sizes in bytes, by name: of the database, and of all of ``tables`` where that can be told."""

    @abstractmethod
    def damage(self, table: Table) -> list[str]:
        """Return what the database itself finds wrong with ``table``, its indexes and foreign keys."""

    @abstractmethod
    def rebuild_indexes(self, table: Table) -> None:
        """Make the contents of the indexes of ``table`` anew."""

    @abstractmethod
    def has_trigger(self, table: Table, name: str) -> bool:
        """Whether ``table`` has a trigger of that name, which is not switched off."""

    @abstractmethod
    def storage_class(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """Return an expression for the type of a column's value in a row."""

    @abstractmethod
    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return an expression for a column's value that the driver can read, whatever it is."""

    @abstractmethod
    def key_decoder(self, decode: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
        """Return a function of the storage class and the readable value of a key; it raises ``CorruptValue``.

        ``decode`` turns what the driver returns for a sound key into the key.
        """

    def wrong_class(self, column: str, found: str) -> str | None:
        """Return what is wrong with a value of the type ``found`` in ``column``, one of a container's own; or None."""
        expected = self.CLASSES[column]
        if found in expected:
            return None
        return f"the {column} is {found.upper()}, not {' or '.join(map(str.upper, expected))}"

    def require_apart(self, what: str) -> None:
        """Raise unless ``what`` can run outside of any transaction."""
        if self.binding.holds_transaction:
            raise InvalidArgument(
                f"{what} inside a transaction or snapshot, or on a container that is bound to a Session or Connection: "
                "it concerns what is committed, so call it outside, on a container that is bound to the engine or path"
            )

    @staticmethod
    def _quoted(table: TableClause) -> str:
        """Return the name of ``table`` as SQL has it."""
        # SQLAlchemy's preparer doubles percent signs too, for drivers that want that of a statement.
        return ".".join('"' + part.replace('"', '""') + '"' for part in (table.schema, table.name) if part)

    def _statement(self, sql: str, *names: str) -> Statement:
        """Return ``sql`` for the driver; without ``names``, a colon in it is just that."""
        return Statement(text(sql if names else sql.replace(":", r"\:")), names, self.binding.dialect)
