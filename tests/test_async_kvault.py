"""AsyncKVault: a KVault whose methods are coroutines, for any number of tasks."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import kohakuvault
from kohakuvault import (
    AsyncColumnVault,
    AsyncKVault,
    CorruptValue,
    DatabaseBusy,
    InvalidArgument,
    KVault,
    NotFound,
    ReadOnlyDatabase,
    StreamLost,
    UnsupportedType,
    create_async_engine,
)


@asynccontextmanager
async def engine_on(url, **options) -> AsyncIterator:
    engine = create_async_engine(url, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture(params=["sqlite file", "sqlite memory", "postgresql"])
def any_url(request, new_url):
    """Every kind of database, by how connections are lent there."""
    return ":memory:" if request.param == "sqlite memory" else new_url(request.param.removesuffix(" file"))


def on(url, main, **options):
    """Run ``main(kv)`` with a vault on an AsyncEngine."""

    async def run():
        async with engine_on(url, **options) as engine, AsyncKVault(engine) as kv:
            return await main(kv)

    return asyncio.run(run())


async def collected(iterator, most=None):
    found = []
    async for each in iterator:
        found.append(each)
        if len(found) == most:
            break
    return found


# -- what it does ----------------------------------------------------------------------------------


def test_entries_are_written_and_read(any_url):
    async def main(kv):
        await kv.put("a", {"x": (1, 2.5)})
        await kv.put(2, b"two")
        assert await kv.get("a") == {"x": (1, 2.5)}
        assert await kv["a"] == {"x": (1, 2.5)}
        assert (await kv.get("missing"), await kv.get("missing", 7)) == (None, 7)
        assert (await kv.exists(2), await kv.exists("2"), await kv.length()) == (True, False, 2)
        with pytest.raises(NotFound):
            await kv["missing"]
        assert (await kv.delete(2), await kv.delete(2)) == (True, False)
        assert await kv.pop("missing", 5) == 5
        assert await kv.setdefault("n", 1) == 1
        assert (await kv.incr("n", 4), await kv.decr("n")) == (5, 4)
        assert (await kv.add("n", 9), await kv.add("m", 9)) == (False, True)
        assert await kv.replace("m", 9, 10)
        assert await kv.popitem() == ("m", 10)
        await kv.put("soon", 1, ttl=1000)
        assert await kv.expires_at("soon") > 0
        assert await kv.touch("soon")
        assert await kv.expires_at("soon") is None
        await kv.clear()
        assert await kv.length() == 0

    on(any_url, main)


def test_many_entries_are_written_and_read(any_url):
    async def pairs():
        for number in range(2500):
            await asyncio.sleep(0)
            yield f"k{number}", number

    async def main(kv):
        await kv.put_many(pairs())
        await kv.put_many([("k1", "one")])
        await kv.update({"a": 1}, b=2)
        await kv.update([("c", 3)])
        assert await kv.length() == 2503
        assert await kv.get_many(["k0", "k1", "no"], default=0) == [0, "one", 0]
        assert await kv.delete_many(["a", "b", "no"]) == 2
        assert (await kv.first())[0] == "c"
        everything = await kv.copy()
        assert list(everything.items()) == await collected(kv.items())

    on(any_url, main)


def test_iteration_is_that_of_a_kvault(any_url):
    async def main(kv):
        await kv.put_many((number, str(number)) for number in range(1000))
        await kv.put_many((f"key {number:03}", number) for number in range(300))
        everything = [*range(1000), *(f"key {number:03}" for number in range(300))]
        assert await collected(kv) == everything
        assert await collected(kv.keys()) == everything
        assert await collected(kv.values(limit=3)) == ["0", "1", "2"]
        assert await collected(kv.items("key 00", 2)) == [("key 000", 0), ("key 001", 1)]
        assert await collected(kv.range(998, 1000)) == [(998, "998"), (999, "999")]
        assert await collected(kv.prefix("key 1", reverse=True), 1) == [("key 199", 199)]
        assert (await kv.first(), await kv.last()) == ((0, "0"), ("key 299", 299))

    on(any_url, main)


def test_what_is_read_before_a_corrupt_value_is_given(tmp_path):
    path = tmp_path / "app.db"
    with KVault(path) as kv:
        kv.put_many((number, number) for number in range(5))
        with kv.engine.begin() as connection:
            connection.execute(text("UPDATE kv SET value = x'ff' WHERE key = 3"))

    async def main(kv):
        found = []
        with pytest.raises(CorruptValue):
            async for key, _ in kv.range():
                found.append(key)
        assert found == [0, 1, 2]

    on(path, main)


def test_the_database_may_be_written_while_it_is_iterated_over(any_url):
    async def main(kv):
        await kv.put_many((number, number) for number in range(300))
        async for key in kv:
            await kv.put(key, -1)
            await kv.put(f"new {key}", 1)
        assert await kv.length() == 600

    on(any_url, main)


def test_an_iteration_that_is_left_half_way_holds_nothing(any_url):
    async def main(kv):
        await kv.put_many((number, number) for number in range(2000))
        started = [kv.items() for _ in range(30)]
        for iterator in started:
            await anext(iterator)
        # On PostgreSQL each would have a connection of the pool, on SQLite a read transaction.
        await kv.put("a", 1)
        await kv.optimize()
        assert await kv.length() == 2001

    on(any_url, main)


def test_other_tasks_go_on_while_a_vault_is_at_work(any_url):
    async def main(kv):
        await kv.put_many((number, number) for number in range(3000))
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        assert len(await collected(kv)) == 3000
        ticking.cancel()
        assert ticks > 3

    on(any_url, main)


# -- tasks -----------------------------------------------------------------------------------------


def test_fifty_tasks_write_and_read_at_once(any_url):
    async def main(kv):
        async def work(number):
            for step in range(4):
                await kv.incr("n")
                await kv.put((f"task {number}"), step)
                assert await kv.get(f"task {number}") == step

        await asyncio.gather(*(work(number) for number in range(50)))
        assert await kv.get("n") == 200
        assert await kv.length() == 51
        assert await kv.check() == []

    on(any_url, main)


def test_fifty_tasks_open_one_vault_at_once(any_url):
    async def run():
        async with engine_on(any_url) as engine:
            kv = AsyncKVault(engine, "shared")
            await asyncio.gather(*(kv.put(number, number) for number in range(50)))
            vaults = [AsyncKVault(engine, "shared") for _ in range(50)]
            assert await asyncio.gather(*(vault.length() for vault in vaults)) == [50] * 50

    asyncio.run(run())


def test_requests_of_a_web_application_share_a_vault(any_url):
    """As FastAPI does it: one engine for the application's life, a Session and a task for each request."""

    async def application():
        async with engine_on(any_url) as engine:
            cache = AsyncKVault(engine, "cache")

            async def request(number):
                if any_url != ":memory:":
                    async with AsyncSession(engine) as session:
                        visits = await AsyncKVault(session, "visits").incr("n")
                        await session.commit()
                else:
                    visits = await AsyncKVault(engine, "visits").incr("n")
                await cache.put(number, visits)
                return await cache.get(number)

            answers = await asyncio.gather(*(request(number) for number in range(30)))
            assert sorted(answers) == list(range(1, 31))

    asyncio.run(application())


