"""Looking after a dict: check, stats, optimize, checkpoint and backup, of damaged tables and beside other handles."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Session

import kohakuvault
from kohakuvault import (
    CannotOpen,
    ColumnVault,
    CorruptValue,
    DatabaseBusy,
    DriverError,
    InvalidArgument,
    KVault,
    Problem,
    ReadOnlyDatabase,
    UnsupportedType,
    VectorKVault,
)
from kohakuvault.orm.tables import KVTable
from kohakuvault.packing import pack


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def kv(engine):
    """A dict with some entries, on each kind of database."""
    kv = KVault(engine)
    kv.update({"a": 1, b"b": [1, 2], 3: "three"})
    return kv


@pytest.fixture
def sql(engine):
    """Run a statement as another program would."""

    def run(statement: str, **values: object) -> list[object]:
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    return run


@pytest.fixture
def file(path):
    """A dict in an SQLite file."""
    kv = KVault(path)
    kv.update({"a": 1, b"b": [1, 2], 3: "three"})
    yield kv
    kv.close()


@pytest.fixture
def raw(path, file):
    """The file as another program sees it."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0.2)
    yield lambda sql, *values: connection.execute(sql, values).fetchall()
    connection.close()


def whats(problems: list[Problem]) -> list[str]:
    return [problem.what for problem in problems]


# -- check -----------------------------------------------------------------------------------------


def test_a_healthy_dict_has_no_problems_whatever_it_is_bound_to(bind):
    kv = KVault(bind)
    assert kv.check() == []
    kv.update((number, {"n": number}) for number in range(3000))
    kv.put("x", 1, ttl=100)
    kv.update({"": "", b"": b"", "é\0\U0001f600": None, -(2**63): 2**80})
    assert kv.check() == []
    assert kv.check(fix=True) == []
    assert len(kv) == 3005


def test_a_healthy_dict_has_no_problems_under_any_name(engine):
    for name in ("Table", "a b", "a:b", "a%b", "it's", 'a"b', "ü", "5"):
        kv = KVault(engine, name)
        kv["a"] = 1
        assert kv.check(fix=True) == []
        assert kv.stats()["entries"] == 1
        kv.optimize()
        assert dict(kv) == {"a": 1}


def test_a_mapped_class_is_checked_with_its_own_indexes_and_its_foreign_keys(engine):
    class Base(DeclarativeBase):
        pass

    class Owner(Base):
        __tablename__ = "owner"
        id: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)

    class Settings(KVTable, Base):
        __tablename__ = "settings"
        owner: sqlalchemy.orm.Mapped[int | None] = sqlalchemy.orm.mapped_column(
            sqlalchemy.ForeignKey("owner.id"), index=True
        )

    Base.metadata.create_all(engine)
    kv = KVault(engine, Settings)
    kv["a"] = 1
    assert kv.check() == []
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_settings_owner"))
    assert kv.check(fix=True) == [Problem("the index of owner is missing", fixed=True)]
    assert kv.check() == []
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("UPDATE settings SET owner = 7")
            connection.commit()
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        assert whats(kv.check()) == ["row 1 refers to a row of 'owner' that does not exist"]


def test_a_value_that_cannot_be_read_is_reported_and_kept(kv, sql):
    sql("UPDATE kv SET value = :value", value=b"\x07\xc1")
    problems = kv.check(fix=True)
    assert [problem.where for problem in problems] == ["a", b"b", 3]
    assert not any(problem.fixed for problem in problems)
    assert all("MessagePack" in what for what in whats(problems))
    assert str(problems[1]).startswith("key b'b': ")
    assert len(kv) == 3
    with pytest.raises(CorruptValue):
        kv["a"]


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x01\xff", b"\x05", b"\x06abc", b"\x0a\x03<f4\x01", b"\x0b"])
def test_each_kind_of_damaged_value_is_a_problem(kv, sql, value):
    kv.clear()
    kv["good"] = kv["bad"] = 1
    sql("UPDATE kv SET value = :value WHERE id = (SELECT max(id) FROM kv)", value=value)
    allowed = KVault(kv, pickle=True)
    assert [problem.where for problem in allowed.check()] == ["bad"]


class Trap:
    """An object whose pickle leaves a trace when it is read."""

    sprung = 0

    def __reduce__(self):
        return spring, ()


def spring() -> int:
    Trap.sprung += 1
    return 1


