"""``ColumnVault`` and ``Column``: named lists of one dtype each, in the application's own database."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Table

from .binding import Bind, Binding
from .column.blocks import BLOCK_BYTES, Blocks
from .column.elements import Elements, elements_of
from .column.statements import block_statements
from .container import Container
from .errors import CorruptValue, InvalidArgument, NotFound, OutOfRange, UnsupportedType
from .lending import DriverCursor
from .orm.tables import Block, ColumnRecord, Payload, table_of
from .schema import check_name, open_tables

__all__ = ["Column", "ColumnVault"]

_TABLES = [table_of(ColumnRecord), table_of(Block), table_of(Payload)]

# Bytes read at a time when iterating.
_PAGE_BYTES = 1 << 20

_END = 2**62


class ColumnVault(Container, Mapping[str, "Column"]):
    """Named columns: typed lists of any length.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see ``docs/engine.md``.
    create
        Make the tables if they are missing; ``False`` where Alembic owns the schema.

    Notes
    -----
    Making and removing: ``create_column``, ``ensure``, ``delete_column``.
    Finding: ``cv[name]``, ``in``, ``len``, iteration over the names, ``list_columns``.
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

    def __init__(self, bind: Bind, *, create: bool = True) -> None:
        self._create = create
        super().__init__(bind)
        self._open(self.binding)

    def __repr__(self) -> str:
        return f"<ColumnVault {self._where()}>"

    def _tables(self) -> Sequence[Table]:
        return _TABLES

    def _open(self, binding: Binding) -> None:
        open_tables(binding, self._tables(), "columns", {}, create=self._create)

    def create_column(self, name: str, dtype: str, *, block_bytes: int = BLOCK_BYTES) -> Column:
        """Make an empty column and return it.

        Parameters
        ----------
        name
            Any text but the empty one.
        dtype
            ``"i8"`` to ``"i64"``, ``"u8"`` to ``"u64"``, ``"f32"``, ``"f64"``, ``"bool"``; ``"str:utf8"``,
            ``"bytes"``; ``"msgpack"``, ``"cbor"``; ``"vec:f32:384"`` (one shape), ``"vec:f32"`` (any shape).
        block_bytes
            Bytes of packed elements that are stored together. The default fits a 16 KiB page.

        Raises
        ------
        InvalidArgument
            if there is such a column already, or no such dtype.
        """
        column = self._new(name, dtype, block_bytes)
        if column is None:
            raise InvalidArgument(f"column {name!r} exists already: open it with cv[{name!r}] or cv.ensure(…)")
        return column

    def ensure(self, name: str, dtype: str, *, block_bytes: int = BLOCK_BYTES) -> Column:
        """Return the column of that name, made if it is missing; an existing one must have that dtype."""
        column = self._new(name, dtype, block_bytes) or self[name]
        if column.dtype != elements_of(dtype).dtype:
            raise InvalidArgument(f"column {name!r} has dtype {column.dtype!r}, not {dtype!r}")
        return column

    def delete_column(self, name: str) -> bool:
        """Remove a column and all of its elements; return whether there was one."""
        binding = self.binding
        found = self._find(binding, name)
        if found is None:
            return False
        with binding.writing() as cursor:
            # Of any elements: a column whose dtype is damaged can be deleted too.
            Blocks(cursor, block_statements(binding.dialect), found[0], elements_of("bytes")).delete()
        return True

    def list_columns(self) -> list[tuple[str, str, int]]:
        """Return ``(name, dtype, length)`` of every column, in the order in which they were made."""
        return [tuple(row) for row in self.binding.all(block_statements(self.binding.dialect).columns)]

    def __getitem__(self, name: str) -> Column:
        found = self._find(self.binding, name)
        if found is None:
            raise NotFound(f"no column {name!r}; there are {', '.join(map(repr, self)) or 'none'}")
        try:
            return Column(self, name, *found)
        except (InvalidArgument, UnsupportedType) as error:
            raise CorruptValue(
                f"column {name!r} has the dtype {found[1]!r}, which this release does not know"
            ) from error

    def __contains__(self, name: object) -> bool:
        return self._find(self.binding, name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _, _ in self.list_columns()])

    def __len__(self) -> int:
        return len(self.list_columns())

    def _find(self, binding: Binding, name: Any) -> tuple[int, str] | None:
        row = binding.one(block_statements(binding.dialect).column, check_name(name, "column"))
        return None if row is None else (row[0], row[1])

    def _new(self, name: str, dtype: str, block_bytes: int) -> Column | None:
        """Return the new column, or None if the name is taken."""
        check_name(name, "column")
        elements = elements_of(dtype)
        if type(block_bytes) is not int or not 64 <= block_bytes <= 1 << 26:
            raise InvalidArgument(f"block_bytes is an int from 64 to 2**26, not {block_bytes!r}")
        binding = self.binding
        row = binding.run_returning(
            block_statements(binding.dialect).insert_column, name, elements.dtype, 0, block_bytes, 0
        )
        if row is None:
            return None
        binding.made_in_transaction()
        return Column(self, name, row[0], elements.dtype)


