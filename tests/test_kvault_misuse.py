"""What a user may get wrong, or find odd, in using a KVault: named errors, and what a dict would do."""

from __future__ import annotations

import gc
import io
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from kohakuvault import (
    ColumnVault,
    CorruptValue,
    DatabaseBusy,
    InvalidArgument,
    Json,
    KohakuVaultError,
    KVault,
    MsgPack,
    SchemaMismatch,
    UnsupportedType,
    WriterFailed,
    create_engine,
)


@pytest.fixture
def kv(engine) -> KVault:
    return KVault(engine)


class OnlyKeys:
    """All that ``dict.update`` asks for."""

    def keys(self):
        return ["a", "b"]

    def __getitem__(self, key):
        return key * 2


def test_update_takes_what_a_dict_takes(kv):
    kv.update(OnlyKeys())
    kv |= OnlyKeys()
    assert kv.copy() == {"a": "aa", "b": "bb"}
    for wrong in (5, None):
        with pytest.raises(TypeError):
            kv.update(wrong)


def test_sets_of_keys_and_items_know_what_cannot_be_in_them(kv):
    kv["a"] = 1
    model = {"a": 1}
    for foreign in (None, 1.5, "\ud800", 2**70, (1, 2)):
        assert (foreign in kv.keys()) is (foreign in model.keys())  # noqa: SIM118 (of views)
        assert kv.keys() & {foreign} == model.keys() & {foreign}
        assert kv.keys() ^ {foreign} == model.keys() ^ {foreign}
        assert {foreign} - kv.keys() == {foreign} - model.keys()
        assert kv.keys().isdisjoint([foreign])
        assert not kv.keys() >= {foreign}
    for item in ("a", "ab", 5, ("a",), ("a", 1, 2), ["a", 1], (None, 1), ("z", 1), ("a", 2)):
        assert item not in kv.items()
    assert ("a", 1) in kv.items()
    assert kv.items() & {("a", 1), ("a", 2), ("b", 1)} == {("a", 1)}


def test_views_can_be_used_again(kv):
    kv.update(a=1, b=2)
    keys, items = kv.keys(), kv.items()
    assert [list(keys), list(keys), dict(items), dict(items)] == [["a", "b"]] * 2 + [{"a": 1, "b": 2}] * 2
    kv["c"] = 3
    assert list(keys) == ["a", "b", "c"]
    assert {**kv} == dict(kv) == kv.copy()


@pytest.mark.parametrize("written", [0, -1, 10**9, "x", 1.5, True], ids=repr)
def test_a_writer_that_does_not_say_what_it_wrote_is_a_named_error(kv, written):
    kv.put_file("f", b"abc" * 1000, chunk_size=700)

    class Writer:
        def write(self, data):
            return written

    with pytest.raises(WriterFailed, match="returned"):
        kv.get_to_file("f", Writer())


@pytest.mark.parametrize("writer", ["copy.bin", io.StringIO(), 5, None], ids=lambda writer: type(writer).__name__)
def test_what_bytes_cannot_be_written_to_is_refused(kv, writer):
    kv["f"] = b"abc"
    with pytest.raises(UnsupportedType, match="writer"):
        kv.get_to_file("f", writer)


def test_a_file_is_replaced_when_all_is_written(kv, tmp_path):
    kv.put_file("f", os.urandom(5000), chunk_size=1000)
    path = tmp_path / "file"
    path.write_bytes(b"precious")

    def fail(done, total):
        if done > 2000:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kv.get_to_file("f", path, progress=fail)
    assert path.read_bytes() == b"precious"
    assert kv.get_to_file("f", path) == 5000
    assert path.read_bytes() == kv["f"]
    assert [file.name for file in tmp_path.iterdir() if "file" in file.name] == ["file"]


def test_what_cannot_be_called_is_refused_before_anything_is_read(kv):
    reader = io.BytesIO(b"x" * 100)
    with pytest.raises(UnsupportedType, match="progress"):
        kv.put_file("f", reader, progress=5)
    assert reader.tell() == 0
    with pytest.raises(UnsupportedType, match="progress"):
        kv.get_to_file("f", io.BytesIO(), progress=5)
    with pytest.raises(UnsupportedType, match="key"):
        kv.memoize(key=5)(len)


def test_a_block_that_could_not_flush_lets_later_writes_go_to_the_database(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 20})
    kv = KVault(engine)
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusy), kv.cache():
        kv["waits"] = 1
    assert kv["waits"] == 1
    with pytest.raises(DatabaseBusy):
        kv["direct"] = 2
    other.execute("ROLLBACK")
    kv["direct"] = 2
    assert kv.stats()["waiting"] == 0
    assert other.execute("SELECT count(*) FROM kv").fetchone() == (2,)
    other.close()


