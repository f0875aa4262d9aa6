"""Vector columns of every element type, on both databases: what is stored, what is read, how far apart it is."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from kohakuvault import CorruptValue, InvalidArgument, UnsupportedType, VectorKVault
from kohakuvault.orm import Vector, nearest
from kohakuvault.orm.types.vector_elements import vector_bytes

DIMENSIONS = 21
METRICS = ("cosine", "l2", "l1", "hamming", "ip")
DTYPES = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "bit": np.bool_}
ELEMENTS = tuple(DTYPES)
PAIRS = [(elem, metric) for elem in ELEMENTS for metric in METRICS if elem != "bit" or metric == "hamming"]
COMPARATORS = {
    "cosine": "cosine_distance",
    "l2": "l2_distance",
    "l1": "l1_distance",
    "ip": "max_inner_product",
    "hamming": "hamming_distance",
}


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    f32: Mapped[np.ndarray | None] = mapped_column(Vector(DIMENSIONS))
    f16: Mapped[np.ndarray | None] = mapped_column(Vector(DIMENSIONS, "f16"))
    i8: Mapped[np.ndarray | None] = mapped_column(Vector(DIMENSIONS, "i8"))
    bit: Mapped[np.ndarray | None] = mapped_column(Vector(DIMENSIONS, "bit"))


def numbers(elem: str, *shape: int, seed: int = 3) -> np.ndarray:
    """Random vectors that the element type holds as they are."""
    random = np.random.default_rng(seed)
    if elem == "bit":
        return random.integers(0, 2, shape).astype(bool)
    return (
        random.integers(-128, 128, shape).astype(np.int8)
        if elem == "i8"
        else random.normal(size=shape).astype(DTYPES[elem])
    )


ROWS = {elem: numbers(elem, 60, DIMENSIONS) for elem in ELEMENTS}
QUERIES = {elem: numbers(elem, DIMENSIONS, seed=4) for elem in ELEMENTS}


def reference(metric: str, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The distances by numpy, in float64."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    match metric:
        case "cosine":
            return 1 - rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
        case "l2":
            return np.linalg.norm(rows - query, axis=1)
        case "l1":
            return np.abs(rows - query).sum(axis=1)
        case "ip":
            return -(rows @ query)
    return ((rows > 0) != (query > 0)).sum(axis=1).astype(np.float64)


def assert_close(metric: str, found: object, rows: np.ndarray, query: np.ndarray) -> None:
    """Equal within 1e-6 of the numbers' scale: where they cancel out, that of their terms."""
    expected = reference(metric, rows, query)
    norms = np.linalg.norm(rows.astype(float), axis=1) * np.linalg.norm(query.astype(float))
    scale = {"cosine": np.ones(len(rows)), "ip": norms}.get(metric, np.abs(expected))
    assert (np.abs(np.array(found, dtype=float) - expected) <= 1e-6 * scale).all()


def comparator(elem: str, metric: str):
    return getattr(getattr(Doc, elem), COMPARATORS[metric])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def docs(request, shared_engines):
    """An engine on a database with 60 rows, whose vectors are :data:`ROWS`, and one without vectors."""
    engine = shared_engines(request.param)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Doc(id=i, **{elem: ROWS[elem][i] for elem in ELEMENTS}) for i in range(60))
        session.add(Doc(id=1000))
        session.commit()
    yield engine
    Base.metadata.drop_all(engine)


@pytest.fixture
def session(docs):
    with Session(docs) as session:
        yield session


# -- what goes in comes out ----------------------------------------------------------------------------


@pytest.mark.parametrize("elem", ELEMENTS)
def test_vectors_are_read_as_arrays_of_their_elements(session, elem):
    for i, vector in enumerate(session.scalars(select(getattr(Doc, elem)).where(Doc.id < 60).order_by(Doc.id))):
        assert vector.dtype == DTYPES[elem]
        assert vector.shape == (DIMENSIONS,)
        assert np.array_equal(vector, ROWS[elem][i])
        vector[0] = 0
    assert getattr(session.get(Doc, 1000), elem) is None


