"""What was assigned to objects that have no row yet."""

from __future__ import annotations

import weakref
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import InstanceState, Session

__all__ = ["Assigned"]


class Assigned:
    """Values by objects. They are kept until the commit: after a rollback the object may be added again."""

    def __init__(self) -> None:
        self._values: weakref.WeakKeyDictionary[InstanceState[Any], Any] = weakref.WeakKeyDictionary()
        self._stored: weakref.WeakKeyDictionary[Session, weakref.WeakSet[InstanceState[Any]]] = (
            weakref.WeakKeyDictionary()
        )

    def keep(self, state: InstanceState[Any], value: Any) -> None:
        """Keep a value until its object is inserted."""
        self._values[state] = value

    def has(self, state: InstanceState[Any]) -> bool:
        """Whether there is a value."""
        return state in self._values

    def renew(self, state: InstanceState[Any], value: Any) -> None:
        """Put another in the place of a value, if there is one."""
        if state in self._values:
            self._values[state] = value

    def forget(self, state: InstanceState[Any]) -> None:
        """Forget a value."""
        self._values.pop(state, None)

    def take(self, state: InstanceState[Any], session: Session) -> Any:
        """Return a value that is being stored; it is forgotten when ``session`` commits."""
        stored = self._stored.get(session)
        if stored is None:
            stored = self._stored[session] = weakref.WeakSet()
            event.listen(session, "after_commit", self._committed)
        stored.add(state)
        return self._values[state]

    def _committed(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        stored = self._stored.get(session)
        while stored:
            self.forget(stored.pop())
