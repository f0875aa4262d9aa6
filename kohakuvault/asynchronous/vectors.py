"""``AsyncVectorKVault``: vectors with a value each, searched for the nearest, for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ..indexing.care import Progress
from ..orm.tables import VectorTable
from ..rows.metadata import Declaration
from ..vectors import VectorKVault
from .container import AsyncBind, AsyncContainer
from .operations import operation, scan

__all__ = ["AsyncVectorKVault"]


class AsyncVectorKVault(AsyncContainer[VectorKVault]):
    """A :class:`~kohakuvault.VectorKVault` whose methods are coroutines.

    Parameters
    ----------
    bind
        A file path, URL, AsyncEngine, AsyncConnection, AsyncSession or another container for asyncio.
    table, dimensions, metric, vector_type, index, index_options, metadata, read_only, create, pickle
        As for :class:`~kohakuvault.VectorKVault`.

    Notes
    -----
    The methods are those of :class:`~kohakuvault.VectorKVault`, with ``await``; ``exists`` and ``length`` are ``id in
    vault`` and ``len(vault)``. With ``async for``: ``vault``, which gives ids, and ``items``. ``c`` and ``entity`` are
    there once it is open.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     async with AsyncVectorKVault(":memory:", dimensions=3) as search:
    ...         await search.insert_many([[1, 0, 0], [0, 1, 0]], ["east", "north"])
    ...         return await search.search([1, 0.1, 0], k=1)
    >>> asyncio.run(main())  # doctest: +ELLIPSIS
    [(1, 0.0049..., 'east')]
    """

    _has_it, _each = "await vault.exists(id)", "async for id in vault"

    def __init__(
        self,
        bind: AsyncBind,
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
    ) -> None:
        options = {
            "table": table,
            "dimensions": dimensions,
            "metric": metric,
            "vector_type": vector_type,
            "index": index,
            "index_options": index_options,
            "metadata": metadata,
            "read_only": read_only,
            "create": create,
            "pickle": pickle,
        }
        make: Callable[[Any], VectorKVault] = partial(_made, options)
        super().__init__(bind, make, read_only=read_only)

    @property
    def c(self) -> ReadOnlyColumnCollection[str, Any]:
        """The table's columns, for conditions: ``where=vault.c.lang == "en"``."""
        return self._known().c

    @property
    def entity(self) -> type[VectorTable]:
        """The mapped class of the rows."""
        return self._known().entity

    # Writing.
    insert = operation(VectorKVault.insert)
    insert_many = operation(VectorKVault.insert_many)
    upsert = operation(VectorKVault.upsert)
    upsert_many = operation(VectorKVault.upsert_many)
    update = operation(VectorKVault.update)
    delete = operation(VectorKVault.delete)
    delete_many = operation(VectorKVault.delete_many)
    clear = operation(VectorKVault.clear)

    # Searching.
    search = operation(VectorKVault.search)
    search_many = operation(VectorKVault.search_many)
    radius = operation(VectorKVault.radius)
    get = operation(VectorKVault.get)

    # By id.
    get_by_id = operation(VectorKVault.get_by_id)
    get_many = operation(VectorKVault.get_many)
    get_metadata = operation(VectorKVault.get_metadata)
    exists = operation(VectorKVault.exists)
    length = operation(VectorKVault.__len__)
    count = operation(VectorKVault.count)
    __aiter__ = scan(VectorKVault.__iter__)
    items = scan(VectorKVault.items)

    # Care.
    info = operation(VectorKVault.info)
    check = operation(VectorKVault.check)
    stats = operation(VectorKVault.stats)
    rebuild_index = operation(VectorKVault.rebuild_index)
    recall = operation(VectorKVault.recall)

    def optimize(self, progress: Progress | bool | None = None) -> Coroutine[Any, Any, None]:
        """Make the index and the database compact; see :meth:`VectorKVault.optimize`."""
        return self._operate(lambda vault: vault.optimize(progress))


def _made(options: dict[str, Any], source: Any) -> VectorKVault:
    return VectorKVault(source, **options)
