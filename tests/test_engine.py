"""Engines and binds on SQLite: settings, transactions, one engine per file, threads, forks, faults."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

import kohakuvault
from kohakuvault import (
    CannotOpen,
    ColumnVault,
    DatabaseBusy,
    InvalidArgument,
    InvalidDatabase,
    KVault,
    ReadOnlyDatabase,
    VectorKVault,
)
from kohakuvault.engine import PRAGMAS
from kohakuvault.write_lock import is_write


@pytest.fixture
def path(tmp_path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "test.db"


@pytest.fixture
def engine(path):
    engine = kohakuvault.create_engine(path)
    yield engine
    engine.dispose()


def pragma(engine, name):
    with engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def run(script: str, *arguments: object, options: tuple[str, ...] = ()) -> str:
    """Run a program in a process of its own and return what it prints."""
    command = [sys.executable, *options, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def plain(path, sql="SELECT 1", *parameters):
    """What a program that knows nothing of us sees in the file."""
    connection = sqlite3.connect(path)
    rows = connection.execute(sql, parameters).fetchall()
    connection.commit()
    connection.close()
    return rows


# -- ways to name a database ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [str, Path, lambda path: f"sqlite:///{path}", lambda path: sqlalchemy.URL.create("sqlite", database=str(path))],
    ids=["str", "PathLike", "URL text", "URL"],
)
def test_a_database_is_named_by_path_or_url(path, form):
    engine = kohakuvault.create_engine(form(path))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    engine.dispose()
    assert plain(path, "SELECT name FROM sqlite_schema") == [("t",)]


@pytest.mark.parametrize("name", [":memory:", "sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
def test_a_database_in_memory_makes_no_file_and_is_the_same_in_every_thread(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    engine = kohakuvault.create_engine(name)
    kv = KVault(engine)
    kv["a"] = 1
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: kv["a"]).result() == 1
        assert thread.submit(pragma, engine, "journal_mode").result() == "memory"
    assert list(tmp_path.iterdir()) == []
    engine.dispose()


@pytest.mark.parametrize("name", ["spaced name.db", "ünï ☃.db", "what?.db", "100%41#.db", "a&mode=memory.db", "x'y.db"])
def test_any_file_name_is_only_a_name(tmp_path, name):
    with KVault(tmp_path / name) as kv:
        kv["a"] = 1
    engine = kohakuvault.create_engine(tmp_path / name, read_only=True)
    assert KVault(engine)["a"] == 1
    engine.dispose()
    assert {file.name for file in tmp_path.iterdir()} - {f"{name}-wal", f"{name}-shm"} == {name}


def test_a_relative_path_stays_what_it_was_when_the_directory_changes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with KVault("test.db") as kv:
        monkeypatch.chdir(tmp_path / "elsewhere")
        with kv.transaction(), ThreadPoolExecutor(1) as thread:
            # A connection that is opened only now.
            thread.submit(len, kv).result()
        kv["a"] = 1
    assert os.listdir() == []
    assert plain(tmp_path / "test.db", "SELECT key FROM kv") == [("a",)]


@pytest.mark.parametrize("name", ["", b"app.db", None, 7, ["app.db"], "a\0b"])
def test_what_is_no_path_is_refused_by_name(name):
    with pytest.raises(InvalidArgument, match="path"):
        kohakuvault.create_engine(name)
    with pytest.raises(InvalidArgument, match="path"):
        KVault(name)


def test_an_unknown_kind_of_url_says_what_is_expected():
    for name in ("foo://x", "foo+bar://x"):
        with pytest.raises(InvalidArgument, match="expected a file path, a sqlite:// or a postgresql:// URL"):
            kohakuvault.create_engine(name)
    with pytest.raises(InvalidArgument, match="neither a file path nor a SQLAlchemy URL"):
        kohakuvault.create_engine("://x")


def test_a_missing_driver_says_what_to_install(monkeypatch, path):
    for module in ("psycopg", "pysqlite3", "pysqlite3.dbapi2", "sqlean", "sqlean.dbapi2"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidArgument, match=r"pip install 'kohakuvault\[postgres\]'"):
        kohakuvault.create_engine("postgresql://localhost/x")
    with pytest.raises(InvalidArgument, match=r"pip install pysqlite3$"):
        kohakuvault.create_engine(path, driver="pysqlite3")
    with pytest.raises(InvalidArgument, match=r"pip install sqlean\.py$"):
        kohakuvault.create_engine(path, driver="sqlean")


# -- settings -------------------------------------------------------------------------------------------


def test_a_connection_has_the_documented_settings(engine):
    numbers = {"WAL": "wal", "NORMAL": 1, "ON": 1}
    found = {name: pragma(engine, name) for name in PRAGMAS}
    # SQLite maps as much as it was built for.
    assert 1 << 30 <= found["mmap_size"] <= PRAGMAS["mmap_size"]
    assert found == {
        **{name: numbers.get(value, value) for name, value in PRAGMAS.items()},
        "mmap_size": found["mmap_size"],
    }


def test_every_connection_of_the_pool_has_them(engine):
    with engine.connect() as one, engine.connect() as two:
        assert [c.execute(text("PRAGMA foreign_keys")).scalar() for c in (one, two)] == [1, 1]


def test_each_setting_can_be_overridden_and_others_added(path):
    engine = kohakuvault.create_engine(
        path,
        pragmas={
            "busy_timeout": 17,
            "page_size": 8192,
            "journal_mode": "delete",
            "foreign_keys": "OFF",
            "mmap_size": 0,
            "cache_size": -4000,
        },
    )
    names = ("busy_timeout", "page_size", "journal_mode", "foreign_keys", "mmap_size", "cache_size")
    assert [pragma(engine, name) for name in names] == [17, 8192, "delete", 0, 0, -4000]
    engine.dispose()


def test_a_setting_of_none_leaves_what_sqlite_does_by_itself(path):
    engine = kohakuvault.create_engine(path, pragmas=dict.fromkeys(PRAGMAS))
    connection = sqlite3.connect(":memory:")
    for name in ("page_size", "synchronous", "foreign_keys"):
        assert pragma(engine, name) == connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert pragma(engine, "journal_mode") == "delete"
    connection.close()
    engine.dispose()


def test_durability_full_syncs_every_commit(path):
    engine = kohakuvault.create_engine(path, durability="full")
    assert pragma(engine, "synchronous") == 2
    engine.dispose()


def test_a_new_file_has_large_pages_and_an_existing_one_keeps_its_own(tmp_path):
    old = tmp_path / "old.db"
    plain(old, "PRAGMA page_size = 4096")
    plain(old, "CREATE TABLE t AS SELECT 'theirs' AS x")
    for file, size in ((old, 4096), (tmp_path / "new.db", 16384)):
        with KVault(file) as kv:
            kv["a"] = b"x" * 100_000
            assert pragma(kv.engine, "page_size") == size
            assert pragma(kv.engine, "journal_mode") == "wal"
    assert plain(old, "SELECT x FROM t") == [("theirs",)]
    assert plain(old, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"durability": "paranoid"}, "unknown durability 'paranoid'; expected 'normal' or 'full'"),
        ({"driver": "apsw"}, "unknown SQLite driver 'apsw'; expected 'auto' or one of sqlite3, pysqlite3, sqlean"),
        ({"extension": "magic"}, "unknown extension rung 'magic'; expected 'auto' or one of"),
        ({"pragmas": {"cache_size": "1; DROP TABLE t"}}, "'cache_size' = '1; DROP TABLE t' is not a name and a"),
        ({"pragmas": {"cache_size = 1; --": 1}}, "is not a name and a plain value"),
    ],
)
def test_an_unknown_option_names_what_is_expected_and_makes_no_file(path, options, message):
    with pytest.raises(InvalidArgument, match=message):
        kohakuvault.create_engine(path, **options)
    assert not path.exists()


# -- ?plugin=kohakuvault --------------------------------------------------------------------------------


def test_the_plugin_fits_anybodys_engine(path):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}?plugin=kohakuvault")
    assert pragma(engine, "journal_mode") == "wal"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT kv_version()")).scalar() == kohakuvault.__version__
    engine.dispose()


def test_the_plugins_options_are_those_of_create_engine(path):
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}?plugin=kohakuvault&durability=full&pragma_busy_timeout=9&pragma_cache_size=-70"
        "&extension=create_function"
    )
    assert [pragma(engine, name) for name in ("synchronous", "busy_timeout", "cache_size")] == [2, 9, -70]
    with engine.connect() as connection:
        assert connection.info["kohakuvault.rung"] == "create_function"
    engine.dispose()


@pytest.mark.parametrize("yes", ["1", "true", "on", "YES"])
def test_the_plugin_can_open_read_only(path, yes):
    with KVault(path) as kv:
        kv["a"] = 1
    engine = sqlalchemy.create_engine(f"sqlite:///{path}?plugin=kohakuvault&read_only={yes}")
    assert KVault(engine)["a"] == 1
    with pytest.raises(OperationalError, match="readonly"), engine.begin() as connection:
        connection.execute(text("DELETE FROM kv"))
    engine.dispose()


def test_the_plugin_passes_other_options_of_the_url_on(path):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}?plugin=kohakuvault&read_only=false&timeout=3")
    assert engine.url.query == {"timeout": "3"}
    assert pragma(engine, "journal_mode") == "wal"
    engine.dispose()


@pytest.mark.parametrize("option", ["durability=paranoid", "extension=magic", "pragma_cache_size=1;x"])
def test_the_plugin_refuses_what_create_engine_refuses(path, option):
    with pytest.raises(InvalidArgument):
        sqlalchemy.create_engine(f"sqlite:///{path}?plugin=kohakuvault&{option}")


def test_a_url_with_the_plugin_is_a_bind_too_and_takes_its_options_from_the_url_only(path):
    url = f"sqlite:///{path}?plugin=kohakuvault&durability=full"
    with KVault(url) as kv:
        assert pragma(kv.engine, "synchronous") == 2
    for option in ({"durability": "full"}, {"read_only": True}, {"pragmas": {"cache_size": 1}}):
        with pytest.raises(InvalidArgument, match="plugin=kohakuvault in the URL"):
            kohakuvault.create_engine(url, **option)


# -- transactions ---------------------------------------------------------------------------------------


@pytest.fixture
def trace(engine):
    """The statements that SQLite gets, without those that set a connection up."""
    statements: list[str] = []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    event.listen(engine, "checkout", lambda connection, record, proxy: connection.set_trace_callback(statements.append))
    return statements


def test_a_transaction_that_writes_begins_immediate_at_its_first_write(engine, trace):
    with engine.begin() as connection:
        connection.execute(text("SELECT * FROM t"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
        connection.execute(text("UPDATE t SET x = 2"))
    assert trace == [
        "SELECT * FROM t",
        "BEGIN IMMEDIATE",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET x = 2",
        "COMMIT",
    ]


def test_a_transaction_that_only_reads_takes_no_lock(engine, trace):
    reads = [
        "SELECT x FROM t",
        "WITH a AS (SELECT replace('a', 'b', 'c') AS y) SELECT y FROM a",
        "VALUES (1)",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "PRAGMA user_version",
    ]
    with Session(engine) as session:
        for read in reads:
            session.execute(text(read))
        session.commit()
    assert not [statement for statement in trace if statement.startswith("BEGIN")]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1)",
        "insert into t values (1)",
        "  \n\t/* a */ -- b\n UPDATE t SET x = 1",
        "DELETE FROM t",
        "REPLACE INTO t VALUES (1)",
        "CREATE TABLE u (x)",
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN y",
        "WITH a AS (SELECT 1 AS y) INSERT INTO t SELECT y FROM a",
        "WITH a AS (SELECT 1 AS y) DELETE FROM t WHERE x IN (SELECT y FROM a)",
        "SAVEPOINT a",
    ],
)
def test_every_kind_of_write_begins_a_transaction_that_can_be_rolled_back(engine, trace, statement):
    assert is_write(statement)
    with engine.connect() as connection:
        before = connection.execute(text("SELECT * FROM sqlite_schema")).all()
        connection.execute(text(statement))
        connection.rollback()
        assert connection.execute(text("SELECT * FROM sqlite_schema")).all() == before
        assert connection.execute(text("SELECT * FROM t")).all() == []
    assert [s for s in trace if s.startswith("BEGIN")] == ["BEGIN IMMEDIATE"]


def read_both_then_write_both(engine):
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            connection.execute(text("SELECT count(*) FROM t")).scalar()
        for connection in (one, two):
            connection.execute(text("INSERT INTO t VALUES (1)"))
            connection.commit()


def test_two_that_read_and_then_write_do_not_fail_on_lock_upgrade(engine, path):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    read_both_then_write_both(engine)
    assert plain(path, "SELECT count(*) FROM t") == [(2,)]

    # What it is that does not happen: SQLAlchemy's recipe for transactions on SQLite, where the second dies.
    recipe = sqlalchemy.create_engine(f"sqlite:///{path}")
    event.listen(recipe, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
    event.listen(recipe, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with pytest.raises(OperationalError, match="locked"):
        read_both_then_write_both(recipe)
    recipe.dispose()


def test_sessions_in_many_threads_that_read_and_then_write_all_get_their_turn(engine, path):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))

    def work(n: int) -> None:
        for _ in range(25):
            with Session(engine) as session:
                session.execute(text("SELECT count(*) FROM t")).scalar()
                session.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})
                session.execute(text("SELECT count(*) FROM t")).scalar()
                session.commit()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert plain(path, "SELECT x, count(*) FROM t GROUP BY x") == [(n, 25) for n in range(4)]


def test_a_writer_waits_for_the_one_before(engine):
    KVault(engine)["a"] = 1
    with Session(engine) as session, ThreadPoolExecutor(1) as thread:
        KVault(session)["a"] = 2
        waiting = thread.submit(KVault(engine).__setitem__, "b", 3)
        # A reader does not wait, and sees what is committed.
        assert KVault(engine)["a"] == 1
        assert not waiting.done()
        session.commit()
        waiting.result()
    assert dict(KVault(engine)) == {"a": 2, "b": 3}


def test_autocommit_commits_each_statement_and_begins_nothing(engine, trace, path):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        assert plain(path, "SELECT x FROM t") == [(1,)]
        connection.execute(text("VACUUM"))
        connection.rollback()
    assert plain(path, "SELECT x FROM t") == [(1,)]
    assert not [statement for statement in trace if statement.startswith("BEGIN")]
    # The pool's connections are as before.
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
        connection.rollback()
    assert plain(path, "SELECT x FROM t") == [(1,)]


def test_transaction_is_one_on_an_engine_in_autocommit_too(path):
    engine = kohakuvault.create_engine(path, isolation_level="AUTOCOMMIT")
    kv = KVault(engine)
    with pytest.raises(KeyError), kv.transaction():
        kv["a"] = 1
        kv["b"] = 2
        raise KeyError
    assert dict(kv) == {}
    with kv.transaction():
        kv["a"] = 1
    assert dict(kv) == {"a": 1}
    engine.dispose()


def test_a_savepoint_as_the_first_thing_is_part_of_the_transaction(engine, path):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    with Session(engine) as session:
        with session.begin_nested():
            session.execute(text("INSERT INTO t VALUES (1)"))
        assert plain(path, "SELECT x FROM t") == []
        session.rollback()
    assert plain(path, "SELECT x FROM t") == []


def test_a_savepoint_rolls_back_what_is_inside_it_only(engine, path):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        with connection.begin_nested() as outer:
            connection.execute(text("INSERT INTO t VALUES ('inside')"))
            with connection.begin_nested():
                connection.execute(text("INSERT INTO t VALUES ('deeper')"))
            outer.rollback()
        connection.execute(text("INSERT INTO t VALUES ('after')"))
    assert plain(path, "SELECT x FROM t") == [("after",)]


def test_tables_made_in_a_transaction_are_rolled_back_with_it(engine, path):
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table("t", metadata, sqlalchemy.Column("x", sqlalchemy.Integer, index=True))
    with engine.connect() as connection:
        metadata.create_all(connection)
        connection.execute(table.insert(), {"x": 1})
        connection.rollback()
    assert plain(path, "SELECT * FROM sqlite_schema") == []


# -- one engine per file --------------------------------------------------------------------------------


def test_the_same_path_is_the_same_engine_however_it_is_written(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    kv = KVault(path)
    names = [
        str(path),
        "test.db",
        "./test.db",
        f"sqlite:///{path}",
        "sqlite:///test.db",
        f"sqlite+pysqlite:///{path}",
        sqlalchemy.URL.create("sqlite", database="test.db"),
        tmp_path / ".." / tmp_path.name / "test.db",
        "link.db",
        tmp_path / "folder" / "test.db",
    ]
    others = [kind(name) for name in names for kind in (KVault, ColumnVault)]
    assert {other.engine for other in others} == {kv.engine}
    assert VectorKVault(path, dimensions=2).engine is kv.engine


def test_other_paths_are_other_engines(tmp_path):
    one, two = KVault(tmp_path / "1.db"), KVault(tmp_path / "2.db")
    assert one.engine is not two.engine


def test_containers_on_one_path_take_part_in_one_transaction(path):
    kv, cv = KVault(path), ColumnVault(str(path))
    numbers = cv.create_column("numbers", "i64")
    with pytest.raises(KeyError), kv.transaction():
        kv["a"] = 1
        numbers.append(1)
        raise KeyError
    assert (len(kv), len(numbers)) == (0, 0)


def open_files(*paths) -> int:
    """How many file descriptors of this process are on these files."""
    files = {(status.st_dev, status.st_ino) for path in paths if os.path.exists(path) for status in [os.stat(path)]}
    count = 0
    for descriptor in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(descriptor))
        except OSError:  # the one that listed the directory
            continue
        count += (status.st_dev, status.st_ino) in files
    return count


@pytest.mark.parametrize("how", ["close", "with", "garbage"])
def test_a_paths_connections_are_closed_with_its_last_container(path, how):
    kv, cv = KVault(path), ColumnVault(path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(kv.__setitem__, range(40), range(40)))
    numbers = cv.create_column("numbers", "i64")
    kv.close()
    numbers.append(1)
    assert open_files(path) > 0
    if how == "close":
        cv.close()
    elif how == "with":
        with cv:
            pass
    del kv, cv, numbers
    gc.collect()
    assert open_files(path, f"{path}-wal", f"{path}-shm") == 0
    # SQLite removes them with the last connection.
    assert not os.path.exists(f"{path}-wal")


def test_closing_leaves_the_engine_that_was_given_open(engine):
    kv = KVault(engine)
    kv["a"] = 1
    kv.close()
    with pytest.raises(InvalidArgument, match="closed"):
        kv["a"]
    assert KVault(engine)["a"] == 1


def test_opening_containers_on_an_engine_again_and_again_leaves_nothing_behind(engine, path):
    KVault(engine)
    gc.collect()
    files, listeners = open_files(path), len(list(engine.dispatch.engine_disposed))
    for n in range(30):
        KVault(engine)[n] = n
    gc.collect()
    assert open_files(path) <= files
    assert len(list(engine.dispatch.engine_disposed)) == listeners


def test_an_engine_that_is_disposed_closes_its_containers_connections_and_they_go_on(engine, path):
    kv = KVault(engine)
    kv["a"] = 1
    engine.dispose()
    assert open_files(path) == 0
    kv["b"] = 2
    assert dict(kv) == {"a": 1, "b": 2}


def test_a_program_that_closes_nothing_ends_without_a_word(path):
    script = """
        import sys, threading
        from kohakuvault import ColumnVault, KVault, VectorKVault, create_engine
        kv = KVault(sys.argv[1])
        cv = ColumnVault(kv)
        memory = KVault(":memory:")
        engine = create_engine(sys.argv[1] + "2")
        vectors = VectorKVault(engine, dimensions=2)
        def work():
            kv["a"] = memory["a"] = 1
            vectors.insert([1, 2])
            vectors.search([1, 2])
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        KVault(":memory:")["x"] = 1
        engine.dispose()
        print(len(kv), len(memory), len(vectors))
        engine.dispose()
    """
    assert run(script, path, options=("-X", "dev", "-W", "error")) == "1 1 4\n"


# -- databases in memory --------------------------------------------------------------------------------


def test_a_database_in_memory_is_private_to_its_container():
    one, two = KVault(":memory:"), KVault(":memory:")
    one["a"] = 1
    assert (len(one), len(two)) == (1, 0)
    assert one.engine is not two.engine


def test_a_database_in_memory_is_shared_by_container_or_engine():
    kv = KVault(":memory:")
    kv["a"] = 1
    by_container, by_engine = KVault(kv), KVault(kv.engine)
    assert by_container["a"] == by_engine["a"] == 1
    cv = ColumnVault(kv)
    cv.create_column("numbers", "i64").extend([1, 2])
    with kv.transaction():
        kv["b"] = 2
        cv["numbers"].append(3)
    assert list(cv["numbers"]) == [1, 2, 3]
    assert dict(by_engine) == {"a": 1, "b": 2}


def test_a_database_in_memory_outlives_the_container_that_opened_it_while_others_share_it():
    first = KVault(":memory:")
    first["a"] = 1
    second = ColumnVault(first)
    first.close()
    assert KVault(second)["a"] == 1


def test_the_open_transaction_of_a_session_in_memory_is_neither_committed_nor_lost():
    engine = kohakuvault.create_engine(":memory:")
    vectors = VectorKVault(engine, dimensions=2)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    for end, rows in (("rollback", []), ("commit", [1])):
        with Session(engine) as session:
            session.execute(text("INSERT INTO t VALUES (1)"))
            # There is one connection, so a transaction of their own is what these cannot have.
            for operation in (lambda: vectors.transaction().__enter__(), lambda: KVault(engine, table=f"kv_{end}")):
                with pytest.raises(DatabaseBusy, match="pass that Session as the bind"):
                    operation()
            KVault(session)["a"] = end
            getattr(session, end)()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT x FROM t")).scalars().all() == rows
    assert dict(KVault(engine)) == {"a": "commit"}
    assert vectors.insert_many([[1, 2]]) == [1]
    engine.dispose()


# -- threads and processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["file", "memory"])
def test_eight_threads_on_one_container_lose_nothing(path, database):
    kv = KVault(path if database == "file" else ":memory:")
    numbers = ColumnVault(kv).create_column("numbers", "i64")
    vectors = VectorKVault(kv, dimensions=2, metric="l2")
    start = threading.Barrier(8)

    def work(n: int) -> None:
        start.wait()
        for i in range(20):
            kv[f"{n}:{i}"] = [n, i]
            numbers.append(n)
            vectors.insert([n, i], (n, i))
            assert kv[f"{n}:{i}"] == [n, i]
            if i % 5 == 0:
                with kv.transaction():
                    kv[f"count:{n}"] = kv.get(f"count:{n}", 0) + 1
                    numbers.append(n)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(kv) == 8 * 21
    assert all(kv[f"{n}:{i}"] == [n, i] for n in range(8) for i in range(20))
    assert [kv[f"count:{n}"] for n in range(8)] == [4] * 8
    assert sorted(numbers) == sorted([n for n in range(8) for _ in range(24)])
    assert len(vectors) == 160
    assert vectors.get([3, 7]) == (3, 7)


def test_many_threads_may_open_one_new_file_at_once(path):
    start = threading.Barrier(8)

    def work(n: int) -> KVault:
        start.wait()
        kv = KVault(path)
        kv[n] = n
        return kv

    with ThreadPoolExecutor(8) as threads:
        vaults = list(threads.map(work, range(8)))
    assert len({vault.engine for vault in vaults}) == 1
    assert sorted(vaults[0]) == list(range(8))


def test_engines_that_turn_a_new_file_into_wal_at_once_do_not_fail(tmp_path):
    # SQLite itself answers some of these with "database is locked" at once; hence many rounds.
    for n in range(25):
        start = threading.Barrier(8)
        engines = [kohakuvault.create_engine(tmp_path / f"{n}.db", poolclass=NullPool) for _ in range(8)]

        def work(engine, start=start):
            start.wait()
            return pragma(engine, "journal_mode")

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, engines)) == ["wal"] * 8


def test_many_processes_may_open_one_new_file_at_once(path):
    script = "import sys; from kohakuvault import KVault; KVault(sys.argv[1])[int(sys.argv[2])] = True"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: run(script, path, n), range(4)))
    with KVault(path) as kv:
        assert sorted(kv) == [0, 1, 2, 3]


FORK = """
    import os, sys, threading
    from kohakuvault import ColumnVault, KVault, create_engine

    path, end = sys.argv[1:]
    kv = KVault(path)
    engine = create_engine(path + ".engine")
    given = KVault(engine)
    column = ColumnVault(kv).create_column("numbers", "i64")
    kv["parent"] = given["parent"] = 0
    pooled = engine.connect()  # a connection that is in use while we fork
    inherited = kv.engine.raw_connection().dbapi_connection

    ready = os.pipe()
    child = os.fork()
    name = "parent" if child else "child"
    if not child:
        os.read(ready[0], 1)
        with kv.engine.connect() as connection:
            assert connection.connection.dbapi_connection is not inherited
    else:
        os.write(ready[1], b"x")
    for n in range(60):
        kv[f"{name} {n}"] = n
        given[f"{name} {n}"] = n
        column.append(n)
        if n % 10 == 0:
            with kv.transaction():
                kv["total"] = kv.get("total", 0) + 1
    second = KVault(path)
    assert second.engine is kv.engine
    if not child:
        # Both ways out: with and without the interpreter's own clean-up.
        os._exit(0) if end == "_exit" else sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for vault in (kv, given):
        assert {f"{who} {n}" for who in ("parent", "child") for n in range(60)} <= set(vault)
    assert kv["total"] == 12
    assert sorted(column) == sorted([*range(60)] * 2)
    pooled.close()
    for used in (kv.engine, engine):
        with used.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    print(len(kv), len(given))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("end", ["exit", "_exit"])
