"""Text indexes: made and dropped with their tables, and whoever writes to these."""

from __future__ import annotations

import pickle
import sqlite3

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import (
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from kohakuvault import InvalidArgument, KVault, SchemaMismatch, UnsupportedType, create_engine
from kohakuvault.errors import UnknownOption
from kohakuvault.indexing.text.ddl import create_statements, drop_statements
from kohakuvault.orm import TextIndex, Vector, VectorIndex, match, text_search, vault_list
from kohakuvault.orm.text_index import satellites_of, text_indexes_of


def doc_table(*arguments, **options):
    """A table with an index of title and body."""
    return Table(
        "doc",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("title", Text),
        Column("body", Text),
        Column("slug", String(50), unique=True),
        *arguments,
        TextIndex("doc_text", "title", "body", **options),
    )


def the_index(table):
    (index,) = text_indexes_of(table)
    return index


def ids(connection, table, query, **options):
    """The ids of the rows that match, of which the index agrees with the table."""
    key = table.c.id
    return list(connection.scalars(select(key).where(match(table, query, **options)).order_by(key)))


def assert_in_step(connection, table):
    assert the_index(table).check(connection) == []


# -- tables and indexes --------------------------------------------------------------------------------


def test_an_index_is_made_and_dropped_with_its_table(engine):
    table = doc_table(tokenize="porter", weights=(5, 1), prefix=(2, 3))
    for _ in range(2):
        table.metadata.create_all(engine)
        table.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(
                insert(table), [{"title": "Ferris", "body": "the crab runs"}, {"title": "x", "body": "crabs"}]
            )
            assert ids(connection, table, "crab") == [1, 2]
            assert the_index(table).exists(connection)
            assert_in_step(connection, table)
        table.metadata.drop_all(engine)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:
                assert connection.execute(text("SELECT name FROM sqlite_master")).all() == []


def test_an_index_is_made_and_dropped_on_a_table_with_rows(engine):
    table = doc_table()
    bare = Table(
        "doc", MetaData(), *(Column(column.name, column.type, primary_key=column.primary_key) for column in table.c)
    )
    bare.create(engine)
    index = the_index(table)
    with engine.begin() as connection:
        connection.execute(insert(bare), [{"title": f"number {n}", "body": f"text{n % 3}"} for n in range(30)])
        assert not index.exists(connection)
        index.create(connection)
        index.create(connection, checkfirst=True)
        assert ids(connection, table, "text1 number") == list(range(2, 31, 3))
        assert_in_step(connection, table)
    with engine.begin() as connection:
        index.drop(connection)
        index.drop(connection)
        assert not index.exists(connection)
        connection.execute(update(bare).values(body="nothing else"))
    assert sqlalchemy.inspect(engine).get_table_names() == ["doc"]


def test_making_an_index_can_be_rolled_back(engine):
    table = doc_table()
    with engine.connect() as connection:
        with connection.begin() as transaction:
            table.create(connection)
            transaction.rollback()
        assert not the_index(table).exists(connection)
    table.create(engine)


def test_an_index_that_is_there_is_not_made_again(engine):
    table = doc_table()
    table.create(engine)
    with engine.connect() as connection, pytest.raises((SchemaMismatch, sqlalchemy.exc.ProgrammingError)):
        the_index(table).create(connection)


def test_what_is_left_of_an_index_whose_table_was_dropped_gives_way(new_url):
    engine = create_engine(new_url("sqlite"))
    table = doc_table()
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"body": "of the first"})
        connection.execute(text("DROP TABLE doc"))
    table.create(engine)
    with engine.begin() as connection:
        assert ids(connection, table, "first") == []
        connection.execute(insert(table), {"body": "of the second"})
        assert ids(connection, table, "second") == [1]
        assert_in_step(connection, table)
    engine.dispose()


