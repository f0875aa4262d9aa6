"""One state: snapshots, and iterating while others write."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from kohakuvault import ColumnVault, InvalidArgument, KVault, ReadOnlyDatabase, create_engine


@pytest.fixture
def other(engine):
    """The same database by connections of its own."""
    other = create_engine(engine.url)
    yield other
    other.dispose()


def test_a_snapshot_sees_one_state(engine, other):
    kv, column = KVault(engine), ColumnVault(engine).create_column("c", "i64")
    kv["a"] = 1
    column.append(1)
    theirs = KVault(other)
    with kv.snapshot():
        theirs["a"] = 2
        theirs["b"] = 3
        ColumnVault(other)["c"].append(2)
        assert (kv["a"], "b" in kv, len(kv), dict(kv)) == (1, False, 1, {"a": 1})
        assert kv.get_many(["a", "b"]) == [1, None]
        assert column[:] == [1]
        with kv.snapshot():
            assert kv["a"] == 1
    assert dict(kv) == {"a": 2, "b": 3}
    assert column[:] == [1, 2]


def test_a_snapshot_is_of_the_moment_when_it_begins(engine, other):
    kv = KVault(engine)
    kv["a"] = 1
    with kv.snapshot():
        KVault(other)["a"] = 2
        assert kv["a"] == 1


def test_a_snapshot_is_of_one_thread(engine):
    kv = KVault(engine)
    kv["a"] = 1

    def write():
        kv["a"] = 2

    with kv.snapshot():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert kv["a"] == 1
    assert kv["a"] == 2


def test_a_snapshot_only_reads(engine):
    kv = KVault(engine)
    kv["a"] = 1
    with kv.snapshot():
        for write in (
            lambda: kv.put("b", 1),
            lambda: kv.put("b", 1, ttl=5),
            lambda: kv.update(b=1),
            lambda: kv.pop("a"),
            lambda: kv.incr("a"),
            lambda: kv.add("b", 1),
            lambda: kv.put_file("b", b"x" * 10, chunk_size=3),
            kv.clear,
            kv.remove_expired,
            lambda: kv.transaction().__enter__(),
            lambda: ColumnVault(engine),
        ):
            with pytest.raises(ReadOnlyDatabase, match="snapshot"):
                write()
        assert dict(kv) == {"a": 1}
    kv["b"] = 2
    assert dict(kv) == {"a": 1, "b": 2}
    with pytest.raises(ZeroDivisionError), kv.snapshot():
        raise ZeroDivisionError
    kv["c"] = 3


def test_a_snapshot_in_a_transaction(engine):
    kv = KVault(engine)
    with kv.transaction():
        kv["a"] = 1
        if engine.dialect.name == "sqlite":
            with kv.snapshot():
                assert kv["a"] == 1
        else:
            with pytest.raises(InvalidArgument, match="read committed"), kv.snapshot():
                pass
        kv["b"] = 2
    assert dict(kv) == {"a": 1, "b": 2}


def test_a_snapshot_of_a_session(engine, other):
    KVault(engine)["a"] = 1
    is_sqlite = engine.dialect.name == "sqlite"
    bind = engine if is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(bind) as session:
        kv = KVault(session)
        with kv.snapshot():
            KVault(other)["a"] = 2
            assert kv["a"] == 1
            with pytest.raises(ReadOnlyDatabase, match="snapshot"):
                kv["b"] = 1
        session.rollback()
        assert kv["a"] == 2
        kv["b"] = 3
        session.commit()
    assert KVault(other)["b"] == 3


def test_a_snapshot_in_memory():
    kv = KVault(":memory:")
    kv["a"] = 1
    with kv.snapshot():
        assert kv["a"] == 1
        with pytest.raises(ReadOnlyDatabase):
            kv["b"] = 2
    kv["b"] = 2
    assert dict(kv) == {"a": 1, "b": 2}


# -- iterating ------------------------------------------------------------------------------------------


def test_iterating_sees_the_state_of_its_beginning(engine, other):
    kv, theirs = KVault(engine), KVault(other)
    entries = {number: number for number in range(1500)}
    kv.update(entries)
    for iterate in (
        lambda: iter(kv.items()),
        lambda: reversed(kv.items()),
        lambda: kv.range(),
        lambda: kv.range(reverse=True),
        lambda: kv.items(limit=5000),
    ):
        iterator = iterate()
        seen = [next(iterator)]
        theirs.clear()
        theirs["new"] = 1
        kv.update((number, -number) for number in range(0, 1500, 7))
        seen += iterator
        assert dict(seen) == entries
        assert len(seen) == 1500
        theirs.clear()
        kv.update(entries)
        assert dict(kv) == entries


def test_what_is_iterated_over_can_be_changed_in_the_loop(kv):
    kv.update((number, number) for number in range(1200))
    for key in kv:
        del kv[key]
        kv[f"again {key}"] = key
    assert list(kv) == [f"again {number}" for number in range(1200)]
    for key, value in kv.items():
        kv[key] = value + 1
    assert list(kv.values()) == list(range(1, 1201))


def test_a_loop_over_what_grows_ends(kv):
    kv.update((number, number) for number in range(120))
    for key in kv:
        kv[f"{key} and another"] = 1
    assert len(kv) == 240


def test_a_journal_that_lets_nobody_write_beside_readers(tmp_path):
    """Not WAL: pages of their own, so that the loop may write."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'a.db'}", connect_args={"timeout": 0.1})
    kv = KVault(engine)
    kv.update((number, number) for number in range(1500))
    for key in kv:
        kv[key] = -key
    assert kv[7] == -7
    engine.dispose()


def test_an_iterator_that_is_left_keeps_nothing(engine):
    kv = KVault(engine)
    kv.update((number, number) for number in range(1500))
    kept = [iter(kv.items()) for _ in range(3)]
    for iterator in kept:
        next(iterator)
    next(iter(kv))
    del kept, iterator
    gc.collect()
    kv.clear()
    if engine.dialect.name == "sqlite":
        assert kv.checkpoint()[0] == 0
    else:
        assert engine.pool.checkedout() == 0


def test_iterators_of_several_threads_and_nested_ones(engine):
    kv = KVault(engine)
    kv.update((number, number) for number in range(500))
    assert sum(1 for _ in kv for _ in zip(kv.items(), range(3), strict=False)) == 1500
    results = []
    threads = [threading.Thread(target=lambda: results.append(sum(kv.values()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [sum(range(500))] * 4


def test_memory_stays_flat(engine):
    kv = KVault(engine)
    kv.update((number, b"x" * 50_000) for number in range(200))
    for _ in kv.items():
        pass
    tracemalloc.start()
    try:
        for _ in kv.items():
            pass
        for _ in kv.values():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of ten megabytes.
    assert peak < 4_000_000


def test_many_entries_take_no_memory_of_their_own(tmp_path):
    script = """
        import resource, sys
        from kohakuvault import KVault
        kv = KVault(sys.argv[1])
        kv.put_many((number, number) for number in range(300_000))
        sum(1 for _ in kv.items(limit=1000))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in kv.items()) == 300_000
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    # 300,000 rows as Python objects would take some 50 MB; pages of the mapped file, which the system counts too, 8.
    assert int(done.stdout) < 20
