"""``op.repack_column``: every value of a column in another encoding, and the column of the type that says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alembic.operations import BatchOperations, Operations
from sqlalchemy import (
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    inspect,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.schema import CreateColumn
from sqlalchemy.types import TypeEngine

from ...errors import InvalidArgument, KohakuVaultError
from ...packing import pack
from ..types import Packed, PackedArray, Tensor, Vector
from .operation import VaultOperation, in_order, run

__all__ = ["RepackColumnOp", "is_repacked"]

Progress = Callable[[int, int], Any]

_log = logging.getLogger("kohakuvault.alembic")

_PAGE = 1000
# Rows after which the log has a line.
_OFTEN = 100_000
_TEMPORARY = "_kohakuvault_repacked"
_ARRAYS = (PackedArray, Tensor, Vector)


@Operations.register_operation("repack_column")
@BatchOperations.register_operation("repack_column", "batch_repack_column")
class RepackColumnOp(VaultOperation):
    """Rewrite every value of a column, which is of type ``from_``, for the type ``to``."""

    def __init__(
        self,
        table_name: str,
        column_name: str,
        *,
        to: TypeEngine[Any],
        from_: TypeEngine[Any],
        schema: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.table_name = table_name
        self.column_name = column_name
        self.to = _instance(to)
        self.from_ = _instance(from_)
        self.schema = schema
        self.progress = progress

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the name of the operation, those of the table and column, and the types."""
        return ("repack_column", self.table_name, self.column_name, repr(self.to), repr(self.from_), self.schema)

    def reverse(self) -> RepackColumnOp:
        """Return what makes the values what they were."""
        return RepackColumnOp(
            self.table_name,
            self.column_name,
            to=self.from_,
            from_=self.to,
            schema=self.schema,
            progress=self.progress,
        )

    @classmethod
    def repack_column(
        cls,
        operations: Any,
        table_name: Any,
        column_name: Any,
        to: Any,
        from_: Any,
        schema: Any = None,
        progress: Any = None,
    ) -> None:
        """Rewrite every value of a column in the transaction of the migration, and change the column's type.

        One of the two types is :class:`~kohakuvault.orm.Packed`; the other may be ``LargeBinary``, ``JSON``,
        ``PickleType``, ``Text`` and such. A value that would not come back as it is, is an error that names its row.

        Or both are arrays: :class:`~kohakuvault.orm.Tensor`, :class:`~kohakuvault.orm.PackedArray` or
        :class:`~kohakuvault.orm.Vector`. Arrays are converted as the new type converts what it is given: floats are
        rounded to narrower ones; numbers out of its range, and another shape, are errors that name the row.

        Parameters
        ----------
        table_name, column_name
            Which.
        to, from_
            The type that the column is to have, and that which it has.
        schema
            Of the table, on PostgreSQL.
        progress
            Called with the rows done and the rows of all. There is a line in the log of ``kohakuvault.alembic`` for
            every 100,000.
        """
        operations.invoke(cls(table_name, column_name, to=to, from_=from_, schema=schema, progress=progress))

    @classmethod
    def batch_repack_column(cls, operations: Any, column_name: Any, to: Any, from_: Any, progress: Any = None) -> None:
        """Rewrite every value of a column of the batch's table, after what the batch was told before."""
        impl = operations.impl
        operations.invoke(cls(impl.table_name, column_name, to=to, from_=from_, schema=impl.schema, progress=progress))


