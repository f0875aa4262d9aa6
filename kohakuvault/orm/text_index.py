"""``TextIndex``: a full-text index of a table, made and dropped with it, on every database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Enum, String, Table
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..errors import InvalidArgument, UnknownOption, UnsupportedType
from .attached import Attachment, attached_to, check_attachment_name, integer_key

__all__ = ["SHADOW_TABLES", "TextIndex", "satellites_of", "text_indexes_of"]

OPTIONS = ("postgresql_config", "prefix")

# Of FTS5, beside the table of the index itself; and our own.
SHADOW_TABLES = ("data", "idx", "docsize", "config", "replaced")

# FTS5 has columns of these names itself.
_RESERVED = ("rank", "rowid")


def text_indexes_of(table: Any) -> list[TextIndex]:
    """Return the text indexes of a table; none of what is no :class:`~sqlalchemy.Table`."""
    return attached_to(table, TextIndex)


def satellites_of(index: TextIndex) -> list[str]:
    """Return the names of the tables that an index is on SQLite."""
    return [index.name, *(f"{index.name}_{shadow}" for shadow in SHADOW_TABLES)]


class TextIndex(Attachment):
    """A full-text index, for ``__table_args__`` or the arguments of :class:`~sqlalchemy.Table`.

    ``create_all`` makes it with its table and ``drop_all`` drops it; :meth:`create` and :meth:`drop` do so for a table
    that exists, which columns that are given in the place of their names tell. :func:`~kohakuvault.orm.match` and
    :func:`~kohakuvault.orm.text_search` search it.

    Parameters
    ----------
    name
        Of the index. On SQLite it is an FTS5 table of that name; ``<name>_data``, ``<name>_idx``, ``<name>_docsize``,
        ``<name>_config`` and ``<name>_replaced`` are its own too, and the triggers ``<name>_insert``,
        ``<name>_update``, ``<name>_delete``, ``<name>_before_insert`` and ``<name>_before_update``.
    *columns
        The names of columns of text, or the columns. The table has one integer primary key.
    tokenize
        How texts are split into words, as FTS5 says it: ``"unicode61"``, ``"porter"``, which finds English words in
        other forms too, ``"trigram"``, which finds parts of words and is SQLite's only, or any with its options.
    weights
        A number for each column: how much a word found there counts. By default all count the same.
    **options
        ``postgresql_config``, the name of a text search configuration to use on PostgreSQL instead of what is most
        like ``tokenize``; ``prefix``, the lengths in characters of prefixes that SQLite finds faster, ``(2, 3)``.

    Examples
    --------
    ::

        class Doc(Base):
            __tablename__ = "doc"
            id: Mapped[int] = mapped_column(primary_key=True)
            title: Mapped[str]
            body: Mapped[str]
            __table_args__ = (TextIndex("doc_text", "title", "body", weights=(5, 1)),)
    """

    __visit_name__ = "text_index"

    def __init__(
        self,
        name: str,
        *columns: str | Column[Any],
        tokenize: str = "unicode61",
        weights: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        self.name = check_attachment_name(name, "an index")
        given: Any = tokenize
        if not isinstance(given, str) or not tokenize.strip() or "\0" in tokenize:
            raise InvalidArgument(f"text index {name!r}: tokenize is a str such as 'unicode61', not {tokenize!r:.60}")
        self.tokenize = tokenize
        self._columns: tuple[str | Column[Any], ...] = columns
        names = [each.lower() for each in self._column_names]
        if not names or len(set(names)) < len(names):
            raise InvalidArgument(f"text index {name!r} is of one or more columns, each given once")
        taken = {*_RESERVED, name.lower()}.intersection(names) or {name.lower()}.intersection(_RESERVED)
        if taken:
            raise InvalidArgument(
                f"text index {name!r}: FTS5 has a column {taken.pop()!r} of its own, and one of the name of the index; "
                "choose another name for the index or the column"
            )
        self.weights = None if weights is None else _checked_weights(name, weights, len(columns))
        self.options = _checked(name, options)
        table = getattr(columns[0], "table", None)
        if isinstance(columns[0], Column) and isinstance(table, Table):
            # As an Index does, of a column that has its table already.
            self._set_parent_with_dispatch(table)

    def __repr__(self) -> str:
        columns = "".join(f", {column!r}" for column in self._column_names)
        weights = "" if self.weights is None else f", weights={self.weights!r}"
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"TextIndex({self.name!r}{columns}, tokenize={self.tokenize!r}{weights}{options})"

    def _anchor(self) -> Column[Any] | None:
        return self.table.columns.get(self._column_names[0])

    def copy(self) -> TextIndex:
        """Return the same index for another table."""
        return TextIndex(self.name, *self._column_names, tokenize=self.tokenize, weights=self.weights, **self.options)

    @property
    def _column_names(self) -> list[str]:
        return [str(column if isinstance(column, str) else column.key) for column in self._columns]

    @property
    def columns(self) -> list[Column[Any]]:
        """The columns of text."""
        if getattr(self, "table", None) is None:
            raise InvalidArgument(
                f"text index {self.name!r} belongs to no table: give it to the Table, or give it the columns "
                "themselves, TextIndex(name, table.c.body)"
            )
        found = []
        for name in self._column_names:
            column = self.table.columns.get(name)
            if column is None or not _is_text(column.type):
                raise InvalidArgument(
                    f"text index {self.name!r}: table {self.table.name!r} has no column {name!r} of text (String, Text)"
                )
            found.append(column)
        return found

    @property
    def key(self) -> Column[Any]:
        """The column that identifies a row."""
        return integer_key(self.table, f"text index {self.name!r}")

    def create(self, connection: Connection, checkfirst: bool = False) -> None:
        """Make the index of a table that exists, and put what is in the table into it.

        With ``checkfirst`` nothing is done if there is an index of that name.
        """
        from ..indexing.text.care import create, exists

        if not (checkfirst and exists(connection, self)):
            create(connection, self)

    def drop(self, connection: Connection) -> None:
        """Drop the index; the table stays as it is."""
        from ..indexing.text.care import drop

        drop(connection, self)

    def create_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that makes the index."""
        from ..indexing.text.ddl import create_statements

        return create_statements(self, dialect)

    def drop_statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that drops the index."""
        from ..indexing.text.ddl import drop_statements

        return drop_statements(self, dialect)

    def exists(self, connection: Connection) -> bool:
        """Whether there is an index of that name."""
        from ..indexing.text.care import exists

        return exists(connection, self)

    def rebuild(self, bind: Any) -> None:
        """Make the index anew, from what is in the table; ``bind`` is whatever a container takes."""
        from ..binding import bind_to
        from ..indexing.text.care import rebuild

        rebuild(bind_to(bind), self)

    def check(self, bind: Any) -> list[str]:
        """Return what is wrong with the index, an empty list if nothing is; :meth:`rebuild` repairs it.

        On SQLite every row is read and compared with the index, which takes the write lock.
        """
        from ..binding import bind_to
        from ..indexing.text.care import check

        return check(bind_to(bind), self)


def _is_text(type_: TypeEngine[Any]) -> bool:
    kind = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    return isinstance(kind, String) and not isinstance(kind, Enum)


def _checked_weights(name: str, weights: Any, count: int) -> tuple[float, ...]:
    try:
        given = tuple(float(weight) for weight in weights)
    except (TypeError, ValueError) as error:
        raise UnsupportedType(f"text index {name!r}: weights are numbers, one for each column") from error
    if len(given) != count or not all(math.isfinite(weight) and weight >= 0 for weight in given) or not any(given):
        raise InvalidArgument(
            f"text index {name!r}: weights are {count} numbers, one for each column, not negative nor all zero; "
            f"not {given}"
        )
    return given


def _checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    for option, value in options.items():
        if option not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise UnknownOption(f"text index {name!r} has no option {option!r}; there are {known}")
        if option == "postgresql_config":
            check_attachment_name(value, "a text search configuration")
        elif not (isinstance(value, tuple) and value and all(type(n) is int and 0 < n < 1000 for n in value)):
            raise InvalidArgument(
                f"text index {name!r}: prefix is a tuple of lengths, such as (2, 3), not {value!r:.60}"
            )
    return options