def test_pickles_are_not_run_where_they_are_not_allowed_and_are_no_problem(kv, sql):
    Trap.sprung = 0
    trusted = KVault(kv, pickle=True)
    trusted["object"], trusted["nested"] = Trap(), {"in": [Trap()]}
    assert kv.check() == []
    assert Trap.sprung == 0
    assert trusted.check() == []
    assert Trap.sprung == 2
    sql("UPDATE kv SET value = :value WHERE id = (SELECT max(id) FROM kv)", value=b"\x0b" + pickle.dumps(1)[:-2])
    assert kv.check() == []
    assert [problem.where for problem in trusted.check()] == ["nested"]


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("value", "'text'", "the value is TEXT, not BLOB"),
        ("value", "CAST(X'FF' AS TEXT)", "the value is TEXT, not BLOB"),
        ("value", "5", "the value is INTEGER, not BLOB"),
        ("value", "1.5", "the value is REAL, not BLOB"),
        ("expires_at", "'never'", "the expires_at is TEXT, not NULL or REAL or INTEGER"),
        ("expires_at", "X'00'", "the expires_at is BLOB, not NULL or REAL or INTEGER"),
    ],
)
def test_a_column_with_a_value_of_another_type_is_a_problem_on_sqlite(file, raw, column, value, what):
    raw(f"UPDATE kv SET {column} = {value} WHERE key = 'a'")
    assert file.check() == file.check(fix=True) == [Problem(what, "a")]
    assert raw("SELECT count(*) FROM kv") == [(3,)]
    with pytest.raises(CorruptValue):
        file["a"]
    assert file[3] == "three"


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("1.5", "row 1: the key is REAL, not INTEGER or TEXT or BLOB"),
        ("CAST(X'61FF' AS TEXT)", "row 1: the key b'a\\xff' is TEXT and not valid UTF-8: "),
        ("CAST(X'EDA080' AS TEXT)", "row 1: the key b'\\xed\\xa0\\x80' is TEXT and not valid UTF-8: "),
    ],
)
def test_a_key_that_cannot_be_one_is_a_problem_on_sqlite(file, raw, key, what):
    raw(f"UPDATE kv SET key = {key} WHERE key = 'a'")
    (problem,) = file.check()
    assert problem.what.startswith(what)
    assert problem.where is None
    assert file[3] == "three"


def test_a_key_that_cannot_be_one_is_a_problem_on_postgresql(new_url):
    engine = kohakuvault.create_engine(new_url("postgresql"))
    kv = KVault(engine)
    kv["a"] = 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE kv SET key = '\\x09'"))
    assert whats(kv.check()) == ["row 1: stored key b'\\t' has no known tag"]
    engine.dispose()


def test_nulls_are_problems(engine, sql):
    blob, id = ("BLOB", "INTEGER") if engine.dialect.name == "sqlite" else ("BYTEA", "BIGSERIAL")
    kv = KVault(engine)
    sql("DROP TABLE kv")
    sql(f"CREATE TABLE kv (id {id} PRIMARY KEY, key {blob} UNIQUE, value {blob}, expires_at FLOAT)")
    kv["a"] = 1
    sql("UPDATE kv SET value = NULL")
    sql("INSERT INTO kv (key, value) VALUES (NULL, :value)", value=pack(1))
    value, key = [problem for problem in kv.check(fix=True) if not problem.fixed]
    assert value.where == "a"
    assert value.what.startswith(f"the value is NULL, not {blob}")
    assert key.what.startswith("row 2: the key is NULL, not ")


def test_text_keys_of_a_utf16_database_are_read(tmp_path):
    path = tmp_path / "utf16.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA encoding='UTF-16le'")
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with KVault(path) as kv:
        kv.update({"é\U0001f600": 1, "a": 2})
        assert kv.check() == []


def test_a_missing_expiry_index_is_made(kv, sql):
    sql("DROP INDEX ix_kv_expires_at")
    assert kv.check() == [Problem("the index of expires_at is missing")]
    problems = kv.check(fix=True)
    assert problems == [Problem("the index of expires_at is missing", fixed=True)]
    assert str(problems[0]) == "the index of expires_at is missing (fixed)"
    assert kv.check() == []


def test_a_missing_expiry_index_is_made_within_the_transaction_of_a_session(engine, kv, sql):
    sql("DROP INDEX ix_kv_expires_at")
    with Session(engine) as session:
        assert whats(KVault(session).check(fix=True)) == ["the index of expires_at is missing"]
        assert KVault(session).check() == []
        session.rollback()
    assert whats(kv.check()) == ["the index of expires_at is missing"]