FORMS = {
    "f32": [[1, 2.5, -3] * 7, np.array([1, 2.5, -3] * 7), np.array([1, 2.5, -3] * 7, "<f4").tobytes()],
    "f16": [[1, 2.5, -3] * 7, np.array([1, 2.5, -3] * 7), np.array([1, 2.5, -3] * 7, "<f2").tobytes()],
    "i8": [
        [1, 2, -3] * 7,
        [1.0, 2.0, -3.0] * 7,
        np.array([1, 2, -3] * 7, np.int64),
        np.array([1, 2, -3] * 7, np.float32),
        np.array([1, 2, -3] * 7, np.int8).tobytes(),
    ],
    "bit": [
        [True, False, True] * 7,
        [1, 0, 1.0] * 7,
        tuple(np.array([True, False, True] * 7)),
        np.array([1, 0, 1] * 7, bool),
        np.array([1, 0, 1] * 7, np.uint8),
        np.array([1, 0, 1] * 7, np.float64),
        np.packbits([1, 0, 1] * 7),
        np.packbits([1, 0, 1] * 7).tobytes(),
        bytearray(np.packbits([1, 0, 1] * 7)),
    ],
}


@pytest.mark.parametrize("elem", ELEMENTS)
def test_vectors_are_given_in_every_form(session, elem):
    expected = np.array(FORMS[elem][0]).astype(DTYPES[elem])
    for form in FORMS[elem]:
        session.add(doc := Doc(id=2000, **{elem: form}))
        session.flush()
        session.expire(doc)
        assert np.array_equal(getattr(doc, elem), expected)
        found = session.scalar(select(comparator(elem, "hamming")(form)).where(Doc.id == 2000))
        assert found == 0
        session.rollback()


@given(value=st.floats(-65504, 65504))
def test_f16_is_rounded_as_numpy_rounds(value):
    assert vector_bytes([value], 1, "f16") == np.array([value], "<f2").tobytes()
    assert vector_bytes(np.array([value]), 1, "f16") == np.array([value], "<f2").tobytes()


@given(bits=hnp.arrays(bool, st.integers(1, 70)))
def test_bits_are_packed_as_numpy_packs(bits):
    packed = np.packbits(bits)
    for form in (bits, bits.tolist(), bits.astype(int), bits.astype(float).tolist(), packed.tobytes()):
        assert vector_bytes(form, len(bits), "bit") == packed.tobytes()
    # One number of eight bits could be one bit: it is read as a number.
    if len(bits) > 1:
        assert vector_bytes(packed, len(bits), "bit") == packed.tobytes()
    assert np.array_equal(Vector(len(bits), "bit").from_bytes(packed.tobytes()), bits)


@given(data=st.data(), elem=st.sampled_from(ELEMENTS), dimensions=st.integers(1, 40))
def test_any_vector_survives_either_database_s_form(data, elem, dimensions):
    finite = {"allow_nan": False, "allow_infinity": False}
    vector = data.draw(hnp.arrays(DTYPES[elem], dimensions, elements=finite if elem in ("f32", "f16") else None))
    for dialect in (sqlite.dialect(), postgresql.dialect()):
        type_ = Vector(dimensions, elem).dialect_impl(dialect)
        stored = type_.bind_processor(dialect)(vector)
        read = type_.result_processor(dialect, None)(stored)
        assert read.dtype == vector.dtype
        assert np.array_equal(read, vector)


