"""One engine, one transaction: rows, dicts, columns and vectors take effect together or leave no trace."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

import kohakuvault
from kohakuvault import (
    ColumnVault,
    InvalidArgument,
    KVault,
    NotFound,
    SchemaMismatch,
    UnsupportedType,
    VectorKVault,
)
from kohakuvault.orm.tables import KVTable

VECTOR = np.arange(1, 4, dtype=np.float32)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_account"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Settings(KVTable, Base):
    __tablename__ = "own_settings"


@pytest.fixture(params=["ours", "bare"])
def any_engine(request, url):
    """An engine of ours, and one that the application made without us."""
    engine = kohakuvault.create_engine(url) if request.param == "ours" else sqlalchemy.create_engine(url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def write_everything(session: Session) -> None:
    session.add(User(name="Alice"))
    KVault(session, "settings")["theme"] = {"dark": True}
    cv = ColumnVault(session)
    cv.ensure("scores", "f64").extend([95.5, 87.3])
    cv.ensure("names", "str:utf8").extend(["a"] * 5000)
    search = VectorKVault(session, "search", dimensions=3)
    search.insert(VECTOR, b"payload")
    search.insert_many([VECTOR, VECTOR])


def everything(engine) -> dict[str, object]:
    """What a new connection sees: every table's rows."""
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        counts = {
            name: connection.scalar(sqlalchemy.text(f'SELECT count(*) FROM "{name}"'))
            for name in tables
            if name != "sqlite_sequence"
        }
    return {name: count for name, count in counts.items() if count}


def test_a_rollback_leaves_no_trace(any_engine):
    with Session(any_engine) as session:
        write_everything(session)
        session.rollback()
    assert everything(any_engine) == {}
    assert sorted(sqlalchemy.inspect(any_engine).get_table_names()) == ["own_settings", "user_account"]


def test_a_commit_leaves_all_of_it(any_engine):
    with Session(any_engine) as session:
        write_everything(session)
        session.commit()
    # The index of the vectors has tables of its own on SQLite.
    found = {name: count for name, count in everything(any_engine).items() if not name.startswith("search_index")}
    assert found.pop("vault_block") == found.pop("vault_payload") >= 1
    assert found == {"user_account": 1, "settings": 1, "vault_column": 2, "search": 3, "vault_table": 3}
    assert KVault(any_engine, "settings")["theme"] == {"dark": True}
    assert ColumnVault(any_engine)["scores"][:] == [95.5, 87.3]
    assert VectorKVault(any_engine, "search", dimensions=3).search(VECTOR, 1)[0][2] == b"payload"


def test_a_failure_half_way_leaves_no_trace(any_engine):
    with Session(any_engine) as session:
        write_everything(session)
        session.commit()
    before = everything(any_engine)

    def fail_at_the_end(session):
        write_everything(session)  # the second Alice violates the unique constraint when she is flushed

    with pytest.raises(sqlalchemy.exc.IntegrityError), Session(any_engine) as session, session.begin():
        fail_at_the_end(session)
    with pytest.raises(UnsupportedType), Session(any_engine) as session, session.begin():
        session.add(User(name="Bob"))
        ColumnVault(session)["scores"].append(1.0)
        VectorKVault(session, "search", dimensions=3).insert(VECTOR)
        KVault(session, "settings")["x"] = object()
    with pytest.raises(ZeroDivisionError), Session(any_engine) as session, session.begin():
        KVault(session, "settings").clear()
        ColumnVault(session).delete_column("names")
        VectorKVault(session, "search", dimensions=3).clear()
        raise ZeroDivisionError
    assert everything(any_engine) == before


def test_a_refused_operation_leaves_the_transaction_usable(any_engine):
    with Session(any_engine) as session:
        kv, cv = KVault(session), ColumnVault(session)
        scores = cv.create_column("scores", "i64")
        scores.extend([1, 2])
        for refused in (
            lambda: kv.update([("a", 1), ("b", object())]),
            lambda: scores.extend([3, "four"]),
            lambda: cv.create_column("scores", "i64"),
            lambda: scores.__setitem__(slice(0, 2), [1, 2**64]),
        ):
            with pytest.raises(kohakuvault.KohakuVaultError):
                refused()
        kv["kept"] = True
        session.add(User(name="Alice"))
        session.commit()
    assert dict(KVault(any_engine)) == {"kept": True}
    assert ColumnVault(any_engine)["scores"][:] == [1, 2]
    assert everything(any_engine)["user_account"] == 1