def test_unique_keys_are_made_sure_of_unless_there_are_two_of_one(engine, sql):
    blob, id = ("BLOB", "INTEGER") if engine.dialect.name == "sqlite" else ("BYTEA", "BIGSERIAL")
    kv = KVault(engine)
    sql("DROP TABLE kv")
    sql(f"CREATE TABLE kv (id {id} PRIMARY KEY, key {blob} NOT NULL, value {blob} NOT NULL, expires_at FLOAT)")
    for _ in range(2):
        sql("INSERT INTO kv (key, value) VALUES (:key, :value)", key=b"\x03a", value=pack(1))
    what = "nothing keeps two rows from having the same key"
    assert any(found.startswith(f"{what}, and cannot be made") for found in whats(kv.check(fix=True)))
    sql("DELETE FROM kv WHERE id = 2")
    assert Problem(what, fixed=True) in kv.check(fix=True)
    assert kv.check() == []
    kv[b"a"] = 2


def test_a_damaged_index_is_rebuilt(file, raw):
    ((name, table, page, sql),) = raw(
        "SELECT name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'ix_kv_expires_at'"
    )
    raw("PRAGMA writable_schema=ON")
    raw("DELETE FROM sqlite_master WHERE name = 'ix_kv_expires_at'")
    raw("PRAGMA schema_version=100")
    file.put("expires", 1, ttl=1000)
    raw("INSERT INTO sqlite_master VALUES ('index', ?, ?, ?, ?)", name, table, page, sql)
    raw("PRAGMA schema_version=101")
    found = file.check()
    assert found
    assert all("index" in what for what in whats(found))
    assert all(problem.fixed for problem in file.check(fix=True))
    assert file.check() == []
    assert len(file) == 4


def test_an_invalid_index_is_rebuilt_on_postgresql(new_url):
    engine = kohakuvault.create_engine(new_url("postgresql"))
    kv = KVault(engine)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST('ix_kv_expires_at' AS regclass)")
        )
    assert kv.check() == [Problem("index ix_kv_expires_at is not valid")]
    assert kv.check(fix=True) == [Problem("index ix_kv_expires_at is not valid", fixed=True)]
    assert kv.check() == []
    engine.dispose()


def test_a_damaged_page_is_a_problem_and_what_can_be_read_stays(path):
    with KVault(path) as kv:
        kv.update((number, os.urandom(1000)) for number in range(300))
        kv.checkpoint()
    with open(path, "r+b") as file:
        file.seek(16384 * 12)
        file.write(b"\xee" * 16384)
    with KVault(path) as kv:
        problems = kv.check(fix=True)
        assert problems
        assert not all(problem.fixed for problem in problems)
        assert any("malformed" in what or "damaged" in what for what in whats(problems))
        assert len(kv[0]) == 1000


def test_a_missing_record_is_written_anew(kv, sql):
    sql("DELETE FROM vault_table")
    assert kv.check() == [Problem("table 'kv' has no record in vault_table")]
    assert [problem.fixed for problem in kv.check(fix=True)] == [True]
    sql("DROP TABLE vault_table")
    assert [problem.fixed for problem in kv.check(fix=True)] == [True]
    assert kv.check() == []


@pytest.mark.parametrize("change", ["version = 0", "options = :value"])
def test_a_damaged_record_is_written_anew(kv, sql, change):
    values = {"value": b"\xff"} if ":value" in change else {}
    sql(f"UPDATE vault_table SET {change}", **values)
    assert [problem.fixed for problem in kv.check()] == [False]
    assert [problem.fixed for problem in kv.check(fix=True)] == [True]
    assert kv.check() == []


@pytest.mark.parametrize("change", ["kind = 'columns'", "version = 99"])
def test_a_record_that_says_something_else_is_left_alone(kv, sql, change):
    sql(f"UPDATE vault_table SET {change}")
    (problem,) = kv.check(fix=True)
    assert "table 'kv'" in problem.what
    assert not problem.fixed
    assert kv.check() == [problem]


def test_a_table_that_is_gone_is_a_problem(kv, sql):
    sql("DROP TABLE kv")
    assert any("kv" in what for what in whats(kv.check()))


