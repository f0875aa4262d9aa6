"""Seeing to it that what rows own goes with them, also where their tables were made by something else."""

from __future__ import annotations

from .binding.joined import JoinedBinding
from .known import is_known, remember
from .lending import translated_errors
from .orm.row_containers.triggers import Triggers

__all__ = ["require_triggers"]


def require_triggers(binding: JoinedBinding, triggers: Triggers) -> None:
    """Make triggers that are missing: an application's migration may have made a table anew without them."""
    fact = ("row triggers", triggers.table.fullname, triggers.name)
    if binding.row_tables.get(fact) == binding.epoch or is_known(binding.engine, fact):
        return
    with translated_errors(binding.engine), binding.inspecting() as connection:
        if not triggers.is_complete(connection):
            binding.forget_on_rollback(connection)
            triggers.create(connection)
        elif binding.is_settled(connection):
            remember(binding.engine, fact)
    binding.row_tables[fact] = binding.epoch
