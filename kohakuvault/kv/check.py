"""``KVault.check``: whether everything about a KV table is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table

from ..binding import Binding
from ..errors import CorruptValue, KohakuVaultError
from ..row_scan import RowScan, RowStatements
from ..schema import record_name
from ..table_check import TableCheck, is_refused_pickle
from .statements import KVStatements
from .streams import Streams

__all__ = ["KVCheck"]


class KVCheck(TableCheck):
    """The check of one KV table.

    Parameters
    ----------
    binding, table, sql, streams
        Where, what, the statements on it, and its values in chunks.
    remove_expired
        Called in the end if ``fix``.
    fix
        Repair what can be.
    kind
        Of the table, as its record says.
    where
        Which rows to look at; all by default.
    """

    def __init__(
        self,
        binding: Binding,
        table: Table,
        sql: KVStatements,
        streams: Streams,
        remove_expired: Callable[[], object],
        *,
        fix: bool,
        kind: str = "kv",
        where: ColumnElement[bool] | None = None,
    ) -> None:
        super().__init__(binding, fix=fix)
        self._kind = kind
        self._where = where
        self._table = table
        self._sql = sql
        self._streams = streams
        self._remove_expired = remove_expired

    def _steps(self) -> Sequence[Callable[[], None]]:
        # Whoever adds tables to those of a KV table adds a step for them here.
        return (self._record, self._indexes, self._damage, self._rows, self._chunks, self._expired)

    def _record(self) -> None:
        self._check_record(record_name(self._table), self._kind)

    def _indexes(self) -> None:
        self._check_indexes(self._table)

    def _damage(self) -> None:
        self._check_damage(self._table)

    def _rows(self) -> None:
        decode = self._database.key_decoder(self._sql.key)
        with self._binding.scanning(RowScan(self._every_row())) as batches:
            for rows in batches:
                for row in rows:
                    self._row(decode, *row)

    def _every_row(self) -> RowStatements:
        """Select every row, expired or not: the classes and values of its columns."""
        columns, database = self._table.c, self._database
        selected = (
            database.storage_class(columns.key),
            database.readable(columns.key),
            database.storage_class(columns.expires_at),
            database.storage_class(columns.value),
            database.readable(columns.value),
        )
        return RowStatements(self._table, selected, self._binding.dialect, self._where)

    def _row(
        self,
        decode: Callable[[str, Any], Any],
        id: int,
        key_class: str,
        key: Any,
        expires_class: str,
        value_class: str,
        value: Any,
    ) -> None:
        where, row = None, f"row {id}: "
        if wrong := self._database.wrong_class("key", key_class):
            self._found(row + wrong)
        else:
            try:
                where, row = decode(key_class, key), ""
            except CorruptValue as error:
                self._found(f"{row}{error}")
        if wrong := self._database.wrong_class("expires_at", expires_class):
            self._found(row + wrong, where)
        if wrong := self._database.wrong_class("value", value_class):
            self._found(row + wrong, where)
            return
        try:
            self._sql.unpack(value)
        except KohakuVaultError as error:
            if not is_refused_pickle(error):
                self._found(f"{row}{error}", where)

    def _chunks(self) -> None:
        if self._streams.is_incomplete():
            if self._fix:
                self._streams.restore()
            self._found("of the table of chunks and the triggers on it one is missing", fixed=self._fix)
        for key, problem in self._streams.damaged():
            self._found(f"key {key!r}: {problem}", key)
        if orphans := self._streams.orphans():
            if self._fix:
                self._streams.remove_orphans()
            self._found(
                f"{sum(orphans.values())} bytes in chunks that no entry names: left by a put_file that was killed or "
                "interrupted, or being written now",
                fixed=self._fix,
            )

    def _expired(self) -> None:
        if self._fix:
            self._remove_expired()
