"""Alembic's environment for the vault's own tables: ``kohakuvault upgrade URL``, or ``alembic upgrade head``.

The application's migrations are another history, in ``alembic_version``; this one is in ``vault_version``.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy.engine import Connection

from kohakuvault.migrating import OWN_TABLES, VERSION_TABLE, engine_of_config, ready_to_migrate
from kohakuvault.orm.alembic import configure_args
from kohakuvault.orm.tables import VaultBase


def include_name(name: str | None, type_: str, parent_names: object) -> bool:
    """Leave the application's tables to the application."""
    return type_ != "table" or name in OWN_TABLES


ARGUMENTS = {
    "target_metadata": VaultBase.metadata,
    "version_table": VERSION_TABLE,
    # All revisions or none, on SQLite too.
    "transactional_ddl": True,
    **configure_args(include_name=include_name),
}


def run(connection: Connection) -> None:
    """Migrate in one transaction, that of ``connection`` if it is in one."""
    with ready_to_migrate(connection):
        context.configure(connection=connection, **ARGUMENTS)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    engine = engine_of_config(context)
    context.configure(url=engine.url, **ARGUMENTS)
    if engine.dialect.name == "sqlite":
        # Or dropping a table that is replaced by a copy would delete what refers to it.
        context.execute("PRAGMA foreign_keys=OFF")
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    engine = engine_of_config(context)
    try:
        with engine.connect() as opened:
            run(opened)
    finally:
        engine.dispose()