def test_one_vault_serves_several_loops_one_after_the_other(tmp_path):
    kv = AsyncKVault(tmp_path / "app.db")

    async def add():
        await asyncio.gather(*(kv.incr("n") for _ in range(5)))
        found = await kv.get("n")
        # The connections of a loop end with it.
        await kv.engine.dispose()
        return found

    assert [asyncio.run(add()) for _ in range(3)] == [5, 10, 15]


# -- transactions ----------------------------------------------------------------------------------


def test_a_transaction_takes_effect_as_a_whole_or_not_at_all(any_url):
    async def main(kv):
        async with kv.transaction():
            await kv.put("a", 1)
            await kv.put_many([("b", 2), ("c", 3)])
        with pytest.raises(ZeroDivisionError):
            async with kv.transaction():
                await kv.put("a", 10)
                await kv.delete("b")
                assert await collected(kv.items()) == [("a", 10), ("c", 3)]
                raise ZeroDivisionError
        assert await kv.copy() == {"a": 1, "b": 2, "c": 3}

    on(any_url, main)


def test_transactions_nest(any_url):
    async def main(kv):
        async with kv.transaction():
            await kv.put("a", 1)
            with pytest.raises(ZeroDivisionError):
                async with kv.transaction():
                    await kv.put("b", 1)
                    raise ZeroDivisionError
            async with kv.transaction():
                await kv.put("c", 1)
        assert await collected(kv) == ["a", "c"]

    on(any_url, main)


