"""AsyncColumnVault and AsyncColumn: named lists of one dtype, for any number of tasks."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from kohakuvault import AsyncColumnVault, AsyncKVault, ColumnVault, InvalidArgument, NotFound, create_async_engine


@pytest.fixture(params=["sqlite file", "sqlite memory", "postgresql"])
def any_url(request, new_url):
    """Every kind of database, by how connections are lent there."""
    return ":memory:" if request.param == "sqlite memory" else new_url(request.param.removesuffix(" file"))


def on(url, main):
    """Run ``main(vault)`` with a vault on an AsyncEngine."""

    async def run():
        engine = create_async_engine(url)
        try:
            async with AsyncColumnVault(engine) as vault:
                return await main(vault)
        finally:
            await engine.dispose()

    return asyncio.run(run())


async def collected(iterator):
    return [each async for each in iterator]


def test_columns_are_made_found_and_removed(any_url):
    async def main(vault):
        column = await vault.create_column("scores", "f64", checksum=True)
        assert (column.name, await column.dtype()) == ("scores", "f64")
        with pytest.raises(InvalidArgument, match="exists"):
            await vault.create_column("scores", "f64")
        await vault.ensure("names", "str:utf8")
        assert await collected(vault) == ["scores", "names"]
        assert (await vault.exists("names"), await vault.exists("no"), await vault.length()) == (True, False, 2)
        assert await vault.list_columns() == [("scores", "f64", 0), ("names", "str:utf8", 0)]
        await vault.rename_column("scores", "points")
        assert column.name == "points"
        assert await vault.delete_column("names")
        with pytest.raises(NotFound):
            await vault["names"].length()

    on(any_url, main)


def test_a_column_is_a_list(any_url):
    async def numbers():
        for number in range(5):
            yield number

    async def main(vault):
        column = await vault.ensure("n", "i64")
        await column.extend(numbers())
        await column.append(5)
        await column.insert(0, -1)
        assert await column[:] == [-1, 0, 1, 2, 3, 4, 5]
        assert (await column[2], await column.get(-1), await vault["n"][1:3]) == (1, 5, [0, 1])
        await column.set(0, 9)
        await column.set(slice(1, 3), [7, 8])
        await column.delete(-1)
        assert await collected(column) == [9, 7, 8, 2, 3, 4]
        assert (await column.pop(), await column.length()) == (4, 5)
        await column.remove(7)
        await column.sort()
        await column.reverse()
        assert await column.take([0, 0, 3], as_array=False) == [9, 9, 2]
        assert (await column.contains(8), await column.index(8), await column.count(2)) == (True, 1, 1)
        assert (await column.sum(), await column.mean(), await column.min(), await column.max()) == (22, 5.5, 2, 9)
        assert (await column.where(3, 8)).tolist() == [1, 2]
        with pytest.raises(IndexError):
            await column[10]
        assert await vault.check() == []
        await column.clear()
        assert await column.length() == 0

    on(any_url, main)


def test_arrays_are_written_and_read(any_url):
    data = np.random.default_rng(1).standard_normal(20_000)

    async def main(vault):
        column = await vault.ensure("x", "f64")
        await column.append_array(data)
        assert np.array_equal(await column.to_numpy(), data)
        assert np.array_equal(np.concatenate([batch async for batch in column.iter_batches(3000)]), data)
        assert await collected(column) == data.tolist()
        vectors = await vault.ensure("v", "vec:f32:4")
        await vectors.extend(np.eye(4, dtype="f4"))
        assert np.array_equal(await vectors[1:3], np.eye(4, dtype="f4")[1:3])

    on(any_url, main)


def test_rows_and_parquet(any_url, tmp_path):
    async def main(vault):
        await vault.ensure("a", "i64")
        await vault.ensure("b", "str:utf8")
        await vault.append_rows({"a": [1, 2], "b": ["x", "y"]})
        await vault.append_row({"a": 3, "b": "z"})
        await vault.to_parquet(tmp_path / "rows.parquet")
        assert await vault.from_parquet(tmp_path / "rows.parquet") == 3
        assert await vault["b"][:] == ["x", "y", "z"] * 2
        assert (await vault.to_arrow(["a"])).num_rows == 6
        await vault.vacuum()
        assert (await vault.stats())["columns"] == 2
        assert await vault["a"].check() == []

    on(any_url, main)


def test_fifty_tasks_append_to_one_column(any_url):
    async def main(vault):
        await vault.ensure("n", "i64")

        async def work(number):
            column = vault["n"]
            for step in range(4):
                await column.append(number * 4 + step)

        await asyncio.gather(*(work(number) for number in range(50)))
        assert sorted(await vault["n"][:]) == list(range(200))
        assert await vault.check() == []

    on(any_url, main)


def test_a_column_that_was_made_in_a_transaction_that_was_rolled_back_is_gone(any_url):
    async def main(vault):
        await vault.ensure("other", "i64")
        with pytest.raises(ZeroDivisionError):
            async with vault.transaction():
                column = await vault.create_column("n", "i64")
                await column.append(1)
                assert await column.length() == 1
                raise ZeroDivisionError
        with pytest.raises(NotFound):
            await column.append(1)
        again = await vault.create_column("n", "f64")
        await again.append(1.5)
        assert await again[:] == [1.5]

    on(any_url, main)


def test_an_append_that_is_cancelled_is_whole(any_url):
    async def main(vault):
        column = await vault.ensure("n", "i64")

        async def numbers():
            for number in range(3000):
                yield number
            await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(column.extend(numbers()), 0.2)
        assert await column.length() == 0
        tasks = [asyncio.create_task(column.extend([number] * 3)) for number in range(40)]
        for step, task in enumerate(tasks):
            await asyncio.sleep(0.001)
            if step % 2:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = await column[:]
        assert len(found) % 3 == 0
        assert all(found[start : start + 3] == found[start : start + 1] * 3 for start in range(0, len(found), 3))
        assert set(range(0, 40, 2)) <= set(found)
        assert await vault.check() == []

    on(any_url, main)


def test_bound_to_a_session_columns_are_part_of_its_transaction(url):
    async def run():
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            vault = AsyncColumnVault(session)
            column = await vault.ensure("n", "i64")
            await session.commit()
            await column.extend([1, 2])
            await AsyncKVault(session).put("a", 1)
            await session.rollback()
            await column.append(3)
            await session.commit()
        assert await AsyncColumnVault(engine)["n"][:] == [3]
        await engine.dispose()

    asyncio.run(run())


def test_what_is_written_is_what_other_containers_read(tmp_path):
    async def run():
        async with AsyncColumnVault(tmp_path / "app.db", block_bytes=1024) as vault:
            await (await vault.ensure("n", "i64")).extend(range(1000))
            assert (await vault["n"].storage_info())["blocks"] > 1

    asyncio.run(run())
    assert list(ColumnVault(tmp_path / "app.db")["n"]) == list(range(1000))


def test_a_read_cache_is_coherent(tmp_path):
    async def run():
        path = tmp_path / "app.db"
        async with AsyncColumnVault(path, read_cache=1 << 20) as vault, AsyncColumnVault(path) as other:
            column = await vault.ensure("n", "i64")
            await column.extend(range(1000))
            assert [await column[5] for _ in range(10)] == [5] * 10
            assert vault._known().read_cache.reason is None
            assert vault._known().read_cache.hits > 0
            await other["n"].set(5, -5)
            assert await column[5] == -5

    asyncio.run(run())
