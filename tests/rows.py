"""Rows that own dicts and lists, for the contract suites: always with a neighbour, whose own must stay as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kohakuvault import Column, KVault
from kohakuvault.orm import vault_dict, vault_list

_numbers = itertools.count()

# Keys that the suites use too.
_THEIRS = {"a": 1, "b": [2], "k": "theirs", "n": 5, "key": b"x", 1: "one", b"a": None}


def rows_with(**attributes: Any) -> Any:
    """Return a new mapped class, in metadata of its own."""

    class Base(DeclarativeBase):
        pass

    name = f"row_{next(_numbers)}"
    columns = {"__tablename__": name, "id": mapped_column(primary_key=True), "__annotations__": {"id": Mapped[int]}}
    return type("Row", (Base,), {**columns, **attributes})


@contextmanager
def dict_of_a_row(session: Session) -> Iterator[KVault]:
    """Give the dict of a row, between those of two others."""
    entity = rows_with(settings=vault_dict())
    entity.metadata.create_all(session.connection())
    before, row, after = rows = [entity(id=number) for number in (1, 2, 3)]
    session.add_all(rows)
    for other in (before, after):
        other.settings.update(_THEIRS)
        other.settings.put_file("file", bytes(1000), chunk_size=300)
        other.settings.put("lives", 1, ttl=1e9)
    yield row.settings
    for other in (before, after):
        assert other.settings.copy() == {**_THEIRS, "file": bytes(1000), "lives": 1}
        assert other.settings.check() == []


class ListRows:
    """Rows with a list each."""

    def __init__(self, session: Session, dtype: str, theirs: list[Any], **options: Any) -> None:
        self._session = session
        self._entity = rows_with(readings=vault_list(dtype, **options))
        self._entity.metadata.create_all(session.connection())
        self._theirs = theirs
        self._neighbour = self._entity(readings=theirs)
        session.add(self._neighbour)
        # Handles go with their objects.
        self._rows: list[Any] = []

    def new(self) -> Column[Any]:
        """Return the list of a new row."""
        row = self._entity()
        self._session.add(row)
        self._rows.append(row)
        column: Column[Any] = row.readings
        return column

    @property
    def neighbour(self) -> tuple[Column[Any], list[Any]]:
        """The list of another row, and what it should be."""
        column: Column[Any] = self._neighbour.readings
        # Which column it is, the first operation finds out.
        assert len(column) == len(self._theirs)
        return column, self._theirs
