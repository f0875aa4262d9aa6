"""The kinds of vector index that other extensions search: vec (sqlite-vec) and vss (sqlite-vss, that is, FAISS)."""

from __future__ import annotations

import importlib.util
import sqlite3
import sqlite3.dbapi2
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Integer, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

import kohakuvault
from kohakuvault import (
    CorruptValue,
    DriverError,
    ExtensionUnavailable,
    InvalidArgument,
    UnknownOption,
    VectorKVault,
    backends,
    create_engine,
    install,
)
from kohakuvault.indexing import ddl
from kohakuvault.indexing.vss import VssStore
from kohakuvault.orm import Vector, VectorIndex, nearest

# Where there is a wheel: setup installs it, and the system's libraries for it. Without those these tests fail, and say
# which package is missing.
HAS_VSS = importlib.util.find_spec("sqlite_vss") is not None

DIMENSIONS = 12
# What finds exactly what comparing every row finds.
EXACT = [("vec", {}, metric) for metric in ("cosine", "l2", "l1")]
if HAS_VSS:
    EXACT += [("vss", {}, metric) for metric in ("cosine", "l2", "l1", "ip")]
# What may miss some.
ROUGH = ["HNSW16,IDMap2", "IVF8,Flat", "PCA6,IVF4,SQ8,IDMap2"] if HAS_VSS else []
KINDS = ["vec", "vss"] if HAS_VSS else ["vec"]


def distances(metric: str, data: np.ndarray, query: np.ndarray) -> np.ndarray:
    """By numpy, in float64."""
    data, query = data.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        return 1 - data @ query / (np.linalg.norm(data, axis=1) * np.linalg.norm(query))
    if metric == "ip":
        return -(data @ query)
    return np.linalg.norm(data - query, ord=1 if metric == "l1" else 2, axis=1)


def vectors(count: int, seed: int = 1, dimensions: int = DIMENSIONS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def check_found(vault: VectorKVault, rows: dict[int, np.ndarray], query: np.ndarray, k: int, where=None) -> None:
    """Check that a search finds what comparing ``rows`` finds."""
    found = vault.search(query, k, where=where)
    ids = np.array(sorted(rows))
    expected = distances(vault.metric, np.array([rows[id] for id in ids]), query) if rows else np.empty(0)
    order = np.lexsort((ids, expected))[:k]
    assert len(found) == min(k, len(rows))
    np.testing.assert_allclose([row[1] for row in found], expected[order], rtol=1e-6, atol=1e-6)
    by_id = dict(zip(ids.tolist(), expected, strict=True))
    np.testing.assert_allclose([row[1] for row in found], [by_id[row[0]] for row in found], rtol=1e-6, atol=1e-6)
    assert len({row[0] for row in found}) == len(found)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


# -- the contract -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options", "metric"), EXACT)
def test_searches_find_what_comparing_every_row_finds_whatever_happened(path, kind, options, metric):
    random = np.random.default_rng(7)
    vault = VectorKVault(path, "v", DIMENSIONS, metric, index=kind, index_options=options, metadata={"lang": Integer()})
    rows: dict[int, np.ndarray] = {}
    langs: dict[int, int] = {}

    def check() -> None:
        query = vectors(1, int(random.integers(1 << 30)))[0]
        for k in (1, 10, len(rows) + 5):
            check_found(vault, rows, query, k)
        for lang, k in ((0, 5), (1, 5), (7, 3)):
            some = {id: vector for id, vector in rows.items() if langs[id] == lang}
            check_found(vault, some, query, k, where={"lang": lang})

    def insert(count: int) -> None:
        new = vectors(count, int(random.integers(1 << 30)))
        # One in a hundred is 7.
        given = [7 if random.random() < 0.01 else int(random.integers(2)) for _ in new]
        ids = vault.insert_many(new, metadata={"lang": given})
        rows.update(zip(ids, new, strict=True))
        langs.update(zip(ids, given, strict=True))

    def some(count: int) -> list[int]:
        return [int(id) for id in random.choice(list(rows), count, replace=False)]

    check()
    insert(900)
    check()
    vault.rebuild_index()
    assert vault.info()["index"]["in_use"] == kind
    assert vault.info()["index"]["pending"] == 0
    check()
    for number in range(4):
        insert(200)
        for id in some(150):
            vault.delete(id)
            del rows[id], langs[id]
        check()
        for id, vector in zip(some(60), vectors(60, number), strict=True):
            vault.update(id, vector=vector)
            rows[id] = vector
        # An id that is gone comes back as another vector.
        gone = max(rows) + 1
        for id, vector in zip([*some(10), gone], vectors(11, 100 + number), strict=True):
            vault.upsert(id, vector, metadata={"lang": 1})
            rows[id], langs[id] = vector, 1
        check()
        with pytest.raises(ZeroDivisionError), vault.transaction():
            vault.delete_many(some(100))
            vault.insert_many(vectors(400, number))
            1 / 0
        check()
        if number == 1:
            vault.rebuild_index()
        vault.close()
        vault = VectorKVault(path, "v", DIMENSIONS, metric, index=kind, metadata={"lang": Integer()})
        check()
    vault.optimize()
    check()
    vault.clear()
    rows.clear()
    langs.clear()
    check()
    vault.rebuild_index()
    insert(20)
    check()


@pytest.mark.parametrize("factory", ROUGH)
def test_what_may_miss_rows_never_gives_too_few_or_wrong_distances(path, factory):
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index="vss", index_options={"factory": factory})
    data = vectors(2000)
    ids = vault.insert_many(data, range(2000))
    vault.rebuild_index()
    assert vault.info()["index"]["factory"] == factory
    assert vault.recall(50).mean > 0.3
    vault.delete_many(ids[:500])
    vault.update(ids[600], vector=data[0])
    data[600] = data[0]
    for query in vectors(5, 2):
        expected = distances("l2", data, query)
        for k in (1, 10, 1400, 2000):
            for where, matches in ((None, 1500), (vault.c.id % 3 == 0, 500), (vault.c.id > ids[-20], 19)):
                found = vault.search(query, k, where=where)
                assert len(found) == min(k, matches)
                np.testing.assert_allclose(
                    [row[1] for row in found], [expected[row[2]] for row in found], rtol=1e-6, atol=1e-6
                )
                assert [row[1] for row in found] == sorted(row[1] for row in found)
    assert vault.search(data[0], 1)[0][2] == 600


