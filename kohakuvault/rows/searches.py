"""Compiled searches, with conditions of the user's: those that differ in values only share a statement."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect

from ..statements import Statement
from .conditions import Condition

__all__ = ["Searches"]

# Statements that are kept, for each table.
_KEPT = 200


class Searches:
    """The searches in one table, for one dialect. The values of a condition come behind those that are named."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._made: OrderedDict[Any, Statement] = OrderedDict()
        self._lock = Lock()

    def _cached(
        self,
        what: tuple[Any, ...],
        condition: Condition | None,
        build: Callable[[ColumnElement[bool] | None], Any],
        *names: str,
    ) -> Statement:
        """Return the statement that ``build`` makes of the condition; made once for ``what`` and equal conditions."""
        which = (*what, condition and condition.key)
        is_known = condition is None or condition.key is not None
        with self._lock:
            statement = self._made.get(which) if is_known else None
            if statement is not None:
                self._made.move_to_end(which)
                return statement
        where, more = (None, []) if condition is None else condition.bound()
        statement = Statement(build(where), [*names, *more], self._dialect)
        if is_known:
            with self._lock:
                self._made[which] = statement
                if len(self._made) > _KEPT:
                    self._made.popitem(last=False)
        return statement
