"""AsyncVectorKVault: vectors with a value each, searched by any number of tasks."""

from __future__ import annotations

import asyncio
from unittest import mock

import numpy as np
import pytest
from sqlalchemy import Integer, String, text
from sqlalchemy.ext.asyncio import AsyncSession

from kohakuvault import (
    AsyncKVault,
    AsyncVectorKVault,
    InvalidArgument,
    NotFound,
    VectorKVault,
    create_async_engine,
    create_engine,
)
from kohakuvault.indexing import kinds

DIMENSIONS = 16
VECTORS = np.random.default_rng(1).standard_normal((300, DIMENSIONS)).astype("f4")


@pytest.fixture(params=["sqlite file", "sqlite memory", "postgresql"])
def any_url(request, new_url):
    """Every kind of database, by how connections are lent there."""
    return ":memory:" if request.param == "sqlite memory" else new_url(request.param.removesuffix(" file"))


def on(url, main, **options):
    """Run ``main(vault)`` with a vault on an AsyncEngine."""

    async def run():
        engine = create_async_engine(url)
        try:
            async with AsyncVectorKVault(engine, dimensions=DIMENSIONS, **options) as vault:
                return await main(vault)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def test_rows_are_written_read_and_searched(any_url):
    async def main(vault):
        assert await vault.insert(VECTORS[0], "first") == 1
        assert await vault.insert_many(VECTORS[1:50], range(1, 50)) == list(range(2, 51))
        assert (await vault.search(VECTORS[7], k=3))[0][0] == 8
        assert [rows[0][0] for rows in await vault.search_many(VECTORS[:5], k=1)] == [1, 2, 3, 4, 5]
        assert (await vault.radius(VECTORS[7], 1e-6))[0][0] == 8
        assert await vault.get(VECTORS[7]) == 7
        vector, value = await vault.get_by_id(1)
        assert np.allclose(vector, VECTORS[0])
        assert value == "first"
        await vault.update(1, value="changed")
        assert await vault.upsert(1, VECTORS[0], "again") == 1
        assert await vault.upsert_many([2, 60], VECTORS[:2], ["x", "y"]) == [2, 60]
        assert (await vault.length(), await vault.count(), await vault.exists(60)) == (51, 51, True)
        await vault.delete(60)
        with pytest.raises(NotFound):
            await vault.get_by_id(60)
        assert await vault.delete_many([2, 3, 99]) == 2
        assert [id async for id in vault] == [1, *range(4, 51)]
        assert [id async for id, (_, _) in vault.items()] == [1, *range(4, 51)]
        assert (await vault.info())["dimensions"] == DIMENSIONS
        assert await vault.check() == []
        assert (await vault.stats())["database_bytes"] > 0
        await vault.clear()
        assert await vault.search(VECTORS[0], k=1) == []

    on(any_url, main)


def test_results_are_those_of_a_vector_kvault(new_url):
    for database in ("sqlite", "postgresql"):
        url = new_url(database)
        engine = create_engine(url)
        sync = VectorKVault(engine, dimensions=DIMENSIONS, metric="l2", index="exact")
        sync.insert_many(VECTORS, range(300))
        expected = sync.search_many(VECTORS[:10], k=5)

        async def main(vault, expected=expected):
            assert await vault.search_many(VECTORS[:10], k=5) == expected
            assert await asyncio.gather(*(vault.search(vector, k=5) for vector in VECTORS[:10])) == expected

        on(url, main, metric="l2", index="exact")
        engine.dispose()


def test_metadata_filters(any_url):
    async def main(vault):
        await vault.insert_many(
            VECTORS[:20], metadata=[{"lang": "en" if row % 2 else "de", "year": row} for row in range(20)]
        )
        found = await vault.search(VECTORS[3], k=20, where=(vault.c.lang == "de") & (vault.c.year > 10))
        assert sorted(row[0] for row in found) == [13, 15, 17, 19]
        assert await vault.get_metadata(1) == {"lang": "de", "year": 0}

    on(any_url, main, metadata={"lang": String(), "year": Integer()})


def test_columns_are_known_once_it_is_open(tmp_path):
    vault = AsyncVectorKVault(tmp_path / "app.db", dimensions=3)
    with pytest.raises(InvalidArgument, match="await it"):
        vault.c


def test_fifty_tasks_insert_and_search_at_once(any_url):
    async def main(vault):
        async def work(number):
            id = await vault.insert(VECTORS[number], number)
            assert (await vault.search(VECTORS[number], k=1))[0][0] == id

        await asyncio.gather(*(work(number) for number in range(50)))
        assert await vault.length() == 50
        assert await vault.check() == []

    on(any_url, main)


@pytest.mark.parametrize("kind", ["exact", "rabitq", "ivf"])
def test_what_is_written_is_folded_into_the_index(tmp_path, kind):
    async def main(vault):
        with mock.patch.dict(kinds.FIRST_FOLD, {kind: 100}), mock.patch.object(kinds, "FOLD", 40):
            await vault.insert_many(VECTORS, range(300))
            async with vault.engine.connect() as connection:
                pending = (
                    await connection.execute(text(f"SELECT count(*) FROM {vault._known()._index.name}_pending"))
                ).scalar()
            assert pending == 0
            found = await asyncio.gather(*(vault.search(vector, k=1) for vector in VECTORS[:30]))
        assert sum(rows[0][0] == place + 1 for place, rows in enumerate(found)) >= 28
        await vault.rebuild_index()
        await vault.optimize()
        assert await vault.check() == []

    on(tmp_path / "app.db", main, index=kind, metric="l2")


def test_a_transaction_is_of_vectors_too(any_url):
    async def main(vault):
        kv = AsyncKVault(vault)
        with pytest.raises(ZeroDivisionError):
            async with kv.transaction():
                await vault.insert_many(VECTORS[:10])
                await kv.put("a", 1)
                assert await vault.length() == 10
                raise ZeroDivisionError
        assert (await vault.length(), await kv.length(), await vault.check()) == (0, 0, [])

    on(any_url, main)


def test_bound_to_a_session_vectors_are_part_of_its_transaction(url):
    async def run():
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            vault = AsyncVectorKVault(session, dimensions=DIMENSIONS)
            await vault.insert(VECTORS[0], "gone")
            await session.rollback()
            await vault.insert(VECTORS[1], "kept")
            await session.commit()
        other = AsyncVectorKVault(engine, dimensions=DIMENSIONS)
        assert [value async for _, (_, value) in other.items()] == ["kept"]
        await engine.dispose()

    asyncio.run(run())


def test_an_insert_that_is_cancelled_is_whole(any_url):
    async def main(vault):
        tasks = [asyncio.create_task(vault.insert_many(VECTORS[:5], [number] * 5)) for number in range(30)]
        for step, task in enumerate(tasks):
            await asyncio.sleep(0.001)
            if step % 2:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await vault.length() % 5 == 0
        assert await vault.length() >= 75
        assert await vault.check() == []

    on(any_url, main)
