"""``AsyncColumnVault``: named lists of one dtype each, in the application's own database, for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from ..columns import ColumnVault
from .column import AsyncColumn
from .container import AsyncBind, AsyncContainer
from .operations import operation, scan

__all__ = ["AsyncColumnVault"]


class AsyncColumnVault(AsyncContainer[ColumnVault]):
    """A :class:`~kohakuvault.ColumnVault` whose methods are coroutines, and whose columns are :class:`AsyncColumn`.

    Parameters
    ----------
    bind
        A file path, URL, AsyncEngine, AsyncConnection, AsyncSession or another container for asyncio.
    create, block_bytes, read_only, read_cache
        As for :class:`~kohakuvault.ColumnVault`.

    Notes
    -----
    ``vault[name]`` is not awaited: what is done with the column is. Elsewhere the methods are those of
    :class:`~kohakuvault.ColumnVault`, with ``await``; ``exists`` and ``length`` are ``name in vault`` and
    ``len(vault)``, and ``async for`` gives the names.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     async with AsyncColumnVault(":memory:") as vault:
    ...         scores = await vault.create_column("scores", "f64")
    ...         await scores.extend([95.5, 87.3, 92.1])
    ...         return await vault["scores"][-2:], await scores.length()
    >>> asyncio.run(main())
    ([87.3, 92.1], 3)
    """

    _has_it, _each = "await vault.exists(name)", "async for name in vault"

    def __init__(
        self,
        bind: AsyncBind,
        *,
        create: bool = True,
        block_bytes: int | None = None,
        read_only: bool = False,
        read_cache: int | None = None,
    ) -> None:
        options = {"create": create, "block_bytes": block_bytes, "read_only": read_only, "read_cache": read_cache}
        make: Callable[[Any], ColumnVault] = partial(_made, options)
        super().__init__(bind, make, read_only=read_only)

    def __getitem__(self, name: str) -> AsyncColumn:
        return AsyncColumn(self, name)

    # Not `async def`: an operation is part of the transaction that it is called in.

    def create_column(
        self,
        name: str,
        dtype: str,
        *,
        block_bytes: int | None = None,
        compression: str | None = None,
        checksum: bool = False,
    ) -> Coroutine[Any, Any, AsyncColumn]:
        """Make a new, empty column; see :meth:`ColumnVault.create_column`."""
        options: Any = {"block_bytes": block_bytes, "compression": compression, "checksum": checksum}
        return self._operate(lambda vault: AsyncColumn(self, name, vault.create_column(name, dtype, **options)))

    def ensure(
        self,
        name: str,
        dtype: str,
        *,
        block_bytes: int | None = None,
        compression: str | None = None,
        checksum: bool = False,
    ) -> Coroutine[Any, Any, AsyncColumn]:
        """Return the column of that name, made if it is missing; see :meth:`ColumnVault.ensure`."""
        options: Any = {"block_bytes": block_bytes, "compression": compression, "checksum": checksum}
        return self._operate(lambda vault: AsyncColumn(self, name, vault.ensure(name, dtype, **options)))

    rename_column = operation(ColumnVault.rename_column)
    delete_column = operation(ColumnVault.delete_column)
    list_columns = operation(ColumnVault.list_columns)
    exists = operation(ColumnVault.__contains__)
    length = operation(ColumnVault.__len__)
    __aiter__ = scan(ColumnVault.__iter__)

    append_row = operation(ColumnVault.append_row)
    append_rows = operation(ColumnVault.append_rows)
    to_arrow = operation(ColumnVault.to_arrow)
    from_arrow = operation(ColumnVault.from_arrow)
    to_parquet = operation(ColumnVault.to_parquet)
    from_parquet = operation(ColumnVault.from_parquet)

    check = operation(ColumnVault.check)
    stats = operation(ColumnVault.stats)
    storage_info = operation(ColumnVault.storage_info)
    vacuum = operation(ColumnVault.vacuum)


def _made(options: dict[str, Any], source: Any) -> ColumnVault:
    return ColumnVault(source, **options)