ELEMENTS = [
    ("vec", "f16", "l2"),
    ("vec", "i8", "l2"),
    ("vec", "i8", "l1"),
    ("vec", "i8", "cosine"),
    ("vec", "f16", "cosine"),
]
ELEMENTS += [("vss", "f16", "cosine"), ("vss", "i8", "l2")] if HAS_VSS else []


@pytest.mark.parametrize(("kind", "element", "metric"), ELEMENTS)
def test_other_elements_are_searched_too(path, kind, element, metric):
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        vector: Mapped[np.ndarray] = mapped_column(Vector(DIMENSIONS, element))
        __table_args__ = (VectorIndex("ix", "vector", metric=metric, kind=kind),)

    engine = create_engine(path, backends=[kind])
    Base.metadata.create_all(engine)
    data = (vectors(600) * 40).round()
    with Session(engine) as session:
        session.add_all(Doc(vector=vector.astype(np.int8) if element == "i8" else vector) for vector in data)
        session.commit()
    (index,) = Doc.__table_args__
    index.rebuild(engine)
    query = (vectors(1, 2)[0] * 40).round()
    given = query.astype(np.int8) if element == "i8" else query
    with Session(engine) as session:
        hit = nearest(Doc.vector, given, k=10, metric=metric)
        found = session.execute(select(hit.c.id, hit.c.distance).order_by(hit.c.distance)).all()
    expected = distances(metric, data, query)
    np.testing.assert_allclose([row[1] for row in found], np.sort(expected)[:10], rtol=1e-6, atol=1e-6)
    engine.dispose()


