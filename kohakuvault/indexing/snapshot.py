"""A snapshot of the vectors of a table that is being written into a table of sqlite-vss."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from sqlalchemy import bindparam, column, insert, literal, table
from sqlalchemy.engine import Connection

from ..errors import DriverError
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from ..statements import Statement
from .building import Progress
from .learning import BEFORE_ALL, batches
from .statements import IndexStatements, index_statements
from .store import comparable, is_whole
from .virtual import create_virtual, drop_virtual, exists, numbered, quoted, require

__all__ = ["SHADOWS", "Snapshot", "drop_snapshots", "scratch"]

# Of sqlite-vss's own form of a vector: it takes bare floats that begin with these bytes for it, and then spoils the
# rows that follow in the same transaction.
_HEADER = b"v\x01"

SHADOWS = ("_index", "_data")

# Rows of a transaction: sqlite-vss copies those before for each, and writes its whole index at COMMIT.
_ROWS = 1000
# Vectors that FAISS learns from, which have to be in one transaction.
_TRAINING = 10_000

# sqlite-vss takes this id of FAISS's for the end of what was found.
_END = -1


class Snapshot:
    """A snapshot, and what it was made of.

    Attributes
    ----------
    is_complete
        Whether every row was looked at, so that it can be :meth:`put in place <put_in_place>`.
    """

    def __init__(self, index: VectorIndex, prefix: str, declaration: str, progress: Progress | None) -> None:
        self._index = index
        self._prefix = prefix
        self._declaration = declaration
        self._progress = progress
        self._number = 0
        self._stamp: Any = None
        self._is_trained = False
        self._after = BEFORE_ALL
        # Of each row that was looked at the checksum of its vector, if it is in the snapshot.
        self._seen: dict[int, int | None] = {}
        self.is_complete = False

    @property
    def _name(self) -> str:
        return f"{self._prefix}{self._number}"

    def create(self, cursor: DriverCursor) -> None:
        """Make its table, which no search finds yet."""
        assert cursor.transaction is not None
        sql = index_statements(self._index, cursor.dialect)
        self._stamp = dict(cursor.all(sql.meta)).get("stamp")
        self._number = max(numbered(cursor.transaction, self._prefix), default=0) + 1
        create_virtual(cursor.transaction, self._name, self._declaration, "vss")

    def write_more(self, cursor: DriverCursor) -> None:
        """Write the next rows; or if FAISS has to learn first, and did not, let it."""
        if not self._is_there(cursor):
            return
        sql = index_statements(self._index, cursor.dialect)
        batch = cursor.all(sql.rows, self._after, _ROWS)
        whole = [row for row in batch if is_whole(row[1], self._index) and row[0] != _END]
        rows, numbers = comparable(whole, self._index)
        try:
            cursor.many(
                self._insertion(cursor),
                ((row[0], _HEADER + vector.tobytes()) for row, vector in zip(rows, numbers, strict=True)),
            )
        except DriverError as error:
            if self._is_trained or "requires training" not in str(error):
                raise
            self._train(cursor, sql)
            return
        # Whoever is whole and not comparable comes last by any measure, and is in no index.
        known = {row[0] for row in whole}
        self._seen.update((row[0], crc32(row[1]) if row[0] in known else None) for row in batch)
        self.is_complete = len(batch) < _ROWS
        if batch:
            self._after = batch[-1][0]
        if self._progress is not None:
            ((total,),) = cursor.all(sql.count)
            self._progress(len(self._seen), max(total, len(self._seen)))

    def put_in_place(self, cursor: DriverCursor) -> None:
        """Let searches find it, and drop those before it. What changed since it was read stays pending."""
        if not self._is_there(cursor):
            return
        connection = cursor.transaction
        assert connection is not None
        sql = index_statements(self._index, cursor.dialect)
        if dict(cursor.all(sql.meta)).get("stamp") != self._stamp:
            # Another process built the index meanwhile, and settled what may have changed here.
            cursor.run(sql.note_all)
        self._settle(cursor, sql)
        last = self._number
        cursor.command(
            f"SELECT kv_crc32c(CAST(idx AS BLOB)), EXISTS (SELECT 1 FROM {quoted(self._name + '_data')}) "  # noqa: S608 (quoted)
            f"FROM {quoted(self._name + '_index')}"
        )
        checksum, is_filled = cursor.cursor.fetchone()
        if is_filled:
            cursor.run(sql.set_meta, "snapshot", self._number)
            cursor.run(sql.set_meta, "checksum", checksum)
            last -= 1
        else:
            # FAISS ends the process if an empty index is searched.
            cursor.run(sql.forget_meta, "snapshot")
        cursor.run(sql.set_meta, "stamp", secrets.randbits(63))
        # Those behind are another process's, which is at it too.
        drop_snapshots(connection, self._prefix, [each for each in numbered(connection, self._prefix) if each <= last])

    def _is_there(self, cursor: DriverCursor) -> bool:
        """Whether the table is still there: a process that began later drops it when it has one in place."""
        assert cursor.transaction is not None
        if exists(cursor.transaction, self._name):
            return True
        self.is_complete = True
        return False

    def _settle(self, cursor: DriverCursor, sql: IndexStatements) -> None:
        after, pending = BEFORE_ALL, set[int]()
        settled: list[int] = []
        while rows := cursor.all(sql.pending_rows, after, _ROWS):
            after = rows[-1][0]
            for id, vector in rows:
                seen = self._seen.get(id)
                now = crc32(vector) if isinstance(vector, bytes) else None
                if seen is None and now is None and id not in self._seen:
                    # Neither there when it was read nor now.
                    settled.append(id)
                elif seen is not None and seen == now:
                    settled.append(id)
                else:
                    pending.add(id)
        cursor.many(sql.settle, ((id,) for id in settled))
        left_out = (id for id, seen in self._seen.items() if seen is None and id not in pending)
        cursor.many(sql.note, ((id,) for id in left_out))

    def _insertion(self, cursor: DriverCursor, operation: str | None = None) -> Statement:
        rows = table(self._name, column("rowid"), column("embedding"), column("operation"))
        values: dict[str, Any] = {"rowid": bindparam("of"), "embedding": bindparam("new")}
        if operation is not None:
            values["operation"] = literal(operation)
        return Statement(insert(rows).values(**values), ("of", "new"), cursor.dialect)

    def _train(self, cursor: DriverCursor, sql: IndexStatements) -> None:
        """Have FAISS learn, which it does at COMMIT."""
        ((total,),) = cursor.all(sql.count)
        one_in = max(-(-total // _TRAINING), 1)
        for batch in batches(cursor, sql):
            some = [row for row in batch if is_whole(row[1], self._index)][::one_in]
            rows, numbers = comparable(some, self._index)
            cursor.many(
                self._insertion(cursor, "training"),
                ((row[0], _HEADER + vector.tobytes()) for row, vector in zip(rows, numbers, strict=True)),
            )
        self._is_trained = True


@contextmanager
def scratch(connection: Connection, prefix: str, declaration: str) -> Iterator[str]:
    """Give the name of an empty table for the time of the block, which is not used for anything."""
    require(connection, "vss")
    name = f"{prefix}0"
    connection.exec_driver_sql(f"CREATE VIRTUAL TABLE {quoted(name)} USING {declaration}")
    yield name
    connection.exec_driver_sql(f"DROP TABLE {quoted(name)}")


def drop_snapshots(connection: Connection, prefix: str, numbers: Sequence[int]) -> None:
    """Drop snapshots, without what is in them: dropping a table reads it, and FAISS ends the process if that fails."""
    if not numbers:
        return
    with scratch(connection, prefix, 'vss0(embedding(1) factory="Flat,IDMap2")') as empty:
        for number in numbers:
            name = f"{prefix}{number}"
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quoted(name + '_index')}")
            connection.exec_driver_sql(f"CREATE TABLE {quoted(name + '_index')} (rowid INTEGER PRIMARY KEY, idx)")
            connection.exec_driver_sql(
                f"INSERT INTO {quoted(name + '_index')} (rowid, idx) "  # noqa: S608 (quoted)
                f"SELECT rowid, idx FROM {quoted(empty + '_index')}"
            )
            drop_virtual(connection, name, SHADOWS, "vss")
