"""The ``kohakuvault`` command."""

from __future__ import annotations

from . import databases, entries
from .app import app

__all__ = ["app", "databases", "entries"]
