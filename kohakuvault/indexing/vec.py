"""The kind vec: a table of sqlite-vec, which compares every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from sqlalchemy import bindparam, column, delete, func, insert, table
from sqlalchemy.engine import Connection

from ..errors import InvalidArgument
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from ..statements import Statement
from . import kinds
from .building import Progress
from .learning import BEFORE_ALL, batches
from .statements import index_statements
from .store import Anew, IndexStore, Step, comparable, is_whole, missed_rows
from .virtual import create_virtual, drop_virtual, quoted, require_shadows

__all__ = ["VecStore"]

# What sqlite-vec has: the type of a column and the function that makes its values, by our elements.
_TYPES = {"f32": ("float", None), "f16": ("float", None), "i8": ("int8", "vec_int8"), "bit": ("bit", "vec_bit")}
_METRICS = {"cosine": "cosine", "l2": "L2", "l1": "L1"}
# SQLITE_VEC_VEC0_MAX_DIMENSIONS
_MOST_DIMENSIONS = 8192

# sqlite-vec's own tables, by what follows the name of the table that they belong to.
_SHADOWS = ("_info", "_chunks", "_rowids", "_vector_chunks00")

_BATCH = 4096


class VecStore(IndexStore):
    """``<name>_vec``, whose rowids are the keys of the rows."""

    backend: str = "vec"

    def __init__(self, index: VectorIndex) -> None:
        super().__init__(index)
        self._table = f"{index.name}_vec"
        self._type, self._value = _TYPES[index.element]
        metrics = ("hamming",) if index.element == "bit" else tuple(_METRICS)
        if index.metric not in metrics:
            raise InvalidArgument(
                f"vector index {index.name!r}: kind 'vec' compares {index.element} by {', '.join(metrics)}, not "
                f"by {index.metric!r}; use kind='exact', 'rabitq' or 'auto'"
            )
        if index.dimensions > _MOST_DIMENSIONS:
            raise InvalidArgument(
                f"vector index {index.name!r}: kind 'vec' has at most {_MOST_DIMENSIONS} dimensions, not "
                f"{index.dimensions}; use kind='exact', 'rabitq' or 'auto'"
            )

    @cached_property
    def _declaration(self) -> str:
        index = self.index
        if index.element == "bit":
            return f"vec0(embedding bit[{-(-index.dimensions // 8) * 8}])"
        return f"vec0(embedding {self._type}[{index.dimensions}] distance_metric={_METRICS[index.metric]})"

    def tables(self, cursor: DriverCursor) -> Sequence[str]:
        """Return the table and its shadow tables."""
        return [self._table + shadow for shadow in ("", *_SHADOWS)]

    def create(self, connection: Connection) -> None:
        """Make the table."""
        create_virtual(connection, self._table, self._declaration, self.backend)

    def create_statements(self) -> list[str]:
        """Return what makes the table."""
        return [f"CREATE VIRTUAL TABLE {quoted(self._table)} USING {self._declaration}"]

    def drop_statements(self) -> list[str]:
        """Return what drops the table, which takes the extension."""
        return [f"DROP TABLE IF EXISTS {quoted(self._table)}"]

    @classmethod
    def drop(cls, connection: Connection, name: str) -> None:
        """Drop the table."""
        drop_virtual(connection, f"{name}_vec", _SHADOWS, cls.backend)

    def take_in(self, cursor: DriverCursor) -> None:
        """Take in every row."""
        self.fold(cursor)

    def steps(self, anew: Anew, *, optimizes: bool, progress: Progress | None) -> Iterator[Step]:
        """Make the table anew, with every row."""
        yield partial(self._build, anew=anew, progress=progress)

    def check(self, cursor: DriverCursor) -> list[str]:
        """Check that every row is in the table or pending."""
        sql = index_statements(self.index, cursor.dialect)
        cursor.command(f"SELECT rowid FROM {quoted(self._table + '_rowids')}")  # noqa: S608 (quoted)
        known = {row[0] for row in cursor.cursor.fetchall()}
        return missed_rows(cursor, sql, self.index, known)

    def due(self, cursor: DriverCursor) -> int | None:
        """Return as many as other kinds fold at a time."""
        return kinds.FOLD

    def fold(self, cursor: DriverCursor) -> None:
        """Bring what is pending into the table. What is not a vector stays pending: every search names it."""
        require_shadows(cursor, self._table, _SHADOWS)
        sql = index_statements(self.index, cursor.dialect)
        after = BEFORE_ALL
        while rows := cursor.all(sql.pending_rows, after, _BATCH):
            settled = [row for row in rows if row[1] is None or is_whole(row[1], self.index)]
            cursor.many(self._remove(cursor), [(row[0],) for row in rows])
            self._insert(cursor, [row for row in settled if row[1] is not None])
            cursor.many(sql.settle, [(row[0],) for row in settled])
            after = rows[-1][0]

    def describe(self, cursor: DriverCursor) -> dict[str, Any]:
        """Return ``rows`` and ``bytes``; the tables that say so need no extension."""
        require_shadows(cursor, self._table, _SHADOWS)
        cursor.command(f"SELECT count(*) FROM {quoted(self._table + '_rowids')}")  # noqa: S608 (quoted)
        (rows,) = cursor.cursor.fetchone()
        cursor.command(f"SELECT sum(length(vectors)) FROM {quoted(self._table + '_vector_chunks00')}")  # noqa: S608
        (size,) = cursor.cursor.fetchone()
        return {"in_use": "vec" if rows else None, "rows": rows, "bytes": size or 0}

    def _build(self, cursor: DriverCursor, *, anew: Anew, progress: Progress | None) -> None:
        sql = index_statements(self.index, cursor.dialect)
        assert cursor.transaction is not None
        anew(cursor.transaction)
        ((total,),) = cursor.all(sql.count)
        done = 0
        for rows in batches(cursor, sql):
            self._insert(cursor, [row for row in rows if is_whole(row[1], self.index)])
            damaged = [(row[0],) for row in rows if not is_whole(row[1], self.index)]
            cursor.many(sql.note, damaged)
            done += len(rows)
            if progress is not None:
                progress(done, max(total, done))

    def _insert(self, cursor: DriverCursor, rows: list[Any]) -> None:
        if not rows:
            return
        rows, numbers = comparable(rows, self.index)
        new: Any = bindparam("new")
        value = new if self._value is None else getattr(func, self._value)(new)
        sql = Statement(
            insert(self._rows).values(rowid=bindparam("of"), embedding=value), ("of", "new"), cursor.dialect
        )
        if self.index.element == "f16":
            # Of cosine the length does not matter.
            cursor.many(sql, ((row[0], vector.tobytes()) for row, vector in zip(rows, numbers, strict=True)))
        else:
            cursor.many(sql, ((row[0], row[1]) for row in rows))

    def _remove(self, cursor: DriverCursor) -> Statement:
        return Statement(delete(self._rows).where(self._rows.c.rowid == bindparam("of")), ("of",), cursor.dialect)

    @cached_property
    def _rows(self) -> Any:
        return table(self._table, column("rowid"), column("embedding"))
