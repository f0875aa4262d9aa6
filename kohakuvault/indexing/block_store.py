"""The kinds of index that are blocks of codes in ordinary tables: exact, rabitq, ivf and auto."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from ..errors import CorruptValue, SchemaMismatch
from ..lending import DriverCursor
from . import kinds
from .building import Progress, build
from .fold import fold
from .kinds import code_of, first_fold, kind_on_sqlite
from .learning import learn
from .state import State
from .statements import index_statements
from .store import Anew, IndexStore, Step
from .virtual import RANDOM, literal, quoted

__all__ = ["BlockStore"]

_TABLES = {
    "blk": "id INTEGER PRIMARY KEY, data BLOB NOT NULL",
    "loc": "id INTEGER PRIMARY KEY, blk INTEGER NOT NULL",
}


class BlockStore(IndexStore):
    """``<name>_blk``, the blocks, and ``<name>_loc``, which of them each row is in."""

    def tables(self, cursor: DriverCursor) -> Sequence[str]:
        """Return both."""
        return [f"{self.index.name}_{suffix}" for suffix in _TABLES]

    def create(self, connection: Connection) -> None:
        """Make the tables."""
        for sql in self.create_statements():
            connection.exec_driver_sql(sql)

    def create_statements(self) -> list[str]:
        """Return what makes the tables."""
        return [f"CREATE TABLE {quoted(f'{self.index.name}_{end}')} ({columns})" for end, columns in _TABLES.items()]

    def drop_statements(self) -> list[str]:
        """Return what drops the tables."""
        return _drop_statements(self.index.name)

    @classmethod
    def drop(cls, connection: Connection, name: str) -> None:
        """Drop the tables."""
        for sql in _drop_statements(name):
            connection.exec_driver_sql(sql)

    def meta(self) -> dict[str, str]:
        """Return how entries are made."""
        return {"code": literal(code_of(kind_on_sqlite(self.index), self.index.metric)), "seed": RANDOM}

    def take_in(self, cursor: DriverCursor) -> None:
        """Build, if there are rows enough."""
        build(cursor, self.index)

    def steps(self, anew: Anew, *, optimizes: bool, progress: Progress | None) -> Iterator[Step]:
        """Learn, which keeps nobody from writing, then build all blocks."""
        learned: list[State] = []

        def learns(cursor: DriverCursor) -> None:
            if optimizes or self._has_lists(cursor):
                state = learn(cursor, self.index, lists=True)
                learned.extend([] if state is None else [state])

        def writes(cursor: DriverCursor) -> None:
            assert cursor.transaction is not None
            anew(cursor.transaction)
            build(cursor, self.index, learned[0] if learned else None, progress)

        yield learns
        yield writes

    def check(self, cursor: DriverCursor) -> list[str]:
        """Check every block and place."""
        from .check_blocks import check_blocks

        return check_blocks(cursor, self.index)

    def due(self, cursor: DriverCursor) -> int | None:
        """Return more for the first time, below which comparing every row is as quick."""
        sql = index_statements(self.index, cursor.dialect)
        return kinds.FOLD if cursor.one(sql.has_blocks) else first_fold(self.index.kind)

    def fold(self, cursor: DriverCursor) -> None:
        """Bring what is pending into the blocks."""
        fold(cursor, self.index)

    def describe(self, cursor: DriverCursor) -> dict[str, Any]:
        """Return the code in use, ``blocks``, and of inverted lists ``lists`` and ``probes``."""
        sql = index_statements(self.index, cursor.dialect)
        state = State.read(cursor, sql)
        blocks, size = cursor.one(sql.size)
        in_use: str | None = None
        if blocks:
            flat = "rabitq" if state.code == "one-bit" else "exact"
            in_use = flat if state.centroids is None else "ivf"
        facts: dict[str, Any] = {"kind": state.kind, "in_use": in_use, "blocks": blocks, "bytes": size}
        if state.centroids is not None:
            facts.update(lists=len(state.centroids), probes=state.probes)
        return facts

    def _has_lists(self, cursor: DriverCursor) -> bool:
        sql = index_statements(self.index, cursor.dialect)
        kind = kind_on_sqlite(self.index)
        try:
            return "centroids" in dict(cursor.all(sql.meta)) and kind in ("ivf", "auto")
        except (CorruptValue, SchemaMismatch):
            # Of what cannot be read it is not known.
            return kind == "ivf"


def _drop_statements(name: str) -> list[str]:
    return [f"DROP TABLE IF EXISTS {quoted(f'{name}_{suffix}')}" for suffix in _TABLES]
