"""The old file, open for reading: never written to, never upgraded, of one state, and not trusted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import CannotOpen, InvalidDatabase, KohakuVaultError, translate

__all__ = ["Budget", "Damaged", "Source", "opened", "quoted"]

# Of statements in the file's schema, which are parsed by us.
_LONGEST_SQL = 1_000_000

# The driver cannot always decode SQLite's message, which may quote the damage.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)


class Damaged(Exception):
    """Bytes of the old file that those releases cannot have written; the text says what is wrong, and may be shown."""


class Budget:
    """How many bytes there can be in a file: of a forged one, many rows may lead to the same."""

    def __init__(self, path: Path) -> None:
        log = path.with_name(f"{path.name}-wal")
        self._left = path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def take(self, size: int) -> None:
        """Count the bytes of one row; raise :class:`Damaged` when they are more than can be in the file."""
        self._left -= size
        if self._left < 0:
            raise Damaged("rows that are larger than the file together: several lead to the same bytes")


class Source:
    """An old file. Text is read as bytes, so that text that is none is no error of the driver's.

    Attributes
    ----------
    path
        Of the file.
    sql
        By the names of the file's tables, those that are virtual among them: the statement that made each.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self.sql: dict[str, str] = {}
        for name, sql in self.rows("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
            text = _text(name), _text(sql)
            if text[0] is not None and text[1] is not None and len(text[1]) <= _LONGEST_SQL:
                self.sql[text[0]] = text[1]

    def rows(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Run a SELECT and give its rows; raise :class:`Damaged` where the file cannot be read any further."""
        try:
            yield from self._connection.execute(sql, values)
        except (*_UNREADABLE, OverflowError, MemoryError) as error:
            raise Damaged(f"the file cannot be read any further here: {error}") from error

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """Run a SELECT and return its first row, or None."""
        return next(self.rows(sql, *values), None)

    def has_columns(self, table: str, *columns: str) -> bool:
        """Whether there is an ordinary table with these stored columns, perhaps among others."""
        sql = self.sql.get(table)
        if sql is None or sql[:14].upper() == "CREATE VIRTUAL":
            return False
        found = self.rows("SELECT name, hidden FROM pragma_table_xinfo(?)", table)
        # A column that is computed could be made to compute for ever.
        stored = {_text(name) for name, hidden in found if hidden == 0}
        return stored.issuperset(columns)

    def column_names(self, table: str) -> list[str]:
        """Return the names of the columns of an ordinary table."""
        return [_text(name) or "" for (name,) in self.rows("SELECT name FROM pragma_table_xinfo(?)", table)]

    def count(self, table: str) -> int:
        """Return how many rows a table has, 0 if that cannot be told."""
        try:
            row = self.row(f"SELECT count(*) FROM {quoted(table)}")  # noqa: S608 (quoted)
        except Damaged:
            return 0
        return 0 if row is None else int(row[0])


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Open an old file read-only, and read one state of it, whatever others write meanwhile.

    What is in the write-ahead log beside it counts. Others can write all the time.
    """
    file = Path(path)
    if not file.is_file():
        raise CannotOpen(f"there is no file {os.fspath(path)!r} to import from")
    try:
        connection = sqlite3.connect(
            f"{file.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise translate(error) from error
    try:
        connection.text_factory = bytes
        for setting in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "busy_timeout = 5000"):
            connection.execute(f"PRAGMA {setting}")
        # Mapped memory that a shorter file no longer backs ends the process.
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("BEGIN")
        yield Source(file, connection)
    except Damaged as error:
        raise InvalidDatabase(f"{os.fspath(path)!r}: {error}") from error
    except _UNREADABLE as error:
        raise _cannot_read(file, error) from error
    finally:
        connection.close()


def _cannot_read(file: Path, error: Exception) -> KohakuVaultError:
    if "unable to open" in str(error) or "readonly" in str(error):
        return CannotOpen(
            f"{os.fspath(file)!r} cannot be read: {error}. SQLite needs its -wal and -shm files beside it, and makes "
            "them: copy the file, with its -wal file if it has one, to a directory that you may write to, and import "
            "the copy"
        )
    return translate(error)


def quoted(name: str) -> str:
    """Return a name as SQL has it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _text(data: Any) -> str | None:
    try:
        return data.decode() if isinstance(data, bytes) else None
    except UnicodeDecodeError:
        return None
