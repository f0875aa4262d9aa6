"""The vault's own tables: what tables hold, columns of format version 2, their blocks and payloads.

Containers make these tables when they first need them, so a database may have any of them already, of this version or
the next: those are kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kohakuvault.migrating import existing_tables, is_empty, record_columns
from kohakuvault.orm import Packed
from kohakuvault.orm.alembic.operation import run
from kohakuvault.orm.alembic.records import forget_record
from kohakuvault.orm.column_ddl import statements_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    existing = existing_tables(op)
    if "vault_table" not in existing:
        op.create_table(
            "vault_table",
            sa.Column("name", sa.String(), nullable=False),
            sa.Column("kind", sa.String(), nullable=False),
            sa.Column("version", sa.Integer(), nullable=False),
            sa.Column("options", Packed(), nullable=False),
            sa.PrimaryKeyConstraint("name"),
        )
    if "vault_column" not in existing:
        op.create_table(
            "vault_column",
            sa.Column("id", _Id, nullable=False),
            sa.Column("name", _Text, nullable=False),
            sa.Column("dtype", sa.String(), nullable=False),
            sa.Column("length", sa.BigInteger(), nullable=False),
            sa.Column("sealed", sa.BigInteger(), nullable=False),
            sa.Column("block_bytes", sa.Integer(), nullable=False),
            sa.Column("last_block", sa.BigInteger(), nullable=False),
            sa.Column("compression", sa.Integer(), nullable=True),
            sa.Column("checksum", sa.Boolean(), nullable=False),
            sa.Column("tail", sa.LargeBinary(), nullable=False),
            sa.PrimaryKeyConstraint("id"),
            sa.UniqueConstraint("name"),
            sqlite_autoincrement=True,
        )
        record_columns(op, 2)
    if "vault_block" not in existing:
        op.create_table(
            "vault_block",
            sa.Column("id", _Id, autoincrement=False, nullable=False),
            sa.Column("column_id", sa.BigInteger(), nullable=False),
            sa.Column("start", sa.BigInteger(), nullable=False),
            sa.Column("count", sa.Integer(), nullable=False),
            sa.Column("summary", sa.LargeBinary(), nullable=True),
            sa.ForeignKeyConstraint(["column_id"], ["vault_column.id"], ondelete="CASCADE"),
            sa.PrimaryKeyConstraint("id"),
        )
        op.create_index("vault_block_place", "vault_block", ["column_id", "start", "count"])
    if "vault_payload" not in existing:
        op.create_table(
            "vault_payload",
            sa.Column("id", _Id, autoincrement=False, nullable=False),
            sa.Column("data", sa.LargeBinary(), nullable=False),
            sa.PrimaryKeyConstraint("id"),
        )
        run(op, statements_of(op.get_context().dialect.name))


def downgrade() -> None:
    is_empty(op, "vault_column", "columns")
    forget_record(op, "vault_column")
    is_empty(op, "vault_table", "records of dicts, vectors and such")
    op.drop_table("vault_payload")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS vault_forget_summary()")
    op.drop_index("vault_block_place", table_name="vault_block")
    op.drop_table("vault_block")
    op.drop_table("vault_column")
    op.drop_table("vault_table")
