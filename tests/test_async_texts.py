"""AsyncTextVault: texts with a value each, searched by any number of tasks."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from sqlalchemy import String
from sqlalchemy.ext.asyncio import AsyncSession

from kohakuvault import (
    AsyncKVault,
    AsyncTextVault,
    AsyncVectorKVault,
    InvalidArgument,
    NotFound,
    TextVault,
    UnsupportedType,
    VectorKVault,
    create_async_engine,
)

DOCS = [("Rust is a language, as C++ is", 1), ("Python: a language", ("tuple", 2)), ("Café crème", None)]


@pytest.fixture(params=["sqlite file", "sqlite memory", "postgresql"])
def any_url(request, new_url):
    """Every kind of database, by how connections are lent there."""
    return ":memory:" if request.param == "sqlite memory" else new_url(request.param.removesuffix(" file"))


def on(url, main, **options):
    """Run ``main(vault)`` with a vault on an AsyncEngine."""

    async def run():
        engine = create_async_engine(url)
        try:
            async with AsyncTextVault(engine, **options) as vault:
                return await main(vault)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def test_rows_are_written_read_and_searched(any_url):
    async def main(texts):
        assert await texts.insert(*DOCS[0]) == 1

        async def others():
            for doc in DOCS[1:]:
                yield doc

        assert await texts.insert_many(others()) == [2, 3]
        assert [row[0] for row in await texts.search("c++ RUST")] == [1]
        assert sorted(row[0] for row in await texts.search("rust or creme", any_word=True)) == [1, 3]
        assert (await texts.search_with_text("café"))[0][2:] == (DOCS[2][0], None)
        assert (await texts.search_with_snippets("python"))[0][2] == "**Python**: a language"
        assert await texts.count_matches("language") == 2
        with pytest.raises(InvalidArgument, match="at position"):
            await texts.search("rust AND (" if texts.engine.dialect.name == "sqlite" else "rust & (", escape=False)
        assert await texts[DOCS[1][0]] == await texts.get(DOCS[1][0]) == ("tuple", 2)
        assert await texts.get("nothing", "default") == "default"
        with pytest.raises(NotFound):
            await texts["nothing"]
        await texts.set("nothing", 5)
        assert await texts.contains("nothing")
        assert await texts.contains(4)
        await texts.remove("nothing")
        await texts.update(1, value="changed")
        assert await texts.get_by_id(1) == (DOCS[0][0], "changed")
        assert await texts.upsert(9, "the ninth", 9) == 9
        assert (await texts.length(), await texts.count(), await texts.exists(9)) == (4, 4, True)
        assert await texts.keys() == [id async for id in texts] == [1, 2, 3, 9]
        assert [item async for item in texts.items()][-1] == (9, ("the ninth", 9))
        assert len(await texts.get_many([1, 9])) == 2
        await texts.delete(9)
        assert await texts.delete_many([2, 99]) == 1
        assert (await texts.info())["columns"] == ["content"]
        assert (await texts.stats())["rows"] == 2
        await texts.rebuild_index()
        assert await texts.check() == []
        await texts.clear()
        assert await texts.search("rust") == []

    on(any_url, main)


def test_columns_metadata_and_conditions(any_url):
    async def main(texts):
        await texts.insert({"title": "Crabs", "body": "run"}, 1, {"lang": "en"})
        await texts.insert({"title": "Ants", "body": "of crabs"}, 2, {"lang": "de"})
        assert [row[0] for row in await texts.search("crab")] == [1, 2]
        assert [row[0] for row in await texts.search("crab", where=texts.c.lang == "de")] == [2]
        assert [row[0] for row in await texts.search("crab", column="body")] == [2]
        assert await texts.get_metadata(2) == {"lang": "de"}
        assert await texts.get({"title": "Ants"}) == 2

    on(any_url, main, columns=["title", "body"], tokenize="porter", weights=[3, 1], metadata={"lang": String()})


def test_it_has_every_method_of_a_text_vault():
    renamed = {"__setitem__", "__delitem__", "__contains__", "__iter__", "__len__"}
    # What info() says, and what no container for asyncio has.
    elsewhere = {
        "columns",
        "tokenize",
        "weights",
        "binding",
        "auto_pack_enabled",
        "enable_auto_pack",
        "disable_auto_pack",
    }
    of_vault = {
        name
        for name, _ in inspect.getmembers(TextVault)
        if not name.startswith("_") and name not in renamed and name not in elsewhere
    }
    assert of_vault - set(dir(AsyncTextVault)) == set()


def test_hybrid_search(any_url):
    async def main(texts):
        vectors = AsyncVectorKVault(texts, dimensions=2)
        ids = await texts.insert_many([("gzip.compress", "a"), ("make a file smaller", "b"), ("sleep", "c")])
        await vectors.upsert_many(ids, [[1, 0], [0.9, 0.1], [0, 1]])
        found = await texts.hybrid_search("how to gzip", [1, 0], vectors=AsyncVectorKVault(texts, dimensions=2))
        assert [row[2] for row in found] == ["a", "b", "c"]
        async with texts.transaction():
            await texts.insert("gzip", "d")
            few = texts.hybrid_search("gzip", [1, 0], 2, vectors=vectors, weights=(1, 0))
            assert sorted([row[2] for row in (await asyncio.gather(few))[0]]) == ["a", "d"]
        with pytest.raises(UnsupportedType, match="AsyncVectorKVault"):
            await texts.hybrid_search("gzip", [1, 0], vectors=VectorKVault(":memory:", dimensions=2))

    on(any_url, main)


def test_fifty_tasks_insert_and_search_at_once(any_url):
    async def main(texts):
        async def work(number):
            id = await texts.insert(f"common word{number}", number)
            assert [row[0] for row in await texts.search(f"word{number}")] == [id]
            await texts.set("one text for all", number)

        await asyncio.gather(*(work(number) for number in range(50)))
        assert await texts.length() == 51
        assert await texts.count_matches("common") == 50
        assert await texts.check() == []

    on(any_url, main)


def test_a_transaction_is_of_texts_too(any_url):
    async def main(texts):
        kv = AsyncKVault(texts)
        with pytest.raises(ZeroDivisionError):
            async with texts.transaction():
                await texts.insert("rust", 1)
                await kv.put("a", 1)
                assert len(await texts.search("rust")) == 1
                raise ZeroDivisionError
        assert await texts.search("rust") == []
        assert await kv.length() == 0

    on(any_url, main)


def test_bound_to_a_session_texts_are_part_of_its_transaction(url):
    async def main():
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            texts = AsyncTextVault(session)
            await texts.insert("rust", 1)
            assert len(await texts.search("rust")) == 1
            await session.rollback()
            assert await texts.search("rust") == []
            await texts.insert("rust", 2)
            await session.commit()
        await engine.dispose()

    asyncio.run(main())
    with TextVault(url) as texts:
        assert [row[2] for row in texts.search("rust")] == [2]
