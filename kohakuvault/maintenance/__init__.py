"""Looking after a database: checks, sizes, checkpoints, compaction and backups, by a class for each kind of it."""

from __future__ import annotations

from ..binding import Binding
from .base import Maintenance, Problem, Progress
from .postgresql import PostgreSQLMaintenance
from .sqlite import SQLiteMaintenance

__all__ = ["Maintenance", "Problem", "Progress", "maintenance_of"]


def maintenance_of(binding: Binding) -> Maintenance:
    """Return what looks after the database that ``binding`` runs on."""
    return (SQLiteMaintenance if binding.dialect.name == "sqlite" else PostgreSQLMaintenance)(binding)
