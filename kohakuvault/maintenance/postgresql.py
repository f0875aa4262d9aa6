"""Looking after a PostgreSQL database, which looks after itself for the most part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement, String, Table, TableClause, case, cast, func

from ..errors import DriverError, InvalidArgument
from .base import Maintenance, Progress

__all__ = ["PostgreSQLMaintenance"]


class PostgreSQLMaintenance(Maintenance):
    """By the server's own commands."""

    CLASSES = {
        "key": ("bytea",),
        "value": ("bytea",),
        "text": ("text", "character varying"),
        "vector": ("vector", "halfvec", "bit"),
        "expires_at": ("null", "double precision"),
    }

    def checkpoint(self) -> tuple[int, int, int]:
        self.require_apart("checkpoint()")
        try:
            self.binding.run(self._statement("CHECKPOINT"))
        except DriverError as error:
            if getattr(error.__cause__, "sqlstate", None) != "42501":
                raise
            raise DriverError(
                "this user may not run CHECKPOINT: GRANT pg_checkpoint TO it (PostgreSQL 15 and newer), or leave "
                "checkpoints to the server, which makes them by itself"
            ) from error
        return 0, 0, 0

    def optimize(self, tables: Iterable[TableClause]) -> None:
        self.require_apart("optimize()")
        for table in tables:
            self.binding.run(self._statement(f"VACUUM (ANALYZE) {self._quoted(table)}"))

    def backup(self, path: str | os.PathLike[str], *, overwrite: bool, progress: Progress | None) -> None:
        raise InvalidArgument(
            "backup() copies SQLite databases; of a PostgreSQL database pg_dump makes one: pg_dump --format=custom "
            "--file=FILE DATABASE"
        )

    def sizes(self, *tables: Table) -> dict[str, int]:
        sizes = self._statement(
            "SELECT pg_database_size(current_database()), pg_table_size(CAST(:name AS regclass)), "
            "pg_indexes_size(CAST(:name AS regclass))",
            "name",
        )
        found = [self.binding.one(sizes, self._quoted(table)) for table in tables]
        return {
            "database_bytes": int(found[0][0]),
            "table_bytes": sum(int(rows) for _, rows, _ in found),
            "index_bytes": sum(int(indexes) for _, _, indexes in found),
        }

    def damage(self, table: Table) -> list[str]:
        # What an interrupted CREATE or REINDEX INDEX CONCURRENTLY leaves behind.
        invalid = self._statement(
            "SELECT CAST(CAST(indexrelid AS regclass) AS text) FROM pg_index "
            "WHERE indrelid = CAST(:name AS regclass) AND NOT indisvalid",
            "name",
        )
        return [f"index {row[0]} is not valid" for row in self.binding.all(invalid, self._quoted(table))]

    def rebuild_indexes(self, table: Table) -> None:
        self.binding.run(self._statement(f"REINDEX TABLE {self._quoted(table)}"))

    def has_trigger(self, table: Table, name: str) -> bool:
        found = self._statement(
            "SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(:of) AND tgname = :name AND tgenabled <> 'D'",
            "of",
            "name",
        )
        return self.binding.one(found, self._quoted(table), name) is not None

    def storage_class(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        return case((column.is_(None), "null"), else_=cast(func.pg_typeof(column), String()))

    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column

    def wrong_class(self, column: str, found: str) -> str | None:
        # The domains of our columns are over bytea.
        is_domain = found.rpartition(".")[2].startswith("kv_")
        return super().wrong_class(column, "bytea" if is_domain else found)

    def key_decoder(self, decode: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
        return lambda storage_class, stored: decode(stored)
