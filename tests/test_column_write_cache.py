"""Elements that wait to be appended: every read sees them, all columns are written together, no failure loses any."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import kohakuvault
from kohakuvault import (
    ColumnVault,
    DatabaseBusy,
    DriverError,
    InvalidArgument,
    KVault,
    NotFound,
    UnsupportedType,
    create_engine,
)
from kohakuvault.lending import DriverCursor

VALUES = {
    "i64": [1, -(2**63), 2**63 - 1],
    "u8": [0, 7, 255],
    "f32": [0.5, -1.0, float("inf")],
    "bool": [True, False, True],
    "str:utf8": ["", "ä\0", "☃" * 50],
    "str:4:ascii": ["", "ab", "abcd"],
    "bytes": [b"", b"\0", b"\xff" * 300],
    "msgpack": [{"a": (1, 2)}, None, 2**70],
    "vec:f32:3": [[1.0, 2.0, 3.0], np.ones(3, np.float32), np.zeros(3)],
    "vec:f32": [np.zeros((2, 3), np.float32), np.ones(1, np.float32), np.ones((1, 1), np.float32)],
}


@pytest.fixture
def bind(caching_bind) -> object:
    return caching_bind


@pytest.fixture
def cv(bind) -> ColumnVault:
    return ColumnVault(bind)


def committed(engine) -> dict[str, list[object]]:
    """What a connection that knows nothing of the cache sees."""
    other = create_engine(engine.url)
    try:
        return {name: column[:] for name, column in ColumnVault(other).items()}
    finally:
        other.dispose()


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


# -- on every bind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", VALUES)
def test_elements_of_every_dtype_wait_and_come_back(cv, dtype):
    column, direct = cv.create_column("a", dtype), cv.create_column("direct", dtype)
    values = VALUES[dtype]
    direct.extend(values * 3)
    with cv.cache():
        for value in values:
            column.append(value)
        column.extend(values)
        for value in values:
            column.append(value)
    assert column == direct
    assert cv.list_columns() == [("a", dtype, 9), ("direct", dtype, 9)]


def test_every_read_and_every_other_write_comes_after_what_waits(cv):
    column = cv.create_column("a", "i64")
    model: list[int] = []
    with cv.cache():
        steps = [
            lambda c: len(c),
            lambda c: c[-1],
            lambda c: c[0],
            lambda c: c[:],
            lambda c: list(c),
            lambda c: c[::-2],
            lambda c: c.insert(1, 100),
            lambda c: c.pop(),
            lambda c: c.pop(0),
            lambda c: c.index(c[-1]),
            lambda c: c.count(3),
            lambda c: 5 in c,
            lambda c: c.reverse(),
            lambda c: c.__setitem__(-1, 7),
            lambda c: c.__setitem__(slice(1, 2), [1, 2, 3]),
            lambda c: c.__delitem__(0),
            lambda c: c.sort(),
        ]
        for number, step in enumerate(steps):
            for target in (column, model):
                target.append(number)
                target.extend([number, number + 1])
            assert step(column) == step(model)
        column.append(5)
        model.append(5)
        assert column.to_numpy().tolist() == model
        column.append(6)
        model.append(6)
        assert column.sum() == sum(model)
        column.append(7)
        model.append(7)
        assert cv.list_columns() == [("a", "i64", len(model))]
        column.append(8)
        column.clear()
        column.append(9)
    assert column[:] == [9]


def test_a_wrong_value_is_refused_at_its_own_append(cv):
    numbers, texts = cv.create_column("n", "i64"), cv.create_column("t", "str:utf8")
    with cv.cache():
        for _ in range(2):
            numbers.append(1)
            texts.append("a")
            for wrong in (1.5, True, "1", None):
                with pytest.raises(UnsupportedType):
                    numbers.append(wrong)
            with pytest.raises(InvalidArgument):
                numbers.append(2**63)
            with pytest.raises(UnsupportedType):
                numbers.extend([1, 2, "3"])
            with pytest.raises(InvalidArgument):
                texts.append("\ud800")
    assert (numbers[:], texts[:]) == ([1, 1], ["a", "a"])


def test_an_interrupt_in_a_value_is_no_refusal(cv):
    class Interrupting:
        def __index__(self):
            raise KeyboardInterrupt

    column = cv.create_column("a", "i64")
    with cv.cache():
        column.append(1)
        column.append(2)
        with pytest.raises(KeyboardInterrupt):
            column.append(Interrupting())
    assert column[:] == [1, 2]


def test_what_is_large_is_written_at_once_and_in_its_place(cv):
    column = cv.create_column("a", "bytes")
    with cv.cache(cap_bytes=1000):
        column.append(b"first")
        column.append(b"x" * 5000)
        column.append(b"then")
        column.extend([b"y" * 70_000, b"z"])
        column.append(b"last")
    assert [len(value) for value in column] == [5, 5000, 4, 70_000, 1, 4]


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"checksum": True}, {"block_bytes": 64}])
def test_columns_of_every_form_wait(cv, options):
    column = cv.create_column("a", "str:utf8", **options)
    model = []
    with cv.cache(cap_bytes=4000):
        for number in range(400):
            column.append(f"{number}" * (number % 7))
            model.append(f"{number}" * (number % 7))
    assert column[:] == model


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 2), st.integers(-9, 9)),
            st.tuples(st.just("extend"), st.integers(0, 2), st.lists(st.integers(-9, 9), max_size=20)),
            st.tuples(st.just("read"), st.integers(0, 2), st.none()),
            st.tuples(st.just("insert"), st.integers(0, 2), st.integers(-9, 9)),
            st.tuples(st.just("flush"), st.just(0), st.none()),
            st.tuples(st.just("rollback"), st.integers(0, 2), st.integers(-9, 9)),
        ),
        max_size=40,
    ),
    cap=st.sampled_from([1, 64, 400, 1 << 20]),
)
def test_it_is_a_list_whatever_waits(steps, cap):
    with ColumnVault(":memory:", block_bytes=64) as cv:
        columns = [cv.create_column(str(number), dtype) for number, dtype in enumerate(("i64", "msgpack", "i8"))]
        others = ColumnVault(cv)
        models: list[list[int]] = [[], [], []]
        with cv.cache(cap_bytes=cap):
            for name, which, value in steps:
                column, model = columns[which], models[which]
                if name == "append":
                    column.append(value)
                    model.append(value)
                elif name == "extend":
                    others[str(which)].extend(value)
                    model.extend(value)
                elif name == "insert":
                    column.insert(1, value)
                    model.insert(1, value)
                elif name == "flush":
                    cv.flush_cache()
                elif name == "rollback":
                    with pytest.raises(ZeroDivisionError), cv.transaction():
                        column.append(value)
                        assert column[-1] == value
                        raise ZeroDivisionError
                else:
                    assert column[:] == model
            assert [column[:] for column in columns] == models


# -- on an engine ------------------------------------------------------------------------------------


def test_nothing_is_written_before_a_flush_and_all_columns_by_it(engine):
    cv = ColumnVault(engine)
    numbers, texts = cv.create_column("n", "i64"), cv.create_column("t", "str:utf8")
    with cv.cache():
        numbers.append(1)
        numbers.extend([2, 3])
        texts.append("abc")
        assert committed(engine) == {"n": [], "t": []}
        assert cv.flush_cache() == 3 * 8 + 4 + 3
        assert committed(engine) == {"n": [1, 2, 3], "t": ["abc"]}
        assert cv.flush_cache() == 0
        texts.append("d")
        assert len(numbers) == 3
        assert committed(engine) == {"n": [1, 2, 3], "t": ["abc", "d"]}
    texts.append("e")
    assert committed(engine)["t"] == ["abc", "d", "e"]


def test_other_handles_of_the_bind_see_what_waits_and_write_behind_it(engine):
    first, second = ColumnVault(engine), ColumnVault(engine)
    mine = first.create_column("a", "i64")
    theirs = second["a"]
    first.enable_cache()
    mine.append(1)
    theirs.append(2)
    mine.append(3)
    assert committed(engine)["a"] == []
    assert theirs[:] == [1, 2, 3]
    mine.append(4)
    theirs[0] = 0
    assert KVault(engine).get("k") is None
    assert ColumnVault(engine, read_only=True)["a"][:] == [0, 2, 3, 4]
    first.disable_cache()


def test_one_column_waits_alone_with_limits_of_its_own(engine):
    cv = ColumnVault(engine)
    waits, direct = cv.create_column("w", "i64"), cv.create_column("d", "i64")
    with waits.cache(cap_bytes=160, flush_threshold=160) as column:
        assert column is waits
        for number in range(20):
            waits.append(number)
        assert committed(engine) == {"w": [], "d": []}
        waits.append(20)
        assert committed(engine) == {"w": list(range(20)), "d": []}
        direct.append(1)
        # What waited came before.
        assert committed(engine) == {"w": list(range(21)), "d": [1]}
        waits.append(21)
        assert waits.flush_cache() == 8
        assert direct.flush_cache() == 0
    waits.append(22)
    assert committed(engine)["w"] == list(range(23))
    waits.enable_cache()
    waits.append(23)
    assert committed(engine)["w"] == list(range(23))
    waits.disable_cache()
    waits.disable_cache()
    assert committed(engine)["w"] == list(range(24))


def test_limits_of_one_column_beside_those_of_all(engine):
    cv = ColumnVault(engine)
    first, second = cv.create_column("a", "i64"), cv.create_column("b", "i64")
    with cv.cache():
        with first.cache(cap_bytes=16):
            second.append(1)
            second.append(2)
            second.append(3)
            first.append(1)  # 24 bytes wait, more than it allows
            assert committed(engine) == {"a": [], "b": [1, 2, 3]}
            second.append(4)
        assert committed(engine) == {"a": [1], "b": [1, 2, 3, 4]}
        first.append(2)
        assert committed(engine)["a"] == [1]
    assert committed(engine)["a"] == [1, 2]


def test_the_threshold_flushes_before_the_next_append(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64")
    cv.enable_cache(cap_bytes=1_000, flush_threshold=400)
    for number in range(120):
        column.append(number)
    assert committed(engine)["a"] == list(range(100))
    cv.disable_cache()
    assert committed(engine)["a"] == list(range(120))


def test_a_held_cache_does_not_flush_and_is_never_larger_than_its_cap(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64")
    with cv.cache(cap_bytes=800, flush_threshold=80):
        with cv.lock_cache():
            for number in range(100):
                column.append(number)
            assert committed(engine)["a"] == []
            with pytest.raises(InvalidArgument, match="lock_cache"):
                column.append(100)
        column.append(100)
        assert committed(engine)["a"] == list(range(100))
    with cv.cache(cap_bytes=80, auto_flush=False), pytest.raises(InvalidArgument, match="auto_flush=False"):
        for number in range(101, 200):
            column.append(number)
    assert committed(engine)["a"] == list(range(111))


@pytest.mark.parametrize(
    "wrong",
    [{"cap_bytes": 0}, {"cap_bytes": 1.5}, {"flush_threshold": -1}, {"flush_interval": 0}, {"flush_interval": "1"}],
    ids=str,
)
def test_impossible_settings_are_refused(engine, wrong):
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64")
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        cv.enable_cache(**wrong)
    if "flush_interval" not in wrong:
        with pytest.raises(InvalidArgument, match=next(iter(wrong))):
            column.enable_cache(**wrong)
    column.append(1)
    assert committed(engine) == {"a": [1]}


def test_an_exception_loses_nothing_and_closing_writes(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64")
    with pytest.raises(ZeroDivisionError), cv.cache():
        column.append(1)
        raise ZeroDivisionError
    assert committed(engine) == {"a": [1]}
    cv.enable_cache()
    column.append(2)
    cv.close()
    assert committed(engine) == {"a": [1, 2]}
    with pytest.raises(InvalidArgument, match="closed"):
        column.append(3)
    cv = ColumnVault(engine)
    cv["a"].enable_cache()
    cv["a"].append(3)
    cv.close()
    assert committed(engine) == {"a": [1, 2, 3]}
    ColumnVault(engine)["a"].append(4)
    assert committed(engine) == {"a": [1, 2, 3, 4]}


def test_transactions_do_not_wait_and_roll_back_only_what_is_theirs(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64")
    with cv.cache():
        column.append(1)
        with pytest.raises(ZeroDivisionError), cv.transaction():
            assert column[:] == [1]
            column.append(2)
            column.extend([3])
            assert column[:] == [1, 2, 3]
            assert cv.flush_cache() == 0
            raise ZeroDivisionError
        assert column[:] == [1]
        column.append(4)
        in_a_thread(lambda: column.append(5))
        with pytest.raises(ZeroDivisionError), cv.transaction():
            in_a_thread(lambda: column.append(6))
            column.append(7)
            with pytest.raises(InvalidArgument, match="other threads"):
                cv.flush_cache()
            raise ZeroDivisionError
    assert committed(engine) == {"a": [1, 4, 5, 6]}


def test_a_column_of_a_transaction_that_was_rolled_back_takes_nothing(engine):
    cv = ColumnVault(engine)
    with cv.cache():
        with pytest.raises(ZeroDivisionError), cv.transaction():
            lost = cv.create_column("lost", "i64")
            lost.append(1)
            raise ZeroDivisionError
        other = cv.create_column("other", "f64")
        with pytest.raises(NotFound):
            lost.append(2)
        other.append(1.5)
        again = cv.create_column("lost", "i64")
        with pytest.raises(NotFound):
            lost.append(3)
        again.append(4)
    assert committed(engine) == {"other": [1.5], "lost": [4]}


def test_columns_that_are_renamed_and_deleted_meanwhile(engine):
    cv = ColumnVault(engine)
    kept, renamed = cv.create_column("kept", "i64"), cv.create_column("old", "i64")
    deleted = cv.create_column("deleted", "i64")
    with cv.cache():
        for column in (kept, renamed, deleted):
            column.append(1)
        cv.rename_column("old", "new")
        renamed.append(2)
        deleted.append(2)
        cv.delete_column("deleted")
        with pytest.raises(NotFound):
            deleted.append(3)
            cv.flush_cache()
        kept.append(2)
    assert committed(engine) == {"kept": [1, 2], "new": [1, 2]}


def test_what_waits_for_a_column_that_another_process_deletes_is_told(engine):
    cv = ColumnVault(engine)
    kept, renamed = cv.create_column("kept", "i64"), cv.create_column("old", "i64")
    gone = cv.create_column("gone", "i64")
    cv.enable_cache()
    for column in (gone, kept, renamed):
        column.append(1)
        column.append(2)
    other = create_engine(engine.url)
    ColumnVault(other).delete_column("gone")
    ColumnVault(other).rename_column("old", "new")
    other.dispose()
    with pytest.raises(NotFound, match="2 for 'gone'"):
        len(kept)
    assert committed(engine) == {"kept": [1, 2], "new": [1, 2]}
    kept.append(3)
    cv.disable_cache()
    assert committed(engine)["kept"] == [1, 2, 3]


def test_a_failed_flush_keeps_what_waits_and_raises(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 20})
    cv = ColumnVault(engine)
    first, second = cv.create_column("a", "i64"), cv.create_column("b", "str:utf8")
    cv.enable_cache(cap_bytes=1_000, flush_threshold=200)
    other = create_engine(tmp_path / "a.db").raw_connection()
    other.execute("BEGIN IMMEDIATE")
    first.append(1)
    second.append("x")
    for operation in (
        cv.flush_cache,
        first.flush_cache,
        lambda: len(first),
        lambda: second[:],
        cv.transaction().__enter__,
    ):
        with pytest.raises(DatabaseBusy):
            operation()
    taken = 1
    with pytest.raises(DatabaseBusy):
        while taken < 100:
            first.append(taken + 1)
            taken += 1
    # The append that raised was not taken; those before it were.
    assert 1 < taken < 30
    for operation in (cv.disable_cache, cv.close, cv.close):
        with pytest.raises(DatabaseBusy):
            operation()
    other.execute("COMMIT")
    cv.close()
    assert committed(engine) == {"a": list(range(1, taken + 1)), "b": ["x"]}
    other.close()
    engine.dispose()


def test_a_full_disk_loses_nothing_and_writes_no_column_alone(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"max_page_count": 400})
    kv, cv = KVault(engine), ColumnVault(engine)
    kv["filler"] = b"x" * 5_000_000
    small, large = cv.create_column("small", "i64"), cv.create_column("large", "bytes")
    cv.enable_cache()
    for number in range(40):
        small.append(number)
        large.append(b"y" * 50_000)
    for _ in range(2):
        with pytest.raises(DriverError, match="full"):
            cv.flush_cache()
        assert committed(engine) == {"small": [], "large": []}
    del kv["filler"]
    assert small[:] == list(range(40))
    assert [len(value) for value in large] == [50_000] * 40
    cv.close()
    engine.dispose()


def test_a_thread_in_the_background_flushes_and_tells_its_failures(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 10})
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64")
    cv.enable_cache(flush_interval=0.02)
    column.append(1)
    eventually(lambda: committed(engine) == {"a": [1]})
    assert cv.background_flush_error is None
    other = create_engine(tmp_path / "a.db").raw_connection()
    other.execute("BEGIN IMMEDIATE")
    column.append(2)
    eventually(lambda: isinstance(cv.background_flush_error, DatabaseBusy))
    other.execute("COMMIT")
    eventually(lambda: committed(engine) == {"a": [1, 2]})
    eventually(lambda: cv.background_flush_error is None)
    cv.close()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "kohakuvault flush"])
    other.close()
    engine.dispose()


def eventually(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_threads_share_a_cache_and_keep_their_order(engine):
    cv = ColumnVault(engine)
    shared, texts = cv.create_column("n", "i64"), cv.create_column("t", "str:utf8")

    def write(me):
        for number in range(1000):
            shared.append(me * 1000 + number)
            texts.append(f"{me}:{number}")
            if number % 300 == 0:
                assert me * 1000 + number in shared

    with cv.cache(cap_bytes=20_000, flush_threshold=5_000):
        threads = [threading.Thread(target=write, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    written = committed(engine)
    for me in range(4):
        assert [number for number in written["n"] if number // 1000 == me] == list(range(me * 1000, (me + 1) * 1000))
        mine = [text for text in written["t"] if text.startswith(f"{me}:")]
        assert mine == [f"{me}:{number}" for number in range(1000)]


def test_a_vault_that_is_forgotten_still_writes(tmp_path):
    cv = ColumnVault(tmp_path / "a.db")
    cv.enable_cache()
    cv.create_column("a", "i64").append(1)
    del cv
    gc.collect()
    cv = ColumnVault(tmp_path / "a.db")
    assert cv["a"][:] == [1]
    cv.disable_cache()


def test_read_only_vaults_do_not_cache(engine):
    ColumnVault(engine).create_column("a", "i64")
    cv = ColumnVault(engine, read_only=True)
    for operation in (cv.enable_cache, cv["a"].enable_cache, cv.cache, cv["a"].cache().__enter__):
        with pytest.raises(kohakuvault.ReadOnlyDatabase):
            operation()


# -- in a Session or Connection ------------------------------------------------------------------------


def test_a_session_writes_what_waits_before_it_commits(engine):
    ColumnVault(engine).create_column("a", "i64")
    with Session(engine) as session:
        cv = ColumnVault(session)
        cv.enable_cache()
        cv["a"].append(1)
        cv["a"].extend([2, 3])
        session.commit()
        assert committed(engine) == {"a": [1, 2, 3]}
        cv["a"].append(4)
        session.rollback()
        cv["a"].append(5)
        assert cv["a"][:] == [1, 2, 3, 5]
        session.rollback()
        cv.create_column("made", "i64").append(6)
        session.rollback()
        assert list(cv) == ["a"]
        cv.create_column("made", "f64").append(7.0)
        session.commit()
        cv["a"].append(8)
    assert committed(engine) == {"a": [1, 2, 3], "made": [7.0]}


def test_savepoints_part_what_waits_and_own_statements_see_it(engine):
    ColumnVault(engine).create_column("a", "i64")
    with Session(engine) as session:
        cv = ColumnVault(session)
        cv.enable_cache()
        column = cv["a"]
        column.append(1)
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            column.append(2)
            raise ZeroDivisionError
        with session.begin_nested():
            column.append(3)
        assert session.scalars(sqlalchemy.select(cv.entity.length)).one() == 2
        session.commit()
    assert committed(engine) == {"a": [1, 3]}
    with engine.begin() as connection:
        cv = ColumnVault(connection)
        cv.enable_cache()
        cv["a"].append(4)
    assert committed(engine) == {"a": [1, 3, 4]}


def test_what_one_thread_only_may_touch_has_no_flushing_thread(engine):
    with Session(engine) as session, pytest.raises(InvalidArgument, match="flush_interval"):
        ColumnVault(session).enable_cache(flush_interval=1)
    registry = scoped_session(sessionmaker(engine))
    with pytest.raises(InvalidArgument, match="scoped_session"):
        ColumnVault(registry).enable_cache()
    registry.remove()


# -- processes -------------------------------------------------------------------------------------------


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(code)
    # Python 3.12 and later warn of every fork beside threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["cv.enable_cache()", "cv['a'].enable_cache()", "cv.cache().__enter__()"])
def test_the_end_of_the_interpreter_writes_what_waits(tmp_path, how):
    done = run(
        f"""
        import sys
        from kohakuvault import ColumnVault
        cv = ColumnVault(sys.argv[1])
        cv.create_column("a", "i64")
        {how}
        cv["a"].append(1)
        """,
        tmp_path / "a.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ColumnVault(tmp_path / "a.db")["a"][:] == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sees_what_waited_and_writes_none_of_it_again(tmp_path):
    done = run(
        """
        import os, sys
        from kohakuvault import ColumnVault
        cv = ColumnVault(sys.argv[1])
        column = cv.create_column("a", "i64")
        cv.enable_cache(flush_interval=60)
        column.append(1)
        column.append(2)
        child = os.fork()
        if child == 0:
            assert column[:] == [1, 2]
            column.append(3)
            column.append(4)
            assert cv.flush_cache() == 16
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        column.append(5)
        """,
        tmp_path / "a.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ColumnVault(tmp_path / "a.db")["a"][:] == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_threads_append_is_not_stuck(tmp_path):
    done = run(
        """
        import os, sys, threading
        from kohakuvault import ColumnVault
        cv = ColumnVault(sys.argv[1])
        column = cv.create_column("a", "i64")
        cv.enable_cache()
        column.append(0)
        stop = threading.Event()
        def write():
            while not stop.is_set():
                column.append(1)
        threads = [threading.Thread(target=write, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            child = os.fork()
            if child == 0:
                assert cv._writes.entries == 0
                column.append(2)
                os._exit(0 if cv._writes.entries == 1 else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        """,
        tmp_path / "a.db",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_processes_append_to_one_column(tmp_path):
    path = tmp_path / "a.db"
    ColumnVault(path).create_column("a", "i64")
    script = """
        import sys
        from kohakuvault import ColumnVault
        column = ColumnVault(sys.argv[1])["a"]
        with column.cache(flush_threshold=400):
            for number in range(1000):
                column.append(int(sys.argv[2]) * 1000 + number)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    processes = [subprocess.Popen([*command, str(me)]) for me in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    written = ColumnVault(path)["a"][:]
    assert sorted(written) == list(range(3000))
    for me in range(3):
        mine = [number for number in written if number // 1000 == me]
        assert mine == sorted(mine)


@pytest.mark.parametrize("flushes", [5, 60, 400])
def test_a_killed_process_leaves_what_was_flushed_and_no_column_ahead(tmp_path, flushes):
    """Three columns that grow in step: each flush writes as much of all of them."""
    path = tmp_path / "a.db"
    script = """
        import sys
        from kohakuvault import ColumnVault
        cv = ColumnVault(sys.argv[1])
        columns = [cv.create_column(dtype, dtype) for dtype in ("i64", "str:utf8", "msgpack")]
        cv.enable_cache()
        number = 0
        while True:
            for _ in range(37):
                for column, value in zip(columns, (number, str(number), {"n": number})):
                    column.append(value)
                number += 1
            cv.flush_cache()
            print(number, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(flushes):
            told = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split("\n")
    told = max([told, *map(int, rest[:-1])])
    cv = ColumnVault(path)
    lengths = {len(column) for column in cv.values()}
    assert len(lengths) == 1
    (length,) = lengths
    assert length in (told, told + 37)
    numbers = list(range(length))
    assert cv["i64"][:] == numbers
    assert cv["str:utf8"][:] == list(map(str, numbers))
    assert cv["msgpack"][:] == [{"n": number} for number in numbers]


def test_an_interrupt_right_behind_the_commit_of_a_flush_writes_nothing_twice(engine, monkeypatch):
    cv = ColumnVault(engine)
    numbers = cv.create_column("numbers", "i64")
    command = DriverCursor.command

    def interrupted(cursor: DriverCursor, sql: str) -> None:
        command(cursor, sql)
        if sql == "COMMIT":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), cv.cache():
        numbers.extend(range(100))
        monkeypatch.setattr(DriverCursor, "command", interrupted)
    monkeypatch.undo()
    numbers.append(100)
    assert committed(engine) == {"numbers": list(range(101))}


def test_an_interrupt_before_the_commit_of_a_flush_keeps_what_waits(engine, monkeypatch):
    cv = ColumnVault(engine)
    numbers = cv.create_column("numbers", "i64")
    command = DriverCursor.command

    def interrupted(cursor: DriverCursor, sql: str) -> None:
        if sql == "COMMIT":
            raise KeyboardInterrupt
        command(cursor, sql)

    with pytest.raises(KeyboardInterrupt), cv.cache():
        numbers.extend(range(100))
        monkeypatch.setattr(DriverCursor, "command", interrupted)
    monkeypatch.undo()
    numbers.append(100)
    assert committed(engine) == {"numbers": list(range(101))}


def test_rows_wait_as_wholes(engine):
    cv = ColumnVault(engine)
    keys, names = cv.create_column("key", "i64"), cv.create_column("name", "str")
    with cv.cache(cap_bytes=4000, flush_threshold=100):
        for number in range(50):
            cv.append_row({"key": number, "name": "x" * number})
            found = committed(engine)
            assert found["name"] == ["x" * key for key in found["key"]]
        for wrong in ({"key": 50, "name": 5}, {"key": "50", "name": "x"}):
            with pytest.raises(UnsupportedType):
                cv.append_row(wrong)
        cv.append_row({"key": 50, "name": "x" * 50})
        cv.append_row({"key": 51, "name": "y" * 10_000})
    assert keys[:] == list(range(52))
    assert [len(name) for name in names] == [*range(51), 10_000]
