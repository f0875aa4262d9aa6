"""The kind vss: a snapshot in a table of sqlite-vss, an index of FAISS.

sqlite-vss writes its whole index at every commit that changes it, and keeps all of it in the memory of every connection
that searches it. So a snapshot is written once, by ``rebuild_index`` or ``optimize``, and never changed: what changes
since stays pending.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from ..errors import InvalidArgument, KohakuVaultError
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from .building import Progress
from .snapshot import SHADOWS, Snapshot, drop_snapshots, scratch
from .statements import index_statements
from .store import Anew, IndexStore, Step, missed_rows
from .virtual import numbered, quoted, require_shadows

__all__ = ["VssStore"]

# FAISS compares L2 squared; for cosine vectors have length 1. Candidates are compared again by their rows.
_METRICS = {"cosine": "INNER_PRODUCT", "ip": "INNER_PRODUCT", "l2": "L2", "l1": "L1"}
_DEFAULT_FACTORY = "Flat,IDMap2"
_FACTORY = re.compile(r"[\w,()\[\].:+-]+")
# Indexes that know the ids of vectors by themselves; others do with IDMap.
_WITH_IDS = re.compile(r"IDMap|IVF|IMI")

# FAISS counts in 32 bits, and allocates what a number asks for.
_GREATEST = 1_000_000


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
        return [] if number is None else [f"{self._prefix}{number}{shadow}" for shadow in ("", *SHADOWS)]

    def create(self, connection: Connection) -> None:
        """Make no table: there is none until a snapshot is built. Checks that FAISS knows the factory."""
        if numbered(connection, self._prefix):
            return
        try:
            with scratch(connection, self._prefix, self._declaration):
                pass
        except Exception as error:
            if (refused := self._refused(error)) is None:
                raise
            raise refused from error

    def create_statements(self) -> list[str]:
        """Return nothing: there is no table until a snapshot is built."""
        return []

    def drop_statements(self) -> list[str]:
        """Raise: which snapshots there are only the database says."""
        raise InvalidArgument(
            f"vector index {self.index.name!r}: dropping an index of kind 'vss' takes a connection, which tells its "
            "snapshots; run that migration without --sql"
        )

    @classmethod
    def drop(cls, connection: Connection, name: str) -> None:
        """Drop every snapshot."""
        prefix = f"{name}_vss_"
        drop_snapshots(connection, prefix, numbered(connection, prefix))

    def take_in(self, cursor: DriverCursor) -> None:
        """Leave all rows pending: a snapshot is visible after COMMIT only."""

    def steps(self, anew: Anew, *, optimizes: bool, progress: Progress | None) -> Iterator[Step]:
        """Write a snapshot, some rows at a time; then let searches find it.

        Others write meanwhile. A process that is killed leaves a table that the next drops.
        """
        snapshot = Snapshot(self.index, self._prefix, self._declaration, progress)
        yield partial(self._begin, snapshot=snapshot, anew=anew)
        while not snapshot.is_complete:
            yield snapshot.write_more
        yield snapshot.put_in_place

    def _begin(self, cursor: DriverCursor, *, snapshot: Snapshot, anew: Anew) -> None:
        from .check import problems_of

        assert cursor.transaction is not None
        if problems_of(cursor, self.index):
            # What changes from now on is noted.
            anew(cursor.transaction)
        snapshot.create(cursor)
        # In the same transaction, so that nothing is left of a table whose factory FAISS refuses at COMMIT.
        snapshot.write_more(cursor)

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
        require_shadows(cursor, name, SHADOWS)
        cursor.command(
            f"SELECT (SELECT count(*) FROM {quoted(name + '_data')}), "  # noqa: S608 (quoted)
            f"(SELECT sum(length(idx)) FROM {quoted(name + '_index')})"
        )
        rows, size = cursor.cursor.fetchone()
        return {**facts, "in_use": "vss", "rows": rows, "bytes": size or 0}
