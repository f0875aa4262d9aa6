"""Vector indexes of mapped classes: made and dropped with their tables, and whoever writes to these."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, Session, mapped_column

from kohakuvault import InvalidArgument
from kohakuvault.indexing.ddl import exists
from kohakuvault.orm import Vector, VectorIndex, nearest
from kohakuvault.orm.vector_index import indexes_of
from vector_indexes import (
    DIMENSIONS,
    MAPPED_KINDS,
    add,
    check,
    check_search,
    clustered,
    engine_of,
    mapped,
    search,
    small_blocks,  # noqa: F401 (a fixture)
    the_index,
)

each_kind = pytest.mark.parametrize(("database", "kind"), MAPPED_KINDS)


def in_blocks(connection, name="doc_index"):
    """How many rows are in blocks, on SQLite."""
    return connection.scalar(text(f'SELECT count(*) FROM "{name}_loc"'))


# -- tables and indexes --------------------------------------------------------------------------------


@each_kind
def test_an_index_is_made_and_dropped_with_its_table(new_url, database, kind):
    with engine_of(database, new_url) as engine:
        entity = mapped(kind)
        for _ in range(2):
            entity.metadata.create_all(engine)
            entity.metadata.create_all(engine)
            with Session(engine) as session:
                add(session, entity, clustered(200, 1))
                assert len(search(session, entity, clustered(1, 2)[0])) == 10
            entity.metadata.drop_all(engine)
            assert sqlalchemy.inspect(engine).get_table_names() == []
            with engine.connect() as connection:
                if database == "sqlite":
                    assert connection.execute(text("SELECT name FROM sqlite_master")).all() == []


@each_kind
def test_an_index_is_made_and_dropped_on_a_table_with_rows(new_url, database, kind):
    with engine_of(database, new_url) as engine:
        bare = mapped(None)
        bare.metadata.create_all(engine)
        data = clustered(300, 3)
        with Session(engine) as session:
            ids = add(session, bare, data)
        entity = mapped(kind)
        index = the_index(entity)
        with engine.begin() as connection:
            index.create(connection)
        with Session(engine) as session:
            for query in clustered(3, 4):
                hits = search(session, entity, query)
                assert check_search(hits, "cosine", ids, data, query, 10, exact=kind == "exact") >= 0.9
            check(engine, index)
            session.commit()
            with engine.begin() as connection:
                index.drop(connection)
                index.drop(connection)
            assert check_search(search(session, bare, query), "cosine", ids, data, query, 10, exact=True) == 1
            # The table is as it was.
            assert len(session.scalars(select(bare)).all()) == 300
        add(Session(engine), bare, data, first=1000)


def test_making_an_index_can_be_rolled_back(new_url):
    with engine_of("sqlite", new_url) as engine:
        entity = mapped("exact")
        mapped(None).metadata.create_all(engine)
        with Session(engine) as session:
            add(session, entity, clustered(300, 5))
        with engine.connect() as connection, connection.begin() as transaction:
            the_index(entity).create(connection)
            transaction.rollback()
        with engine.begin() as connection:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE name LIKE 'doc_index%'")).all()
            assert names == []
            the_index(entity).create(connection)
        check(engine, the_index(entity))


ODD_NAMES = ["has space", 'quo"te', "o'clock", "select", "ünï→", "a:b", "per%cent", "back\\slash", "semi;colon", "?"]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_any_kind(new_url, database, name):
    with engine_of(database, new_url) as engine:
        table = Table(
            name,
            MetaData(),
            Column(f"key {name}", Integer, primary_key=True),
            Column(f"v {name}", Vector(4)),
            VectorIndex(f"ix {name}", f"v {name}", metric="l2", kind="hnsw"),
        )
        key, vector = table.columns
        table.create(engine)
        data = clustered(300, 6, 4)
        with engine.begin() as connection:
            connection.execute(table.insert(), [{key.key: n, vector.key: row} for n, row in enumerate(data)])
            connection.execute(table.delete().where(key == 7))
        with engine.begin() as connection:
            connection.execute(table.update().where(key == 9).values({vector.key: data[7]}))
            hit = nearest(vector, data[7], 3, metric="l2", where=key > 3)
            rows = connection.execute(select(key, hit.c.distance).join_from(table, hit, hit.c.id == key)).all()
            assert min(rows, key=lambda row: row[1]) == (9, 0.0)
        check(engine, indexes_of(table)[0])
        table.drop(engine)
        assert sqlalchemy.inspect(engine).get_table_names() == []


def test_what_no_index_can_be_of():
    with pytest.raises(InvalidArgument, match="one primary key column, an integer"):
        _ = VectorIndexOf(Column("name", String, primary_key=True)).key
    with pytest.raises(InvalidArgument, match="one primary key column, an integer"):
        _ = VectorIndexOf(Column("a", Integer, primary_key=True), Column("b", Integer, primary_key=True)).key
    with pytest.raises(InvalidArgument, match="no column 'missing' of type Vector"):
        _ = VectorIndexOf(Column("id", Integer, primary_key=True), of="missing").column
    with pytest.raises(InvalidArgument, match="no column 'id' of type Vector"):
        _ = VectorIndexOf(Column("id", Integer, primary_key=True), of="id").column
    with pytest.raises(InvalidArgument, match=r"declare Vector\(dimensions\)"):
        _ = VectorIndexOf(Column("id", Integer, primary_key=True), type_=Vector()).dimensions
    for arguments, error in [
        (("x", "v", "manhattan"), "metric"),
        (("x", "v", "l2", "btree"), "unknown kind of vector index 'btree'"),
        (("", "v"), "not empty"),
        ((5, "v"), "not 5"),
        (("a\0b", "v"), "str"),
    ]:
        with pytest.raises(InvalidArgument, match=error):
            VectorIndex(*arguments[:2], **dict(zip(("metric", "kind"), arguments[2:], strict=False)))


def VectorIndexOf(*columns, of="v", type_=None):
    index = VectorIndex("ix", of)
    Table("t", MetaData(), *columns, Column("v", type_ or Vector(3)), index)
    return index


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_table_without_integer_key_is_refused_when_it_is_made(new_url, database):
    with engine_of(database, new_url) as engine:
        index = VectorIndexOf(Column("name", String, primary_key=True))
        if database == "sqlite":
            with pytest.raises(InvalidArgument, match="one primary key column, an integer"):
                index.table.create(engine)
            assert sqlalchemy.inspect(engine).get_table_names() == []


# -- who writes ----------------------------------------------------------------------------------------


@each_kind
def test_rows_of_the_orm_and_of_core(new_url, database, kind):
    with engine_of(database, new_url) as engine:
        entity = mapped(kind, "l2")
        entity.metadata.create_all(engine)
        index = the_index(entity)
        model = {}
        with Session(engine) as session:
            add(session, entity, clustered(120, 7))
            model.update(enumerate(clustered(120, 7), 1))
            # Bulk: by the ORM, with RETURNING too, and by Core.
            rows = [{"id": 200 + n, "part": n, "embedding": row} for n, row in enumerate(clustered(90, 8))]
            session.execute(insert(entity), rows)
            model.update((row["id"], row["embedding"]) for row in rows)
            rows = [{"part": n, "embedding": row} for n, row in enumerate(clustered(90, 9))]
            given = session.scalars(
                insert(entity).returning(entity.id, sort_by_parameter_order=True),
                [{"id": 400 + n, **row} for n, row in enumerate(rows)],
            ).all()
            assert given == list(range(400, 490))
            model.update(zip(given, (row["embedding"] for row in rows), strict=True))
            session.bulk_insert_mappings(entity, [{"id": 600, "embedding": clustered(1, 10)[0]}])
            model[600] = clustered(1, 10)[0]
            session.commit()
            for hit in session.scalars(select(entity).where(entity.id < 60)):
                hit.embedding = model[hit.id] = hit.embedding + 9
            session.flush()
            session.execute(update(entity).where(entity.id == 200).values(embedding=model[1]))
            model[200] = model[1]
            gone = session.scalars(delete(entity).where(entity.id.between(60, 70)).returning(entity.id)).all()
            for id in gone:
                del model[id]
            session.delete(session.get(entity, 400))
            del model[400]
            session.commit()
            ids, data = np.array(list(model)), np.array(list(model.values()))
            for query in [*clustered(3, 11), model[1]]:
                hits = search(session, entity, query, metric="l2")
                assert check_search(hits, "l2", ids, data, query, 10, exact=kind == "exact") >= 0.9
            check(engine, index)
            if database == "sqlite":
                # Folded, mostly, without a word from anybody.
                assert in_blocks(session) > len(model) - 45


def test_the_orm_folds_at_the_commit_and_not_before(new_url):
    with engine_of("sqlite", new_url) as engine:
        entity = mapped("exact", "l2")
        entity.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(entity(embedding=row) for row in clustered(150, 12))
            session.flush()
            assert in_blocks(session) == 0
            assert len(search(session, entity, clustered(1, 1)[0], metric="l2")) == 10
            session.rollback()
            assert in_blocks(session) == 0
            session.add_all(entity(embedding=row) for row in clustered(150, 12))
            session.commit()
            assert in_blocks(session) == 150
            # Some more, in many transactions: about forty wait at most.
            for row in clustered(130, 13):
                session.add(entity(embedding=row))
                session.commit()
            assert 240 <= in_blocks(session) < 280
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(delete(entity).where(entity.id < 100))
            connection.commit()
            assert in_blocks(connection) >= 240
        check(engine, the_index(entity))


def test_rows_that_are_returned_are_not_disturbed(new_url):
    with engine_of("sqlite", new_url) as engine, engine.connect() as connection:
        entity = mapped("exact", "l2")
        entity.metadata.create_all(engine)
        rows = [{"part": n, "embedding": row} for n, row in enumerate(clustered(200, 14))]
        connection.execute(insert(entity), rows)
        result = connection.execute(update(entity).values(part=entity.part + 1).returning(entity.id, entity.part))
        assert result.fetchone() == (1, 1)
        connection.execute(insert(entity), rows)
        assert result.fetchone() == (2, 2)
        assert len(result.fetchall()) == 198
        connection.commit()
        assert in_blocks(connection) == 400
        check(engine, the_index(entity))
        result = connection.execute(delete(entity).where(entity.id > 100).returning(entity.id))
        assert result.fetchone() == (101,)
        # SQLite's own error, as without an index.
        with pytest.raises(OperationalError, match="cannot commit"):
            connection.commit()
        connection.rollback()
        assert in_blocks(connection) == 400


def test_writes_of_an_engine_that_knows_nothing_of_us(new_url):
    url = new_url("sqlite")
    entity = mapped("rabitq", "l2")
    engine = sqlalchemy.create_engine(url)
    entity.metadata.create_all(engine)
    with Session(engine) as session:
        add(session, entity, clustered(300, 15))
        assert in_blocks(session) == 300
        session.execute(delete(entity).where(entity.id <= 100))
        session.commit()
        assert in_blocks(session) == 200
    check(engine, the_index(entity))
    engine.dispose()


def packed(seed):
    return clustered(1, seed)[0].tobytes()


def test_a_plain_connection_writes_without_the_extension(new_url):
    url = new_url("sqlite")
    with engine_of("sqlite", lambda _: url) as engine:
        entity = mapped("exact", "l2", columns={"name": mapped_column(String(), unique=True)})
        entity.__annotations__["name"] = Mapped[str | None]
        entity.metadata.create_all(engine)
        with Session(engine) as session:
            add(session, entity, clustered(200, 16))
        plain = sqlite3.connect(url.database)
        with plain:
            plain.executemany(
                "INSERT INTO doc (id, embedding, name) VALUES (?, ?, ?)",
                [(300 + n, row.tobytes(), f"n{n}") for n, row in enumerate(clustered(50, 17))],
            )
            plain.execute("UPDATE doc SET embedding = ? WHERE id = 1", (packed(18),))
            plain.execute("DELETE FROM doc WHERE id = 2")
            # In the place of itself, of another row by its name, and of both.
            plain.execute("INSERT OR REPLACE INTO doc (id, embedding) VALUES (3, ?)", (packed(19),))
            plain.execute("INSERT OR REPLACE INTO doc (id, embedding, name) VALUES (400, ?, 'n5')", (packed(20),))
            plain.execute("REPLACE INTO doc (id, embedding, name) VALUES (301, ?, 'n6')", (packed(21),))
            plain.execute("UPDATE OR REPLACE doc SET name = 'n7' WHERE id = 4")
            plain.execute("UPDATE OR REPLACE doc SET id = 6 WHERE id = 5")
            for number, key in enumerate(("id", "rowid", "oid", "_rowid_")):
                plain.execute(f"UPDATE doc SET {key} = ? WHERE id = ?", (500 + number, 10 + number))
            upsert = (
                "INSERT INTO doc (id, embedding) VALUES (?, ?) ON CONFLICT DO UPDATE SET embedding = excluded.embedding"
            )
            plain.execute(upsert, (7, packed(22)))
            plain.execute(upsert, (600, packed(23)))
            plain.execute("INSERT OR IGNORE INTO doc (id, embedding) VALUES (8, ?)", (packed(24),))
            plain.execute("UPDATE doc SET embedding = NULL WHERE id = 9")
            plain.execute("UPDATE doc SET part = 99 WHERE id = 20")
        rows = dict(plain.execute("SELECT id, embedding FROM doc WHERE embedding IS NOT NULL"))
        plain.close()
        assert 305 not in rows
        assert 503 in rows
        ids = np.array(list(rows))
        data = np.array([np.frombuffer(row, np.float32) for row in rows.values()])
        with Session(engine) as session:
            for query in [
                *clustered(5, 25),
                *(clustered(1, seed)[0] for seed in range(16, 25)),
                *clustered(50, 17)[4:9],
            ]:
                for k in (1, 2, 3, 10, 400):
                    hits = search(session, entity, query, k, metric="l2")
                    assert check_search(hits, "l2", ids, data, query, k, exact=True) == 1
        check(engine, the_index(entity))


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip", "l1"])
def test_rows_that_were_replaced_hide_no_others(new_url, metric):
    # Without a trigger that says so, many rows go; all of them are nearer than those that stay.
    with engine_of("sqlite", new_url) as engine:
        entity = mapped("exact", metric, columns={"name": mapped_column(String(), unique=True)})
        entity.__annotations__["name"] = Mapped[str | None]
        entity.metadata.create_all(engine)
        query = np.ones(DIMENSIONS, np.float32)
        near = query * 3 + clustered(80, 26) * 0.01
        away = -clustered(400, 27) * 3
        with Session(engine) as session:
            session.execute(
                insert(entity),
                [{"id": n, "embedding": row, "name": f"n{n}"} for n, row in enumerate(np.concatenate([near, away]))],
            )
            session.commit()
            assert in_blocks(session) == 480
            for n in range(80):
                session.execute(
                    text("INSERT OR REPLACE INTO doc (id, embedding, name) VALUES (:id, :v, :name)"),
                    {"id": 1000 + n, "v": (-query * 50).tobytes(), "name": f"n{n}"},
                )
            session.commit()
            ids = np.array([*range(80, 480), *range(1000, 1080)])
            data = np.concatenate([away, np.tile(-query * 50, (80, 1))])
            for k in (1, 10, 79, 80, 81, 200, 480):
                hits = search(session, entity, query, k, metric=metric)
                assert check_search(hits, metric, ids, data, query, k, exact=True) == 1
        check(engine, the_index(entity))


def test_triggers_of_the_application(new_url):
    with engine_of("sqlite", new_url) as engine, Session(engine) as session:
        entity = mapped("exact", "l2")
        entity.metadata.create_all(engine)
        session.execute(text("CREATE TABLE log (what)"))
        session.execute(
            text(
                "CREATE TRIGGER mine AFTER INSERT ON doc WHEN NEW.part = 1 BEGIN "
                "UPDATE doc SET embedding = (SELECT embedding FROM doc WHERE id = 1) WHERE id = NEW.id; "
                "INSERT INTO log VALUES ('inserted'); DELETE FROM doc WHERE id = 2; END"
            )
        )
        data = clustered(200, 28)
        add(session, entity, data)
        expected = {id: data[0 if id % 10 == 1 else id - 1] for id in range(1, 201)}
        # The trigger ran before the second row was there, and after.
        del expected[2]
        session.execute(text("DELETE FROM doc WHERE id = 2"))
        session.commit()
        assert session.scalar(text("SELECT count(*) FROM log")) == 20
        ids, vectors = np.array(list(expected)), np.array(list(expected.values()))
        for query in [data[0], *clustered(3, 29)]:
            assert check_search(
                search(session, entity, query, 25, metric="l2"), "l2", ids, vectors, query, 25, exact=True
            )
        check(engine, the_index(entity))


def test_cascades_are_followed(new_url):
    with engine_of("sqlite", new_url) as engine, Session(engine) as session:
        metadata = MetaData()
        parent = Table("parent", metadata, Column("id", Integer, primary_key=True))
        child = Table(
            "child",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("parent", ForeignKey("parent.id", ondelete="CASCADE")),
            Column("v", Vector(4)),
            VectorIndex("ix", "v", metric="l2", kind="exact"),
        )
        metadata.create_all(engine)
        session.execute(parent.insert(), [{"id": 1}, {"id": 2}])
        data = clustered(300, 30, 4)
        session.execute(child.insert(), [{"id": n, "parent": 1 + n % 2, "v": row} for n, row in enumerate(data)])
        session.commit()
        session.execute(parent.delete().where(parent.c.id == 1))
        session.commit()
        hit = nearest(child.c.v, data[0], 400, metric="l2")
        assert set(session.scalars(select(hit.c.id))) == set(range(1, 300, 2))
        check(engine, indexes_of(child)[0])


@each_kind
def test_rows_without_vector_or_distance(new_url, database, kind):
    with engine_of(database, new_url) as engine, Session(engine) as session:
        entity = mapped(kind, "cosine")
        entity.metadata.create_all(engine)
        add(session, entity, clustered(150, 31))
        session.execute(insert(entity), [{"id": 1000 + n, "embedding": None} for n in range(60)])
        zeros = np.zeros(DIMENSIONS, np.float32)
        session.execute(insert(entity), [{"id": 2000 + n, "embedding": zeros} for n in range(1200)])
        session.commit()
        query = clustered(1, 32)[0]
        hits = search(session, entity, query, 150)
        assert {id for id, _ in hits} == set(range(1, 151))
        if database == "sqlite":
            assert [hit[0] for hit in search(session, entity, query, 152)][150:] == [2000, 2001]
        check(engine, the_index(entity))


def test_a_copy_of_a_table_has_its_index(engine: sqlalchemy.Engine) -> None:
    original = Table(
        "doc",
        MetaData(),
        VectorIndex("doc_vector", "vector", metric="l2", kind="hnsw"),
        Column("id", Integer, primary_key=True),
        Column("vector", Vector(3)),
    )
    copy = original.to_metadata(MetaData())
    again = copy.to_metadata(MetaData())
    for table in (copy, again):
        (index,) = indexes_of(table)
        assert index.table is table
        assert repr(index) == repr(indexes_of(original)[0])
    again.metadata.create_all(engine)
    with engine.connect() as connection:
        assert exists(connection, indexes_of(original)[0])
    again.metadata.drop_all(engine)
    assert not sqlalchemy.inspect(engine).get_table_names()
