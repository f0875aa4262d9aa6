"""What the parts of a Column share: which column it is, how its elements are stored, and where statements run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .._native import ColumnRuns
from ..binding import Binding
from ..lending import DriverCursor
from ..statements import Statement
from .blocks import Blocks
from .form import Form
from .statements import block_statements

if TYPE_CHECKING:
    from ..columns import ColumnVault
    from .read_cache import ColumnReadCache

__all__ = ["ColumnBase"]


class ColumnBase:
    """A column that was found or made. See :class:`~kohakuvault.Column`."""

    def __init__(self, vault: ColumnVault, name: str, column_id: int, form: Form) -> None:
        self.name = name
        self._vault = vault
        binding = vault.binding
        self._epoch = binding.epoch
        self._sql = block_statements(binding.dialect)
        self._id = column_id
        self._form = form
        self._elements = form.elements
        # Bytes of an element, where it can be read and written in the stored bytes.
        self._size = form.direct_size
        # Whether it may have been made in the transaction that is open; and its names, of which some may be undone.
        self._is_provisional = binding.holds_transaction
        self._names = [name]
        self._know_nothing()

    def _know_nothing(self) -> None:
        # What is kept of the elements, from the first read of a vault with a read cache on.
        self._runs: ColumnRuns | None = None
        # Takes an element that can wait without ado, and returns whether it did; None while that is not known.
        self._put: Callable[[Any], bool] | None = None
        # Elements below it were in blocks when it was last seen, others in the tail: where to look first.
        self._sealed = 0

    def _rename(self, name: str) -> None:
        self.name = name
        self._names.append(name)

    @property
    def dtype(self) -> str:
        """The dtype string."""
        return self._elements.dtype

    @property
    def binding(self) -> Binding:
        """Where statements run."""
        binding = self._vault.binding
        if self._epoch != binding.epoch:
            self._find_again(binding)
            self._epoch = binding.epoch
        return binding

    def _find_again(self, binding: Binding) -> None:
        """Take the name that the column has after a rollback; raise :class:`NotFound` if its making was undone.

        Its id may be another's then, while that of a column that was once committed never is.
        """
        found = binding.one(self._sql.column_of_id, self._id)
        if found is None:
            raise self._vault._missing(self.name)
        name, *form = found
        if self._is_provisional and not (name in self._names and self._form.is_of(*form)):
            raise self._vault._missing(self.name)
        self.name = name
        self._know_nothing()

    @property
    def _settled(self) -> Binding:
        """The binding, after what waits in memory was written."""
        vault = self._vault
        binding = vault._binding
        if binding is None or self._epoch != binding.epoch:
            binding = self.binding
        if vault._writes.waiting:
            binding.settle()
        if not self._id:
            self._seek(binding)
        return binding

    def _seek(self, binding: Binding) -> None:
        """Find out which column it is, where that is not known: see :class:`~kohakuvault.row_list.RowList`."""

    @property
    def _cached(self) -> ColumnReadCache | None:
        """The read cache, where what this thread reads now is that of the last commit."""
        vault = self._vault
        cache, binding = vault._cache, vault._binding
        if cache is None or binding is None or self._epoch != binding.epoch:
            return None
        return None if vault._writes.waiting or binding.holds_transaction else cache

    @cached_property
    def _element(self) -> Statement:
        assert self._size is not None
        return self._sql.element(self._size)

    @cached_property
    def _tail_element(self) -> Statement:
        assert self._size is not None
        return self._sql.tail_element(self._size)

    @cached_property
    def _piece(self) -> Statement:
        assert self._size is not None
        return self._sql.piece(self._size)

    def _writing(self) -> AbstractContextManager[DriverCursor]:
        """Return a context whose statements change the column together or, if an exception leaves it, not at all."""
        return self._settled.writing()

    def _blocks(self, cursor: DriverCursor | Binding) -> Blocks:
        return Blocks(cursor, self._sql, self._id, self._form)

    def __len__(self) -> int:
        if self._runs is not None and self._cached is not None and (length := self._runs.length()) is not None:
            return length
        return self._length()

    def _length(self, *, exact: bool = False) -> int:
        with self._settled.reading() as cursor:
            return self._blocks(cursor).length(exact=exact)

    def _page(self) -> int:
        """Return how many elements are read at a time where all are."""
        return max(1, _PAGE_BYTES // (self._elements.item_size or _USUAL_SIZE))


_PAGE_BYTES = 1 << 20
_USUAL_SIZE = 64
