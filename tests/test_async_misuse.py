"""Containers for asyncio where they are used as others are: what they say, instead of waiting for ever."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import kohakuvault
from kohakuvault import (
    AsyncColumnVault,
    AsyncKVault,
    Column,
    InvalidArgument,
    KVault,
    create_async_engine,
)
from kohakuvault.orm import vault_dict, vault_list


def opened(name: str, bind: Any) -> Any:
    if name == "AsyncColumn":
        return AsyncColumnVault(bind)["scores"]
    return getattr(kohakuvault, name)(bind)


# -- what only waits by `await` ----------------------------------------------------------------------

INSTEAD = {
    "AsyncKVault": ("await kv.exists(key)", "async for key in kv"),
    "AsyncColumnVault": ("await vault.exists(name)", "async for name in vault"),
    "AsyncColumn": ("await column.contains(value)", "async for value in column"),
    "AsyncVectorKVault": ("await vault.exists(id)", "async for id in vault"),
    "AsyncTextVault": ("await texts.contains(text)", "async for id in texts"),
}


@pytest.mark.parametrize("name", INSTEAD)
def test_in_names_the_method_that_waits(name):
    with pytest.raises(TypeError) as caught:
        "a" in opened(name, ":memory:")  # noqa: B015
    assert INSTEAD[name][0] in str(caught.value)


@pytest.mark.parametrize("iterate", [iter, list, set, sorted])
@pytest.mark.parametrize("name", INSTEAD)
def test_iteration_names_async_for(name, iterate):
    with pytest.raises(TypeError) as caught:
        iterate(opened(name, ":memory:"))
    assert INSTEAD[name][1] in str(caught.value)


@pytest.mark.parametrize("name", INSTEAD)
def test_len_assignment_and_with_are_type_errors(name):
    container = opened(name, ":memory:")
    with pytest.raises(TypeError):
        len(container)
    with pytest.raises(TypeError):
        container["a"] = 1
    with pytest.raises(TypeError):
        del container["a"]
    with pytest.raises(TypeError), container:
        pass


# What waits in memory, opens files, or is of a Mapping.
CACHES = {"background_flush_error", "cache", "disable_cache", "enable_cache", "flush_cache", "lock_cache"}
AUTO_PACK = {"auto_pack_enabled", "disable_auto_pack", "enable_auto_pack"}
NOT_THERE = {
    "AsyncKVault": CACHES | AUTO_PACK | {"memoize", "open"},
    "AsyncColumnVault": CACHES | {"entity", "get", "items", "keys", "values"},
    "AsyncColumn": CACHES - {"background_flush_error", "lock_cache"},
    "AsyncVectorKVault": AUTO_PACK,
    "AsyncTextVault": AUTO_PACK,
}


@pytest.mark.parametrize("name", INSTEAD)
def test_every_other_public_method_is_there(name):
    plain, ours = getattr(kohakuvault, name.removeprefix("Async")), getattr(kohakuvault, name)
    public = {each for each in dir(plain) if not each.startswith("_")}
    assert {each for each in public if not hasattr(ours, each)} == NOT_THERE[name] | {"binding"}


# -- several event loops -----------------------------------------------------------------------------


def in_threads(work, threads=3):
    """Run ``work(number)``, a coroutine, in as many event loops at once; return what it raised or returned."""
    found = []
    together = threading.Barrier(threads)

    async def main(number):
        together.wait()
        try:
            result = await work(number)
        except InvalidArgument as error:
            result = error
        # All loops go on running until the last one has tried.
        await asyncio.to_thread(together.wait)
        return result

    def run(number):
        found.append(asyncio.run(main(number)))

    started = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
    return found


@pytest.mark.parametrize("bound_to", ["path", "engine", "container"])
@pytest.mark.parametrize("name", ["AsyncKVault", "AsyncColumnVault", "AsyncVectorKVault", "AsyncTextVault"])
def test_a_container_is_of_one_running_loop(tmp_path, name, bound_to):
    bind: Any = tmp_path / "app.db"
    if bound_to == "engine":
        bind = create_async_engine(bind)
    elif bound_to == "container":
        bind = AsyncKVault(bind)
    container = opened(name, bind)

    async def work(number):
        return await container.length()

    found = in_threads(work)
    errors = [each for each in found if isinstance(each, InvalidArgument)]
    assert (len(errors), found.count(0)) == (2, 1)
    for error in errors:
        assert name in str(error)
        assert "a container in each loop" in str(error)
        assert f"share {name.removeprefix('Async')}," in str(error)


def test_an_engine_is_of_one_running_loop(url):
    engine = create_async_engine(url)

    async def work(number):
        length = await AsyncKVault(engine).length()
        await engine.dispose()
        return length

    found = in_threads(work)
    assert sum(isinstance(each, InvalidArgument) for each in found) == 2


def test_a_container_in_each_loop_is_right(url):
    async def work(number):
        engine = create_async_engine(url)
        kv = AsyncKVault(engine)
        for step in range(20):
            await kv.put(f"{number} {step}", step)
        await engine.dispose()

    with KVault(url) as kv:
        in_threads(work)
        assert len(kv) == 60


def test_a_loop_that_has_ended_hands_on(url):
    engine = create_async_engine(url, poolclass=NullPool)
    kv = AsyncKVault(engine)

    async def main():
        found = await kv.incr("n")
        await engine.dispose()
        return found

    assert [asyncio.run(main()) for _ in range(3)] == [1, 2, 3]


# -- the containers of mapped objects ----------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Sensor(Base):
    __tablename__ = "sensor"
    id: Mapped[int] = mapped_column(primary_key=True)
    settings: Mapped[KVault] = vault_dict()
    readings: Mapped[Column[float]] = vault_list("f64")


USES = {
    "the dict": lambda sensor: sensor.settings["unit"],
    "the list": lambda sensor: sensor.readings[0],
    "adding": lambda sensor: sensor.readings.append(1.0),
    "setting": lambda sensor: sensor.settings.put("unit", "°F"),
    "replacing": lambda sensor: setattr(sensor, "readings", [1.0]),
    "removing": lambda sensor: delattr(sensor, "settings"),
}


def with_sensor(url, main):
    async def run():
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            sensor = Sensor(settings={"unit": "°C"}, readings=[18.5, 19.0])
            session.add(sensor)
            await main(session, sensor)
        await engine.dispose()

    asyncio.run(run())


@pytest.mark.parametrize("use", USES)
def test_outside_of_run_sync_a_rows_container_names_it(url, use):
    async def main(session, sensor):
        await session.commit()
        for _ in range(2):
            with pytest.raises(InvalidArgument, match=r"await session\.run_sync\("):
                USES[use](sensor)
        # Nothing was begun, and nothing is broken.
        contents = await session.run_sync(lambda _: (sensor.settings.copy(), sensor.readings[:]))
        assert contents == ({"unit": "°C"}, [18.5, 19.0])
        # What was given inside of it says the same outside.
        with pytest.raises(InvalidArgument, match=r"await session\.run_sync\("):
            USES[use](sensor)

    with_sensor(url, main)


def test_so_does_that_of_a_pending_object_which_can_still_be_stored(url):
    async def main(session, sensor):
        with pytest.raises(InvalidArgument, match=r"await session\.run_sync\("):
            sensor.settings
        await session.commit()
        assert await session.run_sync(lambda _: sensor.readings[:]) == [18.5, 19.0]

    with_sensor(url, main)


def test_so_does_a_container_that_was_made_inside_of_run_sync(url):
    async def main(session, sensor):
        await session.commit()
        kv = await session.run_sync(lambda session: KVault(session))
        for use in (
            lambda: kv.get("a"),
            lambda: kv.put("a", 1),
            lambda: list(kv),
            lambda: KVault(session.sync_session),
        ):
            with pytest.raises(InvalidArgument, match=r"await session\.run_sync\("):
                use()
        assert await session.run_sync(lambda _: len(kv)) == 0

    with_sensor(url, main)
