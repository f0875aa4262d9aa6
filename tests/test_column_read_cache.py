"""The read cache of columns: views of what has not changed, and never anything older than the last commit."""

from __future__ import annotations

import gc
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from kohakuvault import ColumnVault, InvalidArgument, KVault, NotFound, OutOfRange, create_engine
from kohakuvault.orm.tables import Block

SIZE = 4 << 20

# Elements of an i64 column in one run.
RUN = (1 << 18) // 8


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def cv(path):
    with ColumnVault(path, read_cache=SIZE) as cv:
        assert cv.read_cache.reason is None
        yield cv


def warm(read):
    """What ``read`` returns when it is done for the third time."""
    read()
    read()
    return read()


def is_hot(cv, read):
    """Whether a read is answered from memory."""
    before = cv.read_cache.hits
    read()
    return cv.read_cache.hits > before


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
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


# -- hits --------------------------------------------------------------------------------------------


def test_what_was_read_twice_is_a_view_of_memory(cv):
    column = cv.create_column("a", "i64")
    column.extend(range(1000))
    assert not is_hot(cv, lambda: column.to_numpy(5, 10))
    assert not is_hot(cv, lambda: column.to_numpy(5, 10))
    assert is_hot(cv, lambda: column.to_numpy(5, 10))
    assert column.to_numpy(5, 10).tolist() == [5, 6, 7, 8, 9]
    assert is_hot(cv, lambda: column.read_array(900, 100))
    assert is_hot(cv, lambda: column[3])
    assert is_hot(cv, lambda: column[3:500])
    first, second = column.to_numpy(0, 900), column.to_numpy(100, 200)
    assert np.shares_memory(first, second)
    assert cv.read_cache.entries == 1
    assert 8000 <= cv.read_cache.bytes < 9000


def test_what_is_kept_cannot_be_changed(cv):
    column = cv.create_column("a", "i64")
    vectors = cv.create_column("v", "vec:f32:2")
    column.extend(range(2 * RUN))
    vectors.extend(np.ones((10, 2), np.float32))
    for read in (
        lambda: column.to_numpy(0, 100),
        lambda: column.read_array(3, 5),
        lambda: column.to_numpy(RUN - 5, RUN + 5),
        lambda: vectors.to_numpy(1, 3),
    ):
        array = warm(read)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
        for view in (array, array[1:], array.reshape(-1), array.T):
            with pytest.raises(ValueError, match="WRITEABLE"):
                view.flags.writeable = True
    assert column.read_array(0, 3, copy=True).flags.writeable
    mine = column[0:3]
    mine[0] = 99
    assert column[0:3] == [0, 1, 2]
    for read in (lambda: vectors[0], lambda: vectors[0:2]):
        array = warm(read)
        array[:] = 7
        assert (read() == 1).all()


@pytest.mark.parametrize("dtype", ["i8", "u16", "i64", "f32", "f64", "bool", "vec:u8:3", "vec:f64:2:2"])
def test_every_kind_of_element_comes_back_as_without(cv, path, dtype):
    generator = np.random.default_rng(1)
    shape = {"vec:u8:3": (300, 3), "vec:f64:2:2": (300, 2, 2)}.get(dtype, (300,))
    values = generator.integers(0, 2 if dtype == "bool" else 100, shape)
    kind = {"bool": bool, "u16": np.uint16, "i8": np.int8, "f32": np.float32, "vec:u8:3": np.uint8}
    column = cv.create_column("a", dtype)
    column.extend(values.astype(kind.get(dtype, np.float64 if "f" in dtype else np.int64)))
    plain = ColumnVault(path)["a"]
    for index in (0, 1, 299, -1, -300, np.int8(5)):
        mine, theirs = warm(lambda index=index: column[index]), plain[index]
        assert type(mine) is type(theirs)
        assert np.array_equal(mine, theirs)
    slices = [
        (0, 10),
        (5, 5),
        (7, 3),
        (290, 400),
        (300, 310),
        (-5, None),
        (None, -290),
        (-400, 4),
        (None, None),
        (4, -4),
    ]
    for start, stop in slices:
        mine, theirs = warm(lambda a=start, b=stop: column[a:b]), plain[start:stop]
        assert type(mine) is type(theirs)
        assert np.array_equal(mine, theirs)
        array, expected = warm(lambda a=start, b=stop: column.to_numpy(a, b)), plain.to_numpy(start, stop)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(array, expected)
    assert cv.read_cache.hits > 20


