"""The binding of a container that was opened read-only: another binding that refuses every write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from sqlalchemy.engine import Connection

from ..errors import ReadOnlyDatabase
from ..lending import DriverCursor
from ..scanning import Scan
from ..statements import Statement
from .base import Binding, Waits

__all__ = ["ReadOnlyBinding"]


class ReadOnlyBinding(Binding):
    """Reads by another binding."""

    def __init__(self, source: Binding) -> None:
        super().__init__()
        self._source = source
        self.engine = source.engine
        # What waits to be written by others with the source is part of what is read.
        self.caches = source.caches

    @property
    def epoch(self) -> int:  # type: ignore[override]  # read only, as all of it
        return self._source.epoch

    def one(self, statement: Statement, *values: Any) -> Any:
        return self._source.one(statement, *values)

    def all(self, statement: Statement, *values: Any) -> list[Any]:
        return self._source.all(statement, *values)

    def run(self, statement: Statement, *values: Any) -> int:
        _refuse()

    def run_returning(self, statement: Statement, *values: Any) -> Any:
        _refuse()

    def reading(self) -> AbstractContextManager[DriverCursor]:
        return self._source.reading()

    def writing(self) -> AbstractContextManager[DriverCursor]:
        _refuse()

    def scanning(self, scan: Scan) -> AbstractContextManager[Iterator[Iterable[Any]]]:
        return self._source.scanning(scan)

    def snapshot(self) -> AbstractContextManager[None]:
        return self._source.snapshot()

    def transaction(self) -> AbstractContextManager[Connection]:
        _refuse()

    def inspecting(self) -> AbstractContextManager[Connection]:
        return self._source.inspecting()

    @property
    def holds_transaction(self) -> bool:
        return self._source.holds_transaction

    @property
    def may_wait(self) -> bool:
        return self._source.may_wait

    def check_may_write(self) -> None:
        _refuse()

    def check_may_cache(self) -> None:
        _refuse()

    def settle(self) -> None:
        self._source.settle()

    def keep_waiting(self, cache: Waits) -> None:
        _refuse()

    def forget_on_rollback(self, connection: Connection) -> None:
        self._source.forget_on_rollback(connection)

    def made_in_transaction(self) -> None:
        self._source.made_in_transaction()

    def require_functions(self) -> None:
        self._source.require_functions()


def _refuse() -> NoReturn:
    raise ReadOnlyDatabase("the container was opened with read_only=True; open it without, to write")
