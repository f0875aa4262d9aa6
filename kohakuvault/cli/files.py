"""Commands that store files as values and write them back, of any size: put-file, get-file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from ..kvault import KVault
from ..replacing import replaced
from .app import Database, TableName, app, progress_bar
from .entries import AsBytes, AsInt, Key, key_of, open_existing

__all__ = ["get_file", "put_file"]


@app.command("put-file")
def put_file(
    database: Database,
    key: Key,
    file: Annotated[Path, typer.Argument(help="The file to store; - is stdin.", show_default=False)],
    table: TableName = "kv",
    as_int: AsInt = False,
    as_bytes: AsBytes = False,
    ttl: Annotated[float | None, typer.Option("--ttl", help="Seconds after which the entry expires.")] = None,
) -> None:
    """Set a key to the bytes of a file, of any size; the database and the table are made if they are missing."""
    chosen = key_of(key, as_int, as_bytes)
    with _reader(file) as reader, _bar("put-file") as report:
        KVault(database, table).put_file(chosen, reader, progress=report, ttl=ttl)


@app.command("get-file")
def get_file(
    database: Database,
    key: Key,
    file: Annotated[
        Path, typer.Argument(help="The file to write, replaced when all is read; - is stdout.", show_default=False)
    ],
    table: TableName = "kv",
    as_int: AsInt = False,
    as_bytes: AsBytes = False,
) -> None:
    """Write a value that is bytes, of any size, to a file."""
    chosen = key_of(key, as_int, as_bytes)
    kv = open_existing(database, table, read_only=True)
    with _writer(file) as writer, _bar("get-file") as report:
        kv.get_to_file(chosen, writer, progress=report)


@contextmanager
def _bar(description: str) -> Iterator[Any]:
    """Give what reports bytes so far, and of all or None, to a bar."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _reader(file: Path) -> Iterator[Any]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    # Opened first: a file that is missing makes no database.
    with file.open("rb") as opened:
        # By its path the size of a regular file is known, for the bar.
        yield file if file.is_file() else opened


@contextmanager
def _writer(file: Path) -> Iterator[BinaryIO]:
    """Give stdout, or a file that replaces ``file`` at the end."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replaced(file) as writer:
        yield writer