def test_a_transaction_is_of_all_containers_of_the_engine(any_url):
    async def run():
        async with engine_on(any_url) as engine:
            kv, columns = AsyncKVault(engine), AsyncColumnVault(engine)
            scores = await columns.create_column("scores", "i64")
            with pytest.raises(ZeroDivisionError):
                async with kv.transaction() as connection:
                    await kv.put("a", 1)
                    await scores.append(1)
                    assert (await connection.execute(text("SELECT count(*) FROM kv"))).scalar() == 1
                    raise ZeroDivisionError
            assert (await kv.length(), await scores.length()) == (0, 0)
            async with columns.transaction():
                await kv.put("a", 1)
                await scores.append(1)
            assert (await kv.length(), await scores.length()) == (1, 1)

    asyncio.run(run())


def test_what_is_called_in_a_transaction_is_part_of_it_in_whatever_task_it_runs(any_url):
    async def main(kv):
        with pytest.raises(ZeroDivisionError):
            async with kv.transaction():
                await asyncio.gather(*(kv.put_many([(number, 1), (-number, 1)]) for number in range(1, 20)))
                await asyncio.wait_for(kv.put("a", 1), 5)
                assert await kv.length() == 39
                raise ZeroDivisionError
        assert await kv.length() == 0

    on(any_url, main)


def test_a_task_that_is_started_in_a_transaction_is_not_part_of_it(any_url):
    async def main(kv):
        async def write():
            await kv.put("by the task", 1)

        with pytest.raises(ZeroDivisionError):
            async with kv.transaction():
                await kv.put("a", 1)
                task = asyncio.create_task(write())
                await asyncio.sleep(0.01)
                raise ZeroDivisionError
        await task
        assert await collected(kv) == ["by the task"]

    on(any_url, main)


def test_what_was_called_in_a_transaction_cannot_run_behind_it(any_url):
    async def main(kv):
        async with kv.transaction():
            late = kv.put("a", 1)
        with pytest.raises(InvalidArgument, match="await it inside"):
            await late
        assert await kv.length() == 0

    on(any_url, main)


def test_a_transaction_that_waits_for_another_writer_of_its_own_is_told(tmp_path):
    async def main(kv):
        async def write():
            await kv.put("b", 1)

        async with kv.transaction():
            await kv.put("a", 1)
            with pytest.raises(DatabaseBusy, match="task"):
                await asyncio.create_task(write())
        assert await collected(kv) == ["a"]

    on(tmp_path / "app.db", main, pragmas={"busy_timeout": 50})


def test_a_session_that_writes_makes_a_vault_wait(tmp_path):
    async def run():
        async with engine_on(tmp_path / "app.db") as engine:
            kv = await AsyncKVault(engine)
            async with AsyncSession(engine) as session:
                await AsyncKVault(session).put("a", 1)
                writing = asyncio.create_task(kv.incr("a"))
                await asyncio.sleep(0.05)
                assert not writing.done()
                await session.commit()
            assert await writing == 2

    asyncio.run(run())


def test_a_snapshot_reads_one_state(new_url):
    async def run(url):
        async with engine_on(url) as engine:
            kv, other = AsyncKVault(engine), AsyncKVault(engine)
            await kv.put("a", 1)
            async with kv.snapshot():
                assert await kv.get("a") == 1
                await asyncio.create_task(_put(other, "a", 2))
                assert (await kv.get("a"), await collected(kv.items())) == (1, [("a", 1)])
                with pytest.raises(ReadOnlyDatabase):
                    await kv.put("a", 3)
            assert await kv.get("a") == 2

    for database in ("sqlite", "postgresql"):
        asyncio.run(run(new_url(database)))


async def _put(kv, key, value):
    await kv.put(key, value)


# -- cancellation ----------------------------------------------------------------------------------


def test_a_write_that_is_cancelled_in_the_middle_leaves_nothing(any_url):
    async def main(kv):
        async def pairs():
            for number in range(1500):
                yield number, number
            await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kv.put_many(pairs()), 0.2)
        assert await kv.length() == 0
        await kv.put("a", 1)
        assert await kv.copy() == {"a": 1}

    on(any_url, main)


