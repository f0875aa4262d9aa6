"""The ``kohakuvault`` command."""

from __future__ import annotations

from . import columns, databases, entries, files, importing, migrations
from .app import app

__all__ = ["app", "columns", "databases", "entries", "files", "importing", "migrations"]
