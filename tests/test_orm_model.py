"""The whole model at once: one file, on SQLite and PostgreSQL, on SQLAlchemy 2.0 and 2.1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import Engine, delete, event, func, inspect, select
from sqlalchemy.orm import Session

from kohakuvault import ColumnVault, KVault
from kohakuvault.orm import match, nearest
from orm_model import DIMENSIONS, Base, Doc, Picture, Settings


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)


def a_doc(number: int, body: str = "rust and python", lang: str = "en") -> Doc:
    return Doc(body=body, meta={"lang": lang, "n": number, "tags": ["a", str(number)]}, embedding=vector(number))


@pytest.fixture
def tables(engine: Engine) -> Iterator[Engine]:
    Base.metadata.create_all(engine)
    yield engine
    Base.metadata.drop_all(engine)


@pytest.fixture
def session(tables: Engine) -> Iterator[Session]:
    with Session(tables) as session:
        yield session


def test_one_query_over_packed_values_and_text(session: Session) -> None:
    bodies = ["rust", "rusty nails", "Rust, at last", "no"]
    session.add_all([a_doc(number, body) for number, body in enumerate(bodies)])
    session.add(a_doc(9, "rust", lang="de"))
    session.commit()
    found = session.scalars(select(Doc).where(Doc.meta["lang"].as_string() == "en", match(Doc.body, "rust")))
    assert sorted(doc.meta["n"] for doc in found) == [0, 2]


def test_a_search_by_vector_with_a_condition_on_a_packed_value(session: Session) -> None:
    session.add_all([a_doc(number, lang="en" if number % 2 else "de") for number in range(20)])
    session.commit()
    hit = nearest(Doc.embedding, vector(4), k=3, where=Doc.meta["lang"].as_string() == "de")
    docs = session.scalars(select(Doc).join(hit, hit.c.id == Doc.id).order_by(hit.c.distance)).all()
    assert docs[0].meta["n"] == 4
    assert len(docs) == 3
    assert {doc.meta["lang"] for doc in docs} == {"de"}


def test_every_attribute_comes_back_as_it_was(session: Session) -> None:
    doc = a_doc(1)
    doc.thumb = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    doc.samples = np.array([[1.5, -0.0], [np.inf, 3]], np.float32)
    doc.theme = Settings(key="theme", value={"dark": True})
    session.add(doc)
    doc.settings["page"] = 3
    doc.readings.extend([1.0, 2.5])
    session.commit()
    session.expunge_all()

    doc = session.scalars(select(Doc)).one()
    assert doc.meta == {"lang": "en", "n": 1, "tags": ["a", "1"]}
    assert doc.embedding.tobytes() == vector(1).tobytes()
    assert doc.thumb.tolist() == np.arange(48).reshape(4, 4, 3).tolist()
    assert doc.samples.tobytes() == np.array([[1.5, -0.0], [np.inf, 3]], np.float32).tobytes()
    assert doc.theme.value == {"dark": True} == KVault(session, Settings)["theme"]
    assert dict(doc.settings) == {"page": 3}
    assert doc.readings[:] == [1.0, 2.5]


def test_a_change_inside_a_packed_value_is_saved(session: Session) -> None:
    doc = a_doc(1)
    session.add(doc)
    session.commit()
    doc.meta["n"] += 1
    doc.meta["tags"].append("new")
    session.commit()
    session.expunge_all()
    assert session.scalars(select(Doc)).one().meta == {"lang": "en", "n": 2, "tags": ["a", "1", "new"]}


def test_a_rollback_undoes_all_of_it(session: Session) -> None:
    doc = a_doc(1)
    session.add(doc)
    doc.settings["a"] = 1
    doc.readings.append(1.0)
    session.commit()
    doc.settings["a"] = 2
    doc.readings.append(2.0)
    doc.meta["n"] = 100
    ColumnVault(session).create_column("own", "i64").append(1)
    KVault(session, Settings)["x"] = 1
    session.add(Picture(vector=vector(1), value=None))
    session.rollback()
    assert dict(doc.settings) == {"a": 1}
    assert doc.readings[:] == [1.0]
    assert doc.meta["n"] == 1
    assert list(ColumnVault(session)) == []
    assert len(KVault(session, Settings)) == 0
    assert session.scalar(select(func.count(Picture.id))) == 0


def test_what_belongs_to_a_row_goes_with_it(session: Session) -> None:
    docs = [a_doc(number) for number in range(3)]
    session.add_all(docs)
    for doc in docs:
        doc.settings["n"] = doc.meta["n"]
        doc.readings.extend(range(1000))
    session.commit()
    session.execute(delete(Doc).where(Doc.id == docs[0].id))
    session.delete(docs[1])
    session.commit()
    (column,) = ColumnVault(session).check() or [None]
    assert column is None
    tables = Base.metadata.tables
    assert session.scalar(select(func.count()).select_from(tables["doc_settings"])) == 1
    names = session.scalars(select(Doc.id).where(match(Doc.body, "rust"))).all()
    assert names == [docs[2].id]
    assert [row.id for row in session.execute(select(nearest(Doc.embedding, vector(0), k=5)))] == [docs[2].id]


def test_statements_are_compiled_once(session: Session) -> None:
    compiled: list[str] = []

    def executed(connection, cursor, statement, parameters, context, many) -> None:
        if context is not None and context.compiled is not None and context.cache_hit.name != "CACHE_HIT":
            compiled.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", executed)
    session.add(a_doc(0))
    session.commit()
    for number in range(1, 4):
        if number == 2:
            compiled.clear()
        session.add(a_doc(number))
        session.commit()
        hit = nearest(Doc.embedding, vector(number), k=number, where=Doc.meta["n"].as_integer() < number)
        session.execute(select(Doc.id).join(hit, hit.c.id == Doc.id)).all()
        session.scalars(select(Doc).where(Doc.meta["tags"].contains([str(number)]), match(Doc.body, "rust"))).all()
    assert compiled == []


def test_create_all_and_drop_all_leave_nothing(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(a_doc(1))
        session.commit()
    Base.metadata.drop_all(engine)
    left = {name for name in inspect(engine).get_table_names() if not name.startswith("vault_")}
    assert left == set()