def test_sqlite_stores_the_packed_bytes(new_url):
    engine = kohakuvault.create_engine(new_url("sqlite"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        row = np.array([1, -2, 0] * 7)
        session.add(Doc(f32=row, f16=row, i8=row, bit=row == 1))
        session.flush()
        stored = session.execute(text("SELECT f32, f16, i8, bit FROM doc")).one()
    assert stored.f32 == row.astype("<f4").tobytes()
    assert stored.f16 == row.astype("<f2").tobytes()
    assert stored.i8 == row.astype("i1").tobytes()
    assert stored.bit == bytes([0b10010010, 0b01001001, 0b00100000])
    engine.dispose()


# -- what does not fit is an error when it is written --------------------------------------------------


OTHERS = [0] * (DIMENSIONS - 1)
BAD = [
    *((elem, [*OTHERS, 0, 0], InvalidArgument, "22 dimensions given; expected 21") for elem in ELEMENTS),
    *((elem, OTHERS, InvalidArgument, "20 dimensions given; expected 21") for elem in ELEMENTS),
    *((elem, [], InvalidArgument, "empty") for elem in ELEMENTS),
    *((elem, [[0] * DIMENSIONS], UnsupportedType, "list") for elem in ELEMENTS),
    *((elem, np.zeros((1, DIMENSIONS)), InvalidArgument, "shape") for elem in ELEMENTS),
    *((elem, "0" * DIMENSIONS, UnsupportedType, "str") for elem in ELEMENTS),
    *((elem, ["0"] * DIMENSIONS, UnsupportedType, "str") for elem in ELEMENTS),
    *((elem, np.zeros(DIMENSIONS, complex), UnsupportedType, "given") for elem in ELEMENTS),
    *((elem, [float("nan"), *OTHERS], InvalidArgument, "dimension 0 is NaN") for elem in ELEMENTS),
    *((elem, [*OTHERS, float("inf")], InvalidArgument, "dimension 20 is inf") for elem in ELEMENTS),
    *((elem, [*OTHERS, -float("inf")], InvalidArgument, "dimension 20 is -inf") for elem in ELEMENTS),
    *((elem, [*OTHERS, 10**400], InvalidArgument, "finite") for elem in ELEMENTS),
    ("f32", [1e39, *OTHERS], InvalidArgument, "1e"),
    ("f32", b"\0" * 83, InvalidArgument, "83 bytes"),
    ("f16", [*OTHERS, 65520], InvalidArgument, "dimension 20 is 65520.0; expected numbers that float16 can hold"),
    ("f16", np.full(DIMENSIONS, -7e4), InvalidArgument, "-65504 to 65504"),
    ("f16", np.full(DIMENSIONS, np.inf, np.float16), InvalidArgument, "dimension 0 is inf"),
    ("f16", b"\0" * 41, InvalidArgument, "41 bytes"),
    ("f16", b"\xff" * 42, InvalidArgument, "dimension 0 is NaN"),
    ("i8", [0.5, *OTHERS], InvalidArgument, "dimension 0 is 0.5; expected integers from -128 to 127"),
    ("i8", [128, *OTHERS], InvalidArgument, "128"),
    ("i8", np.full(DIMENSIONS, -129), InvalidArgument, "-129"),
    ("i8", np.full(DIMENSIONS, 200, np.uint8), InvalidArgument, "200"),
    ("i8", [True, *OTHERS], UnsupportedType, "bool"),
    ("i8", b"\0" * 20, InvalidArgument, "20 dimensions given; expected 21"),
    ("bit", [2, *OTHERS], InvalidArgument, "dimension 0 is 2.0; expected 0 or 1"),
    ("bit", [-1, *OTHERS], InvalidArgument, "dimension 0 is -1.0"),
    ("bit", [*OTHERS, 0.5], InvalidArgument, "dimension 20 is 0.5"),
    ("bit", b"\0\0", InvalidArgument, "16 dimensions given; expected 21"),
    ("bit", np.zeros(4, np.uint8), InvalidArgument, "4 dimensions given; expected 21"),
    ("bit", b"\0\0\x01", InvalidArgument, "the last of 3 bytes is 0b00000001; expected 3 zeros behind dimension 20"),
    ("bit", np.array([0, 0, 4], np.uint8), InvalidArgument, "expected 3 zeros behind dimension 20"),
]


@pytest.mark.parametrize(("elem", "vector", "error", "problem"), BAD, ids=range(len(BAD)))
def test_a_bad_vector_is_an_error_when_it_is_written_and_when_it_is_searched_for(session, elem, vector, error, problem):
    session.add(Doc(id=3000, **{elem: vector}))
    with pytest.raises(sqlalchemy.exc.StatementError, match=problem) as caught:
        session.flush()
    assert type(caught.value.orig) is error
    session.rollback()
    with pytest.raises(error, match=problem):
        nearest(getattr(Doc, elem), vector, metric="hamming")
    with pytest.raises(sqlalchemy.exc.StatementError, match=problem):
        session.scalars(select(comparator(elem, "hamming")(vector))).all()
    session.rollback()
    assert session.get(Doc, 3000) is None


def test_zero_vectors_are_stored_and_have_no_direction(session):
    zeros = [0] * DIMENSIONS
    session.add(Doc(id=4000, f32=zeros, f16=zeros, i8=zeros, bit=zeros))
    session.flush()
    for elem in ("f32", "f16", "i8"):
        found = session.scalar(select(comparator(elem, "cosine")(QUERIES[elem])).where(Doc.id == 4000))
        assert found is None or np.isnan(found)
        assert session.scalar(select(comparator(elem, "ip")(QUERIES[elem])).where(Doc.id == 4000)) == 0
        hit = nearest(getattr(Doc, elem), QUERIES[elem], k=100)
        ids = session.scalars(select(hit.c.id).order_by(hit.c.distance.nulls_last())).all()
        assert len(ids) == 61
        assert ids[-1] == 4000
        with pytest.raises(InvalidArgument, match="zero vector"):
            nearest(getattr(Doc, elem), zeros)
        assert session.scalar(select(comparator(elem, "l2")(zeros)).where(Doc.id == 4000)) == 0
    assert session.scalar(select(Doc.bit.hamming_distance(zeros)).where(Doc.id == 4000)) == 0


def test_a_corrupt_vector_is_a_named_error(new_url):
    engine = kohakuvault.create_engine(new_url("sqlite"))
    Base.metadata.create_all(engine)
    for column, stored, problem in [
        ("f32", "x'0000'", "stored vector of f32 has 2 bytes; expected 84, of 21 elements"),
        ("f16", "zeroblob(84)", "stored vector of f16 has 84 bytes; expected 42, of 21 elements"),
        ("i8", "x''", "stored vector of i8 has 0 bytes"),
        ("bit", "x'0000'", "stored vector of bit has 2 bytes; expected 3, of 21 elements"),
        ("bit", "x'000001'", "some behind its 21 dimensions"),
        ("f32", "'text'", "stored vector is the text 'text'"),
    ]:
        with Session(engine) as session:
            session.execute(text(f"INSERT INTO doc (id, {column}) VALUES (1, {stored})"))
            with pytest.raises(CorruptValue, match=problem):
                session.get(Doc, 1)
    engine.dispose()


def test_a_corrupt_vector_on_postgresql_is_a_named_error(new_url):
    engine = kohakuvault.create_engine(new_url("postgresql"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(text("INSERT INTO doc (id, i8) VALUES (1, :v)"), {"v": str([0.5] * DIMENSIONS)})
        with pytest.raises(CorruptValue, match="numbers that are no i8"):
            session.get(Doc, 1)
    engine.dispose()


# -- distances -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("elem", "metric"), PAIRS)
def test_distances_equal_those_of_numpy(session, elem, metric):
    rows, query = ROWS[elem], QUERIES[elem]
    distance = comparator(elem, metric)(query)
    assert_close(metric, session.scalars(select(distance).where(Doc.id < 60).order_by(Doc.id)).all(), rows, query)
    assert session.scalar(select(distance).where(Doc.id == 1000)) is None
    expected = reference(metric, rows, query)
    # In ranges, with some room for rounding around the bounds.
    low, high = np.sort(expected)[[10, 30]] + [-1e-4, 1e-4]
    near = set(session.scalars(select(Doc.id).where(distance.between(low, high))))
    assert near == set(np.flatnonzero((low < expected) & (expected < high)).tolist())
    first = session.scalars(select(Doc.id).where(Doc.id < 60).order_by(distance, Doc.id).limit(10)).all()
    assert_close(metric, np.sort(expected)[:10], rows[first], query)


@pytest.mark.parametrize(("elem", "metric"), PAIRS)
def test_nearest_finds_what_numpy_finds(session, elem, metric):
    rows, query = ROWS[elem], QUERIES[elem]
    hit = nearest(getattr(Doc, elem), query, k=7, where=Doc.id % 2 == 0, metric=metric)
    found = session.execute(select(hit.c.id, hit.c.distance).order_by(hit.c.distance, hit.c.id)).all()
    ids, distances = zip(*found, strict=True)
    assert_close(metric, distances, rows[list(ids)], query)
    assert_close(metric, np.sort(reference(metric, rows[::2], query))[:7], rows[list(ids)], query)
    assert all(id % 2 == 0 for id in ids)


@pytest.mark.parametrize(("elem", "metric"), PAIRS)
def test_the_other_vector_is_a_column_an_array_a_list_or_a_parameter(session, elem, metric):
    distance, column, query = comparator(elem, metric), getattr(Doc, elem), ROWS[elem][5]
    pairs = session.execute(select(distance(column), distance(column.expression)).where(Doc.id == 5)).one()
    assert_close(metric, pairs, ROWS[elem][[5, 5]], query)
    subquery = select(column).where(Doc.id == 5).correlate(None).scalar_subquery()
    forms = [query, query.tolist(), tuple(query), vector_bytes(query, DIMENSIONS, elem), subquery]
    forms += [bindparam("q"), bindparam("q", type_=column.type), bindparam(None, query)]
    for form in forms:
        statement = select(distance(form)).where(Doc.id < 60).order_by(Doc.id)
        parameters = {"q": query} if getattr(form, "key", None) == "q" else {}
        assert_close(metric, session.scalars(statement, parameters).all(), ROWS[elem], query)
    for parameter in (bindparam("q"), bindparam("q", type_=column.type)):
        hit = nearest(column, parameter, k=60, metric=metric)
        found = session.execute(select(hit.c.distance, hit.c.id), {"q": query}).all()
        assert_close(metric, [d for d, _ in found], ROWS[elem][[id for _, id in found]], query)


def test_a_query_is_rounded_as_the_stored_vectors_are(session):
    query = np.full(DIMENSIONS, 0.1)
    session.add(Doc(id=5000, f16=query, f32=query))
    session.flush()
    for column in (Doc.f16, Doc.f32):
        hit = nearest(column, query, k=1, metric="l2")
        assert session.execute(select(hit.c.id, hit.c.distance)).one() == (5000, 0)


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "hamming"])
def test_bits_are_compared_by_hamming_only(metric):
    for operation in (
        lambda: comparator("bit", metric)(QUERIES["bit"]),
        lambda: nearest(Doc.bit, QUERIES["bit"], metric=metric),
    ):
        with pytest.raises(InvalidArgument, match=f"bits have no distance by {metric}; use metric='hamming'"):
            operation()


def test_vectors_of_other_elements_are_not_compared():
    with pytest.raises(InvalidArgument, match="elements of f16; expected f32"):
        Doc.f32.l2_distance(Doc.f16)
    with pytest.raises(InvalidArgument, match="elements of f32; expected i8"):
        Doc.i8.l2_distance(bindparam("q", type_=Vector(DIMENSIONS)))


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(InvalidArgument, match="'dot'; expected one of cosine, l2, l1, hamming, ip"):
        nearest(Doc.f32, QUERIES["f32"], metric="dot")


@given(
    rows=st.integers(1, 30).flatmap(lambda n: hnp.arrays(np.int8, (5, n))),
    metric=st.sampled_from([metric for metric in METRICS if metric != "cosine"]),
)
def test_distances_of_any_i8_equal_those_of_numpy(rows, metric):
    expected = reference(metric, rows, rows[0])
    found = [kohakuvault.distance(metric, row, rows[0], "i8") for row in rows]
    # Sums of such integers are exact.
    assert found == pytest.approx(expected, rel=1e-15)


def test_a_vault_searches_by_inner_product(engine):
    rows, query = ROWS["f32"], QUERIES["f32"]
    vault = VectorKVault(engine, dimensions=DIMENSIONS, metric="ip")
    vault.insert_many(rows, range(60))
    vault.insert([0] * DIMENSIONS, 60)
    found = vault.search(query, 5)
    order = np.argsort(reference("ip", rows, query))[:5]
    assert [value for _, _, value in found] == order.tolist()
    assert_close("ip", [distance for _, distance, _ in found], rows[order], query)


# -- as SQLAlchemy types -------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [Vector(), Vector(3), *(Vector(9, elem) for elem in ELEMENTS)], ids=repr)
def test_types_survive_repr_and_pickle(type_):
    for copy in (eval(repr(type_)), pickle.loads(pickle.dumps(type_)), type_.copy()):
        assert (copy.dimensions, copy.elem) == (type_.dimensions, type_.elem)
        assert repr(copy) == repr(type_)


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgument, match="unknown element type 'f64'; expected one of f32, f16, i8, bit"):
        Vector(3, "f64")
    with pytest.raises(InvalidArgument, match="unknown element type None"):
        Vector(3, elem=None)
    with pytest.raises(InvalidArgument, match=r"Vector\(n, elem='bit'\)"):
        Vector(elem="bit")
    with pytest.raises(InvalidArgument, match="dimensions"):
        Vector(0, "bit")


@pytest.mark.parametrize("elem", ELEMENTS)
def test_literals_mean_the_same_as_parameters(docs, elem):
    metric = "hamming" if elem == "bit" else "l2"
    for by in {metric, "hamming"}:
        statement = select(comparator(elem, by)(QUERIES[elem])).where(Doc.id < 60).order_by(Doc.id)
        literal = str(statement.compile(docs, compile_kwargs={"literal_binds": True}))
        with docs.connect() as connection:
            assert connection.exec_driver_sql(literal).scalars().all() == connection.scalars(statement).all()


def test_statements_on_other_elements_are_not_taken_for_one_another(session):
    def found(column):
        return session.scalar(select(column.l2_distance([1] * DIMENSIONS)).where(Doc.id == 1))

    for _ in range(2):
        for elem in ("f32", "f16", "i8"):
            assert_close("l2", [found(getattr(Doc, elem))], ROWS[elem][1:2], np.ones(DIMENSIONS))


def test_an_equal_vector_is_no_change(session):
    doc = session.get(Doc, 7)
    for elem in ELEMENTS:
        setattr(doc, elem, ROWS[elem][7].tolist())
    assert _updates(session) == []
    doc.bit = ~ROWS["bit"][7]
    assert len(_updates(session)) == 1


def _updates(session):
    statements = []
    engine = session.get_bind()

    def note(connection, cursor, statement, *rest):
        statements.append(statement)

    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    session.flush()
    sqlalchemy.event.remove(engine, "before_cursor_execute", note)
    return [statement for statement in statements if statement.startswith("UPDATE")]


def test_columns_are_reflected_as_what_they_are(docs):
    columns = {column["name"]: column["type"] for column in sqlalchemy.inspect(docs).get_columns("doc")}
    found = {elem: str(columns[elem].compile(docs.dialect)) for elem in ELEMENTS}
    if docs.dialect.name == "sqlite":
        assert found == {elem: f"{elem.upper()}_BLOB(21)" for elem in ELEMENTS}
    else:
        assert found == {"f32": "VECTOR(21)", "f16": "HALFVEC(21)", "i8": "HALFVEC(21)", "bit": "BIT(21)"}
        assert type(columns["bit"]) is postgresql.BIT


def test_autogenerate_sees_no_difference(docs):
    with docs.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _only_doc})
        assert compare_metadata(context, Base.metadata) == []


def _only_doc(object, name, type_, reflected, compare_to):
    return type_ != "table" or name == "doc"


def test_a_reflected_table_is_made_again(docs, new_url):
    reflected = sqlalchemy.MetaData()
    reflected.reflect(docs, only=["doc"])
    engine = kohakuvault.create_engine(new_url(docs.dialect.name))
    reflected.create_all(engine)
    with Session(engine) as session:
        session.add(Doc(**{elem: ROWS[elem][0] for elem in ELEMENTS}))
        session.commit()
        assert np.array_equal(session.scalars(select(Doc.f16)).one(), ROWS["f16"][0])
    engine.dispose()


def test_arrays_of_registered_adapters_are_read_too():
    class Registered:
        def to_numpy(self):
            return np.array([1, 2, 3], np.float32)

    for elem in ("f32", "f16", "i8"):
        type_ = Vector(3, elem)
        read = type_.result_processor(postgresql.dialect(), None)
        assert read(Registered()).dtype == DTYPES[elem]
        assert read([1, 2, 3]).tolist() == [1, 2, 3]
        with pytest.raises(CorruptValue, match="shape"):
            read([1, 2])