def test_fix_removes_what_has_expired_and_check_alone_does_not(kv):
    for number in range(5):
        kv.put(number + 10, 1, ttl=0.001)
    time.sleep(0.01)
    before = kv.stats()["expired"]
    assert before > 0
    assert kv.check() == []
    assert kv.stats()["expired"] == before
    assert kv.check(fix=True) == []
    assert kv.stats()["expired"] == 0
    assert len(kv) == 3


def test_fix_is_refused_where_writing_is(kv):
    with pytest.raises(ReadOnlyDatabase):
        KVault(kv, read_only=True).check(fix=True)
    with kv.snapshot():
        assert kv.check() == []
        with pytest.raises(ReadOnlyDatabase):
            kv.check(fix=True)


def test_an_expiry_that_is_no_number_is_a_named_error_and_touch_repairs_it(file, raw):
    raw("UPDATE kv SET expires_at = 'soon' WHERE key = 'a'")
    for read in (lambda: file["a"], lambda: file.get("a"), lambda: "a" in file, lambda: file.expires_at("a")):
        with pytest.raises(CorruptValue, match="'soon'"):
            read()
    file.touch("a")
    assert file["a"] == 1
    assert file.check() == []


# -- stats -----------------------------------------------------------------------------------------


def test_stats_have_counts_names_and_sizes(kv, engine):
    kv.put("sweeps", 1, ttl=100)
    kv.put("gone", 1, ttl=0.001)
    time.sleep(0.01)
    stats = kv.stats()
    assert (stats["table"], stats["entries"], stats["expired"]) == ("kv", 4, 1)
    assert str(engine.url.database) in stats["database"]
    assert "password" not in stats["database"]
    sizes = {name for name in stats if name.endswith("_bytes")}
    if engine.dialect.name == "sqlite":
        assert sizes == {"database_bytes", "wal_bytes", "free_bytes", "waiting_bytes"}
    else:
        assert sizes == {"database_bytes", "table_bytes", "index_bytes", "waiting_bytes"}
        kv.update((number, os.urandom(2000)) for number in range(1000))
        assert kv.stats()["table_bytes"] > 2_000_000 > stats["table_bytes"]
        assert kv.stats()["index_bytes"] > stats["index_bytes"]


def test_stats_have_figures_of_the_caches(engine):
    kv = KVault(engine, read_cache=1 << 20)
    kv["a"] = 1
    with kv.cache():
        kv["b"] = b"x" * 1000
        stats = kv.stats()
        assert (stats["entries"], stats["waiting"]) == (1, 1)
        assert stats["waiting_bytes"] > 1000
    stats = kv.stats()
    assert (stats["entries"], stats["waiting"], stats["waiting_bytes"]) == (2, 0, 0)
    assert [kv["a"], kv["a"]] == [1, 1]
    if engine.dialect.name == "sqlite":
        assert kv.stats()["read_cache"].items() >= {"entries": 1, "hits": 1, "misses": 1}.items()
    else:
        assert kv.stats()["read_cache"] == "the database is not an SQLite file"
    assert KVault(engine).stats()["read_cache"] is None


def test_check_finds_what_is_wrong_with_streams(kv, sql):
    data = os.urandom(1000)
    for key in ("whole", "short", "lost"):
        kv.put_file(key, data, chunk_size=300)
    assert kv.check() == []
    chunks = sql("SELECT id FROM kv_chunk ORDER BY id")
    streams = {key: kv._sql.unpack(kv._find(key)).stream for key in ("whole", "short", "lost")}
    first = {key: stream << 32 for key, stream in streams.items()}
    sql("UPDATE kv_chunk SET data = substr(data, 2) WHERE id = :id", id=first["short"])
    sql("DELETE FROM kv_chunk WHERE id = :id", id=first["lost"] + 3)
    free = next(number for number in range(100) if number not in streams.values())
    sql(
        "INSERT INTO kv_chunk (id, data) SELECT :id, data FROM kv_chunk WHERE id = :whole",
        id=free << 32,
        whole=first["whole"],
    )
    for fix in (False, True):
        problems = kv.check(fix)
        assert [problem.where for problem in problems] == ["short", "lost", None]
        assert "300 bytes in chunks that no entry names" in problems[-1].what
        assert problems[-1].fixed is fix
    assert [problem.where for problem in kv.check()] == ["short", "lost"]
    assert kv["whole"] == data
    assert len(chunks) == 12