class Column(MutableSequence[Any]):
    """One column: a list whose elements are packed in the database and never loaded as a whole.

    Made by :meth:`ColumnVault.create_column` and found by ``vault[name]``.

    Notes
    -----
    Reading: ``col[i]``, ``col[a:b]``, iteration, ``len``, ``in``, ``index``, ``count``, ``to_numpy``.
    Adding: ``append``, ``extend``, ``+=``, ``insert``.
    Changing: ``col[i] = value``, ``col[a:b] = values``, ``del``, ``pop``, ``remove``, ``reverse``, ``clear``.

    ``col[i]`` is a Python value; of a vector column an array. ``col[a:b]`` is a list; of a column of
    vectors of one shape an array of shape ``(n, *shape)``. What is read is a copy.

    Every operation takes effect as a whole or not at all: if the third of a million values cannot be
    packed, none is added. Values are stored as they are or refused: an ``i64`` column takes no float and no
    bool; a ``f32`` column rounds to float32 but refuses what is beyond its range.

    Thread-safe; several processes may write. Iterating reads pages, so elements that are inserted or
    removed meanwhile shift those that follow.
    """

    def __init__(self, vault: ColumnVault, name: str, column_id: int, dtype: str) -> None:
        self.name = name
        self._vault = vault
        self._id = column_id
        self._elements: Elements = elements_of(dtype)
        self._epoch = vault.binding.epoch
        self._sql = block_statements(vault.binding.dialect)
        self._element = self._sql.element(self._elements.item_size)

    @property
    def dtype(self) -> str:
        """The dtype string."""
        return self._elements.dtype

    @property
    def binding(self) -> Binding:
        """Where statements run."""
        binding = self._vault.binding
        if self._epoch != binding.epoch:
            # The transaction that made this column may have been rolled back; its id would be given again.
            self._id = self._vault[self.name]._id
            self._epoch = binding.epoch
        return binding

    def __repr__(self) -> str:
        return f"<Column {self.name!r} {self.dtype} of {self._vault!r}>"

    def __len__(self) -> int:
        with self.binding.reading() as cursor:
            return self._blocks(cursor).length()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._slice(index)
        index = _index(index)
        if index < 0:
            with self.binding.reading() as cursor:
                blocks = self._blocks(cursor)
                index = _position(index, blocks.length())
                return self._elements.unpack(blocks.read(index, index + 1))[0]
        binding, size = self.binding, self._elements.item_size
        if size is None:
            row = binding.one(self._element, self._id, index)
        else:
            row = binding.one(self._element, index, self._id, index, index)
        try:
            if row is None or index >= row[0] + row[1] or (size is not None and row[2] != row[1] * size):
                return self._missing(index)
        except TypeError:
            return self._missing(index)
        if size is None:
            return self._elements.unpack_one(row[3], row[1], index - row[0])
        return self._elements.unpack_one(row[3], 1, 0)

    def _missing(self, index: int) -> Any:
        """Say why element ``index`` was not found: it is beyond the end, or the column is damaged."""
        with self.binding.reading() as cursor:
            blocks = self._blocks(cursor)
            length = blocks.length()
            if index < length:
                # Either raises that the column is damaged, or another process has just added the element.
                return self._elements.unpack(blocks.read(index, index + 1))[0]
        raise OutOfRange(f"index {index} is beyond the end of column {self.name!r}, which has {length} elements")

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, slice):
            index = _index(index)
            with self.binding.writing() as cursor:
                blocks = self._blocks(cursor)
                blocks.overwrite(_position(index, blocks.lock().length), value)
            return
        values = self._elements.collect(value if value is not self else self[:])
        with self.binding.writing() as cursor:
            blocks = self._blocks(cursor)
            start, stop, step = index.indices(blocks.lock().length)
            if step == 1:
                blocks.splice(start, max(start, stop), values)
                return
            places = range(start, stop, step)
            if len(places) != len(values):
                raise InvalidArgument(
                    f"{len(values)} values cannot be assigned to the {len(places)} elements of a slice with step {step}"
                )
            if places:
                low, high = _span(places)
                run = list(self._elements.unpack(blocks.read(low, high)))
                for place, new in zip(places, values, strict=True):
                    run[place - low] = new
                blocks.splice(low, high, self._elements.collect(run))

    def __delitem__(self, index: Any) -> None:
        with self.binding.writing() as cursor:
            blocks = self._blocks(cursor)
            length = blocks.lock().length
            if not isinstance(index, slice):
                place = _position(_index(index), length)
                blocks.splice(place, place + 1, [])
                return
            places = range(length)[index]
            if not places:
                return
            low, high = _span(places)
            if len(places) == high - low:
                blocks.splice(low, high, [])
                return
            removed = set(places)
            run = self._elements.unpack(blocks.read(low, high))
            kept = [value for place, value in enumerate(run, low) if place not in removed]
            blocks.splice(low, high, self._elements.collect(kept))

    def __iter__(self) -> Iterator[Any]:
        page = max(1, _PAGE_BYTES // (self._elements.item_size or 64))
        start = 0
        while True:
            values = self._slice(slice(start, start + page))
            yield from values
            if len(values) < page:
                return
            start += page

    def __iadd__(self, values: Iterable[Any]) -> Column:
        self.extend(values)
        return self

    def append(self, value: Any) -> None:
        """Add ``value`` at the end."""
        self.extend([value])

    def extend(self, values: Iterable[Any]) -> None:
        """Add all ``values`` at the end, or none if one of them cannot be packed.

        Fastest from a list or, for numbers and vectors, an array of the column's element type.
        """
        collected = self._elements.collect(self[:] if values is self else values)
        if len(collected):
            with self.binding.writing() as cursor:
                self._blocks(cursor).append(collected)

    def insert(self, index: int, value: Any) -> None:
        """Insert ``value`` before element ``index``, as ``list.insert`` does."""
        index = _index(index)
        collected = self._elements.collect([value])
        with self.binding.writing() as cursor:
            blocks = self._blocks(cursor)
            length = blocks.lock().length
            place = min(max(index + length if index < 0 else index, 0), length)
            blocks.splice(place, place, collected)

    def pop(self, index: int = -1) -> Any:
        """Remove and return element ``index``."""
        index = _index(index)
        with self.binding.writing() as cursor:
            blocks = self._blocks(cursor)
            place = _position(index, blocks.lock().length)
            value = self._elements.unpack(blocks.read(place, place + 1))[0]
            blocks.splice(place, place + 1, [])
            return value

    def reverse(self) -> None:
        """Reverse the order of all elements."""
        with self.binding.writing() as cursor:
            blocks = self._blocks(cursor)
            length = blocks.lock().length
            if length > 1:
                run = self._elements.unpack(blocks.read(0, length))
                blocks.splice(0, length, self._elements.collect(run[::-1]))

    def clear(self) -> None:
        """Remove all elements."""
        with self.binding.writing() as cursor:
            self._blocks(cursor).clear()

    def to_numpy(self, start: int = 0, stop: int | None = None) -> np.ndarray[Any, Any]:
        """Return elements ``start`` to ``stop`` as a new array, of dtype ``object`` where elements vary in size."""
        array: np.ndarray[Any, Any] = self._read(slice(start, stop), self._elements.to_numpy)
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self.to_numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def _slice(self, index: slice) -> Any:
        if index.step in (None, 1):
            return self._read(index, self._elements.unpack)
        with self.binding.reading() as cursor:
            blocks = self._blocks(cursor)
            places = range(blocks.length())[index]
            if not places:
                return self._elements.unpack([])
            low, high = _span(places)
            run = self._elements.unpack(blocks.read(low, high))
            return run[places[0] - low :: index.step] if index.step > 0 else run[:: index.step]

    def _read(self, index: slice, unpack: Any) -> Any:
        start = 0 if index.start is None else _index(index.start)
        stop = _END if index.stop is None else _index(index.stop)
        binding = self.binding
        if start >= 0 and stop >= 0:
            # Without the length: the blocks themselves say where the column ends.
            with binding.reading() as cursor:
                parts = self._blocks(cursor).read(start, min(stop, _END))
                if not parts:
                    self._blocks(cursor).length()
        else:
            with binding.reading() as cursor:
                blocks = self._blocks(cursor)
                start, stop, _ = slice(start, stop).indices(blocks.length())
                parts = blocks.read(start, stop)
        return unpack(parts)

    def _blocks(self, cursor: DriverCursor) -> Blocks:
        return Blocks(cursor, self._sql, self._id, self._elements)


def _index(index: Any) -> int:
    try:
        # Beyond any length, but within 64 bits.
        return min(max(operator.index(index), -_END), _END)
    except TypeError:
        raise UnsupportedType(f"a column index is an int or a slice, not {type(index).__name__}") from None


def _span(places: range) -> tuple[int, int]:
    """Return the smallest of ``places``, and one more than the largest."""
    ends = (places[0], places[-1])
    return min(ends), max(ends) + 1


def _position(index: int, length: int) -> int:
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise OutOfRange(f"index {index} is out of range for a column of {length} elements")
    return place