def test_a_container_follows_its_session_through_rollbacks(any_engine):
    with Session(any_engine) as session:
        kv, cv = KVault(session, "settings"), ColumnVault(session)
        search = VectorKVault(session, "search", dimensions=3)
        column = cv.create_column("c", "i64")
        kv["a"], _ = 1, column.extend([1, 2])
        search.insert(VECTOR, 1)
        session.rollback()
        assert dict(kv) == {}
        assert list(cv) == []
        assert len(search) == 0
        with pytest.raises(NotFound, match="no column 'c'"):
            column.append(3)
        session.rollback()
        other = cv.create_column("other", "i64")
        column = cv.create_column("c", "str:utf8")
        kv["b"] = 2
        search.insert(VECTOR, 2)
        session.commit()
        other.append(1)
        session.rollback()
        column.append("x")
        session.commit()
    assert dict(KVault(any_engine, "settings")) == {"b": 2}
    assert ColumnVault(any_engine).list_columns() == [("other", "i64", 0), ("c", "str:utf8", 1)]


def test_savepoints_roll_back_what_is_inside(any_engine):
    with Session(any_engine) as session:
        kv = KVault(session)
        with session.begin_nested():
            kv["outer"] = 1
            column = ColumnVault(session).create_column("c", "i64")
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            kv["inner"] = 2
            column.extend(range(5000))
            lost = ColumnVault(session).create_column("lost", "i64")
            raise ZeroDivisionError
        with kv.transaction():
            kv["own"] = 3
        with pytest.raises(ZeroDivisionError), kv.transaction():
            kv["lost"] = 4
            raise ZeroDivisionError
        assert dict(kv) == {"outer": 1, "own": 3}
        assert column[:] == []
        with pytest.raises(NotFound):
            lost.append(1)
        column.append(7)
        session.commit()
    assert dict(KVault(any_engine)) == {"outer": 1, "own": 3}
    assert ColumnVault(any_engine)["c"][:] == [7]


def test_a_savepoint_as_the_first_thing_is_not_a_commit(any_engine):
    KVault(any_engine)["before"] = 1
    with Session(any_engine) as session:
        kv = KVault(session)
        with kv.transaction():
            kv["inside"] = 2
        session.rollback()
    assert dict(KVault(any_engine)) == {"before": 1}


def test_transaction_on_an_engine_groups_all_containers(any_engine):
    kv, other = KVault(any_engine), KVault(any_engine, "other")
    cv, search = ColumnVault(any_engine), VectorKVault(any_engine, "search", dimensions=3)
    column = cv.create_column("c", "i64")

    def write():
        kv["a"] = other["b"] = 1
        column.extend(range(3000))
        search.insert_many([VECTOR])

    with pytest.raises(ZeroDivisionError), kv.transaction():
        write()
        assert (kv["a"], len(column), len(search)) == (1, 3000, 1)
        raise ZeroDivisionError
    assert (dict(kv), dict(other), column[:], len(search)) == ({}, {}, [], 0)
    with cv.transaction() as connection:
        write()
        connection.execute(sqlalchemy.insert(User).values(name="Alice"))
        with pytest.raises(ZeroDivisionError), kv.transaction():
            kv["a"] = 2
            raise ZeroDivisionError
        with kv.transaction():
            kv["c"] = 3
        assert kv.pop("c") == 3
    assert (kv["a"], other["b"], len(column), len(search)) == (1, 1, 3000, 1)
    assert everything(any_engine)["user_account"] == 1


def test_a_table_made_in_a_rolled_back_transaction_is_made_again(any_engine):
    kv = KVault(any_engine)
    with pytest.raises(ZeroDivisionError), kv.transaction():
        late = KVault(any_engine, "late")
        late["a"] = 1
        raise ZeroDivisionError
    assert dict(late) == {}
    late["b"] = 2
    assert dict(KVault(any_engine, "late")) == {"b": 2}


