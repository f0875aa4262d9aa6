"""Commands about the vault's own tables: upgrade, downgrade, current."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import migrating
from ..database_address import require_exists
from .app import Database, app

__all__ = ["current", "downgrade", "upgrade"]

_Sql = Annotated[bool, typer.Option("--sql", help="Print the statements instead of running them.")]


@app.command()
def upgrade(
    database: Database,
    revision: Annotated[str, typer.Option("--revision", "-r", help="Where to; the newest by default.")] = "head",
    sql: _Sql = False,
) -> None:
    """Make the vault's own tables, or bring them to the newest format; those that containers made are taken over."""
    migrating.upgrade(database, revision, sql=sql, output=sys.stdout)
    if not sql:
        _say(database)


# So that -1 is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def downgrade(
    database: Database,
    revision: Annotated[str, typer.Argument(help="Where to: a revision, -1 for one back, or base.")],
    sql: _Sql = False,
) -> None:
    """Bring the vault's own tables back to an older format; refused where that would lose something."""
    if not sql:
        require_exists(database)
    migrating.downgrade(database, revision, sql=sql, output=sys.stdout)
    if not sql:
        _say(database)


@app.command()
def current(database: Database) -> None:
    """Print the revision of the vault's own tables; the exit code is 1 if there is a newer one."""
    require_exists(database)
    _say(database)
    found, newest = migrating.current_revision(database)
    raise typer.Exit(0 if found == newest else 1)


def _say(database: str) -> None:
    found, newest = migrating.current_revision(database)
    typer.echo(f"{found or 'none'}{' (newest)' if found == newest else f', the newest is {newest}'}")
