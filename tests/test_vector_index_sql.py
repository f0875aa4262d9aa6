"""``kv_knn`` and ``kv_idset`` in SQL of the application's own, right and wrong; and where there is no extension."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import kohakuvault
from kohakuvault import ExtensionUnavailable, VectorKVault, create_engine
from kohakuvault.orm import nearest
from vector_indexes import (
    DIMENSIONS,
    add,
    check,
    check_search,
    clustered,
    mapped,
    search,
    small_blocks,  # noqa: F401 (a fixture)
    the_index,
)

QUERY = clustered(1, 60)[0]
DATA = clustered(400, 61)
PACKED = QUERY.tobytes()


@pytest.fixture(scope="module")
def doc(tmp_path_factory):
    """A connection to a table with an index."""
    engine = create_engine(tmp_path_factory.mktemp("sql") / "v.db")
    entity = mapped("exact", "l2")
    entity.metadata.create_all(engine)
    with Session(engine) as session:
        add(session, entity, DATA)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def rows(connection, sql, **values):
    return connection.execute(text(sql), {"q": PACKED, **values}).all()


def nearest_ids(k, among=None):
    far = np.linalg.norm(DATA.astype(np.float64) - QUERY, axis=1)
    ids = np.arange(1, 401)
    if among is not None:
        far, ids = far[among], ids[among]
    return ids[np.argsort(far, kind="stable")][:k].tolist()


WRONG = {
    "SELECT * FROM kv_knn": "an argument is missing",
    "SELECT * FROM kv_knn('doc_index')": "an argument is missing",
    "SELECT * FROM kv_knn('doc_index', :q)": "an argument is missing",
    "SELECT * FROM kv_knn('doc_index', :q, 5, NULL, 6)": "too many arguments",
    "SELECT * FROM kv_knn(NULL, :q, 5)": "index: expected the TEXT of its name; NULL given",
    "SELECT * FROM kv_knn(5, :q, 5)": "index: expected the TEXT of its name; INTEGER given",
    "SELECT * FROM kv_knn(x'00', :q, 5)": "index: expected the TEXT of its name; BLOB given",
    "SELECT * FROM kv_knn('doc_index', NULL, 5)": "query: expected a BLOB, a packed vector; NULL given",
    "SELECT * FROM kv_knn('doc_index', '[1,2]', 5)": "query: expected a BLOB, a packed vector; TEXT given",
    "SELECT * FROM kv_knn('doc_index', x'', 5)": "query",
    "SELECT * FROM kv_knn('doc_index', x'001122', 5)": "query",
    "SELECT * FROM kv_knn('doc_index', x'00112233', 5)": "query: 1 dimensions given; expected 16",
    "SELECT * FROM kv_knn('doc_index', zeroblob(8000000), 5)": "query: 2000000 dimensions given; expected 16",
    "SELECT * FROM kv_knn('doc_index', :nan, 5)": "query: expected finite numbers",
    "SELECT * FROM kv_knn('doc_index', :q, NULL)": "k: expected an INTEGER; NULL given",
    "SELECT * FROM kv_knn('doc_index', :q, -1)": "k is -1; expected zero or more",
    "SELECT * FROM kv_knn('doc_index', :q, 5.0)": "k: expected an INTEGER; REAL given",
    "SELECT * FROM kv_knn('doc_index', :q, '5')": "k: expected an INTEGER; TEXT given",
    "SELECT * FROM kv_knn('doc_index', :q, 5, 6)": "ids: expected a BLOB that kv_idset made; INTEGER given",
    "SELECT * FROM kv_knn('doc_index', :q, 5, 'x')": "ids: expected a BLOB that kv_idset made; TEXT given",
    "SELECT * FROM kv_knn('doc_index', :q, 5, x'07')": "ids: expected a set of ids that kv_idset made",
    "SELECT * FROM kv_knn('missing', :q, 5)": "there is no such index",
    "SELECT * FROM kv_knn('', :q, 5)": "there is no such index",
    "SELECT * FROM kv_knn('doc\"; DROP TABLE doc; --', :q, 5)": "there is no such index",
    "SELECT * FROM kv_knn('doc', :q, 5)": "there is no such index",
    "SELECT kv_idset('x')": "kv_idset: TEXT given; expected INTEGER ids",
    "SELECT kv_idset(embedding) FROM doc": "kv_idset: BLOB given; expected INTEGER ids",
    "SELECT kv_idset(id, id) FROM doc": "wrong number of arguments",
    "DELETE FROM kv_knn": "may not be modified",
    "CREATE VIRTUAL TABLE mine USING kv_knn": "no such module",
    # An alternative without the arguments is no call.
    "SELECT * FROM kv_knn WHERE \"index\" = 'doc_index' AND query = :q AND (k = 5 OR id > 1)": "argument is missing",
    "SELECT * FROM kv_knn WHERE \"index\" IN ('doc_index') OR k = 5": "argument is missing",
}


@pytest.mark.parametrize("sql", WRONG)
def test_what_is_wrong_is_an_error_that_says_so(doc, sql):
    with pytest.raises(OperationalError) as raised:
        rows(doc, sql, nan=np.full(DIMENSIONS, np.nan, np.float32).tobytes())
    assert WRONG[sql] in str(raised.value)
    doc.rollback()
    assert [row.id for row in rows(doc, "SELECT id FROM kv_knn('doc_index', :q, 3)")] == nearest_ids(3)


def test_any_k_in_sql(doc):
    for k in (0, 1, 399, 400, 401, 2**31, 2**63 - 1):
        found = [row.id for row in rows(doc, "SELECT id FROM kv_knn('doc_index', :q, :k)", k=k)]
        assert found == nearest_ids(min(k, 400))


def test_calls_by_conditions_and_joins_in_any_order(doc):
    expected = nearest_ids(7)
    for sql in (
        "SELECT id FROM kv_knn WHERE \"index\" = 'doc_index' AND query = :q AND k = 7",
        "SELECT id FROM kv_knn WHERE k = 7 AND ids IS NULL AND query = :q AND \"index\" = 'doc_index'",
        "SELECT doc.id FROM kv_knn('doc_index', :q, 7) AS hit JOIN doc ON doc.id = hit.id ORDER BY distance",
        "SELECT doc.id FROM doc JOIN kv_knn('doc_index', :q, 7) AS hit ON doc.id = hit.id ORDER BY distance",
        "SELECT doc.id FROM doc CROSS JOIN kv_knn('doc_index', :q, 7) AS hit ON doc.id = hit.id ORDER BY distance",
        "SELECT id FROM kv_knn('doc_index', :q, 7) ORDER BY distance, id",
        "SELECT id FROM kv_knn('doc_index', :q, 400) ORDER BY distance LIMIT 7",
        "SELECT id FROM kv_knn('doc_index', :q, 7) a JOIN kv_knn('doc_index', :q, 7) b USING (id) ORDER BY a.distance",
        "WITH hit AS (SELECT * FROM kv_knn('doc_index', :q, 7)) SELECT id FROM hit ORDER BY distance",
    ):
        assert [row.id for row in rows(doc, sql)] == expected, sql
    reverse = "SELECT id FROM kv_knn('doc_index', :q, 7) ORDER BY distance DESC"
    assert [row.id for row in rows(doc, reverse)] == expected[::-1]
    assert rows(doc, "SELECT count(*) FROM kv_knn('doc_index', :q, 7) WHERE distance < -1") == [(0,)]


def test_arguments_of_the_rows_beside(doc):
    sql = (
        "SELECT doc.id, hit.id AS found, hit.distance FROM doc, kv_knn('doc_index', doc.embedding, 2) AS hit "
        "WHERE doc.id <= 20 ORDER BY doc.id, hit.distance"
    )
    found = rows(doc, sql)
    assert [row.found for row in found[::2]] == list(range(1, 21))
    assert {row.distance for row in found[::2]} == {0}
    inside = "SELECT id, (SELECT max(distance) FROM kv_knn('doc_index', embedding, 3)) AS far FROM doc WHERE id < 9"
    assert all(row.far > 0 for row in rows(doc, inside))
    by_k = "SELECT doc.id, count(*) AS n FROM doc, kv_knn('doc_index', :q, doc.id) GROUP BY doc.id HAVING doc.id < 9"
    assert [(row.id, row.n) for row in rows(doc, by_k)] == [(n, n) for n in range(1, 9)]


def test_sets_of_ids_in_sql(doc):
    among = np.arange(1, 401) % 4 == 0
    knn = "SELECT id FROM kv_knn('doc_index', :q, 9, ({}))"
    every_fourth = "SELECT kv_idset(id) FROM doc WHERE id % 4 = 0"
    assert [row.id for row in rows(doc, knn.format(every_fourth))] == nearest_ids(9, among)
    # Of ids that are not there, of NULLs, of none, of one many times.
    fourth = "SELECT id FROM doc WHERE id % 4 = 0"
    twice = f"SELECT kv_idset(id) FROM ({fourth} UNION ALL {fourth} {{}})"
    for more in ("", "UNION ALL SELECT NULL", "UNION ALL SELECT 9000", "UNION ALL SELECT -9223372036854775808"):
        assert [row.id for row in rows(doc, knn.format(twice.format(more)))] == nearest_ids(9, among)
    assert rows(doc, knn.format("SELECT kv_idset(id) FROM doc WHERE 0")) == []
    assert rows(doc, knn.format("SELECT kv_idset(NULL)")) == []
    assert [row.id for row in rows(doc, knn.format("NULL"))] == nearest_ids(9)
    windows = "SELECT part, length(kv_idset(id)) AS bytes FROM doc GROUP BY part"
    assert len(rows(doc, windows)) == 10


def test_a_search_inside_of_a_write(doc):
    with doc.begin_nested():
        doc.execute(text("DELETE FROM doc WHERE id IN (SELECT id FROM kv_knn('doc_index', :q, 5))"), {"q": PACKED})
        left = np.isin(np.arange(1, 401), nearest_ids(5), invert=True)
        assert [row.id for row in rows(doc, "SELECT id FROM kv_knn('doc_index', :q, 5)")] == nearest_ids(5, left)
        doc.execute(text("CREATE TEMP TABLE hits AS SELECT * FROM kv_knn('doc_index', :q, 5)"), {"q": PACKED})
        assert rows(doc, "SELECT count(*) FROM hits") == [(5,)]
    doc.rollback()
    assert [row.id for row in rows(doc, "SELECT id FROM kv_knn('doc_index', :q, 5)")] == nearest_ids(5)


def test_an_index_that_changes_under_a_statement_that_is_prepared(tmp_path):
    engine = create_engine(tmp_path / "v.db")
    entity = mapped("exact", "l2")
    entity.metadata.create_all(engine)
    with Session(engine) as session:
        add(session, entity, DATA)
        assert len(search(session, entity, QUERY, metric="l2")) == 10
        session.commit()
        with engine.begin() as connection:
            the_index(entity).drop(connection)
        with pytest.raises(OperationalError, match="no such index"):
            search(session, entity, QUERY, metric="l2")
        session.rollback()
        with engine.begin() as connection:
            the_index(entity).create(connection)
        assert [id for id, _ in search(session, entity, QUERY, metric="l2")] == nearest_ids(10)
        session.commit()
        with engine.begin() as connection:
            the_index(entity).drop(connection)
            the_index(mapped("rabitq", "l2")).create(connection)
        assert search(session, entity, QUERY, 1, metric="l2")[0][0] == nearest_ids(1)[0]
    engine.dispose()


# -- without the extension -----------------------------------------------------------------------------


def test_without_tables_of_the_extension_searches_compare_every_row(tmp_path):
    engine = create_engine(tmp_path / "v.db", extension="create_function")
    entity = mapped("rabitq", "l2")
    entity.metadata.create_all(engine)
    with Session(engine) as session:
        ids = add(session, entity, DATA)
        hits = search(session, entity, QUERY, 20, metric="l2")
        assert check_search(hits, "l2", ids, DATA, QUERY, 20, exact=True) == 1
        hits = search(session, entity, QUERY, 20, metric="l2", where=entity.part == 3)
        among = ids % 10 == 3
        assert check_search(hits, "l2", ids[among], DATA[among], QUERY, 20, exact=True) == 1
    vault = VectorKVault(engine, "v", DIMENSIONS, "l2", index="rabitq")
    ids = np.array(vault.insert_many(DATA))
    assert check_search(vault.search(QUERY, 20), "l2", ids, DATA, QUERY, 20, exact=True) == 1
    vault.delete_many(ids[:50].tolist())
    vault.rebuild_index()
    vault.optimize()
    assert vault.check() == []
    engine.dispose()
    # Whoever has the extension finds the index as it should be.
    with_it = VectorKVault(create_engine(tmp_path / "v.db"), "v", DIMENSIONS, "l2", index="rabitq")
    assert with_it.info()["index"]["in_use"] == "rabitq"
    assert check_search(with_it.search(QUERY, 9), "l2", ids[50:], DATA[50:], QUERY, 9, exact=False) >= 0.8
    check(with_it.engine, the_index(entity))
    with_it.engine.dispose()


def test_an_engine_of_the_application_is_searched_by_the_vault_and_says_what_the_orm_needs(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'v.db'}")
    vault = VectorKVault(engine, "v", DIMENSIONS, "l2", index="exact")
    ids = np.array(vault.insert_many(DATA))
    assert check_search(vault.search(QUERY, 20), "l2", ids, DATA, QUERY, 20, exact=True) == 1
    entity = mapped("exact", "l2")
    entity.metadata.create_all(engine)
    with Session(engine) as session:
        add(session, entity, DATA)
        hit = nearest(entity.embedding, QUERY, 3, metric="l2")
        with pytest.raises(OperationalError) as raised:
            session.execute(select(hit)).all()
    assert isinstance(kohakuvault.errors.translate(raised.value), ExtensionUnavailable)
    kohakuvault.install(engine)
    with Session(engine) as session:
        assert [id for id, _ in search(session, entity, QUERY, 3, metric="l2")] == nearest_ids(3)
    engine.dispose()


def test_a_driver_that_loads_no_extensions_on_an_engine_of_the_application(tmp_path):
    # A process of its own: its sqlite3 has no load_extension.
    code = f"""
import sqlite3, sys
import numpy as np
class Connection(sqlite3.Connection):
    enable_load_extension = load_extension = property(lambda self: (_ for _ in ()).throw(AttributeError("none")))
import kohakuvault.extension as extension
extension.best_rung = lambda driver: "create_function"
import sqlalchemy
from kohakuvault import VectorKVault
engine = sqlalchemy.create_engine("sqlite:///{tmp_path / "v.db"}", connect_args={{"factory": Connection}})
vault = VectorKVault(engine, "v", 3, "l2", index="exact")
vault.insert_many(np.eye(3), ["x", "y", "z"])
assert vault.get([0, 0.9, 0]) == "y"
assert vault.check() == []
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
