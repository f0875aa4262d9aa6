"""Making an index of what there is: tables of others, leftovers of dropped tables, options that contradict."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Integer, MetaData, Table, select
from sqlalchemy.orm import DeclarativeBase

from kohakuvault import CorruptValue, InvalidArgument, SchemaMismatch, VectorKVault, create_engine
from kohakuvault.known import forget
from kohakuvault.orm import Vector, VectorIndex, nearest
from kohakuvault.orm.tables import VectorTable
from vector_indexes import clustered, small_thresholds


def test_a_column_tells_the_table(tmp_path):
    engine = create_engine(tmp_path / "app.db")
    table = Table(
        "picture",
        MetaData(),
        sqlalchemy.Column("id", Integer, primary_key=True),
        sqlalchemy.Column("embedding", Vector(16)),
    )
    table.metadata.create_all(engine)
    data = clustered(50, 1)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"embedding": vector} for vector in data])
        index = VectorIndex("picture_embedding", table.c.embedding, metric="l2", kind="exact")
        index.create(connection)
        index.create(connection, checkfirst=True)
        with pytest.raises(SchemaMismatch, match="there is a vector index 'picture_embedding' already"):
            index.create(connection)
        hit = nearest(table.c.embedding, data[3], 1, metric="l2")
        assert connection.execute(select(hit.c.id, hit.c.distance)).one() == (4, 0.0)
    engine.dispose()


def test_an_index_without_table_says_so():
    with pytest.raises(InvalidArgument, match="belongs to no table"):
        _ = VectorIndex("lost", "embedding").column


def test_what_a_dropped_table_left_is_in_nobodys_way(tmp_path):
    path = tmp_path / "app.db"
    with VectorKVault(path, "v", dimensions=16, index="rabitq") as vault:
        vault.insert_many(clustered(30, 1))
        engine = vault.engine
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE v")
            connection.exec_driver_sql("DELETE FROM vault_table WHERE name = 'v'")
        forget(engine)
    with VectorKVault(path, "v", dimensions=8, index="exact") as vault:
        assert vault.search(np.ones(8)) == []
        vault.insert(np.ones(8), "new")
        assert vault.search(np.ones(8)) == [(1, 0.0, "new")]


def test_a_strangers_table_is_not_taken_for_an_index(tmp_path):
    engine = create_engine(tmp_path / "app.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE v_index_meta (key, value, note)")
        connection.exec_driver_sql("INSERT INTO v_index_meta VALUES (1, 2, 'mine')")
    with pytest.raises(SchemaMismatch, match="exists and is not of a vector index"):
        VectorKVault(engine, "v", dimensions=4)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT note FROM v_index_meta").scalar() == "mine"
    engine.dispose()


def test_a_table_without_index_is_opened_as_it_is(tmp_path):
    for options in ({"index": None}, {}, {"index": "auto"}):
        with VectorKVault(tmp_path / "app.db", "v", dimensions=4, **options) as vault:
            vault.insert([1, 2, 3, 4])
            assert vault.info()["index"] is None
            assert len(vault.search([1, 2, 3, 4])) == len(vault)
    with pytest.raises(SchemaMismatch, match="index=None"):
        VectorKVault(tmp_path / "app.db", "v", dimensions=4, index="rabitq")


def test_the_index_of_a_class_is_declared_there(tmp_path):
    class Base(DeclarativeBase):
        pass

    class Plain(VectorTable, Base):
        __tablename__ = "plain"
        __dimensions__ = 4

    class Indexed(VectorTable, Base):
        __tablename__ = "indexed"
        __dimensions__ = 4
        __table_args__ = (VectorIndex("indexed_vector", "vector", kind="exact"),)

    path = tmp_path / "app.db"
    for entity, index in ((Plain, "rabitq"), (Indexed, "ivf"), (Indexed, None)):
        with pytest.raises(InvalidArgument, match="declare VectorIndex"):
            VectorKVault(path, entity, index=index)
    assert VectorKVault(path, Plain).index is None
    assert VectorKVault(path, Indexed, index="exact").index == "exact"


def test_progress_is_a_bar_or_a_function(tmp_path):
    vault = VectorKVault(tmp_path / "app.db", dimensions=16, index="rabitq")
    vault.insert_many(clustered(30, 1))
    for call in (vault.optimize, vault.rebuild_index):
        with pytest.raises(InvalidArgument, match="progress is True, False or a function"):
            call(progress=5)
    seen: list[tuple[int, int]] = []
    vault.optimize(progress=lambda done, rows: seen.append((done, rows)))
    assert seen[-1] == (30, 30)
    vault.close()


def test_recall_searches_for_no_row_twice(tmp_path):
    vault = VectorKVault(tmp_path / "app.db", dimensions=16, index="rabitq")
    vault.insert_many(clustered(30, 1))
    assert vault.recall(sample=10_000).queries <= 30
    vault.close()


def test_lists_of_other_centroids_are_found_and_mended(tmp_path):
    with small_thresholds(), VectorKVault(tmp_path / "app.db", "v", dimensions=16, index="ivf") as vault:
        vault.insert_many(clustered(400, 1))
        vault.optimize()
        assert vault.check() == []
        with vault.engine.begin() as connection:
            size = connection.exec_driver_sql(
                "SELECT length(value) FROM v_index_meta WHERE key = 'centroids'"
            ).scalar_one()
            noise = np.random.default_rng(0).standard_normal(size // 4).astype("<f4").tobytes()
            connection.exec_driver_sql("UPDATE v_index_meta SET value = ? WHERE key = 'centroids'", (noise,))
        assert "lists of other centroids" in str(vault.check()[0])
        vault.check(fix=True)
        assert vault.check() == []
        with vault.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE v_index_meta SET value = -1 WHERE key = 'probes'")
        assert "probes" in str(vault.check(fix=True)[0])
        assert vault.check() == []


def test_radius_of_a_damaged_row_says_who_names_it(tmp_path):
    with VectorKVault(tmp_path / "app.db", "v", dimensions=4) as vault:
        vault.insert([1, 2, 3, 4])
        with vault.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE v SET vector = x'0000803f'")
        with pytest.raises(CorruptValue, match="check"):
            vault.radius([1, 2, 3, 4], 1)


@pytest.mark.parametrize("factory", ["IVF0,Flat", "IVF99999999999999999999,Flat", "HNSW0,IDMap2", "PQ5000000,IDMap2"])
def test_numbers_that_end_faiss_are_refused(tmp_path, factory):
    with pytest.raises(InvalidArgument, match="numbers of 1 to"):
        VectorKVault(tmp_path / "app.db", dimensions=8, index="vss", index_options={"factory": factory})
