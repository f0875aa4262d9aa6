"""The read cache: from memory what has not changed, and never anything older than the last commit."""

from __future__ import annotations

import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from kohakuvault import InvalidArgument, KVault, NotFound, _native, create_engine, extension
from kohakuvault.kv.read_cache import ReadCache
from kohakuvault.packing import pack

SIZE = 2**20

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def kv(path):
    with KVault(path, read_cache=SIZE) as kv:
        assert kv.read_cache.reason is None
        yield kv


def is_hot(kv, key):
    """Whether a read of ``key`` is answered from memory."""
    before = kv.read_cache.hits
    kv.get(key)
    return kv.read_cache.hits > before


class Program:
    """Another process that does what it is told, one line of Python after the other."""

    def __init__(self, setup, *arguments):
        loop = "\nfor line in sys.stdin:\n    exec(line)\n    print('done', flush=True)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys\n" + textwrap.dedent(setup) + loop, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line):
        """Have it run ``line``; what it printed."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        printed = ""
        while (line := self.process.stdout.readline()) != "done\n":
            assert line, "the program has ended"
            printed += line
        return printed.strip()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


VAULT = "from kohakuvault import KVault; kv = KVault(sys.argv[1])"
PLAIN = "import sqlite3; db = sqlite3.connect(sys.argv[1], isolation_level=None)"


def run(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- hits --------------------------------------------------------------------------------------------


def test_what_was_read_once_is_answered_from_memory(kv):
    kv["a"] = {"b": [1, 2.5]}
    assert not is_hot(kv, "a")
    assert is_hot(kv, "a")
    assert kv["a"] == kv.get("a") == {"b": [1, 2.5]}
    assert "a" in kv
    assert kv.read_cache.entries == 1


def test_that_there_is_no_such_key_is_remembered_too(kv):
    assert kv.get("a", 5) == 5
    assert is_hot(kv, "a")
    assert kv.get("a", 5) == 5
    assert "a" not in kv
    with pytest.raises(NotFound, match="no key 'a'"):
        kv["a"]
    kv["a"] = 1
    assert kv["a"] == 1


def test_asking_for_a_key_remembers_only_that_it_is_there(kv):
    kv["a"] = 1
    assert "a" in kv
    hits = kv.read_cache.hits
    assert "a" in kv
    assert kv.read_cache.hits == hits + 1
    assert not is_hot(kv, "a")
    assert "a" in kv
    assert is_hot(kv, "a")


def test_what_is_read_is_a_copy(kv):
    kv["a"] = [1]
    for _ in range(3):
        kv["a"].append(2)
    assert kv["a"] == [1]


def test_keys_of_different_types_stay_apart(kv):
    for key in (1, "1", b"1", "a", b"a"):
        kv[key] = repr(key)
    for _ in range(2):
        assert [kv[key] for key in (1, "1", b"1", "a", b"a")] == ["1", "'1'", "b'1'", "'a'", "b'a'"]
    # Equal to 1, and hashed like it, but no keys.
    for key in (True, 1.0, 1 + 0j):
        with pytest.raises(TypeError):
            kv[key]
    with pytest.raises(ValueError, match="beyond 64 bits"):
        kv[2**64]
    with pytest.raises(ValueError, match="surrogate"):
        kv["\ud800"]


def test_every_kind_of_key_and_value_comes_back(kv):
    keys = ["", "\0", "é" * 500, b"", b"\0", b"\xff" * 500, 0, -1, -2, 2**63 - 1, -(2**63)]
    values = [None, b"", "", 0, 1.5, True, b"x" * 1000, {"a": (1,)}]
    for key in keys:
        for value in values:
            kv[key] = value
            for _ in range(2):
                assert kv[key] == value
                assert type(kv[key]) is type(value)


# -- coherence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vault", "plain"])
def test_the_next_read_sees_every_commit_of_another_process(kv, path, kind):
    kv["n"] = -1
    with Program(VAULT if kind == "vault" else PLAIN, path) as other:
        for n in range(300):
            if kind == "vault":
                other(f"kv['n'] = {n}")
            else:
                other(f"db.execute('UPDATE kv SET value = ?', ({pack(n)!r},))")
            assert kv["n"] == n
            assert is_hot(kv, "n")
        other("del kv['n']" if kind == "vault" else "db.execute('DELETE FROM kv')")
        assert "n" not in kv


@pytest.mark.parametrize("kind", ["engine", "session", "connection", "vault", "same vault", "sqlite3"])
def test_the_next_read_sees_every_commit_of_this_process(kv, path, kind):
    kv["n"] = -1
    engine = create_engine(path) if kind == "engine" else kv.engine
    plain = sqlite3.connect(path, isolation_level=None)
    writer = {"engine": KVault(engine), "vault": KVault(kv), "same vault": kv}.get(kind)
    for n in range(50):
        if writer is not None:
            writer["n"] = n
        elif kind == "session":
            with Session(engine) as session:
                KVault(session)["n"] = n
                assert kv["n"] == n - 1
                session.commit()
        elif kind == "connection":
            with engine.begin() as connection:
                connection.execute(sqlalchemy.update(kv.entity).values(value=n))
        else:
            plain.execute("UPDATE kv SET value = ?", (pack(n),))
        assert kv["n"] == n
        assert is_hot(kv, "n")
    plain.close()
    engine.dispose()


def test_every_method_that_writes_is_seen(kv):
    kv["a"] = 1
    assert kv["a"] == 1
    assert kv.incr("a") == kv["a"] == 2
    assert kv.replace("a", 2, 3)
    assert kv["a"] == 3
    kv.put_many([("a", 4)])
    assert kv["a"] == 4
    assert kv.pop("a") == 4
    assert "a" not in kv
    assert kv.setdefault("a", 5) == kv["a"] == 5
    kv.clear()
    assert kv.get("a") is None
    assert kv.add("a", 6)
    assert kv["a"] == 6
    assert kv.popitem() == ("a", 6)
    assert "a" not in kv


def test_what_was_rolled_back_was_never_cached(kv):
    kv["a"] = 1
    assert kv["a"] == 1
    with pytest.raises(ZeroDivisionError), kv.transaction():
        kv["a"], kv["b"] = 2, 2
        assert (kv["a"], kv["b"], "b" in kv) == (2, 2, True)
        1 / 0
    assert (kv["a"], kv.get("b"), "b" in kv) == (1, None, False)


def test_a_transaction_reads_what_it_wrote_and_others_do_not(kv):
    kv["a"] = 1
    seen = []

    def look():
        seen.append((kv["a"], "b" in kv))

    with kv.transaction():
        kv["a"] = 2
        kv["b"] = 2
        for _ in range(2):
            assert (kv["a"], "b" in kv) == (2, True)
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
    look()
    assert seen == [(1, False), (1, False), (2, True)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_an_open_transaction_of_others_is_not_seen_until_it_commits(kv, path, end):
    kv["a"] = 1
    other = sqlite3.connect(path, isolation_level=None)
    # A cache of one page: the transaction is written into the WAL long before it ends.
    other.execute("PRAGMA cache_size = 1")
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE kv SET value = ?", (pack(2),))
    for n in range(200):
        other.execute("INSERT INTO kv (key, value) VALUES (?, ?)", (n, pack(b"x" * 1000)))
        assert kv["a"] == 1
        assert n not in kv
    assert is_hot(kv, "a")
    other.execute(end)
    assert kv["a"] == (2 if end == "COMMIT" else 1)
    assert (0 in kv) is (end == "COMMIT")
    other.close()


def test_what_was_read_before_a_commit_is_not_kept_after_it(kv):
    kv["a"] = 1
    native = kv.read_cache._native
    mark = native.mark()
    kv["b"] = 1
    native.put("a", pack("old"), None, mark)
    assert native.get("a") is None
    native.put("a", pack("new"), None, native.mark())
    assert native.get("a") == pack("new")


@pytest.mark.parametrize(
    "sql",
    ["PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"],
)
def test_checkpoints_and_resets_of_the_wal_lose_and_revive_nothing(kv, path, sql):
    other = sqlite3.connect(path, isolation_level=None)
    for n in range(40):
        kv["n"] = kv[n] = n
        assert kv["n"] == n
        # Not busy: the connection that the cache keeps does not stand in the way.
        assert all(busy == 0 for busy, *_ in other.execute(sql).fetchall())
        assert (kv["n"], kv[n]) == (n, n)
        other.execute("UPDATE kv SET value = ? WHERE key = 'n'", (pack(-n),))
        assert (kv["n"], kv[n]) == (-n, n)
    assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    other.close()


def test_a_table_that_is_made_anew_is_empty(kv, path):
    kv["a"] = 1
    assert kv["a"] == 1
    other = sqlite3.connect(path)
    (sql,) = other.execute("SELECT sql FROM sqlite_master WHERE name = 'kv'").fetchone()
    other.executescript(f"DROP TABLE kv; {sql}")
    assert "a" not in kv
    other.close()


KILLED = """
    import sys
    from kohakuvault import KVault
    kv = KVault(sys.argv[1])
    n = kv["n"]
    while True:
        n += 1
        kv.put_many([("n", n), *((f"{n} {i}", b"x" * 500) for i in range(20))])
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
"""


def test_after_a_writer_was_killed_the_last_acknowledged_commit_is_seen(kv, path):
    kv["n"] = 0
    rng = random.Random(1)
    for _ in range(4):
        assert isinstance(kv["n"], int)
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), path], stdout=subprocess.PIPE, text=True
        )
        acknowledged = 0
        for _ in range(rng.randrange(1, 60)):
            acknowledged = int(process.stdout.readline())
            assert kv["n"] >= acknowledged
        time.sleep(rng.random() / 500)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        process.wait()
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1] if line)])
        process.stdout.close()
        plain = sqlite3.connect(path)
        (stored,) = plain.execute("SELECT value FROM kv WHERE key = 'n'").fetchone()
        plain.close()
        assert kv["n"] >= acknowledged
        assert pack(kv["n"]) == stored
        assert is_hot(kv, "n")


TORN = """
    import mmap, sys
    with open(sys.argv[1] + "-shm", "r+b") as file, mmap.mmap(file.fileno(), 0) as index:
        # The counter in the first of the two copies of the header.
        index[8:12] = (int.from_bytes(index[8:12], sys.byteorder) + int(sys.argv[2])).to_bytes(4, sys.byteorder)