@pytest.mark.parametrize("dimensions", [16, 10])
def test_bits_are_searched_by_vec(path, dimensions):
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        vector: Mapped[np.ndarray] = mapped_column(Vector(dimensions, "bit"))
        __table_args__ = (VectorIndex("ix", "vector", metric="hamming", kind="vec"),)

    engine = create_engine(path, backends="vec")
    Base.metadata.create_all(engine)
    data = np.random.default_rng(1).integers(0, 2, (700, dimensions)).astype(bool)
    with Session(engine) as session:
        session.add_all(Doc(vector=vector) for vector in data)
        session.commit()
    Doc.__table_args__[0].rebuild(engine)
    with Session(engine) as session:
        hit = nearest(Doc.vector, data[5], k=20, metric="hamming")
        found = session.execute(select(hit.c.id, hit.c.distance).order_by(hit.c.distance)).all()
    assert [row[1] for row in found] == sorted((data != data[5]).sum(axis=1).tolist())[:20]
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_an_extension_gives_is_found_too(path, kind):
    vault = VectorKVault(path, "v", 2, "l2", index=kind)
    data = vectors(6000, dimensions=2)
    vault.insert_many(data)
    vault.rebuild_index()
    rows = dict(zip(vault, data, strict=True))
    for k in (4090, 4096, 4097, 5999, 10_000):
        check_found(vault, rows, data[3], k)
    # Of so many that changed since all are compared.
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM v WHERE id > 1 AND id < 5500")
    connection.close()
    assert vault.info()["index"]["pending"] == 5498
    check_found(vault, {id: row for id, row in rows.items() if not 1 < id < 5500}, data[3], 400)


@pytest.mark.parametrize("kind", KINDS)
def test_no_bytes_of_a_vector_are_taken_for_a_header(path, kind):
    # sqlite-vss's own form of a vector begins with the bytes 76 01, and so may a float.
    data = vectors(600, 3)
    data[20, 0] = np.frombuffer(b"v\x01\x80\x3f", "<f4")[0]
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    ids = vault.insert_many(data)
    vault.rebuild_index()
    assert vault.info()["index"]["in_use"] == kind
    assert [vault.search(row, 1)[0][0] for row in data] == ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_direction_comes_last(path, kind):
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        vector: Mapped[np.ndarray | None] = mapped_column(Vector(3))
        __table_args__ = (VectorIndex("ix", "vector", metric="cosine", kind=kind),)

    engine = create_engine(path, backends=[kind])
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Doc(vector=vector) for vector in ([0, 0, 0], *vectors(500, dimensions=3), [0, 0, 0], None))
        # -1 is what sqlite-vss takes for the end.
        session.add(Doc(id=-1, vector=[1, 2, 3]))
        session.add(Doc(id=-(2**62), vector=[1, 2, 4]))
        session.commit()
    Doc.__table_args__[0].rebuild(engine)
    with Session(engine) as session:
        hit = nearest(Doc.vector, [1, 2, 3], k=3)
        found = session.execute(select(hit.c.id, hit.c.distance).order_by(hit.c.distance)).all()
        assert found[0] == (-1, pytest.approx(0, abs=1e-7))
        hit = nearest(Doc.vector, [1, 2, 3], k=1000)
        found = session.execute(select(hit.c.id, hit.c.distance)).all()
        assert len(found) == 504
        assert {row[0] for row in found if row[1] is None} == {1, 502}
    engine.dispose()


# -- what there is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "element", "metric"),
    [("vec", "f32", "ip"), ("vec", "f32", "hamming"), ("vec", "bit", "hamming-"), ("vss", "f32", "hamming")],
)
def test_what_a_kind_cannot_compare_is_refused_when_it_is_made(path, kind, element, metric):
    if metric == "hamming-":
        element, metric, kind = "bit", "hamming", "vss"
    table = sqlalchemy.Table(
        "doc",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", Integer, primary_key=True),
        sqlalchemy.Column("vector", Vector(8, element)),
        VectorIndex("ix", "vector", metric=metric, kind=kind),
    )
    engine = create_engine(path)
    with pytest.raises(InvalidArgument, match=f"kind '{kind}' compares .* use kind='exact'"):
        table.create(engine)
    assert not sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


def test_vec_has_at_most_8192_dimensions(path):
    with pytest.raises(InvalidArgument, match="at most 8192 dimensions, not 8193"):
        VectorKVault(path, "v", 8193, index="vec")


