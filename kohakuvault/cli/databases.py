"""Commands about a database or whole dicts: doctor, stats, check, optimize, backup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import TableClause, inspect, select, table

from ..binding import Binding, bind_to
from ..columns import ColumnVault
from ..database_address import display_name, require_exists
from ..diagnosis import doctor as examine
from ..errors import SchemaMismatch
from ..kvault import KVault
from ..lending import translated_errors
from ..maintenance import maintenance_of
from ..orm.tables import TableRecord, VaultBase
from ..text.recorded import text_class_by_record
from ..texts import TextVault
from ..vector.recorded import class_by_record
from ..vectors import VectorKVault
from .app import Database, app, progress_bar

__all__ = ["backup", "check", "doctor", "optimize", "stats"]

_OneTable = Annotated[
    str | None,
    typer.Argument(
        help="The table of a dict, vectors or texts, or vault_column for the columns; everything there is if left out.",
        show_default=False,
    ),
]

_COLUMNS = ColumnVault.entity.__tablename__

Vault = KVault | ColumnVault | VectorKVault | TextVault


@app.command()
def doctor(
    database: Annotated[str, typer.Argument(help="A file path or a SQLAlchemy URL.")] = ":memory:",
) -> None:
    """Say what a database runs on, and what is wrong with it."""
    report = examine(database)
    typer.echo(str(report))
    raise typer.Exit(1 if report.problems else 0)


@app.command()
def stats(
    database: Database,
    table: _OneTable = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array with an object for each of them.")
    ] = False,
) -> None:
    """Print how many entries dicts have, elements columns and rows vectors, and sizes in bytes."""
    figures = [_opened(database, name, read_only=True).stats() for name in _checkable(database, table)]
    if as_json:
        typer.echo(json.dumps(figures))
        return
    sections = (
        "\n".join(f"{name:<15} {value:,}" if isinstance(value, int) else f"{name:<15} {value}" for name, value in some)
        for some in (figure.items() for figure in figures)
    )
    typer.echo("\n\n".join(sections))


@app.command()
def check(
    database: Database,
    table: _OneTable = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired without losing data.")] = False,
) -> None:
    """Look for damage in dicts, columns, vectors and texts; the exit code is 1 if any was not repaired."""
    healthy = True
    for name in _checkable(database, table):
        # A record that is missing is made by opening; a table is not.
        exists = fix and _has_table(bind_to(database), name)
        problems = _opened(database, name, create=exists, read_only=not fix).check(fix)
        for problem in problems:
            typer.echo(f"{name}: {problem}")
        if not problems:
            typer.echo(f"{name}: no problems")
        healthy = healthy and all(problem.fixed for problem in problems)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def optimize(database: Database) -> None:
    """Remove expired entries, compact the database, and renew what its query planner knows."""
    require_exists(database)
    binding = bind_to(database)
    for name in _names(binding, "kv"):
        KVault(database, name, create=False).remove_expired()
    maintenance_of(binding).optimize(_tables(binding))


@app.command()
def backup(
    database: Database,
    file: Annotated[Path, typer.Argument(help="The copy to make.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Copy a whole SQLite database, of one moment, to a file while others write to it."""
    require_exists(database)
    binding = bind_to(database)
    with progress_bar() as bar:
        task = bar.add_task("backup", total=None)
        maintenance_of(binding).backup(
            file, overwrite=overwrite, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _opened(database: str, name: str, *, create: bool = True, read_only: bool) -> Vault:
    """Open what a table holds."""
    if name == _COLUMNS:
        return ColumnVault(database, create=create, read_only=read_only)
    binding = bind_to(database, read_only=True)
    if name in _names(binding, "vectors"):
        entity, metric = class_by_record(binding, name)
        return VectorKVault(database, entity, metric=metric, create=create, read_only=read_only)
    if name in _names(binding, "text"):
        # Checking its index is a command of FTS5's that counts as writing.
        return TextVault(database, text_class_by_record(binding, name), create=create)
    return KVault(database, name, create=create, read_only=read_only)


def _checkable(database: str, table: str | None) -> list[str]:
    """Return the tables that a command is about, at least one: dicts, that of the columns, vectors and texts."""
    require_exists(database)
    binding = bind_to(database, read_only=True)
    kinds = ("kv", "columns", "vectors", "text")
    names = [name for kind in kinds for name in _names(binding, kind)] if table is None else [table]
    if not names:
        raise SchemaMismatch(
            f"there is no dict, column, vector or text in {display_name(binding.engine.url)}; name the table of one"
        )
    return names


def _has_table(binding: Binding, name: str) -> bool:
    with translated_errors(binding.engine), binding.inspecting() as connection:
        return inspect(connection).has_table(name)


def _names(binding: Binding, kind: str | None = None) -> list[str]:
    """Return the names of the containers of ``kind``, or of all, by their records."""
    names = select(TableRecord.name).order_by(TableRecord.name)
    if kind is not None:
        names = names.where(TableRecord.kind == kind)
    with translated_errors(binding.engine), binding.inspecting() as connection:
        if not inspect(connection).has_table(TableRecord.__tablename__):
            return []
        return list(connection.scalars(names))


def _tables(binding: Binding) -> list[TableClause]:
    """Return the tables of every container, those that are there."""
    names = [*VaultBase.metadata.tables, *_names(binding)]
    with translated_errors(binding.engine), binding.inspecting() as connection:
        inspector = inspect(connection)
        return [table(name) for name in dict.fromkeys(names) if inspector.has_table(name)]