@Operations.implementation_for(RepackColumnOp)
def _repack(operations: Operations, operation: RepackColumnOp) -> None:
    in_order(operations)
    if not is_repacked(operation.to, operation.from_):
        raise InvalidArgument(
            f"repack_column of {operation.table_name}.{operation.column_name}: one of to and from_ is a Packed type, "
            f"or both are of arrays, but they are {operation.to!r} and {operation.from_!r}; use op.alter_column for "
            "those"
        )
    context = operations.migration_context
    rewrites = not _reads_all_of(operation.to, operation.from_)
    if context.as_sql:
        if rewrites:
            raise InvalidArgument(
                f"repack_column of {operation.table_name}.{operation.column_name}: the values have to be read and "
                "written by Python, which --sql cannot. Run that migration with a connection"
            )
        _change_type(operations, operation, None)
        return
    _prepare(operations, operation)
    connection = operations.get_bind()
    if not rewrites:
        _change_type(operations, operation, None)
    elif context.dialect.name == "sqlite" or _stored_alike(operation, context.dialect):
        _rewrite(connection, operation, operation.column_name)
        _change_type(operations, operation, None)
    else:
        # Values of both types do not fit one column.
        table = _quoted_table(context.dialect, operation)
        column = _column_ddl(Column(_TEMPORARY, operation.to), context.dialect)
        run(operations, [f"ALTER TABLE {table} ADD COLUMN {column}"])
        _rewrite(connection, operation, _TEMPORARY)
        _change_type(operations, operation, _TEMPORARY)
        run(operations, [f"ALTER TABLE {table} DROP COLUMN {_TEMPORARY}"])


def is_repacked(to: TypeEngine[Any], from_: TypeEngine[Any]) -> bool:
    """Whether values of one type have to be rewritten for the other: their bytes mean another thing there."""
    if isinstance(to, Packed) or isinstance(from_, Packed):
        return True
    return isinstance(to, _ARRAYS) and isinstance(from_, _ARRAYS)


def _reads_all_of(to: TypeEngine[Any], from_: TypeEngine[Any]) -> bool:
    """Whether what is stored by ``from_`` may stay as it is: values of any encoding are those of no certain one."""
    return (
        isinstance(to, Packed)
        and isinstance(from_, Packed)
        and (to.encoding is None or to.encoding == from_.encoding)
        and (to.pickle or not from_.pickle)
    )


def _stored_alike(operation: RepackColumnOp, dialect: Dialect) -> bool:
    return all(
        isinstance(type_, (Packed, LargeBinary)) or isinstance(type_.dialect_impl(dialect), LargeBinary)
        for type_ in (operation.to, operation.from_)
    )


