"""Writes that wait: every read sees them, none is lost by a failure, none outlives the rollback of its Session."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.orm import Mapped, Session, declarative_base, mapped_column, scoped_session, sessionmaker

import kohakuvault
from kohakuvault import DatabaseBusy, InvalidArgument, KVault, NotFound, UnsupportedType, create_engine
from kohakuvault.orm import Packed
from kohakuvault.orm.tables import KVTable


@pytest.fixture
def bind(caching_bind) -> object:
    return caching_bind


@pytest.fixture
def kv(bind) -> KVault:
    return KVault(bind)


def committed(engine) -> dict[object, object]:
    """What a connection that knows nothing of the cache sees."""
    other = create_engine(engine.url)
    try:
        return KVault(other).copy()
    finally:
        other.dispose()


def test_every_read_sees_what_waits(kv):
    kv["old"] = 0
    with kv.cache():
        kv["a"], kv["b"] = 1, [2]
        kv.put("old", "new")
        assert (kv["a"], kv.get("b"), "a" in kv, "z" in kv, kv.get("z", 9)) == (1, [2], True, False, 9)
        assert kv["old"] == "new"
        assert len(kv) == 3
        kv["c"] = 3
        assert list(kv) == ["old", "a", "b", "c"]
        kv["d"] = 4
        assert dict(kv.items()) == {"old": "new", "a": 1, "b": [2], "c": 3, "d": 4}
        kv["e"] = 5
        assert kv.get_many(["e", "f"]) == [5, None]
        kv["f"] = 6
        assert list(kv.prefix("f")) == [("f", 6)]
        kv["g"] = 7
        assert kv.last() == ("old", "new")
        kv["h"] = 8
        assert kv.pop("h") == 8
        kv["i"] = 9
        assert kv.popitem() == ("i", 9)
        kv["j"] = 1
        assert kv.incr("j") == 2
        kv["k"] = 1
        assert not kv.add("k", 2)
        kv["l"] = 1
        assert kv.replace("l", 1, 2)
        kv["m"] = 1
        assert kv.setdefault("m", 2) == 1
        kv["n"] = 1
        assert kv.expires_at("n") is None
        kv["o"] = 1
        assert bool(kv)
    assert kv["o"] == 1


def test_what_waits_does_not_come_back_from_the_dead(kv):
    with kv.cache():
        kv["a"] = 1
        del kv["a"]
        with pytest.raises(NotFound):
            kv["a"]
        with pytest.raises(NotFound):
            del kv["a"]
        kv["b"], kv["c"] = 1, 2
        kv.clear()
        kv["d"] = 4
        assert kv.delete_many(["d"]) == 1
    assert dict(kv) == {}


def test_types_of_keys_stay_apart_and_bad_ones_are_refused(kv):
    with kv.cache():
        kv[1], kv["1"], kv[b"1"] = "int", "str", "bytes"
        assert [kv[1], kv["1"], kv[b"1"]] == ["int", "str", "bytes"]
        for wrong in (True, 1.0, None):
            with pytest.raises(UnsupportedType):
                kv[wrong]
            with pytest.raises(UnsupportedType):
                kv[wrong] = 1
        with pytest.raises(UnsupportedType):
            kv["object"] = object()
        assert "object" not in kv
    assert kv.copy() == {1: "int", "1": "str", b"1": "bytes"}


def test_a_value_is_taken_as_it_is_when_it_is_written(kv):
    value = [1]
    with kv.cache():
        kv["a"] = value
        value.append(2)
        assert kv["a"] == [1]
        kv["a"].append(3)
        assert kv["a"] == [1]


class Shouting(Packed):
    """A type of the user's own: what it binds is what is stored, by whatever way it is written."""

    cache_ok = True

    def bind_processor(self, dialect):
        return lambda value: self.pack(value.upper())


class Loud(KVTable, declarative_base()):
    __tablename__ = "loud"
    value: Mapped[Any] = mapped_column(Shouting(), nullable=False)


def test_a_value_type_of_the_users_own_binds_what_waits_too(bind):
    kv = KVault(bind, Loud)
    kv["direct"] = "a"
    with kv.cache():
        kv["waits"] = "b"
        assert kv["waits"] == "B"
        kv.put("expires", "c", ttl=1000)
    kv.put_many([("many", "d")])
    assert kv.copy() == {"direct": "A", "waits": "B", "expires": "C", "many": "D"}


def test_order_of_insertion_is_kept(kv):
    kv["b"] = 0
    with kv.cache():
        kv["c"], kv["b"], kv["a"], kv["c"] = 1, 2, 3, 4
    assert list(kv.items()) == [("b", 2), ("c", 4), ("a", 3)]


