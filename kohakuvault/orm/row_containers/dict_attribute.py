"""``vault_dict``: a dict of each row's own, as an attribute of mapped objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ForeignKey, Index, Table, UniqueConstraint
from sqlalchemy.orm import Mapped, Mapper, Session, mapped_column, registry

from ...errors import InvalidArgument, UnsupportedType
from ..tables import RowDictTable, table_of
from .attribute import ClassAttribute, RowContainer
from .triggers import RowDictTriggers, short_name

if TYPE_CHECKING:
    from ...kvault import KVault
    from ...row_dict import RowDict

__all__ = ["DictAttribute", "vault_dict"]


class DictAttribute(ClassAttribute):
    """What ``Doc.settings`` is.

    Attributes
    ----------
    entity
        The mapped class of the entries of all rows, with ``owner_id``, ``key``, ``value`` and ``expires_at``: for joins
        and queries.
    table
        Its table.
    """

    def __init__(self, name: str, mapper: Mapper[Any], entity: type[RowDictTable]) -> None:
        super().__init__(name, mapper)
        self.entity = entity
        self.table = table_of(entity)

    @property
    def _hint(self) -> str:  # type: ignore[override]
        return f"to query the entries of many rows, join {self._title}.entity by its owner_id"

    def adapt_to_entity(self, entity: Any) -> DictAttribute:
        """Return the same for an alias of the class."""
        return self


def vault_dict(*, pickle: bool = False, table: str | None = None) -> Mapped[KVault]:
    """Declare a dict of each row's own, for the body of a mapped class or mixin.

    ``doc.settings`` is a :class:`~kohakuvault.KVault` that has only the entries of ``doc``, works in the transaction of
    its Session, and is never loaded as a whole. The entries are in a table of their own, with a foreign key to the row,
    and go with it. Assigning a mapping replaces all entries; to an object that has no row yet it is remembered, and
    stored with it. ``del doc.settings`` removes them.

    Parameters
    ----------
    pickle
        Store objects of any class as pickles, and read them; see :class:`~kohakuvault.orm.Packed`.
    table
        The name of the table of entries; ``<table>_<attribute>`` by default.

    Raises
    ------
    InvalidArgument
        when the class is mapped: if its table has not just one primary key column.

    Examples
    --------
    >>> from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
    >>> from kohakuvault import KVault, create_engine
    >>> class Base(DeclarativeBase):
    ...     pass
    >>> class Doc(Base):
    ...     __tablename__ = "doc"
    ...     id: Mapped[int] = mapped_column(primary_key=True)
    ...     settings: Mapped[KVault] = vault_dict()
    >>> engine = create_engine(":memory:")
    >>> Base.metadata.create_all(engine)
    >>> with Session(engine) as session:
    ...     session.add(Doc(id=1, settings={"theme": "dark"}))
    ...     session.commit()
    ...     doc = session.get_one(Doc, 1)
    ...     doc.settings["size"] = 12
    ...     dict(doc.settings)
    {'theme': 'dark', 'size': 12}
    """
    return cast("Mapped[KVault]", _VaultDict(pickle, table))


class _VaultDict(RowContainer["RowDict", DictAttribute]):
    def __init__(self, pickle: bool, table: str | None) -> None:
        super().__init__()
        self._pickle = pickle
        self._table = table

    def _make(self, mapper: Mapper[Any], table: Table) -> DictAttribute:
        keys = list(table.primary_key.columns)
        if len(keys) != 1:
            raise InvalidArgument(
                f"{mapper.class_.__name__}.{self.name}: vault_dict() needs a table with one primary key column, and "
                f"{table.name!r} has {', '.join(key.name for key in keys) or 'none'}"
            )
        name = self._table or short_name(table.name, self.name)
        key = keys[0]
        owner = ForeignKey(key, ondelete="CASCADE", onupdate="CASCADE")
        attributes: dict[str, Any] = {
            "__tablename__": name,
            "__pickle__": self._pickle,
            "owner_id": mapped_column(key.type, owner, nullable=False, sort_order=-1),
            "__table_args__": (RowDictTriggers(), {"schema": table.schema}),
        }
        title = f"{mapper.class_.__name__}{self.name.title().replace('_', '')}Entry"
        # A registry of its own: the application may have a class of that name.
        entity: type[RowDictTable] = registry(metadata=table.metadata).mapped(type(title, (RowDictTable,), attributes))
        columns = table_of(entity).c
        table_of(entity).append_constraint(UniqueConstraint(columns.owner_id, columns.key))
        # In the order of insertion, of one owner; and what has expired.
        Index(short_name("ix", name, "order"), columns.owner_id, columns.id)
        expires = columns.expires_at.is_not(None)
        Index(
            short_name("ix", name, "expires"),
            columns.owner_id,
            columns.expires_at,
            sqlite_where=expires,
            postgresql_where=expires,
        )
        return DictAttribute(self.name, mapper, entity)

    def _open(self, made: DictAttribute, session: Session, identity: tuple[Any, ...]) -> RowDict:
        from ...row_dict import RowDict

        return RowDict(session, made.entity, identity[0])

    def _is_open(self, handle: RowDict) -> bool:
        return handle._binding is not None

    def _taken(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return list(value.items())
        raise UnsupportedType(
            f"{self.name} takes a mapping in the place of all its entries, not {type(value).__name__}; "
            f"del object.{self.name} removes them"
        )

    def _replace(self, handle: RowDict, value: Any) -> None:
        handle._replace(value)

    def _clear(self, handle: RowDict) -> None:
        handle.clear()
