"""``vault_list``: the list of each row, in the row's Session and with the row's life."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import ForeignKey, MetaData, delete, event, func, inspect, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    aliased,
    joinedload,
    mapped_column,
    selectinload,
    undefer,
)

import kohakuvault
from column_model import check_storage
from kohakuvault import (
    Column,
    ColumnVault,
    InvalidArgument,
    KVault,
    NotFound,
    OutOfRange,
    SchemaMismatch,
    UnsupportedType,
)
from kohakuvault.orm import VaultList, vault_dict, vault_list
from kohakuvault.orm.attached import attached_to
from kohakuvault.orm.row_containers import create_statements, drop_statements
from kohakuvault.orm.tables import Block, ColumnRecord, Payload


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="untitled", onupdate="touched")
    readings: Mapped[Column[float]] = vault_list("f64", block_bytes=80)


@pytest.fixture
def session(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def stored(session: Session) -> tuple[int, int, int]:
    """How many columns, blocks and payloads there are."""
    counts = (session.scalar(select(func.count()).select_from(kind)) for kind in (ColumnRecord, Block, Payload))
    return tuple(counts)  # type: ignore[return-value]


NOTHING = (0, 0, 0)


def test_a_row_has_a_list_of_its_own(session):
    first, second = Doc(), Doc()
    session.add_all([first, second])
    first.readings.extend(range(25))
    second.readings.append(1.5)
    assert isinstance(first.readings, Column)
    assert first.readings is first.readings
    assert first.readings[-3:] == [22.0, 23.0, 24.0]
    assert np.asarray(second.readings).tolist() == [1.5]
    first.readings += [100.0]
    first.readings[0] = -1.0
    assert first.readings.sum() == 24 * 25 / 2 - 1 + 100
    check_storage(first.readings)
    session.commit()
    with Session(session.get_bind()) as other:
        assert len(other.get_one(Doc, first.id).readings) == 26
    assert repr(second.readings) == f"<Column 'doc.readings of {second.id}' f64, 1 elements: [1.5]>"


def test_a_list_is_made_by_the_first_write_only(session):
    doc = Doc()
    session.add(doc)
    readings = doc.readings
    assert (len(readings), readings[:], list(readings), bool(readings), 1.0 in readings) == (0, [], [], False, False)
    assert (list(reversed(readings)), readings[::-2], readings.to_numpy().tolist()) == ([], [], [])
    assert (readings.sum(), readings.check(), readings.storage_info()["elements"]) == (0.0, [], 0)
    assert readings.storage_info()["block_bytes"] == 80
    assert readings == []
    with pytest.raises(OutOfRange):
        readings[0]
    with pytest.raises(InvalidArgument):
        readings.min()
    for fails in (lambda: readings.pop(), lambda: readings.__setitem__(0, 1.0), lambda: readings.append("x")):
        with pytest.raises((OutOfRange, UnsupportedType)):
            fails()
    readings.extend([])
    assert stored(session) == NOTHING
    assert session.scalar(select(Doc.readings.column)) is None
    readings.insert(3, 2.0)
    assert readings[:] == [2.0]
    assert stored(session) == (1, 0, 0)
    # Making it is no change of the application's.
    assert session.scalar(select(Doc.title)) == "untitled"


def test_what_is_assigned_to_a_new_object_is_stored_with_it(session):
    array = np.arange(50.0)
    doc, other = Doc(readings=array), Doc()
    other.readings = (number for number in (1.0, 2.0))
    array[:] = 0
    session.add_all([doc, other])
    session.commit()
    assert doc.readings[:] == np.arange(50.0).tolist()
    assert other.readings[:] == [1.0, 2.0]
    doc.readings = [3.0]
    assert doc.readings[:] == [3.0]
    session.rollback()
    assert len(doc.readings) == 50
    doc.readings = other.readings
    assert doc.readings[:] == other.readings[:] == [1.0, 2.0]
    del doc.readings
    assert (doc.readings[:], other.readings[:]) == ([], [1.0, 2.0])
    for wrong in (None, 5, "text", b"bytes"):
        with pytest.raises(UnsupportedType, match="takes many values"):
            doc.readings = wrong


def test_a_rolled_back_object_can_be_added_again(session):
    doc = Doc(readings=[1.0])
    session.add(doc)
    session.flush()
    doc.readings = [2.0, 3.0]
    session.rollback()
    assert stored(session) == NOTHING
    session.add(doc)
    session.commit()
    assert doc.readings[:] == [2.0, 3.0]


def test_a_rollback_undoes_exactly_what_was_written(session):
    doc = Doc(readings=[1.0])
    new = Doc()
    session.add_all([doc, new])
    session.commit()
    kept, made = doc.readings, new.readings
    kept.append(2.0)
    made.append(5.0)
    with pytest.raises(RuntimeError), session.begin_nested():
        kept.extend(range(30))
        made.append(6.0)
        raise RuntimeError
    assert (kept[:], made[:]) == ([1.0, 2.0], [5.0])
    session.rollback()
    assert (kept[:], made[:]) == ([1.0], [])
    assert stored(session)[0] == 1
    made.append(7.0)
    session.commit()
    assert (kept[:], made[:]) == (doc.readings[:], new.readings[:]) == ([1.0], [7.0])


def test_a_list_that_was_made_in_a_savepoint_is_gone_with_it(session):
    doc = Doc()
    session.add(doc)
    session.commit()
    readings = doc.readings
    savepoint = session.begin_nested()
    readings.extend(range(30))
    savepoint.rollback()
    # Its id may be another's now.
    ColumnVault(session).create_column("other", "f64").append(1.0)
    assert readings[:] == []
    readings.append(3.0)
    assert (readings[:], ColumnVault(session)["other"][:]) == ([3.0], [1.0])


def test_lists_go_with_their_row_however_that_is_deleted(session):
    docs = [Doc(id=number, readings=range(25)) for number in range(1, 8)]
    session.add_all(docs)
    vault = ColumnVault(session)
    vault.create_column("named", "f64", block_bytes=80).extend(range(25))
    session.commit()
    assert stored(session) == (8, 16, 16)
    readings = docs[0].readings
    session.delete(docs[0])
    session.flush()
    assert stored(session) == (7, 14, 14)
    with pytest.raises(InvalidArgument, match="has been deleted"):
        docs[0].readings
    with pytest.raises(NotFound, match="deleted"):
        readings.append(1.0)
    with pytest.raises(NotFound, match="deleted"):
        len(readings)
    session.execute(delete(Doc).where(Doc.id == 2))
    session.execute(text("DELETE FROM doc WHERE id = 3"))
    session.execute(text("UPDATE doc SET readings = NULL WHERE id = 4"))
    assert stored(session) == (4, 8, 8)
    session.commit()
    assert docs[3].readings[:] == []
    # A number that is not of a list of rows deletes nothing.
    named = session.scalar(select(ColumnRecord.id).where(ColumnRecord.name == "named"))
    session.execute(text("UPDATE doc SET readings = :id WHERE id = 4"), {"id": named})
    session.execute(text("DELETE FROM doc"))
    assert stored(session) == (1, 2, 2)
    assert vault["named"][:] == [float(number) for number in range(25)]
    assert vault.check() == []


def test_truncate_deletes_the_lists_too(new_url):
    engine = kohakuvault.create_engine(new_url("postgresql"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(readings=range(25)), Doc()])
        session.flush()
        session.execute(text("TRUNCATE doc"))
        assert stored(session) == NOTHING
    engine.dispose()


def test_a_writer_without_foreign_keys_leaves_nothing_behind(tmp_path):
    engine = kohakuvault.create_engine(tmp_path / "a.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(id=number, readings=range(25)) for number in (1, 2, 3)])
        session.commit()
    engine.dispose()
    bare = sqlite3.connect(tmp_path / "a.db")
    bare.execute("DELETE FROM doc WHERE id = 1")
    bare.execute("UPDATE doc SET readings = NULL WHERE id = 2")
    bare.commit()
    bare.close()
    with Session(engine) as session:
        assert stored(session) == (1, 2, 2)
        assert len(session.get_one(Doc, 3).readings) == 25
    engine.dispose()


@pytest.mark.parametrize("recursive", [True, False])
def test_replace_into_runs_triggers_only_where_they_are_recursive(tmp_path, recursive):
    engine = kohakuvault.create_engine(tmp_path / "a.db", pragmas={"recursive_triggers": recursive})
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(id=1, readings=range(25)), Doc(id=2, readings=[1.0])])
        session.commit()
        session.execute(text("REPLACE INTO doc (id, title) VALUES (1, 'new')"))
        session.commit()
        session.expire_all()
        doc = session.get_one(Doc, 1)
        # A new row: it owns nothing. What the old one had takes space, but nobody gets to see it.
        assert doc.readings[:] == []
        doc.readings.append(2.0)
        session.commit()
        assert stored(session) == ((2, 0, 0) if recursive else (3, 2, 2))
        assert (doc.readings[:], session.get_one(Doc, 2).readings[:]) == ([2.0], [1.0])
    assert ColumnVault(engine).check() == []
    engine.dispose()


def test_a_columnvault_names_no_list_of_a_row_and_looks_after_all(session):
    doc = Doc(readings=range(25))
    session.add(doc)
    session.flush()
    vault = ColumnVault(session)
    vault.create_column("named", "f64")
    assert (list(vault), len(vault), vault.list_columns()) == (["named"], 1, [("named", "f64", 0)])
    assert (vault.stats()["columns"], vault.stats()["elements"]) == (2, 25)
    assert (vault.storage_info()["columns"], vault.storage_info()["elements"]) == (2, 25)
    assert vault.check() == []
    session.execute(sqlalchemy.update(ColumnRecord).where(ColumnRecord.name.is_(None)).values(sealed=1))
    (problem, *_) = vault.check()
    assert (problem.of, type(problem.where)) == ("column", int)


def test_vacuum_makes_lists_of_rows_compact(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        doc = Doc(readings=range(200))
        session.add(doc)
        session.flush()
        for _ in range(70):
            del doc.readings[1::2]
            doc.readings.extend(range(70))
        session.commit()
        model = doc.readings[:]
    vault = ColumnVault(engine)
    vault.vacuum()
    assert vault.check() == []
    with Session(engine) as session:
        assert session.scalars(select(Doc)).one().readings[:] == model


@pytest.mark.parametrize("threads", [4])
def test_two_sessions_make_one_list(engine, threads):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Doc(id=1))
        session.commit()
    barrier = threading.Barrier(threads)

    def work(number: int) -> None:
        with Session(engine) as session:
            barrier.wait()
            doc = session.get_one(Doc, 1)
            if engine.dialect.name == "sqlite":
                # Otherwise the Session would have read before it waits for the write lock.
                session.commit()
            doc.readings.append(float(number))
            session.commit()

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(work, range(threads))) == [None] * threads
    with Session(engine) as session:
        assert sorted(session.get_one(Doc, 1).readings) == [0.0, 1.0, 2.0, 3.0]
        assert stored(session) == (1, 0, 0)


def test_a_handle_learns_of_a_list_that_another_made(engine, session):
    session.add(Doc(id=1))
    session.commit()
    readings = session.get_one(Doc, 1).readings
    assert readings[:] == []
    session.commit()
    with Session(engine) as other:
        other.get_one(Doc, 1).readings.append(4.0)
        other.commit()
    assert readings[:] == [4.0]
    readings.append(5.0)
    session.commit()
    assert stored(session) == (1, 0, 0)


def test_elements_may_wait(session):
    doc = Doc()
    session.add(doc)
    with doc.readings.cache():
        for number in range(30):
            doc.readings.append(float(number))
        assert len(doc.readings) == 30
    session.commit()
    with ColumnVault(session).cache():
        doc.readings.append(30.0)
    assert len(doc.readings) == 31
    doc.readings.enable_cache()
    doc.readings.append(31.0)
    session.commit()
    with Session(session.get_bind()) as other:
        assert len(other.get_one(Doc, doc.id).readings) == 32
    doc.readings.append(-1.0)
    session.rollback()
    assert len(doc.readings) == 32


def test_loading_rows_reads_no_list(engine, session):
    session.add_all([Doc(readings=range(50)) for _ in range(5)])
    session.commit()
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, cu, sql, *rest: seen.append(sql))
    session.expire_all()
    docs = session.scalars(select(Doc)).all()
    docs[0].title = "changed"
    session.commit()
    session.refresh(docs[0])
    session.get_one(Doc, docs[0].id, populate_existing=True)
    assert seen
    assert not [sql for sql in seen if "vault_" in sql or "readings" in sql]


def test_the_length_is_an_expression(session):
    session.add_all([Doc(title=f"t{n}", readings=range(n * 10)) for n in range(4)])
    length = Doc.readings.length
    found = select(Doc.title, length).where(length >= 10).order_by(length.desc())
    assert session.execute(found).all() == [("t3", 30), ("t2", 20), ("t1", 10)]
    other = aliased(Doc)
    both = select(Doc.title, other.title).join(other, other.readings.length == Doc.readings.length + 10)
    assert session.execute(both.order_by(Doc.title)).all() == [("t0", "t1"), ("t1", "t2"), ("t2", "t3")]


def test_what_would_load_lists_with_rows_says_what_to_do_instead():
    attempts = [
        lambda: selectinload(Doc.readings),
        lambda: select(Doc).options(joinedload(Doc.readings)),
        lambda: undefer(Doc.readings),
        lambda: select(Doc.readings),
        lambda: select(Doc).where(Doc.readings > 5),
        lambda: select(Doc).order_by(Doc.readings),
        lambda: sqlalchemy.insert(Doc).values({Doc.readings: [1.0]}),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidArgument, match=r"Doc\.readings is a container of each row.*\.length"):
            attempt()


def test_transient_and_detached_objects_say_what_to_do(session):
    doc = Doc()
    with pytest.raises(InvalidArgument, match=r"transient.*session\.add"):
        doc.readings
    session.add(doc)
    session.commit()
    session.expunge(doc)
    with pytest.raises(InvalidArgument, match=r"detached.*session\.merge"):
        doc.readings


def test_a_reference_to_nothing_and_another_dtype_are_told(session):
    doc, other = Doc(), Doc(readings=[1.0])
    session.add_all([doc, other])
    session.commit()
    session.execute(text("UPDATE doc SET readings = 77 WHERE id = :id"), {"id": doc.id})
    for use in (lambda: len(doc.readings), lambda: doc.readings.append(1.0)):
        with pytest.raises(kohakuvault.CorruptValue, match="id 77, which there is not"):
            use()
    session.execute(sqlalchemy.update(ColumnRecord).values(dtype="i64"))
    with pytest.raises(SchemaMismatch, match="was made with dtype 'i64', and is declared as 'f64'"):
        len(session.get_one(Doc, other.id, populate_existing=True).readings)


def test_wrong_options_are_refused_where_they_are_declared():
    with pytest.raises(InvalidArgument, match="dtype"):
        vault_list("i63")
    with pytest.raises(InvalidArgument, match="block_bytes"):
        vault_list("i64", block_bytes=1)


# -- ways to declare -------------------------------------------------------------------------------


def test_mixins_inheritance_composite_keys_and_dataclasses(engine):
    class Own(DeclarativeBase):
        pass

    class HasNotes:
        notes: Mapped[Column[str]] = vault_list("str")

    class Person(HasNotes, Own):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(default="person")
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    class Engineer(Person):
        __tablename__ = "engineer"
        id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
        hours: Mapped[Column[float]] = vault_list("f64")
        __mapper_args__ = {"polymorphic_identity": "engineer"}  # noqa: RUF012

    class Manager(Person):
        costs: Mapped[Column[int]] = vault_list("i64")
        __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012

    class Cell(HasNotes, Own):
        __tablename__ = "cell"
        x: Mapped[int] = mapped_column(primary_key=True)
        y: Mapped[int] = mapped_column(primary_key=True)

    class Point(MappedAsDataclass, Own):
        __tablename__ = "point"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        path: Mapped[Column[Any]] = vault_list("vec:f32:2")
        title: Mapped[str] = mapped_column(default="t")

    assert list(Own.metadata.tables["person"].c.keys()) == ["id", "kind", "notes", "costs"]
    Own.metadata.create_all(engine)
    assert Point("x") == Point("x")
    assert repr(Point("x")).endswith("Point(id=None, title='x')")
    with Session(engine) as session:
        engineer = Engineer(notes=["a"], hours=[1.5])
        manager = Manager(notes=["b"], costs=[5])
        cell, beside, point = Cell(x=1, y=2, notes=["c"]), Cell(x=2, y=1), Point("p")
        point.path = np.ones((3, 2), np.float32)
        session.add_all([engineer, manager, cell, beside, point])
        session.commit()
        beside.notes.append("d")
        session.commit()
        people = session.scalars(select(Person).order_by(Person.id)).all()
        assert [person.notes[:] for person in people] == [["a"], ["b"]]
        assert (engineer.hours[:], manager.costs[:], cell.notes[:], beside.notes[:]) == ([1.5], [5], ["c"], ["d"])
        assert point.path[:].shape == (3, 2)
        assert session.execute(select(Engineer.id, Engineer.notes.length)).all() == [(engineer.id, 1)]
        assert session.scalars(select(aliased(Engineer).hours.length)).all() == [1]
        session.delete(engineer)
        session.flush()
        assert stored(session)[0] == 5
        session.rollback()
        session.execute(delete(Person.__table__).where(Person.__table__.c.id == manager.id))
        assert stored(session)[0] == 5


def test_a_mapped_column_of_that_name_is_refused():
    class Own(DeclarativeBase):
        pass

    table = sqlalchemy.Table(
        "row_",
        Own.metadata,
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("readings", sqlalchemy.BigInteger),
    )

    class Row(Own):
        __table__ = table
        readings = vault_list("f64")

    # A table that was declared with it, or reflected, is taken as it is.
    assert Row.readings.column is table.c.readings
    assert "readings" not in inspect(Row).attrs

    with pytest.raises(InvalidArgument, match="is mapped as an attribute"):

        class Other(Own):
            __tablename__ = "other"
            id: Mapped[int] = mapped_column(primary_key=True)
            reference: Mapped[int] = mapped_column("readings")
            readings = vault_list("f64")


def test_metadata_copies_drops_and_prints_the_triggers(engine):
    copied = MetaData()
    Base.metadata.tables["doc"].to_metadata(copied)
    (triggers,) = attached_to(copied.tables["doc"], VaultList)
    copied.create_all(engine)
    with engine.begin() as connection:
        for sql in create_statements(triggers, engine.dialect):
            connection.exec_driver_sql(sql)
    with Session(engine) as session:
        session.add(Doc(readings=range(25)))
        session.flush()
        session.execute(text("DELETE FROM doc"))
        assert stored(session) == NOTHING
        session.add(Doc(readings=range(25)))
        session.commit()
    copied.drop_all(engine)
    with Session(engine) as session:
        assert stored(session) == NOTHING
    copied.create_all(engine)
    with Session(engine) as session:
        session.add(Doc(readings=range(25)))
        session.commit()
        for sql in drop_statements(triggers, engine.dialect):
            session.connection().exec_driver_sql(sql)
        assert stored(session) == NOTHING


def test_lost_triggers_are_made_anew_before_a_list_is(session):
    if session.get_bind().dialect.name == "sqlite":
        # As a table that a migration has copied.
        session.execute(text("DROP TRIGGER doc_readings_delete"))
    else:
        session.execute(text("DROP TRIGGER doc_readings_delete ON doc"))
    session.commit()
    session.add(Doc(readings=range(25)))
    session.commit()
    session.execute(delete(Doc))
    assert stored(session) == NOTHING


def test_a_killed_process_leaves_whole_lists(tmp_path):
    engine = kohakuvault.create_engine(tmp_path / "a.db")
    Base.metadata.create_all(engine)
    script = f"""
        import itertools, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from sqlalchemy.orm import Session
        import kohakuvault
        from test_row_lists import Doc
        engine = kohakuvault.create_engine({str(tmp_path / "a.db")!r})
        with Session(engine) as session:
            for number in itertools.count():
                doc = Doc(readings=[number] * 30)
                session.add(doc)
                session.flush()
                doc.readings.extend([number] * 30)
                session.commit()
                session.delete(doc)
                session.add(Doc(readings=[number] * 30))
                session.commit()
                print(number, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert ColumnVault(engine).check() == []
    with Session(engine) as session:
        docs = session.scalars(select(Doc).order_by(Doc.id)).all()
        assert len(docs) > acknowledged
        assert stored(session)[0] == len(docs)
        assert {len(doc.readings) for doc in docs} <= {30, 60}
    engine.dispose()


def test_names_may_have_any_character(engine):
    class Odd(DeclarativeBase):
        pass

    class Row(Odd):
        __tablename__ = "do\"c %x'y (z)"
        id: Mapped[int] = mapped_column("i d%", primary_key=True)
        readings: Mapped[Column[float]] = vault_list("f64")
        settings: Mapped[KVault] = vault_dict()

    Odd.metadata.create_all(engine)
    with Session(engine) as session:
        row = Row(readings=[1.0, 2.0], settings={"a": 1})
        session.add(row)
        session.commit()
        assert row.readings[:] == [1.0, 2.0]
        session.execute(delete(Row))
        session.commit()
        assert ColumnVault(session).stats()["elements"] == 0
        assert session.scalar(select(func.count()).select_from(Row.settings.table)) == 0
    Odd.metadata.drop_all(engine)


def test_rows_that_refer_to_a_row_do_not_keep_others_from_making_its_list(new_url):
    """Two transactions that each insert such a row and then add to the list would wait for each other otherwise."""

    class Models(DeclarativeBase):
        pass

    class Parent(Models):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)
        numbers: Mapped[list[int]] = vault_list("i64")

    class Child(Models):
        __tablename__ = "child"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[int] = mapped_column(ForeignKey("parent.id"))

    engine = kohakuvault.create_engine(new_url("postgresql"))
    Models.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Parent(id=1))
        session.commit()
    with Session(engine) as one, Session(engine) as other:
        for session in (one, other):
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            session.add(Child(parent_id=1))
            session.flush()
        one.get(Parent, 1).numbers.append(1)
        one.commit()
        other.get(Parent, 1).numbers.append(2)
        other.commit()
        assert list(one.get(Parent, 1).numbers) == [1, 2]
    engine.dispose()
