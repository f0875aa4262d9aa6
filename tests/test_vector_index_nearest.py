"""Searches of mapped classes by ``nearest()`` and an index: in joins and subqueries, with conditions, of every type."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Integer, bindparam, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from kohakuvault.binding import bind_to
from kohakuvault.indexing.care import build_index
from kohakuvault.orm import nearest
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


@pytest.fixture(params=MAPPED_KINDS, ids=str)
def docs(request, new_url):
    """A session, a mapped class with an index, its ids and vectors."""
    database, kind = request.param
    with engine_of(database, new_url) as engine, Session(engine) as session:
        entity = mapped(kind, "l2")
        entity.metadata.create_all(engine)
        data = clustered(400, 33)
        yield session, entity, add(session, entity, data), data, kind == "exact"


def test_nearest_in_joins_and_subqueries(docs):
    session, entity, ids, data, exact = docs
    query = clustered(1, 34)[0]
    expected = [id for id, _ in search(session, entity, query, 12, metric="l2")]
    hit = nearest(entity.embedding, query, 12, metric="l2")
    rows = session.execute(
        select(entity, hit.c.distance).join(hit, hit.c.id == entity.id).order_by(hit.c.distance)
    ).all()
    assert [doc.id for doc, _ in rows] == expected
    assert (
        session.scalars(select(hit.c.id).join_from(hit, entity, hit.c.id == entity.id)).all().sort()
        == expected[:].sort()
    )
    inside = select(hit.c.id).scalar_subquery()
    assert set(session.scalars(select(entity.id).where(entity.id.in_(inside)))) == set(expected)
    other = aliased(entity)
    of_other = nearest(other.embedding, query, 12, metric="l2", where=other.part == 3)
    found = session.scalars(select(other).join(of_other, of_other.c.id == other.id)).all()
    among = ids % 10 == 3
    assert {doc.part for doc in found} == {3}
    assert len(found) == 12
    pairs = select(hit.c.id, of_other.c.id).select_from(hit).join(of_other, of_other.c.id == hit.c.id)
    assert {a for a, b in session.execute(pairs)} == set(expected) & {doc.id for doc in found}
    counted = select(sqlalchemy.func.count()).select_from(hit).scalar_subquery()
    assert session.scalar(select(counted)) == 12
    both = sqlalchemy.union_all(select(hit.c.id), select(of_other.c.id))
    assert sorted(session.scalars(both)) == sorted([*expected, *(doc.id for doc in found)])
    cte = select(hit.c.id, hit.c.distance).cte("nearest_docs")
    assert sorted(session.scalars(select(cte.c.id))) == sorted(expected)
    if exact:
        hits = search(session, entity, query, 12, metric="l2", where=entity.part == 3)
        assert check_search(hits, "l2", ids[among], data[among], query, 12, exact=True) == 1


def test_conditions_of_any_kind(docs):
    session, entity, ids, data, exact = docs
    session.execute(text("CREATE TABLE chosen (doc INTEGER)"))
    session.execute(text("INSERT INTO chosen SELECT id FROM doc WHERE id % 7 = 0"))
    chosen = sqlalchemy.table("chosen", sqlalchemy.column("doc", Integer))
    query = clustered(1, 35)[0]
    other = aliased(entity)
    conditions = [
        (entity.id.in_(select(chosen.c.doc)), ids % 7 == 0),
        (select(chosen.c.doc).where(chosen.c.doc == entity.id).exists(), ids % 7 == 0),
        (entity.part == select(sqlalchemy.func.max(other.part)).scalar_subquery(), ids % 10 == 9),
        (sqlalchemy.and_(entity.part > 2, entity.id != 5), (ids % 10 > 2) & (ids != 5)),
        (sqlalchemy.or_(entity.part == 1, entity.id.between(10, 20)), (ids % 10 == 1) | ((ids >= 10) & (ids <= 20))),
        (sqlalchemy.true(), ids > 0),
        (sqlalchemy.false(), ids < 0),
        (entity.part.is_(None), ids < 0),
        (entity.id.in_([]), ids < 0),
        (entity.id.in_(range(50, 90)), (ids >= 50) & (ids < 90)),
    ]
    for where, among in conditions:
        for k in (3, 500):
            hits = search(session, entity, query, k, metric="l2", where=where)
            assert check_search(hits, "l2", ids[among], data[among], query, k, exact=exact) >= 0.6


def test_parameters_and_statements_that_are_compiled_once(docs):
    session, entity, ids, data, exact = docs
    hit = nearest(
        entity.embedding, bindparam("query"), bindparam("k"), metric="l2", where=entity.part == bindparam("part")
    )
    statement = select(hit.c.id, hit.c.distance).order_by(hit.c.distance, hit.c.id)
    for number, query in enumerate(clustered(4, 36)):
        among = ids % 10 == number
        hits = session.execute(statement, {"query": query, "k": 5 + number, "part": number}).all()
        assert check_search(hits, "l2", ids[among], data[among], query, 5 + number, exact=exact) >= 0.6
    # As many statements as there are forms, not one for each query, condition's value or k.
    engine = session.get_bind()
    before = len(engine._compiled_cache)
    for number, query in enumerate(clustered(5, 37)):
        search(session, entity, query, 3 + number, metric="l2", where=entity.part == number)
        search(session, entity, query, 3 + number, metric="l2")
    assert len(engine._compiled_cache) == before + 2


def test_another_metric_is_searched_without_the_index(docs):
    session, entity, ids, data, _ = docs
    query = clustered(1, 38)[0]
    for metric in ("cosine", "ip", "l1", "hamming"):
        hit = nearest(entity.embedding, query, 4, metric=metric)
        assert "kv_knn" not in str(select(hit).compile(dialect=sqlite.dialect()))
        assert check_search(search(session, entity, query, 4, metric=metric), metric, ids, data, query, 4, exact=True)
    hits = search(session, entity, query, 4, metric="l2", exact=True)
    assert check_search(hits, "l2", ids, data, query, 4, exact=True) == 1


def test_what_a_search_is_compiled_to():
    entity = mapped("hnsw", "l2")
    query = clustered(1, 39)[0]
    hit = select(nearest(entity.embedding, query, 4, metric="l2", where=entity.part > 3))
    on_sqlite = str(hit.compile(dialect=sqlite.dialect()))
    assert "kv_knn(?, ?, ?, (SELECT kv_idset(doc.id)" in on_sqlite
    on_postgresql = str(hit.compile(dialect=postgresql.dialect()))
    assert "set_config" in on_postgresql
    assert "UNION ALL" in on_postgresql
    # Where pgvector has no such index.
    for none in (mapped("exact", "l2"), mapped("hnsw", "l2", dimensions=2001), mapped(None)):
        assert "UNION" not in str(
            select(nearest(none.embedding, np.ones(none.embedding.type.dimensions), metric="l2")).compile(
                dialect=postgresql.dialect()
            )
        )


@pytest.mark.parametrize(
    ("elem", "metric"),
    [
        ("f32", "ip"),
        ("f16", "cosine"),
        ("f16", "l2"),
        ("f16", "ip"),
        ("f16", "l1"),
        ("i8", "cosine"),
        ("i8", "l2"),
        ("i8", "ip"),
        ("i8", "l1"),
        ("bit", "hamming"),
    ],
)
@pytest.mark.parametrize(
    ("database", "kind"), [("sqlite", "exact"), ("sqlite", "auto"), ("postgresql", "hnsw"), ("postgresql", "ivfflat")]
)
def test_every_type_of_elements(new_url, database, kind, elem, metric):
    dimensions = 21
    with engine_of(database, new_url) as engine, Session(engine) as session:
        entity = mapped(kind, metric, elem, dimensions)
        entity.metadata.create_all(engine)
        rng = np.random.default_rng(40)
        if elem == "bit":
            data = rng.integers(0, 2, (400, dimensions)).astype(bool)
            queries = rng.integers(0, 2, (6, dimensions)).astype(bool)
        elif elem == "i8":
            data, queries = (np.clip(clustered(n, 41, dimensions) * 20, -128, 127).astype(np.int8) for n in (400, 6))
        else:
            dtype = np.float16 if elem == "f16" else np.float32
            data, queries = (clustered(n, 42, dimensions).astype(dtype) for n in (400, 6))
        ids = add(session, entity, data)
        if kind == "ivfflat":
            the_index(entity).create(session.connection())
        shares = []
        exact = kind == "exact" or (database == "sqlite" and metric in ("l1", "hamming"))
        for query in queries:
            hits = search(session, entity, query, 10, metric=metric)
            shares.append(check_search(hits, metric, ids, data, query, 10, exact=exact))
        assert np.mean(shares) >= 0.9
        check(engine, the_index(entity))


def test_lists_of_ivfflat_are_probed(new_url):
    with engine_of("postgresql", new_url) as engine, Session(engine) as session:
        data = clustered(3000, 43)
        shares = {}
        for probes in (1, 25):
            table = f"doc_{probes}"
            entity = mapped("ivfflat", "l2", table=table, name=f"ix_{probes}", lists=50, probes=probes)
            entity.metadata.create_all(engine)
            ids = add(session, entity, data)
            build_index(bind_to(engine), the_index(entity), optimizes=True)
            session.execute(text("ANALYZE"))
            session.execute(text("SET enable_seqscan = off"))
            session.execute(text("SET enable_sort = off"))
            shares[probes] = np.mean(
                [
                    check_search(
                        search(session, entity, query, 10, metric="l2"), "l2", ids, data, query, 10, exact=False
                    )
                    for query in np.random.default_rng(44).standard_normal((20, DIMENSIONS)).astype(np.float32)
                ]
            )
            session.rollback()
        assert shares[1] < shares[25]
        assert shares[25] > 0.9