def test_a_vault_that_is_closed_in_its_block(tmp_path):
    kv = KVault(tmp_path / "a.db")
    with kv.cache():
        kv["a"] = 1
        kv.close()
    assert KVault(tmp_path / "a.db").copy() == {"a": 1}


def test_an_iterator_that_uses_the_vault_it_is_written_to(kv):
    kv["before"] = 1

    def pairs():
        for number in range(2500):
            if number == 1700:
                kv["meanwhile"] = 2
                assert kv["before"] == 1
                assert kv["meanwhile"] == 2
                assert dict(kv.prefix("mean")) == {"meanwhile": 2}
            yield f"key {number}", number

    kv.update(pairs())
    assert len(kv) == 2502
    assert (kv["meanwhile"], kv["key 1800"]) == (2, 1800)

    def fails():
        yield from ((f"key {number}", None) for number in range(1500))
        del kv["meanwhile"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kv.update(fails())
    assert (kv["meanwhile"], kv["key 5"]) == (2, 5)

    def transacts():
        yield from ((number, None) for number in range(1500))
        with kv.transaction():
            pass

    with pytest.raises(InvalidArgument, match="transaction"):
        kv.update(transacts())
    assert len(kv) == 2502


def test_what_a_failing_iterator_has_written_is_undone_in_a_session_too(engine):
    with Session(engine) as session:
        kv = KVault(session)
        kv.enable_cache()
        kv["before"] = 1

        def pairs():
            for number in range(2000):
                if number == 1600:
                    kv["meanwhile"] = kv["before"] = 2
                yield number, number
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            kv.update(pairs())
        assert kv.copy() == {"before": 1}
        session.commit()
    assert KVault(engine).copy() == {"before": 1}


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_a_file_that_is_replaced_keeps_its_mode(kv, tmp_path):
    kv["f"] = b"secret"
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    kv.get_to_file("f", path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"secret", 0o600)


def test_a_damaged_value_names_its_key(kv):
    kv.update({"good": 1, "bad": 2, b"worse": [3]})
    damaged = "X'07C1'" if kv.engine.dialect.name == "sqlite" else r"'\x07c1'::bytea"
    damage = sqlalchemy.update(kv.entity).values(value=sqlalchemy.literal_column(damaged))
    with kv.transaction() as connection:
        connection.execute(damage.where(kv.entity.key != "good"))
    for read in (
        lambda: kv["bad"],
        lambda: kv.get("bad"),
        lambda: kv.pop("bad"),
        lambda: kv.setdefault("bad"),
        lambda: kv.incr("bad"),
        lambda: kv.get_many(["good", "bad"]),
        lambda: kv.replace("bad", 1, 2),
        lambda: kv.open("bad"),
        lambda: kv.get_to_file("bad", io.BytesIO()),
        lambda: kv.first() if kv.delete("good") else None,
        lambda: kv.range().__next__(),
        kv.copy,
    ):
        with pytest.raises(CorruptValue, match=r"key 'bad': .*check\(\)"):
            read()
    with pytest.raises(CorruptValue, match="key b'worse'"):
        kv.popitem()
    assert len(kv) == 2


def test_a_key_that_is_none_of_ours_is_a_named_error(tmp_path):
    kv = KVault(tmp_path / "a.db")
    kv["good"] = 1
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("INSERT INTO kv (key, value) VALUES (1.5, x'02')")
    connection.commit()
    for read in (lambda: list(kv), kv.copy, lambda: list(kv.range()), kv.popitem, kv.first):
        with pytest.raises(CorruptValue, match=r"key 1\.5 of a row"):
            read()
    assert kv["good"] == 1
    assert [str(problem) for problem in kv.check()] == ["row 2: the key is REAL, not INTEGER or TEXT or BLOB"]
    connection.execute("DELETE FROM kv WHERE id = 2")
    connection.commit()
    connection.close()
    assert kv.copy() == {"good": 1}


def test_values_in_an_encoding_of_their_own_are_compared_as_values(kv):
    kv["j"] = Json({"x": [1, None]})
    assert not kv.replace("j", {"x": [1, 0]}, 5)
    assert not kv.replace("j", {"x": (1, None)}, 5)
    assert kv.replace("j", kv["j"], {"x": 2})
    assert kv["j"] == {"x": 2}
    kv["m"] = MsgPack("text")
    assert kv.replace("m", "text", MsgPack("other"))
    assert kv.replace("m", "other", "last")
    assert kv["m"] == "last"
    kv["n"] = Json(1)
    assert kv.incr("n") == 2


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda kv: kv.keys(limit=1.5), UnsupportedType),
        (lambda kv: kv.items(limit=True), UnsupportedType),
        (lambda kv: kv.keys(limit=-(10**5000)), InvalidArgument),
        (lambda kv: kv.decr("n", "x"), UnsupportedType),
        (lambda kv: kv.decr("n", True), UnsupportedType),
        (lambda kv: kv.decr("n", 1, default="x"), UnsupportedType),
        (lambda kv: kv.incr("huge", 0.5), InvalidArgument),
        (lambda kv: kv.put("a", 1, ttl=10**400), InvalidArgument),
        (lambda kv: kv.put("a", 1, ttl=-(10**5000)), InvalidArgument),
        (lambda kv: kv.put("a", 1, ttl=float("inf")), InvalidArgument),
    ],
    ids=range(10),
)
def test_impossible_arguments_are_named_errors(kv, call, error):
    kv["huge"] = 10**400
    with pytest.raises(error) as raised:
        call(kv)
    assert isinstance(raised.value, KohakuVaultError)
    assert kv.copy() == {"huge": 10**400}
    assert len(list(kv.keys(limit=10**30))) == 1


