"""A consistent copy of an SQLite database while others write to it, by SQLite's online backup API."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from ..binding import Binding
from ..driver_connection import driver_module, in_driver
from ..errors import CannotOpen, InvalidArgument, UnsupportedType
from ..lending import translated_errors
from .base import Progress

__all__ = ["backup"]

# Copied in one step; between two steps the progress is told.
_STEP_BYTES = 1 << 20

# Files that SQLite keeps beside an open database; left behind, they would be taken for parts of the copy.
_BESIDE = ("-wal", "-shm", "-journal")


def backup(binding: Binding, path: str | os.PathLike[str], *, overwrite: bool, progress: Progress | None) -> None:
    """Copy the database of ``binding`` to ``path``; see :meth:`kohakuvault.container.Container.backup`."""
    target = _target(path)
    with translated_errors(binding.engine), binding.inspecting() as connection:
        # By the module that has the source open: a second SQLite library in one process is never needed.
        module = driver_module(connection.engine)

        def copy(source: Any) -> None:
            file = source.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
            _check_target(target, file, overwrite=overwrite)
            with _partial(target, file) as partial:
                with closing(_connect(module, partial)) as new:
                    _copy(source, new, progress)
                _sync(partial)
                _check_target(target, file, overwrite=overwrite)
                os.replace(partial, target)
                _sync_directory(os.path.dirname(target))

        in_driver(connection.connection.dbapi_connection, copy)


def _target(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise UnsupportedType(f"backup() takes the path of the copy, not {type(path).__name__}")
    target = os.fspath(path)
    if not target or "\0" in target or target == ":memory:":
        raise InvalidArgument(f"{target!r} is not the path of a file; backup() writes its copy to one")
    # A link's target is replaced, not the link.
    return os.path.realpath(target)


def _check_target(target: str, source: str, *, overwrite: bool) -> None:
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise CannotOpen(f"cannot write {target}: the directory {directory} does not exist. Create it first")
    own = {os.path.realpath(source) + suffix for suffix in ("", *_BESIDE)} if source else set()
    if target in own or (source and os.path.exists(target) and os.path.samefile(source, target)):
        raise InvalidArgument(f"{target} is the database itself; give the copy another path")
    if os.path.lexists(target) and (not overwrite or not os.path.isfile(target)):
        advice = "choose another path, or say overwrite=True" if os.path.isfile(target) else "choose another path"
        raise InvalidArgument(f"{target} exists: {advice}")
    for suffix in _BESIDE:
        if os.path.exists(target + suffix):
            raise InvalidArgument(
                f"{target}{suffix} exists: a database {target} is open, or was left by a process that died, and its "
                f"changes would be mixed into the copy. Close it, or remove {target}{suffix}, or choose another path"
            )


@contextmanager
def _partial(target: str, source: str) -> Iterator[str]:
    """Make a file beside ``target``, readable by whoever can read ``source``; remove it if it is still there."""
    directory, name = os.path.split(target)
    try:
        handle, partial = tempfile.mkstemp(prefix=f"{name}.", suffix=".partial", dir=directory)
        os.close(handle)
        if source:
            shutil.copymode(source, partial)
    except OSError as error:
        raise CannotOpen(f"cannot write a copy beside {target}: {error}") from error
    try:
        yield partial
    finally:
        for suffix in ("", *_BESIDE):
            with suppress(FileNotFoundError):
                os.unlink(partial + suffix)


def _connect(module: Any, path: str) -> Any:
    copy = module.connect(path, isolation_level=None)
    # No others read it, no shared memory is needed for its WAL; the whole is synced once, at the end.
    copy.execute("PRAGMA locking_mode=EXCLUSIVE")
    copy.execute("PRAGMA synchronous=OFF")
    return copy


def _copy(source: Any, copy: Any, progress: Progress | None) -> None:
    # One state for all steps: without a transaction of its own, each commit of others would begin the copy anew.
    if not source.in_transaction:
        source.execute("BEGIN")
    page_size = source.execute("PRAGMA page_size").fetchone()[0]
    # The state is that of the first read of the database itself.
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def report(status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress((total - remaining) * page_size, total * page_size)

    try:
        source.backup(copy, pages=max(_STEP_BYTES // page_size, 1), progress=report)
        # A file that is complete by itself, wherever it is carried: a WAL cannot be made on read-only media.
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        source.rollback()


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_directory(path: str) -> None:
    """Make a rename in ``path`` durable, where directories can be opened: not on Windows."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