"""


def test_a_header_that_a_crash_has_left_half_written_is_repaired(kv, path):
    kv["a"] = 1
    for step in (1, 7):
        assert kv["a"] == 1
        assert is_hot(kv, "a")
        run(TORN, path, step)
        assert kv.read_cache._native.get("a") is None
        # The read repairs it, which is a change.
        assert kv["a"] == 1
        assert kv["a"] == 1
        assert is_hot(kv, "a")
    kv["a"] = 2
    assert kv["a"] == 2


def test_threads_never_see_a_counter_go_back(kv):
    kv["n"] = 0
    stop = threading.Event()
    failures = []

    def look():
        last = 0
        while not stop.is_set():
            n = kv["n"]
            if n < last:
                failures.append((last, n))
            last = n

    def write():
        acknowledged = kv["n"]
        for _ in range(500):
            acknowledged += 1
            kv["n"] = acknowledged
            if kv["n"] < acknowledged:
                failures.append((acknowledged, "not seen"))
        stop.set()

    threads = [threading.Thread(target=target) for target in (look, look, look, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert kv["n"] == 500


def test_other_processes_never_make_a_counter_go_back(kv, path):
    kv["n"] = 0
    script = """
        import sys
        from kohakuvault import KVault
        kv = KVault(sys.argv[1], read_cache=2**20)
        last = 0
        for _ in range(200):
            seen = kv.incr("n")
            assert kv["n"] >= seen > last
            last = seen
    """
    writers = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), path]) for _ in range(2)]
    last = 0
    while any(writer.poll() is None for writer in writers):
        n = kv["n"]
        assert n >= last
        last = n
    assert [writer.returncode for writer in writers] == [0, 0]
    assert kv["n"] == 400


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "get", "in", "roll back", "commit", "checkpoint", "clear", "dispose"]),
        st.booleans(),
        st.sampled_from([1, 2, "1", "2", b"1", b"2"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=5), st.binary(max_size=400)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, capacity=st.sampled_from([1500, SIZE]))
def test_it_is_a_dict_whoever_writes(steps, capacity, tmp_path_factory):
    engine = create_engine(tmp_path_factory.mktemp("dict") / "test.db")
    kv = KVault(engine, read_cache=capacity)
    plain = sqlite3.connect(engine.url.database, isolation_level=None)
    model = {}
    for step, by_other, key, value in steps:
        if step == "set":
            if by_other:
                plain.execute("INSERT OR REPLACE INTO kv (key, value) VALUES (?, ?)", (key, pack(value)))
            else:
                kv[key] = value
            model[key] = value
        elif step == "delete":
            if by_other:
                plain.execute("DELETE FROM kv WHERE key = ?", (key,))
            else:
                kv.delete(key)
            model.pop(key, None)
        elif step in ("roll back", "commit"):
            try:
                with kv.transaction():
                    kv[key] = value
                    assert kv[key] == value
                    if step == "roll back":
                        raise InterruptedError
                model[key] = value
            except InterruptedError:
                pass
        elif step == "checkpoint":
            plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        elif step == "clear":
            kv.read_cache.clear()
        elif step == "dispose":
            engine.dispose()
        elif step == "in":
            assert (key in kv) is (key in model)
        assert kv.get(key, "none") == model.get(key, "none")
        assert kv.read_cache.bytes <= capacity
    assert kv.copy() == model
    kv.close()
    plain.close()
    engine.dispose()


# -- capacity and expiry -----------------------------------------------------------------------------


def test_memory_stays_within_the_capacity_and_what_is_used_stays(path):
    with KVault(path, read_cache=100_000) as kv:
        kv.update(dict.fromkeys(range(2000), b"x" * 256))
        for n in range(2000):
            assert kv[n] == kv[0] == b"x" * 256
            assert kv.read_cache.bytes <= 100_000
        assert is_hot(kv, 0)
        assert not is_hot(kv, 1)
        assert 150 < kv.read_cache.entries < 400


def test_large_values_are_not_kept_but_that_they_are_there_is(path):
    with KVault(path, read_cache=100_000) as kv:
        kv["large"], kv["small"] = b"x" * 25_000, b"x" * 24_000
        for _ in range(2):
            assert (len(kv["large"]), len(kv["small"])) == (25_000, 24_000)
        assert is_hot(kv, "small")
        assert not is_hot(kv, "large")
        hits = kv.read_cache.hits
        assert "large" in kv
        assert kv.read_cache.hits == hits + 1
        kv["x" * 30_000] = 1
        assert "x" * 30_000 in kv
        assert kv.read_cache.bytes < 30_000


def test_a_capacity_for_nothing_keeps_nothing(path):
    with KVault(path, read_cache=1) as kv:
        kv["a"] = 1
        assert [kv["a"], kv["a"], kv.get("b")] == [1, 1, None]
        assert (kv.read_cache.entries, kv.read_cache.bytes) == (0, 0)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "64 MB"])
def test_a_capacity_that_is_none_is_refused(path, capacity):
    with pytest.raises(InvalidArgument, match=r"read_cache is a size in bytes, such as 64 \* 2\*\*20"):
        KVault(path, read_cache=capacity)


def test_what_has_expired_is_not_known_any_more(kv):
    native = kv.read_cache._native
    now = time.time()
    for key, expires_at in {"past": now - 1, "future": now + 100, "soon": now + 0.05, "never": None}.items():
        native.put(key, pack(key), expires_at, native.mark())
    assert native.get("past") is native.contains("past") is None
    assert native.get("future") == pack("future")
    time.sleep(0.06)
    assert native.get("soon") is native.contains("soon") is None
    assert native.get("never") == pack("never")
    native.put("text", pack(1), "soon", native.mark())
    native.put("nan", pack(1), float("nan"), native.mark())
    assert native.get("text") is native.get("nan") is None


@pytest.mark.parametrize("data", ["text", 5, bytearray(b"x"), b"", False])
def test_what_is_no_packed_value_is_not_kept(kv, data):
    native = kv.read_cache._native
    native.put("a", data, None, native.mark())
    assert native.get("a") is native.contains("a") is None


# -- where it is off ---------------------------------------------------------------------------------


def works_without_cache(kv, reason):
    assert reason in kv.read_cache.reason
    assert reason in repr(kv.read_cache)
    kv["a"] = 1
    for _ in range(2):
        assert (kv["a"], "a" in kv, kv.get("b")) == (1, True, None)
    assert (kv.read_cache.entries, kv.read_cache.hits) == (0, 0)


def test_it_is_off_in_memory_and_on_other_databases(new_url):
    works_without_cache(KVault(":memory:", read_cache=SIZE), "not an SQLite file")
    engine = create_engine(new_url("postgresql"))
    works_without_cache(KVault(engine, read_cache=SIZE), "not an SQLite file")
    engine.dispose()


def test_it_is_off_inside_of_the_transaction_of_somebody_else(path):
    engine = create_engine(path)
    with Session(engine) as session, engine.connect() as connection:
        works_without_cache(KVault(session, read_cache=SIZE), "in its own transaction")
        session.commit()
        works_without_cache(KVault(connection, read_cache=SIZE), "in its own transaction")
    engine.dispose()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pragmas": {"journal_mode": "DELETE"}}, "journal_mode is delete, not wal"),
        ({"pragmas": {"journal_mode": "TRUNCATE"}}, "journal_mode is truncate, not wal"),
        ({"extension": "create_function"}, "native extension is not loaded"),
    ],
)
def test_it_is_off_without_wal_or_extension(path, options, reason):
    engine = create_engine(path, **options)
    works_without_cache(KVault(engine, read_cache=SIZE), reason)
    assert not Path(f"{path}-shm").exists() or options.get("extension")
    engine.dispose()


def test_it_is_off_where_connections_share_a_cache(path):
    engine = create_engine(f"sqlite:///file:{path}?cache=shared&uri=true")
    works_without_cache(KVault(engine, read_cache=SIZE), "share one cache")
    engine.dispose()


@pytest.mark.parametrize("private", [True, False])
def test_it_is_off_with_exclusive_locking(path, private):
    """Before WAL is opened it makes the index private memory, later it stops others from changing it."""
    KVault(path).close()
    connection = plain_with_functions(path)
    if not private:
        connection.execute("SELECT * FROM kv").fetchall()
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("UPDATE kv SET value = value")
    assert Path(f"{path}-shm").exists() is not private
    watch = _native.Watch()
    assert ask(connection, watch) == "its locking_mode is exclusive, not normal"
    assert not watch.attach()
    connection.close()


@pytest.mark.parametrize("kind", ["view", "temporary", "virtual", "attached", "elsewhere"])
def test_it_is_off_for_a_table_that_changes_without_a_commit_to_the_database(path, kind):
    engine = create_engine(path)
    vault = KVault(engine)

    @sqlalchemy.event.listens_for(engine, "connect")
    def connect(connection, record):
        connection.execute(f"ATTACH '{path}.other' AS other")
        if kind == "temporary":
            connection.execute("CREATE TEMP TABLE kv (id INTEGER PRIMARY KEY, key, value, expires_at)")

    engine.dispose()
    columns = "(id INTEGER PRIMARY KEY, key, value, expires_at)"
    with engine.begin() as connection:
        if kind in ("view", "virtual"):
            connection.exec_driver_sql("ALTER TABLE kv RENAME TO old")
        if kind == "view":
            connection.exec_driver_sql("CREATE VIEW kv AS SELECT * FROM old")
        elif kind == "virtual":
            connection.exec_driver_sql("CREATE VIRTUAL TABLE kv USING fts5(key, value, expires_at)")
        elif kind == "elsewhere":
            connection.exec_driver_sql(f"CREATE TABLE other.elsewhere {columns}")
    names = sqlalchemy.MetaData()
    table = {
        "attached": sqlalchemy.Table("kv", names, schema="other"),
        "elsewhere": sqlalchemy.Table("elsewhere", names),
    }.get(kind, sqlalchemy.Table("kv", names))
    reason = ReadCache(vault.binding, table, SIZE).reason
    assert reason in ("it is not an ordinary table of the main database", "it is in the attached database other")
    vault.close()
    engine.dispose()


def test_made_inside_of_a_transaction_it_begins_after_it(path):
    engine = create_engine(path)
    with (first := KVault(engine, "first")).transaction():
        kv = KVault(engine, "second", read_cache=SIZE)
        kv["a"] = 1
        assert kv["a"] == 1
    assert not is_hot(kv, "a")
    assert is_hot(kv, "a")
    kv.close()
    first.close()
    engine.dispose()


# -- the connection that it keeps --------------------------------------------------------------------


def plain_with_functions(path):
    """A connection that has the SQL functions, and nothing else that an engine does."""
    if extension.best_rung(sqlite3) == "load_extension":
        connection = sqlite3.connect(path, isolation_level=None)
        extension.attach(connection)
        return connection
    with extension.auto_extension():
        return sqlite3.connect(path, isolation_level=None)


@pytest.fixture
def opened(path):
    """Open a connection to a vault."""
    KVault(path).close()
    return lambda: plain_with_functions(path)


def ask(connection, watch):
    return connection.execute("SELECT kv_wal_index(?)", (watch.token,)).fetchall()[0][0]


def open_files(path):
    """How often this process has the database and its WAL index open."""
    gc.collect()
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return sum(name.startswith(str(path)) for name in names)


def test_the_header_can_be_looked_at_after_the_connection_was_closed(opened, path):
    watch = _native.Watch()
    connection = opened()
    connection.execute("SELECT * FROM kv").fetchall()
    assert ask(connection, watch) is None
    connection.close()
    del connection
    gc.collect()
    assert watch.attach()
    native = _native.ReadCache(SIZE, watch)
    plain = sqlite3.connect(path, isolation_level=None)
    for n in range(50):
        mark = native.mark()
        native.put(n, pack(n), None, mark)
        assert native.get(n) == pack(n)
        plain.execute("INSERT INTO kv (key, value) VALUES (?, x'00')", (n,))
        assert native.get(n) is None
        assert native.mark() != mark
    plain.close()
    # Nobody else has the file open, and yet it is still mapped.
    assert native.mark()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list a process's files")
@pytest.mark.parametrize("end", ["close", "forget"])
def test_the_connection_is_closed_with_the_cache(path, end):
    kv = KVault(path, read_cache=SIZE)
    kv["a"] = 1
    assert is_hot(kv, "a") or is_hot(kv, "a")
    native = kv.read_cache._native
    kv.engine.dispose()
    assert open_files(path) == 0
    assert (native.mark(), native.get("a"), native.entries) == (0, None, 0)
    assert kv["a"] == 1
    assert is_hot(kv, "a")
    assert open_files(path) > 0
    del native
    if end == "close":
        cache = kv.read_cache
        kv.close()
        assert (cache.reason, cache.entries, kv.read_cache) == ("it is closed", 0, None)
        del cache
        with pytest.raises(InvalidArgument, match="this KVault is closed"):
            kv["a"]
        kv.close()
    del kv
    assert open_files(path) == 0
    assert not Path(f"{path}-wal").exists()


def test_after_dispose_another_file_may_be_put_in_its_place(path, tmp_path):
    engine = create_engine(path)
    kv = KVault(engine, read_cache=SIZE)
    with KVault(tmp_path / "other.db") as other:
        other["a"] = "other"
    kv["a"] = "first"
    assert kv["a"] == "first"
    engine.dispose()
    os.replace(tmp_path / "other.db", path)
    assert kv["a"] == "other"
    assert is_hot(kv, "a")
    kv.close()
    engine.dispose()


def test_closing_while_others_read_is_harmless(path):
    engine = create_engine(path)
    kv = KVault(engine, read_cache=SIZE)
    kv["a"] = 1
    stop = threading.Event()
    seen = set()

    def look():
        while not stop.is_set():
            seen.add(kv["a"])
            kv.read_cache._native.contains("a")

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        kv.read_cache.suspend()
        kv.read_cache.clear()
        engine.dispose()
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == {1}
    kv.close()
    engine.dispose()


def test_while_it_is_open_nobody_leaves_wal_mode_and_afterwards_anybody_may(path):
    kv = KVault(path, read_cache=SIZE)
    kv["a"] = 1
    plain = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        plain.execute("PRAGMA journal_mode = DELETE")
    assert kv["a"] == 1
    kv.close()
    gc.collect()
    assert plain.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    plain.close()


@pytest.mark.parametrize("token", [0, -1, 2**62, "1", None, 1.5])
def test_only_a_token_that_is_waited_for_is_accepted(opened, token):
    connection = opened()
    with pytest.raises(sqlite3.OperationalError, match="not that of a read cache that waits for it"):
        connection.execute("SELECT kv_wal_index(?)", (token,)).fetchall()
    connection.close()


def test_a_token_ends_with_its_cache(opened):
    connection = opened()
    taken, closed, forgotten = (_native.Watch() for _ in range(3))
    assert ask(connection, taken) is None
    assert taken.attach()
    closed.close()
    tokens = [taken.token, closed.token, forgotten.token]
    del forgotten
    for token in tokens:
        with pytest.raises(sqlite3.OperationalError, match="not that of a read cache"):
            connection.execute("SELECT kv_wal_index(?)", (token,)).fetchall()
    connection.close()
    taken.close()


def test_views_and_triggers_cannot_call_the_function(opened):
    connection = opened()
    watch = _native.Watch()
    connection.execute(f"CREATE VIEW trap AS SELECT kv_wal_index({watch.token})")
    with pytest.raises(sqlite3.OperationalError, match="unsafe use"):
        connection.execute("SELECT * FROM trap").fetchall()
    assert not watch.attach()
    connection.close()


def test_a_cache_without_a_connection_keeps_nothing():
    watch = _native.Watch()
    native = _native.ReadCache(SIZE, watch)
    assert not watch.attach()
    assert native.mark() == watch.mark() == 0
    native.put("a", b"\1", None, 0)
    assert native.get("a") is None
    native.close()
    native.close()


def test_the_locks_of_this_process_survive_opening_and_closing_caches(path):
    """POSIX drops all locks of a process on a file when it closes any descriptor of it."""
    kv = KVault(path, read_cache=SIZE)
    kv["a"] = 1
    setup = PLAIN + "\ndb.execute('PRAGMA busy_timeout = 0')"
    attempt = "try: db.execute('UPDATE kv SET value = value'); print('written')\nexcept Exception as e: print(e)"
    with Program(setup, path) as other:
        other("code = " + repr(attempt))
        assert other("exec(code)") == "written"
        with kv.transaction():
            kv["a"] = 2
            for close in (True, False):
                # Its own engine: that of the path is in the transaction.
                engine = create_engine(path)
                cached = KVault(engine, read_cache=SIZE)
                assert cached["a"] == cached["a"] == 1
                assert cached.read_cache.hits == 1
                if close:
                    cached.close()
                del cached
                gc.collect()
                engine.dispose()
                kv.read_cache.suspend()
                assert other("exec(code)") == "database is locked"
        assert other("exec(code)") == "written"
        assert kv["a"] == 2
    kv.close()


# -- forks -------------------------------------------------------------------------------------------

FORK = """
    import os, sys
    from kohakuvault import KVault
    path, end = sys.argv[1:]
    kv = KVault(path, read_cache=2**20)
    kv["n"] = 0
    assert kv["n"] == kv["n"] == 0
    inherited = kv.read_cache._native
    child = os.fork()
    if not child:
        assert (inherited.get("n"), inherited.mark(), inherited.entries) == (None, 0, 0)
        inherited.close()
    for _ in range(100):
        seen = kv.incr("n")
        assert kv["n"] >= seen
        assert kv["n"] >= seen
    assert kv.read_cache._native is not inherited or child
    assert kv.read_cache.hits
    if not child:
        del inherited
        if end == "close":
            kv.close()
        os._exit(0) if end == "_exit" else sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kv["n"] == 200
    assert kv.read_cache._native is inherited
    with kv.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    print("well")