def test_a_function_that_is_memoized_twice_computes_once(kv):
    calls = []

    def f(x):
        calls.append(x)
        return x

    twice = kv.memoize(name="f")(kv.memoize(name="f")(f))
    start = time.monotonic()
    assert [twice(1), twice(1)] == [1, 1]
    assert calls == [1]
    assert time.monotonic() - start < 30  # not the lease


def test_names_that_differ_by_case(engine):
    KVault(engine, "things")["a"] = 1
    if engine.dialect.name == "sqlite":
        with pytest.raises(SchemaMismatch, match="is 'things' here"):
            KVault(engine, "Things")
    else:
        assert KVault(engine, "Things").copy() == {}
    for reserved in ("VAULT_TABLE", "Vault_Column", "SQLITE_x"):
        with pytest.raises(InvalidArgument, match="cannot name a table"):
            KVault(engine, reserved)
    ColumnVault(engine)


COLUMNS = {"id": "INTEGER PRIMARY KEY", "key": "BLOB NOT NULL UNIQUE", "value": "BLOB NOT NULL", "expires_at": "REAL"}


def made(**changes: str) -> str:
    return "CREATE TABLE kv ({})".format(", ".join(f"{name} {kind}" for name, kind in {**COLUMNS, **changes}.items()))


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (made(key="TEXT NOT NULL UNIQUE"), "column key is TEXT"),
        (made(key="BLOB NOT NULL"), "same key"),
        (made(value="BLOB"), "value may be NULL"),
        ("CREATE VIEW kv AS SELECT 1 AS id, x'01' AS key, x'02' AS value, NULL AS expires_at", "view"),
    ],
    ids=["text key", "no unique key", "null value", "view"],
)
def test_a_strangers_table_that_would_not_do_is_left_alone(tmp_path, definition, reason):
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute(definition)
    with pytest.raises(SchemaMismatch, match=f"{reason}.*not touched"):
        KVault(tmp_path / "a.db")
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'vault_table'").fetchone() == (0,)
    connection.close()


def test_a_damaged_record_says_what_to_do(tmp_path):
    KVault(tmp_path / "a.db")["a"] = 1
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("UPDATE vault_table SET options = x'FF'")
    connection.commit()
    with pytest.raises(SchemaMismatch, match="Delete that row"):
        KVault(create_engine(tmp_path / "a.db"))
    connection.execute("DELETE FROM vault_table")
    connection.commit()
    connection.close()
    assert KVault(create_engine(tmp_path / "a.db")).copy() == {"a": 1}


def test_a_table_of_chunks_that_was_dropped_is_made_again(kv):
    kv.put_file("f", b"x" * 100, chunk_size=30)
    kv["other"] = 1
    with kv.transaction() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE kv_chunk"))
    assert any("one is missing" in problem.what for problem in kv.check())
    assert any("one is missing" in problem.what and problem.fixed for problem in kv.check(fix=True))
    assert [problem.where for problem in kv.check()] == ["f"]
    del kv["f"]
    assert kv.check() == []
    assert kv.copy() == {"other": 1}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_an_error_keeps_no_file_open(tmp_path):
    path = tmp_path / "a.db"

    def opened():
        count = 0
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # that of the listing itself
                count += str(path) in os.readlink(f"/proc/self/fd/{number}")
        return count

    gc.collect()
    gc.disable()
    try:
        with KVault(path) as kv:
            sqlite3.connect(path).execute("DROP TABLE kv").connection.close()
            with pytest.raises(SchemaMismatch) as raised:
                kv["a"] = 1
            del raised
        del kv
        assert opened() == 0
    finally:
        gc.enable()


