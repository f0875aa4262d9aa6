"""The vault's tables as classes of the application's own Base: the same rows by the ORM and by the containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint, event, func, inspect, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    joinedload,
    mapped_column,
    registry,
    relationship,
    selectinload,
)

import kohakuvault
from kohakuvault import Column, ColumnVault, InvalidArgument, KVault, UnsupportedType, VectorKVault
from kohakuvault.orm import vault_dict, vault_list
from kohakuvault.orm.tables import ColumnRecord, KVTable, TableRecord, VectorTable


class Base(DeclarativeBase):
    pass


class Settings(KVTable, Base):
    __tablename__ = "settings"
    owner: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"), sort_order=2)
    person: Mapped[Person | None] = relationship(back_populates="settings", foreign_keys=owner)


class Face(VectorTable, Base):
    __tablename__ = "face"
    __dimensions__ = 4
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), sort_order=2)
    person: Mapped[Person | None] = relationship(back_populates="faces")


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    settings: Mapped[list[Settings]] = relationship(back_populates="person", foreign_keys=Settings.owner)
    faces: Mapped[list[Face]] = relationship(back_populates="person", passive_deletes="all")
    # The other direction: to an entry, by its key's row.
    theme_id: Mapped[int | None] = mapped_column(BigInteger(), ForeignKey("settings.id", use_alter=True))
    theme: Mapped[Settings | None] = relationship(foreign_keys=theme_id, post_update=True)


def test_a_mapped_class_and_a_kvault_see_the_same_rows(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        kv = KVault(session, Settings)
        kv["theme"] = {"dark": True}
        session.add(Settings(key=5, value=[1, (2,)]))
        assert kv[5] == [1, (2,)]
        entry = session.scalars(select(Settings).where(Settings.key == "theme")).one()
        assert session.get(Settings, entry.id) is entry
        entry.value = {"dark": False}
        assert kv["theme"] == {"dark": False}
        kv["theme"] = 1
        session.refresh(entry)
        assert entry.value == 1
        session.delete(entry)
        assert "theme" not in kv
        session.commit()
    assert KVault(engine, Settings).copy() == {5: [1, (2,)]}
    assert KVault(engine, "settings").check() == []
    assert repr(Settings(key="k")) == "<Settings 'k'>"


def test_a_mapped_class_and_a_vector_vault_see_the_same_rows(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        vault = VectorKVault(session, Face)
        person = Person(name="Ann", faces=[Face(vector=np.ones(4, np.float32), value="a face")])
        session.add(person)
        ((found, _, value),) = vault.search(np.ones(4, np.float32), 1)
        assert (found, value) == (person.faces[0].id, "a face")
        other = vault.insert(np.zeros(4, np.float32) + 2, "another", {"person_id": person.id})
        session.expire(person)
        assert [face.value for face in person.faces] == ["a face", "another"]
        assert session.get(Face, other).person is person
        session.delete(person)
        session.flush()
        assert len(vault) == 0


def test_relationships_and_foreign_keys_to_a_dict_work_both_ways(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        kv = KVault(session, Settings)
        person = Person(name="Ann")
        person.settings = [Settings(key="a", value=1), Settings(key="b", value=2)]
        person.theme = person.settings[0]
        session.add(person)
        session.commit()
        assert kv.copy() == {"a": 1, "b": 2}
        for option in (selectinload(Person.settings), joinedload(Person.settings)):
            (loaded,) = session.scalars(select(Person).options(option)).unique().all()
            assert [entry.key for entry in loaded.settings] == ["a", "b"]
        assert person.theme.key == "a"
        by_key = select(Person.name, Settings.value).join(Settings.person).where(Settings.key == "b")
        assert session.execute(by_key).all() == [("Ann", 2)]
        # What KVault replaces stays the person's; what is deleted is gone.
        kv["b"] = 3
        session.expire_all()
        assert {entry.key: entry.value for entry in person.settings} == {"a": 1, "b": 3}
        del kv["b"]
        session.expire_all()
        assert [entry.key for entry in person.settings] == ["a"]
        person.theme = None
        session.delete(person)
        session.commit()
        assert session.scalars(select(Settings.owner)).all() == [None]


def test_a_column_is_referred_to_and_related_from_an_applications_own_base(engine):
    class Own(DeclarativeBase):
        pass

    class Sensor(Own):
        __tablename__ = "sensor"
        id: Mapped[int] = mapped_column(primary_key=True)
        column_id: Mapped[int | None] = mapped_column(ForeignKey(ColumnRecord.id, ondelete="SET NULL"))
        column: Mapped[ColumnRecord | None] = relationship(ColumnRecord)

    vault = ColumnVault(engine)
    vault.create_column("temperature", "f64").extend([1.0, 2.0])
    Own.metadata.create_all(engine)
    with Session(engine) as session:
        record = session.scalars(select(ColumnRecord).where(ColumnRecord.name == "temperature")).one()
        sensor = Sensor(column=record)
        session.add(sensor)
        session.commit()
        assert (sensor.column.name, sensor.column.length) == ("temperature", 2)
        assert "tail" in inspect(sensor.column).unloaded
        ColumnVault(session)[sensor.column.name].append(3.0)
        session.expire_all()
        lengths = select(Sensor.id, ColumnRecord.length).join(Sensor.column)
        assert session.execute(lengths).all() == [(sensor.id, 3)]
        (loaded,) = session.scalars(select(Sensor).options(joinedload(Sensor.column))).all()
        assert repr(loaded.column) == "<ColumnRecord 'temperature' f64 length=3>"
        (foreign,) = inspect(session.connection()).get_foreign_keys("sensor")
        assert foreign["referred_table"] == "vault_column"
        ColumnVault(session).delete_column("temperature")
        session.expire_all()
        assert sensor.column_id is None
        session.commit()


def test_an_entry_of_a_rows_dict_can_be_related(engine):
    class Own(DeclarativeBase):
        pass

    class Doc(Own):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        settings: Mapped[KVault] = vault_dict()
        readings: Mapped[Column[int]] = vault_list("i64")

    entry = Doc.settings.entity
    Doc.entries = relationship(entry, primaryjoin=Doc.id == entry.owner_id, viewonly=True, order_by=entry.id)
    Own.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(settings={"a": 1, "b": 2}), Doc(settings={"c": 3})])
        session.commit()
        docs = session.scalars(select(Doc).options(selectinload(Doc.entries)).order_by(Doc.id)).all()
        assert [[(each.key, each.value) for each in doc.entries] for doc in docs] == [[("a", 1), ("b", 2)], [("c", 3)]]


def test_a_dict_of_the_applications_own_columns(engine):
    class Own(DeclarativeBase):
        pass

    class Cache(KVTable, Own):
        __tablename__ = "cache_entries"
        __table_args__ = (UniqueConstraint("key", "kind"),)
        kind: Mapped[str] = mapped_column(default="page", server_default="page", sort_order=2)
        hits: Mapped[int] = mapped_column(default=0, server_default="0", onupdate=7, sort_order=2)

    Own.metadata.create_all(engine)
    with Session(engine) as session:
        kv = KVault(session, Cache)
        kv["a"] = 1
        kv.put_many([("b", 2), ("c", 3)])
        assert session.execute(select(Cache.key, Cache.kind, Cache.hits).order_by(Cache.id)).all() == [
            *(("a", "page", 0), ("b", "page", 0), ("c", "page", 0))
        ]
        assert kv.check() == []


def test_other_ways_to_declare(engine):
    mapping = registry()

    @mapping.mapped
    class Plain(KVTable):
        __tablename__ = "plain"

    class Own(DeclarativeBase):
        pass

    class Abstract(KVTable, Own):
        __abstract__ = True

        @property
        def shown(self) -> str:
            return f"{self.key}={self.value}"

    class Concrete(Abstract):
        __tablename__ = "concrete"

    for entity, metadata in ((Plain, mapping.metadata), (Concrete, Own.metadata)):
        metadata.create_all(engine)
        with Session(engine) as session:
            KVault(session, entity)["a"] = 1
            session.commit()
            (one,) = session.scalars(select(entity)).all()
            assert (one.key, one.value) == ("a", 1)
    assert one.shown == "a=1"


def test_what_is_no_mapped_class_of_the_kind_is_refused(engine):
    for wrong in (KVTable, Person, Face, 5):
        with pytest.raises(UnsupportedType, match="a class mapped from KVTable"):
            KVault(engine, wrong)
    with pytest.raises(UnsupportedType, match="a class mapped from VectorTable"):
        VectorKVault(engine, Settings)
    with pytest.raises(InvalidArgument, match="__pickle__"):
        KVault(engine, Settings, pickle=True)


def test_dicts_of_a_schema_of_its_own(new_url):
    class Own(DeclarativeBase):
        pass

    class Apart(KVTable, Own):
        __tablename__ = "settings"
        __table_args__ = {"schema": "apart_tables"}  # noqa: RUF012

    class Here(KVTable, Own):
        __tablename__ = "settings"

    engine = kohakuvault.create_engine(new_url("postgresql"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA apart_tables")
    try:
        with Session(engine) as session:
            apart, here = KVault(session, Apart), KVault(session, Here)
            apart["a"], here["a"] = 1, 2
            apart.put_file("file", bytes(1000), chunk_size=100)
            session.commit()
            assert (apart["a"], here.copy()) == (1, {"a": 2})
            assert (apart.check(), here.check()) == ([], [])
            names = session.scalars(select(TableRecord.name)).all()
            assert {"apart_tables.settings", "settings"} <= set(names)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA apart_tables CASCADE")
        engine.dispose()


def test_statements_by_the_orm_are_cached(engine):
    Base.metadata.create_all(engine)
    kinds: list[Any] = []

    @event.listens_for(engine, "before_cursor_execute")
    def seen(connection: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        if context.compiled is not None:
            kinds.append(context.cache_hit.name)

    with Session(engine) as session:
        for number in range(3):
            session.add(Settings(key=number, value=number))
            session.flush()
            session.execute(select(Settings).where(Settings.key == number, Settings.value == number)).all()
        session.execute(select(func.count()).select_from(Settings))
    assert "CACHING_DISABLED" not in kinds
    assert kinds[2:6] == ["CACHE_HIT"] * 4