def test_a_transaction_that_is_cancelled_leaves_nothing(any_url):
    async def main(kv):
        async def write():
            async with kv.transaction():
                await kv.put("a", 1)
                await asyncio.sleep(60)

        task = asyncio.create_task(write())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await kv.length() == 0
        await kv.put("a", 2)
        assert await kv.get("a") == 2

    on(any_url, main)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_cancelled_and_when_writes_are_whole(any_url, seed):
    chance = random.Random(seed)

    async def main(kv):
        await kv.put_many([("a", 0), ("b", 0)])

        async def write():
            if chance.random() < 0.5:
                async with kv.transaction():
                    await kv.incr("a")
                    await kv.incr("b")
            else:
                both = await kv.get("a") + 1
                await kv.put_many([("a", both), ("b", both)])

        tasks = []
        for _ in range(60):
            tasks.append(asyncio.create_task(write()))
            await asyncio.sleep(chance.random() * 0.004)
            chance.choice(tasks[-5:]).cancel()
            if chance.random() < 0.2:
                chance.choice(tasks[-5:]).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(task.exception()) for task in tasks if not task.cancelled()} <= {type(None)}
        first, second = await kv.get_many(["a", "b"])
        assert first == second
        await asyncio.gather(*(kv.incr("a") for _ in range(20)))
        assert await kv.get("a") == first + 20
        assert await kv.check() == []

    on(any_url, main)


# -- binds -----------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_account"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def test_bound_to_a_session_operations_are_part_of_its_transaction(url):
    async def run():
        async with engine_on(url) as engine:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            async with AsyncSession(engine) as session:
                kv, columns = AsyncKVault(session, "settings"), AsyncColumnVault(session)
                for commits in (False, True):
                    session.add(User(name="Alice"))
                    await kv.put("theme", "dark")
                    # The Session was flushed first.
                    assert (await session.execute(text("SELECT count(*) FROM user_account"))).scalar() == 1
                    await (await columns.ensure("scores", "f64")).extend([95.5, 87.3])
                    await (session.commit() if commits else session.rollback())
            other = AsyncKVault(engine, "settings")
            assert await other.copy() == {"theme": "dark"}
            assert await AsyncColumnVault(engine)["scores"][:] == [95.5, 87.3]

    asyncio.run(run())


def test_a_transaction_of_a_session_is_a_savepoint(url):
    async def run():
        async with engine_on(url) as engine, AsyncSession(engine) as session:
            kv = AsyncKVault(session)
            await kv.put("a", 1)
            with pytest.raises(ZeroDivisionError):
                async with kv.transaction() as connection:
                    await kv.put("b", 1)
                    assert (await connection.execute(text("SELECT count(*) FROM kv"))).scalar() == 2
                    raise ZeroDivisionError
            await asyncio.gather(*(kv.put_many([(number, 1), (-number, 1)]) for number in range(1, 10)))
            await session.commit()
            assert await kv.length() == 19

    asyncio.run(run())


def test_bound_to_a_connection_operations_are_part_of_its_transaction(url):
    async def run():
        async with engine_on(url) as engine:
            async with engine.connect() as connection:
                kv = AsyncKVault(connection)
                await kv.put("a", 1)
                await connection.rollback()
                await kv.put("b", 1)
                await connection.commit()
            assert await collected(AsyncKVault(engine)) == ["b"]
            with pytest.raises(InvalidArgument, match="not open"):
                await AsyncKVault(engine.connect()).length()

    asyncio.run(run())


def test_a_scoped_session_is_that_of_the_task(url):
    async def run():
        async with engine_on(url) as engine:
            scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
            await AsyncKVault(scoped).put("a", 1)
            await scoped.commit()
            await scoped.remove()
            assert await AsyncKVault(engine).get("a") == 1

    asyncio.run(run())


def test_the_same_path_in_one_loop_is_the_same_engine(tmp_path):
    async def run():
        path = tmp_path / "app.db"
        async with AsyncKVault(path) as kv, AsyncColumnVault(f"sqlite:///{path}") as columns:
            assert kv.engine is columns.engine
            column = await columns.create_column("c", "i64")
            with pytest.raises(ZeroDivisionError):
                async with kv.transaction():
                    await kv.put("a", 1)
                    await column.append(1)
                    raise ZeroDivisionError
            assert (await kv.length(), await column.length()) == (0, 0)
        async with AsyncKVault(path) as again:
            assert again.engine is not kv._bind

    asyncio.run(run())


