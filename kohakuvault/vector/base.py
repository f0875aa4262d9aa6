"""What the parts of a VectorKVault share: how it is opened, its statements, and what follows a write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ..binding import Bind, Binding
from ..container import Container
from ..errors import CorruptValue, InvalidArgument, NotFound
from ..indexing.fold_counter import FoldCounter
from ..indexing.made import as_made
from ..lending import DriverCursor
from ..orm.tables import VectorTable, table_of, vector_class
from ..orm.vector_index import indexes_of
from ..schema import entity_of, open_tables
from .metadata import Declaration, declared_columns
from .options import VECTOR_TYPES, as_options, check_dimensions, check_index, chosen_metric, refuse_unknown
from .statements import vector_statements

__all__ = ["VectorBase", "corrupt_row"]


class VectorBase(Container):
    """A table of vectors that is open. See :class:`~kohakuvault.VectorKVault` for the parameters."""

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
        refuse_unknown(unknown)
        check_dimensions(dimensions)
        if vector_type not in VECTOR_TYPES:
            raise InvalidArgument(f"vector_type is one of {', '.join(VECTOR_TYPES)}, not {vector_type!r:.60}")
        self.metric = chosen_metric(metric, vector_type)
        index = check_index(index)
        columns = declared_columns(metadata)
        self.entity: type[VectorTable] = entity_of(
            table,
            VectorTable,
            lambda name: vector_class(
                name,
                dimensions,
                pickle=pickle,
                metadata=columns,
                index=None if index is None else (index, self.metric, as_options(index_options)),
            ),
        )
        is_own = not isinstance(table, str)
        if is_own and index_options:
            raise InvalidArgument(f"index_options are given, and the index of {self.entity.__name__} has its own")
        if is_own and columns:
            raise InvalidArgument(f"metadata is given, and the columns of {self.entity.__name__} are: leave it out")
        self.dimensions = _dimensions_of(self.entity, dimensions) if is_own else dimensions
        self.vector_type = vector_type
        self._index = next((each for each in indexes_of(table_of(self.entity)) if each.column.key == "vector"), None)
        self.index = None if self._index is None else self._index.kind
        self._given = (table, dimensions, metric, vector_type)
        self._options = {"index": index, "index_options": index_options, "metadata": list(columns), "create": create, "pickle": pickle}
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
            self._record["metadata"] = {column.name: column.type.compile(binding.dialect) for column in columns}
            # "auto" takes the index that is there.
            if index != "auto":
                self._record["index"] = index
        self._folding = None
        if self._index is not None and binding.dialect.name == "sqlite":
            self._folding = FoldCounter(self._index)
            self._require_backend(binding)
        self._open(binding)
        if self._index is not None:
            self._take_index(binding)

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

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        made_with = {"index": self.index, **self._record}
        open_tables(binding, self._tables(), "vectors", self._record, create=self._create, made_with=made_with)

    def _take_index(self, binding: Binding) -> None:
        """Keep up the index that there is: ``"auto"`` may have found any."""
        assert self._index is not None
        with binding.reading() as cursor:
            made = as_made(cursor, self._index)
        if made is not self._index:
            self._index, self.index, self._folding = made, made.kind, FoldCounter(made)
            self._require_backend(binding)

    def _require_backend(self, binding: Binding) -> None:
        if self._folding is not None and self._folding.backend is not None:
            binding.require_backend(self._folding.backend)

    def _changed(self, cursor: DriverCursor, rows: int) -> None:
        """Do what has to follow a write of so many rows, in its transaction: every write calls this, once."""
        if self._folding is not None:
            self._folding.written(cursor, rows)

    def _missing(self, id: int) -> NotFound:
        return NotFound(f"no id {id!r} in {self!r}")


def corrupt_row(id: Any, error: CorruptValue) -> CorruptValue:
    """Return ``error``, that of a row, with its id."""
    return CorruptValue(f"id {id!r}: {error}. check() finds all such rows; update() or delete() it")


def _dimensions_of(entity: type[VectorTable], given: int) -> int:
    dimensions = getattr(table_of(entity).c.vector.type, "dimensions", None)
    # 768 is what was not given.
    if dimensions is None or given == dimensions:
        return given
    if given != 768:
        raise InvalidArgument(f"dimensions={given} is given, and {entity.__name__} has {dimensions}: leave it out")
    return int(dimensions)


def _reopen(vault: type[VectorBase], address: str, given: tuple[Any, ...], options: dict[str, Any]) -> VectorBase:
    return vault(address, *given, **options)
