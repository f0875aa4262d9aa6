"""The contract of VectorKVault and of nearest(), on every database and kind of bind."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from kohakuvault import (
    CorruptValue,
    InvalidArgument,
    NotFound,
    SchemaMismatch,
    UnsupportedType,
    VectorKVault,
)
from kohakuvault.orm import Vector, nearest
from vector_indexes import METRICS
from vector_indexes import distances as reference


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((300, 24)).astype(np.float32)


def test_the_vault_contract(bind):
    search = VectorKVault(bind, "search", dimensions=3, metric="l2")
    assert search.search([1, 2, 3]) == []
    assert not search
    with pytest.raises(NotFound, match="empty"):
        search.get([1, 2, 3])
    first = search.insert([0, 0, 0], {"name": "origin"})
    assert search.insert_many(np.eye(3), ["x", "y", "z"]) == [first + 1, first + 2, first + 3]
    search[np.array([5.0, 5.0, 5.0])] = None
    assert len(search) == search.count() == 5
    assert search
    assert list(search) == list(range(first, first + 5))
    hits = search.search(np.array([0.9, 0, 0]), k=2)
    assert [(id, value) for id, _, value in hits] == [(first + 1, "x"), (first, {"name": "origin"})]
    assert hits[0][1] == pytest.approx(0.1, abs=1e-6)
    assert isinstance(hits[0][1], float)
    assert search.get((0, 0.9, 0)) == search[[0, 0.9, 0]] == "y"
    vector, value = search.get_by_id(first + 3)
    assert vector.dtype == np.float32
    assert vector.tolist() == [0, 0, 1]
    assert value == "z"
    search.update(first, value="changed")
    search.update(first + 1, vector=[9, 9, 9])
    assert search.get_by_id(first)[1] == "changed"
    assert search.get([9, 9, 9]) == "x"
    search.update(first + 1, value=None)
    assert search.get_by_id(first + 1)[1] is None
    search.delete(first)
    assert first not in search
    assert search.exists(first + 1)
    for operation in (search.delete, search.get_by_id, lambda id: search.update(id, value=1)):
        with pytest.raises(NotFound, match=f"no id {first}"):
            operation(first)
    info = search.info()
    assert (info["table"], info["dimensions"], info["metric"], info["count"]) == ("search", 3, "l2", 4)
    assert (info["index"]["kind"], info["index"]["in_use"]) == ("auto", None)
    search.clear()
    assert len(search) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_search_is_exact_and_agrees_with_numpy(engine, data, metric):
    search = VectorKVault(engine, "search", dimensions=24, metric=metric)
    ids = search.insert_many(data, range(len(data)))
    for query in np.random.default_rng(6).standard_normal((5, 24)).astype(np.float32):
        expected = reference(metric, data, query)
        for k in (1, 10, 299, 300, 1000):
            hits = search.search(query, k)
            distances = np.array([distance for _, distance, _ in hits])
            assert len(hits) == min(k, 300)
            assert np.allclose(distances, np.sort(expected)[:k], rtol=1e-6, atol=1e-6)
            assert np.allclose(distances, [expected[value] for _, _, value in hits], rtol=1e-6, atol=1e-6)
            assert len({id for id, _, _ in hits}) == len(hits)
        assert {id for id, _, _ in hits} == set(ids)
    assert search.search(query, 0) == []


def test_every_metric_can_be_asked_for(engine, data):
    search = VectorKVault(engine, "search", dimensions=24, metric="cosine")
    search.insert_many(data, range(len(data)))
    for metric in METRICS:
        (_, distance, value), *_ = search.search(data[7] * 2, 1, metric=metric)
        assert distance == pytest.approx(reference(metric, data, data[7] * 2).min(), rel=1e-6, abs=1e-6)
        assert value == int(reference(metric, data, data[7] * 2).argmin()) or metric == "hamming"


finite = st.floats(-1e3, 1e3, width=32)


@settings(max_examples=60, deadline=None)
@given(
    data=hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(5)), elements=finite),
    query=hnp.arrays(np.float32, 5, elements=finite),
    metric=st.sampled_from(["l2", "l1", "hamming", "ip"]),
)
def test_search_agrees_with_numpy_on_any_vectors(data, query, metric):
    search = VectorKVault(":memory:", dimensions=5, metric=metric)
    search.insert_many(data)
    distances = [distance for _, distance, _ in search.search(query, 20)]
    # The terms of an inner product may cancel out.
    scale = np.linalg.norm(data.astype(float), axis=1).max() * np.linalg.norm(query.astype(float))
    tolerance = 1e-6 * scale if metric == "ip" else 1e-4
    assert np.allclose(distances, np.sort(reference(metric, data, query)), rtol=1e-5, atol=tolerance)


BAD_VECTORS = [
    ([1, 2], InvalidArgument),
    ([1, 2, 3, 4], InvalidArgument),
    ([[1, 2, 3]], UnsupportedType),
    (np.array([[1, 2, 3]]), InvalidArgument),
    ([], InvalidArgument),
    ([1, float("nan"), 3], InvalidArgument),
    (np.array([1, np.inf, 3]), InvalidArgument),
    ([1e300, 0, 0], InvalidArgument),
    ([0, 0, 0], InvalidArgument),
    (b"\0" * 11, InvalidArgument),
    ("abc", UnsupportedType),
    (["a", "b", "c"], UnsupportedType),
    (None, UnsupportedType),
    (5, UnsupportedType),
    (np.array([1j, 0, 0]), UnsupportedType),
]


@pytest.mark.parametrize(("vector", "error"), BAD_VECTORS, ids=range(len(BAD_VECTORS)))
def test_a_bad_vector_is_a_named_error_and_changes_nothing(engine, vector, error):
    search = VectorKVault(engine, "search", dimensions=3)
    search.insert([1, 2, 3], "good")
    operations = [
        lambda: search.insert(vector, "bad"),
        lambda: search.insert_many([[4, 5, 6], vector], ["good too", "bad"]),
        lambda: search.search(vector),
        lambda: search.get(vector),
    ]
    if vector is not None:
        operations.append(lambda: search.update(1, vector=vector))
    for operation in operations:
        with pytest.raises(error):
            operation()
    assert len(search) == 1
    assert search.get([1, 2, 3]) == "good"


def test_bad_arguments_are_named(engine):
    search = VectorKVault(engine, "search", dimensions=3)
    for k in (-1, 1.5, "3", True, None):
        with pytest.raises(InvalidArgument, match="k is"):
            search.search([1, 2, 3], k)
    with pytest.raises(InvalidArgument, match="expected one of cosine, l2, l1, hamming"):
        search.search([1, 2, 3], metric="dot")
    with pytest.raises(InvalidArgument, match="2 vectors need as many values, not 1"):
        search.insert_many([[1, 2, 3], [4, 5, 6]], ["one"])
    with pytest.raises(InvalidArgument, match=r"\(n, 3\)"):
        search.insert_many(np.zeros((2, 4)))
    for zero in (0, -3, 1.5, True, 16_001):
        with pytest.raises(InvalidArgument, match="dimensions"):
            VectorKVault(engine, "other", dimensions=zero)
    with pytest.raises(InvalidArgument, match="metric"):
        VectorKVault(engine, "other", dimensions=3, metric="euclid")
    with pytest.raises(UnsupportedType, match="id"):
        search.get_by_id("1")
    assert len(search) == 0


def test_it_opens_only_with_what_it_was_made_with(engine):
    VectorKVault(engine, "search", dimensions=3, metric="l2").insert([1, 2, 3], "kept")
    with pytest.raises(SchemaMismatch, match="dimensions=3, not 4"):
        VectorKVault(engine, "search", dimensions=4, metric="l2")
    with pytest.raises(SchemaMismatch, match="metric='l2', not 'cosine'"):
        VectorKVault(engine, "search", dimensions=3)
    assert VectorKVault(engine, "search", dimensions=3, metric="l2").get([1, 2, 3]) == "kept"


def test_a_zero_vector_is_last_by_cosine(engine):
    search = VectorKVault(engine, "search", dimensions=2, metric="l2")
    search.insert_many([[0, 0], [1, 0], [-1, 0]], ["zero", "near", "far"])
    hits = search.search([1, 0], metric="cosine")
    assert [value for _, _, value in hits] == ["near", "far", "zero"]
    assert [distance for _, distance, _ in hits] == pytest.approx([0, 2, float("nan")], nan_ok=True)


def test_a_corrupt_vector_is_a_named_error(tmp_path):
    search = VectorKVault(tmp_path / "x.db", "search", dimensions=3)
    search.insert_many(np.eye(3), "abc")
    with search.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE search SET vector = x'0011' WHERE id = 2"))
    with pytest.raises(CorruptValue, match="2 bytes"):
        search.get_by_id(2)
    with pytest.raises(Exception, match="2"):
        search.search([1, 0, 0])
    assert search.get_by_id(1)[1] == "a"
    search.update(2, vector=[0, 1, 0])
    assert search.get([0, 1, 0]) == "b"


# -- the same in the application's own statements ----------------------------------------------------


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    lang: Mapped[str]
    embedding: Mapped[np.ndarray | None] = mapped_column(Vector(24))


class Page(Base):
    __tablename__ = "page"
    url: Mapped[str] = mapped_column(primary_key=True)
    embedding: Mapped[np.ndarray] = mapped_column(Vector(24))


@pytest.fixture
def session(engine, data):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            Doc(id=number, lang=("en", "de", "fr")[number % 3], embedding=vector) for number, vector in enumerate(data)
        )
        session.add(Doc(id=1000, lang="en", embedding=None))
        session.add_all(Page(url=f"/page/{number}", embedding=vector) for number, vector in enumerate(data[:50]))
        session.commit()
        yield session


def test_vectors_are_ordinary_attributes(session, data):
    doc = session.get(Doc, 3)
    assert doc.embedding.dtype == np.float32
    assert np.array_equal(doc.embedding, data[3])
    doc.embedding = data[4]
    session.commit()
    assert np.array_equal(session.scalar(sqlalchemy.select(Doc.embedding).where(Doc.id == 3)), data[4])
    assert session.get(Doc, 1000).embedding is None
    session.add(Doc(id=2000, lang="en", embedding=[1.0, 2.0]))
    with pytest.raises(sqlalchemy.exc.StatementError, match="24"):
        session.flush()


@pytest.mark.parametrize("metric", METRICS)
def test_nearest_joins_filters_first_and_orders(session, data, metric):
    query = data[5] + np.float32(0.1)
    expected = reference(metric, data, query)
    english = np.arange(0, 300, 3)
    for where, candidates in [(None, np.arange(300)), (Doc.lang == "en", english), (Doc.id < 0, english[:0])]:
        hit = nearest(Doc.embedding, query, k=10, where=where, metric=metric)
        found = session.execute(
            sqlalchemy.select(Doc, hit.c.distance).join(hit, hit.c.id == Doc.id).order_by(hit.c.distance, Doc.id)
        ).all()
        distances = [distance for _, distance in found]
        assert len(found) == min(10, len(candidates))
        assert np.allclose(distances, np.sort(expected[candidates])[:10], rtol=1e-6, atol=1e-6)
        assert {doc.id for doc, _ in found} <= set(candidates.tolist())


def test_nearest_composes(session, data):
    hit = nearest(Doc.embedding, data[7], k=3)
    inner = sqlalchemy.select(hit.c.id).where(hit.c.distance < 0.5).scalar_subquery()
    assert session.scalars(sqlalchemy.select(Doc.lang).where(Doc.id.in_(inner))).first() == "de"
    other = nearest(Doc.embedding, data[8], k=1)
    both = sqlalchemy.select(hit.c.id, other.c.id).join(other, other.c.id != hit.c.id).order_by(hit.c.distance)
    assert tuple(session.execute(both).first()) == (7, 8)
    doc = aliased(Doc)
    hit = nearest(doc.embedding, data[9], k=1)
    assert session.scalar(sqlalchemy.select(doc.id).join(hit, hit.c.id == doc.id)) == 9
    hit = nearest(Page.embedding, data[11], k=1)
    assert session.scalar(sqlalchemy.select(Page.url).join(hit, hit.c.id == Page.url)) == "/page/11"
    hit = nearest(Doc.__table__.c.embedding, data[12], k=1, key=Doc.__table__.c.lang)
    assert session.scalar(sqlalchemy.select(hit.c.id)) == "en"
    subquery = sqlalchemy.select(Doc.id).where(Doc.lang == "fr")
    hit = nearest(Doc.embedding, data[0], k=2, where=Doc.id.in_(subquery))
    assert all(id % 3 == 2 for id in session.scalars(sqlalchemy.select(hit.c.id)))


def test_statements_with_other_vectors_share_one_cache_entry(session, data):
    def search(vector, k):
        hit = nearest(Doc.embedding, vector, k=k, where=Doc.lang == "en")
        return session.execute(sqlalchemy.select(hit.c.id, hit.c.distance).order_by(hit.c.distance)).all()

    assert search(data[3], 2)[0].id == 3
    size = len(session.get_bind()._compiled_cache)
    assert search(data[6], 5)[0].id == 6
    assert len(search(data[9], 7)) == 7
    assert len(session.get_bind()._compiled_cache) == size


def distance_by(metric):
    return Doc.embedding.max_inner_product if metric == "ip" else getattr(Doc.embedding, f"{metric}_distance")


@pytest.mark.parametrize("metric", METRICS)
def test_distances_in_select_where_and_order_by(session, data, metric):
    query = data[5] + np.float32(0.1)
    expected = reference(metric, data, query)
    distance = distance_by(metric)(query)
    rows = session.execute(sqlalchemy.select(Doc.id, distance).where(Doc.id < 300).order_by(Doc.id)).all()
    assert np.allclose([value for _, value in rows], expected, rtol=1e-6, atol=1e-6)
    limit = float(np.sort(expected)[20]) + 1e-4
    near = set(session.scalars(sqlalchemy.select(Doc.id).where(distance < limit)))
    assert near == set(np.flatnonzero(expected < limit).tolist())
    assert session.scalar(sqlalchemy.select(distance).where(Doc.id == 1000)) is None
    between = sqlalchemy.select(distance_by(metric)(Doc.embedding)).where(Doc.id == 3)
    assert session.scalar(between) == pytest.approx(reference(metric, data[3:4], data[3])[0], rel=1e-6, abs=1e-6)


def test_a_fresh_postgresql_gets_the_extension_with_the_first_vectors(postgresql_url):
    admin = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    for number, make in enumerate([Base.metadata.create_all, lambda engine: VectorKVault(engine, dimensions=3)]):
        with admin.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE fresh_{number}"))
        engine = sqlalchemy.create_engine(postgresql_url.set(database=f"fresh_{number}"))
        make(engine)
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")) == 1
        engine.dispose()
    admin.dispose()


def test_nearest_says_what_is_wrong(session, data):
    for operation in (
        lambda: nearest(Doc.embedding, data[0][:5]),
        lambda: nearest(Doc.embedding, [float("nan")] * 24),
        lambda: nearest(Doc.embedding, np.zeros(24)),
        lambda: nearest(Doc.embedding, data[0], k=-1),
        lambda: nearest(Doc.embedding, data[0], metric="dot"),
    ):
        with pytest.raises(InvalidArgument):
            operation()


def test_the_rows_of_a_vault_are_mapped(engine, data):
    with Session(engine) as session:
        search = VectorKVault(session, "search", dimensions=24)
        search.insert_many(data[:20], [{"n": n} for n in range(20)])
        row = search.entity
        assert session.scalars(sqlalchemy.select(row).order_by(row.id)).first().value == {"n": 0}
        session.add(row(vector=data[30], value="by the session"))
        assert search.get(data[30]) == "by the session"
        hit = nearest(row.vector, data[7], k=1)
        assert session.scalar(sqlalchemy.select(row.value).join(hit, hit.c.id == row.id)) == {"n": 7}
