"""``vault_dict``: the dict of each row, in the row's Session and with the row's life."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import uuid
import weakref
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import (
    ForeignKey,
    MetaData,
    String,
    Uuid,
    delete,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    aliased,
    declarative_base,
    joinedload,
    mapped_column,
    registry,
    selectinload,
    undefer,
)

import kohakuvault
from kohakuvault import DriverError, InvalidArgument, KVault, UnsupportedType
from kohakuvault.orm import RowDictTriggers, vault_dict
from kohakuvault.orm.attached import attached_to
from kohakuvault.orm.row_containers import create_statements, drop_statements


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="untitled")
    settings: Mapped[KVault] = vault_dict()


@pytest.fixture
def session(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def entries(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Doc.settings.table))


def test_a_row_has_a_dict_of_its_own(session):
    first, second = Doc(), Doc()
    session.add_all([first, second])
    # Pending: flushed by the access.
    first.settings["theme"] = "dark"
    second.settings.update(theme="light", size=12)
    assert isinstance(first.settings, KVault)
    assert dict(first.settings) == {"theme": "dark"}
    assert list(second.settings) == ["theme", "size"]
    assert first.settings is first.settings
    session.commit()
    session.expire_all()
    assert first.settings["theme"] == "dark"
    with Session(session.get_bind()) as other:
        assert other.get_one(Doc, second.id).settings.copy() == {"theme": "light", "size": 12}


def test_what_is_assigned_to_a_new_object_is_stored_with_it(session):
    doc = Doc(title="t", settings={"a": 1, 1: "int"})
    other = Doc()
    other.settings = {"b": [2]}
    session.add_all([doc, other])
    session.commit()
    assert dict(doc.settings) == {"a": 1, 1: "int"}
    assert dict(other.settings) == {"b": [2]}
    doc.settings = {"z": 0}
    assert dict(doc.settings) == {"z": 0}
    session.rollback()
    assert dict(doc.settings) == {"a": 1, 1: "int"}
    doc.settings = other.settings
    doc.settings |= {"c": 3}
    assert dict(doc.settings) == {"b": [2], "c": 3}
    del doc.settings
    assert dict(doc.settings) == {}
    assert dict(other.settings) == {"b": [2]}


def test_what_cannot_be_stored_fails_the_flush_and_leaves_nothing(session):
    session.add(Doc(settings={"a": object()}))
    with pytest.raises(UnsupportedType):
        session.flush()
    session.rollback()
    assert session.scalar(select(func.count()).select_from(Doc)) == 0
    doc = Doc(settings={"a": 1})
    session.add(doc)
    session.commit()
    with pytest.raises(UnsupportedType):
        doc.settings = {"b": 1, "c": object()}
    assert dict(doc.settings) == {"a": 1}
    for wrong in (None, 5, ["a"], "text"):
        with pytest.raises(UnsupportedType, match="takes a mapping"):
            doc.settings = wrong
        with pytest.raises(UnsupportedType, match="takes a mapping"):
            Doc(settings=wrong)


def test_a_rolled_back_object_can_be_added_again(session):
    doc = Doc(settings={"a": 1})
    session.add(doc)
    session.flush()
    assert dict(doc.settings) == {"a": 1}
    doc.settings = {"a": 2}
    session.rollback()
    assert entries(session) == 0
    session.add(doc)
    session.commit()
    assert dict(doc.settings) == {"a": 2}
    # From the commit on it is the database's alone.
    state = inspect(doc)
    assert not vars(Doc)["settings"]._assigned.has(state)


def test_a_rollback_undoes_exactly_what_was_written(session):
    doc = Doc(settings={"kept": 1})
    session.add(doc)
    session.commit()
    settings = doc.settings
    settings["lost"] = 2
    with session.begin_nested():
        settings["inner"] = 3
    with pytest.raises(RuntimeError), session.begin_nested():
        settings["undone"] = 4
        del settings["kept"]
        raise RuntimeError
    assert dict(settings) == {"kept": 1, "lost": 2, "inner": 3}
    session.rollback()
    assert dict(settings) == dict(doc.settings) == {"kept": 1}


def test_entries_go_with_their_row_however_that_is_deleted(engine, session):
    docs = [Doc(id=number, settings={"a": number}) for number in range(1, 6)]
    session.add_all(docs)
    for doc in docs:
        doc.settings.put_file("file", bytes(5000), chunk_size=1000)
    session.commit()

    def left() -> tuple[int, int]:
        return entries(session), session.scalar(text("SELECT count(*) FROM doc_settings_chunk"))

    assert left() == (10, 25)
    session.delete(docs[0])
    session.flush()
    assert left() == (8, 20)
    session.execute(delete(Doc).where(Doc.id == 2))
    session.execute(text("DELETE FROM doc WHERE id = 3"))
    assert left() == (4, 10)
    session.commit()
    assert docs[4].settings.check() == []


def test_a_writer_without_foreign_keys_leaves_nothing_behind(tmp_path):
    engine = kohakuvault.create_engine(tmp_path / "a.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(id=number, settings={"a": number}) for number in (1, 2, 3)])
        session.flush()
        session.get(Doc, 1).settings.put_file("file", bytes(5000), chunk_size=1000)
        session.commit()
    engine.dispose()
    bare = sqlite3.connect(tmp_path / "a.db")
    assert bare.execute("PRAGMA foreign_keys").fetchone() == (0,)
    bare.execute("DELETE FROM doc WHERE id = 1")
    bare.execute("UPDATE doc SET id = 9 WHERE id = 2")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY constraint failed: the row of doc"):
        bare.execute("INSERT INTO doc_settings (owner_id, key, value) VALUES (1, 'x', X'02')")
    bare.commit()
    assert bare.execute("SELECT owner_id FROM doc_settings ORDER BY owner_id").fetchall() == [(3,), (9,)]
    assert bare.execute("SELECT count(*) FROM doc_settings_chunk").fetchone() == (0,)
    bare.close()
    with Session(engine) as session:
        assert dict(session.get(Doc, 9).settings) == {"a": 2}
    engine.dispose()


@pytest.mark.parametrize("enforced", [True, False])
def test_replace_into_is_a_deletion_only_where_foreign_keys_are_enforced(tmp_path, enforced):
    engine = kohakuvault.create_engine(tmp_path / "a.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(id=1, settings={"a": 1}), Doc(id=2, settings={"b": 2})])
        session.commit()
    bare = sqlite3.connect(tmp_path / "a.db")
    bare.execute(f"PRAGMA foreign_keys = {'ON' if enforced else 'OFF'}")
    bare.execute("REPLACE INTO doc (id, title) VALUES (1, 'new')")
    bare.commit()
    bare.close()
    with Session(engine) as session:
        assert dict(session.get(Doc, 1).settings) == ({} if enforced else {"a": 1})
        assert dict(session.get(Doc, 2).settings) == {"b": 2}
    engine.dispose()


def test_a_handle_cannot_write_for_a_row_that_is_gone(session):
    doc = Doc(id=1, settings={"a": 1})
    session.add(doc)
    session.commit()
    settings = doc.settings
    session.delete(doc)
    session.flush()
    with pytest.raises(InvalidArgument, match="deleted"):
        doc.settings
    assert dict(settings) == {}
    with pytest.raises(DriverError, match=r"(?i)foreign key"):
        settings["b"] = 2
    session.rollback()
    assert dict(doc.settings) == {"a": 1}


def test_a_new_primary_key_takes_its_entries_along(session):
    doc = Doc(id=1, settings={"a": 1})
    session.add(doc)
    session.commit()
    assert dict(doc.settings) == {"a": 1}
    doc.id = 7
    session.commit()
    assert dict(doc.settings) == {"a": 1}
    assert session.scalars(select(Doc.settings.entity.owner_id)).all() == [7]


def test_transient_and_detached_objects_say_what_to_do(session):
    doc = Doc(settings={"a": 1})
    with pytest.raises(InvalidArgument, match=r"transient.*session\.add"):
        doc.settings
    session.add(doc)
    with session.no_autoflush, pytest.raises(InvalidArgument, match=r"pending.*session\.flush"):
        doc.settings
    session.commit()
    session.expunge(doc)
    for use in (lambda: doc.settings, lambda: setattr(doc, "settings", {})):
        with pytest.raises(InvalidArgument, match=r"detached.*session\.merge"):
            use()
    assert dict(session.merge(doc).settings) == {"a": 1}


def test_an_object_in_another_session_has_another_dict(engine, session):
    doc = Doc(settings={"a": 1})
    session.add(doc)
    session.commit()
    first = doc.settings
    session.expunge(doc)
    with Session(engine) as other:
        other.add(doc)
        assert doc.settings is not first
        assert doc.settings.binding.source is other
        doc.settings.close()
        assert dict(doc.settings) == {"a": 1}


def test_loading_rows_reads_no_entry(engine, session):
    session.add_all([Doc(settings={"a": 1}) for _ in range(5)])
    session.commit()
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, cu, sql, *rest: seen.append(sql))
    session.expire_all()
    docs = session.scalars(select(Doc)).all()
    docs[0].title = "changed"
    session.commit()
    session.refresh(docs[0])
    assert seen
    assert not [sql for sql in seen if "doc_settings" in sql or "vault_" in sql]


def test_what_would_load_containers_with_rows_says_what_to_do_instead():
    attempts = [
        lambda: selectinload(Doc.settings),
        lambda: select(Doc).options(joinedload(Doc.settings)),
        lambda: undefer(Doc.settings),
        lambda: select(Doc.settings),
        lambda: select(Doc).where(Doc.settings == {}),
        lambda: select(Doc).where(Doc.settings.any()),
        lambda: select(Doc).order_by(Doc.settings),
        lambda: select(Doc).join(Doc.settings),
        lambda: select(aliased(Doc).settings),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidArgument, match=r"Doc\.settings is a container of each row.*\.entity"):
            attempt()


def test_entries_are_rows_to_join(session):
    session.add_all([Doc(title=f"t{n}", settings={"size": n, "other": 1}) for n in range(5)])
    entry = Doc.settings.entity
    assert entry.__table__ is Doc.settings.table is Base.metadata.tables["doc_settings"]
    found = select(Doc.title, entry.value).join(entry, entry.owner_id == Doc.id).where(entry.key == "size")
    assert session.execute(found.order_by(Doc.title)).all() == [(f"t{n}", n) for n in range(5)]
    assert session.scalar(select(func.count()).select_from(aliased(entry))) == 10


def test_entries_are_found_by_their_owner(session):
    inspector = inspect(session.connection())
    assert [column["name"] for column in inspector.get_columns("doc_settings")] == [
        *("id", "owner_id", "key", "value", "expires_at")
    ]
    assert {tuple(index["column_names"]) for index in inspector.get_indexes("doc_settings")} >= {
        ("owner_id", "id"),
        ("owner_id", "expires_at"),
    }
    (foreign,) = inspector.get_foreign_keys("doc_settings")
    assert (foreign["referred_table"], foreign["options"]["ondelete"]) == ("doc", "CASCADE")


def test_check_and_clear_are_of_one_row(session):
    first, second = Doc(settings={"a": 1}), Doc(settings={"b": 2})
    session.add_all([first, second])
    session.flush()
    second.settings.put_file("file", bytes(1000), chunk_size=100)
    entry = Doc.settings.entity
    session.execute(sqlalchemy.update(entry).where(entry.owner_id == first.id).values(expires_at=1.0))
    table = Doc.settings.table
    broken = sqlalchemy.text(f"UPDATE {table.name} SET value = :bytes WHERE owner_id = :id")
    assert first.settings.check(fix=True) == []
    assert len(second.settings) == 2
    session.execute(broken, {"bytes": b"\xff", "id": second.id})
    assert {"b", "file"} <= {problem.where for problem in second.settings.check()}
    assert first.settings.check() == []
    second.settings.clear()
    assert len(second.settings) == 0
    assert first.settings.stats()["entries"] == 0


def test_handles_live_no_longer_than_their_objects(engine):
    Base.metadata.create_all(engine)
    session = Session(engine)
    doc = Doc(settings={"a": 1})
    session.add(doc)
    session.commit()
    settings = weakref.ref(doc.settings)
    of_session = weakref.ref(session)
    assert settings() is doc.settings
    session.expunge_all()
    del doc
    gc.collect()
    assert settings() is None
    session.close()
    del session
    gc.collect()
    assert of_session() is None


def test_statements_are_compiled_once_for_all_rows(session):
    docs = [Doc() for _ in range(3)]
    session.add_all(docs)
    session.flush()
    for doc in docs:
        doc.settings["a"] = 1
        assert list(doc.settings.items()) == [("a", 1)]
    texts = {id(doc.settings._sql.put.sql) for doc in docs}
    assert len(texts) == 1
    assert len({id(doc.settings._sql.get.sql) for doc in docs}) == 1


def test_writes_may_wait_and_are_written_with_the_commit(session):
    first, second = Doc(), Doc()
    session.add_all([first, second])
    session.flush()
    first.settings.enable_cache()
    first.settings["a"] = 1
    second.settings["b"] = 2
    assert dict(first.settings) == {"a": 1}
    first.settings["c"] = 3
    session.commit()
    with Session(session.get_bind()) as other:
        assert dict(other.get_one(Doc, first.id).settings) == {"a": 1, "c": 3}
        assert dict(other.get_one(Doc, second.id).settings) == {"b": 2}
    first.settings["lost"] = 1
    session.rollback()
    assert dict(first.settings) == {"a": 1, "c": 3}


# -- ways to declare -------------------------------------------------------------------------------


def stored(engine: Any, base: Any, make: Any) -> dict[Any, Any]:
    """Return what the dict of a new object has after a round trip."""
    base.metadata.create_all(engine)
    with Session(engine) as session:
        one = make()
        session.add(one)
        session.flush()
        one.settings["k"] = "v"
        session.commit()
        return dict(session.get_one(type(one), inspect(one).identity, populate_existing=True).settings)


def test_declarative_base_as_a_function(engine):
    Old: Any = declarative_base()

    class Row(Old):
        __tablename__ = "row_"
        id = mapped_column(sqlalchemy.Integer, primary_key=True)
        settings = vault_dict()

    assert stored(engine, Old, lambda: Row(settings={"a": 1})) == {"a": 1, "k": "v"}


def test_registry_decorator_and_imperative_mapping(engine):
    mapping = registry()

    @mapping.mapped
    class Row:
        __tablename__ = "row_"
        id: Mapped[int] = mapped_column(primary_key=True)
        settings: Mapped[KVault] = vault_dict()

    class Plain:
        settings = vault_dict(table="entries")

    table = sqlalchemy.Table("plain", mapping.metadata, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    mapping.map_imperatively(Plain, table)
    assert stored(engine, mapping, Row) == {"k": "v"}
    assert stored(engine, mapping, Plain) == {"k": "v"}
    assert "entries" in mapping.metadata.tables


def test_mixins_and_abstract_bases_give_each_class_a_table(engine):
    class Own(DeclarativeBase):
        pass

    class HasSettings:
        settings: Mapped[KVault] = vault_dict()

    class Abstract(Own):
        __abstract__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        notes: Mapped[KVault] = vault_dict()

    class One(HasSettings, Abstract):
        __tablename__ = "one"

    class Two(HasSettings, Abstract):
        __tablename__ = "two"

    assert stored(engine, Own, lambda: One(settings={"a": 1})) == {"a": 1, "k": "v"}
    assert stored(engine, Own, Two) == {"k": "v"}
    assert {"one_settings", "two_settings", "one_notes", "two_notes"} <= set(Own.metadata.tables)
    assert One.settings.table is not Two.settings.table


def test_inheritance(engine):
    class Own(DeclarativeBase):
        pass

    class Person(Own):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(default="person")
        settings: Mapped[KVault] = vault_dict()
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    class Engineer(Person):
        __tablename__ = "engineer"
        id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
        tools: Mapped[KVault] = vault_dict()
        __mapper_args__ = {"polymorphic_identity": "engineer"}  # noqa: RUF012

    class Manager(Person):
        budget: Mapped[KVault] = vault_dict()
        __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012

    assert stored(engine, Own, lambda: Person(settings={"a": 1})) == {"a": 1, "k": "v"}
    assert stored(engine, Own, lambda: Engineer(settings={"a": 1}, tools={"b": 2})) == {"a": 1, "k": "v"}
    assert stored(engine, Own, lambda: Manager(budget={"b": 2})) == {"k": "v"}
    assert Engineer.settings.table is Person.settings.table
    assert (Engineer.tools.table.name, Manager.budget.table.name) == ("engineer_tools", "person_budget")
    with Session(engine) as session:
        engineer, manager = session.scalars(select(Engineer)).one(), session.scalars(select(Manager)).one()
        assert (dict(engineer.tools), dict(manager.budget)) == ({"b": 2}, {"b": 2})
        session.delete(engineer)
        session.flush()
        assert session.scalar(select(func.count()).select_from(Engineer.tools.table)) == 0


def test_dataclasses_have_no_field_of_it(engine):
    class Own(MappedAsDataclass, DeclarativeBase):
        pass

    class Row(Own):
        __tablename__ = "row_"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        title: Mapped[str] = mapped_column(default="t")
        settings: Mapped[KVault] = vault_dict()
        more: Mapped[str] = mapped_column(default="m")

    with pytest.raises(TypeError, match="settings"):
        Row(settings={})
    row = Row("x")
    assert repr(row).endswith("Row(id=None, title='x', more='m')")
    assert row == Row("x")
    row.settings = {"a": 1}
    assert stored(engine, Own, lambda: row) == {"a": 1, "k": "v"}


@pytest.mark.parametrize("key", ["text", uuid.UUID(int=7), b"bytes", 2**40])
def test_owners_have_one_primary_key_of_any_type(engine, key):
    kinds = {str: String(), uuid.UUID: Uuid(), bytes: sqlalchemy.LargeBinary(20), int: sqlalchemy.BigInteger()}

    class Own(DeclarativeBase):
        pass

    class Row(Own):
        __tablename__ = "row_"
        code: Mapped[Any] = mapped_column("the key", kinds[type(key)], primary_key=True)
        settings: Mapped[KVault] = vault_dict()

    assert stored(engine, Own, lambda: Row(code=key, settings={"a": 1})) == {"a": 1, "k": "v"}
    with Session(engine) as session:
        session.execute(delete(Row))
        assert session.scalar(select(func.count()).select_from(Row.settings.table)) == 0


def test_a_composite_primary_key_is_refused_when_the_class_is_mapped():
    class Own(DeclarativeBase):
        pass

    with pytest.raises(InvalidArgument, match="one primary key column, and 'row_' has a, b"):

        class Row(Own):
            __tablename__ = "row_"
            a: Mapped[int] = mapped_column(primary_key=True)
            b: Mapped[int] = mapped_column(primary_key=True)
            settings: Mapped[KVault] = vault_dict()


def test_long_names_and_schemas(tmp_path, new_url):
    class Own(DeclarativeBase):
        pass

    class Row(Own):
        __tablename__ = "r" * 60
        id: Mapped[int] = mapped_column(primary_key=True)
        settings: Mapped[KVault] = vault_dict()

    engine = kohakuvault.create_engine(tmp_path / "a.db")
    assert len(Row.settings.table.name) <= 63
    assert stored(engine, Own, Row) == {"k": "v"}

    class Elsewhere(Own):
        __tablename__ = "row_"
        __table_args__ = {"schema": "apart"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        settings: Mapped[KVault] = vault_dict()

    server = kohakuvault.create_engine(new_url("postgresql"))
    with server.begin() as connection:
        connection.execute(text("CREATE SCHEMA apart"))
    try:
        assert stored(server, Own, lambda: Elsewhere(settings={"a": 1})) == {"a": 1, "k": "v"}
        with Session(server) as session:
            row = session.scalars(select(Elsewhere)).one()
            row.settings.put_file("file", bytes(1000), chunk_size=100)
            assert row.settings["file"] == bytes(1000)
            assert row.settings.check() == []
    finally:
        with server.begin() as connection:
            connection.execute(text("DROP SCHEMA apart CASCADE"))
        server.dispose()


def test_pickles_are_read_where_they_are_allowed(engine):
    class Own(DeclarativeBase):
        pass

    class Row(Own):
        __tablename__ = "row_"
        id: Mapped[int] = mapped_column(primary_key=True)
        settings: Mapped[KVault] = vault_dict(pickle=True)

    found = stored(engine, Own, lambda: Row(settings={"a": complex, "b": 1}))
    assert found["a"] is complex


def test_metadata_copies_drops_and_prints_the_triggers(engine):
    copied = MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(copied)
    (triggers,) = attached_to(copied.tables["doc_settings"], RowDictTriggers)
    copied.create_all(engine)
    count = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'doc_settings_%'"
    statements = create_statements(triggers, engine.dialect)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            assert connection.scalar(text(count)) == 3
            for sql in (*drop_statements(triggers, engine.dialect), *statements, *statements):
                connection.exec_driver_sql(sql)
            assert connection.scalar(text(count)) == 3
        else:
            assert statements == []
    copied.drop_all(engine)
    assert inspect(engine).get_table_names() == []


def test_a_killed_process_leaves_whole_dicts(tmp_path):
    engine = kohakuvault.create_engine(tmp_path / "a.db")
    Base.metadata.create_all(engine)
    script = f"""
        import itertools, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from sqlalchemy.orm import Session
        import kohakuvault
        from test_row_dicts import Doc
        engine = kohakuvault.create_engine({str(tmp_path / "a.db")!r})
        with Session(engine) as session:
            for number in itertools.count():
                doc = Doc(settings={{str(n): number for n in range(20)}})
                session.add(doc)
                session.flush()
                doc.settings = {{str(n): -number for n in range(10)}}
                session.commit()
                print(number, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Session(engine) as session:
        docs = session.scalars(select(Doc).order_by(Doc.id)).all()
        assert len(docs) > acknowledged
        for number, doc in enumerate(docs):
            assert dict(doc.settings) == {str(n): -number for n in range(10)}
    engine.dispose()