def test_slices_across_runs_and_the_end(cv):
    column = cv.create_column("a", "i64")
    column.extend(range(3 * RUN + 10))
    for start, stop in [
        (RUN - 3, RUN + 3),
        (RUN, 2 * RUN),
        (RUN - 1, 2 * RUN + 1),
        (3 * RUN, 3 * RUN + 5),
        (3 * RUN - 1, 3 * RUN + 100),
        (3 * RUN + 10, 3 * RUN + 20),
        (9 * RUN, 9 * RUN + 5),
    ]:
        expected = list(range(start, min(stop, 3 * RUN + 10)))
        assert warm(lambda a=start, b=stop: column.to_numpy(a, b)).tolist() == expected
        assert column[start:stop] == expected
    assert len(column) == 3 * RUN + 10
    del column[3 * RUN :]
    assert warm(lambda: column.to_numpy(3 * RUN - 1, 3 * RUN + 1)).tolist() == [3 * RUN - 1]
    for index in (3 * RUN, -3 * RUN - 1, 2**70, -(2**70)):
        with pytest.raises(OutOfRange):
            column[index]


def test_what_a_column_is_read_into_is_filled_from_memory(cv):
    column = cv.create_column("a", "f32")
    column.extend([1.0, 2.0, 3.0])
    warm(lambda: column.to_numpy(0, 3))
    out = np.zeros(2, np.float32)
    assert is_hot(cv, lambda: column.to_numpy(1, 3, out=out))
    assert out.tolist() == [2.0, 3.0]


def test_elements_of_no_common_size_are_read_by_sqlite(cv):
    for dtype, values in {"str:utf8": ["a", "bc"], "msgpack": [1, None], "bytes:2": [b"ab", b"cd"]}.items():
        column = cv.create_column(dtype, dtype)
        column.extend(values)
        for _ in range(3):
            assert column[:] == values
            assert column.to_numpy(0, 2).tolist() == values
            assert [column[0], column[-1]] == values
    assert cv.read_cache.entries == 0


@pytest.mark.parametrize("wrong", ["1", 1.5, [1]])
def test_what_is_no_index_is_refused(cv, wrong):
    column = cv.create_column("a", "i64")
    column.extend(range(10))
    warm(lambda: column.to_numpy(0, 5))
    with pytest.raises(TypeError):
        column.to_numpy(wrong, 5)
    with pytest.raises(TypeError):
        column[0:wrong]


# -- coherence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["process", "sqlite3", "engine", "session", "same"])
def test_the_next_read_sees_every_commit(cv, path, kind):
    column = cv.create_column("a", "i64")
    column.extend([0] * 100)
    engine = create_engine(path)
    plain = sqlite3.connect(path, isolation_level=None)
    setup = "from kohakuvault import ColumnVault; column = ColumnVault(sys.argv[1])['a']"
    with Program(setup, path) as other:
        for n in range(1, 40):
            if kind == "process":
                other(f"column[7] = {n}")
            elif kind == "sqlite3":
                bytes_ = column.to_numpy().copy()
                bytes_[7] = n
                plain.execute("UPDATE vault_column SET tail = ?", (bytes_.tobytes(),))
            elif kind == "engine":
                ColumnVault(engine)["a"][7] = n
            elif kind == "session":
                with Session(cv.engine) as session:
                    ColumnVault(session)["a"][7] = n
                    assert column[7] == n - 1
                    session.commit()
            else:
                column[7] = n
            assert column[7] == n
            assert warm(lambda: column.to_numpy(5, 9)).tolist() == [0, 0, n, 0]
            assert is_hot(cv, lambda: column[7])
    plain.close()
    engine.dispose()


