"""Looking after an SQLite database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Table, TableClause, case, cast, func

from ..errors import CorruptValue
from .base import Maintenance, Progress
from .sqlite_backup import backup

__all__ = ["SQLiteMaintenance"]


class SQLiteMaintenance(Maintenance):
    """By pragmas, ``VACUUM`` and the backup API."""

    CLASSES = {
        "key": ("integer", "text", "blob"),
        "value": ("blob",),
        "text": ("text",),
        "vector": ("blob",),
        "expires_at": ("null", "real", "integer"),
    }

    def checkpoint(self) -> tuple[int, int, int]:
        self.require_apart("checkpoint()")
        busy, frames, done = self.binding.run_returning(self._statement("PRAGMA wal_checkpoint(TRUNCATE)"))
        return int(busy), int(frames), int(done)

    def optimize(self, tables: Iterable[TableClause]) -> None:
        self.require_apart("optimize()")
        self.binding.run(self._statement("VACUUM"))
        # 0x10000: of all tables, not only those that this connection happens to have queried.
        self.binding.run_returning(self._statement("PRAGMA optimize=0x10002"))
        # The compact database is in the WAL so far.
        self.checkpoint()

    def backup(self, path: str | os.PathLike[str], *, overwrite: bool, progress: Progress | None) -> None:
        self.require_apart("backup()")
        backup(self.binding, path, overwrite=overwrite, progress=progress)

    def sizes(self, *tables: Table) -> dict[str, int]:
        pages, page_size, free, file = self.binding.one(
            self._statement(
                "SELECT page_count, page_size, freelist_count, file FROM pragma_page_count, pragma_page_size, "
                "pragma_freelist_count, pragma_database_list WHERE name = 'main'"
            )
        )
        return {
            # In memory there is no file.
            "database_bytes": os.path.getsize(file) if file else pages * page_size,
            "wal_bytes": _size(f"{file}-wal") if file else 0,
            "free_bytes": free * page_size,
        }

    def damage(self, table: Table) -> list[str]:
        name = "'" + table.name.replace("'", "''") + "'"
        # SQLite before 3.33 takes no name, and checks the whole database.
        found = [row[0] for row in self.binding.all(self._statement(f"PRAGMA integrity_check({name})"))]
        broken = self.binding.all(self._statement(f"PRAGMA foreign_key_check({name})"))
        return [
            *(what for what in found if what != "ok"),
            *(f"row {rowid} refers to a row of {parent!r} that does not exist" for _, rowid, parent, _ in broken),
        ]

    def rebuild_indexes(self, table: Table) -> None:
        self.binding.run(self._statement(f"REINDEX {self._quoted(table)}"))

    def has_trigger(self, table: Table, name: str) -> bool:
        found = self._statement(
            "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(:of) AND name = :name",
            "of",
            "name",
        )
        return self.binding.one(found, table.name, name) is not None

    def storage_class(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        return func.typeof(column)

    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # The driver stops at a TEXT that is not valid UTF-8.
        return case((func.typeof(column) == "text", cast(column, LargeBinary())), else_=column)

    def key_decoder(self, decode: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
        encoding = self.binding.one(self._statement("PRAGMA encoding"))[0]

        def key(storage_class: str, stored: Any) -> Any:
            if storage_class != "text":
                return decode(stored)
            try:
                return stored.decode(encoding)
            except UnicodeDecodeError as error:
                raise CorruptValue(f"the key {stored[:40]!r} is TEXT and not valid {encoding}: {error}") from error

        return key


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0