def test_a_vault_in_memory_is_shared_by_taking_it_as_bind():
    async def run():
        async with AsyncKVault(":memory:") as kv, AsyncKVault(kv) as same, AsyncKVault(":memory:") as other:
            await kv.put("a", 1)
            assert (await same.get("a"), await other.get("a")) == (1, None)
            with pytest.raises(ZeroDivisionError):
                async with same.transaction():
                    await kv.put("b", 1)
                    raise ZeroDivisionError
            assert await collected(same) == ["a"]

    asyncio.run(run())


def test_a_closed_vault_says_so(tmp_path):
    async def run():
        kv = AsyncKVault(tmp_path / "app.db")
        assert "not open" in repr(kv)
        assert await kv is kv
        assert "app.db" in repr(kv)
        await kv.close()
        await kv.close()
        assert "closed" in repr(kv)
        with pytest.raises(InvalidArgument, match="closed"):
            await kv.get("a")

    asyncio.run(run())


def test_wrong_binds_are_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="KVault takes that"):
        AsyncKVault(kohakuvault.create_engine(tmp_path / "app.db"))
    with pytest.raises(InvalidArgument, match="int"):
        AsyncKVault(5)


def test_options_are_those_of_a_kvault(tmp_path):
    async def run():
        path = tmp_path / "app.db"
        async with AsyncKVault(path, "own", pickle=True) as kv:
            await kv.put("a", CorruptValue)
            assert await kv.get("a") is CorruptValue
        async with AsyncKVault(path, "own", read_only=True) as kv:
            with pytest.raises(ReadOnlyDatabase):
                await kv.put("a", 1)
        async with AsyncKVault(path, "own") as kv:
            with pytest.raises(UnsupportedType):
                await kv.put("b", object())

    asyncio.run(run())


def test_a_read_cache_is_coherent(tmp_path):
    async def run():
        path = tmp_path / "app.db"
        async with AsyncKVault(path, read_cache=1 << 20) as kv, AsyncKVault(path) as other:
            await kv.put("a", 1)
            cache = kv._known().read_cache
            assert cache.reason is None
            assert [await kv.get("a") for _ in range(10)] == [1] * 10
            assert cache.hits > 0
            await other.put("a", 2)
            assert await kv.get("a") == 2

    asyncio.run(run())


def test_writes_never_wait_in_memory(tmp_path):
    async def run():
        async with engine_on(tmp_path / "app.db") as engine, engine.connect() as connection:
            with pytest.raises(InvalidArgument, match="awaited"):
                await connection.run_sync(lambda connection: KVault(connection.engine).enable_cache())

    asyncio.run(run())


# -- files and care --------------------------------------------------------------------------------


class AsyncFile:
    """A file of asyncio, such as FastAPI's UploadFile."""

    def __init__(self, data: bytes = b"") -> None:
        self.file = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return self.file.read(size)

    async def write(self, data: bytes) -> int:
        await asyncio.sleep(0)
        return self.file.write(data)


def test_files_are_stored_and_given_back_in_pieces(any_url):
    data = random.Random(1).randbytes(700_000)

    async def chunks():
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    async def main(kv):
        for key, reader in {
            "bytes": data,
            "file": io.BytesIO(data),
            "async": AsyncFile(data),
            "chunks": chunks(),
        }.items():
            assert await kv.put_file(key, reader) == len(data)
            assert await kv.get(key) == data
            assert b"".join(await collected(kv.chunks(key))) == data
        plain, waited = io.BytesIO(), AsyncFile()
        assert await kv.get_to_file("file", plain) == await kv.get_to_file("file", waited) == len(data)
        assert plain.getvalue() == waited.file.getvalue() == data
        with pytest.raises(StreamLost):
            async for _ in kv.chunks("async", 1000):
                await kv.delete("async")

    on(any_url, main)


def test_care_is_that_of_a_kvault(tmp_path):
    async def main(kv):
        await kv.put_many((number, number) for number in range(1000))
        assert await kv.check() == []
        assert (await kv.stats())["entries"] == 1000
        assert await kv.remove_expired() == 0
        await kv.optimize()
        assert (await kv.checkpoint())[0] == 0
        told = []
        await kv.backup(tmp_path / "copy.db", progress=lambda done, total: told.append((done, total)))
        assert told
        assert len(KVault(tmp_path / "copy.db")) == 1000

    on(tmp_path / "app.db", main)
