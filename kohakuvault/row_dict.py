"""``RowDict``: the KVault that a row owns; see :func:`~kohakuvault.orm.vault_dict`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from .binding import Binding
from .binding.joined import JoinedBinding
from .kv.base import writer
from .kv.check import KVCheck
from .kv.statements import KVStatements, owned_statements
from .kv.streams import Streams
from .kv.write_cache import KVWriteCache
from .kvault import KVault
from .orm.attached import attached_to
from .orm.row_containers.triggers import RowDictTriggers
from .orm.tables import RowDictTable, table_of
from .row_triggers import require_triggers
from .schema import open_tables

__all__ = ["RowDict"]


class RowDict(KVault):
    """The entries that one row owns, in a table with those of all rows: to it there are no others.

    Parameters
    ----------
    session
        The Session of the row's object.
    entity
        The mapped class of the entries.
    owner
        The row's primary key.
    """

    def __init__(self, session: Session, entity: type[RowDictTable], owner: Any) -> None:
        self._owner = owner
        super().__init__(session, entity)

    @property
    def _name(self) -> str:
        return f"{table_of(self.entity).fullname} of {self._owner!r:.100}"

    def _statements(self, binding: Binding) -> KVStatements:
        return owned_statements(table_of(self.entity), binding.dialect, self._owner)

    def _write_cache(self, binding: Binding) -> KVWriteCache:
        cache = binding.row_caches.get(self._name)
        if cache is None:
            cache = binding.row_caches.setdefault(self._name, KVWriteCache(writer(self._sql)))
        assert isinstance(cache, KVWriteCache)
        return cache

    def _open(self, binding: Binding) -> None:
        assert isinstance(binding, JoinedBinding)
        table = table_of(self.entity)
        # There may be many handles, and what was made in an open transaction is looked at anew each time.
        if binding.row_tables.get(table) != binding.epoch:
            open_tables(binding, [table], "dict", {}, create=self._create)
            for triggers in attached_to(table, RowDictTriggers):
                require_triggers(binding, triggers)
            binding.row_tables[table] = binding.epoch

    @property
    def _streams(self) -> Streams:
        table = table_of(self.entity)
        return Streams(self._settled, table, self._sql, create=self._create, owner=(self._owner,))

    def _check(self, **options: Any) -> KVCheck:
        return super()._check(**options, kind="dict", where=table_of(self.entity).c.owner_id == self._owner)

    def _replace(self, items: Iterable[tuple[Any, Any]]) -> None:
        """Set all entries to these, or leave all as they are."""
        with self._settled.writing():
            self.clear()
            self.put_many(items)
