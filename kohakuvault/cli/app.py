"""The Typer application that the commands register with, and what they share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from typer.core import TyperGroup

from ..errors import KohakuVaultError

__all__ = ["Database", "TableName", "app", "fail", "progress_bar"]

Database = Annotated[str, typer.Argument(help="A file path or a SQLAlchemy URL.", show_default=False)]
TableName = Annotated[str, typer.Option("--table", "-t", help="The dict's table.")]


class _Commands(TyperGroup):
    """Shows our errors, and those of files, as one line each."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has had enough.
            raise
        except (KohakuVaultError, OSError) as error:
            raise fail(str(error)) from error


app = typer.Typer(cls=_Commands, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Look after databases that hold KohakuVault containers, and read and change them."""


def fail(message: str) -> typer.Exit:
    """Print ``message`` as one line on stderr; return what ends the command with exit code 1, to be raised."""
    typer.echo("error: " + " ".join(message.split()), err=True)
    return typer.Exit(1)


def progress_bar(unit: str = "bytes") -> Progress:
    """Return a bar of bytes and speed, or of rows, and remaining time; it shows nothing where stderr is no terminal."""
    console = Console(stderr=True)
    of_unit = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        *of_unit,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