def test_what_waits_is_written_before_a_backup(tmp_path):
    kv = KVault(tmp_path / "a.db")
    with kv.cache():
        kv["a"] = 1
        kv.backup(tmp_path / "copy.db")
        assert KVault(tmp_path / "copy.db").copy() == {"a": 1}


def test_sizes_of_sqlite_are_those_of_its_files(file, path):
    file.update((number, os.urandom(1000)) for number in range(1000))
    stats = file.stats()
    assert stats["database_bytes"] == os.path.getsize(path)
    assert stats["wal_bytes"] == os.path.getsize(f"{path}-wal") > 1_000_000
    assert stats["free_bytes"] == 0
    assert KVault(path, read_only=True).stats() == stats
    file.clear()
    assert file.stats()["free_bytes"] > 900_000


def test_a_database_in_memory_has_stats():
    kv = KVault(":memory:")
    stats = kv.stats()
    assert stats["database"] == ":memory:"
    assert stats["database_bytes"] > 0
    assert stats["wal_bytes"] == 0


# -- optimize and checkpoint -----------------------------------------------------------------------


def test_optimize_gives_the_space_of_removed_entries_back(kv, engine):
    kv.update((number, os.urandom(2000)) for number in range(2000))
    kv.put("gone", 1, ttl=0.001)
    kv.delete_range(10, 5000)
    time.sleep(0.01)
    kv.optimize()
    stats = kv.stats()
    assert stats["expired"] == 0
    assert stats.get("free_bytes", 0) == 0
    assert stats.get("table_bytes", stats["database_bytes"]) < 500_000
    assert kv["a"] == 1
    assert kv.check() == []


def test_optimize_and_checkpoint_are_refused_inside_a_transaction(engine):
    kv = KVault(engine)
    for refused in (kv.optimize, kv.checkpoint):
        with pytest.raises(InvalidArgument, match="inside a transaction"), kv.transaction():
            refused()
        with pytest.raises(InvalidArgument, match="snapshot"), kv.snapshot():
            refused()
    with Session(engine) as session, pytest.raises(InvalidArgument, match="Session"):
        KVault(session).optimize()
    with engine.connect() as connection, pytest.raises(InvalidArgument, match="Connection"):
        KVault(connection).checkpoint()
    with pytest.raises(ReadOnlyDatabase):
        KVault(engine, read_only=True).optimize()


def test_every_container_can_be_optimized_and_has_checkpoints(engine):
    for container in (ColumnVault(engine), VectorKVault(engine, dimensions=2)):
        container.optimize()
        assert container.checkpoint() == (0, 0, 0)


def test_optimize_works_while_others_have_the_file_open_and_read_it(file, path, raw):
    file.update((number, os.urandom(2000)) for number in range(2000))
    other = KVault(kohakuvault.create_engine(path, pragmas={"busy_timeout": 300}))
    reading = iter(other)
    next(reading)
    raw("BEGIN")
    raw("SELECT count(*) FROM kv")
    file.delete_range(0, 5000)
    engine = kohakuvault.create_engine(path, pragmas={"busy_timeout": 300})
    KVault(engine).optimize()
    assert sum(1 for _ in reading) == 2001
    assert raw("SELECT count(*) FROM kv") == [(2002,)]
    raw("COMMIT")
    assert raw("SELECT count(*) FROM kv") == [(2,)]
    assert len(other) == 2
    assert file.check() == []
    for used in (engine, other.engine):
        used.dispose()