def test_streams_are_of_the_state_that_is_iterated_over(engine):
    kv, other = KVault(engine), KVault(create_engine(engine.url))
    old, new = b"1" * 1000, b"2" * 1000
    for iterate in (lambda: kv.items(), lambda: kv.range(), lambda: reversed(kv.items()), lambda: kv.items(limit=9)):
        for key in "abc":
            kv.put_file(key, old, chunk_size=300)
        seen = {}
        for key, value in iterate():
            seen[key] = value
            for changed in "abc":
                other.put_file(changed, new, chunk_size=300)
        assert seen == dict.fromkeys("abc", old)
        for key in "abc":
            kv.put_file(key, old, chunk_size=300)
        assert [value for value in kv.values() if not other.clear()] == [old] * 3
    other.engine.dispose()


def test_a_file_that_was_replaced_is_seen_by_who_opens_it(tmp_path):
    path = tmp_path / "a.db"
    kv = KVault(path)
    kv["a"] = "old"
    kv.backup(tmp_path / "b.db")
    kv["a"] = "newer"
    kv.checkpoint()
    os.replace(tmp_path / "b.db", path)
    assert KVault(path)["a"] == "old"
    assert kv["a"] == "newer"  # of the file that it opened
    again = KVault(path)
    again["b"] = 1
    assert KVault(path)["b"] == 1


CHILDREN = """
    import multiprocessing, sys
    from concurrent.futures import ProcessPoolExecutor
    from kohakuvault import KVault

    def work(key):
        kv = KVault(sys.argv[1])
        kv.enable_cache()
        kv[key] = 1

    if __name__ == "__main__":
        kv = KVault(sys.argv[1])
        kv.enable_cache()
        kv["parent"] = 1
        for how in ("fork", "forkserver", "spawn"):
            context = multiprocessing.get_context(how)
            process = context.Process(target=work, args=(how,))
            process.start()
            process.join()
            assert process.exitcode == 0
            with ProcessPoolExecutor(1, context) as pool:
                pool.submit(work, "pool " + how).result()
"""


def test_processes_of_multiprocessing_write_what_waits_when_they_end(tmp_path):
    script = tmp_path / "children.py"
    script.write_text(textwrap.dedent(CHILDREN))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "a.db")], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    ways = ("fork", "forkserver", "spawn")
    assert set(KVault(tmp_path / "a.db")) == {"parent", *ways, *(f"pool {way}" for way in ways)}


INTERRUPTS = """
    import inspect, sys
    from kohakuvault import KVault

    def interrupting(function, number):
        # An interrupt at the beginning of a call within the function, which is where Python looks for signals.
        left = number
        def trace(frame, event, argument):
            nonlocal left
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                # Going on with one would end it here, before Python 3.11, without what is to be done finally.
                return
            outer = frame.f_back
            while outer is not None and outer.f_code.co_name != function:
                outer = outer.f_back
            if outer is not None:
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
        return trace

    kv = KVault(sys.argv[1])
    kv["a"] = 1
    hits = 0

    def transaction():
        with kv.transaction():
            kv["t"] = 1

    def snapshot():
        with kv.snapshot():
            kv["a"]

    @kv.memoize(lease=0.5)
    def memoized(x):
        return x

    uses = {
        "transaction": transaction, "snapshot": snapshot, "writing": lambda: kv.update(u=1),
        "_flight": lambda: memoized(hits), "attempt": lambda: memoized(hits),
    }
    for name, use in uses.items():
        for number in range(120):
            sys.settrace(interrupting(name, number))
            try:
                use()
            except (KeyboardInterrupt, AssertionError):  # SQLAlchemy's, whose commit was interrupted
                hits += 1
            finally:
                sys.settrace(None)
            transaction()
            kv["after"] = hits
            with kv.snapshot():
                assert kv["after"] == hits
            memoized(hits)
    print(hits)
"""


def test_an_interrupt_at_any_line_leaves_the_thread_able_to_go_on(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTS), str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    # SQLAlchemy's pool logs what interrupted it.
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_what_waits_can_be_discarded(kv):
    kv["a"] = 1
    kv.enable_cache()
    kv["a"] = 2
    kv["b"] = 3
    kv.disable_cache(discard=True)
    assert kv.copy() == {"a": 1}


def test_a_pool_that_is_too_small_is_a_named_error(new_url):
    engine = create_engine(new_url("postgresql"), pool_size=1, max_overflow=0, pool_timeout=0.2)
    kv = KVault(engine)
    kv.update(a=1, b=2)
    with pytest.raises(DatabaseBusy, match="pool_size"):
        for key in kv:
            kv[key] = 2
    assert kv.copy() == {"a": 1, "b": 2}
    for key in list(kv):
        kv[key] = 3
    with kv.snapshot():
        assert list(kv.items()) == [("a", 3), ("b", 3)]
    engine.dispose()
