"""The ``kohakuvault`` command."""

from __future__ import annotations

from . import databases, entries, files
from .app import app

__all__ = ["app", "databases", "entries", "files"]