def test_expiry_waits_too(kv):
    with kv.cache():
        kv.put("short", 1, ttl=0.05)
        kv.put("long", 2, ttl=1000)
        assert kv["long"] == 2
        time.sleep(0.06)
        assert "short" not in kv
        assert kv.get("short") is None
        assert kv.expires_at("long") > time.time() + 900
    assert list(kv) == ["long"]


# -- on an engine --------------------------------------------------------------------------------------


def test_nothing_is_written_before_a_flush_and_all_after(engine):
    kv = KVault(engine)
    with kv.cache():
        kv["a"], kv["b"] = 1, 2
        assert committed(engine) == {}
        assert kv.flush_cache() == 2
        assert committed(engine) == {"a": 1, "b": 2}
        assert kv.flush_cache() == 0
        kv["c"] = 3
        assert committed(engine) == {"a": 1, "b": 2}
    assert committed(engine) == {"a": 1, "b": 2, "c": 3}


def test_other_vaults_of_the_bind_see_what_waits_and_write_through_it(engine):
    first, second = KVault(engine), KVault(engine)
    first.enable_cache()
    first["a"] = 1
    assert second["a"] == 1
    assert len(second) == 1
    first["a"] = 2
    second["a"] = 3
    first.disable_cache()
    assert first["a"] == 3


def test_the_threshold_flushes_before_the_next_write(engine):
    kv = KVault(engine)
    kv.enable_cache(cap_bytes=10_000, flush_threshold=2_000)
    for number in range(20):
        kv[number] = b"x" * 100
    written = len(committed(engine))
    assert 0 < written < 20
    kv["large"] = b"y" * 50_000  # does not fit, so it is written directly
    assert len(committed(engine)) == 21
    kv.disable_cache()


def test_a_held_cache_does_not_flush_and_is_never_larger_than_its_cap(engine):
    kv = KVault(engine)
    with kv.cache(cap_bytes=3_000, flush_threshold=100):
        with kv.lock_cache():
            for number in range(8):
                kv[number] = b"x" * 100
            assert committed(engine) == {}
            with pytest.raises(InvalidArgument, match="lock_cache"):
                for number in range(8, 20):
                    kv[number] = b"x" * 100
        kv["after"] = 1
        assert len(committed(engine)) >= 8
    with kv.cache(cap_bytes=1_000, auto_flush=False), pytest.raises(InvalidArgument, match="auto_flush=False"):
        for number in range(20):
            kv[number] = b"x" * 100


def test_caches_nest_and_are_enabled_twice(engine):
    kv = KVault(engine)
    with kv.cache():
        kv["a"] = 1
        with kv.cache(cap_bytes=1000):
            kv["b"] = 2
        kv["c"] = 3
        assert committed(engine) == {"a": 1, "b": 2}
    assert committed(engine) == {"a": 1, "b": 2, "c": 3}
    kv.enable_cache()
    kv["d"] = 4
    kv.enable_cache(cap_bytes=500)
    kv["e"] = 5
    kv.disable_cache()
    kv.disable_cache()
    assert len(committed(engine)) == 5
    kv["f"] = 6
    assert len(committed(engine)) == 6


@pytest.mark.parametrize(
    "wrong",
    [{"cap_bytes": 0}, {"cap_bytes": 1.5}, {"flush_threshold": -1}, {"flush_interval": 0}, {"flush_interval": "1"}],
    ids=str,
)
def test_impossible_settings_are_refused(engine, wrong):
    kv = KVault(engine)
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        kv.enable_cache(**wrong)
    kv["a"] = 1
    assert committed(engine) == {"a": 1}


def test_an_exception_loses_nothing(engine):
    kv = KVault(engine)
    with pytest.raises(ZeroDivisionError), kv.cache():
        kv["a"] = 1
        raise ZeroDivisionError
    assert committed(engine) == {"a": 1}


def test_closing_writes_what_waits(engine):
    with KVault(engine) as kv:
        kv.enable_cache()
        kv["a"] = 1
    assert committed(engine) == {"a": 1}
    kv = KVault(engine)
    assert kv["a"] == 1


def test_transactions_do_not_wait_and_roll_back_only_what_is_theirs(engine):
    kv = KVault(engine)
    with kv.cache():
        kv["before"] = 1
        with pytest.raises(ZeroDivisionError), kv.transaction():
            assert kv["before"] == 1
            kv["inside"] = 2
            assert kv["inside"] == 2
            assert kv.flush_cache() == 0
            raise ZeroDivisionError
        assert kv.copy() == {"before": 1}
        with kv.transaction():
            kv["inside"] = 3
        kv["after"] = 4
        with kv.snapshot():
            assert kv.copy() == {"before": 1, "inside": 3, "after": 4}
    assert committed(engine) == {"before": 1, "inside": 3, "after": 4}


