"""AsyncTextVault: texts with a value each, searched by any number of tasks."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Integer, String
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
    create_engine,
)

TEXTS = [
    "Crabs have ten legs and run sideways.",
    "Ants carry what they find.",
    "A crab carries its shell.",
    "Rust has a crab, and no legs.",
]


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
    async def main(vault):
        assert await vault.insert(TEXTS[0], {"legs": 10}) == 1
        assert await vault.insert_many(zip(TEXTS[1:], [6, 10, 0], strict=True)) == [2, 3, 4]
        assert {row[0] for row in await vault.search("crab")} == {1, 3, 4}
        assert [row[3] for row in await vault.search_with_text("sideways")] == [{"legs": 10}]
        assert [row[2] for row in await vault.search_with_snippets("ants")] == ["**Ants** carry what they find."]
        assert (await vault.count_matches("crab"), await vault.count_matches("crab", escape=False)) == (3, 3)
        assert await vault.get_by_id(2) == (TEXTS[1], 6)
        await vault.update(2, value="changed")
        assert await vault.upsert(9, "Of bees.", "bees") == 9
        assert await vault.get_many([2, 9, 7]) == [(TEXTS[1], "changed"), ("Of bees.", "bees"), None]
        assert (await vault.length(), await vault.count(), await vault.exists(9)) == (5, 5, True)
        await vault.delete(9)
        with pytest.raises(NotFound):
            await vault.get_by_id(9)
        assert await vault.delete_many([4, 99]) == 1
        assert [id async for id in vault] == await vault.keys() == [1, 2, 3]
        assert await vault.keys(limit=1, offset=1) == [2]
        assert [text async for id, (text, value) in vault.items()] == TEXTS[:3]
        assert (await vault.info())["count"] == (await vault.stats())["rows"] == 3
        await vault.rebuild_index()
        assert await vault.check() == []
        await vault.clear()
        assert await vault.search("crab") == []

    on(any_url, main, tokenize="porter")


def test_a_text_is_a_key(any_url):
    async def main(vault):
        await vault.put("of crabs", 10)
        await vault.put("of crabs", 11)
        assert (await vault["of crabs"], await vault.get("of crabs"), await vault.get("of ants", 0)) == (11, 11, 0)
        assert [await vault.contains(key) for key in ("of crabs", "of ants", 1, 2)] == [True, False, True, False]
        await vault.remove("of crabs")
        for operation in (vault.remove, vault.get, vault.__getitem__):
            with pytest.raises(NotFound):
                await operation("of crabs")

    on(any_url, main)


def test_texts_have_columns_weights_and_metadata(any_url):
    async def main(vault):
        assert (vault.columns, vault.tokenize, vault.weights) == (["title", "body"], "porter", (5, 1))
        await vault.insert_many(
            [
                ({"title": "Ants", "body": "Unlike crabs they carry."}, 6, {"lang": "en", "year": 1}),
                ({"title": "Crabs", "body": "They run."}, 10, {"lang": "en", "year": 2}),
                ({"title": "Krabben", "body": "Ein crab ist eine Krabbe."}, 10, {"lang": "de", "year": 3}),
            ]
        )
        assert (await vault.search("crab"))[0][0] == 2
        assert [row[0] for row in await vault.search("crab", column="title")] == [2]
        assert [row[0] for row in await vault.search("crab", where=vault.c.lang == "de")] == [3]
        assert await vault.get_metadata(1) == {"lang": "en", "year": 1}
        assert vault.entity.__tablename__ == "text_vault"

    metadata = {"lang": String(), "year": Integer()}
    on(any_url, main, columns=["title", "body"], tokenize="porter", weights=[5, 1], metadata=metadata)


def test_results_are_those_of_a_text_vault(url):
    engine = create_engine(url)
    sync = TextVault(engine, tokenize="porter")
    sync.insert_many((text, number) for number, text in enumerate(TEXTS * 20))
    meanings = VectorKVault(sync, dimensions=2)
    meanings.upsert_many(range(1, 81), [[number, 80 - number] for number in range(80)])
    expected = sync.search("crab legs", k=30), sync.hybrid_search("crab", [1, 1], k=7, vectors=meanings)

    async def main(vault):
        vectors = AsyncVectorKVault(vault, dimensions=2)
        searches = (vault.search("crab legs", k=30), vault.hybrid_search("crab", [1, 1], k=7, vectors=vectors))
        assert tuple(await asyncio.gather(*searches)) == expected

    on(url, main, tokenize="porter")
    engine.dispose()


def test_hybrid_search_is_part_of_a_transaction(any_url):
    async def main(vault):
        vectors = AsyncVectorKVault(vault, dimensions=2)
        with pytest.raises(ZeroDivisionError):
            async with vault.transaction():
                ids = await vault.insert_many([("gzip", "a"), ("a smaller file", "b")])
                await vectors.upsert_many(ids, [[1, 0], [0.9, 0.1]])
                found = await vault.hybrid_search("gzip", [1, 0], vectors=vectors)
                assert [value for _, _, value in found] == ["a", "b"]
                raise ZeroDivisionError
        assert await vault.hybrid_search("gzip", [1, 0], vectors=vectors) == []
        assert (await vault.length(), await vault.check(), await vectors.check()) == (0, [], [])

    on(any_url, main)


def test_hybrid_search_opens_the_vectors(any_url):
    async def main(vault):
        await vault.insert("gzip", "a")
        vectors = AsyncVectorKVault(vault, dimensions=2)
        assert [value for _, _, value in await vault.hybrid_search("gzip", [1, 0], vectors=vectors)] == ["a"]
        with pytest.raises(UnsupportedType, match="vectors is a VectorKVault"):
            await vault.hybrid_search("gzip", [1, 0], vectors=AsyncKVault(vault))
        async with AsyncVectorKVault(":memory:", dimensions=2) as elsewhere:
            with pytest.raises(InvalidArgument, match="two engines"):
                await vault.hybrid_search("gzip", [1, 0], vectors=elsewhere)

    on(any_url, main)


def test_many_texts_come_from_an_asynchronous_iterator(any_url):
    async def texts(vault, fails=False):
        for number in range(2000):
            if number % 500 == 0:
                await asyncio.sleep(0)
            yield f"text {number}", number
        if fails:
            raise ZeroDivisionError

    async def main(vault):
        assert len(await vault.insert_many(texts(vault))) == 2000
        with pytest.raises(ZeroDivisionError):
            await vault.insert_many(texts(vault, fails=True))
        assert (await vault.length(), await vault.check()) == (2000, [])
        assert [value async for _, (_, value) in vault.items()] == list(range(2000))

    on(any_url, main)


def test_fifty_tasks_insert_and_search_at_once(any_url):
    async def main(vault):
        async def work(number):
            id = await vault.insert(f"word{number}x of many", number)
            assert [row[0] for row in await vault.search(f"word{number}x")] == [id]

        await asyncio.gather(*(work(number) for number in range(50)))
        assert (await vault.length(), await vault.count_matches("many"), await vault.check()) == (50, 50, [])

    on(any_url, main)


def test_bound_to_a_session_texts_are_part_of_its_transaction(url):
    async def run():
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            vault = AsyncTextVault(session)
            vectors = AsyncVectorKVault(session, dimensions=2)
            await vault.insert("is gone", "gone")
            await session.rollback()
            id = await vault.insert("is kept", "kept")
            await vectors.upsert(id, [1, 0])
            assert [row[2] for row in await vault.hybrid_search("kept", [1, 0], vectors=vectors)] == ["kept"]
            await session.commit()
        other = AsyncTextVault(engine)
        assert [value async for _, (_, value) in other.items()] == ["kept"]
        assert (await other.search("gone"), len(await other.search("kept"))) == ([], 1)
        await engine.dispose()

    asyncio.run(run())


def test_a_snapshot_is_of_one_state(url):
    async def main(vault):
        async def other():
            await vault.insert("second", 2)

        await vault.insert("first", 1)
        async with vault.snapshot():
            assert await vault.length() == 1
            await asyncio.create_task(other())
            assert (await vault.length(), await vault.search("second")) == (1, [])
        assert await vault.length() == 2

    on(url, main)


def test_an_insert_that_is_cancelled_is_whole(any_url):
    async def main(vault):
        tasks = [asyncio.create_task(vault.insert_many([(f"a{number}a all", number)] * 5)) for number in range(30)]
        for step, task in enumerate(tasks):
            await asyncio.sleep(0.001)
            if step % 2:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        length = await vault.length()
        assert length % 5 == 0
        assert length >= 75
        assert (await vault.count_matches("all"), await vault.check()) == (length, [])

    on(any_url, main)


def test_a_file_is_opened_by_its_path(tmp_path):
    async def main():
        vault = AsyncTextVault(tmp_path / "app.db", "pages")
        with pytest.raises(InvalidArgument, match="await it"):
            vault.columns
        async with vault:
            await vault.insert("of crabs")
            await vault.optimize()
            await vault.backup(tmp_path / "copy.db")
        async with AsyncTextVault(tmp_path / "copy.db", "pages", read_only=True) as copy:
            assert len(await copy.search("crabs")) == 1

    asyncio.run(main())
