"""``op.create_text_index`` and ``op.drop_text_index``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.operations import BatchOperations, Operations
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.engine import Connection

from ...errors import InvalidArgument
from ..text_index import TextIndex
from .operation import VaultOperation, create_attachment, drop_attachment, in_order

__all__ = ["CreateTextIndexOp", "DropTextIndexOp"]


class _TextIndexOp(VaultOperation):
    """A text index, and the little of its table that making it takes."""

    _name = ""

    def __init__(
        self,
        index_name: str,
        table_name: str,
        columns: Sequence[str] = (),
        *,
        tokenize: str = "unicode61",
        weights: Sequence[float] | None = None,
        key: str = "id",
        unique: Sequence[Sequence[str]] = (),
        schema: str | None = None,
        **options: Any,
    ) -> None:
        self.index_name = index_name
        self.table_name = table_name
        self.columns = [columns] if isinstance(columns, str) else list(columns)
        self.tokenize = tokenize
        self.weights = None if weights is None else tuple(weights)
        self.key = key
        # The other columns of which no two rows may have the same: SQLite's triggers look at them.
        self.unique = [list(names) for names in unique]
        self.schema = schema
        self.options = options

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructors of both operations take."""
        return {
            "index_name": self.index_name,
            "table_name": self.table_name,
            "columns": self.columns,
            "tokenize": self.tokenize,
            "weights": self.weights,
            "key": self.key,
            "unique": self.unique,
            "schema": self.schema,
            **self.options,
        }

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation, those of the index, table and columns, and the rest."""
        rest = {
            key: value for key, value in self.arguments.items() if key not in ("index_name", "table_name", "columns")
        }
        return (self._name, self.index_name, self.table_name, self.columns, rest)

    @classmethod
    def from_index(cls, index: TextIndex) -> Any:
        """Return the operation for an index of a model."""
        return cls(
            index.name,
            index.table.name,
            [column.name for column in index.columns],
            tokenize=index.tokenize,
            weights=index.weights,
            key=index.key.name,
            unique=_uniques(index.table),
            schema=index.table.schema,
            **index.options,
        )

    def to_index(self) -> TextIndex:
        """Return the index, of a table that has no other columns."""
        columns = self.columns or ["content"]
        others = dict.fromkeys(name for names in self.unique for name in names if name not in (*columns, self.key))
        index = TextIndex(self.index_name, *columns, tokenize=self.tokenize, weights=self.weights, **self.options)
        Table(
            self.table_name,
            MetaData(),
            Column(self.key, BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
            *(Column(name, Text()) for name in (*columns, *others)),
            *(UniqueConstraint(*names) for names in self.unique),
            index,
            schema=self.schema,
        )
        return index

    def of_reflected(self, connection: Connection) -> TextIndex:
        """Return the index, of the table that there is."""
        table = Table(self.table_name, MetaData(), autoload_with=connection, resolve_fks=False)
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            raise InvalidArgument(
                f"text index {self.index_name!r}: table {self.table_name!r} has no column {', '.join(missing)}"
            )
        columns = [table.columns[name] for name in self.columns]
        return TextIndex(self.index_name, *columns, tokenize=self.tokenize, weights=self.weights, **self.options)


def _uniques(table: Table) -> list[list[str]]:
    """Return the columns of UNIQUE constraints and indexes, in an order that is the same each time."""
    found = [list(each.columns.keys()) for each in table.constraints if isinstance(each, UniqueConstraint)]
    found += [
        list(each.columns.keys())
        for each in table.indexes
        if each.unique and each.dialect_options["sqlite"]["where"] is None
    ]
    return sorted(found)


@Operations.register_operation("create_text_index")
@BatchOperations.register_operation("create_text_index", "batch_create_text_index")
class CreateTextIndexOp(_TextIndexOp):
    """Make a text index of a table that there is."""

    _name = "create_text_index"

    def reverse(self) -> DropTextIndexOp:
        """Return what drops it."""
        return DropTextIndexOp(**self.arguments)

    @classmethod
    def create_text_index(
        cls,
        operations: Any,
        index_name: Any,
        table_name: Any,
        columns: Any,
        tokenize: Any = "unicode61",
        weights: Any = None,
        key: Any = "id",
        unique: Any = (),
        schema: Any = None,
        **options: Any,
    ) -> None:
        """Make a text index of a table that there is, and put what is in the table into it.

        Parameters
        ----------
        index_name, table_name, columns
            Its name, that of the table, and a list of those of the columns of text.
        tokenize, weights, **options
            As of :class:`~kohakuvault.orm.TextIndex`.
        key
            The name of the primary key.
        unique
            Lists of the columns of each UNIQUE constraint of the table, for ``--sql`` on SQLite; a connection tells
            them.
        schema
            Of the table, on PostgreSQL.
        """
        given = {"tokenize": tokenize, "weights": weights, "key": key, "unique": unique, "schema": schema}
        operations.invoke(cls(index_name, table_name, columns, **given, **options))

    @classmethod
    def batch_create_text_index(
        cls,
        operations: Any,
        index_name: Any,
        columns: Any,
        tokenize: Any = "unicode61",
        weights: Any = None,
        key: Any = "id",
        unique: Any = (),
        **options: Any,
    ) -> None:
        """Make a text index of the table of the batch, after what the batch was told before."""
        impl = operations.impl
        given = {"tokenize": tokenize, "weights": weights, "key": key, "unique": unique, "schema": impl.schema}
        operations.invoke(cls(index_name, impl.table_name, columns, **given, **options))


@Operations.register_operation("drop_text_index")
@BatchOperations.register_operation("drop_text_index", "batch_drop_text_index")
class DropTextIndexOp(_TextIndexOp):
    """Drop a text index."""

    _name = "drop_text_index"

    def reverse(self) -> CreateTextIndexOp:
        """Return what makes it, if the operation says what it is."""
        if not self.columns:
            raise self.irreversible("columns, and what else create_text_index has")
        return CreateTextIndexOp(**self.arguments)

    @classmethod
    def drop_text_index(
        cls,
        operations: Any,
        index_name: Any,
        table_name: Any,
        columns: Any = (),
        tokenize: Any = "unicode61",
        weights: Any = None,
        key: Any = "id",
        unique: Any = (),
        schema: Any = None,
        **options: Any,
    ) -> None:
        """Drop a text index; the table stays as it is.

        Only ``index_name`` and ``table_name`` are needed. The rest, which is as of :meth:`create_text_index`, is what
        the operation needs to be reversed.
        """
        given = {"tokenize": tokenize, "weights": weights, "key": key, "unique": unique, "schema": schema}
        operations.invoke(cls(index_name, table_name, columns, **given, **options))

    @classmethod
    def batch_drop_text_index(
        cls,
        operations: Any,
        index_name: Any,
        columns: Any = (),
        tokenize: Any = "unicode61",
        weights: Any = None,
        key: Any = "id",
        unique: Any = (),
        **options: Any,
    ) -> None:
        """Drop a text index of the table of the batch, after what the batch was told before."""
        impl = operations.impl
        given = {"tokenize": tokenize, "weights": weights, "key": key, "unique": unique, "schema": impl.schema}
        operations.invoke(cls(index_name, impl.table_name, columns, **given, **options))


@Operations.implementation_for(CreateTextIndexOp)
def _create(operations: Operations, operation: CreateTextIndexOp) -> None:
    in_order(operations)
    context = operations.migration_context
    if context.as_sql or context.dialect.name != "sqlite":
        create_attachment(operations, operation.to_index())
    else:
        create_attachment(operations, operation.of_reflected(operations.get_bind()))


@Operations.implementation_for(DropTextIndexOp)
def _drop(operations: Operations, operation: DropTextIndexOp) -> None:
    drop_attachment(operations, operation.to_index())
