"""What goes wrong leaves the data as it was, and says what it is: full disks, damaged rows, misused handles."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

import kohakuvault
from kohakuvault import (
    Cbor,
    ColumnVault,
    CorruptValue,
    DatabaseBusy,
    DriverError,
    InvalidArgument,
    Json,
    KohakuVaultError,
    KVault,
    SchemaMismatch,
    UnsupportedType,
    VectorKVault,
    create_engine,
)
from kohakuvault.packing import pack


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def raw(path):
    """The file as another program sees it."""
    connections = []

    def execute(sql: str, *parameters: object) -> list[tuple[object, ...]]:
        if not connections:
            connections.append(sqlite3.connect(path, isolation_level=None, timeout=0.5))
        return connections[0].execute(sql, parameters).fetchall()

    yield execute
    for connection in connections:
        connection.close()


# -- a disk that is full -----------------------------------------------------------------------------

FULL_DISK = """
    import os, resource, signal, sys
    import sqlalchemy
    from sqlalchemy.orm import Session
    from kohakuvault import ColumnVault, DriverError, KVault, create_engine
    path, how = sys.argv[1:]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}") if how == "bare session" else create_engine(path)
    KVault(engine)["before"] = 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, -1))

    def write(kv):
        kv["a"] = 90
        try:
            # More than SQLite's cache of pages keeps until the commit.
            kv["big"] = os.urandom(50_000_000)
        except DriverError as error:
            assert "rolled back the whole transaction" in str(error), error
        else:
            raise SystemExit("the disk was not full")
        kv["b"] = 10

    try:
        if how == "transaction":
            kv = KVault(engine)
            with kv.transaction():
                write(kv)
        else:
            with Session(engine) as session:
                write(KVault(session))
                session.commit()
    except (DriverError, sqlalchemy.exc.PendingRollbackError) as error:
        print("failed:", type(error).__name__)
    print(dict(KVault(engine)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is of POSIX")
@pytest.mark.parametrize("how", ["transaction", "session", "bare session"])
def test_a_transaction_that_sqlite_rolled_back_itself_commits_nothing_of_what_follows(path, how):
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    failed, kept = done.stdout.splitlines()
    assert failed.startswith("failed:")
    assert kept == "{'before': 1}"


# -- several threads, several first opens --------------------------------------------------------------


def together(count: int, work) -> list[BaseException]:
    """Run ``work(number)`` in threads that begin at once, and return what they raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_threads_search_on_an_engine_that_knows_nothing_of_us(path):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    kv, search = KVault(engine), VectorKVault(engine, "v", dimensions=2)
    search.insert([1, 2], 1)

    def work(number: int) -> None:
        for step in range(10):
            kv[f"{number}-{step}"] = 1
            assert search.get([1, 2]) == 1
            with kv.transaction():
                assert search.get([1, 2]) == 1

    assert together(4, work) == []
    assert search.get([1, 2]) == 1
    engine.dispose()


def test_first_opens_at_the_same_moment_all_succeed(new_url):
    for database in ("sqlite", "postgresql"):
        url = new_url(database)
        engines = [create_engine(url) for _ in range(4)]
        for engine in engines:
            engine.connect().close()

        def work(number: int, engines=engines) -> None:
            KVault(engines[number])[number] = number
            ColumnVault(engines[number]).ensure("c", "i64").append(number)
            VectorKVault(engines[number], "v", dimensions=2).insert([1, number])

        assert together(4, work) == []
        assert sorted(KVault(engines[0])) == sorted(ColumnVault(engines[0])["c"]) == [0, 1, 2, 3]
        for engine in engines:
            engine.dispose()


SHARED_SESSION = """
    import sys, threading
    from sqlalchemy.orm import Session
    from kohakuvault import KVault, create_engine
    with Session(create_engine(sys.argv[1])) as session:
        kv = KVault(session)
        def work(number):
            for step in range(100):
                try:
                    kv[f"{number}-{step}"] = step
                except Exception:
                    return
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
"""


def test_threads_that_share_a_session_against_the_rules_do_not_crash_the_process(path):
    for attempt in range(3):
        command = [sys.executable, "-c", textwrap.dedent(SHARED_SESSION), f"{path}{attempt}"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode >= 0, f"signal {-done.returncode}"


# -- damaged dict entries ------------------------------------------------------------------------------


def test_what_cannot_be_read_is_not_deleted(path, raw):
    kv = KVault(path)
    kv["x"] = 1
    raw("UPDATE kv SET value = x'07c1'")
    for operation in (lambda: kv.pop("x"), lambda: kv.pop("x", None), kv.popitem, lambda: kv.incr("x")):
        with pytest.raises(CorruptValue):
            operation()
    assert raw("SELECT key, value FROM kv") == [("x", b"\x07\xc1")]
    with kv.transaction():
        with pytest.raises(CorruptValue):
            kv.pop("x")
        kv["y"] = 2
    assert list(kv) == ["x", "y"]


def test_a_key_that_is_no_text_is_a_named_error_and_leaves_nothing_locked(path, raw):
    kv = KVault(path)
    kv["good"] = 1
    raw("INSERT INTO kv (key, value) VALUES (CAST(x'ff' AS TEXT), x'02')")
    for operation in (kv.popitem, lambda: list(kv), lambda: list(kv.range())):
        with pytest.raises(CorruptValue, match="UTF-8"):
            operation()
    raw("INSERT INTO kv (key, value) VALUES ('other', x'02')")
    assert (kv["good"], kv["other"]) == (1, None)
    assert raw("SELECT count(*) FROM kv") == [(3,)]


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff",
        b"\x02extra",
        b"\x05",
        b"\x06short",
        b"\x01\xff",
        b"\x07",
        b"\x07\xc1",
        b"\x07\xdd\xff\xff\xff\xff\x01",
        b"\x07\xdf\xff\xff\xff\xff",
        b"\x07\xc7\x00\x01",
        b"\x07\x81\x90\x01",
        b"\x0a\x03|S0\x01" + (2**60).to_bytes(8, "little"),
        b"\x0a\x03<U0\x01" + (2**40).to_bytes(8, "little"),
        b"\x0a\x03<U1\x01" + (1).to_bytes(8, "little") + b"\xff" * 4,
        b"\x0a\x03|b1\x01" + (1).to_bytes(8, "little") + b"\x02",
        b"\x0a\x03<f4\x02" + (2**40).to_bytes(8, "little") * 2,
        b"\x0a\x03<f4\xff",
        b"\x0a\x02|O\x00",
        b"\x0b\x80\x04N.",
    ],
    ids=repr,
)
def test_a_damaged_value_is_a_named_error(path, raw, stored):
    kv = KVault(path)
    kv["bad"], kv["good"] = 1, 2
    raw("UPDATE kv SET value = ? WHERE key = 'bad'", stored)
    for operation in (lambda: kv["bad"], lambda: kv.get("bad"), lambda: list(kv.values())):
        with pytest.raises(CorruptValue):
            operation()
    assert kv["good"] == 2
    del kv["bad"]
    assert dict(kv) == {"good": 2}


def test_every_truncation_and_changed_byte_of_a_value_harms_no_other(path, raw):
    kv = KVault(path)
    values = [
        {"name": "Alice", "n": [1, 2.5, None, b"x"], "t": (2**70, {"a"}), "at": datetime(2030, 1, 1)},
        Cbor({"a": [1, -(2**70), Decimal("1.5")]}),
        Json({"a": ["b", None]}),
        np.arange(6, dtype=">i4").reshape(2, 3),
    ]
    kv.update(good=1, last=2)
    changed = random.Random(5)
    for value in values:
        stored = pack(value)
        damaged = [stored[:length] for length in range(len(stored))]
        for place in range(len(stored)):
            other = bytearray(stored)
            other[place] ^= 1 << changed.randrange(8)
            damaged.append(bytes(other))
        raw("DELETE FROM kv WHERE key NOT IN ('good', 'last')")
        for number, data in enumerate(damaged):
            raw("INSERT INTO kv (key, value) VALUES (?, ?)", number, data)
        for number in range(len(damaged)):
            # Another value, where the bytes say one, or an error that has a name.
            with suppress(CorruptValue):
                kv[number]
        assert (kv["good"], kv["last"], len(kv)) == (1, 2, len(damaged) + 2)
        problems = kv.check()
        assert {problem.where for problem in problems} <= set(range(len(damaged)))
        assert problems
    assert kv.delete_range(0, 10**6) == len(damaged)
    assert kv.copy() == {"good": 1, "last": 2}


FORGOTTEN = """
    import gc, sys
    from kohakuvault import ColumnVault, KVault, VectorKVault, create_engine, doctor
    path = sys.argv[1]

    def memory(): KVault(":memory:")["a"] = 1
    def file(): KVault(path)["a"] = 1
    def block():
        with KVault(path) as kv: kv["a"] = 1
    def caches():
        kv = KVault(path, read_cache=1 << 20)
        with kv.cache(): kv["a"] = 1
        return kv["a"]
    def iterator(): return next(iter(KVault(path).items()))
    def engine():
        engine = create_engine(path)
        kv = KVault(engine)
        with kv.transaction(): kv["b"] = 1
        with kv.snapshot(): kv["b"]
        engine.dispose()
    def care():
        kv = KVault(path)
        kv.backup(path + ".copy")
        kv.check(), kv.optimize(), kv.stats(), doctor(path)
    def others():
        ColumnVault(path).create_column("c", "i64").extend(range(10))
        VectorKVault(path, dimensions=3).insert([1, 2, 3], 1)

    for use in (memory, file, block, caches, iterator, engine, care, others):
        use()
        gc.collect()
"""


def test_what_is_forgotten_leaves_no_connection_open(path):
    """Python 3.13 and later tell of such."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", textwrap.dedent(FORGOTTEN), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- damaged vectors and records -------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["'text'", "5", "x'0011'", "x''", "x'0000803f'"])
def test_a_damaged_vector_is_named(path, raw, stored):
    search = VectorKVault(path, "v", dimensions=2)
    search.insert_many([[1, 2], [3, 4]], ["a", "b"])
    raw(f"UPDATE v SET vector = {stored} WHERE id = 1")
    with pytest.raises(CorruptValue):
        search.get_by_id(1)
    with pytest.raises(KohakuVaultError):
        search.search([1, 2])
    assert search.get_by_id(2)[1] == "b"
    search.delete(1)
    assert search.get([1, 2]) == "b"


@pytest.mark.parametrize(
    "damage", ["version = 'x'", "version = -1", "version = x'00'", "options = x'02'", "options = x'05ff'"]
)
def test_a_damaged_record_is_named_and_can_be_made_anew(path, raw, damage):
    VectorKVault(path, "v", dimensions=2).insert([1, 2], "kept")
    raw(f"UPDATE vault_table SET {damage} WHERE name = 'v'")
    with pytest.raises(SchemaMismatch, match="damaged"):
        VectorKVault(path, "v", dimensions=2)
    raw("DELETE FROM vault_table WHERE name = 'v'")
    assert VectorKVault(path, "v", dimensions=2).get([1, 2]) == "kept"


# -- handles that are misused ------------------------------------------------------------------------------


@pytest.mark.parametrize("misuse", ["close", "commit", "rollback"])
def test_the_connection_of_a_transaction_belongs_to_its_block(url, misuse):
    kv = KVault(url)
    with pytest.raises(InvalidArgument, match="leave that to the block"), kv.transaction() as connection:
        kv["inside"] = 1
        getattr(connection, misuse)()
    kv["later"] = 2
    assert kv["later"] == 2
    with kv.transaction():
        kv["again"] = 3
    assert kv["again"] == 3


def test_a_value_of_insert_many_that_cannot_be_stored_is_named(engine):
    search = VectorKVault(engine, "v", dimensions=2)
    with pytest.raises(UnsupportedType, match="cannot store"):
        search.insert_many([[1, 2], [3, 4]], ["fine", object()])
    assert len(search) == 0


@pytest.mark.parametrize("pairs", [[("a", 1, "extra")], "ab", [1], [("a",)]])
def test_what_is_no_pair_is_refused(engine, pairs):
    kv = KVault(engine)
    with pytest.raises(InvalidArgument, match="pairs"):
        kv.update(pairs)
    assert not kv


def test_numbers_that_a_column_cannot_hold_exactly_are_refused(engine):
    cv = ColumnVault(engine)
    f64, f32 = cv.create_column("f64", "f64"), cv.create_column("f32", "f32")
    for column, number in [(f64, 2**53 + 1), (f32, 2**24 + 1)]:
        for wrong in ([number], np.array([number]), (number,)):
            with pytest.raises(InvalidArgument, match="exactly"):
                column.extend(wrong)
        column.extend([number - 1, -(number - 1), 2**100])
        column.extend(np.array([number - 1, 2**62]))
        assert len(column) == 5
    f32.append(0.1)
    assert f32[-1] == np.float32(0.1)
    with pytest.raises(UnsupportedType, match="masked"):
        f64.extend(np.ma.masked_array([1.0], mask=[True]))


def test_an_engine_that_translates_schemas_is_refused(engine):
    with pytest.raises(InvalidArgument, match="search_path"):
        KVault(engine.execution_options(schema_translate_map={None: "other"}))


@pytest.mark.parametrize("table", [None, 5, b"x", ["a"], dict, KVault])
def test_a_table_that_is_none_is_refused(engine, table):
    for container in (KVault, VectorKVault):
        with pytest.raises(UnsupportedType, match="table is a name or a class"):
            container(engine, table)


def test_a_lock_that_is_not_released_in_time_changes_nothing(path, raw):
    engine = create_engine(path, pragmas={"busy_timeout": 50})
    kv, column = KVault(engine), ColumnVault(engine).create_column("c", "i64")
    kv["a"] = 1
    raw("BEGIN IMMEDIATE")
    for operation in (lambda: kv.pop("a"), lambda: kv.update(b=2), lambda: column.append(1), lambda: kv.incr("n")):
        with pytest.raises(DatabaseBusy):
            operation()
    with Session(engine) as session, pytest.raises(DatabaseBusy):
        KVault(session)["b"] = 2
    raw("COMMIT")
    assert (dict(kv), column[:]) == ({"a": 1}, [])
    kv.update(b=2)
    assert issubclass(DatabaseBusy, DriverError)
    assert kohakuvault.KVault(engine)["b"] == 2
    engine.dispose()
