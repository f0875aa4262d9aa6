"""Engines for asyncio: how they are set up, what they are refused, and what SQLAlchemy itself writes on them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Integer, event, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine as plain_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import kohakuvault
from kohakuvault import (
    CannotOpen,
    ColumnVault,
    ExtensionUnavailable,
    InvalidArgument,
    KVault,
    TextVault,
    VectorKVault,
    create_async_engine,
    doctor,
    extension,
)
from kohakuvault.driver_connection import driver_module
from kohakuvault.engine import PRAGMAS, installed
from kohakuvault.indexing import kinds
from kohakuvault.orm import Vector, VectorIndex, nearest

ROWS = "SELECT kv_version(), count(*) FROM kv_rows(x'01')"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


async def values_of(engine, *statements):
    async with engine.connect() as connection:
        return [(await connection.execute(text(statement))).one()[0] for statement in statements]


def test_create_async_engine_sets_up_connections(path):
    async def main():
        engine = create_async_engine(path)
        assert engine.url.drivername == "sqlite+aiosqlite"
        mode, synchronous, keys, version = await values_of(
            engine, "PRAGMA journal_mode", "PRAGMA synchronous", "PRAGMA foreign_keys", ROWS
        )
        assert (mode, synchronous, keys, version) == ("wal", 1, 1, kohakuvault.__version__)
        await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("made_by", ["plugin", "install", "create_async_engine"])
def test_each_way_to_make_an_engine_gives_the_same(path, made_by):
    async def main():
        if made_by == "plugin":
            engine = plain_async_engine(f"sqlite+aiosqlite:///{path}?plugin=kohakuvault&durability=full")
        elif made_by == "install":
            engine = plain_async_engine(f"sqlite+aiosqlite:///{path}")
            assert kohakuvault.install(engine, durability="full") is engine
        else:
            engine = create_async_engine(f"sqlite:///{path}", durability="full")
        assert await values_of(engine, "PRAGMA synchronous", "PRAGMA journal_mode", ROWS) == [
            2,
            "wal",
            kohakuvault.__version__,
        ]
        await engine.dispose()

    asyncio.run(main())


def test_the_rung_is_the_best_of_the_driver(path):
    engine = create_async_engine(path)
    assert driver_module(engine.sync_engine).__name__ == "sqlite3.dbapi2"
    assert installed[engine.sync_engine].rung == extension.best_rung(driver_module(engine.sync_engine))


def test_the_rung_without_any_extension_has_the_functions(path):
    async def main():
        engine = create_async_engine(path, extension="create_function")
        assert await values_of(engine, "SELECT kv_version()") == [kohakuvault.__version__]
        async with kohakuvault.AsyncVectorKVault(engine, dimensions=2) as vault:
            await vault.insert([1, 0], "east")
            assert (await vault.search([1, 0], k=1))[0][2] == "east"
        await engine.dispose()

    asyncio.run(main())


def test_coroutines_and_threads_that_open_connections_at_once_do_not_wait_for_each_other(path, tmp_path):
    other = kohakuvault.create_engine(tmp_path / "other.db", poolclass=sqlalchemy.pool.NullPool)
    found = []

    def in_thread():
        for _ in range(10):
            with other.connect() as connection:
                found.append(connection.execute(text("SELECT kv_version()")).scalar())

    async def main():
        engine = create_async_engine(path, pool_size=20)
        connections = await asyncio.gather(*(engine.connect() for _ in range(20)))
        versions = [(await connection.execute(text(ROWS))).one()[0] for connection in connections]
        await asyncio.gather(*(connection.close() for connection in connections))
        await engine.dispose()
        return versions

    thread = threading.Thread(target=in_thread)
    thread.start()
    versions = asyncio.run(main())
    thread.join()
    assert versions == [kohakuvault.__version__] * 20
    assert found == [kohakuvault.__version__] * 10


def test_connections_from_before_install_are_replaced(path):
    async def main():
        engine = plain_async_engine(f"sqlite+aiosqlite:///{path}")
        await values_of(engine, "SELECT 1")
        kohakuvault.install(engine)
        assert await values_of(engine, ROWS, "PRAGMA journal_mode") == [kohakuvault.__version__, "wal"]
        await engine.dispose()

    asyncio.run(main())


def test_a_connection_in_memory_from_before_install_is_fitted(path):
    async def main():
        engine = plain_async_engine("sqlite+aiosqlite://")
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE t (x)"))
        kohakuvault.install(engine)
        assert await values_of(engine, "SELECT kv_version()", "SELECT count(*) FROM t") == [kohakuvault.__version__, 0]
        await engine.dispose()

    asyncio.run(main())


def test_transactions_that_read_and_then_write_wait_for_each_other(path):
    async def add(engine):
        async with AsyncSession(engine) as session:
            await session.execute(text("UPDATE counter SET n = n + 1"))
            await asyncio.sleep(0.001)
            await session.commit()

    async def main():
        engine = create_async_engine(path)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE counter (n)"))
            await connection.execute(text("INSERT INTO counter VALUES (0)"))
        await asyncio.gather(*(add(engine) for _ in range(10)))
        assert await values_of(engine, "SELECT n FROM counter") == [10]
        await engine.dispose()

    asyncio.run(main())


def test_writes_begin_immediate_and_reads_do_not(path):
    async def main():
        engine = create_async_engine(path)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            raw = (await connection.get_raw_connection()).driver_connection
            assert not raw.in_transaction
            await connection.execute(text("CREATE TABLE t (x)"))
            assert raw.in_transaction
        await engine.dispose()

    asyncio.run(main())


def test_backends_are_loaded(path):
    async def main():
        engine = create_async_engine(path, backends=["vec"])
        ((version,),) = [await values_of(engine, "SELECT vec_version()")]
        assert version.startswith("v")
        await engine.dispose()

    asyncio.run(main())


def test_a_backend_that_is_added_later_is_loaded(path):
    async def main():
        engine = create_async_engine(path)
        async with kohakuvault.AsyncVectorKVault(engine, dimensions=4, index="vec") as vault:
            await vault.insert_many(np.eye(4))
            assert [row[0] for row in await vault.search([1, 0, 0, 0], k=1)] == [1]
            assert await vault.check() == []
        await engine.dispose()

    asyncio.run(main())


def test_read_only_files_cannot_be_written(path):
    KVault(path)["a"] = 1

    async def main():
        engine = create_async_engine(path, read_only=True)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM kv"))).scalar() == 1
            with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
                await connection.execute(text("DELETE FROM kv"))
        await engine.dispose()

    asyncio.run(main())


def test_a_postgresql_url_gets_psycopg_for_asyncio(postgresql_url):
    async def main():
        engine = create_async_engine(postgresql_url.set(drivername="postgresql"))
        assert engine.dialect.is_async
        assert engine.dialect.driver.startswith("psycopg")
        assert await values_of(engine, "SELECT 1") == [1]
        await engine.dispose()

    asyncio.run(main())


def test_wrong_options_are_refused(path, tmp_path):
    with pytest.raises(InvalidArgument, match="durability"):
        create_async_engine(path, durability="sloppy")
    with pytest.raises(InvalidArgument, match="plugin=kohakuvault"):
        create_async_engine(f"sqlite:///{path}?plugin=kohakuvault", durability="full")
    with pytest.raises(InvalidArgument, match="rung"):
        create_async_engine(path, extension="magic")
    with pytest.raises(InvalidArgument, match="backend"):
        create_async_engine(path, backends=["nothing"])
    with pytest.raises(CannotOpen, match="does not exist"):
        create_async_engine(tmp_path / "missing" / "app.db")
    with pytest.raises(InvalidArgument, match="psycopg2"):
        create_async_engine("postgresql+psycopg2://localhost/app")


@pytest.mark.parametrize(
    ("module", "advice"), [("aiosqlite", r"kohakuvault\[async\]"), ("greenlet", r"kohakuvault\[async\]")]
)
def test_what_is_not_installed_is_named(path, module, advice):
    with mock.patch.dict(sys.modules, {module: None}), pytest.raises(InvalidArgument, match=advice):
        create_async_engine(path)


def test_importing_the_package_loads_nothing_for_asyncio():
    loaded = "import sys, kohakuvault; print([m for m in ('greenlet', 'aiosqlite', 'sqlalchemy.ext.asyncio', "
    loaded += "'kohakuvault.asynchronous') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    # SQLAlchemy 2.0 loads greenlet by itself.
    assert done.stdout.strip() in ("[]", "['greenlet']")
    assert {"AsyncKVault", "create_async_engine"} <= set(dir(kohakuvault))
    with pytest.raises(AttributeError, match="AsyncNothing"):
        kohakuvault.AsyncNothing


@pytest.mark.parametrize("blocked", ["sys.modules['greenlet'] = None", "sys.meta_path.insert(0, Blocker())"])
def test_without_greenlet_all_but_the_names_for_asyncio_is_there(blocked):
    code = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "greenlet":
            raise ModuleNotFoundError("No module named 'greenlet'", name="greenlet")

{blocked}
from kohakuvault import *
import kohakuvault

assert KVault(":memory:").setdefault("a", 1) == 1
missing = {{"AsyncColumn", "AsyncColumnVault", "AsyncKVault", "AsyncTextVault", "AsyncVectorKVault"}}
missing.add("create_async_engine")
assert not missing & {{*kohakuvault.__all__, *dir(kohakuvault), *globals()}}
for name in missing:
    try:
        getattr(kohakuvault, name)
    except ImportError as error:
        assert error.name == "greenlet" and name in str(error) and "kohakuvault[async]" in str(error)
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_names_are_there_with_greenlet():
    code = "from kohakuvault import *; AsyncKVault, AsyncTextVault, AsyncVectorKVault, create_async_engine, KVault"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_looks_at_an_engine_inside_of_run_sync(path):
    async def main():
        engine = create_async_engine(path)
        async with engine.connect() as connection:
            report = await connection.run_sync(lambda connection: doctor(connection.engine))
        await engine.dispose()
        with pytest.raises(InvalidArgument, match="run_sync"):
            doctor(engine)
        return report

    report = asyncio.run(main())
    assert report.driver == "sqlite3.dbapi2"
    assert set(report.settings) == set(PRAGMAS)


@pytest.mark.parametrize("container", [KVault, ColumnVault, TextVault, VectorKVault])
def test_other_containers_name_those_for_asyncio(path, container):
    engine = create_async_engine(path)
    for bind in (engine, AsyncSession(engine)):
        with pytest.raises(InvalidArgument, match="AsyncKVault, AsyncColumnVault, AsyncTextVault and AsyncVector"):
            container(bind)


def test_containers_run_on_the_session_of_run_sync(url):
    def use(session):
        KVault(session, "settings")["theme"] = {"dark": True}
        ColumnVault(session).ensure("scores", "f64").extend([95.5, 87.3])
        VectorKVault(session, dimensions=2).insert([1, 0], "east")

    def look(session):
        return (
            KVault(session, "settings").get("theme"),
            list(ColumnVault(session).ensure("scores", "f64")),
            VectorKVault(session, dimensions=2).search([1, 0.1], k=1)[0][2],
        )

    async def main():
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            await session.run_sync(use)
            await session.rollback()
            await session.run_sync(use)
            await session.commit()
        async with AsyncSession(engine) as session:
            assert await session.run_sync(look) == ({"dark": True}, [95.5, 87.3], "east")
        await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("by", ["plain engine", "engine of ours"])
def test_an_index_follows_what_an_async_session_writes(path, by):
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(Integer, primary_key=True)
        embedding: Mapped[np.ndarray] = mapped_column(Vector(8))
        __table_args__ = (VectorIndex("doc_embedding", "embedding", kind="rabitq", metric="l2"),)

    vectors = np.random.default_rng(1).standard_normal((120, 8)).astype("f4")

    async def main():
        engine = (
            create_async_engine(path) if by == "engine of ours" else plain_async_engine(f"sqlite+aiosqlite:///{path}")
        )
        if by == "plain engine":
            # As an application has it that does not care for the functions itself.
            @event.listens_for(engine.sync_engine, "connect")
            def attach(connection, record):
                kohakuvault.driver_connection.in_driver(connection, extension.attach)

        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        with mock.patch.dict(kinds.FIRST_FOLD, {"rabitq": 100}), mock.patch.object(kinds, "FOLD", 40):
            async with AsyncSession(engine) as session:
                session.add_all(Doc(embedding=vector) for vector in vectors)
                await session.commit()
        async with AsyncSession(engine) as session:
            pending = (await session.execute(text("SELECT count(*) FROM doc_embedding_pending"))).scalar()
            hit = nearest(Doc.embedding, vectors[17], k=1)
            found = (await session.scalars(select(Doc.id).join(hit, hit.c.id == Doc.id))).all()
        await engine.dispose()
        return pending, found

    pending, found = asyncio.run(main())
    assert pending == 0
    assert found == [18]


def test_a_backend_needs_a_rung_that_loads(path):
    with pytest.raises(ExtensionUnavailable, match="sqlite-vec"):
        create_async_engine(path, extension="create_function", backends=["vec"])