def test_a_session_is_flushed_before_and_never_committed(any_engine):
    with Session(any_engine) as session:
        kv = KVault(session, "settings")
        session.add(kv.entity(key="pending", value=[1]))
        assert kv["pending"] == [1]
        kv["direct"] = 2
        found = session.scalars(sqlalchemy.select(kv.entity).order_by(kv.entity.id)).all()
        assert [(row.key, row.value) for row in found] == [("pending", [1]), ("direct", 2)]
        found[1].value = (3, 4)
        assert kv["direct"] == (3, 4)
        session.delete(found[0])
        assert list(kv) == ["direct"]
        with session.no_autoflush:
            session.add(kv.entity(key="later", value=1))
            assert "later" not in kv
        assert session.in_transaction()
        session.rollback()
    with Session(any_engine) as session:
        assert not dict(KVault(session, "settings"))


def test_a_connection_is_joined_and_never_committed(any_engine):
    with any_engine.connect() as connection:
        kv = KVault(connection)
        kv["a"] = 1
        assert connection.in_transaction()
        connection.rollback()
        kv["b"] = 2
        connection.commit()
        kv["c"] = 3
    assert dict(KVault(any_engine)) == {"b": 2}
    with any_engine.begin() as connection:
        KVault(connection)["d"] = 4
    assert dict(KVault(any_engine)) == {"b": 2, "d": 4}


def test_an_autocommit_connection_commits_each_operation(any_engine):
    KVault(any_engine), ColumnVault(any_engine).create_column("c", "i64")
    with any_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        kv, column = KVault(connection), ColumnVault(connection)["c"]
        kv["a"] = 1
        kv.update(b=2)
        column.extend(range(3000))
        with pytest.raises(kohakuvault.KohakuVaultError):
            column.extend([1, "two"])
    assert dict(KVault(any_engine)) == {"a": 1, "b": 2}
    assert ColumnVault(any_engine)["c"][:] == list(range(3000))


def test_scoped_sessions_work(any_engine):
    registry = scoped_session(sessionmaker(any_engine))
    kv = KVault(registry)
    kv["a"] = 1
    registry.commit()
    registry.remove()
    kv["b"] = 2
    registry.rollback()
    assert dict(kv) == {"a": 1}
    registry.remove()


def test_a_mapped_class_of_the_users_own(any_engine):
    with Session(any_engine) as session:
        kv = KVault(session, Settings)
        kv["theme"] = "dark"
        assert session.scalars(sqlalchemy.select(Settings).where(Settings.key == "theme")).one().value == "dark"
        session.commit()
    assert KVault(any_engine, Settings)["theme"] == "dark"


# -- tables that are not ours, or not as asked for -----------------------------------------------------


def test_a_foreign_table_is_a_named_error_and_stays_as_it_is(engine):
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE kv (k VARCHAR(10) PRIMARY KEY, v VARCHAR(10))"))
        connection.execute(sqlalchemy.text("INSERT INTO kv VALUES ('a', 'b')"))
    for make in (KVault, lambda bind: VectorKVault(bind, "kv", dimensions=3)):
        with pytest.raises(SchemaMismatch, match=r"columns k, v and lacks .*not touched"):
            make(engine)
    with Session(engine) as session, pytest.raises(SchemaMismatch):
        KVault(session)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT * FROM kv")).all() == [("a", "b")]
    KVault(engine, "mine")["a"] = 1


def test_a_table_of_another_kind_or_a_newer_version_is_a_named_error(engine):
    KVault(engine, "things")["a"] = 1
    with pytest.raises(SchemaMismatch, match="holds 'kv', not 'vectors'"):
        VectorKVault(engine, "things", dimensions=3)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE vault_table SET version = 99 WHERE name = 'things'"))
    with pytest.raises(SchemaMismatch, match="version 99"):
        KVault(engine.url, "things")


def test_create_false_makes_nothing(engine):
    for make in (
        lambda: KVault(engine, create=False),
        lambda: ColumnVault(engine, create=False),
        lambda: VectorKVault(engine, create=False),
    ):
        with pytest.raises(SchemaMismatch, match="does not exist"):
            make()
    assert sqlalchemy.inspect(engine).get_table_names() == []
    KVault(engine)["a"] = 1
    assert KVault(engine, create=False)["a"] == 1


def test_a_dropped_table_is_a_named_error_and_the_way_out_works(engine):
    kv = KVault(engine)
    kv["a"] = 1
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE kv"))
    with pytest.raises(SchemaMismatch, match="Open it again"):
        kv["a"]
    again = KVault(engine)
    assert dict(again) == {}
    again["b"] = 2
    assert kv["b"] == 2


