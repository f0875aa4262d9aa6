"""What the parts of a TextVault share: how it is opened, and its statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Connection
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ..binding import Bind, Binding
from ..errors import InvalidArgument, UnsupportedType
from ..orm.tables import TextTable, table_of, text_class, text_index_of
from ..rows.entries import Rows
from ..rows.metadata import Declaration, declared_columns
from ..rows.options import refuse_unknown
from ..schema import check_name, entity_of, open_tables
from .recorded import text_record
from .statements import TextStatements, text_statements

__all__ = ["TextBase"]

_OPTIONS = "columns, tokenize, weights, prefix, postgresql_config, metadata, read_only, create and pickle"


class TextBase(Rows):
    """A table of texts that is open. See :class:`~kohakuvault.TextVault` for the parameters."""

    _sql: TextStatements

    def __init__(
        self,
        bind: Bind,
        table: str | type[TextTable] = "text_vault",
        columns: Sequence[str] | None = None,
        *,
        tokenize: str | None = None,
        weights: Sequence[float] | None = None,
        prefix: Sequence[int] | None = None,
        postgresql_config: str | None = None,
        metadata: Declaration = None,
        read_only: bool = False,
        create: bool = True,
        pickle: bool = False,
        **unknown: Any,
    ) -> None:
        refuse_unknown("TextVault", unknown, _OPTIONS)
        self._given = (table, columns)
        self._options = {
            "tokenize": tokenize,
            "weights": weights,
            "prefix": prefix,
            "postgresql_config": postgresql_config,
            "metadata": metadata,
            "create": create,
            "pickle": pickle,
        }
        chosen = _check_columns(columns)
        of_index = {"prefix": None if prefix is None else tuple(prefix), "postgresql_config": postgresql_config}
        index_options = tuple((name, value) for name, value in of_index.items() if value is not None)
        extra = declared_columns(metadata, TextTable, ("id", *chosen, "value"))
        self.entity: type[TextTable] = entity_of(
            table,
            TextTable,
            lambda name: text_class(
                name,
                chosen,
                tokenize="unicode61" if tokenize is None else tokenize,
                weights=None if weights is None else tuple(weights),
                pickle=pickle,
                metadata=extra,
                options=index_options,
            ),
        )
        is_own = not isinstance(table, str)
        if is_own:
            given = {
                "columns": columns,
                "tokenize": tokenize,
                "weights": weights,
                "metadata": metadata,
                **dict(index_options),
            }
            for option, value in given.items():
                if value is not None:
                    raise InvalidArgument(
                        f"{option}={value!r} is given, and the class {self.entity.__name__} has its own: leave it out"
                    )
        self._metadata = extra
        self._index = text_index_of(self.entity)
        self._columns = tuple(self.entity.__text_columns__)
        self._read_only = read_only
        self._create = create and not read_only
        super().__init__(bind, read_only=read_only)
        binding = self.binding
        hashed: Any = self.entity
        self._sql = text_statements(hashed, binding.dialect)
        self._allows_pickle = self._sql.pickle
        if pickle and not self._allows_pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        # What the table is made with, and keeps.
        self._record = text_record(self._index)
        if not is_own and extra:
            self._record["metadata"] = {column.name: str(column.type.compile(binding.dialect)) for column in extra}
        self._open(binding)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {**self._options, "metadata": list(self._metadata) or None, "read_only": self._read_only}
        return _reopen, (type(self), self._address(), self._given, options)

    def __repr__(self) -> str:
        name = table_of(self.entity).name
        return f"<{type(self).__name__} {name!r} columns={list(self._columns)!r} {self._where()}>"

    @property
    def columns(self) -> list[str]:
        """The names of the columns of text."""
        return list(self._columns)

    @property
    def tokenize(self) -> str:
        """How texts are split into words."""
        return self._index.tokenize

    @property
    def weights(self) -> tuple[float, ...] | None:
        """How much a word counts in each column; None if all count the same."""
        return self._index.weights

    @property
    def c(self) -> ReadOnlyColumnCollection[str, Any]:
        """The table's columns, for conditions: ``vault.c.lang == "en"``."""
        return table_of(self.entity).c

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        open_tables(binding, self._tables(), "text", self._record, create=self._create, make_rest=self._make_index)

    def _make_index(self, connection: Connection) -> None:
        """Make the index of a table that was there before."""
        self._index.create(connection, checkfirst=True)


def _check_columns(columns: Any) -> tuple[str, ...]:
    if columns is None:
        return ("content",)
    if isinstance(columns, (str, bytes)) or not isinstance(columns, Sequence):
        raise UnsupportedType(f"columns is a list of names, such as ['title', 'body'], not {columns!r:.60}")
    names = tuple(check_name(name, "text column") for name in columns)
    if not names or len({name.lower() for name in names}) < len(names):
        raise InvalidArgument(f"columns are one or more names, each given once, not {list(columns)!r:.60}")
    return names


def _reopen(vault: type[TextBase], address: str, given: tuple[Any, ...], options: dict[str, Any]) -> TextBase:
    return vault(address, *given, **options)