@pytest.mark.parametrize(
    ("kind", "options", "error", "match"),
    [
        ("vec", {"lists": 0}, InvalidArgument, "lists is a positive int, not 0"),
        ("vec", {"factory": "Flat"}, InvalidArgument, "the option factory is of kind='vss'"),
        ("vec", {"nlist": 3}, UnknownOption, "no option 'nlist'; there are lists"),
        ("vss", {"factory": 3}, InvalidArgument, "a FAISS factory string"),
        ("vss", {"factory": 'Flat,IDMap2" x'}, InvalidArgument, "a FAISS factory string"),
        ("vss", {"factory": "HNSW32"}, InvalidArgument, "with IVF, IMI or IDMap2 in it"),
        ("vec", [1], InvalidArgument, "index_options is a dict"),
    ],
)
def test_options_are_checked(path, kind, options, error, match):
    with pytest.raises(error, match=match):
        VectorKVault(path, "v", 3, index=kind, index_options=options)


# -- transactions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_decides(path, kind):
    engine = create_engine(path, backends=[kind])
    vault = VectorKVault(engine, "v", DIMENSIONS, "l2", index=kind)
    data = vectors(1000)
    vault.insert_many(data)
    vault.rebuild_index()
    rows = dict(zip(vault, data, strict=True))
    with Session(engine) as session:
        inside = VectorKVault(session, "v", DIMENSIONS, "l2", index=kind)
        new = vectors(300, 2)
        ids = inside.insert_many(new)
        changed = {**rows, **dict(zip(ids, new, strict=True))}
        check_found(inside, changed, new[3], 10)
        with session.begin_nested() as savepoint:
            inside.delete_many(ids)
            check_found(inside, rows, new[3], 10)
            savepoint.rollback()
        check_found(inside, changed, new[3], 10)
        check_found(vault, rows, new[3], 10)
        session.rollback()
    check_found(vault, rows, new[3], 10)
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_a_vault_that_is_made_in_a_transaction_is_gone_with_it(path, kind):
    engine = create_engine(path, backends=[kind])
    with Session(engine) as session:
        vault = VectorKVault(session, "v", DIMENSIONS, "l2", index=kind)
        vault.insert_many(vectors(400))
        session.rollback()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM sqlite_master WHERE name LIKE 'v%'")).all() == []
    with Session(engine) as session:
        vault = VectorKVault(session, "v", DIMENSIONS, "l2", index=kind)
        ids = vault.insert_many(vectors(400))
        session.commit()
    check_found(
        VectorKVault(engine, "v", DIMENSIONS, "l2"), dict(zip(ids, vectors(400), strict=True)), vectors(1)[0], 5
    )
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_a_vault_in_memory(kind):
    vault = VectorKVault(":memory:", "v", DIMENSIONS, "l2", index=kind)
    data = vectors(1000)
    vault.insert_many(data)
    vault.rebuild_index()
    assert vault.info()["index"]["in_use"] == kind
    check_found(vault, dict(zip(vault, data, strict=True)), data[1] + 0.1, 10)


