"""Several SQLite libraries in one process, all with the native functions: no crash, correct results.

Extensions that keep one pointer to "the" SQLite crash here, so each program runs in a process of its own.
"""

from __future__ import annotations

import itertools
import platform
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import kohakuvault
from kohakuvault import ColumnVault, KVault, VectorKVault

# As in pyproject.toml: pysqlite3 has no wheel for Linux on ARM. The others are required wherever tests run.
DRIVERS = ["sqlite3", "sqlean"]
if sys.platform != "linux" or platform.machine() == "x86_64":
    DRIVERS.append("pysqlite3")

# What every program below begins with.
COMMON = """
    import itertools, sys, threading
    import numpy as np
    import kohakuvault
    from kohakuvault import ColumnVault, KVault, VectorKVault, create_engine

    directory, *drivers = sys.argv[1:]
    random = np.random.default_rng(0)
    rows = random.standard_normal((200, 33)).astype(np.float32)
    queries = random.standard_normal((8, 33)).astype(np.float32)
    want = {tuple(q): [int(i) + 1 for i in np.argsort(((rows - q) ** 2).sum(1))[:5]] for q in queries}

    def made(driver, name=None):
        engine = create_engine(f"{directory}/{name or driver}.db", driver=driver)
        vectors = VectorKVault(engine, dimensions=33, metric="l2")
        if not vectors:
            vectors.insert_many(rows, range(1, 201))
        return engine, vectors

    def check(vectors):
        for q in queries:
            found = vectors.search(q, 5)
            assert [id for id, _, _ in found] == [value for _, _, value in found] == want[tuple(q)], found

    def version(engine):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT kv_version()").scalar() == kohakuvault.__version__
            return connection.exec_driver_sql("SELECT sqlite_version() || sqlite_source_id()").scalar()
"""


def run(program: str, *arguments: object) -> str:
    """Run a program in a process of its own and return what it prints; a crash is a negative exit code."""
    source = textwrap.dedent(COMMON) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", source, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(params=DRIVERS)
def driver(request) -> str:
    return request.param


# -- each driver by itself ------------------------------------------------------------------------------


@pytest.fixture
def engine(driver, tmp_path):
    engine = kohakuvault.create_engine(tmp_path / "test.db", driver=driver)
    yield engine
    engine.dispose()


def test_the_driver_that_is_asked_for_is_used_and_has_the_native_functions(engine, driver):
    assert engine.dialect.dbapi.__name__ == ("sqlean.dbapi2" if driver == "sqlean" else f"{driver}.dbapi2")
    with engine.connect() as connection:
        assert connection.info["kohakuvault.rung"] in {"load_extension", "auto_extension"}
        assert connection.exec_driver_sql("SELECT kv_version()").scalar() == kohakuvault.__version__
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_containers_work_on_each_driver(engine):
    kv, cv = KVault(engine), ColumnVault(engine)
    vectors = VectorKVault(engine, dimensions=3)
    numbers = cv.create_column("numbers", "i64")
    kv.update({"a": {"n": [1, 2.5, None]}, b"b": np.arange(3), 3: "three"})
    numbers.extend(range(1000))
    numbers[10:20] = []
    vectors.insert_many([[1, 0, 0], [0, 1, 0]], ["east", "north"])
    assert kv["a"] == {"n": [1, 2.5, None]}
    assert list(kv) == ["a", b"b", 3]
    assert list(numbers) == [*range(10), *range(20, 1000)]
    assert vectors.get([0.1, 1, 0]) == "north"
    with pytest.raises(KeyError), kv.transaction():
        kv["c"] = 1
        numbers.append(1)
        vectors.insert([0, 0, 1])
        raise KeyError
    assert (len(kv), len(numbers), len(vectors)) == (3, 990, 2)


def test_containers_in_memory_work_on_each_driver(driver):
    engine = kohakuvault.create_engine(":memory:", driver=driver)
    vectors = VectorKVault(engine, dimensions=2, metric="l1")
    vectors.insert([1, 2], "x")
    assert vectors.search([1, 1]) == [(1, 1.0, "x")]
    engine.dispose()


def test_errors_of_each_driver_are_ours(engine, driver, tmp_path):
    (tmp_path / "text.db").write_bytes(b"Dear diary" * 100)
    with pytest.raises(kohakuvault.InvalidDatabase):
        KVault(kohakuvault.create_engine(tmp_path / "text.db", driver=driver))
    KVault(engine)["a"] = 1
    reader = kohakuvault.create_engine(tmp_path / "test.db", driver=driver, read_only=True)
    with pytest.raises(kohakuvault.ReadOnlyDatabase):
        KVault(reader)["a"] = 2
    reader.dispose()
    impatient = kohakuvault.create_engine(tmp_path / "test.db", driver=driver, pragmas={"busy_timeout": 1})
    kv = KVault(impatient)
    with KVault(engine).transaction(), pytest.raises(kohakuvault.DatabaseBusy):
        kv["a"] = 2
    impatient.dispose()


