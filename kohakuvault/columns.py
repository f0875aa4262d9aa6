"""``ColumnVault`` and ``Column``: named lists of one dtype each, in the application's own database."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any

from sqlalchemy import Table
from typing_extensions import TypeVar

from .binding import Bind, Binding
from .column.aggregates import ColumnAggregates
from .column.arrow import ColumnArrow
from .column.blocks import Blocks
from .column.caching import ColumnCaching
from .column.care import ColumnCare
from .column.elements import elements_of
from .column.form import BLOCK_BYTES, Form
from .column.options import chosen_form, refuse_unknown
from .column.read_cache import ColumnReadCache
from .column.statements import block_statements
from .column.vault_arrow import ColumnVaultArrow
from .column.vault_caching import ColumnVaultCaching
from .column.vault_care import ColumnVaultCare
from .column.vault_rows import ColumnVaultRows
from .column.write_cache import write_cache_of
from .column.writing import ColumnWriting
from .errors import CorruptValue, InvalidArgument, KohakuVaultError, NotFound
from .orm.tables import Block, ColumnRecord, Payload, table_of
from .schema import check_name, open_tables

__all__ = ["Column", "ColumnVault"]

# Of what a column gives: for annotations, as in `Mapped[Column[float]]`.
Element = TypeVar("Element", default=Any)

_TABLES = [table_of(ColumnRecord), table_of(Block), table_of(Payload)]

# Of columns; times the serial numbers of blocks they are below 2**63.
_IDS = 2**31

# Elements that repr() shows.
_HEAD = 6


class ColumnVault(ColumnVaultRows, ColumnVaultArrow, ColumnVaultCare, ColumnVaultCaching):
    """Named columns: typed lists of any length.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see ``docs/engine.md``.
    create
        Make the tables if they are missing; ``False`` where Alembic owns the schema.
    block_bytes
        The ``block_bytes`` of columns that are made without; see :meth:`create_column`.
    read_only
        Refuse every write, and open a file that cannot be written to.
    read_cache
        Bytes of memory in which elements of numbers and of vectors of one shape are kept as arrays, until anything in
        the database changes. Only SQLite files can have that; see
        :class:`~kohakuvault.column.read_cache.ColumnReadCache`, and its ``reason``.

    Attributes
    ----------
    read_cache
        The :class:`~kohakuvault.column.read_cache.ColumnReadCache`, or None.

    Notes
    -----
    Making and removing: ``create_column``, ``ensure``, ``rename_column``, ``delete_column``.
    Finding: ``cv[name]``, ``in``, ``len``, iteration over the names, ``list_columns``.
    Writing many at a time: ``cache``, ``enable_cache``, ``disable_cache``, ``flush_cache``, ``lock_cache``.
    Several columns: ``append_rows``, ``append_row``.
    Arrow and Parquet: ``to_arrow``, ``from_arrow``, ``to_parquet``, ``from_parquet``.
    Care: ``check``, ``stats``, ``storage_info``, ``vacuum``, ``optimize``, ``checkpoint``, ``backup``.
    As rows: ``entity``, the mapped class of the columns' records.

    Thread-safe. Several processes may append to one column; nothing is lost.

    Examples
    --------
    >>> cv = ColumnVault(":memory:")
    >>> scores = cv.create_column("scores", "f64")
    >>> scores.extend([95.5, 87.3, 92.1])
    >>> scores[0], scores[-2:], len(scores)
    (95.5, [87.3, 92.1], 3)
    """

    entity = ColumnRecord

    def __init__(
        self,
        bind: Bind,
        *,
        create: bool = True,
        block_bytes: int | None = None,
        read_only: bool = False,
        read_cache: int | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown("ColumnVault", "create, block_bytes, read_only and read_cache", unknown)
        if block_bytes is not None:
            chosen_form("i64", block_bytes, None, False)
        self._block_bytes = block_bytes
        self._read_only = read_only
        self._create = create and not read_only
        self._columns: weakref.WeakValueDictionary[int, Column] = weakref.WeakValueDictionary()
        self._enabled_columns = set()
        super().__init__(bind, read_only=read_only)
        self._writes = write_cache_of(self.binding)
        self._open(self.binding)
        self.read_cache: ColumnReadCache | None = None
        if read_cache is not None:
            self.read_cache = ColumnReadCache(self.binding, read_cache)
        self._cache = self.read_cache if self.read_cache is not None and self.read_cache.reason is None else None

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "create": self._create,
            "block_bytes": self._block_bytes,
            "read_only": self._read_only,
            "read_cache": self.read_cache and self.read_cache.capacity,
        }
        return _reopen, (self._address(), options)

    def __repr__(self) -> str:
        return f"<ColumnVault {self._where()}>"

    def close(self) -> None:
        """Let the database go, after writing what waits; see :meth:`Container.close`."""
        super().close()
        if self.read_cache is not None:
            self.read_cache.close()
            self.read_cache = self._cache = None

    def _tables(self) -> Sequence[Table]:
        return _TABLES

    def _open(self, binding: Binding) -> None:
        # Their ids may be given again.
        self._columns.clear()
        open_tables(binding, self._tables(), "columns", {}, create=self._create)

    def create_column(
        self,
        name: str,
        dtype: str,
        *,
        block_bytes: int | None = None,
        compression: str | None = None,
        checksum: bool = False,
        **unknown: Any,
    ) -> Column:
        """Make an empty column and return it.

        Parameters
        ----------
        name
            Any text but the empty one.
        dtype
            ``"i8"`` to ``"i64"``, ``"u8"`` to ``"u64"``, ``"f32"``, ``"f64"``, ``"bool"``; ``"str:utf8"``,
            ``"bytes"``; ``"msgpack"``, ``"cbor"``, ``"json"``; ``"vec:f32:384"`` (one shape), ``"vec:f32"`` (any
            shape). ``docs/columns.md`` has them all.
        block_bytes
            Bytes of packed elements that are stored together, 64 to 2**26. The default fits the pages of a file that
            :func:`~kohakuvault.create_engine` made. Larger blocks are read and written faster as wholes, single
            elements more slowly.
        compression
            ``"zstd"``, or with a level ``"zstd:1"`` to ``"zstd:22"``: blocks are compressed. Reading or changing one
            element takes its whole block then.
        checksum
            Store a CRC-32C with each block and with the tail, and check it at every read. Reading or changing one
            element takes its whole block then, and so does ``append``.

        Raises
        ------
        InvalidArgument
            if there is such a column already, no such dtype, or an option is out of range.
        """
        refuse_unknown("create_column", "block_bytes, compression and checksum", unknown)
        column = self._new(name, dtype, block_bytes, compression, checksum)
        if column is None:
            raise InvalidArgument(f"column {name!r} exists already: open it with cv[{name!r}] or cv.ensure(…)")
        return column

    def ensure(
        self,
        name: str,
        dtype: str,
        *,
        block_bytes: int | None = None,
        compression: str | None = None,
        checksum: bool = False,
        **unknown: Any,
    ) -> Column:
        """Return the column of that name, made if it is missing; an existing one must have that dtype.

        The other options are those of :meth:`create_column`. An existing column must have those that are given.

        Raises
        ------
        InvalidArgument
            if the column exists and is another.
        """
        refuse_unknown("ensure", "block_bytes, compression and checksum", unknown)
        new = self._new(name, dtype, block_bytes, compression, checksum)
        if new is not None:
            return new
        column = self[name]
        if column.dtype != elements_of(dtype).dtype:
            raise InvalidArgument(f"column {name!r} has dtype {column.dtype!r}, not {dtype!r}")
        has, asked = column._form, chosen_form(dtype, block_bytes, compression, checksum)
        for option, given, actual, expected in (
            ("block_bytes", block_bytes, has.block_bytes, asked.block_bytes),
            ("compression", compression, has.compression, asked.compression),
            ("checksum", checksum or None, has.checksum, asked.checksum),
        ):
            if given is not None and actual != expected:
                raise InvalidArgument(
                    f"column {name!r} was made with {option}={actual!r}, not {expected!r}: leave {option} out, or copy "
                    "its elements to a new column"
                )
        return column

    def rename_column(self, old: str, new: str) -> None:
        """Give column ``old`` another name; its handles go on working.

        Raises
        ------
        NotFound
            if there is no column ``old``.
        InvalidArgument
            if there is a column ``new``.
        """
        check_name(new, "column")
        with self._settled.writing() as cursor:
            sql = block_statements(self.binding.dialect)
            found = cursor.one(sql.column, check_name(old, "column"))
            if found is None:
                raise self._missing(old)
            if new == old:
                return
            if cursor.one(sql.column, new) is not None:
                raise InvalidArgument(f"column {new!r} exists already: delete it first, or choose another name")
            cursor.run(sql.rename_column, new, found[0])
        self.binding.made_in_transaction()
        column = self._columns.get(found[0])
        if column is not None:
            column._rename(new)

    def delete_column(self, name: str) -> bool:
        """Remove a column and all of its elements; return whether there was one."""
        with self._settled.writing() as cursor:
            sql = block_statements(self.binding.dialect)
            found = cursor.one(sql.column, check_name(name, "column"))
            if found is None:
                return False
            # Of any form: a column whose row is damaged can be deleted too.
            Blocks(cursor, sql, found[0], Form(elements_of("bytes"), BLOCK_BYTES)).delete()
        return True

    def __delitem__(self, name: str) -> None:
        if not self.delete_column(name):
            raise self._missing(name)

    def list_columns(self) -> list[tuple[str, str, int]]:
        """Return ``(name, dtype, length)`` of every column, in the order in which they were made."""
        return [tuple(row) for row in self._settled.all(block_statements(self.binding.dialect).columns)]

    def __getitem__(self, name: str) -> Column:
        column_id, form = self._found(name)
        return self._handle(name, column_id, form)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([name for (name,) in self.binding.all(block_statements(self.binding.dialect).names)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _every(self) -> Iterator[Column]:
        yield from self._chosen(None)
        binding, sql = self._settled, block_statements(self.binding.dialect)
        for (column_id,) in binding.all(sql.nameless):
            row = binding.one(sql.column_of_id, column_id)
            if row is not None:
                name = f"of a row, with the id {column_id}"
                yield Column(self, name, *form_of(name, column_id, *row[1:]))

    def _found(self, name: str) -> tuple[int, Form]:
        """Return the id and form of a column."""
        found = self._find(name)
        if found is None:
            raise self._missing(name)
        return form_of(name, *found)

    def _find(self, name: Any) -> Any:
        binding = self.binding
        return binding.one(block_statements(binding.dialect).column, check_name(name, "column"))

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"no column {name!r}; there are {', '.join(map(repr, self)) or 'none'}")

    def _handle(self, name: str, column_id: int, form: Form) -> Column:
        """Return the one handle of a column, as long as there is one."""
        column = self._columns.get(column_id)
        if column is None or column.name != name or column._form != form:
            column = self._columns[column_id] = Column(self, name, column_id, form)
        return column

    def _new(
        self, name: str, dtype: str, block_bytes: int | None, compression: str | None, checksum: bool
    ) -> Column | None:
        """Return the new column, or None if the name is taken."""
        check_name(name, "column")
        form = chosen_form(dtype, block_bytes or self._block_bytes, compression, checksum)
        binding = self.binding
        row = binding.run_returning(
            block_statements(binding.dialect).insert_column,
            name,
            form.elements.dtype,
            0,
            0,
            form.block_bytes,
            0,
            form.compression,
            form.checksum,
            b"",
        )
        if row is None:
            return None
        binding.made_in_transaction()
        return self._handle(name, row[0], form)


class Column(ColumnWriting, ColumnAggregates, ColumnArrow, ColumnCare, ColumnCaching, MutableSequence[Element]):
    """One column: a list whose elements are packed in the database and never loaded as a whole.

    Made by :meth:`ColumnVault.create_column` and found by ``vault[name]``.

    Notes
    -----
    Reading: ``col[i]``, ``col[a:b:step]``, ``col[[3, 1, 1]]``, ``col[mask]``, ``take``, iteration, ``reversed``,
    ``len``.
    As arrays: ``to_numpy``, ``numpy.asarray(col)``, ``iter_batches``; ``to_arrow``, ``__arrow_c_stream__``.
    Looking for values: ``in``, ``index``, ``count``, ``==``.
    Of numbers: ``sum``, ``mean``, ``min``, ``max``, ``where``.
    Adding: ``append``, ``extend``, ``+=``, ``insert``.
    Changing: ``col[i] = value``, ``col[a:b] = values``, ``col[[3, 1]] = values``, ``del``, ``pop``, ``remove``,
    ``reverse``, ``sort``, ``clear``.
    Writing many at a time: ``cache``, ``enable_cache``, ``disable_cache``, ``flush_cache``.
    Care: ``check``, ``storage_info``.

    ``col[i]`` is a Python value; of a vector column an array. ``col[a:b]`` is a list; of a column of
    vectors of one shape an array of shape ``(n, *shape)``. What is read is a copy.

    Every operation takes effect as a whole or not at all: if the third of a million values cannot be
    packed, none is added. Values are stored as they are or refused: an ``i64`` column takes no float and no
    bool; a ``f32`` column rounds to float32 but refuses what is beyond its range.

    Thread-safe; several processes may write. Iterating reads pages, so elements that are inserted or
    removed meanwhile shift those that follow.
    """

    def __repr__(self) -> str:
        try:
            length = len(self)
            head = [self[index] for index in range(min(length, _HEAD))]
        except KohakuVaultError as error:
            return f"<Column {self.name!r} {self.dtype}: {error}>"
        shown = ", ".join(map(_shown, head)) + (", …" if length > len(head) else "")
        return f"<Column {self.name!r} {self.dtype}, {length} elements: [{shown}]>"

    def __bool__(self) -> bool:
        return len(self) > 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _found_again, (self._vault, self.name)


def form_of(name: str, column_id: Any, *row: Any) -> tuple[int, Form]:
    """Return the id and form of a column by what its row says; raise :class:`CorruptValue` if that is of none."""
    try:
        if type(column_id) is not int or not 0 < column_id < _IDS:
            raise CorruptValue(f"the id {column_id}")
        return column_id, Form.read(*row)
    except CorruptValue as error:
        raise CorruptValue(f"column {name!r} has {error}") from error


def _reopen(address: str, options: dict[str, Any]) -> ColumnVault:
    return ColumnVault(address, **options)


def _found_again(vault: ColumnVault, name: str) -> Column:
    return vault[name]


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:39] + "…"