if HAS_VSS:

    def test_a_commit_leaves_the_snapshot_as_it_is(path):
        vault = VectorKVault(path, "v", DIMENSIONS, "l2", index="vss")
        vault.insert_many(vectors(1000))
        vault.rebuild_index()
        with sqlite3.connect(path) as connection:
            before = connection.execute("SELECT idx FROM v_index_vss_1_index").fetchall()
            vault.insert(vectors(1, 5)[0])
            vault.delete(1)
            vault.update(2, vector=vectors(1, 6)[0])
            assert vault.info()["index"]["pending"] == 3
            assert connection.execute("SELECT idx FROM v_index_vss_1_index").fetchall() == before
        connection.close()
        vault.rebuild_index()
        assert vault.info()["index"]["pending"] == 0
        assert [name for name in tables(path) if name.startswith("v_index_vss")] == [
            "v_index_vss_2",
            "v_index_vss_2_data",
            "v_index_vss_2_index",
        ]

    def test_a_snapshot_is_not_built_in_a_transaction_of_somebody(path):
        engine = create_engine(path, backends=["vss"])
        vault = VectorKVault(engine, "v", DIMENSIONS, "l2", index="vss")
        data = vectors(500)
        vault.insert_many(data)
        with vault.transaction(), pytest.raises(InvalidArgument, match="in transactions of its own"):
            vault.rebuild_index()
        with Session(engine) as session, pytest.raises(InvalidArgument, match="Bind to the engine"):
            VectorKVault(session, "v", DIMENSIONS, "l2", index="vss").rebuild_index()
        check_found(vault, dict(zip(vault, data, strict=True)), data[1] + 0.1, 10)
        engine.dispose()

    def test_searching_while_a_snapshot_is_written_finds_what_was_there(path):
        for bind in (path, ":memory:"):
            vault = VectorKVault(bind, "v", DIMENSIONS, "l2", index="vss")
            data = vectors(600)
            vault.insert_many(data)
            rows = dict(zip(vault, data, strict=True))
            asked = []

            def look(done, total, vault=vault, rows=rows, asked=asked):
                check_found(vault, rows, vectors(1, 3)[0], 10)
                asked.append((done, total))

            vault.rebuild_index(look)
            vault.rebuild_index(look)
            assert asked == [(600, 600)] * 2

    def test_what_is_written_while_a_snapshot_is_written_is_found(path):
        vault = VectorKVault(path, "v", DIMENSIONS, "l2", index="vss")
        data = vectors(3500)
        rows = dict(zip(vault.insert_many(data), data, strict=True))
        vault.rebuild_index()
        for round_ in range(2):
            steps = VssStore(vault._index).steps(partial(ddl.renew, index=vault._index), optimizes=False, progress=None)
            for number, step in enumerate(steps):
                with vault.binding.transaction() as connection:
                    step(ddl.driver_cursor(connection))
                new = vectors(3, 10 * round_ + number)
                rows.update(zip(vault.insert_many(new), new, strict=True))
                for id, vector in zip((number * 700 + 1, 3400 - number), vectors(2, 50 + number), strict=True):
                    vault.update(id, vector=vector)
                    rows[id] = vector
                gone = number * 800 + 5 + round_
                vault.delete(gone)
                del rows[gone]
                check_found(vault, rows, vectors(1, number)[0], 10)
            assert number >= 4
            assert vault.info()["index"]["pending"] > 0
            assert vault.check() == []

    @pytest.mark.parametrize(
        ("factory", "match"), [("Nonsense,IDMap2", "could not parse index string"), ("IVF3,IDMap2", "could not parse")]
    )
    def test_a_factory_that_faiss_does_not_know_is_refused(path, factory, match):
        with pytest.raises(InvalidArgument, match=match):
            VectorKVault(path, "v", 3, index="vss", index_options={"factory": factory})
        assert [name for name in tables(path) if "vss" in name] == []

    def test_too_few_rows_to_learn_from_are_a_named_error_and_change_nothing(path):
        vault = VectorKVault(path, "v", DIMENSIONS, "l2", index="vss", index_options={"factory": "IVF64,Flat,IDMap2"})
        data = vectors(40)
        vault.insert_many(data)
        rows = dict(zip(vault, data, strict=True))
        with pytest.raises(InvalidArgument, match=r"training points \(40\) should be at least as large as .* \(64\)"):
            vault.rebuild_index()
        check_found(vault, rows, data[0] + 0.1, 10)
        assert [name for name in tables(path) if "vss" in name] == []
        more = vectors(3000, 2)
        rows.update(zip(vault.insert_many(more), more, strict=True))
        vault.rebuild_index()
        assert vault.info()["index"]["in_use"] == "vss"
        assert len(vault.search(data[0] + 0.1, 10)) == 10

    def test_the_options_are_kept_where_auto_takes_the_index_that_is_there(path):
        with VectorKVault(path, "v", DIMENSIONS, index="vss", index_options={"factory": "HNSW8,IDMap2"}) as vault:
            vault.insert_many(vectors(100))
        with VectorKVault(path, "v", DIMENSIONS) as vault:
            assert vault.index == "vss"
            vault.rebuild_index()
            assert vault.info()["index"]["factory"] == "HNSW8,IDMap2"
        with VectorKVault(path, "v", DIMENSIONS, index="vss", index_options={"factory": "Flat,IDMap2"}) as vault:
            vault.rebuild_index()
            assert vault.info()["index"]["factory"] == "Flat,IDMap2"