def _change_type(operations: Operations, operation: RepackColumnOp, using: str | None) -> None:
    """Give the column its new type, if the database tells the two apart."""
    dialect = operations.migration_context.dialect
    old, new = (type_.compile(dialect) for type_ in (operation.from_, operation.to))
    if old == new:
        return
    context = operations.migration_context
    plain = Operations(context)
    if dialect.name == "sqlite":
        with plain.batch_alter_table(operation.table_name, schema=operation.schema, recreate="always") as batch:
            batch.alter_column(operation.column_name, type_=operation.to)
        return
    _prepare(operations, operation)
    column = dialect.identifier_preparer.quote(operation.column_name)
    source = using or column
    table = _quoted_table(dialect, operation)
    run(operations, [f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {new} USING {source}::{new}"])


def _prepare(operations: Operations, operation: RepackColumnOp) -> None:
    """Make what the new type needs on PostgreSQL."""
    context = operations.migration_context
    table: Any = Table("_", MetaData(), Column("_", operation.to), schema=operation.schema)
    table.dispatch.before_create(table, context.connection, checkfirst=False, _ddl_runner=context.impl)


def _rewrite(connection: Connection, operation: RepackColumnOp, target: str) -> None:
    """Write every value that is to be another, a page of rows at a time, in the order of the primary key."""
    keys = _keys(connection, operation)
    rows = Table(
        operation.table_name,
        MetaData(),
        *(Column(name, type_) for name, type_ in keys),
        Column(operation.column_name, operation.from_),
        *([] if target == operation.column_name else [Column(target, operation.to)]),
        schema=operation.schema,
    )
    key = [rows.c[name] for name, _ in keys]
    converted = _Conversion(operation)
    write = (
        update(rows)
        .where(*(column == bindparam(f"key_{number}") for number, column in enumerate(key)))
        .values({rows.c[target]: bindparam("new", type_=operation.to)})
    )
    total = connection.scalar(select(func.count()).select_from(rows)) or 0
    done = 0
    for page in _pages(connection, rows, key, rows.c[operation.column_name]):
        connection.execute(
            write,
            [
                {**{f"key_{number}": part for number, part in enumerate(of)}, "new": converted(value, of)}
                for *of, value in page
            ],
        )
        before, done = done, done + len(page)
        if operation.progress is not None:
            operation.progress(done, max(total, done))
        if done // _OFTEN != before // _OFTEN:
            _log.info("%s.%s: %s of %s rows", operation.table_name, operation.column_name, f"{done:,}", f"{total:,}")


def _pages(connection: Connection, rows: Table, key: Sequence[Any], value: Any) -> Iterator[list[Any]]:
    # SQL NULL stays; a packed None is a value.
    base = select(*key, value).where(value.is_not(null())).order_by(*key).limit(_PAGE)
    after: tuple[Any, ...] | None = None
    while True:
        statement = base if after is None else base.where(tuple_(*key) > tuple_(*after))
        page = list(connection.execute(statement).all())
        if page:
            yield page
        if len(page) < _PAGE:
            return
        after = tuple(page[-1][:-1])


class _Conversion:
    """A value as the other type takes it, or an error that names its row."""

    def __init__(self, operation: RepackColumnOp) -> None:
        self._operation = operation
        # Others wrap what they give their driver.
        dialect = sqlite.dialect()
        self._bind = operation.to.dialect_impl(dialect).bind_processor(dialect)
        self._result = operation.to.dialect_impl(dialect).result_processor(dialect, None)

    def __call__(self, value: Any, key: Sequence[Any]) -> Any:
        operation = self._operation
        try:
            if isinstance(operation.to, LargeBinary) and type(value) is bytes:
                return value
            if isinstance(operation.to, String) and type(value) is not str:
                raise TypeError(f"it is of type {type(value).__name__}")
            stored = value if self._bind is None else self._bind(value)
            if isinstance(operation.to, _ARRAYS):
                return value
            back = stored if self._result is None else self._result(stored)
            if type(back) is type(value) and pack(back, allow_pickle=True) == pack(value, allow_pickle=True):
                return value
            reason = f"it would come back as {back!r:.60}"
        except (KohakuVaultError, TypeError, ValueError, AttributeError) as error:
            reason = str(error)
        raise InvalidArgument(
            f"repack_column of {operation.table_name}.{operation.column_name}: {operation.to!r} cannot hold the value "
            f"{value!r:.60} of row {', '.join(map(repr, key))}: {reason}"
        )


def _keys(connection: Connection, operation: RepackColumnOp) -> list[tuple[str, TypeEngine[Any]]]:
    inspector = inspect(connection)
    types = {
        column["name"]: column["type"]
        for column in inspector.get_columns(operation.table_name, schema=operation.schema)
    }
    names = inspector.get_pk_constraint(operation.table_name, schema=operation.schema)["constrained_columns"]
    if not names:
        raise InvalidArgument(
            f"repack_column of {operation.table_name}.{operation.column_name}: the table has no primary key, by which "
            "rows are found again; give it one first"
        )
    return [(name, types[name]) for name in names]


def _quoted_table(dialect: Dialect, operation: RepackColumnOp) -> str:
    return dialect.identifier_preparer.format_table(Table(operation.table_name, MetaData(), schema=operation.schema))


def _column_ddl(column: Column[Any], dialect: Dialect) -> str:
    return str(CreateColumn(column).compile(dialect=dialect))


def _instance(type_: Any) -> TypeEngine[Any]:
    made: TypeEngine[Any] = type_() if isinstance(type_, type) else type_
    return made