def test_auto_is_the_standard_librarys_driver_wherever_that_takes_the_functions(tmp_path):
    with kohakuvault.create_engine(tmp_path / "test.db").connect() as connection:
        assert connection.dialect.dbapi.__name__ == "sqlite3.dbapi2"
        assert connection.info["kohakuvault.rung"] != "create_function"


def test_auto_takes_another_driver_where_the_standard_librarys_can_load_nothing(tmp_path, monkeypatch):
    best_rung = kohakuvault.extension.best_rung
    monkeypatch.setattr(
        kohakuvault.extension,
        "best_rung",
        lambda driver: "create_function" if driver.__name__.startswith("sqlite3") else best_rung(driver),
    )
    engine = kohakuvault.create_engine(tmp_path / "test.db")
    assert engine.dialect.dbapi.__name__ in {"pysqlite3.dbapi2", "sqlean.dbapi2"}
    with engine.connect() as connection:
        assert connection.info["kohakuvault.rung"] == "load_extension"
    engine.dispose()
    # Where there is none, the standard library's, through Python.
    for module in ("pysqlite3", "pysqlite3.dbapi2", "sqlean", "sqlean.dbapi2"):
        monkeypatch.setitem(sys.modules, module, None)
    engine = kohakuvault.create_engine(tmp_path / "test.db")
    assert engine.dialect.dbapi.__name__ == "sqlite3.dbapi2"
    with engine.connect() as connection:
        assert connection.info["kohakuvault.rung"] == "create_function"
    engine.dispose()


@pytest.mark.parametrize("driver", DRIVERS[1:])
def test_another_driver_does_not_offer_what_only_the_standard_librarys_can(driver):
    with pytest.raises(kohakuvault.ExtensionUnavailable, match="it offers create_function, load_extension"):
        kohakuvault.create_engine(":memory:", driver=driver, extension="auto_extension")


# -- together in one process ----------------------------------------------------------------------------


def test_the_libraries_really_are_several(tmp_path):
    program = """
        print(*{version(made(driver)[0]) for driver in drivers}, sep="\\n")
    """
    assert len(run(program, tmp_path, *DRIVERS).splitlines()) == len(DRIVERS)


@pytest.mark.parametrize("order", list(itertools.permutations(DRIVERS)), ids="-".join)
def test_whichever_library_comes_first_all_give_correct_results_in_turns(tmp_path, order):
    program = """
        made_before = []
        for driver in drivers:
            made_before.append(made(driver))
            # Each library that was there before, after every one that comes in addition.
            for engine, vectors in made_before:
                check(vectors)
        for turn in range(10):
            for engine, vectors in made_before:
                check(vectors)
                vectors.delete(vectors.insert(rows[0]))
                engine.dispose()  # so that the next turn opens connections again
        print(len({version(engine) for engine, _ in made_before}))
    """
    assert run(program, tmp_path, *order) == f"{len(DRIVERS)}\n"


def test_statements_of_several_libraries_run_interleaved(tmp_path):
    program = """
        connections = [made(driver)[0].raw_connection() for driver in drivers]
        q = queries[0]
        sql = "SELECT id, kv_l2_distance(vector, ?) FROM vec_kvault ORDER BY id"
        # Each library is in the middle of its statement while the others take a step of theirs.
        cursors = [connection.cursor().execute(sql, (q.tobytes(),)) for connection in connections]
        expected = np.sqrt(((rows.astype(float) - q) ** 2).sum(1))
        for step in range(200):
            for cursor in cursors:
                id, distance = cursor.fetchone()
                assert id == step + 1 and abs(distance - expected[step]) < 1e-6
        print("ok")
    """
    assert run(program, tmp_path, *DRIVERS) == "ok\n"


def test_rows_of_several_libraries_are_read_interleaved(tmp_path):
    program = """
        vaults = [KVault(create_engine(f"{directory}/{driver}.db", driver=driver)) for driver in drivers]
        for kv in vaults * 2:
            kv.put_many((f"key {n}", n) for n in range(3000))
            assert kv.get_many([f"key {n}" for n in range(3001)]) == [*range(3000), None]
        buffer, _ = kohakuvault._native.pack_rows(((n, n) for n in range(200)), 1 << 20)
        sql = "SELECT key FROM kv_rows(?)"
        connections = [kv.engine.raw_connection() for kv in vaults]
        cursors = [connection.cursor().execute(sql, (buffer,)) for connection in connections * 2]
        for n in range(200):
            assert [cursor.fetchone() for cursor in cursors] == [(n,)] * len(cursors)
        for connection in connections * 2:
            try:
                connection.cursor().execute("SELECT * FROM kv_rows(x'0101')")
            except connection.dbapi_connection.OperationalError as error:
                assert "it ends too early" in str(error), error
            else:
                raise AssertionError("no error")
        print("ok")
    """
    assert run(program, tmp_path, *DRIVERS) == "ok\n"