else:

    def test_without_a_wheel_the_error_says_for_what_there_is_one(path):
        with pytest.raises(ExtensionUnavailable, match=r"sqlite-vss is not installed.*Linux \(x86-64\) and macOS"):
            VectorKVault(path, "v", 3, index="vss")


def tables(path) -> list[str]:
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    connection.close()
    return names


# -- models of one's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_a_model_comes_and_goes_with_its_table(path, kind):
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        vector: Mapped[np.ndarray] = mapped_column(Vector(DIMENSIONS))
        __table_args__ = (VectorIndex("ix", "vector", metric="l2", kind=kind),)

    engine = sqlalchemy.create_engine(f"sqlite:///{path}?plugin=kohakuvault&backends=vec,{kind}")
    Base.metadata.create_all(engine)
    data = vectors(500)
    with Session(engine) as session:
        session.add_all(Doc(vector=vector) for vector in data)
        session.commit()
    (index,) = Doc.__table_args__
    for round_ in range(2):
        with Session(engine) as session:
            hit = nearest(Doc.vector, data[7], k=5, where=Doc.id > 4, metric="l2")
            found = (
                session.execute(select(Doc.id).join(hit, hit.c.id == Doc.id).order_by(hit.c.distance)).scalars().all()
            )
            assert found == [id + 1 for id in np.argsort(distances("l2", data, data[7])).tolist() if id > 3][:5]
        if not round_:
            index.rebuild(engine)
    with engine.begin() as connection:
        index.drop(connection)
        index.create(connection)
    Base.metadata.drop_all(engine)
    assert [name for name in tables(path) if name != "sqlite_sequence"] == []
    engine.dispose()


# -- loading ----------------------------------------------------------------------------------------------


def test_an_engine_loads_what_it_is_asked_for(path):
    engine = create_engine(path, backends=KINDS)
    with engine.connect() as connection:
        for kind in KINDS:
            assert connection.execute(text(f"SELECT {backends.BACKENDS[kind].version_function}()")).scalar()
    engine.dispose()


def test_install_loads_too_and_adds_to_what_there_is(path):
    engine = install(sqlalchemy.create_engine(f"sqlite:///{path}"))
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.OperationalError, match="no such function"):
        connection.execute(text("SELECT vec_version()"))
    install(engine, backends=["vec"])
    with engine.connect() as connection:
        assert connection.execute(text("SELECT vec_version()")).scalar()
    engine.dispose()


def test_an_unknown_backend_is_refused(path):
    for make in (
        lambda: create_engine(path, backends=["faiss"]),
        lambda: install(sqlalchemy.create_engine("sqlite://"), backends="faiss"),
        lambda: sqlalchemy.create_engine("sqlite://?plugin=kohakuvault&backends=faiss"),
        lambda: create_engine("sqlite:///x.db?plugin=kohakuvault", backends=["vec"]),
    ):
        with pytest.raises(
            InvalidArgument, match=r"unknown backend 'faiss'; expected 'vec' or 'vss'|plugin=kohakuvault"
        ):
            make()


def test_a_vault_loads_what_it_needs_into_an_engine_that_is_in_use(path):
    kv = kohakuvault.KVault(path, "kv")
    kv["a"] = 1
    for kind in KINDS:
        vault = VectorKVault(path, f"v{kind}", DIMENSIONS, "l2", index=kind)
        vault.insert_many(vectors(500))
        vault.rebuild_index()
        assert len(vault.search(vectors(1)[0], 5)) == 5
    assert kv["a"] == 1


def test_an_engine_that_is_not_ours_has_to_be_told(path):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with pytest.raises(ExtensionUnavailable, match=r"create_engine\(path, backends=\['vec'\]\)"):
        VectorKVault(engine, "v", 3, index="vec")
    table = sqlalchemy.Table(
        "doc",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", Integer, primary_key=True),
        sqlalchemy.Column("vector", Vector(8)),
        VectorIndex("ix", "vector", kind="vec"),
    )
    with pytest.raises(ExtensionUnavailable, match=r"install\(engine, backends=\['vec'\]\)"):
        table.create(engine)