def test_length_is_that_of_the_last_commit(cv, path):
    column, other = cv.create_column("a", "i64"), ColumnVault(create_engine(path))["a"]
    for n in range(20):
        other.append(n)
        for _ in range(3):
            assert len(column) == n + 1
            assert column[-1] == n
            assert column.to_numpy(-1).tolist() == [n]
    other._vault.engine.dispose()


def test_what_waits_to_be_appended_is_seen(cv):
    column = cv.create_column("a", "i64")
    with cv.cache():
        for n in range(20):
            column.append(n)
            assert column[-1] == n
            assert column.to_numpy(0, 100).tolist() == list(range(n + 1))
            assert warm(lambda: len(column)) == n + 1


def test_a_transaction_reads_what_it_wrote_and_others_do_not(cv):
    column = cv.create_column("a", "i64")
    column.extend([1, 2, 3])
    warm(lambda: column.to_numpy(0, 3))
    seen = []

    def look():
        seen.append([*column.to_numpy(0, 9).tolist(), len(column), column[-1]])

    with pytest.raises(ZeroDivisionError), cv.transaction():
        column[0] = 9
        column.append(4)
        for _ in range(3):
            assert column.to_numpy(0, 9).tolist() == [9, 2, 3, 4]
            assert (column[0], len(column), column[-1], column[0:1]) == (9, 4, 4, [9])
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        raise ZeroDivisionError
    look()
    assert seen == [[1, 2, 3, 3, 3]] * 4


def test_a_snapshot_reads_its_own_state(cv, path):
    column = cv.create_column("a", "i64")
    column.extend([1, 2, 3])
    other = ColumnVault(create_engine(path))["a"]
    warm(lambda: column[0])
    with cv.snapshot() if hasattr(cv, "snapshot") else cv.binding.snapshot():
        assert column[0] == 1
        other[0] = 5
        for _ in range(3):
            assert column[0] == 1
            assert column.to_numpy(0, 3).tolist() == [1, 2, 3]
    assert column[0] == 5
    other._vault.engine.dispose()


def test_a_column_that_is_deleted_or_made_anew(cv, path):
    column = cv.create_column("a", "i64")
    column.extend([1, 2, 3])
    warm(lambda: column.to_numpy(0, 3))
    other = ColumnVault(create_engine(path))
    other.delete_column("a")
    other.create_column("a", "f64").extend([1.5])
    for read in (lambda: column[0], lambda: column.to_numpy(0, 1), lambda: len(column), lambda: column[-1]):
        with pytest.raises(NotFound):
            read()
    again = cv["a"]
    assert warm(lambda: again.to_numpy(0, 3)).tolist() == [1.5]
    other.engine.dispose()


def test_ids_that_a_rollback_gives_again_are_not_mixed_up(cv):
    cv.create_column("kept", "i64").extend([0])
    with pytest.raises(ZeroDivisionError), cv.transaction():
        lost = cv.create_column("lost", "i64")
        lost.extend([1, 2, 3])
        assert warm(lambda: lost[0]) == 1
        raise ZeroDivisionError
    other = cv.create_column("other", "f64")
    other.extend([2.5])
    assert warm(lambda: other[0]) == 2.5
    with pytest.raises(NotFound):
        lost[0]
    with pytest.raises(NotFound):
        lost.to_numpy(0, 1)


