"""The ``kohakuvault`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from .diagnosis import doctor as examine
from .errors import KohakuVaultError

__all__ = ["app"]

app = typer.Typer(help="Look after databases that hold KohakuVault containers.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Look after databases that hold KohakuVault containers."""


@app.command()
def doctor(
    database: Annotated[str, typer.Argument(help="A file path or a SQLAlchemy URL.")] = ":memory:",
) -> None:
    """Say what a database runs on, and what is wrong with it."""
    try:
        report = examine(database)
    except KohakuVaultError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(str(report))
    raise typer.Exit(1 if report.problems else 0)
