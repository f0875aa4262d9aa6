"""Which store an index has, by its kind."""

from __future__ import annotations

from ..orm.vector_index import VectorIndex
from .block_store import BlockStore
from .kinds import kind_on_sqlite
from .store import IndexStore
from .vec import VecStore
from .vss import VssStore

__all__ = ["STORES", "store_of"]

STORES: tuple[type[IndexStore], ...] = (BlockStore, VecStore, VssStore)

# Of the kinds that are not blocks of ours.
_OF_KIND: dict[str, type[IndexStore]] = {"vec": VecStore, "vss": VssStore}


def store_of(index: VectorIndex) -> IndexStore:
    """Return the store of an index on SQLite."""
    return _OF_KIND.get(kind_on_sqlite(index), BlockStore)(index)
