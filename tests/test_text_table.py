"""TextTable: texts with a value each, as the user's own mapped class or one made for a name."""

from __future__ import annotations

import pytest
import sqlalchemy
from sqlalchemy import MetaData, String, Text, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kohakuvault import InvalidArgument, SchemaMismatch
from kohakuvault.binding import bind_to
from kohakuvault.orm import match, text_search
from kohakuvault.orm.tables import TextTable, text_class
from kohakuvault.orm.text_index import text_indexes_of
from kohakuvault.schema import VERSIONS, open_tables


class Base(DeclarativeBase):
    pass


class Note(TextTable, Base):
    __tablename__ = "note"


class Article(TextTable, Base):
    __tablename__ = "article"
    __text_columns__ = ("title", "body")
    __tokenize__ = "porter"
    __weights__ = (3.0, 1.0)
    title: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str | None]


class Pickled(TextTable, Base):
    __tablename__ = "pickled"
    __pickle__ = True


def test_the_columns_and_the_index():
    assert Note.__table__.c.keys() == ["id", "content", "value"]
    assert isinstance(Note.__table__.c.content.type, Text)
    assert not Note.__table__.c.content.nullable
    assert set(Article.__table__.c.keys()) == {"id", "title", "body", "owner", "value"}
    assert Article.__table__.c.title.type.length == 200
    (index,) = text_indexes_of(Article.__table__)
    assert repr(index) == "TextIndex('article_index', 'title', 'body', tokenize='porter', weights=(3.0, 1.0))"
    (copied,) = text_indexes_of(Article.__table__.to_metadata(MetaData()))
    assert repr(copied) == repr(index)


def test_texts_and_values_are_written_and_searched(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Article(title="Crabs", body="they run sideways", value={"legs": 10}, owner="alice"))
        session.add(Article(title="Ants", body="unlike crabs", value=None))
        session.add(Note(content="of crabs", value=(1, 2)))
        session.add(Pickled(content="of crabs", value=slice(1, 2)))
        session.commit()
        hit = text_search(Article, "crab", where=Article.id < 100)
        rows = session.execute(
            select(Article, hit.c.score).join(hit, hit.c.id == Article.id).order_by(hit.c.score.desc())
        ).all()
        assert [article.title for article, _ in rows] == ["Crabs", "Ants"]
        assert rows[0].Article.value == {"legs": 10}
        assert session.scalars(select(Article.owner).where(match(Article.body, "running"))).all() == ["alice"]
        assert session.scalars(select(Note.value).where(match(Note, "crabs"))).all() == [(1, 2)]
        assert session.scalars(select(Pickled.value).where(match(Pickled.content, "crabs"))).all() == [slice(1, 2)]
        assert repr(session.get(Note, 1)) == "<Note 1>"
    Base.metadata.drop_all(engine)
    assert sqlalchemy.inspect(engine).get_table_names() == []


def test_a_class_by_name_is_one_class(engine):
    entity = text_class("notes", ("title", "body"), tokenize="porter", weights=(2, 1), pickle=True)
    assert entity is text_class("notes", ["title", "body"], tokenize="porter", weights=[2, 1], pickle=True)
    assert entity is not text_class("notes", ("title", "body"))
    assert text_class("notes").__table__.c.keys() == ["id", "content", "value"]
    for columns in [(), ("id",), ("value", "body")]:
        with pytest.raises(InvalidArgument, match="columns of text cannot be"):
            text_class("notes", columns)
    entity.__table__.create(engine)
    with Session(engine) as session:
        session.execute(insert(entity), [{"title": f"t{n}", "body": "words", "value": n} for n in range(5)])
        assert session.scalars(select(entity.value).where(match(entity, "t3 word"))).all() == [3]


def test_the_table_has_a_record_of_its_kind(engine):
    entity = text_class("notes", ("title", "body"))
    options = {"columns": ["title", "body"], "tokenize": "unicode61"}
    open_tables(bind_to(engine), [entity.__table__], "text", options, create=True)
    assert VERSIONS["text"] == 1
    other = text_class("notes", ("title", "body"), tokenize="porter")
    with pytest.raises(SchemaMismatch, match="was made with tokenize='unicode61', not 'porter'"):
        open_tables(bind_to(engine), [other.__table__], "text", {**options, "tokenize": "porter"}, create=True)
    with engine.connect() as connection:
        assert text_indexes_of(entity.__table__)[0].exists(connection)
