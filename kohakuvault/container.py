"""What every container has: a bind, transactions, tables that are opened, and an end."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from sqlalchemy.engine import Connection, Engine
from typing_extensions import Self

from .binding import Bind, Binding, address, bind_to
from .engine import display_name
from .errors import InvalidArgument, UnsupportedType

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

    def _open(self, binding: Binding) -> None:
        """Open the tables; again after a rollback."""
        raise NotImplementedError
