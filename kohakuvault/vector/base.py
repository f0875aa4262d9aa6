"""What the parts of a VectorKVault share: how it is opened, its statements, and what follows a write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Connection
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ..binding import Bind, Binding
from ..errors import InvalidArgument
from ..indexing.fold_counter import FoldCounter
from ..indexing.made import as_made
from ..lending import DriverCursor, translated_errors
from ..orm.tables import VectorTable, table_of, vector_class
from ..orm.types import Vector
from ..orm.vector_index import VectorIndex, indexes_of
from ..rows.entries import Rows
from ..rows.metadata import Declaration, declared_columns
from ..rows.options import refuse_unknown
from ..schema import entity_of, open_tables
from .options import as_options, check_dimensions, check_index, check_vector_type, chosen_metric
from .statements import VectorStatements, vector_statements

__all__ = ["VectorBase"]

_OPTIONS = "dimensions, metric, vector_type, index, index_options, metadata, read_only, create and pickle"


class VectorBase(Rows):
    """A table of vectors that is open. See :class:`~kohakuvault.VectorKVault` for the parameters."""

    _sql: VectorStatements

    def __init__(
        self,
        bind: Bind,
        table: str | type[VectorTable] = "vec_kvault",
        dimensions: int = 768,
        metric: str | None = None,
        vector_type: str = "f32",
        *,
        index: str | None = "auto",
        index_options: Mapping[str, Any] | None = None,
        metadata: Declaration = None,
        read_only: bool = False,
        create: bool = True,
        pickle: bool = False,
        **unknown: Any,
    ) -> None:
        refuse_unknown("VectorKVault", unknown, _OPTIONS)
        self._given = (table, dimensions, metric, vector_type)
        check_dimensions(dimensions)
        check_vector_type(vector_type)
        index = check_index(index)
        options = as_options(index_options)
        columns = declared_columns(metadata, VectorTable, ("id", "vector", "value"))
        self.entity: type[VectorTable] = entity_of(
            table,
            VectorTable,
            lambda name: vector_class(
                name,
                dimensions,
                vector_type,
                pickle=pickle,
                metadata=columns,
                index=None if index is None else (index, chosen_metric(metric, vector_type), options),
            ),
        )
        is_own = not isinstance(table, str)
        if is_own and options:
            raise InvalidArgument(f"index_options are given, and the index of {self.entity.__name__} has its own")
        if is_own and columns:
            raise InvalidArgument(f"metadata is given, and the columns of {self.entity.__name__} are: leave it out")
        if is_own:
            dimensions, vector_type = _own(self.entity, dimensions, vector_type)
        self.dimensions = dimensions
        self.vector_type = vector_type
        self.metric = chosen_metric(metric, vector_type)
        self._index = next((each for each in indexes_of(table_of(self.entity)) if each.column.key == "vector"), None)
        self.index = None if self._index is None else self._index.kind
        if is_own and index not in ("auto", self.index):
            raise InvalidArgument(
                f"index={index!r} is given, and {self.entity.__name__} has {self._index or 'none'}: declare "
                f'VectorIndex(name, "vector", kind={index!r}) in its __table_args__, and leave it out here'
            )
        self._options = {
            "index": index,
            "index_options": dict(options),
            "metadata": list(columns),
            "create": create,
            "pickle": pickle,
        }
        self._read_only = read_only
        self._create = create and not read_only
        super().__init__(bind, read_only=read_only)
        binding = self.binding
        self._sql = vector_statements(table_of(self.entity), binding.dialect)
        self._takes_any = True
        self._allows_pickle = self._sql.pickle
        if pickle and not self._allows_pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        # What the table is made with, and keeps.
        self._record: dict[str, Any] = {
            "dimensions": self.dimensions,
            "metric": self.metric,
            "vector_type": self.vector_type,
        }
        if not is_own:
            self._record["metadata"] = {column.name: str(column.type.compile(binding.dialect)) for column in columns}
            # "auto" takes the index that is there.
            if index != "auto":
                self._record["index"] = index
        self._folding = None
        if self._index is not None and binding.dialect.name == "sqlite":
            self._folding = FoldCounter(self._index)
            self._require_backend(binding)
        self._open(binding)
        if self._index is not None and self._index.kind == "auto" and not is_own:
            self._take_index(binding, self._index)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {**self._options, "read_only": self._read_only}
        return _reopen, (type(self), self._address(), self._given, options)

    def __repr__(self) -> str:
        name = table_of(self.entity).name
        kind = "" if self.vector_type == "f32" else f" vector_type={self.vector_type!r}"
        made = f"dimensions={self.dimensions} metric={self.metric!r}{kind}"
        return f"<{type(self).__name__} {name!r} {made} {self._where()}>"

    @property
    def c(self) -> ReadOnlyColumnCollection[str, Any]:
        """The table's columns, for conditions: ``vault.c.lang == "en"``."""
        return table_of(self.entity).c

    @property
    def _vector_column(self) -> Vector:
        type_ = table_of(self.entity).c.vector.type
        assert isinstance(type_, Vector)
        return type_

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        open_tables(
            binding,
            self._tables(),
            "vectors",
            self._record,
            create=self._create,
            made_with=self._made_with,
            make_rest=self._make_index,
        )

    def _make_index(self, connection: Connection) -> None:
        """Make the index of a table that was there before."""
        if self._index is not None:
            self._index.create(connection, checkfirst=True)

    @property
    def _made_with(self) -> dict[str, Any]:
        """What the record of a new table says."""
        return {"index": self.index, **self._record}

    def _take_index(self, binding: Binding, index: VectorIndex) -> None:
        """Keep up the index that there is: ``"auto"`` may have found any."""
        with translated_errors(binding.engine), binding.inspecting() as connection:
            made = as_made(connection, index)
        if made is index:
            return
        self._index = made
        self.index = None if made is None else made.kind
        self._folding = None if made is None or self._folding is None else FoldCounter(made)
        self._require_backend(binding)

    def _require_backend(self, binding: Binding) -> None:
        if self._folding is not None and self._folding.backend is not None:
            binding.require_backend(self._folding.backend)

    def _changed(self, cursor: DriverCursor, rows: int) -> None:
        """Do what has to follow a write of so many rows, in its transaction: every write calls this, once."""
        if self._folding is not None:
            self._folding.written(cursor, rows)


def _own(entity: type[VectorTable], dimensions: int, vector_type: str) -> tuple[int, str]:
    """Return the dimensions and the type of elements that a class of the user's own has."""
    own = table_of(entity).c.vector.type
    if not isinstance(own, Vector) or own.dimensions is None:
        raise InvalidArgument(f"{entity.__name__}.vector is {own!r}, and has to be a Vector of so many dimensions")
    # The defaults are what was not given.
    if dimensions not in (768, own.dimensions):
        raise InvalidArgument(
            f"dimensions={dimensions} is given, and {entity.__name__} has {own.dimensions}: leave it out"
        )
    if vector_type not in ("f32", own.elem):
        raise InvalidArgument(
            f"vector_type={vector_type!r} is given, and {entity.__name__} has {own.elem!r}: leave it out"
        )
    return own.dimensions, own.elem


def _reopen(vault: type[VectorBase], address: str, given: tuple[Any, ...], options: dict[str, Any]) -> VectorBase:
    return vault(address, *given, **options)
