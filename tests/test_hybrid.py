"""Hybrid search: words and vectors ranked together, against the same made of the two searches in Python."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from kohakuvault import InvalidArgument, TextVault, UnsupportedType, VectorKVault, create_engine
from kohakuvault.orm import TextIndex, Vector, VectorIndex, hybrid_search, nearest, text_search


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    lang: Mapped[str]
    body: Mapped[str]
    embedding: Mapped[np.ndarray] = mapped_column(Vector(2))
    __table_args__ = (TextIndex("doc_text", "body"), VectorIndex("doc_vector", "embedding", kind="auto"))


ROWS = [
    ("en", "gzip compress", [1, 0]),
    ("en", "make a file smaller", [0.9, 0.1]),
    ("de", "gzip gzip gzip", [0, 1]),
    ("en", "sleep", [-1, 0.5]),
    ("de", "nothing of it", [0.8, 0.3]),
]


@pytest.fixture
def session(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Doc(lang=lang, body=body, embedding=vector) for lang, body, vector in ROWS])
        session.commit()
        yield session


def hits(session, found) -> list[tuple]:
    columns = (found.c.id, found.c.score, found.c.text_rank, found.c.vector_rank)
    return [tuple(row) for row in session.execute(select(*columns).order_by(found.c.score.desc(), found.c.id))]


def fused(by_words, by_vectors, k, weights=(1, 1), constant=60):
    """What reciprocal rank fusion makes of two lists of ids, the best first."""
    ranks = [{id: rank for rank, id in enumerate(ids, 1)} for ids in (by_words, by_vectors)]
    rows = []
    for id in ranks[0].keys() | ranks[1].keys():
        found = [of.get(id) for of in ranks]
        score = sum(weight / (constant + rank) for weight, rank in zip(weights, found, strict=True) if rank)
        rows.append((id, score, *found))
    return sorted(rows, key=lambda row: (-round(row[1], 12), row[0]))[:k]


def equal(found, expected) -> bool:
    scores = [[row[1] for row in rows] for rows in (found, expected)]
    rest = [[(row[0], *row[2:]) for row in rows] for rows in (found, expected)]
    return rest[0] == rest[1] and np.allclose(*scores)


def ids_of(session, hit, order) -> list[int]:
    return list(session.scalars(select(hit.c.id).order_by(order, hit.c.id)))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.lists(st.sampled_from(["gzip", "file", "of", "sleep", "nowhere"]), max_size=2).map(" ".join),
    vector=st.sampled_from([[1, 0], [0, 1], [-1, 0.1], [0.5, 0.5]]),
    k=st.integers(0, 6),
    weights=st.sampled_from([(1, 1), (1, 0), (0, 2.5), (3, 1)]),
    constant=st.sampled_from([60, 1, 0.5]),
    candidates=st.sampled_from([None, 1, 2, 5]),
    lang=st.sampled_from([None, "en", "de", "fr"]),
    any_word=st.booleans(),
)
def test_it_is_what_the_two_searches_make_together(
    session, query, vector, k, weights, constant, candidates, lang, any_word
):
    where = None if lang is None else Doc.lang == lang
    depth = candidates or 100
    word_hit = text_search(Doc, query, depth, where=where, any_word=any_word)
    vector_hit = nearest(Doc.embedding, vector, depth, where=where)
    by_words = ids_of(session, word_hit, word_hit.c.score.desc()) if weights[0] else []
    by_vectors = ids_of(session, vector_hit, vector_hit.c.distance) if weights[1] else []
    found = hybrid_search(
        Doc,
        query,
        Doc.embedding,
        vector,
        k,
        where=where,
        weights=weights,
        rank_constant=constant,
        candidates=candidates,
        any_word=any_word,
    )
    assert equal(hits(session, found), fused(by_words, by_vectors, k, weights, constant))


@contextmanager
def statements(engine):
    seen: list[str] = []

    def note(connection, cursor, statement, *others):
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_it_is_one_statement_that_sees_what_is_not_committed(session):
    session.add(Doc(lang="en", body="gzip too", embedding=[1, 0.01]))
    session.flush()
    found = hybrid_search(Doc, "gzip", Doc.embedding, [1, 0], k=3)
    with statements(session.get_bind()) as seen:
        rows = session.execute(
            select(Doc.body, found.c.score).join(found, found.c.id == Doc.id).order_by(found.c.score.desc(), Doc.id)
        ).all()
    assert len(seen) == 1
    assert rows[0][0] in ("gzip compress", "gzip too")
    assert {row[0] for row in rows[:2]} == {"gzip compress", "gzip too"}
    session.rollback()
    assert len(hits(session, found)) == 3
    assert 6 not in [row[0] for row in hits(session, found)]


def test_the_filter_comes_first(session):
    found = hybrid_search(Doc, "gzip", Doc.embedding, [1, 0], k=2, where=Doc.lang == "de", candidates=2)
    assert [(id, *ranks) for id, _, *ranks in hits(session, found)] == [(3, 1, 2), (5, None, 1)]


def test_any_word_is_enough_unless_all_are_asked_for(session):
    found = hybrid_search(Doc, "how to compress a file", Doc.embedding, [-1, 0.5], weights=(1, 0))
    assert {row[0] for row in hits(session, found)} == {1, 2}
    found = hybrid_search(Doc, "how to compress a file", Doc.embedding, [-1, 0.5], weights=(1, 0), any_word=False)
    assert hits(session, found) == []
    query = '"compress" OR "sleep"' if session.get_bind().dialect.name == "sqlite" else "compress | sleep"
    found = hybrid_search(Doc, query, Doc.embedding, [-1, 0.5], weights=(1, 0), escape=False)
    assert {row[0] for row in hits(session, found)} == {1, 4}


def test_parameters_and_aliases(session):
    other = aliased(Doc)
    found = hybrid_search(
        other,
        bindparam("query"),
        other.embedding,
        bindparam("vector", type_=Vector(2)),
        bindparam("k"),
        where=other.lang == bindparam("lang"),
    )
    statement = select(other.body).join(found, found.c.id == other.id).order_by(found.c.score.desc(), other.id)
    for lang, expected in (
        ("en", ["gzip compress", "make a file smaller"]),
        ("de", ["gzip gzip gzip", "nothing of it"]),
    ):
        given = {"query": "gzip", "vector": [1, 0], "k": 2, "lang": lang}
        assert session.scalars(statement, given).all() == expected


def test_the_compiled_statement_is_cached(engine, session):
    cache = {}
    connection = session.connection(execution_options={"compiled_cache": cache})
    for query, vector, k in (("gzip", [1, 0], 2), ("file", [0, 1], 3)):
        found = hybrid_search(Doc, query, Doc.embedding, vector, k, where=Doc.lang == query)
        connection.execute(select(found.c.id)).all()
    assert len(cache) == 1


def test_wrong_arguments(session):
    for options, error in (
        ({"k": -1}, InvalidArgument),
        ({"k": "5"}, InvalidArgument),
        ({"weights": (0, 0)}, InvalidArgument),
        ({"weights": (1, -1)}, InvalidArgument),
        ({"weights": (1, float("nan"))}, InvalidArgument),
        ({"weights": 1}, UnsupportedType),
        ({"weights": (1, 2, 3)}, UnsupportedType),
        ({"rank_constant": -1}, InvalidArgument),
        ({"rank_constant": "60"}, InvalidArgument),
        ({"candidates": 0}, InvalidArgument),
        ({"metric": "euclid"}, InvalidArgument),
    ):
        with pytest.raises(error):
            hybrid_search(Doc, "gzip", Doc.embedding, [1, 0], **options)
    with pytest.raises(UnsupportedType):
        hybrid_search(Doc, 5, Doc.embedding, [1, 0])
    with pytest.raises((InvalidArgument, UnsupportedType)):
        hybrid_search(Doc, "gzip", Doc.embedding, None)
    with pytest.raises(InvalidArgument, match="zero vector"):
        hybrid_search(Doc, "gzip", Doc.embedding, [0, 0])


# -- two vaults ------------------------------------------------------------------------------------------


@pytest.fixture
def vaults(engine):
    texts = TextVault(engine, metadata={"lang": Doc.__table__.c.lang.type})
    vectors = VectorKVault(texts, dimensions=2)
    ids = texts.insert_many([(body, number, {"lang": lang}) for number, (lang, body, _) in enumerate(ROWS)])
    vectors.upsert_many(ids, [vector for _, _, vector in ROWS])
    return texts, vectors


def test_two_vaults(vaults):
    texts, vectors = vaults
    found = texts.hybrid_search("gzip", [1, 0], vectors=vectors)
    by_words = [row[0] for row in texts.search("gzip")]
    by_vectors = [row[0] for row in vectors.search([1, 0])]
    expected = fused(by_words, by_vectors, 10)
    assert [(id, value) for id, _, value in found] == [(row[0], row[0] - 1) for row in expected]
    assert np.allclose([score for _, score, _ in found], [row[1] for row in expected])
    assert [id for id, _, _ in texts.hybrid_search("gzip", [1, 0], 2, vectors=vectors, where={"lang": "de"})] == [3, 5]
    assert [id for id, _, _ in texts.hybrid_search("", [1, 0], 1, vectors=vectors)] == [1]
    only_words = texts.hybrid_search("gzip", [1, 0], vectors=vectors, weights=(1, 0))
    assert [id for id, _, _ in only_words] == by_words
    question = {"query": "what is sleep for", "query_vector": [1, 0], "vectors": vectors, "weights": (1, 0)}
    assert [id for id, _, _ in texts.hybrid_search(**question)] == [4]
    assert texts.hybrid_search(**question, any_word=False) == []
    with statements(texts.engine) as seen:
        texts.hybrid_search("file", [0, 1], vectors=vectors)
    assert len(seen) <= 1


def test_a_vector_without_a_text_takes_nobodys_place(vaults):
    texts, vectors = vaults
    texts.delete(1)
    found = texts.hybrid_search("sleep", [1, 0], 3, vectors=vectors)
    assert [id for id, _, _ in found] == [4, 2, 5]


def test_vaults_join_a_session(engine):
    with Session(engine) as session:
        texts = TextVault(session)
        vectors = VectorKVault(session, dimensions=2)
        vectors.upsert(texts.insert("gzip", "a"), [1, 0])
        assert texts.hybrid_search("gzip", [1, 0], vectors=vectors)[0][2] == "a"
        session.rollback()
        assert texts.hybrid_search("gzip", [1, 0], vectors=vectors) == []


def test_wrong_vaults(vaults):
    texts, vectors = vaults
    with pytest.raises(UnsupportedType, match="vectors is a VectorKVault"):
        texts.hybrid_search("a", [1, 0], vectors=texts)
    with pytest.raises(InvalidArgument, match="two engines"):
        texts.hybrid_search("a", [1, 0], vectors=VectorKVault(create_engine(":memory:"), dimensions=2))
    with pytest.raises(InvalidArgument):
        texts.hybrid_search("a", [1, 0, 0], vectors=vectors)
    wrong = "a AND" if texts.engine.dialect.name == "sqlite" else "a &"
    with pytest.raises(InvalidArgument, match="at position"):
        texts.hybrid_search(wrong, [1, 0], vectors=vectors, escape=False)
