"""Columns of format version 3: those that a row owns have no name."""

from __future__ import annotations

from alembic import op

from kohakuvault.migrating import is_empty, name_may_be_null, record_columns
from kohakuvault.orm.alembic.operation import run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE vault_column_replaced (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name VARCHAR{null},
    dtype VARCHAR NOT NULL,
    length BIGINT NOT NULL,
    sealed BIGINT NOT NULL,
    block_bytes INTEGER NOT NULL,
    last_block BIGINT NOT NULL,
    compression INTEGER,
    checksum BOOLEAN NOT NULL,
    tail BLOB NOT NULL,
    UNIQUE (name)
)
"""
_COLUMNS = "id, name, dtype, length, sealed, block_bytes, last_block, compression, checksum, tail"


def upgrade() -> None:
    if not name_may_be_null(op):
        _set(null=True)
    record_columns(op, 3)


def downgrade() -> None:
    is_empty(op, "vault_column", "lists that rows own", "name IS NULL")
    _set(null=False)
    record_columns(op, 2)


def _set(*, null: bool) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("vault_column", "name", nullable=null)
        return
    run(
        op,
        [
            _TABLE.format(null="" if null else " NOT NULL"),
            f"INSERT INTO vault_column_replaced ({_COLUMNS}) SELECT {_COLUMNS} FROM vault_column",  # noqa: S608
            # No id is ever given twice, not even that of a column which is deleted by now.
            "DELETE FROM sqlite_sequence WHERE name = 'vault_column_replaced'",
            "INSERT INTO sqlite_sequence (name, seq) "
            "SELECT 'vault_column_replaced', seq FROM sqlite_sequence WHERE name = 'vault_column'",
            "DROP TABLE vault_column",
            # Triggers that name vault_column are not to be looked at while there is none.
            "PRAGMA legacy_alter_table=ON",
            "ALTER TABLE vault_column_replaced RENAME TO vault_column",
            "PRAGMA legacy_alter_table=OFF",
        ],
    )
