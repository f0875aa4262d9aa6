"""Foreign keys switched off while tables are replaced, which on SQLite deletes what refers to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from ...errors import InvalidArgument

__all__ = ["without_foreign_keys"]


@contextmanager
def without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Switch foreign keys off for the time of a block, for ``env.py``; on databases other than SQLite do nothing.

    Batch mode replaces a table by a copy and drops it. With foreign keys SQLite would then do to the rows of other
    tables what their ``ON DELETE`` says. Switching them is possible only outside of a transaction.

    Examples
    --------
    ::

        with engine.connect() as connection, without_foreign_keys(connection):
            context.configure(connection=connection, target_metadata=metadata, **configure_args())
            with context.begin_transaction():
                context.run_migrations()
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    if connection.in_transaction():
        raise InvalidArgument("without_foreign_keys() is for a Connection that is not in a transaction yet")
    was_on = bool(_switched(connection, "PRAGMA foreign_keys"))
    _switched(connection, "PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        if was_on:
            if connection.in_transaction():
                connection.rollback()
            _switched(connection, "PRAGMA foreign_keys=ON")


def _switched(connection: Connection, pragma: str) -> object:
    result = connection.exec_driver_sql(pragma)
    value = result.scalar() if result.returns_rows else None
    # What SQLAlchemy began, though the driver did not.
    connection.rollback()
    return value
