"""``vault_list``: a list of each row's own, as an attribute of mapped objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, FromClause, Index, Integer, Table, func, select
from sqlalchemy import Column as TableColumn
from sqlalchemy.orm import Mapped, Mapper, Session

from ...errors import InvalidArgument, UnsupportedType
from ..attached import attached_to
from ..tables import ColumnRecord, table_of
from .attribute import ClassAttribute, RowContainer
from .triggers import VaultList, short_name

if TYPE_CHECKING:
    from ...columns import Column
    from ...row_list import RowList

__all__ = ["ListAttribute", "vault_list"]


class ListAttribute(ClassAttribute):
    """What ``Doc.readings`` is.

    Attributes
    ----------
    table
        The class's table.
    column
        The column of the class's table that refers to the list, by the ``id`` of ``vault_column``; NULL where nothing
        was stored yet.
    """

    _hint = "its length is an expression, .length"

    def __init__(
        self,
        name: str,
        mapper: Mapper[Any],
        table: Table,
        column: ColumnElement[Any],
        dtype: str,
        options: dict[str, Any],
    ) -> None:
        super().__init__(name, mapper)
        self.table = table
        self.column = column
        self.dtype = dtype
        self.options = options

    @property
    def length(self) -> ColumnElement[int]:
        """How many elements the list of a row has, as an expression of SQL."""
        lists = table_of(ColumnRecord)
        source = getattr(self.column, "table", None)
        found = select(lists.c.length).where(lists.c.id == self.column)
        if isinstance(source, FromClause):
            found = found.correlate(source)
        return func.coalesce(found.scalar_subquery(), 0, type_=Integer())

    def adapt_to_entity(self, entity: Any) -> ListAttribute:
        """Return the same for an alias of the class."""
        column = entity.selectable.corresponding_column(self.column)
        return ListAttribute(self.name, self.mapper, self.table, column, self.dtype, self.options)


def vault_list(
    dtype: str, *, block_bytes: int | None = None, compression: str | None = None, checksum: bool = False
) -> Mapped[Column[Any]]:
    """Declare a list of each row's own, for the body of a mapped class or mixin.

    ``doc.readings`` is a :class:`~kohakuvault.Column` in the transaction of its Session: millions of elements, of which
    none is loaded with the row. The list is made when something is first added to it, and deleted with the row,
    however that is deleted. The class's table gets a column of the attribute's name that refers to it. Assigning values
    replaces all elements; to an object that has no row yet they are remembered, and stored with it.
    ``del doc.readings`` removes them.

    Parameters
    ----------
    dtype, block_bytes, compression, checksum
        Those of :meth:`ColumnVault.create_column <kohakuvault.ColumnVault.create_column>`.

    Examples
    --------
    >>> from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
    >>> from kohakuvault import Column, create_engine
    >>> class Base(DeclarativeBase):
    ...     pass
    >>> class Sensor(Base):
    ...     __tablename__ = "sensor"
    ...     id: Mapped[int] = mapped_column(primary_key=True)
    ...     readings: Mapped[Column[float]] = vault_list("f64")
    >>> engine = create_engine(":memory:")
    >>> Base.metadata.create_all(engine)
    >>> with Session(engine) as session:
    ...     sensor = Sensor(readings=[1.5, 2.5])
    ...     session.add(sensor)
    ...     sensor.readings.extend(range(1000))
    ...     session.commit()
    ...     sensor.readings[:3], len(sensor.readings)
    ([1.5, 2.5, 0.0], 1002)
    """
    options = {"block_bytes": block_bytes, "compression": compression, "checksum": checksum}
    from ...column.options import chosen_form

    # Raises for what no list has.
    chosen_form(dtype, **options)
    return cast("Mapped[Column[Any]]", _VaultList(dtype, options))


class _VaultList(RowContainer["RowList", ListAttribute]):
    def __init__(self, dtype: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._dtype = dtype
        self._options = options

    def _make(self, mapper: Mapper[Any], table: Table) -> ListAttribute:
        column = table.columns.get(self.name)
        if column is None:
            column = TableColumn(self.name, BigInteger(), nullable=True)
            table.append_column(column)
            # With a name, by which migrations can drop it.
            # Of rows with a list only: on PostgreSQL a change of what may be a key waits for foreign keys to the row.
            # Of two transactions that each add a row that refers to this one, neither could make the list.
            name = short_name("ix", table.name, self.name)
            Index(name, column, unique=True, postgresql_where=column.is_not(None))
        elif any(column in property.columns for property in mapper.column_attrs):
            raise InvalidArgument(
                f"{mapper.class_.__name__}.{self.name}: the column {self.name!r} of table {table.name!r} is mapped as "
                "an attribute; it refers to the list, and vault_list() adds it by itself"
            )
        if not any(each.column_name == self.name for each in attached_to(table, VaultList)):
            VaultList(self.name)._set_parent_with_dispatch(table)
        return ListAttribute(self.name, mapper, table, column, self._dtype, self._options)

    def _open(self, made: ListAttribute, session: Session, identity: tuple[Any, ...]) -> RowList:
        from ...row_list import row_list

        return row_list(session, made, identity)

    def _is_open(self, handle: RowList) -> bool:
        return handle._vault._binding is not None

    def _taken(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
            if hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__"):
                return value
            raise UnsupportedType(
                f"{self.name} takes many values in the place of all its elements, not a {type(value).__name__}; "
                f"del object.{self.name} removes them"
            )
        return list(value)

    def _replace(self, handle: RowList, value: Any) -> None:
        handle[:] = value

    def _clear(self, handle: RowList) -> None:
        handle.clear()
