"""Commands about columns: columns, export-columns, import-columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..columns import ColumnVault
from ..database_address import require_exists
from .app import Database, app

__all__ = ["columns", "export_columns", "import_columns"]

_Names = Annotated[
    list[str] | None, typer.Option("--column", "-c", help="Only this column; may be given several times.")
]


@app.command()
def columns(
    database: Database,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array with an object for each column.")] = False,
) -> None:
    """Print the columns: dtype, number of elements, bytes that are stored for them, and name."""
    vault = _existing(database)
    rows = [{"name": name, "dtype": dtype, **vault[name].storage_info()} for name, dtype, _ in vault.list_columns()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        name = row["name"] if row["name"].isprintable() else ascii(row["name"])
        typer.echo(f"{row['dtype']:<16} {row['elements']:>15,} {row['stored_bytes']:>18,}  {name}")


@app.command("export-columns")
def export_columns(
    database: Database,
    file: Annotated[Path, typer.Argument(help="The Parquet file, replaced when all is written.", show_default=False)],
    names: _Names = None,
) -> None:
    """Write columns of one length to a Parquet file; all columns if none is named."""
    _existing(database).to_parquet(file, names or None)


@app.command("import-columns")
def import_columns(
    database: Database,
    file: Annotated[Path, typer.Argument(help="The Parquet file.", show_default=False)],
    names: _Names = None,
) -> None:
    """Add the rows of a Parquet file to columns, which are made if they are missing: all rows or none."""
    # Opened first: a file that is missing makes no database.
    with file.open("rb"):
        rows = ColumnVault(database).from_parquet(file, names=names or None)
    typer.echo(f"{rows:,} rows")


def _existing(database: str) -> ColumnVault:
    require_exists(database)
    return ColumnVault(database, read_only=True)
