"""The command that imports files of KohakuVault 0.8 to 1.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..legacy import ImportReport, import_file
from ..legacy.report import lines_of
from .app import app, progress_bar

__all__ = ["import_"]

_SOME_LEFT = 3


@app.command("import")
def import_(
    old: Annotated[Path, typer.Argument(help="The file of KohakuVault 0.8 to 1.1; only read.", show_default=False)],
    new: Annotated[str, typer.Argument(help="The database to import into: a file path or URL.", show_default=False)],
    tables: Annotated[
        list[str] | None,
        typer.Option("--table", "-t", help="Only this table or column; may be given several times."),
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Put in front of the names of tables and columns.")] = "",
    keys: Annotated[
        str, typer.Option("--keys", metavar="str|bytes", help="Keys that are UTF-8 become str, or all stay bytes.")
    ] = "str",
    numbers: Annotated[
        str,
        typer.Option(
            "--numbers", metavar="guess|int|float", help="What eight bytes are that may be an int or a float."
        ),
    ] = "guess",
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what is in the new database already, as after an interruption.")
    ] = False,
    pickle: Annotated[
        bool,
        typer.Option("--pickle", help="Load pickles of any class, which can run any code; only for files you trust."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Import a file of KohakuVault 0.8 or 1.1; the exit code is 3 if some of it could not be taken.

    Dicts, columns, vectors and texts, each as a whole or not at all. The old file stays as it is.
    """
    with progress_bar("rows") as bar:
        task = bar.add_task("import", total=None)
        report = import_file(
            old,
            new,
            pickle=pickle,
            tables=tables or None,
            prefix=prefix,
            keys=keys,
            numbers=numbers,
            resume=resume,
            progress=lambda name, done, total: bar.update(task, description=_shown(name), completed=done, total=total),
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        _print(report)
    if not report.is_complete:
        typer.echo(f"{report.left:,} of {report.taken + report.left:,} were not taken, as said above", err=True)
        raise typer.Exit(_SOME_LEFT)


def _print(report: ImportReport) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("kind")
    table.add_column("name", overflow="fold")
    table.add_column("taken", justify="right")
    table.add_column("not taken", justify="right")
    table.add_column("", overflow="fold")
    for item in report.items:
        said = [*(f"not taken: {line}" for line in lines_of(item.not_taken)), *lines_of(item.notes)]
        # Text, as what the file says is no markup.
        cells = (item.kind, _shown(item.new_name), f"{item.taken:,}", f"{item.left:,}", _shown("\n".join(said)))
        table.add_row(*map(Text, cells))
    Console().print(table)


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
