"""What is already known about an engine's tables, so that opening a container again asks nothing."""

from __future__ import annotations

import weakref

from sqlalchemy.engine import Engine

__all__ = ["forget", "is_known", "remember"]

# Weak keys: an engine that the application drops takes its entry along.
_known: weakref.WeakKeyDictionary[Engine, set[object]] = weakref.WeakKeyDictionary()


def is_known(engine: Engine, fact: object) -> bool:
    """Whether ``fact`` was remembered for ``engine``."""
    return fact in _known.get(engine, ())


def remember(engine: Engine, fact: object) -> None:
    """Remember ``fact``, which must be committed: one that is rolled back would stay remembered."""
    _known.setdefault(engine, set()).add(fact)


def forget(engine: Engine) -> None:
    """Forget everything about ``engine``, because something turned out to be no longer true."""
    _known.pop(engine, None)
