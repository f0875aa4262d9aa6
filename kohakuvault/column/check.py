"""``Column.check``: whether everything about one column is as this library leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..binding import Binding
from ..errors import CorruptValue
from ..maintenance.base import Maintenance
from .care_statements import CareStatements
from .form import Form
from .statements import SERIALS

__all__ = ["ColumnCheck", "ColumnState", "orphans_problem"]

# Bytes of blocks that are read at a time.
_PAGE_BYTES = 4 << 20


@dataclass(frozen=True)
class ColumnState:
    """What a column's row says, but its tail; any of it may be damaged."""

    id: int
    # None for the list of a row.
    name: str | None
    dtype: Any
    block_bytes: Any
    compression: Any
    checksum: Any
    length: Any
    sealed: Any
    last_block: Any

    def form(self) -> Form:
        """Return how elements are stored; raise :class:`CorruptValue` if the row is of no column."""
        return Form.read(self.dtype, self.block_bytes, self.compression, self.checksum)

    @property
    def ids(self) -> tuple[int, int]:
        """The ids that its blocks may have: the first, and the one behind the last."""
        return self.id * SERIALS, (self.id + 1) * SERIALS


@dataclass
class ColumnCheck:
    """The check of one column, which only reads.

    Attributes
    ----------
    found
        Called with each problem, in a sentence, but that of the summaries.
    wrong_summaries
        The start and id of the blocks whose summary is of other elements.
    """

    binding: Binding
    database: Maintenance
    sql: CareStatements
    state: ColumnState
    found: Callable[[str], None]
    wrong_summaries: list[tuple[Any, int]] = field(default_factory=list)

    def run(self) -> None:
        """Read the whole column."""
        state = self.state
        try:
            form = state.form()
        except CorruptValue as error:
            self.found(f"its row has {error}")
            return
        if self._check_row():
            self._check_tail(form)
        self._check_blocks(form)

    @property
    def summary_problem(self) -> str | None:
        """What is wrong with the summaries, if anything is."""
        if not self.wrong_summaries:
            return None
        many, first = len(self.wrong_summaries), min(start for start, _ in self.wrong_summaries)
        return f"the summaries of {many} blocks, the first at element {first}, are of other elements than theirs"

    def _check_row(self) -> bool:
        state = self.state
        numbers = (state.length, state.sealed, state.last_block)
        are_ints = all(type(number) is int for number in numbers)
        if are_ints and 0 <= state.sealed <= state.length < 2**62 and 0 <= state.last_block < SERIALS:
            return True
        self.found(f"its row has length {state.length!r}, sealed {state.sealed!r} and last_block {state.last_block!r}")
        return False

    def _check_tail(self, form: Form) -> None:
        state = self.state
        row = self.binding.one(self.sql.tail, state.id)
        if row is None:
            return
        storage_class, stored = row
        if storage_class not in self.database.CLASSES["value"]:
            self.found(f"its tail is {storage_class.upper()}")
            return
        expected = state.length - state.sealed
        try:
            count, data = form.load_tail(stored)
            if count:
                form.elements.check(data, count)
        except CorruptValue as error:
            self.found(f"its tail: {error}")
            return
        if count != expected:
            self.found(
                f"its tail has {count} elements, rather than the {expected} from {state.sealed} to {state.length}"
            )
        if len(data) > form.block_bytes:
            self.found(f"its tail has {len(data)} bytes, and a block at most {form.block_bytes}")

    def _check_blocks(self, form: Form) -> None:
        state = self.state
        for start, expected in self.binding.all(self.sql.breaks, state.id):
            self.found(f"the block at element {start!r} should begin at {expected!r}: there is a gap, or an overlap")
        many = max(_PAGE_BYTES // form.block_bytes, 1)
        rows: Sequence[Any] = [(-(2**63),)]
        elements = 0
        while rows:
            rows = self.binding.all(self.sql.blocks, state.id, rows[-1][0], many)
            for block_id, start, count, summary, storage_class, stored in rows:
                elements += count if type(count) is int else 0
                place = f"the block at element {start!r}"
                block = self._block(form, place, block_id, count, storage_class, stored)
                if block is None or summary is None:
                    continue
                if type(summary) is not bytes or summary != form.summary(block, count):
                    self.wrong_summaries.append((start, block_id))
        if elements != state.sealed:
            self.found(f"its blocks have {elements} elements, rather than {state.sealed!r}")

    def _block(self, form: Form, place: str, block_id: int, count: Any, storage_class: str, stored: Any) -> Any:
        """Return the block as packed, or None if it cannot be read."""
        low, high = self.state.ids
        last = self.state.last_block
        if not low < block_id < high or (type(last) is int and block_id - low > last):
            self.found(f"{place} has the id {block_id}, beyond those of the column up to {low} + {last!r}")
        if type(count) is not int or count < 1:
            self.found(f"{place} has the count {count!r}")
            return None
        if stored is None:
            self.found(f"{place} has no payload: its elements are lost")
            return None
        if storage_class not in self.database.CLASSES["value"]:
            self.found(f"{place} has a payload that is {storage_class.upper()}")
            return None
        try:
            block = form.load(stored, count)
            form.elements.check(block, count)
        except CorruptValue as error:
            self.found(f"{place}: {error}")
            return None
        if len(block) > form.block_bytes and count > 1:
            self.found(f"{place} has {len(block)} bytes, more than the {form.block_bytes} of block_bytes")
        return block

    def check_orphans(self) -> None:
        """Look for payloads of the column that no block names."""
        many, size = self.binding.one(self.sql.orphans, *self.state.ids)
        if many:
            self.found(orphans_problem(many, size))


def orphans_problem(many: int, size: int) -> str:
    """Return what is wrong with payloads that belong to no block, in a sentence."""
    return f"{many} payloads with {size} bytes belong to no block"