def test_what_other_threads_let_wait_is_not_part_of_a_transaction(engine):
    kv = KVault(engine)
    kv.enable_cache()

    def in_a_thread(work):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    with pytest.raises(ZeroDivisionError), kv.transaction():
        in_a_thread(lambda: kv.put("theirs", 1))
        kv["mine"] = 2
        assert len(kv) == 1
        assert "theirs" not in kv
        with pytest.raises(InvalidArgument, match="other threads"):
            kv.flush_cache()
        raise ZeroDivisionError
    assert kv.copy() == {"theirs": 1}
    kv.disable_cache()


def test_a_failed_flush_keeps_what_waits_and_raises(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 20})
    kv = KVault(engine)
    kv.enable_cache(cap_bytes=5_000, flush_threshold=1_000)
    other = create_engine(tmp_path / "a.db").raw_connection()
    other.execute("BEGIN IMMEDIATE")
    kv["a"], kv["b"] = 1, 2
    for operation in (kv.flush_cache, lambda: len(kv), lambda: list(kv)):
        with pytest.raises(DatabaseBusy):
            operation()
    assert (kv["a"], kv["b"]) == (1, 2)
    taken = 0
    with pytest.raises(DatabaseBusy):
        for number in range(100):
            kv[number] = b"x" * 100
            taken += 1
    # The write that raised was not taken; those before it were.
    assert 0 < taken < 20
    assert [number in kv for number in range(taken + 1)] == [True] * taken + [False]
    for operation in (kv.disable_cache, kv.close, kv.close):
        with pytest.raises(DatabaseBusy):
            operation()
    assert (kv["a"], kv[0]) == (1, b"x" * 100)
    other.execute("COMMIT")
    kv.close()
    assert committed(engine).keys() == {"a", "b", *range(taken)}
    with pytest.raises(ZeroDivisionError), KVault(engine) as kv, kv.cache():
        kv["c"] = 3
        raise ZeroDivisionError
    assert committed(engine)["c"] == 3


def test_a_thread_in_the_background_flushes_and_tells_its_failures(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 10})
    kv = KVault(engine)
    kv.enable_cache(flush_interval=0.02)
    kv["a"] = 1
    eventually(lambda: committed(engine) == {"a": 1})
    assert kv.background_flush_error is None
    other = create_engine(tmp_path / "a.db").raw_connection()
    other.execute("BEGIN IMMEDIATE")
    kv["b"] = 2
    eventually(lambda: isinstance(kv.background_flush_error, DatabaseBusy))
    assert kv["b"] == 2
    other.execute("COMMIT")
    eventually(lambda: committed(engine) == {"a": 1, "b": 2})
    eventually(lambda: kv.background_flush_error is None)
    kv.close()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "kohakuvault flush"])