def test_blocks_that_others_damage_are_seen(cv, path):
    column = cv.create_column("a", "i64", block_bytes=64)
    column.extend(range(100))
    warm(lambda: column.to_numpy(0, 50))
    with sqlite3.connect(path) as plain:
        plain.execute(f"DELETE FROM {Block.__tablename__}")
    plain.close()
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"):
            column.to_numpy(0, 50)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["read", "read", "read", "item", "append", "set", "insert", "delete", "other", "clear"]),
            st.integers(0, 1),
            st.integers(-70, 70),
            st.integers(-70, 70),
        ),
        max_size=60,
    ),
    capacity=st.sampled_from([1, 600, 3000, 1 << 20]),
)
def test_it_is_a_list_whoever_writes(steps, capacity, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "a.db"
    other = ColumnVault(create_engine(path))
    cv = ColumnVault(path, read_cache=capacity, block_bytes=64)
    columns = [cv.create_column("0", "i64"), cv.create_column("1", "f32")]
    models: list[list[float]] = [[], []]
    for name, which, a, b in steps:
        column, model = columns[which], models[which]
        value = type(model[0])(b) if model else (b if which == 0 else float(b))
        if name == "read":
            assert column[a:b] == model[a:b]
            assert column.to_numpy(a, b).tolist() == model[a:b]
            assert len(column) == len(model)
        elif name == "item":
            if -len(model) <= a < len(model):
                assert column[a] == model[a]
            else:
                with pytest.raises(OutOfRange):
                    column[a]
        elif name == "append":
            column.extend([value] * 9)
            model.extend([value] * 9)
        elif name == "other":
            other[str(which)].append(value)
            model.append(value)
        elif name == "insert":
            column.insert(a, value)
            model.insert(a, value)
        elif name == "clear":
            cv.read_cache.clear()
        elif model and name == "set":
            column[a % len(model)] = model[a % len(model)] = value
        elif model:
            del column[a % len(model)], model[a % len(model)]
        assert cv.read_cache.bytes <= capacity
    cv.close()
    other.engine.dispose()


# -- capacity ----------------------------------------------------------------------------------------


def test_runs_that_were_not_used_lately_make_room(path):
    with ColumnVault(path, read_cache=1 << 20) as cv:
        column = cv.create_column("a", "i64")
        column.extend(np.arange(20 * RUN))
        generator = random.Random(1)
        for _ in range(300):
            start = generator.randrange(20 * RUN - 100)
            assert column.to_numpy(start, start + 100).tolist() == list(range(start, start + 100))
            assert cv.read_cache.bytes <= 1 << 20
        assert warm(lambda: column.to_numpy(0, 10)).tolist() == list(range(10))
        # Too much for a part of the capacity, hence not kept.
        assert warm(column.to_numpy).flags.writeable
        assert warm(lambda: column[-1]) == 20 * RUN - 1


def test_what_runs_when_a_run_is_evicted_may_read(path):
    with ColumnVault(path, read_cache=1 << 20) as cv:
        column = cv.create_column("a", "i64")
        column.extend(np.arange(20 * RUN))
        seen = []
        references = []
        for start in range(0, 20 * RUN, RUN):
            array = warm(lambda a=start: column.to_numpy(a, a + 10))
            references.append(weakref.ref(array.base, lambda _: seen.append(column[-1])))
            del array
        assert len(seen) >= 15
        assert set(seen) == {20 * RUN - 1}
        references.clear()


def test_a_tiny_capacity_keeps_nothing(path):
    with ColumnVault(path, read_cache=1) as cv:
        column = cv.create_column("a", "i64")
        column.extend(range(100))
        for _ in range(3):
            assert column[5] == 5
            assert column[5:7] == [5, 6]
        assert (cv.read_cache.entries, cv.read_cache.bytes) == (0, 0)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "64 MB"])
def test_a_capacity_that_is_none_is_refused(path, capacity):
    with pytest.raises(InvalidArgument, match=r"read_cache is a size in bytes, such as 64 \* 2\*\*20"):
        ColumnVault(path, read_cache=capacity)


# -- where it is off, and its end ----------------------------------------------------------------------