"""


@needs_fork
@pytest.mark.parametrize("end", ["exit", "_exit", "close"])
def test_a_forked_child_has_a_cache_of_its_own(path, end):
    assert run(FORK, path, end) == "well\n"


@needs_fork
def test_a_child_forked_while_threads_read_is_not_stuck(path):
    script = """
        import os, sys, threading
        from kohakuvault import KVault
        kv = KVault(sys.argv[1], read_cache=2**20)
        kv["a"] = 1
        stop = threading.Event()

        # From memory only: SQLite's own locks do not survive a fork.
        native = kv.read_cache._native
        mark = native.mark()

        def look():
            while not stop.is_set():
                native.put("a", b"1", None, mark)
                native.get("a")
                native.clear()

        threads = [threading.Thread(target=look, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                assert kv["a"] == kv["a"] == 1
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        print("well")
    """
    assert run(script, path) == "well\n"


# -- drivers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["pysqlite3", "sqlean"])
def test_other_drivers_have_it_too(path, driver):
    pytest.importorskip(driver)
    # Its own process: two SQLite libraries must not share a file.
    script = f"""
        import subprocess, sys
        from kohakuvault import KVault, create_engine
        from kohakuvault.packing import pack
        kv = KVault(create_engine(sys.argv[1], driver={driver!r}), read_cache=2**20)
        assert kv.read_cache.reason is None, kv.read_cache.reason
        kv["n"] = 0
        write = (
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "db.execute('UPDATE kv SET value = ?', (bytes.fromhex(sys.argv[2]),))"
        )
        for n in range(3):
            assert kv["n"] == kv["n"] == n
            subprocess.run([sys.executable, "-c", write, sys.argv[1], pack(n + 1).hex()], check=True)
        assert kv["n"] == 3
        assert kv.read_cache.hits == 3
        kv.close()
        print("well")
    """
    assert run(script, path) == "well\n"
