"""Where the ids of new rows come from, so that they are known before the rows are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import BigInteger, ColumnElement, Integer, String, Table, bindparam, column, func, select, table
from sqlalchemy.engine import Dialect

from ..errors import InvalidArgument
from ..lending import DriverCursor
from ..statements import Statement

__all__ = ["Ids", "ids_of"]

_LARGEST = 2**63 - 1


class Ids(Protocol):
    """The ids of a table's new rows."""

    def reserve(self, cursor: DriverCursor, count: int) -> Sequence[int] | None:
        """Return ``count`` ids that nobody else gives a row, ascending; None where only the database can tell.

        In the transaction of ``cursor``, which writes.
        """

    def skip(self, cursor: DriverCursor) -> None:
        """Go beyond the ids that there are, because the next one is taken."""


def ids_of(table: Table, dialect: Dialect) -> Ids:
    """Return the ids of ``table``."""
    if table.c.id.default is not None:
        return _Unknown()
    return _SQLiteIds(table, dialect) if dialect.name == "sqlite" else _SequenceIds(table, dialect)


class _Unknown:
    """Ids of the user's own making."""

    def reserve(self, cursor: DriverCursor, count: int) -> None:
        return None

    def skip(self, cursor: DriverCursor) -> None:
        raise InvalidArgument("the default of the column id gave an id that another row has already")


class _SQLiteIds:
    """What SQLite itself would give: ids that follow the largest one, which the write lock keeps."""

    def __init__(self, of: Table, dialect: Dialect) -> None:
        largest: ColumnElement[Any] = func.coalesce(select(func.max(of.c.id)).scalar_subquery(), 0)
        if of.dialect_options["sqlite"]["autoincrement"]:
            # Never one that a deleted row had.
            given = table("sqlite_sequence", column("name", String()), column("seq", Integer()))
            last = select(given.c.seq).where(given.c.name == of.name).scalar_subquery()
            largest = func.max(largest, func.coalesce(last, 0))
        self._largest = Statement(select(largest), (), dialect)

    def reserve(self, cursor: DriverCursor, count: int) -> range | None:
        first = int(cursor.one(self._largest)[0]) + 1
        # Beyond, SQLite looks for ids that are free.
        return range(first, first + count) if first + count - 1 <= _LARGEST else None

    def skip(self, cursor: DriverCursor) -> None:
        pass


class _SequenceIds:
    """Those of the sequence that belongs to the column, as PostgreSQL has it."""

    def __init__(self, of: Table, dialect: Dialect) -> None:
        name = ".".join('"' + part.replace('"', '""') + '"' for part in (of.schema, of.name) if part)
        sequence = func.pg_get_serial_sequence(name, of.c.id.name)
        series = func.generate_series(1, bindparam("count", type_=BigInteger())).table_valued("number")
        drawn = select(func.nextval(sequence).label("id")).select_from(series).subquery("drawn")
        is_taken = select(of.c.id).where(of.c.id == drawn.c.id).exists()
        self._draw = Statement(select(drawn.c.id).where(~is_taken), ("count",), dialect)
        beyond = select(func.greatest(func.max(of.c.id), func.nextval(sequence))).scalar_subquery()
        self._skip = Statement(select(func.setval(sequence, beyond)), (), dialect)

    def reserve(self, cursor: DriverCursor, count: int) -> list[int] | None:
        while True:
            ids = [number for (number,) in cursor.all(self._draw, count)]
            if ids and ids[0] is None:
                return None
            if len(ids) == count:
                return sorted(ids)
            # Rows that were written under ids of their own have left the sequence where it was.
            self.skip(cursor)

    def skip(self, cursor: DriverCursor) -> None:
        cursor.run(self._skip)
