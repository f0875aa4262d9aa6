"""``AsyncTextVault``: texts with a value each, searched by their words, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy.sql.base import ReadOnlyColumnCollection

from ..orm.hybrid import RANK_CONSTANT
from ..orm.tables import TextTable
from ..rows.conditions import Where
from ..rows.metadata import Declaration
from ..text.many import Item
from ..texts import TextVault
from ..vector.base import VectorBase
from .container import AsyncBind, AsyncContainer
from .operations import operation, scan, taken
from .vectors import AsyncVectorKVault
from .waiting import await_

__all__ = ["AsyncTextVault"]


class AsyncTextVault(AsyncContainer[TextVault]):
    """A :class:`~kohakuvault.TextVault` whose methods are coroutines.

    Parameters
    ----------
    bind
        A file path, URL, AsyncEngine, AsyncConnection, AsyncSession or another container for asyncio.
    table, columns, tokenize, weights, prefix, postgresql_config, metadata, read_only, create, pickle
        As for :class:`~kohakuvault.TextVault`.

    Notes
    -----
    The methods are those of :class:`~kohakuvault.TextVault`, with ``await``; ``await texts[text]`` is there, and for
    ``texts[text] = value``, ``del texts[text]``, ``text in texts`` and ``len(texts)`` there are ``put``, ``remove``,
    ``contains`` and ``length``. With ``async for``: ``texts``, which gives ids, and ``items``. ``c``, ``entity``,
    ``columns``, ``tokenize`` and ``weights`` are there once it is open.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     async with AsyncTextVault(":memory:", tokenize="porter") as texts:
    ...         await texts.insert_many([("Crabs run sideways.", 10), ("Ants carry.", 6)])
    ...         return [value for id, score, value in await texts.search("crab")]
    >>> asyncio.run(main())
    [10]
    """

    _has_it, _each = "await texts.contains(text)", "async for id in texts"

    def __init__(
        self,
        bind: AsyncBind,
        table: str | type[TextTable] = "text_vault",
        columns: Sequence[str] | None = None,
        *,
        tokenize: str | None = None,
        weights: Sequence[float] | None = None,
        prefix: Sequence[int] | None = None,
        postgresql_config: str | None = None,
        metadata: Declaration = None,
        read_only: bool = False,
        create: bool = True,
        pickle: bool = False,
    ) -> None:
        options = {
            "table": table,
            "columns": columns,
            "tokenize": tokenize,
            "weights": weights,
            "prefix": prefix,
            "postgresql_config": postgresql_config,
            "metadata": metadata,
            "read_only": read_only,
            "create": create,
            "pickle": pickle,
        }
        make: Callable[[Any], TextVault] = partial(_made, options)
        super().__init__(bind, make, read_only=read_only)

    @property
    def c(self) -> ReadOnlyColumnCollection[str, Any]:
        """The table's columns, for conditions: ``where=texts.c.lang == "en"``."""
        return self._known().c

    @property
    def entity(self) -> type[TextTable]:
        """The mapped class of the rows."""
        return self._known().entity

    @property
    def columns(self) -> list[str]:
        """The names of the columns of text."""
        return self._known().columns

    @property
    def tokenize(self) -> str:
        """How texts are split into words."""
        return self._known().tokenize

    @property
    def weights(self) -> tuple[float, ...] | None:
        """How much a word counts in each column; None if all count the same."""
        return self._known().weights

    # Writing.
    insert = operation(TextVault.insert)
    upsert = operation(TextVault.upsert)
    update = operation(TextVault.update)
    delete = operation(TextVault.delete)
    delete_many = operation(TextVault.delete_many)
    clear = operation(TextVault.clear)

    # Not `async def`: an operation is part of the transaction that it is called in.

    def insert_many(self, items: Iterable[Item] | AsyncIterable[Item]) -> Coroutine[Any, Any, list[int]]:
        """Add texts, all of them or none, and return their ids; see :meth:`TextVault.insert_many`."""
        return self._operate(lambda vault: vault.insert_many(taken(items)))

    # Searching.
    search = operation(TextVault.search)
    search_with_text = operation(TextVault.search_with_text)
    search_with_snippets = operation(TextVault.search_with_snippets)
    count_matches = operation(TextVault.count_matches)

    def hybrid_search(
        self,
        query: str,
        query_vector: Any,
        k: int = 10,
        *,
        vectors: AsyncVectorKVault | VectorBase,
        column: str | None = None,
        where: Where = None,
        weights: Sequence[float] = (1.0, 1.0),
        rank_constant: float = RANK_CONSTANT,
        candidates: int | None = None,
        escape: bool = True,
        any_word: bool = True,
    ) -> Coroutine[Any, Any, list[tuple[int, float, Any]]]:
        """Return the rows that are best by words and by meaning together; see :meth:`TextVault.hybrid_search`.

        ``vectors`` is an :class:`AsyncVectorKVault` on the same engine: ``AsyncVectorKVault(texts, …)``.
        """

        def search(vault: TextVault) -> list[tuple[int, float, Any]]:
            return vault.hybrid_search(
                query,
                query_vector,
                k,
                vectors=await_(vectors._opened()) if isinstance(vectors, AsyncVectorKVault) else vectors,
                column=column,
                where=where,
                weights=weights,
                rank_constant=rank_constant,
                candidates=candidates,
                escape=escape,
                any_word=any_word,
            )

        return self._operate(search)

    # By exactly the text.
    __getitem__ = operation(TextVault.__getitem__)
    get = operation(TextVault.get)
    put = operation(TextVault.__setitem__)
    remove = operation(TextVault.__delitem__)
    contains = operation(TextVault.__contains__)

    # By id.
    get_by_id = operation(TextVault.get_by_id)
    get_many = operation(TextVault.get_many)
    get_metadata = operation(TextVault.get_metadata)
    exists = operation(TextVault.exists)
    length = operation(TextVault.__len__)
    count = operation(TextVault.count)
    keys = operation(TextVault.keys)
    __aiter__ = scan(TextVault.__iter__)
    items = scan(TextVault.items)

    # Care.
    info = operation(TextVault.info)
    check = operation(TextVault.check)
    stats = operation(TextVault.stats)
    rebuild_index = operation(TextVault.rebuild_index)


def _made(options: dict[str, Any], source: Any) -> TextVault:
    return TextVault(source, **options)