def test_parent_and_forked_child_both_write_through_their_containers_and_lose_nothing(path, end):
    assert run(FORK, path, end) == "122 121\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_inside_a_transaction_is_outside_of_it(path):
    script = """
        import os, sys
        from kohakuvault import KVault
        kv = KVault(sys.argv[1])
        kv["a"] = 0
        with kv.transaction():
            kv["a"] = 1
            child = os.fork()
            if not child:
                seen = kv["a"]
                os._exit(10 + seen)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, kv["a"])
    """
    assert run(script, path) == "10 1\n"


# -- faults ---------------------------------------------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path):
    file = tmp_path / "missing" / "test.db"
    for opened in (lambda: kohakuvault.create_engine(file), lambda: KVault(file)):
        with pytest.raises(CannotOpen, match=f"the directory {file.parent} does not exist. Create it first"):
            opened()
    assert not file.parent.exists()


def test_a_directory_is_not_a_database(tmp_path):
    with pytest.raises(CannotOpen, match="unable to open"):
        KVault(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary, today I met a database. " * 40,
        b"\x89PNG\r\n\x1a\n" + bytes(2000),
        b"SQLite format 3\0" + b"?" * 4096,
        b"x",
    ],
    ids=["text", "picture", "false header", "one byte"],
)
def test_a_file_that_is_not_a_database_is_a_named_error_and_stays_as_it_is(path, content):
    path.write_bytes(content)
    for opened in (KVault, ColumnVault, lambda path: VectorKVault(path, dimensions=2)):
        with pytest.raises(InvalidDatabase, match="not a database"):
            opened(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_engine_that_is_read_only_reads_and_refuses_every_write(path):
    with KVault(path) as kv, ColumnVault(path) as cv, VectorKVault(path, dimensions=2) as vectors:
        kv["a"] = 1
        cv.create_column("numbers", "i64").extend([1, 2, 3])
        vectors.insert([1, 2], "x")
    before = path.read_bytes()

    engine = kohakuvault.create_engine(path, read_only=True)
    kv, cv, vectors = KVault(engine), ColumnVault(engine), VectorKVault(engine, dimensions=2)
    assert kv["a"] == 1
    assert list(cv["numbers"]) == [1, 2, 3]
    assert vectors.get([1, 2]) == "x"
    with Session(engine) as session, session.begin_nested():
        assert session.execute(text("SELECT count(*) FROM kv")).scalar() == 1
    writes = [
        lambda: kv.__setitem__("b", 2),
        lambda: kv.update(b=2),
        lambda: kv.pop("a"),
        lambda: cv["numbers"].append(4),
        lambda: cv.create_column("more", "i64"),
        lambda: vectors.insert([3, 4]),
        lambda: vectors.insert_many([[3, 4]]),
        lambda: KVault(engine, table="another"),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyDatabase, match="without read_only=True"):
            write()
    assert dict(kv) == {"a": 1}
    engine.dispose()
    assert path.read_bytes() == before


def test_a_file_to_be_read_only_must_exist(path):
    with pytest.raises(CannotOpen, match="read-only: it does not exist"):
        kohakuvault.create_engine(path, read_only=True)
    assert not path.exists()


def test_a_directory_that_may_not_be_written_is_a_named_error():
    # Not pytest's own directory, which other users may not enter. Permissions do not bind root, so the
    # process becomes somebody else; what is imported later must be imported before.
    script = """
        import os, sys
        from kohakuvault import CannotOpen, KVault, ReadOnlyDatabase, VectorKVault

        directory = sys.argv[1]
        warm = KVault(os.path.join(directory, "test.db"))
        warm["a"] = 1
        VectorKVault(warm, dimensions=2).search([1, 2])
        warm.close()
        del warm
        os.chmod(os.path.join(directory, "test.db"), 0o444)
        os.chmod(directory, 0o555)
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        for name in ("new.db", "test.db"):
            try:
                kv = KVault(os.path.join(directory, name))
                kv["a"] = 2
            except (CannotOpen, ReadOnlyDatabase) as error:
                assert "check " in str(error), error
                print(name, type(error).__name__)
    """
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        found = run(script, directory)
        os.chmod(directory, 0o755)
        assert os.listdir(directory) == ["test.db"]
        assert plain(Path(directory) / "test.db", "SELECT key FROM kv") == [("a",)]
    assert [line.split()[0] for line in found.splitlines()] == ["new.db", "test.db"]
    assert found.startswith("new.db CannotOpen\n")


def test_a_locked_database_is_a_named_error_and_a_later_try_succeeds(path):
    engine = kohakuvault.create_engine(path, pragmas={"busy_timeout": 20})
    kv, cv = KVault(engine), ColumnVault(engine)
    kv["a"] = 1
    numbers = cv.create_column("numbers", "i64")
    vectors = VectorKVault(engine, dimensions=2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE theirs AS SELECT 1 AS x")

    def group():
        with kv.transaction():
            kv["b"] = 2

    writes = [
        lambda: kv.__setitem__("b", 2),
        lambda: kv.update(b=2),
        lambda: numbers.append(1),
        lambda: vectors.insert([1, 2]),
        lambda: vectors.insert_many([[1, 2]]),
        lambda: KVault(engine, table="another"),
        group,
    ]
    for write in writes:
        with pytest.raises(DatabaseBusy, match="raise the busy_timeout pragma"):
            write()
    with Session(engine) as session:
        with pytest.raises(DatabaseBusy):
            KVault(session)["b"] = 2
        with pytest.raises(OperationalError, match="database is locked"):
            session.execute(text("DELETE FROM kv"))
    assert dict(kv) == {"a": 1}

    other.execute("COMMIT")
    other.close()
    for write in writes:
        write()
    assert dict(kv) == {"a": 1, "b": 2}
    assert (list(numbers), len(vectors)) == ([1], 2)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        assert connection.execute(text("SELECT x FROM theirs")).scalar() == 1
    engine.dispose()


def test_a_file_that_another_program_keeps_locked_cannot_be_opened_until_it_lets_go(path):
    plain(path, "CREATE TABLE theirs (x)")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    engine = kohakuvault.create_engine(path, pragmas={"busy_timeout": 20})
    with pytest.raises(DatabaseBusy):
        KVault(engine)
    other.execute("COMMIT")
    other.close()
    KVault(engine)["a"] = 1
    assert pragma(engine, "journal_mode") == "wal"
    engine.dispose()


def test_opening_a_file_waits_for_readers_that_keep_it_from_changing_to_wal(path):
    plain(path, "CREATE TABLE theirs (x)")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM theirs").fetchall()
    impatient = kohakuvault.create_engine(path, pragmas={"busy_timeout": 20})
    with pytest.raises(DatabaseBusy):
        KVault(impatient)
    with ThreadPoolExecutor(1) as thread:
        patient = thread.submit(KVault, path)
        with pytest.raises(StillWaiting):
            patient.result(0.2)
        reader.execute("COMMIT")
        patient.result()["a"] = 1
    reader.close()
    impatient.dispose()
    assert plain(path, "SELECT key FROM kv") == [("a",)]


# -- what is no bind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bind", [7, 1.5, object(), ["app.db"], {}, KVault, sessionmaker()], ids=lambda b: type(b).__name__
)
def test_what_is_no_bind_is_refused_with_a_list_of_what_is(bind):
    for kind in (KVault, ColumnVault, VectorKVault):
        with pytest.raises(InvalidArgument, match="a path, URL, Engine, Connection, Session or another container"):
            kind(bind)


@pytest.mark.parametrize("attribute", ["sync_engine", "sync_session"])
def test_async_binds_are_refused_with_the_way_that_works(attribute):
    with pytest.raises(InvalidArgument, match="run_sync"):
        KVault(SimpleNamespace(**{attribute: None}))


def test_a_closed_container_is_no_bind():
    kv = KVault(":memory:")
    kv.close()
    with pytest.raises(InvalidArgument, match="this KVault is closed"):
        ColumnVault(kv)