def works_without_cache(cv, reason):
    assert reason in cv.read_cache.reason
    assert reason in repr(cv.read_cache)
    column = cv.create_column("a", "i64")
    column.extend(range(10))
    for _ in range(3):
        assert (column[1], column[2:4], column.to_numpy(-2).tolist(), len(column)) == (1, [2, 3], [8, 9], 10)
    assert (cv.read_cache.entries, cv.read_cache.hits) == (0, 0)


def test_it_is_off_in_memory_on_other_databases_and_in_a_session(new_url, path):
    works_without_cache(ColumnVault(":memory:", read_cache=SIZE), "not an SQLite file")
    engine = create_engine(new_url("postgresql"))
    works_without_cache(ColumnVault(engine, read_cache=SIZE), "not an SQLite file")
    engine.dispose()
    engine = create_engine(path)
    with Session(engine) as session:
        works_without_cache(ColumnVault(session, read_cache=SIZE), "in its own transaction")
        session.commit()
    engine.dispose()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list a process's files")
@pytest.mark.parametrize("end", ["close", "forget"])
def test_the_connection_is_closed_with_the_cache(path, end):
    def open_files():
        gc.collect()
        names = []
        for number in os.listdir("/proc/self/fd"):
            try:
                names.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                continue
        return sum(name.startswith(str(path)) for name in names)

    cv = ColumnVault(path, read_cache=SIZE)
    column = cv.create_column("a", "i64")
    column.extend(range(10))
    array = warm(lambda: column.to_numpy(0, 5))
    cv.engine.dispose()
    assert open_files() == 0
    assert warm(lambda: column.to_numpy(0, 5)).tolist() == [0, 1, 2, 3, 4]
    assert is_hot(cv, lambda: column[0])
    assert open_files() > 0
    if end == "close":
        cache = cv.read_cache
        cv.close()
        assert (cache.reason, cache.entries, cv.read_cache) == ("it is closed", 0, None)
        with pytest.raises(InvalidArgument, match="closed"):
            column[0]
        cv.close()
    cv = column = cache = None
    assert open_files() == 0
    assert array.tolist() == [0, 1, 2, 3, 4]


def test_caches_of_dicts_and_columns_share_a_file(path):
    engine = create_engine(path)
    kv, cv = KVault(engine, read_cache=SIZE), ColumnVault(engine, read_cache=SIZE)
    column = cv.create_column("a", "i64")
    for n in range(10):
        column.append(n)
        kv["n"] = n
        assert warm(lambda: kv["n"]) == warm(lambda: column[-1]) == n
        assert is_hot(cv, lambda: column[-1])
    kv.close()
    assert is_hot(cv, lambda: column[-1])
    cv.close()
    engine.dispose()


def test_threads_read_while_one_appends(path):
    engine = create_engine(path)
    cv = ColumnVault(engine, read_cache=SIZE)
    column = cv.create_column("a", "i64")
    column.append(0)
    stop = threading.Event()
    wrong = []

    def look():
        while not stop.is_set():
            values = column.to_numpy(0, None).tolist()
            if values != list(range(len(values))) or len(column) < len(values):
                wrong.append(values)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(1, 200):
        column.append(n)
        if n % 50 == 0:
            cv.read_cache.suspend()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    cv.close()
    engine.dispose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_cache_of_its_own(path):
    script = """
        import os, sys
        from kohakuvault import ColumnVault
        cv = ColumnVault(sys.argv[1], read_cache=2**20)
        column = cv.create_column("a", "i64")
        column.append(0)
        for _ in range(3):
            assert column[0] == 0
        runs = column._runs
        child = os.fork()
        if not child:
            assert (runs.view(0, 1), runs.mark(), runs.length()) == (None, 0, None)
        for n in range(100):
            with cv.transaction():
                column[0] = column[0] + 1
            for _ in range(3):
                assert column[0] >= n
        assert cv.read_cache.hits
        if not child:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert column[0] == 200
        print("well")
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("well\n", "")
