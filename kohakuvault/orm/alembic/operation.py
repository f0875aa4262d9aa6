"""What our operations have in common: equality by what they do, a way to run SQL, and order within a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alembic.operations import Operations
from alembic.operations.batch import BatchOperationsImpl
from alembic.operations.ops import MigrateOperation
from sqlalchemy.engine import Dialect

from ...errors import InvalidArgument
from ..attached import Attachment
from ..verbatim import Verbatim

__all__ = ["VaultOperation", "create_attachment", "drop_attachment", "in_order", "run"]


class VaultOperation(MigrateOperation):
    """An operation that is equal to another of its class that does the same."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_diff_tuple() == other.to_diff_tuple()

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.to_diff_tuple()[1:]}>"

    def irreversible(self, missing: str) -> ValueError:
        """Return what to raise where an operation does not say what its reverse needs."""
        return ValueError(
            f"{self.to_diff_tuple()[0]}({self.to_diff_tuple()[1]!r}) is not reversible: give it {missing}"
        )


def in_order(operations: Operations) -> None:
    """Have what a batch was told so far take effect, because what follows needs it."""
    batch: Any = operations.impl
    if isinstance(batch, BatchOperationsImpl) and batch.batch:
        batch.flush()
        batch.batch.clear()


def run(operations: Any, statements: Iterable[str]) -> None:
    """Run SQL, or with ``--sql`` print it; also by the module ``alembic.op``."""
    for sql in statements:
        operations.get_context().impl.execute(Verbatim(sql))


def create_attachment(operations: Operations, attachment: Attachment) -> None:
    """Make what belongs to a table."""
    in_order(operations)
    if operations.migration_context.as_sql:
        run(operations, attachment.create_statements(_dialect(operations)))
    else:
        _dialect(operations)
        attachment.create(operations.get_bind())


def drop_attachment(operations: Operations, attachment: Attachment) -> None:
    """Drop what belongs to a table."""
    in_order(operations)
    if operations.migration_context.as_sql:
        run(operations, attachment.drop_statements(_dialect(operations)))
    else:
        _dialect(operations)
        attachment.drop(operations.get_bind())


def _dialect(operations: Operations) -> Dialect:
    dialect = operations.migration_context.dialect
    if dialect.name not in ("sqlite", "postgresql"):
        raise InvalidArgument(f"KohakuVault runs on sqlite and postgresql, not on {dialect.name}")
    return dialect