def test_a_table_of_the_indexs_name_is_left_alone(new_url):
    engine = create_engine(new_url("sqlite"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE doc_text (mine)"))
    with pytest.raises(SchemaMismatch, match="'doc_text' exists and is not a text index"):
        doc_table().create(engine)
    engine.dispose()


ODD_NAMES = [
    "has space",
    'quo"te',
    "o'clock",
    "select",
    "ünï→",
    "a:b",
    "per%cent",
    "back\\slash",
    "semi;colon",
    "?",
    "content",
    "a,b)",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_any_kind(engine, name):
    table = Table(
        name,
        MetaData(),
        Column(f"key {name}", Integer, primary_key=True),
        Column(name, Text),
        Column(f"u {name}", Integer, unique=True),
        TextIndex(f"ix {name}", name),
    )
    key, body, unique = table.columns
    table.create(engine)
    with engine.begin() as connection:
        for number, words in enumerate(["one", "two words", "three words more"]):
            connection.execute(insert(table), {key.key: number, body.key: words, unique.key: number})
        connection.execute(update(table).where(key == 0).values({body.key: "now words"}))
        connection.execute(delete(table).where(key == 1))
        hit = text_search(body, "words", 3, where=unique < 5)
        found = select(key).join_from(table, hit, hit.c.id == key).where(match(body, "words")).order_by(key)
        assert connection.scalars(found).all() == [0, 2]
        assert_in_step(connection, table)
        the_index(table).rebuild(connection)
        assert_in_step(connection, table)
    table.drop(engine)
    assert sqlalchemy.inspect(engine).get_table_names() == []


def test_names_of_columns_that_fts5_has_itself_are_refused():
    for name, column in [
        ("doc_text", "rank"),
        ("doc_text", "RowId"),
        ("body", "Body"),
        ("body", "body"),
        ("Rank", "body"),
    ]:
        with pytest.raises(InvalidArgument, match="FTS5 has a column"):
            TextIndex(name, column)


def test_what_no_index_can_be_of():
    with pytest.raises(InvalidArgument, match="has no column 'missing' of text"):
        _ = the_index(
            Table("t", MetaData(), Column("id", Integer, primary_key=True), TextIndex("i", "missing"))
        ).columns
    with pytest.raises(InvalidArgument, match="has no column 'id' of text"):
        _ = the_index(Table("t", MetaData(), Column("id", Integer, primary_key=True), TextIndex("i", "id"))).columns
    with pytest.raises(InvalidArgument, match="one primary key column, an integer"):
        _ = the_index(Table("t", MetaData(), Column("id", String, primary_key=True), TextIndex("i", "id"))).key
    with pytest.raises(InvalidArgument, match="belongs to no table"):
        _ = TextIndex("i", "body").columns
    for wrong in [("",), ("name",), ("name", "a", "A"), (None, "a")]:
        with pytest.raises(InvalidArgument):
            TextIndex(*wrong)
    for wrong in [(), (1,), (1, 2, 3), (-1, 2), (float("nan"), 1), (0, 0)]:
        with pytest.raises(InvalidArgument, match="weights are 2 numbers"):
            TextIndex("name", "a", "b", weights=wrong)
    with pytest.raises(UnsupportedType, match="weights are numbers"):
        TextIndex("name", "a", weights=("heavy",))
    with pytest.raises(UnknownOption, match="there are postgresql_config, prefix"):
        TextIndex("name", "a", lists=3)
    with pytest.raises(InvalidArgument, match="prefix is a tuple"):
        TextIndex("name", "a", prefix="2 3")
    with pytest.raises(InvalidArgument, match="tokenize is a str"):
        TextIndex("name", "a", tokenize=" ")


def test_a_table_of_an_attached_database_has_no_index(new_url):
    engine = create_engine(new_url("sqlite"))
    table = Table(
        "t", MetaData(schema="other"), Column("id", Integer, primary_key=True), Column("a", Text), TextIndex("i", "a")
    )
    with engine.connect() as connection, pytest.raises(InvalidArgument, match="in a schema"):
        the_index(table).create(connection)
    engine.dispose()


def test_in_a_schema_of_postgresql_the_index_is_there_too(new_url):
    engine = create_engine(new_url("postgresql"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS elsewhere CASCADE"))
        connection.execute(text("CREATE SCHEMA elsewhere"))
    table = Table(
        "t",
        MetaData(schema="elsewhere"),
        Column("id", Integer, primary_key=True),
        Column("a", Text),
        TextIndex("i", "a"),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"a": "some words"})
        assert the_index(table).exists(connection)
        assert ids(connection, table, "words") == [1]
        assert_in_step(connection, table)
        the_index(table).drop(connection)
        assert not the_index(table).exists(connection)
    engine.dispose()


def test_repr_evals_and_a_copied_table_has_its_own_index():
    table = doc_table(tokenize="unicode61 remove_diacritics 2", weights=(2, 1), postgresql_config="english")
    index = the_index(table)
    again = eval(repr(index))
    assert repr(again) == repr(index)
    copied = table.to_metadata(MetaData())
    assert the_index(copied) is not index
    assert the_index(copied).columns == [copied.c.title, copied.c.body]
    assert repr(the_index(copied)) == repr(index)


def test_an_index_of_columns_that_have_their_table():
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("a", Text), Column("b", Text))
    index = TextIndex("i", table.c.a, table.c.b)
    assert text_indexes_of(table) == [index]
    assert index.columns == [table.c.a, table.c.b]


def test_statements_for_scripts_are_what_is_run(engine):
    index = the_index(doc_table())
    bare = Table(
        "doc",
        MetaData(),
        *(Column(column.name, column.type, primary_key=column.primary_key) for column in index.table.c),
    )
    bare.create(engine)
    with engine.begin() as connection:
        for statement in create_statements(index, engine.dialect):
            connection.exec_driver_sql(statement)
        assert_in_step(connection, index.table)
        for statement in drop_statements(index, engine.dialect):
            connection.exec_driver_sql(statement)
        assert not index.exists(connection)


def test_statements_need_a_database_that_has_such():
    from sqlalchemy.dialects import mysql

    with pytest.raises(InvalidArgument, match="not on mysql"):
        create_statements(the_index(doc_table()), mysql.dialect())


# -- satellites: notes/orm.md 1, 2, 3, 4 ----------------------------------------------------------------


def test_every_table_beside_the_users_own_is_known(new_url):
    engine = create_engine(new_url("sqlite"))
    table = doc_table()
    table.create(engine)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    assert names - {"doc"} == set(satellites_of(the_index(table)))
    engine.dispose()


def test_reflection_needs_no_module_that_is_not_there(new_url):
    engine = create_engine(new_url("sqlite"))
    doc_table().create(engine)
    metadata = MetaData()
    # FTS5 is part of every SQLite, so an engine that knows nothing of us reflects too.
    bare = sqlalchemy.create_engine(engine.url)
    metadata.reflect(bare)
    assert "doc" in metadata.tables
    bare.dispose()
    engine.dispose()


def test_ids_are_those_of_the_table_though_a_virtual_table_was_written_last(new_url):
    engine = create_engine(new_url("sqlite"))
    table = doc_table()
    table.create(engine)
    with engine.begin() as connection:
        for number in (1, 7, 8):
            raw = connection.connection.cursor()
            raw.execute("INSERT INTO doc (id, body) VALUES (?, 'words of a text')", (None if number != 7 else 7,))
            assert raw.lastrowid == number
            assert raw.rowcount == 1
        returned = connection.execute(insert(table).returning(table.c.id), [{"body": "a"}, {"body": "b"}])
        assert returned.scalars().all() == [9, 10]
        assert connection.execute(update(table).values(title="t")).rowcount == 5
        assert_in_step(connection, table)
    engine.dispose()


# -- whoever writes ----------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[list[Page]] = relationship(cascade="all, delete-orphan")


class Page(Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str | None]
    views: Mapped[int] = mapped_column(default=0)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"))
    __table_args__ = (TextIndex("page_body", "body"),)


def test_an_index_follows_a_session_savepoints_and_rollbacks(engine):
    Base.metadata.create_all(engine)

    def found(session, query):
        return list(session.scalars(select(Page.id).where(match(Page.body, query)).order_by(Page.id)))

    with Session(engine) as session:
        session.add_all([Page(id=1, body="red apple"), Page(id=2, body="green apple"), Page(id=3, body=None)])
        session.commit()
        assert found(session, "apple") == [1, 2]
        session.get(Page, 1).body = "red cherry"
        session.get(Page, 3).body = "apple after all"
        with session.begin_nested() as savepoint:
            session.delete(session.get(Page, 2))
            session.flush()
            assert found(session, "apple") == [3]
            savepoint.rollback()
        assert found(session, "apple") == [2, 3]
        session.commit()
        session.execute(update(Page).values(id=Page.id + 100))
        assert found(session, "apple") == [102, 103]
        session.rollback()
        assert found(session, "red") == [1]
        session.execute(delete(Page))
        session.add(KVault(session, "settings").entity(key="k", value=1))
        assert found(session, "apple red") == []
        session.rollback()
        assert found(session, "cherry") == [1]
        assert the_index(Page.__table__).check(session) == []


def test_rows_that_go_with_another_leave_the_index(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Author(id=1, pages=[Page(body="one page"), Page(body="another page")]))
        session.add(Page(body="a page of nobody"))
        session.commit()
        session.execute(delete(Author))
        session.commit()
        assert len(session.scalars(select(Page).where(match(Page, "page"))).all()) == 1
        assert the_index(Page.__table__).check(session) == []


def test_a_change_of_other_columns_does_not_touch_the_index(new_url):
    engine = create_engine(new_url("sqlite"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Page(body="some words"))
        session.commit()
        entries = session.execute(text("SELECT * FROM page_body_data ORDER BY id")).all()
        session.execute(update(Page).values(views=5))
        # An upsert that writes the same text.
        same = sqlite_insert(Page).values(id=1, body="some words", views=6)
        session.execute(
            same.on_conflict_do_update(index_elements=["id"], set_={"body": same.excluded.body, "views": 6})
        )
        session.commit()
        assert session.execute(text("SELECT * FROM page_body_data ORDER BY id")).all() == entries
    engine.dispose()


def test_texts_are_what_the_database_holds(new_url):
    engine = create_engine(new_url("sqlite"))
    table = doc_table()
    table.create(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO doc (id, title, body) VALUES (1, 42, x'6162')")
        connection.exec_driver_sql("INSERT INTO doc (id, body) VALUES (2, 'before' || char(0) || 'behind')")
        connection.exec_driver_sql("INSERT INTO doc (id, body) VALUES (3, CAST(x'ff20616263' AS TEXT))")
        assert ids(connection, table, "42") == [1]
        assert ids(connection, table, "behind") == [2]
        assert ids(connection, table, "abc") == [3]
        connection.exec_driver_sql("UPDATE doc SET title = NULL, body = NULL WHERE id < 3")
        connection.exec_driver_sql("DELETE FROM doc WHERE id = 3")
        assert ids(connection, table, "42") == ids(connection, table, "behind") == ids(connection, table, "abc") == []
        assert_in_step(connection, table)
    engine.dispose()


def test_texts_that_differ_by_case_only_are_indexed_anew_whatever_the_column_collates_by(new_url):
    engine = create_engine(new_url("sqlite"))
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Text(collation="NOCASE")),
        TextIndex("i", "a", tokenize="trigram case_sensitive 1"),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {"a": "abcdef"})
        connection.execute(update(table).values(a="ABCDEF"))
        assert ids(connection, table, "BCD") == [1]
        assert ids(connection, table, "bcd") == []
        assert_in_step(connection, table)
    engine.dispose()


@pytest.fixture(params=[False, True], ids=["", "recursive_triggers"])
def plain(request, tmp_path):
    """A connection of a writer without us, to a table that has an index."""
    table = doc_table(
        Column("lang", String(5)),
        Column("low", String, Computed("lower(slug)")),
        UniqueConstraint("lang", "title"),
        Index("doc_active", "body", unique=True, sqlite_where=text("lang = 'xx'")),
    )
    Index("doc_lower", func.lower(table.c.title), table.c.body, unique=True)
    engine = create_engine(tmp_path / "app.db")
    table.create(engine)
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute(f"PRAGMA recursive_triggers = {request.param:d}")

    def check(**expected):
        connection.commit()
        with engine.begin() as ours:
            assert_in_step(ours, table)
            for word, rows in expected.items():
                assert ids(ours, table, word) == rows

    yield connection, check
    connection.close()
    engine.dispose()


def test_rows_that_replace_others_by_their_key(plain):
    connection, check = plain
    connection.execute("INSERT INTO doc (id, body) VALUES (1, 'first'), (2, 'second')")
    connection.execute("INSERT OR REPLACE INTO doc (id, body) VALUES (1, 'newer'), (3, 'third'), (3, 'fourth')")
    check(first=[], newer=[1], second=[2], third=[], fourth=[3])


def test_rows_that_replace_others_by_unique_columns(plain):
    connection, check = plain
    rows = [
        (1, "a", "first", "s1", "en"),
        (2, "b", "second", "s2", "en"),
        (3, "c", "third", "s3", "de"),
        (4, "d", "x y", "s4", "xx"),
    ]
    connection.executemany("INSERT INTO doc (id, title, body, slug, lang) VALUES (?, ?, ?, ?, ?)", rows)
    # By the slug one, by language and title another, and by the key a third.
    connection.execute("REPLACE INTO doc (id, title, body, slug, lang) VALUES (3, 'b', 'many', 's1', 'en')")
    check(first=[], second=[], third=[], many=[3])
    # By an index of some rows only, and by one of an expression.
    connection.execute("REPLACE INTO doc (id, body, lang) VALUES (7, 'x y', 'xx')")
    connection.execute("REPLACE INTO doc (id, title, body) VALUES (8, 'B', 'many')")
    check(many=[8], y=[7])


def test_rows_that_are_not_inserted_change_nothing(plain):
    connection, check = plain
    connection.execute("INSERT INTO doc (id, body, slug) VALUES (1, 'first', 's1'), (2, 'second', 's2')")
    connection.execute("INSERT OR IGNORE INTO doc (id, body, slug) VALUES (1, 'newer', 's9'), (5, 'newer', 's2')")
    check(first=[1], second=[2], newer=[])
    connection.execute("INSERT INTO doc (id, body) VALUES (1, 'newer') ON CONFLICT DO NOTHING")
    connection.execute("UPDATE OR IGNORE doc SET slug = 's1', body = 'changed' WHERE id = 2")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO doc (id, body) VALUES (9, 'newer'), (1, 'newer')")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT OR FAIL INTO doc (id, body) VALUES (9, 'stays'), (1, 'newer')")
    check(first=[1], second=[2], newer=[], changed=[], stays=[9])
    # What was copied in vain is of no row that is deleted or changed later.
    connection.execute("INSERT OR IGNORE INTO doc (id, body) VALUES (1, 'newer')")
    connection.execute("UPDATE doc SET body = 'other' WHERE id = 1")
    connection.execute("INSERT INTO doc (id, body) VALUES (10, 'ten')")
    connection.execute("INSERT OR IGNORE INTO doc (id, body) VALUES (10, 'newer')")
    connection.execute("DELETE FROM doc WHERE id = 10")
    connection.execute("INSERT INTO doc (body) VALUES ('eleven')")
    check(first=[], other=[1], ten=[], eleven=[10], newer=[])


def test_rows_that_are_inserted_or_updated(plain):
    connection, check = plain
    connection.execute("INSERT INTO doc (id, body, slug) VALUES (1, 'first', 's1'), (2, 'second', 's2')")
    connection.execute(
        "INSERT INTO doc (id, body, slug) VALUES (9, 'newer', 's1') "
        "ON CONFLICT (slug) DO UPDATE SET body = excluded.body"
    )
    check(first=[], newer=[1], second=[2])
    connection.execute(
        "INSERT INTO doc (id, body) VALUES (2, 'moved') ON CONFLICT (id) DO UPDATE SET id = 20, body = 'moved'"
    )
    check(second=[], moved=[20])


def test_rows_that_replace_others_when_they_are_updated(plain):
    connection, check = plain
    rows = [(number, f"word{number}", f"s{number}") for number in range(1, 7)]
    connection.executemany("INSERT INTO doc (id, body, slug) VALUES (?, ?, ?)", rows)
    connection.execute("UPDATE OR REPLACE doc SET id = 2 WHERE id = 1")
    connection.execute("UPDATE OR REPLACE doc SET slug = 's3' WHERE id = 4")
    check(word1=[2], word2=[], word3=[], word4=[4])
    connection.execute("UPDATE OR REPLACE doc SET rowid = rowid + 1")
    connection.execute("UPDATE OR REPLACE doc SET _rowid_ = 5, slug = 's6', body = 'last' WHERE oid = 7")
    check(last=[5])


def test_the_file_is_vacuumed_and_the_texts_are_found(plain):
    connection, check = plain
    connection.executemany("INSERT INTO doc (body) VALUES (?)", [(f"w{number} all",) for number in range(50)])
    connection.execute("DELETE FROM doc WHERE id % 3 = 0")
    connection.commit()
    connection.execute("VACUUM")
    check(w0=[1], w1=[2], w2=[], w49=[50])


def test_triggers_of_the_users_own_that_write_to_other_rows_and_columns(plain):
    connection, check = plain
    connection.execute(
        "CREATE TRIGGER own AFTER INSERT ON doc WHEN NEW.slug IS NOT NULL BEGIN "
        "INSERT INTO doc (body) VALUES ('copy of ' || NEW.body); "
        "UPDATE doc SET lang = 'en' WHERE id = NEW.id; END"
    )
    connection.execute("INSERT INTO doc (id, body, slug) VALUES (1, 'first', 's1')")
    connection.execute("INSERT INTO doc (id, body, slug) VALUES (7, 'second', 's2')")
    connection.execute("UPDATE doc SET body = 'third' WHERE id = 1")
    check(first=[2], second=[7, 8], third=[1], copy=[2, 8])


# -- check and rebuild -------------------------------------------------------------------------------------


def test_what_became_of_an_index_behind_our_back_is_found_and_repaired(new_url):
    engine = create_engine(new_url("sqlite"))
    table = doc_table()
    table.create(engine)
    index = the_index(table)
    damages = {
        "does not agree": "DELETE FROM doc_text_docsize WHERE id = 1",
        "trigger 'doc_text_update' of the text index 'doc_text' is missing": "DROP TRIGGER doc_text_update",
        "table 'doc_text_replaced' of the text index 'doc_text' is missing": "DROP TABLE doc_text_replaced",
        "table 'doc_text' of the text index 'doc_text' is missing": "DROP TABLE doc_text",
    }
    with engine.begin() as connection:
        connection.execute(insert(table), [{"body": "some words"}, {"body": "more words"}])
        assert index.check(connection) == []
    for message, damage in damages.items():
        with engine.begin() as connection:
            connection.exec_driver_sql(damage)
        assert any(message in problem for problem in index.check(engine)), (message, index.check(engine))
        index.rebuild(engine)
        assert index.check(engine) == []
    with engine.begin() as connection:
        assert ids(connection, table, "words") == [1, 2]
    engine.dispose()


def test_an_index_that_was_made_otherwise_than_it_is_declared_is_found(new_url):
    engine = create_engine(new_url("sqlite"))
    doc_table().create(engine)
    other = the_index(doc_table(tokenize="porter"))
    (problem,) = other.check(engine)
    assert "not as it is declared" in problem
    other.rebuild(engine)
    assert other.check(engine) == []
    engine.dispose()


def test_a_missing_index_on_postgresql_is_found_and_made(new_url):
    engine = create_engine(new_url("postgresql"))
    table = doc_table()
    table.create(engine)
    index = the_index(table)
    with engine.begin() as connection:
        index.drop(connection)
    assert index.check(engine) == ["the text index 'doc_text' is missing"]
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX doc_text ON doc (title)"))
    assert index.check(engine) == ["index 'doc_text' is not a text index of table 'doc'"]
    index.rebuild(engine)
    assert index.check(engine) == []
    engine.dispose()


@pytest.mark.parametrize("first", ["vectors", "texts", "lists"])
@pytest.mark.parametrize("write", ["insert", "update", "delete"])
def test_a_write_behind_a_change_of_the_schema_succeeds_whatever_else_the_table_has(new_url, first, write):
    """SQLite's triggers of FTS5 and others depend on the order in which they were made."""

    class Base(DeclarativeBase):
        pass

    index = TextIndex("page_text", "body")

    class Page(Base):
        __tablename__ = "page"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        tags: Mapped[list[int]] = vault_list("i64")
        embedding: Mapped[np.ndarray] = mapped_column(Vector(2))
        __table_args__ = (
            (index, VectorIndex("v", "embedding")) if first == "texts" else (VectorIndex("v", "embedding"), index)
        )

    url = new_url("sqlite")
    engine, other = create_engine(url), create_engine(url)
    Base.metadata.create_all(other)
    with Session(other) as session:
        session.add_all([Page(body="one", tags=[1], embedding=[1, 0]), Page(body="two", embedding=[1, 0])])
        session.commit()
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Page)) == 2
    KVault(other, "made_meanwhile")["a"] = 1
    with engine.begin() as connection:
        if write == "insert":
            connection.execute(insert(Page).values(body="three", embedding=[0, 1]))
        elif write == "update":
            connection.execute(update(Page).values(body="three"))
        else:
            connection.execute(delete(Page).where(Page.id == 1))
    with engine.connect() as connection:
        expected = {"insert": [3], "update": [1, 2], "delete": []}[write]
        assert ids(connection, Page.__table__, "three") == expected
    assert index.check(engine) == []
    engine.dispose()
    other.dispose()