def test_dicts_of_several_libraries_are_iterated_over_interleaved(tmp_path):
    program = """
        vaults = [KVault(create_engine(f"{directory}/{driver}.db", driver=driver)) for driver in drivers]
        for number, kv in enumerate(vaults):
            kv.update((n, (number, str(n))) for n in range(5000))
        for order in (lambda kv: kv.items(), lambda kv: kv.range(), lambda kv: kv.items()):
            for n, entries in enumerate(zip(*map(order, vaults), strict=True)):
                assert entries == tuple((n, (number, str(n))) for number in range(len(vaults)))
            assert n == 4999

        def iterate(kv, number):
            for _ in range(20):
                assert list(kv.values()) == [(number, str(n)) for n in range(5000)]

        threads = [threading.Thread(target=iterate, args=(kv, n)) for n, kv in enumerate(vaults)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print("done")
    """
    assert run(program, tmp_path, *DRIVERS) == "done\n"


def test_errors_stay_in_the_library_that_they_came_from(tmp_path):
    program = """
        connections = [made(driver)[0].raw_connection() for driver in drivers]
        for turn in range(20):
            for connection in connections:
                try:
                    connection.cursor().execute("SELECT kv_l2_distance(x'00', x'0000803f')").fetchone()
                except connection.dbapi_connection.OperationalError as error:
                    assert "multiples of 4" in str(error), error
                else:
                    raise AssertionError("no error")
                sql = "SELECT kv_l1_distance(x'0000803f', x'00000040')"
                assert connection.cursor().execute(sql).fetchone() == (1.0,)
        print("ok")
    """
    assert run(program, tmp_path, *DRIVERS) == "ok\n"


def test_threads_may_use_all_libraries_at_once(tmp_path):
    program = """
        vaults = [made(driver)[1] for driver in drivers]
        problems = []
        start = threading.Barrier(3 * len(drivers))

        def work(driver, vectors):
            try:
                start.wait()
                for turn in range(15):
                    check(vectors)
                    # A connection that is opened while other threads use theirs.
                    engine = create_engine(f"{directory}/{driver}.db", driver=driver)
                    check(VectorKVault(engine, dimensions=33, metric="l2"))
                    engine.dispose()
            except BaseException as problem:
                problems.append(problem)

        threads = [
            threading.Thread(target=work, args=pair) for pair in zip(drivers, vaults) for _ in range(3)
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(problems)
    """
    assert run(program, tmp_path, *DRIVERS) == "[]\n"


def test_a_library_that_offers_no_way_to_load_takes_part_through_python(tmp_path):
    program = """
        native = [made(driver)[1] for driver in drivers]
        for driver in drivers:
            engine = create_engine(f"{directory}/{driver}.db", driver=driver, extension="create_function")
            native.append(VectorKVault(engine, dimensions=33, metric="l2"))
        for turn in range(3):
            for vectors in native:
                check(vectors)
        print("ok")
    """
    assert run(program, tmp_path, *DRIVERS) == "ok\n"


def test_containers_of_several_libraries_in_one_process_keep_their_own_files(tmp_path):
    program = """
        vaults = []
        for driver in drivers:
            engine = create_engine(f"{directory}/{driver}.db", driver=driver)
            vaults.append((KVault(engine), ColumnVault(engine).create_column("numbers", "i64")))
        for n in range(50):
            for kv, numbers in vaults:
                with kv.transaction():
                    kv[n] = str(n)
                    numbers.append(n)
        for kv, numbers in vaults:
            assert dict(kv) == {n: str(n) for n in range(50)} and list(numbers) == list(range(50))
            with kv.engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        print("ok")
    """
    assert run(program, tmp_path, *DRIVERS) == "ok\n"


def test_a_file_written_by_one_library_is_read_by_every_other(tmp_path):
    for writer in DRIVERS:
        engine = kohakuvault.create_engine(tmp_path / f"{writer}.db", driver=writer)
        KVault(engine)["a"] = [1, 2]
        VectorKVault(engine, dimensions=2).insert([1, 2], writer)
        engine.dispose()
    for writer, reader in itertools.permutations(DRIVERS, 2):
        engine = kohakuvault.create_engine(tmp_path / f"{writer}.db", driver=reader)
        assert KVault(engine)["a"] == [1, 2]
        assert VectorKVault(engine, dimensions=2).get([1, 2]) == writer
        engine.dispose()
