"""``RowList``: the Column that a row owns; see :func:`~kohakuvault.orm.vault_list`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import BigInteger, Table, bindparam, column, select, table, update
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Session
from typing_extensions import Self

from .binding import Binding, bind_to
from .binding.joined import JoinedBinding
from .column.absent import AbsentBlocks, RowBlocks
from .column.blocks import Blocks
from .column.options import chosen_form
from .column.vault_caching import CAP_BYTES
from .columns import Column, ColumnVault, form_of
from .errors import CorruptValue, NotFound, SchemaMismatch
from .lending import DriverCursor
from .maintenance import Problem
from .orm.attached import attached_to
from .orm.row_containers.list_attribute import ListAttribute
from .orm.row_containers.triggers import VaultList
from .orm.tables import ColumnRecord, table_of
from .row_triggers import require_triggers
from .statements import Statement

__all__ = ["RowList", "row_list"]

# The id of no column, which `ColumnBase` knows too.
_NONE = 0


def row_list(session: Session, attribute: ListAttribute, identity: tuple[Any, ...]) -> RowList:
    """Return the list of the row with a primary key."""
    binding = cast(JoinedBinding, bind_to(session))
    vault = binding.column_vault
    if vault is None or vault._binding is None:
        vault = binding.column_vault = ColumnVault(session)
    return RowList(vault, attribute, identity)


class RowList(Column[Any]):
    """The list of one row: a column without a name, which its row refers to once there is one.

    Until something is written there is none, and it reads as empty.

    Parameters
    ----------
    vault
        That of the row's Session.
    attribute
        Which list of the row.
    identity
        The row's primary key.
    """

    def __init__(self, vault: ColumnVault, attribute: ListAttribute, identity: tuple[Any, ...]) -> None:
        self._attribute = attribute
        self._identity = identity
        key = identity[0] if len(identity) == 1 else identity
        name = f"{attribute.table.name}.{attribute.name} of {key!r:.100}"
        super().__init__(vault, name, _NONE, chosen_form(attribute.dtype, **attribute.options))
        self._references = reference_statements(attribute.table, attribute.name, vault.binding.dialect)

    # -- which column it is ----------------------------------------------------------------------

    def _find_again(self, binding: Binding) -> None:
        self._id = _NONE
        self._know_nothing()

    def _seek(self, binding: Binding) -> None:
        """Take the column that the row refers to, if it does."""
        row = binding.one(self._references.find, *self._identity)
        if row is None:
            raise self._gone()
        column_id, dtype, *rest = row
        if column_id is None:
            return
        if dtype is None:
            raise CorruptValue(
                f"the row refers to a list, {self.name!r}, with the id {column_id}, which there is not: something else "
                f"deleted it. Set the column {self._attribute.name!r} of the row to NULL"
            )
        if dtype != self.dtype:
            raise SchemaMismatch(
                f"{self.name!r} was made with dtype {dtype!r}, and is declared as {self.dtype!r}: declare it as it is, "
                "or copy the elements of every row to a list under another name"
            )
        self._take(*form_of(self.name, column_id, dtype, *rest))
        # A rollback may undo its making.
        binding.made_in_transaction()

    def _take(self, column_id: int, form: Any) -> None:
        if form != self._form:
            for name in ("_element", "_tail_element", "_piece"):
                vars(self).pop(name, None)
            self._form, self._size = form, form.direct_size
        self._id = column_id

    def _make(self, cursor: DriverCursor) -> None:
        """Make the column and have the row refer to it, unless another has just done so."""
        row = cursor.one(self._references.lock, *self._identity)
        if row is None:
            raise self._gone()
        if row[0] is not None:
            found = cursor.one(self._sql.column_of_id, row[0])
            if found is None:
                raise self._gone()
            self._take(*form_of(self.name, row[0], *found[1:]))
            return
        binding = cast(JoinedBinding, self._vault.binding)
        for triggers in attached_to(self._attribute.table, VaultList):
            require_triggers(binding, triggers)
        form = self._form
        options = (form.block_bytes, 0, form.compression, form.checksum, b"")
        (column_id,) = cursor.one(self._sql.insert_column, None, form.elements.dtype, 0, 0, *options)
        cursor.run(self._references.set, column_id, *self._identity)
        self._id = column_id

    def _gone(self) -> NotFound:
        return NotFound(f"the row that would own {self.name!r} does not exist, or has been deleted")

    # -- what differs from other columns ---------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[DriverCursor]:
        with super()._writing() as cursor:
            if self._id != _NONE:
                yield cursor
                return
            try:
                self._make(cursor)
                yield cursor
            except BaseException:
                # Its making is undone.
                self._find_again(self._vault.binding)
                raise
        self._vault.binding.made_in_transaction()

    def _made(self) -> None:
        """Make the column if there is none."""
        if self._id == _NONE or self._epoch != self._vault.binding.epoch:
            with self._writing():
                pass

    def _blocks(self, cursor: DriverCursor | Binding) -> Blocks:
        kind = AbsentBlocks if self._id == _NONE else RowBlocks
        return kind(cursor, self._sql, self._id, self._form)

    @property
    def _binding_to_wait(self) -> Binding:
        self._made()
        return self.binding

    @contextmanager
    def cache(self, cap_bytes: int = CAP_BYTES, flush_threshold: int | None = None) -> Iterator[Self]:
        """See :meth:`Column.cache`."""
        self._made()
        with super().cache(cap_bytes, flush_threshold):
            yield self

    def enable_cache(self, cap_bytes: int = CAP_BYTES, flush_threshold: int | None = None) -> None:
        """See :meth:`Column.enable_cache`."""
        self._made()
        super().enable_cache(cap_bytes, flush_threshold)

    def check(self) -> list[Problem]:
        """See :meth:`Column.check`."""
        self._settled  # noqa: B018 (seeks)
        return [] if self._id == _NONE else super().check()

    def storage_info(self) -> dict[str, Any]:
        """See :meth:`Column.storage_info`."""
        self._settled  # noqa: B018 (seeks)
        if self._id != _NONE:
            return super().storage_info()
        form = self._form
        sizes = ("elements", "blocks", "packed_bytes", "payload_bytes", "tail_bytes", "stored_bytes")
        return {
            **dict.fromkeys(sizes, 0),
            "block_bytes": form.block_bytes,
            "compression": None if form.compression is None else f"zstd:{form.compression}",
            "checksum": form.checksum,
        }


class _References:
    """The statements on the column of a table that refers to lists, for one dialect; the last values are the key's."""

    def __init__(self, owners: Table, name: str, dialect: Dialect) -> None:
        # Not the table itself, whose `onupdate` is for the application's changes.
        keys = list(owners.primary_key.columns)
        columns = [column(key.name, key.type) for key in keys]
        reference: Any = column(owners.c[name].name, BigInteger())
        plain = table(owners.name, *columns, reference, schema=owners.schema)
        names = [f"of_key_{number}" for number in range(len(keys))]
        this = [plain.c[key.name] == bindparam(name, type_=key.type) for key, name in zip(keys, names, strict=True)]
        reference = plain.c[reference.name]
        lists = table_of(ColumnRecord)
        c = lists.c
        found = select(reference, c.dtype, c.block_bytes, c.compression, c.checksum)
        found = found.select_from(plain.outerjoin(lists, (c.id == reference) & c.name.is_(None))).where(*this)
        self.find = Statement(found, names, dialect)
        # Others may go on referring to the row by their foreign keys.
        locked = select(reference).where(*this).with_for_update(key_share=True)
        self.lock = Statement(locked, names, dialect)
        new = {reference.name: bindparam("new_list", type_=BigInteger())}
        self.set = Statement(update(plain).where(*this).values(new), ["new_list", *names], dialect)


@lru_cache(maxsize=256)
def reference_statements(owners: Table, name: str, dialect: Dialect) -> _References:
    """Return the statements on the column ``name`` of a table that refers to lists."""
    return _References(owners, name, dialect)