def test_two_connections_write_and_one_is_rolled_back(new_url):
    engine = create_engine(new_url("sqlite"))
    table = doc_table()
    table.create(engine)
    with engine.connect() as first, engine.connect() as second:
        first.execute(insert(table), {"body": "of the first"})
        first.rollback()
        second.execute(insert(table), {"body": "of the second"})
        second.commit()
        first.execute(insert(table), {"body": "once more"})
        first.commit()
        assert ids(first, table, "first") == []
        assert ids(first, table, "of second") == [1]
        assert_in_step(first, table)
    engine.dispose()


def test_a_search_is_by_the_index_on_postgresql(new_url):
    engine = create_engine(new_url("postgresql"))
    table = doc_table()
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"title": f"t{n}", "body": f"b{n} word"} for n in range(3000)])
        connection.execute(text("ANALYZE doc"))
        for target in (table, table.c.body, table.c.title):
            found = select(table.c.id).where(match(target, "b17"))
            sql = found.compile(engine, compile_kwargs={"literal_binds": True})
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}").scalars())
            assert "Bitmap Index Scan on doc_text" in plan
    engine.dispose()


def test_mapped_classes_with_an_index_can_be_pickled(engine):
    Base.metadata.create_all(engine)
    page = pickle.loads(pickle.dumps(Page(id=1, body="words")))
    with Session(engine) as session:
        session.add(page)
        session.flush()
        assert session.scalars(select(Page.id).where(match(Page, "words"))).all() == [1]
