"""Several columns as Arrow tables and Parquet files, and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, NotFound, UnsupportedType
from ..replacing import replaced
from .arrow_arrays import arrow_field, dtype_of_field, encoded_as, pyarrow
from .arrow_source import record_batches
from .elements import elements_of
from .vault_base import ColumnVaultBase
from .vault_rows import in_turn, lengths_of

if TYPE_CHECKING:
    from ..columns import Column

__all__ = ["ColumnVaultArrow"]

# Bytes of a row group that to_parquet makes if nobody says, and of a batch that from_parquet reads.
_GROUP_BYTES = 64 << 20
_BATCH_BYTES = 8 << 20


class ColumnVaultArrow(ColumnVaultBase):
    """The part of :class:`~kohakuvault.ColumnVault` for Arrow and Parquet. Needs ``pip install kohakuvault[arrow]``."""

    def to_arrow(self, names: Iterable[str] | None = None) -> Any:
        """Return columns of one length, all by default, as a ``pyarrow.Table`` of one state.

        For the types see :meth:`Column.to_arrow`. The metadata of a field has the dtype, under ``kohakuvault.dtype``.

        Raises
        ------
        InvalidArgument
            for columns of different lengths.
        NotFound
            for a name that no column has.
        """
        pa = pyarrow()
        with self._one_state():
            columns, _ = self._of_one_length(names)
            return pa.table([column.to_arrow() for column in columns], schema=_schema(columns))

    def from_arrow(
        self, source: Any, *, dtypes: Mapping[str, str] | None = None, names: Iterable[str] | None = None
    ) -> int:
        """Add the rows of a table to the columns of its names, in one transaction: all of them or none.

        Columns that are missing are made.

        Parameters
        ----------
        source
            A ``pyarrow.Table``, ``RecordBatch`` or ``RecordBatchReader``, or whatever gives such a stream: a frame of
            polars or pandas, a relation of duckdb. It is read batch by batch, while others wait for the write lock: so
            it must not itself read a database in memory, or write this one, in another thread.
        dtypes
            The dtypes of columns that are made. By default that of the field's metadata, or else the one that holds
            the Arrow type as it is.
        names
            Add only these columns of the table.

        Returns
        -------
        int
            How many rows there were.

        Raises
        ------
        NotFound
            for a name that the table does not have.
        InvalidArgument
            for a null, two columns of one name, and what a dtype does not hold; as :meth:`Column.extend` does.
        UnsupportedType
            for an Arrow type that no dtype holds as it is.
        """
        reader = record_batches(source)
        return self._add(reader.schema, reader, dtypes or {}, names)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        names: Iterable[str] | None = None,
        *,
        row_group_rows: int | None = None,
        compression: str | None = "zstd",
    ) -> None:
        """Write columns of one length, all by default, to a Parquet file, of one state and with flat memory.

        The file is written beside ``path`` and renamed when it is complete.

        Parameters
        ----------
        path
            Replaced if it exists.
        names
            Of the columns.
        row_group_rows
            Rows of a row group, which is in memory while it is written; by default about as many as 64 MiB hold.
        compression
            As pyarrow has it: ``"zstd"``, ``"snappy"``, ``"gzip"``, ``"lz4"``, ``"brotli"`` or None.

        Raises
        ------
        InvalidArgument
            for columns of different lengths.
        NotFound
            for a name that no column has.
        """
        pa = pyarrow()
        from pyarrow import parquet

        if row_group_rows is not None and (type(row_group_rows) is not int or row_group_rows < 1):
            raise InvalidArgument(f"row_group_rows is an int of at least 1, not {row_group_rows!r}")
        with self._one_state():
            columns, length = self._of_one_length(names)
            schema = _schema(columns)
            rows = row_group_rows or max(_GROUP_BYTES // max(sum(map(_element_bytes, columns)), 1), 1)
            with replaced(Path(path)) as file, parquet.ParquetWriter(file, schema, compression=compression) as writer:
                for start in range(0, length, rows):
                    stop = min(start + rows, length)
                    arrays = [column.to_arrow(start, stop) for column in columns]
                    writer.write_table(pa.table(arrays, schema=schema), row_group_size=rows)

    def from_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        names: Iterable[str] | None = None,
        dtypes: Mapping[str, str] | None = None,
    ) -> int:
        """Add the rows of a Parquet file, as :meth:`from_arrow` does, with flat memory; return how many there were.

        Raises
        ------
        InvalidArgument
            also for a file that is none of Parquet, or is damaged.
        """
        pa = pyarrow()
        from pyarrow import parquet

        chosen = None if names is None else list(names)
        try:
            # Not read ahead: a row group may be larger than memory.
            with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
                batches = file.iter_batches(_batch_rows(file.metadata), columns=chosen)
                return self._add(file.schema_arrow, batches, dtypes or {}, chosen)
        except pa.ArrowException as error:
            raise InvalidArgument(f"{os.fspath(path)!r} cannot be read as Parquet: {error}") from error

    def _of_one_length(self, names: Iterable[str] | None) -> tuple[list[Column], int]:
        columns = self._chosen(names)
        lengths = [len(column) for column in columns]
        if len(set(lengths)) > 1:
            raise InvalidArgument(
                f"a table has columns of one length, not {lengths_of(columns, lengths)}; choose some by names="
            )
        return columns, lengths[0] if lengths else 0

    def _add(self, schema: Any, batches: Iterable[Any], dtypes: Mapping[str, str], names: Iterable[str] | None) -> int:
        fields = _chosen_fields(schema, names)
        unknown = [name for name in dtypes if name not in fields]
        if unknown:
            raise NotFound(f"dtypes names {unknown[0]!r}, and the columns are {', '.join(map(repr, fields)) or 'none'}")
        rows = 0
        with self._settled.writing() as cursor:
            columns = [self._for_field(field, dtypes.get(name)) for name, field in fields.items()]
            for column, _ in in_turn((column, None) for column in columns):
                column._blocks(cursor).lock()
            for batch in batches:
                rows += batch.num_rows
                for column in columns:
                    with _naming(column.name):
                        column.extend(batch.column(column.name))
        return rows

    def _for_field(self, field: Any, dtype: str | None) -> Column:
        if dtype is not None:
            return self.ensure(field.name, dtype)
        if field.name not in self:
            return self.ensure(field.name, dtype_of_field(field))
        column = self[field.name]
        encoded = encoded_as(field)
        if encoded not in (None, column.dtype):
            raise InvalidArgument(
                f"column {field.name!r} has dtype {column.dtype!r}, and the table's has elements packed as {encoded!r}"
            )
        return column


def _schema(columns: Iterable[Column]) -> Any:
    return pyarrow().schema([arrow_field(column.name, elements_of(column.dtype)) for column in columns])


def _chosen_fields(schema: Any, names: Iterable[str] | None) -> dict[str, Any]:
    """Return the fields by name, in the order of ``names`` if given."""
    if isinstance(names, str):
        raise UnsupportedType(f"names is a list of names; for one column give [{names!r}]")
    fields = {field.name: field for field in schema}
    if len(fields) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise InvalidArgument(f"the table has two columns named {twice!r}; rename one")
    names = list(fields) if names is None else list(names)
    for name in names:
        if name not in fields:
            raise NotFound(f"the table has no column {name!r}; it has {', '.join(map(repr, fields)) or 'none'}")
    return {name: fields[name] for name in names}


def _element_bytes(column: Column) -> int:
    """Return about how many bytes an element of the column has."""
    size = column._elements.item_size
    return column._mean_bytes() if size is None else size


def _batch_rows(metadata: Any) -> int:
    """Return how many rows of a file are read at a time."""
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    rows: int = min(_BATCH_BYTES * metadata.num_rows // max(size, 1), 1 << 20)
    return max(rows, 1)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Raise errors about values with the name of the column that they were for."""
    try:
        yield
    except (InvalidArgument, UnsupportedType) as error:
        raise type(error)(f"column {name!r}: {error}") from error
