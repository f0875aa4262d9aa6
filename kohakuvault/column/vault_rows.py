"""Rows over several columns: added as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, UnsupportedType
from .vault_base import ColumnVaultBase
from .vault_caching import ColumnVaultCaching

if TYPE_CHECKING:
    from ..columns import Column

__all__ = ["ColumnVaultRows", "in_turn", "lengths_of"]


class ColumnVaultRows(ColumnVaultCaching, ColumnVaultBase):
    """The part of :class:`~kohakuvault.ColumnVault` that adds to several columns at once."""

    def append_rows(self, rows: Mapping[str, Iterable[Any]]) -> None:
        """Add many values to each of several columns, in one transaction: all of them or, if one is refused, none.

        Parameters
        ----------
        rows
            The values for each column by its name, as many for each: what :meth:`Column.extend` takes. For one row,
            see :meth:`append_row`.

        Raises
        ------
        NotFound
            for a name that no column has.
        InvalidArgument
            for values of different lengths; as ``extend`` does.
        UnsupportedType
            for a single value in place of several; as ``extend`` does.

        >>> from kohakuvault import ColumnVault
        >>> cv = ColumnVault(":memory:")
        >>> names, ages = cv.create_column("name", "str"), cv.create_column("age", "u8")
        >>> cv.append_rows({"name": ["Ann", "Bob"], "age": [31, 27]})
        >>> list(zip(names, ages))
        [('Ann', 31), ('Bob', 27)]
        """
        columns = self._named(rows, "append_rows")
        given = [(column, _runs(column, rows[column.name])) for column in columns]
        lengths = [sum(map(len, runs)) for _, runs in given]
        if len(set(lengths)) > 1:
            raise InvalidArgument(f"rows have as many values in each column, not {lengths_of(columns, lengths)}")
        with self._settled.writing() as cursor:
            for column, runs in in_turn(given):
                blocks = column._blocks(cursor)
                for run in runs:
                    blocks.append(blocks.lock(), run)

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add one value to each of several columns, in one transaction: all of them or, if one is refused, none.

        In ``with cv.cache():`` the row waits as a whole. So columns that are only added to like this stay in step,
        however many write.

        Raises
        ------
        NotFound
            for a name that no column has.
        """
        columns = self._named(row, "append_row")
        packed = [(column, column._elements.pack_entry(row[column.name])) for column in columns]
        binding = self.binding
        if self._writes.settings is not None and binding.may_wait:
            entries = [(column._id, column.name, column._form, entry) for column, entry in packed]
            if self._writes.offer_row(binding, entries):
                return
        with self._settled.writing() as cursor:
            for column, entry in in_turn(packed):
                column._blocks(cursor).append_stream(1, entry)

    def _named(self, rows: Any, what: str) -> list[Column]:
        if not isinstance(rows, Mapping):
            raise UnsupportedType(f"{what} takes a mapping of column names, not {type(rows).__name__}")
        return self._chosen(list(rows))


def in_turn(given: Iterable[tuple[Column, Any]]) -> list[tuple[Column, Any]]:
    """Return columns with what is for each in the order in which all writers take them: no two wait for each other."""
    return sorted(given, key=lambda pair: pair[0]._id)


def lengths_of(columns: Iterable[Column], lengths: Iterable[int]) -> str:
    """Return the lengths as text."""
    return ", ".join(f"{length} of {column.name!r}" for column, length in zip(columns, lengths, strict=True))


def _runs(column: Column, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        if hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__"):
            return column._packable(values)
        raise UnsupportedType(
            f"append_rows takes many values for each column, and for {column.name!r} a single {type(values).__name__}; "
            "append_row takes one of each"
        )
    return column._packable(values)