def test_optimize_is_busy_while_somebody_writes(path, file, raw):
    engine = kohakuvault.create_engine(path, pragmas={"busy_timeout": 50})
    raw("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusy):
        KVault(engine).optimize()
    raw("COMMIT")
    KVault(engine).optimize()
    engine.dispose()


def test_maintenance_is_busy_while_a_session_uses_the_only_connection_in_memory(tmp_path):
    engine = kohakuvault.create_engine(":memory:")
    kv = KVault(engine)
    with Session(engine) as session:
        KVault(session)["pending"] = 1
        with pytest.raises(DatabaseBusy):
            kv.backup(tmp_path / "copy.db")
        with pytest.raises(DatabaseBusy):
            kv.optimize()
        session.rollback()
    kv.optimize()
    assert "pending" not in kv
    assert kv.checkpoint() == (0, -1, -1)


def test_checkpoint_empties_the_log_and_says_what_keeps_it_from_doing_so(path, file, raw):
    assert file.stats()["wal_bytes"] > 0
    assert file.checkpoint() == (0, 0, 0)
    assert file.stats()["wal_bytes"] == 0
    raw("BEGIN")
    raw("SELECT * FROM kv")
    engine = kohakuvault.create_engine(path, pragmas={"busy_timeout": 50})
    kv = KVault(engine)
    kv["b"] = 2
    busy, frames, done = kv.checkpoint()
    assert busy == 1
    assert frames > 0
    assert 0 <= done <= frames
    raw("COMMIT")
    assert kv.checkpoint() == (0, 0, 0)
    engine.dispose()


def test_checkpoint_without_the_privilege_says_which(new_url):
    url = new_url("postgresql")
    admin = kohakuvault.create_engine(url)
    KVault(admin)
    with admin.begin() as connection:
        schema = connection.scalar(text("SELECT current_schema()"))
        connection.execute(text("CREATE ROLE plain LOGIN"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO plain"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO plain"))
    engine = kohakuvault.create_engine(url.set(username="plain"))
    try:
        with pytest.raises(DriverError, match="GRANT pg_checkpoint"):
            KVault(engine).checkpoint()
    finally:
        engine.dispose()
        with admin.begin() as connection:
            connection.execute(text("DROP OWNED BY plain"))
            connection.execute(text("DROP ROLE plain"))
        admin.dispose()


# -- backup ----------------------------------------------------------------------------------------


def leftovers(folder) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".partial")]


def test_a_backup_is_one_file_that_opens_by_path(file, path, tmp_path):
    ColumnVault(file).create_column("scores", "f64").extend([1.0, 2.0])
    file.update((number, os.urandom(1000)) for number in range(3000))
    os.chmod(path, 0o640)
    copy = tmp_path / "copy.db"
    calls = []
    file.backup(copy, progress=lambda done, total: calls.append((done, total)))
    assert sorted(os.listdir(tmp_path)) == ["copy.db", "test.db", "test.db-shm", "test.db-wal"]
    assert calls == sorted(calls)
    assert len(calls) > 1
    assert calls[-1] == (os.path.getsize(copy),) * 2
    if os.name == "posix":
        assert stat.S_IMODE(os.stat(copy).st_mode) == 0o640
    # Nothing beside it is needed: SQLite reads it as unchangeable.
    with sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True) as connection:
        assert connection.execute("SELECT count(*) FROM kv").fetchone() == (3002,)
    connection.close()
    with KVault(copy) as restored, KVault(path) as kv:
        assert restored.check() == []
        assert dict(restored) == dict(kv)
        assert ColumnVault(restored)["scores"][:] == [1.0, 2.0]


@pytest.mark.parametrize("kind", ["memory", "bare memory", "bare", "read only", "delete mode"])
def test_every_kind_of_sqlite_database_has_backups(kind, path, tmp_path):
    if kind == "memory":
        kv = KVault(":memory:")
    elif kind == "bare memory":
        kv = KVault(sqlalchemy.create_engine("sqlite://"))
    elif kind == "bare":
        kv = KVault(sqlalchemy.create_engine(f"sqlite:///{path}"))
    elif kind == "delete mode":
        kv = KVault(kohakuvault.create_engine(path, pragmas={"journal_mode": "DELETE"}))
    else:
        KVault(path)["a"] = 1
        kv = KVault(path, read_only=True)
    if kind != "read only":
        kv["a"] = 1
    kv.backup(tmp_path / "copy.db")
    assert dict(KVault(tmp_path / "copy.db")) == {"a": 1}
    if kind != "read only":
        kv["a"] = 2
    kv.backup(str(tmp_path / "second.db"))
    assert dict(KVault(tmp_path / "second.db")) == dict(kv)
    kv.engine.dispose()


WRITER = """
    import sys
    from kohakuvault import KVault
    kv = KVault(sys.argv[1])
    n = 0
    while True:
        n += 1
        with kv.transaction():
            kv["left"], kv["right"], kv["big"] = n, n, bytes(100_000 + n)
        if n == 3:
            print("writing", flush=True)
"""


def test_a_backup_is_of_one_moment_while_another_process_writes(path, tmp_path):
    with KVault(path) as kv:
        kv.update((number, os.urandom(4000)) for number in range(10_000))
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        with KVault(path) as kv:
            for number in range(3):
                copy = tmp_path / f"copy{number}.db"
                before = kv["left"]
                seen = []
                kv.backup(copy, progress=lambda done, total: seen.append(kv["left"]))
                with KVault(copy) as restored:
                    assert restored.check() == []
                    assert restored["left"] == restored["right"] >= before
                    assert len(restored) == 10_003
                assert writer.poll() is None
        # The writer was not held up.
        assert seen[-1] > seen[0]
    finally:
        writer.kill()
        writer.communicate()


