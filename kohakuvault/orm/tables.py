"""The vault's tables as mapped classes: mixins for the user's own, and ready ones by table name.

``docs/format.md`` specifies the columns and the bytes in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, registry
from sqlalchemy.types import TypeEngine

from ..errors import InvalidArgument
from .column_ddl import complete_tables
from .text_index import TextIndex, text_indexes_of
from .types import Key, Packed, Vector
from .vector_index import VectorIndex

__all__ = [
    "Block",
    "ColumnRecord",
    "KVTable",
    "MetadataColumn",
    "Payload",
    "RowDictTable",
    "TableRecord",
    "TextTable",
    "VaultBase",
    "VectorTable",
    "kind_of",
    "kv_class",
    "table_of",
    "text_class",
    "vector_class",
]

# In the ``info`` of the column ``value``: what the table holds, by its mixin.
KIND = "kohakuvault.kind"

# SQLite gives rowids, and with them its fast path, only to INTEGER PRIMARY KEY.
# Names and values.
Options = tuple[tuple[str, Any], ...]

_Id = BigInteger().with_variant(Integer(), "sqlite")
_Text = String().with_variant(String(collation="C"), "postgresql")


def _index_expiry(column: Column[Any], table: Any) -> None:
    """Index the entries that expire, and only those: the others pay nothing for it."""
    if isinstance(table, Table):
        expires = column.is_not(None)
        # No name: the naming convention of the application's metadata gives one.
        Index(None, column, sqlite_where=expires, postgresql_where=expires)


class KVTable:
    """Mixin: a dict. ``class Settings(KVTable, Base): __tablename__ = "settings"``.

    ``__pickle__ = True`` stores objects of any class as pickles, and reads them; see :class:`Packed`.
    """

    __kind__ = "kv"
    __pickle__ = False

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    key: Mapped[Any] = mapped_column(Key(), unique=True, nullable=False)

    @declared_attr
    def value(cls) -> Mapped[Any]:
        """Declare the value, pickled where that is allowed."""
        return mapped_column(Packed(pickle=cls.__pickle__), nullable=False, info={KIND: cls.__kind__})

    @declared_attr
    def expires_at(cls) -> Mapped[float | None]:
        """Declare when the entry expires: seconds since 1970, or NULL for never."""
        # After the value, which is declared later.
        expires_at = mapped_column(Float(), sort_order=1)
        event.listen(expires_at.column, "after_parent_attach", _index_expiry)
        return expires_at

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r}>"


class RowDictTable(KVTable):
    """Mixin: the dicts of many rows. ``owner_id``, which is added to it, says whose an entry is."""

    __kind__ = "dict"

    # Before `owner_id`, which is before the others.
    id: Mapped[int] = mapped_column(_Id, primary_key=True, sort_order=-2)
    key: Mapped[Any] = mapped_column(Key(), nullable=False)

    @declared_attr
    def expires_at(cls) -> Mapped[float | None]:
        """Declare when the entry expires: seconds since 1970, or NULL for never."""
        return mapped_column(Float(), sort_order=1)


class VectorTable:
    """Mixin: vectors with a value each. ``__dimensions__`` is their length. Any other columns are metadata.

    ``__vector_type__`` is the type of their elements: ``"f32"``, ``"f16"``, ``"i8"`` or ``"bit"``.
    ``__pickle__ = True`` stores objects of any class as pickles, and reads them; see :class:`Packed`.
    """

    __kind__ = "vectors"
    __dimensions__: int
    __vector_type__ = "f32"
    __pickle__ = False

    id: Mapped[int] = mapped_column(_Id, primary_key=True)

    @declared_attr
    def vector(cls) -> Mapped[np.ndarray[Any, Any]]:
        """Declare the vector, of ``__dimensions__`` elements."""
        return mapped_column(Vector(cls.__dimensions__, cls.__vector_type__), nullable=False)

    @declared_attr
    def value(cls) -> Mapped[Any]:
        """Declare the value, pickled where that is allowed."""
        return mapped_column(Packed(pickle=cls.__pickle__), nullable=False, info={KIND: cls.__kind__})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class TextTable:
    """Mixin: texts with a value each. ``class Notes(TextTable, Base): __text_columns__ = ("title", "body")``.

    ``__text_columns__`` are the columns of text, which a :class:`~kohakuvault.orm.TextIndex` named
    ``<table>_index`` is of, with ``__tokenize__``, ``__weights__`` and its other options in ``__index_options__``. Any
    other columns are metadata.
    ``__pickle__ = True`` stores objects of any class as pickles, and reads them; see :class:`Packed`.
    """

    __kind__ = "text"
    __text_columns__: tuple[str, ...] = ("content",)
    __tokenize__ = "unicode61"
    __weights__: tuple[float, ...] | None = None
    __index_options__: Mapping[str, Any] = MappingProxyType({})
    __pickle__ = False

    id: Mapped[int] = mapped_column(_Id, primary_key=True, sort_order=-2)

    def __init_subclass__(cls, **kw: Any) -> None:
        for name in cls.__text_columns__:
            # The class may say more of it.
            if not hasattr(cls, name):
                setattr(cls, name, mapped_column(Text(), nullable=False, sort_order=-1))
        super().__init_subclass__(**kw)

    @declared_attr
    def value(cls) -> Mapped[Any]:
        """Declare the value, pickled where that is allowed; and the index, which every table with a value has."""
        value = mapped_column(Packed(pickle=cls.__pickle__), nullable=False, sort_order=1, info={KIND: cls.__kind__})

        def index_texts(column: Column[Any], table: Any) -> None:
            if isinstance(table, Table):
                index = TextIndex(
                    f"{table.name}_index",
                    *cls.__text_columns__,
                    tokenize=cls.__tokenize__,
                    weights=cls.__weights__,
                    **cls.__index_options__,
                )
                index._set_parent_with_dispatch(table)

        event.listen(value.column, "after_parent_attach", index_texts)
        return value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


@dataclass(frozen=True)
class MetadataColumn:
    """A nullable column that a table has beside those of :class:`VectorTable` or :class:`TextTable`."""

    name: str
    type: TypeEngine[Any] = field(compare=False)
    index: bool = False
    # Equal types have equal keys; one that SQLAlchemy has no key for is equal to itself only.
    _type_key: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        key = self.type._static_cache_key
        object.__setattr__(self, "_type_key", key if isinstance(key, tuple) else self.type)

    def __reduce__(self) -> tuple[Any, ...]:
        return MetadataColumn, (self.name, self.type, self.index)


class VaultBase(DeclarativeBase):
    """Declarative base of the tables that every vault has under the same names."""


class TableRecord(VaultBase):
    """What a table holds: its kind, the version of its format and the options it was made with."""

    __tablename__ = "vault_table"

    name: Mapped[str] = mapped_column(String(), primary_key=True)
    kind: Mapped[str] = mapped_column(String())
    version: Mapped[int] = mapped_column(Integer())
    options: Mapped[Any] = mapped_column(Packed())


class ColumnRecord(VaultBase):
    """One column of a ColumnVault: its name, dtype and length, how it is stored, and its last elements.

    A list that a row owns has no name.
    """

    __tablename__ = "vault_column"
    # AUTOINCREMENT: the id of a deleted column is never given to another, so an old handle cannot reach it.
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    name: Mapped[str | None] = mapped_column(_Text, unique=True)
    dtype: Mapped[str] = mapped_column(String())
    length: Mapped[int] = mapped_column(BigInteger(), default=0)
    # Of them, those that are in blocks; the others are in the tail.
    sealed: Mapped[int] = mapped_column(BigInteger(), default=0)
    block_bytes: Mapped[int] = mapped_column(Integer())
    last_block: Mapped[int] = mapped_column(BigInteger(), default=0)
    # The level of zstd; NULL for none.
    compression: Mapped[int | None] = mapped_column(Integer())
    checksum: Mapped[bool] = mapped_column(Boolean(), default=False)
    # In the column's own row, so that adding to it is one statement and changes one page.
    tail: Mapped[bytes] = mapped_column(LargeBinary(), default=b"", deferred=True)

    def __repr__(self) -> str:
        return f"<ColumnRecord {self.name!r} {self.dtype} length={self.length}>"


class Block(VaultBase):
    """Where a block's elements stand in its column: apart from the bytes, so that shifting them is cheap.

    ``id`` is ``column id * 2**32 + serial number``.
    """

    __tablename__ = "vault_block"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=False)
    column_id: Mapped[int] = mapped_column(BigInteger(), ForeignKey("vault_column.id", ondelete="CASCADE"))
    start: Mapped[int] = mapped_column(BigInteger())
    count: Mapped[int] = mapped_column(Integer())
    # NULL when the block was changed since, which a trigger sees to.
    summary: Mapped[bytes | None] = mapped_column(LargeBinary())


# Finds a block without its row. Not unique: blocks are shifted one after the other.
Index("vault_block_place", Block.column_id, Block.start, Block.count)


class Payload(VaultBase):
    """The packed elements of the block with the same ``id``."""

    __tablename__ = "vault_payload"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary())


complete_tables(VaultBase.metadata.tables["vault_column"], VaultBase.metadata.tables["vault_payload"])


def kv_class(name: str, pickle: bool = False) -> type[KVTable]:
    """Return the mapped class of the dict stored in table ``name``; the same class for the same arguments."""
    return _kv_class(name, pickle)


@cache
def _kv_class(name: str, pickle: bool) -> type[KVTable]:
    return _mapped(name, KVTable, {"__pickle__": pickle})


def vector_class(
    name: str,
    dimensions: int,
    vector_type: str = "f32",
    *,
    pickle: bool = False,
    metadata: tuple[MetadataColumn, ...] = (),
    index: tuple[str, str, Options] | None = None,
) -> type[VectorTable]:
    """Return the mapped class of the vectors stored in table ``name``; the same class for the same arguments.

    ``index`` is kind, metric and options of its vector index, which is named ``<name>_index``.
    """
    return _vector_class(name, dimensions, vector_type, pickle, metadata, index)


@cache
def _vector_class(
    name: str,
    dimensions: int,
    vector_type: str,
    pickle: bool,
    metadata: tuple[MetadataColumn, ...],
    index: tuple[str, str, Options] | None,
) -> type[VectorTable]:
    said: dict[str, Any] = {"__dimensions__": dimensions, "__vector_type__": vector_type, "__pickle__": pickle}
    if index is not None:
        kind, metric, options = index
        said["__table_args__"] = (VectorIndex(f"{name}_index", "vector", metric=metric, kind=kind, **dict(options)),)
    return _mapped(name, VectorTable, {**said, **_metadata_columns(metadata)})


def _metadata_columns(metadata: tuple[MetadataColumn, ...]) -> dict[str, Any]:
    return {
        column.name: mapped_column(column.name, column.type, nullable=True, index=column.index, sort_order=1)
        for column in metadata
    }


def kind_of(table: Table) -> str | None:
    """Return what a table holds, if it is mapped by a mixin of ours or a copy of such."""
    value = table.columns.get("value")
    kind = None if value is None else value.info.get(KIND)
    return kind if isinstance(kind, str) else None


def text_class(
    name: str,
    columns: tuple[str, ...] = ("content",),
    *,
    tokenize: str = "unicode61",
    weights: tuple[float, ...] | None = None,
    pickle: bool = False,
    metadata: tuple[MetadataColumn, ...] = (),
    options: Options = (),
) -> type[TextTable]:
    """Return the mapped class of the texts stored in table ``name``; the same class for the same arguments.

    ``options`` are those of its :class:`~kohakuvault.orm.TextIndex`.
    """
    return _text_class(
        name, tuple(columns), tokenize, None if weights is None else tuple(weights), pickle, metadata, options
    )


@cache
def _text_class(
    name: str,
    columns: tuple[str, ...],
    tokenize: str,
    weights: tuple[float, ...] | None,
    pickle: bool,
    metadata: tuple[MetadataColumn, ...],
    options: Options,
) -> type[TextTable]:
    taken = [column for column in columns if column in ("id", "value") or hasattr(TextTable, column)]
    if taken or not columns:
        raise InvalidArgument(
            f"columns of text cannot be {columns!r}: there is one at least, and id and value are taken"
        )
    said = {
        "__text_columns__": columns,
        "__tokenize__": tokenize,
        "__weights__": weights,
        "__index_options__": dict(options),
        "__pickle__": pickle,
    }
    return _mapped(name, TextTable, {**said, **_metadata_columns(metadata)})


def table_of(entity: type[Any]) -> Table:
    """Return the :class:`~sqlalchemy.Table` of a mapped class."""
    table = entity.__table__
    assert isinstance(table, Table)
    return table


def text_index_of(entity: type[TextTable]) -> TextIndex:
    """Return the index of all columns of text that a mapped class of texts has from :class:`TextTable`."""
    table = table_of(entity)
    return next(index for index in text_indexes_of(table) if index.name == f"{table.name}_index")


def _mapped(name: str, mixin: type[Any], attributes: dict[str, Any]) -> type[Any]:
    # A registry each: two files may use one table name for different things.
    mapping = registry()
    title = "".join(part.capitalize() for part in name.split("_")) + mixin.__name__.removesuffix("Table")
    entity = type(title, (mixin,), {"__tablename__": name, **attributes})
    return mapping.mapped(entity)
