"""Migrating the vault's own tables: the versions are in ``kohakuvault/migrations``, what they look at is here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import func, inspect, select, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from .database_address import as_url
from .driver_connection import driver_of
from .engine import create_engine
from .errors import InvalidArgument, SchemaMismatch, translate
from .orm.alembic.foreign_keys import without_foreign_keys
from .orm.alembic.operation import run
from .orm.alembic.records import forget_record, record_statement
from .orm.tables import TableRecord, VaultBase, table_of
from .schema import VERSIONS, lock_schema, refuse_old_columns
from .write_lock import begin_immediate

__all__ = ["OWN_TABLES", "VERSION_TABLE", "config_for", "current_revision", "downgrade", "upgrade"]

VERSION_TABLE = "vault_version"
OWN_TABLES = (*VaultBase.metadata.tables, VERSION_TABLE)

_RECORDS = table_of(TableRecord)
_COLUMNS = "vault_column"

# Of files of KohakuVault 0.8 to 1.1.
_OLD = "kohakuvault_meta"


def config_for(url: Any = None) -> Config:
    """Return Alembic's configuration of the vault's own migrations, for its commands.

    Parameters
    ----------
    url
        A file path or SQLAlchemy URL; or a Connection, in whose transaction the commands run if it is in one.
    """
    config = Config()
    config.set_main_option("script_location", "kohakuvault:migrations")
    if isinstance(url, Connection):
        config.attributes["connection"] = url
    elif url is not None:
        config.attributes["url"] = as_url(url)
    return config


def upgrade(url: Any, revision: str = "head", *, sql: bool = False, output: TextIO | None = None) -> None:
    """Bring the vault's own tables to a revision; with ``sql`` write the statements to ``output`` instead.

    Tables that containers made are checked and taken over as they are.
    """
    config = config_for(url)
    if output is not None:
        config.output_buffer = output
    with _explained():
        command.upgrade(config, revision, sql=sql)


def downgrade(url: Any, revision: str, *, sql: bool = False, output: TextIO | None = None) -> None:
    """Bring the vault's own tables back to a revision; refused where that would lose what is in them."""
    config = config_for(url)
    if output is not None:
        config.output_buffer = output
    with _explained():
        command.downgrade(config, revision, sql=sql)


def current_revision(url: Any) -> tuple[str | None, str]:
    """Return the revision that a database is at, None for none, and the newest that there is."""
    from alembic.migration import MigrationContext

    newest = ScriptDirectory.from_config(config_for()).get_current_head()
    assert newest is not None
    engine = create_engine(url)
    try:
        with _explained(), engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            return context.get_current_revision(), newest
    finally:
        engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise translate(error) from error
    except CommandError as error:
        if "Can't locate revision" in str(error):
            raise SchemaMismatch(
                f"{error}: there is no such revision, or the vault's tables were upgraded by a newer release, which is "
                "then to be installed"
            ) from error
        raise InvalidArgument(str(error)) from error


# -- the environment -------------------------------------------------------------------------------


def engine_of_config(context: Any) -> Engine:
    """Return an engine for the URL that Alembic was given: ``-x url=…``, or ``sqlalchemy.url``."""
    given = context.get_x_argument(as_dictionary=True).get("url")
    url = context.config.attributes.get("url") or given or context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise InvalidArgument(
            "no database is given: set sqlalchemy.url in alembic.ini, or pass -x url=… to alembic, or use "
            "'kohakuvault upgrade URL'"
        )
    return create_engine(url)


@contextmanager
def ready_to_migrate(connection: Connection) -> Iterator[None]:
    """Let nobody else migrate or make tables until the end of the block; begin a transaction if there is none."""
    if connection.in_transaction():
        if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
            raise InvalidArgument(
                "the Connection to migrate is in a transaction already, and enforces foreign keys, which SQLite can "
                "switch off only before: give one that is not, or the URL"
            )
        lock_schema(connection)
        _check(connection)
        yield
        return
    with without_foreign_keys(connection), connection.begin():
        if connection.dialect.name == "sqlite":
            begin_immediate(driver_of(connection))
        lock_schema(connection)
        _check(connection)
        yield


def _check(connection: Connection) -> None:
    """Raise if there are tables of our names that are not ours, or newer than this release knows."""
    inspector = inspect(connection)
    for table in VaultBase.metadata.sorted_tables:
        if inspector.has_table(table.name):
            found = {column["name"] for column in inspector.get_columns(table.name)}
            missing = [column.name for column in table.columns if column.name not in found]
            if missing:
                raise SchemaMismatch(
                    f"table {table.name!r} exists and is not KohakuVault's: it lacks {', '.join(missing)}. Nothing was "
                    "changed. Rename it, or keep the vault in another database; files of KohakuVault 0.8 to 1.1 are "
                    "read by 'kohakuvault import'"
                )
    if not inspector.has_table(_RECORDS.name):
        refuse_old_columns(connection)
        if inspector.has_table(_OLD):
            raise SchemaMismatch(
                "this is a file of KohakuVault 0.8 to 1.1, which is not upgraded in place: import it into a new file, "
                "kohakuvault import OLD NEW. Nothing was changed"
            )
        return
    for name, kind, version in connection.execute(select(_RECORDS.c.name, _RECORDS.c.kind, _RECORDS.c.version)):
        if kind in VERSIONS and version > VERSIONS[kind]:
            raise SchemaMismatch(
                f"table {name!r} has format version {version} and this release knows up to {VERSIONS[kind]}: install a "
                "newer kohakuvault"
            )
        if name == _COLUMNS and version < 2:
            raise SchemaMismatch(
                f"table {name!r} has format version {version}, which only development versions wrote: read it with the "
                "version that wrote it, and write it to a new database"
            )


# -- what the versions ask -------------------------------------------------------------------------


def existing_tables(op: Any) -> set[str]:
    """Return which of the vault's tables there are; with ``--sql`` none."""
    if op.get_context().as_sql:
        return set()
    inspector = inspect(op.get_bind())
    return {name for name in OWN_TABLES if inspector.has_table(name)}


def name_may_be_null(op: Any) -> bool:
    """Whether columns may be without name already; with ``--sql`` not."""
    if op.get_context().as_sql:
        return False
    columns = {column["name"]: column for column in inspect(op.get_bind()).get_columns(_COLUMNS)}
    return bool(columns["name"]["nullable"])


def record_columns(op: Any, version: int) -> None:
    """Have ``vault_table`` say that columns have a format version."""
    forget_record(op, _COLUMNS)
    run(op, [record_statement(op.get_context().dialect, _COLUMNS, "columns", version, {})])


def is_empty(op: Any, table: str, what: str, where: str = "1 = 1") -> None:
    """Raise if a table has such rows, which a downgrade would lose."""
    if op.get_context().as_sql:
        return
    count = op.get_bind().scalar(select(func.count()).select_from(sa.table(table)).where(text(where)))
    if count:
        raise SchemaMismatch(
            f"there are {count:,} {what} in {table}, which the older format cannot hold: nothing was changed. Delete "
            "them first, or stay at this revision"
        )