KILLED = """
    import os, signal, sys
    from kohakuvault import KVault
    def kill(done, total):
        assert done < total
        os.kill(os.getpid(), signal.SIGKILL)
    KVault(sys.argv[1]).backup(sys.argv[2], overwrite=True, progress=kill)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_a_backup_that_is_killed_leaves_the_target_as_it_was(path, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    with KVault(path) as kv:
        kv.update((number, os.urandom(4000)) for number in range(2000))
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(folder / "copy.db")]
        for number in range(2):
            done = subprocess.run(command, timeout=60, check=False)
            assert done.returncode == -signal.SIGKILL
            assert len(leftovers(folder)) == number + 1
            if number == 0:
                assert not (folder / "copy.db").exists()
                kv.backup(folder / "copy.db")
                kv["new"] = 1
        with KVault(folder / "copy.db") as old:
            assert old.check() == []
            assert len(old) == 2000


def test_an_exception_in_progress_ends_the_backup_and_leaves_nothing(file, tmp_path):
    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        file.backup(tmp_path / "copy.db", progress=stop)
    assert not (tmp_path / "copy.db").exists()
    assert leftovers(tmp_path) == []
    file["after"] = 1
    file.optimize()


def test_a_target_that_exists_is_replaced_only_if_that_is_said(file, tmp_path):
    copy = tmp_path / "copy.db"
    copy.write_text("something else")
    with pytest.raises(InvalidArgument, match="overwrite=True"):
        file.backup(copy)
    assert copy.read_text() == "something else"
    file.backup(copy, overwrite=True)
    assert dict(KVault(copy)) == dict(file)


def test_a_target_that_is_open_is_refused(file, tmp_path):
    copy = tmp_path / "copy.db"
    file.backup(copy)
    opened = KVault(copy)
    opened["own"] = 1
    with pytest.raises(InvalidArgument, match=r"copy\.db-wal exists"):
        file.backup(copy, overwrite=True)
    assert opened["own"] == 1
    opened.close()
    file.backup(copy, overwrite=True)
    assert "own" not in KVault(copy)


def test_the_database_itself_is_refused_as_the_target(file, path, tmp_path):
    os.symlink(path, tmp_path / "soft.db")
    os.link(path, tmp_path / "hard.db")
    for target in (path, tmp_path / "soft.db", tmp_path / "hard.db", f"{path}-wal", tmp_path / "." / "test.db"):
        with pytest.raises(InvalidArgument, match="the database itself"):
            file.backup(target, overwrite=True)
    assert file.check() == []
    assert len(file) == 3


def test_targets_that_cannot_be_written_are_named(file, tmp_path):
    with pytest.raises(CannotOpen, match="does not exist"):
        file.backup(tmp_path / "no" / "copy.db")
    with pytest.raises(InvalidArgument, match="choose another path"):
        file.backup(tmp_path, overwrite=True)
    for target in ("", ":memory:", "a\0b"):
        with pytest.raises(InvalidArgument, match="not the path of a file"):
            file.backup(target)
    with pytest.raises(UnsupportedType, match="int"):
        file.backup(5)


def test_a_backup_inside_a_transaction_is_refused(file, tmp_path):
    with pytest.raises(InvalidArgument, match="inside a transaction"), file.transaction():
        file.backup(tmp_path / "copy.db")
    with Session(file.engine) as session, pytest.raises(InvalidArgument, match="Session"):
        KVault(session).backup(tmp_path / "copy.db")


def test_threads_write_and_back_up_at_once(file, tmp_path):
    file.update((number, os.urandom(1000)) for number in range(2000))
    errors: list[Exception] = []
    stop = threading.Event()

    def write() -> None:
        try:
            while not stop.is_set():
                file.incr("count")
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            file.backup(tmp_path / f"{number}.db")
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert KVault(tmp_path / "2.db").check() == []


def test_on_postgresql_pg_dump_is_named(new_url, tmp_path):
    engine = kohakuvault.create_engine(new_url("postgresql"))
    with pytest.raises(InvalidArgument, match="pg_dump"):
        KVault(engine).backup(tmp_path / "copy.db")
    engine.dispose()