def eventually(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_threads_share_a_cache(engine):
    kv = KVault(engine)

    def write(me):
        for number in range(500):
            kv[f"{me}:{number}"] = number
            assert kv[f"{me}:{number}"] == number

    with kv.cache(cap_bytes=100_000, flush_threshold=20_000):
        threads = [threading.Thread(target=write, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert committed(engine) == {f"{me}:{number}": number for me in range(4) for number in range(500)}


def test_a_vault_that_is_forgotten_still_writes(tmp_path):
    kv = KVault(tmp_path / "a.db")
    kv.enable_cache()
    kv["a"] = 1
    del kv
    gc.collect()
    kv = KVault(tmp_path / "a.db")
    assert kv["a"] == 1
    kv.disable_cache()


def test_read_only_vaults_do_not_cache(engine):
    KVault(engine)["a"] = 1
    with pytest.raises(kohakuvault.ReadOnlyDatabase):
        KVault(engine, read_only=True).enable_cache()


# -- in a Session or Connection --------------------------------------------------------------------


def test_a_session_writes_what_waits_before_it_commits(engine):
    with Session(engine) as session:
        kv = KVault(session)
        kv.enable_cache()
        kv["a"] = 1
        assert kv["a"] == 1
        assert KVault(session)["a"] == 1
        session.commit()
        assert committed(engine) == {"a": 1}
        kv["b"] = 2
        session.rollback()
        assert kv.copy() == {"a": 1}
        kv["c"] = 3
        kv["a"] = 4
        session.rollback()
        assert kv["a"] == 1
        kv["d"] = 5
    assert committed(engine) == {"a": 1}


def test_a_connection_writes_what_waits_before_it_commits(engine):
    with engine.connect() as connection:
        kv = KVault(connection)
        kv.enable_cache()
        kv["a"] = 1
        connection.commit()
        kv["b"] = 2
        connection.rollback()
        assert "b" not in kv
        kv["c"] = 3
        del kv
        connection.commit()
    assert committed(engine) == {"a": 1, "c": 3}
    with engine.begin() as connection:
        KVault(connection).enable_cache()
        KVault(connection)["d"] = 4
    assert committed(engine) == {"a": 1, "c": 3, "d": 4}
    with engine.begin() as connection:
        kv = KVault(connection)
        kv.enable_cache()
        kv["e"] = 5
    assert committed(engine) == {"a": 1, "c": 3, "d": 4, "e": 5}


def test_savepoints_part_what_waits(engine):
    with Session(engine) as session:
        kv = KVault(session)
        kv.enable_cache()
        kv["before"] = 1
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            kv["inside"] = 2
            assert kv.get("before") == 1
            raise ZeroDivisionError
        assert "inside" not in kv
        with session.begin_nested():
            kv["kept"] = 3
        with pytest.raises(ZeroDivisionError), kv.transaction():
            kv["lost"] = 4
            raise ZeroDivisionError
        session.commit()
    assert committed(engine) == {"before": 1, "kept": 3}


def test_the_applications_own_statements_see_what_waits(engine):
    with Session(engine) as session:
        kv = KVault(session)
        kv.enable_cache()
        kv["a"] = 1
        assert session.scalars(sqlalchemy.select(kv.entity.key)).all() == ["a"]
        session.commit()


def test_a_session_that_cannot_write_what_waits_does_not_commit(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 20})
    KVault(engine)
    other = create_engine(tmp_path / "a.db").raw_connection()
    with Session(engine) as session:
        kv = KVault(session)
        kv.enable_cache()
        other.execute("BEGIN IMMEDIATE")
        kv["a"] = 1
        with pytest.raises(DatabaseBusy):
            session.commit()
        assert kv["a"] == 1
        other.execute("COMMIT")
        session.commit()
        kv["b"] = 2
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            session.commit()
        session.rollback()
        other.execute("COMMIT")
        kv["c"] = 3
        session.commit()
    assert committed(engine) == {"a": 1, "c": 3}
    with engine.connect() as connection:
        kv = KVault(connection)
        kv.enable_cache()
        other.execute("BEGIN IMMEDIATE")
        kv["d"] = 4
        with pytest.raises(DatabaseBusy):
            connection.commit()
        other.execute("COMMIT")
        connection.rollback()  # as SQLAlchemy asks for after a commit that failed
        assert "d" not in kv
        kv["e"] = 5
        connection.commit()
    assert committed(engine) == {"a": 1, "c": 3, "e": 5}
    other.close()


def test_what_one_thread_only_may_touch_has_no_flushing_thread(engine):
    with Session(engine) as session, pytest.raises(InvalidArgument, match="flush_interval"):
        KVault(session).enable_cache(flush_interval=1)
    registry = scoped_session(sessionmaker(engine))
    with pytest.raises(InvalidArgument, match="scoped_session"):
        KVault(registry).enable_cache()
    registry.remove()


# -- processes ------------------------------------------------------------------------------------------


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(code)
    # Python 3.12 and later warn of every fork beside threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["kv.enable_cache()", "kv.enable_cache(flush_interval=60)", "kv.cache().__enter__()"])
def test_the_end_of_the_interpreter_writes_what_waits(tmp_path, how):
    done = run(
        f"""
        import sys
        from kohakuvault import KVault
        kv = KVault(sys.argv[1])
        {how}
        kv["a"] = 1
        """,
        tmp_path / "a.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert KVault(tmp_path / "a.db").copy() == {"a": 1}


def test_the_end_of_the_interpreter_says_what_it_cannot_write(tmp_path):
    done = run(
        """
        import sys
        from kohakuvault import KVault, create_engine
        kv = KVault(create_engine(sys.argv[1], pragmas={"busy_timeout": 10}))
        other = create_engine(sys.argv[1]).raw_connection()
        other.execute("BEGIN IMMEDIATE")
        kv.enable_cache()
        kv["a"] = 1
        """,
        tmp_path / "a.db",
    )
    assert "1 cached entries could not be written: database is locked" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sees_what_waited_and_writes_none_of_it_again(tmp_path):
    done = run(
        """
        import os, sys
        from kohakuvault import KVault
        kv = KVault(sys.argv[1])
        kv.enable_cache(flush_interval=60)
        kv["a"] = 1
        child = os.fork()
        if child == 0:
            assert kv["a"] == 1
            kv["child"] = 1
            assert kv.flush_cache() == 1
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        kv["a"] = 2
        kv["parent"] = 1
        """,
        tmp_path / "a.db",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert KVault(tmp_path / "a.db").copy() == {"a": 2, "child": 1, "parent": 1}


def test_a_killed_process_loses_only_what_waits(tmp_path):
    done = run(
        """
        import os, signal, sys
        from kohakuvault import KVault
        kv = KVault(sys.argv[1])
        kv.enable_cache()
        kv["flushed"] = 1
        kv.flush_cache()
        kv["waits"] = 2
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "a.db",
    )
    assert done.returncode == -9
    assert KVault(tmp_path / "a.db").copy() == {"flushed": 1}
