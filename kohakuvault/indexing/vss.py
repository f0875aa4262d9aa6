"""The kind vss: a snapshot in a table of sqlite-vss, an index of FAISS.

sqlite-vss writes its whole index at every commit that changes it, and keeps all of it in the memory of every connection
that searches it. So a snapshot is written once, by ``rebuild_index`` or ``optimize``, and never changed: what changes
since stays pending.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import bindparam, column, insert, literal, table
from sqlalchemy.engine import Connection

from ..errors import DriverError, InvalidArgument, KohakuVaultError
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from ..statements import Statement
from .building import Progress
from .learning import batches
from .statements import IndexStatements, index_statements
from .store import Anew, IndexStore, Step, comparable, is_whole, missed_rows
from .virtual import create_virtual, drop_virtual, numbered, quoted, require, require_shadows

__all__ = ["VssStore"]

# FAISS compares L2 squared; for cosine vectors have length 1. Candidates are compared again by their rows.
_METRICS = {"cosine": "INNER_PRODUCT", "ip": "INNER_PRODUCT", "l2": "L2", "l1": "L1"}
_DEFAULT_FACTORY = "Flat,IDMap2"
_FACTORY = re.compile(r"[\w,()\[\].:+-]+")
# Indexes that know the ids of vectors by themselves; others do with IDMap.
_WITH_IDS = re.compile(r"IDMap|IVF|IMI")

_GREATEST = 1_000_000

_SHADOWS = ("_index", "_data")

# Vectors that FAISS learns from; of more it takes a sample itself.
_TRAINING = 100_000

# sqlite-vss takes this id of FAISS's for the end of what was found.
_END = -1


def _is_factory(factory: object) -> bool:
    """Whether FAISS may be given a factory string: it ends the process over numbers that it does not expect."""
    if not isinstance(factory, str) or not _FACTORY.fullmatch(factory) or not _WITH_IDS.search(factory):
        return False
    return all(0 < int(number[:20]) <= _GREATEST for number in re.findall(r"[0-9]+", factory))


class VssStore(IndexStore):
    """``<name>_vss_<n>``, of the snapshot that is named by ``snapshot`` in ``<name>_meta``."""

    backend: str = "vss"
    commits = True

    def __init__(self, index: VectorIndex) -> None:
        super().__init__(index)
        self._prefix = f"{index.name}_vss_"
        if index.element == "bit" or index.metric not in _METRICS:
            raise InvalidArgument(
                f"vector index {index.name!r}: kind 'vss' compares numbers by {', '.join(_METRICS)}, not "
                f"{index.element} by {index.metric!r}; use kind='exact', 'rabitq' or 'auto'"
            )
        factory = index.options.get("factory", _DEFAULT_FACTORY)
        if not _is_factory(factory):
            raise InvalidArgument(
                f"vector index {index.name!r}: factory is a FAISS factory string with IVF, IMI or IDMap2 in it, such "
                f"as 'HNSW32,IDMap2', and numbers of 1 to {_GREATEST:,}, not {factory!r:.80}"
            )
        self._factory = factory

    @property
    def _declaration(self) -> str:
        metric = _METRICS[self.index.metric]
        return f'vss0(embedding({self.index.dimensions}) factory="{self._factory}" metric_type={metric})'

    def tables(self, cursor: DriverCursor) -> Sequence[str]:
        """Return the snapshot and its shadow tables."""
        number = dict(cursor.all(index_statements(self.index, cursor.dialect).meta)).get("snapshot")
        return [] if number is None else [f"{self._prefix}{number}{shadow}" for shadow in ("", *_SHADOWS)]

    def create(self, connection: Connection) -> None:
        """Make no table: there is none until a snapshot is built. Checks that FAISS knows the factory."""
        if numbered(connection, self._prefix):
            return
        try:
            with _scratch(connection, self._prefix, self._declaration):
                pass
        except Exception as error:
            if (refused := self._refused(error)) is None:
                raise
            raise refused from error

    @classmethod
    def drop(cls, connection: Connection, name: str) -> None:
        """Drop every snapshot."""
        prefix = f"{name}_vss_"
        _drop_snapshots(connection, prefix, numbered(connection, prefix))

    def take_in(self, cursor: DriverCursor) -> None:
        """Leave all rows pending: a snapshot is visible after COMMIT only."""

    def steps(self, anew: Anew, *, optimizes: bool, progress: Progress | None) -> Iterator[Step]:
        """Write a snapshot; before that, let FAISS learn from the vectors, if it has to."""
        writing = _Snapshot(self.index, self._prefix, self._declaration, anew, progress)
        yield writing.write
        if writing.is_trained:
            yield writing.write
        yield writing.seal

    def explain(self, error: KohakuVaultError) -> KohakuVaultError:
        """Return what FAISS says of the factory or the vectors as what it is about."""
        return self._refused(error) or error

    def _refused(self, error: BaseException) -> InvalidArgument | None:
        said = re.search(r"(?:Full error|Error building index factory for embedding): (.*)", str(error), re.DOTALL)
        if said is None:
            return None
        # Where in FAISS's source it was found is of no use here.
        reason = re.sub(r"^Error in .* at \S+:\d+: ", "", said[1].strip(), flags=re.DOTALL)
        return InvalidArgument(
            f"vector index {self.index.name!r}: FAISS refuses factory {self._factory!r} for these vectors: {reason}. "
            "Choose another factory, or build the index when there are more rows; the index is as it was"
        )

    def check(self, cursor: DriverCursor) -> list[str]:
        """Check that every row is in the snapshot or pending, and the bytes of the snapshot."""
        sql = index_statements(self.index, cursor.dialect)
        meta = dict(cursor.all(sql.meta))
        number = meta.get("snapshot")
        if number is None:
            return missed_rows(cursor, sql, self.index, set())
        name = f"{self._prefix}{number}"
        cursor.command(f"SELECT kv_crc32c(CAST(idx AS BLOB)) FROM {quoted(name + '_index')}")  # noqa: S608 (quoted)
        if cursor.cursor.fetchone() != (meta.get("checksum"),):
            return [f"snapshot {name!r} of a vector index is damaged"]
        cursor.command(f"SELECT rowid FROM {quoted(name + '_data')}")  # noqa: S608 (quoted)
        known = {row[0] for row in cursor.cursor.fetchall()}
        return missed_rows(cursor, sql, self.index, known)

    def due(self, cursor: DriverCursor) -> int | None:
        """Return that nothing is folded."""
        return None

    def fold(self, cursor: DriverCursor) -> None:
        """Leave everything pending: a snapshot is not changed."""

    def describe(self, cursor: DriverCursor) -> dict[str, Any]:
        """Return ``factory``, ``rows`` and ``bytes``; the tables that say so need no extension."""
        meta = dict(cursor.all(index_statements(self.index, cursor.dialect).meta))
        number = meta.get("snapshot")
        facts = {"in_use": None, "factory": self._factory, "rows": 0, "bytes": 0}
        if number is None or "checksum" not in meta:
            return facts
        name = f"{self._prefix}{number}"
        require_shadows(cursor, name, _SHADOWS)
        cursor.command(
            f"SELECT (SELECT count(*) FROM {quoted(name + '_data')}), "  # noqa: S608 (quoted)
            f"(SELECT sum(length(idx)) FROM {quoted(name + '_index')})"
        )
        rows, size = cursor.cursor.fetchone()
        return {**facts, "in_use": "vss", "rows": rows, "bytes": size or 0}


class _Snapshot:
    """A snapshot that is being written."""

    def __init__(
        self, index: VectorIndex, prefix: str, declaration: str, anew: Anew, progress: Progress | None
    ) -> None:
        self._index = index
        self._prefix = prefix
        self._declaration = declaration
        self._anew = anew
        self._progress = progress
        self._number: int | None = None
        self.is_trained = False

    @property
    def _name(self) -> str:
        return f"{self._prefix}{self._number}"

    def write(self, cursor: DriverCursor) -> None:
        """Write it, or if FAISS has to learn first and did not, let it.

        Training takes effect at COMMIT, and so does writing.
        """
        connection = cursor.transaction
        assert connection is not None
        sql = index_statements(self._index, cursor.dialect)
        if self._number is None:
            self._number = max(numbered(connection, self._prefix), default=0) + 1
            create_virtual(connection, self._name, self._declaration, "vss")
        left_out, inserted = self._insert_all(cursor, sql)
        if left_out is None:
            self._train(cursor, sql)
            return
        # From here on no progress is told: whoever searches in this transaction must not find a table that is not
        # visible yet, as FAISS ends the process when it searches in an empty one.
        self._anew(connection)
        cursor.many(sql.note, ((id,) for id in left_out))
        last = self._number
        if inserted:
            cursor.run(sql.set_meta, "snapshot", self._number)
            last -= 1
        # Those behind are another process's, which is at it too.
        _drop_snapshots(connection, self._prefix, [each for each in numbered(connection, self._prefix) if each <= last])

    def seal(self, cursor: DriverCursor) -> None:
        """Note the checksum of what was written, which is there after COMMIT only; without it no search uses it."""
        sql = index_statements(self._index, cursor.dialect)
        if dict(cursor.all(sql.meta)).get("snapshot") != self._number:
            return
        cursor.command(f"SELECT kv_crc32c(CAST(idx AS BLOB)) FROM {quoted(self._name + '_index')}")  # noqa: S608 (quoted)
        cursor.run(sql.set_meta, "checksum", cursor.cursor.fetchone()[0])
        cursor.run(sql.set_meta, "stamp", secrets.randbits(63))

    def _insert_all(self, cursor: DriverCursor, sql: IndexStatements) -> tuple[list[int] | None, int]:
        """Return the ids that stay pending, and how many rows were inserted; None if FAISS has to learn first."""
        new = insert(self._rows).values(rowid=bindparam("of"), embedding=bindparam("new"))
        statement = Statement(new, ("of", "new"), cursor.dialect)
        ((total,),) = cursor.all(sql.count)
        left_out: list[int] = []
        inserted = done = 0
        for batch in batches(cursor, sql):
            whole = [row for row in batch if is_whole(row[1], self._index) and row[0] != _END]
            known = {row[0] for row in whole}
            left_out += [row[0] for row in batch if row[0] not in known]
            rows, numbers = comparable(whole, self._index)
            try:
                cursor.many(statement, ((row[0], vector.tobytes()) for row, vector in zip(rows, numbers, strict=True)))
            except DriverError as error:
                if self.is_trained or "requires training" not in str(error):
                    raise
                return None, 0
            inserted += len(rows)
            done += len(batch)
            if self._progress is not None:
                self._progress(done, max(total, done))
        return left_out, inserted

    def _train(self, cursor: DriverCursor, sql: IndexStatements) -> None:
        new = insert(self._rows).values(
            operation=literal("training"), rowid=bindparam("of"), embedding=bindparam("new")
        )
        statement = Statement(new, ("of", "new"), cursor.dialect)
        ((total,),) = cursor.all(sql.count)
        one_in = -(-total // _TRAINING)
        for batch in batches(cursor, sql):
            rows, numbers = comparable([row for row in batch if is_whole(row[1], self._index)], self._index)
            some = zip(rows[::one_in], numbers[::one_in], strict=True)
            cursor.many(statement, ((row[0], vector.tobytes()) for row, vector in some))
        self.is_trained = True

    @property
    def _rows(self) -> Any:
        return table(self._name, column("rowid"), column("embedding"), column("operation"))


@contextmanager
def _scratch(connection: Connection, prefix: str, declaration: str) -> Iterator[str]:
    """Give the name of an empty table for the time of the block, which is not used for anything."""
    require(connection, "vss")
    name = f"{prefix}0"
    connection.exec_driver_sql(f"CREATE VIRTUAL TABLE {quoted(name)} USING {declaration}")
    yield name
    connection.exec_driver_sql(f"DROP TABLE {quoted(name)}")


def _drop_snapshots(connection: Connection, prefix: str, numbers: Sequence[int]) -> None:
    """Drop snapshots, without what is in them: dropping a table reads it, and FAISS ends the process if that fails."""
    if not numbers:
        return
    with _scratch(connection, prefix, f'vss0(embedding(1) factory="{_DEFAULT_FACTORY}")') as empty:
        for number in numbers:
            name = f"{prefix}{number}"
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quoted(name + '_index')}")
            connection.exec_driver_sql(f"CREATE TABLE {quoted(name + '_index')} (rowid INTEGER PRIMARY KEY, idx)")
            connection.exec_driver_sql(
                f"INSERT INTO {quoted(name + '_index')} (rowid, idx) "  # noqa: S608 (quoted)
                f"SELECT rowid, idx FROM {quoted(empty + '_index')}"
            )
            drop_virtual(connection, name, _SHADOWS, "vss")