@pytest.mark.parametrize("table", ["", "a\0b", "sqlite_x", "vault_column", "x" * 64, 5, None])
def test_an_impossible_table_name_is_refused(engine, table):
    with pytest.raises((InvalidArgument, UnsupportedType, AttributeError), match=r"name|attribute"):
        KVault(engine, table)


def test_any_other_table_name_is_only_a_name(engine):
    for name in ("zz(x); DROP TABLE kv; --", 'q"uote', "select", "naïve ☃", "Mixed Case", "a.b", "%s", ":x"):
        kv = KVault(engine, name)
        kv["a"] = 1
        assert dict(kv) == {"a": 1}
        assert name in sqlalchemy.inspect(engine).get_table_names()
        search = VectorKVault(engine, name[:40] + " v", dimensions=3)
        search.insert(VECTOR, 1)
        assert search.get(VECTOR) == 1


def test_a_closed_container_says_so_and_leaves_the_engine_open(engine):
    kv = KVault(engine)
    kv["a"] = 1
    with kv:
        pass
    kv.close()
    with pytest.raises(InvalidArgument, match="closed"):
        kv["a"]
    assert "closed" in repr(kv)
    assert KVault(engine)["a"] == 1


# -- several processes ------------------------------------------------------------------------------

WRITER = """
    import sys
    from kohakuvault import ColumnVault, KVault, VectorKVault
    url, me = sys.argv[1], int(sys.argv[2])
    kv, cv, search = KVault(url), ColumnVault(url), VectorKVault(url, dimensions=3)
    numbers, texts = cv.ensure("numbers", "i64"), cv.ensure("texts", "str:utf8")
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(150):
        kv[f"{me}:{i}"] = i
        numbers.append(me * 1000 + i)
        texts.extend([f"{me}:{i}"] * 3)
        if i % 10 == 0:
            search.insert([me, i, 1], (me, i))
            with kv.transaction():
                kv["count"] = kv.get("count", 0) + 1
"""


def test_two_processes_writing_at_once_lose_nothing(url):
    text = url.render_as_string(hide_password=False)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), text, str(me)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(2)
    ]
    # Both have opened, and made the tables, at the same time; now both write.
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=100)
        assert writer.returncode == 0, errors
    kv, cv = KVault(url), ColumnVault(url)
    assert len(kv) == 301
    if url.get_backend_name() == "sqlite":
        assert kv["count"] == 30  # a transaction has the write lock from its beginning
    numbers, texts = cv["numbers"][:], cv["texts"][:]
    for me in range(2):
        assert [number % 1000 for number in numbers if number // 1000 == me] == list(range(150))
        assert [text for text in texts if text.startswith(f"{me}:")] == [
            f"{me}:{i}" for i in range(150) for _ in range(3)
        ]
    assert (len(numbers), len(texts)) == (300, 900)
    assert len(VectorKVault(url, dimensions=3)) == 30


KILLED = """
    import sys
    from sqlalchemy.orm import Session
    from kohakuvault import ColumnVault, KVault, create_engine
    engine = create_engine(sys.argv[1])
    i = 0
    while True:
        i += 1
        with Session(engine) as session, session.begin():
            column = ColumnVault(session)["c"]
            column[1000:2000] = [i] * (500 + i % 1000)
            column.insert(0, i)
            KVault(session)["i"] = i
            KVault(session)["length"] = len(column)
        print(i, flush=True)
"""


def test_a_killed_process_leaves_the_old_or_the_new_state(url):
    text = url.render_as_string(hide_password=False)
    column, kv = ColumnVault(url).create_column("c", "i64"), KVault(url)
    column.extend([0] * 5000)
    kv["i"] = 0
    for after in (3, 7, 12):
        start = kv["i"]
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), text], stdout=subprocess.PIPE, text=True
        )
        for _ in range(after):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.communicate()
        assert kv["i"] >= acknowledged >= start
        values = column[:]
        assert len(values) == len(column) == kv["length"]
        assert values[0] == kv["i"]
        column[:] = [0] * 5000
        kv["i"] = 0


def test_another_kind_of_database_is_refused_by_name(engine, monkeypatch):
    monkeypatch.setattr(engine, "dialect", DefaultDialect())
    engine.dialect.name = "oracle"
    with pytest.raises(InvalidArgument, match="not on oracle"):
        KVault(engine)
