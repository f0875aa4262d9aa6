"""The SQL of a table of texts, beside what every table of rows has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, String, Text, and_, bindparam, func, select
from sqlalchemy.engine import Dialect

from ..indexing.text.together import Together
from ..orm.match import match
from ..orm.tables import TextTable, table_of, text_index_of
from ..orm.types import Packed
from ..rows.statements import TableStatements
from ..statements import Statement

__all__ = ["TextStatements", "sizes", "text_statements"]

# Rows of one INSERT: FTS5 writes its changes at the end of each.
_SIZES = (256, 32, 1)
# SQLite takes 32,766, PostgreSQL 65,535.
_MOST_PARAMETERS = 32_000


def sizes(width: int) -> list[int]:
    """Return of how many rows of ``width`` columns an INSERT may be, the most first."""
    return [size for size in _SIZES if size * width <= _MOST_PARAMETERS]


class TextStatements(TableStatements):
    """The statements on one table of texts.

    Attributes
    ----------
    takes_rows
        Whether the statement on ``kv_rows`` suits the table, where a connection has that function.
    """

    def __init__(self, entity: type[TextTable], dialect: Dialect) -> None:
        super().__init__(table_of(entity), dialect, entity.__text_columns__, "text")
        self._entity = entity
        # Types of the user's own may bind as they like; rows that are read inside of the connection have no defaults.
        self.takes_rows = (
            len(self.content) == 1
            and isinstance(self._table.c[self.content[0]].type, String)
            and type(self._table.c.value.type) is Packed
            and all(column.default is None for column in self._table.c)
        )

    @cached_property
    def insert_packed(self) -> Statement:
        """Insert the texts and values in a buffer, made by ``pack_rows``, with ids from ``first`` on."""
        first = bindparam("first", type_=BigInteger())
        rows = select(self._rows.c.position + first, self._rows.c.key, self._rows.c.value)
        added = self._table.insert().from_select(["id", *self.content, "value"], rows, include_defaults=False)
        return self._statement(added, "first", "rows")

    @cached_property
    def together(self) -> Together | None:
        """How rows that are inserted together are indexed; None where each is by itself."""
        return Together(text_index_of(self._entity), self._dialect) if self._dialect.name == "sqlite" else None

    def insert_rows(self, count: int, metadata: tuple[str, ...]) -> Statement:
        """Insert ``count`` rows of id, texts, value and those columns of metadata, one behind the other."""

        def build() -> Statement:
            columns = ["id", *self.content, "value", *metadata]
            names: list[str] = []
            rows = []
            for _ in range(count):
                row = {}
                for column in columns:
                    names.append(f"{self._prefix}{len(names)}")
                    row[column] = bindparam(names[-1], type_=self._table.c[column].type)
                rows.append(row)
            return self._statement(self._table.insert().values(rows), *names)

        return self._made(("insert_rows", count, metadata), build)

    # -- rows by their texts -------------------------------------------------------------------

    def _equal(self, columns: Sequence[str], by_words: bool) -> tuple[ColumnElement[bool], list[str]]:
        """Return the condition that texts are those given, looked up by words of theirs that are given first."""
        new, names = self._new(columns)
        equal = [self._table.c[column] == parameter for column, parameter in new.items()]
        if not by_words:
            return and_(*equal), names
        words = f"{self._prefix}words"
        target: Any = text_index_of(self._entity) if len(columns) > 1 else getattr(self._entity, columns[0])
        return and_(match(target, bindparam(words, type_=Text())), *equal), [words, *names]

    def of_texts(self, columns: tuple[str, ...], by_words: bool) -> Statement:
        """Select id and value of the rows of texts, in the order of ids."""

        def build() -> Statement:
            equal, names = self._equal(columns, by_words)
            found = select(self._table.c.id, self._table.c.value).where(equal).order_by(self._table.c.id)
            return self._statement(found, *names)

        return self._made(("of_texts", columns, by_words), build)

    @cached_property
    def set_value(self) -> Statement:
        """Change the value of an id, which comes last."""
        return self.update(("value",))

    @cached_property
    def lock_text(self) -> Statement | None:
        """Wait until no other transaction writes rows of a text; None where all writers wait for each other."""
        if self._dialect.name == "sqlite":
            return None
        number = func.hashtextextended(bindparam("text", type_=Text()), func.hashtext(self._table.fullname))
        return self._statement(select(func.pg_advisory_xact_lock(number)), "text")

    # -- in the order of ids -------------------------------------------------------------------

    @cached_property
    def some_ids(self) -> Statement:
        """Select ``limit`` ids, behind the first ``offset``."""
        some = select(self._table.c.id).order_by(self._table.c.id)
        return self._statement(
            some.limit(bindparam("limit", type_=BigInteger())).offset(bindparam("offset", type_=BigInteger())),
            "limit",
            "offset",
        )


@lru_cache(maxsize=256)
def text_statements(entity: type[TextTable], dialect: Dialect) -> TextStatements:
    """Return the statements on the table of ``entity`` for ``dialect``."""
    return TextStatements(entity, dialect)
