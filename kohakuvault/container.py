"""What every container has: a bind, transactions, tables that are opened, and an end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from sqlalchemy import Table
from sqlalchemy.engine import Connection, Engine
from typing_extensions import Self

from .binding import Bind, Binding, address, bind_to
from .database_address import display_name
from .errors import InvalidArgument, UnsupportedType
from .maintenance import Progress, maintenance_of

__all__ = ["Container"]


class Container:
    """Base class of the containers.

    Safe to use from several threads. Bound to a Session or Connection it is as safe as that is: one thread
    at a time.
    """

    _binding: Binding | None

    def __init__(self, bind: Bind, *, read_only: bool = False) -> None:
        self._binding = bind_to(bind, read_only=read_only)
        self._reopen_at = address(bind)
        self._epoch = self._binding.epoch

    @property
    def binding(self) -> Binding:
        """Where statements run; raises :class:`InvalidArgument` after :meth:`close`."""
        binding = self._binding
        if binding is None:
            raise InvalidArgument(f"this {type(self).__name__} is closed; open a new one")
        if self._epoch != binding.epoch:
            # What was made in a transaction that has been rolled back has to be made again.
            self._epoch = binding.epoch
            self._open(binding)
            self._epoch = binding.epoch
        return binding

    @property
    def _settled(self) -> Binding:
        """The binding, after what waits in memory was written."""
        binding = self.binding
        binding.settle()
        return binding

    @property
    def engine(self) -> Engine:
        """The engine that statements run on."""
        return self.binding.engine

    def _where(self) -> str:
        return "closed" if self._binding is None else f"on {display_name(self._binding.engine.url)}"

    def transaction(self) -> AbstractContextManager[Connection]:
        """Group operations: all of them take effect, or none if the block is left by an exception.

        The transaction is of the bind, so every container on the same engine takes part, in this thread.
        Blocks nest by savepoints. Gives the SQLAlchemy Connection, for statements of your own.

        >>> from kohakuvault import KVault
        >>> kv = KVault(":memory:")
        >>> with kv.transaction():
        ...     kv["a"] = 1
        ...     kv["b"] = 2
        """
        return self.binding.transaction()

    def snapshot(self) -> AbstractContextManager[None]:
        """Return a context in which all that this thread reads is of one state, whatever others commit meanwhile.

        Of every container with the same bind. Reading is also faster in it: twice, on SQLite files. Writing is
        refused. The state is kept by a read transaction, so a long one keeps SQLite's WAL file from being reused.
        Bound to a Session on PostgreSQL it needs a transaction at REPEATABLE READ.

        >>> from kohakuvault import KVault
        >>> kv = KVault(":memory:")
        >>> kv["a"] = kv["b"] = 1
        >>> with kv.snapshot():
        ...     kv["a"], kv["b"]
        (1, 1)
        """
        return self._settled.snapshot()

    def optimize(self) -> None:
        """Make the database compact, and renew what its query planner knows.

        On SQLite ``VACUUM``, of the whole file, ``PRAGMA optimize`` and a checkpoint; on PostgreSQL ``VACUUM
        (ANALYZE)`` of the container's tables. Others may have the database open. On SQLite it needs free space of
        twice the database's size, and others wait for its write lock meanwhile.

        Raises
        ------
        InvalidArgument
            inside a transaction or snapshot, or bound to a Session or Connection.
        DatabaseBusy
            when another connection has the write lock, or in a rollback journal's modes reads, for longer than the
            busy timeout.
        """
        maintenance_of(self._settled).optimize(self._tables())

    def checkpoint(self) -> tuple[int, int, int]:
        """Bring what is in the write-ahead log into the database itself.

        SQLite does so by itself every thousand pages, as far as readers allow; this also empties the ``-wal`` file.

        Returns
        -------
        tuple of int
            Of SQLite: 1 if others kept it from finishing, for the busy timeout, and 0 otherwise; the frames in the
            log; those of them that are in the database now. ``(0, 0, 0)`` when all was done and the log is empty;
            the counts are -1 where there is no log. Of PostgreSQL, which runs ``CHECKPOINT``, zeros.

        Raises
        ------
        InvalidArgument
            inside a transaction or snapshot, or bound to a Session or Connection.
        DriverError
            on PostgreSQL, without the privileges of ``pg_checkpoint``.
        """
        return maintenance_of(self._settled).checkpoint()

    def backup(
        self, path: str | os.PathLike[str], *, overwrite: bool = False, progress: Progress | None = None
    ) -> None:
        """Copy the whole database, of one moment, to a new file, while others go on reading and writing (SQLite).

        The copy is written beside ``path``, synced to disk and renamed when it is complete. It is one file, in the
        rollback journal's mode; opening it by path switches it to WAL again. If the process is killed, what is at
        ``path`` is what was there before, and a file ``path.….partial`` is left. In a rollback journal's modes
        whoever writes waits until the copy is complete.

        Parameters
        ----------
        path
            Of the copy.
        overwrite
            Replace a file that exists. It must not be open.
        progress
            Called with the bytes copied so far and the bytes of all.

        Raises
        ------
        InvalidArgument
            if the file exists, or is the database itself; inside a transaction or snapshot, or bound to a Session
            or Connection; on PostgreSQL, where pg_dump makes a backup.
        CannotOpen
            if the file cannot be made.
        """
        maintenance_of(self._settled).backup(path, overwrite=overwrite, progress=progress)

    def close(self) -> None:
        """Let the database go; the container cannot be used any more. Closing twice is harmless.

        The connections of a path or URL are closed with the last container that uses them. An Engine,
        Connection or Session that was given stays open.
        """
        self._binding = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _address(self) -> str:
        """Return the path or URL that another process can open the container at."""
        if self._reopen_at is None:
            raise UnsupportedType(
                f"{self!r} cannot be pickled: only a container that was opened by a path or URL can be opened again "
                "elsewhere. Open it by path, or pickle what is needed to make its engine"
            )
        return self._reopen_at

    def _tables(self) -> Sequence[Table]:
        """Return the tables that hold the container, the one that names it first."""
        raise NotImplementedError

    def _open(self, binding: Binding) -> None:
        """Open the tables; again after a rollback."""
        raise NotImplementedError