def test_a_package_that_is_missing_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlite_vec", None)
    with pytest.raises(ExtensionUnavailable, match=r"pip install sqlite-vec.* wheels for Linux .* this is"):
        create_engine(path, backends=["vec"])


def test_a_system_library_that_is_missing_is_named_with_its_package(path, monkeypatch):
    import ctypes

    def without_blas(path, *arguments, **keywords):
        raise OSError("libblas.so.3: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(backends, "_libraries", lambda name: [("somewhere/vss0", "sqlite3_vss_init")])
    monkeypatch.setattr(ctypes, "CDLL", without_blas)
    with pytest.raises(
        ExtensionUnavailable, match=r"libblas.so.3.*apt install libopenblas0 .*dnf install .*brew install"
    ):
        backends.prepare_backends(["vss"], "load_extension", sqlite3.dbapi2)


def test_one_process_loads_a_backend_into_one_sqlite_only(path, monkeypatch):
    monkeypatch.setattr(backends, "_taken", {"vec": "pysqlite3.dbapi2"})
    with pytest.raises(ExtensionUnavailable, match="a second SQLite library in one process"):
        create_engine(path, backends=["vec"])


def test_a_python_that_can_load_nothing_is_told_so(path):
    with pytest.raises(ExtensionUnavailable, match="can load no extension, and so not sqlite-vec"):
        create_engine(path, backends=["vec"], extension="create_function")


# -- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_extension_searching_is_a_named_error_and_writing_goes_on(path, kind):
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    data = vectors(600)
    ids = vault.insert_many(data)
    vault.rebuild_index()
    vault.close()
    engine = create_engine(path)
    with engine.begin() as connection:
        for vector in vectors(300, 2):
            connection.execute(text("INSERT INTO v (vector, value) VALUES (:v, x'00')"), {"v": vector.tobytes()})
        connection.execute(text("DELETE FROM v WHERE id = :id"), {"id": ids[0]})
        connection.execute(text("UPDATE v SET vector = :v WHERE id = :id"), {"id": ids[1], "v": data[0].tobytes()})
        assert connection.execute(text("SELECT count(*) FROM v_index_pending")).scalar() == 302
    search = text("SELECT id FROM kv_knn('v_index', :q, 3)")
    with (
        engine.connect() as connection,
        pytest.raises(sqlalchemy.exc.OperationalError, match=rf"backends=\[\"{kind}\"\]"),
    ):
        connection.execute(search, {"q": data[0].tobytes()})
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM")
    engine.dispose()
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    assert vault.search(data[0], 1)[0][:2] == (ids[1], 0)
    assert len(vault.search(data[0], 1000)) == 899
    vault.insert(data[5])
    assert vault.info()["index"]["pending"] == (303 if kind == "vss" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_folded_is_written_all_the_same(path, kind):
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    vault.insert_many(vectors(300))
    vault.rebuild_index()
    with sqlite3.connect(path) as connection:
        suffix = "vec_rowids" if kind == "vec" else "vss_1_index"
        connection.execute(f"DROP TABLE v_index_{suffix}")
    connection.close()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for vector in vectors(300, 2):
            vault.insert(vector)
    assert len(vault) == 600
    if kind == "vec":
        assert {warning.category for warning in warned} == {RuntimeWarning}
    with pytest.raises((DriverError, CorruptValue)):
        vault.search(vectors(1)[0], 3)
    vault.rebuild_index()
    assert len(vault.search(vectors(1)[0], 3)) == 3
    assert vault.info()["index"]["pending"] == 0


DAMAGES = [
    ("vec", "DELETE FROM v_index_vec_rowids"),
    ("vec", "UPDATE v_index_vec_vector_chunks00 SET vectors = x'00'"),
    ("vec", "DROP TABLE v_index_vec_chunks"),
    ("vec", "DELETE FROM v_index_meta"),
]
if HAS_VSS:
    DAMAGES += [
        ("vss", "UPDATE v_index_vss_1_index SET idx = x'0011'"),
        ("vss", "DELETE FROM v_index_vss_1_index"),
        ("vss", "DELETE FROM v_index_vss_1_data"),
        ("vss", "DROP TABLE v_index_vss_1_data"),
        ("vss", "UPDATE v_index_meta SET value = 9 WHERE key = 'snapshot'"),
        ("vss", "UPDATE v_index_meta SET value = 'x' WHERE key = 'snapshot'"),
    ]


@pytest.mark.parametrize(("kind", "damage"), DAMAGES)
def test_rebuilding_mends_what_is_damaged(path, kind, damage):
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    data = vectors(600)
    vault.insert_many(data)
    vault.rebuild_index()
    rows = dict(zip(vault, data, strict=True))
    vault.close()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    try:
        found = vault.search(data[3], 5)
    except (DriverError, CorruptValue):
        pass
    else:
        assert len(found) == 5
    vault.rebuild_index()
    check_found(vault, rows, data[3] + 0.1, 10)
    assert vault.info()["index"]["rows"] == 600


@pytest.mark.parametrize("kind", KINDS)
def test_vacuum_a_renamed_table_and_a_backup_lose_nothing(path, kind, tmp_path):
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    data = vectors(3000)
    ids = vault.insert_many(data)
    vault.rebuild_index()
    # Whole chunks of sqlite-vec's.
    vault.delete_many(ids[:2100])
    rows = dict(zip(ids[2100:], data[2100:], strict=True))
    vault.optimize()
    check_found(vault, rows, data[3], 20)
    vault.backup(tmp_path / "copy.db")
    check_found(VectorKVault(tmp_path / "copy.db", "v", DIMENSIONS, "l2"), rows, data[3], 20)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE v ADD COLUMN more")
    connection.close()
    check_found(vault, rows, data[3], 20)


KILLED = """
import os, signal, sys
import numpy as np
from kohakuvault import VectorKVault

path, kind = sys.argv[1:]
options = {"factory": "IVF8,Flat,IDMap2"} if kind == "vss" else {}
vault = VectorKVault(path, "v", 12, "l2", index=kind, index_options=options)
told = 0

def die(done, total):
    global told
    told += 1
    if told == 2:
        os.kill(os.getpid(), signal.SIGKILL)

vault.rebuild_index(die)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_being_killed_while_the_index_is_built_changes_nothing(path, kind):
    options = {"factory": "IVF8,Flat,IDMap2"} if kind == "vss" else {}
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind, index_options=options)
    data = vectors(10_000)
    vault.insert_many(data)
    vault.rebuild_index()
    before = vault.info()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), kind], capture_output=True, timeout=100, check=False
    )
    assert done.returncode == -9, done.stderr.decode()
    assert vault.info() == before
    assert len(vault.search(data[0], 10)) == 10
    vault.rebuild_index()
    assert vault.info()["index"]["rows"] == 10_000
    # What was left half done is gone.
    assert len([name for name in tables(path) if name.startswith("v_index_vss") and name.endswith("_data")]) == (
        kind == "vss"
    )


WRITER = """
import sys
import numpy as np
from kohakuvault import VectorKVault

path, kind, seed = sys.argv[1:]
vault = VectorKVault(path, "v", 12, "l2", index=kind)
random = np.random.default_rng(int(seed))
for number in range(60):
    ids = vault.insert_many(random.standard_normal((20, 12)))
    vault.delete_many(ids[:5])
    assert len(vault.search(random.standard_normal(12), 10)) == 10
    if number % 20 == int(seed):
        vault.rebuild_index()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_write_search_and_rebuild(path, kind):
    vault = VectorKVault(path, "v", DIMENSIONS, "l2", index=kind)
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), kind]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in (3, 11)]
    errors = [process.communicate(timeout=110)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert len(vault) == 2 * 60 * 15
    rows = {id: vault.get_by_id(id)[0] for id in vault}
    for query in vectors(3, 9):
        check_found(vault, rows, query, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_every_connection_may_be_a_new_one(path, kind):
    engine = create_engine(path, backends=[kind], poolclass=NullPool)
    data = vectors(700)
    ids = VectorKVault(engine, "v", DIMENSIONS, "l2", index=kind).insert_many(data)
    for number in range(3):
        vault = VectorKVault(engine, "v", DIMENSIONS, "l2", index=kind)
        check_found(vault, dict(zip(ids, data, strict=True)), data[3], 10)
        if number == 1:
            vault.rebuild_index()
        engine.dispose()
