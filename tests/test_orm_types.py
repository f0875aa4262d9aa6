"""The column types: what they take and give back, how databases name them, and what SQLAlchemy asks of a type."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading
from typing import Annotated, Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column

from kohakuvault import CorruptValue, InvalidArgument, KVault, UnsupportedType
from kohakuvault.orm import (
    Key,
    Packed,
    PackedArray,
    Tensor,
    TrackedDict,
    Vector,
    annotated_types,
    required_objects,
    type_annotation_map,
)
from kohakuvault.orm.types.array_elements import ARRAY_ELEMENTS

# Each type: its names on SQLite and PostgreSQL, a value, and another that is not equal.
TYPES = [
    (Packed(), "PACKED_BLOB", "kv_packed", {"a": (1, 2)}, 5),
    (Packed(pickle=True), "PACKED_BLOB", "kv_packed", [1], [2]),
    (Packed("msgpack"), "MSGPACK_BLOB", "kv_msgpack", "text", 5),
    (Packed("cbor"), "CBOR_BLOB", "kv_cbor", [1], [True]),
    (Packed("json"), "JSON_BLOB", "kv_json", {"a": [None]}, {}),
    (Packed("pickle", pickle=True), "PICKLE_BLOB", "kv_pickle", {1}, {2}),
    (Packed().tracked(), "PACKED_BLOB", "kv_packed", {"a": [1]}, {"a": [2]}),
    (Packed("json").tracked(), "JSON_BLOB", "kv_json", {"a": [1]}, {"a": [2]}),
    (Key(), "KEY_BLOB", "kv_key", "it's \\ % :key", b"it's"),
    (Vector(3), "F32_BLOB(3)", "VECTOR(3)", np.float32([0.1, -2, 3e-30]), np.float32([0.1, -2, 3])),
    (Vector(), "F32_BLOB", "VECTOR", np.float32([1, 2]), np.float32([1])),
    (Vector(3, "f16"), "F16_BLOB(3)", "HALFVEC(3)", np.float16([0.1, -2, 6e4]), np.float16([0, 0, 1])),
    (Vector(3, "i8"), "I8_BLOB(3)", "HALFVEC(3)", np.int8([-128, 0, 127]), np.int8([0, 0, 1])),
    (Vector(elem="i8"), "I8_BLOB", "HALFVEC", np.int8([-128, 0, 127]), np.int8([1])),
    (Vector(10, "bit"), "BIT_BLOB(10)", "BIT(10)", np.arange(10) % 3 == 0, np.arange(10) % 2 == 0),
    (
        Tensor("u8", 2, 3),
        "TENSOR_U8_2_3_BLOB",
        "kv_tensor_u8_2_3",
        np.uint8([[1, 2, 3], [4, 5, 255]]),
        np.ones((2, 3), "u1"),
    ),
    (Tensor("f64"), "TENSOR_F64_BLOB", "kv_tensor_f64", np.array(np.pi), np.array(-0.0)),
    (Tensor("bool", 3), "TENSOR_BOOL_3_BLOB", "kv_tensor_bool_3", np.array([True, False, True]), np.zeros(3, bool)),
    (PackedArray(), "ARRAY_BLOB", "kv_array", np.array([[1 + 2j]]), np.array(["text"])),
    (PackedArray("f32"), "ARRAY_F32_BLOB", "kv_array_f32", np.float32([[1.5, np.nan]]), np.float32([])),
]
IDS = [repr(each[0]) for each in TYPES]

each_type = pytest.mark.parametrize(("kind", "on_sqlite", "on_postgresql", "value", "other"), TYPES, ids=IDS)
only_type = pytest.mark.parametrize("kind", [each[0] for each in TYPES], ids=IDS)
with_values = pytest.mark.parametrize(("kind", "value", "other"), [(each[0], *each[3:]) for each in TYPES], ids=IDS)


numbers = itertools.count()


def table_of(kind, name="typed"):
    return sa.Table(name, sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", kind))


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request, shared_engines):
    """An engine that tests share; each makes its tables anew."""
    return shared_engines(request.param)


def made(engine, kind):
    # PostgreSQL's driver keeps plans, which must not find another table under the name.
    table = table_of(kind, f"typed_{next(numbers)}")
    table.create(engine)
    return table


def same(one, other):
    if isinstance(one, np.ndarray):
        return (
            type(other) is np.ndarray
            and one.dtype == other.dtype
            and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
            and one.shape == other.shape
        )
    return type(one) is type(other) and one == other


@each_type
def test_a_column_is_declared_by_the_name_of_its_type(kind, on_sqlite, on_postgresql, value, other):
    assert kind.compile(sqlite_dialect.dialect()) == on_sqlite
    assert kind.compile(postgresql.dialect()) == on_postgresql
    # BLOB in the name, and nothing that SQLite looks for before it: no value is converted.
    assert "BLOB" in on_sqlite
    assert not any(other in on_sqlite for other in ("INT", "CHAR", "CLOB", "TEXT"))


@with_values
def test_values_come_back_equal_and_of_the_same_type(shared, kind, value, other):
    table = made(shared, kind)
    with shared.begin() as connection:
        connection.execute(table.insert(), [{"x": value}, {"x": other}])
        connection.execute(table.insert().returning(table.c.id, sort_by_parameter_order=True), [{"x": value}] * 3)
        found = connection.scalars(sa.select(table.c.x).order_by(table.c.id)).all()
        assert same(value, found[0])
        assert same(other, found[1])
        # Bound, and as a literal.
        for count in (
            sa.select(sa.func.count()).where(table.c.x == value),
            sa.select(sa.func.count()).where(table.c.x == sa.literal(value, kind)),
            sa.select(sa.func.count()).where(table.c.x.in_([value, other])).where(table.c.x != other),
        ):
            assert connection.scalar(count) == 4
            compiled = count.compile(connection, compile_kwargs={"literal_binds": True})
            assert connection.scalar(sa.text(str(compiled).replace("%%", "%").replace(":", r"\:"))) == 4
        literal = sa.select(sa.literal(value, kind, literal_execute=True))
        assert same(value, connection.scalar(literal))
        if not isinstance(kind, Key):
            assert same(value, connection.scalar(sa.select(sa.cast(sa.literal(value, kind), kind))))


@only_type
def test_none_is_null_except_in_a_packed_column_and_for_a_key(shared, kind):
    table = made(shared, kind)
    with shared.begin() as connection:
        if isinstance(kind, Key):
            with pytest.raises(sa.exc.StatementError, match="None"):
                connection.execute(table.insert(), {"x": None})
            return
        connection.execute(table.insert(), {"x": None})
        assert connection.execute(sa.select(table.c.x)).all() == [(None,)]
        is_null = connection.scalar(sa.select(table.c.x.is_(sa.null())))
        assert is_null is not isinstance(kind, Packed)
        connection.execute(table.update().values(x=sa.null()))
        assert connection.execute(sa.select(table.c.x)).all() == [(None,)]


@only_type
def test_a_type_is_what_its_repr_says(kind):
    namespace: dict[str, Any] = {}
    exec("from kohakuvault.orm import *", namespace)
    again = eval(repr(kind), namespace)
    assert type(again) is type(kind)
    assert repr(again) == repr(kind)
    assert again._static_cache_key == kind._static_cache_key


@only_type
@pytest.mark.parametrize(
    "change",
    [
        copy.copy,
        copy.deepcopy,
        lambda kind: pickle.loads(pickle.dumps(kind)),
        lambda kind: kind.copy(),
        lambda kind: kind.adapt(type(kind)),
        lambda kind: table_of(kind).to_metadata(sa.MetaData()).c.x.type,
        lambda kind: sa.Column("x", kind)._copy().type,
        lambda kind: kind.with_variant(sa.Text(), "mysql"),
    ],
)
def test_a_copy_is_the_same_type(kind, change):
    again = change(kind)
    assert (type(again), repr(again)) == (type(kind), repr(kind))
    assert again._static_cache_key == kind._static_cache_key
    for dialect in (sqlite_dialect.dialect(), postgresql.dialect()):
        assert again.compile(dialect) == kind.compile(dialect)


def test_types_that_differ_never_share_a_cached_statement():
    kinds = [each[0] for each in TYPES] + [Tensor("u8", 3, 2), Tensor("u8", 6), Tensor("i8", 2, 3), PackedArray("f64")]
    keys = {kind._static_cache_key for kind in kinds}
    assert len(keys) == len(kinds)


@with_values
def test_statements_are_compiled_once(shared, kind, value, other):
    table = made(shared, kind)
    hits = []

    def note(connection, cursor, statement, parameters, context, executemany):
        hits.append(context._get_cache_stats().split(" ")[0].strip("["))

    with shared.connect() as connection:
        sa.event.listen(connection, "after_cursor_execute", note)
        for _ in range(3):
            connection.execute(sa.insert(table), {"x": value})
            connection.execute(sa.select(table.c.x).where(table.c.x == other)).all()
        connection.rollback()
    assert hits[2:] == ["cached"] * 4


@with_values
def test_the_orm_notices_a_change_by_value(kind, value, other):
    assert kind.compare_values(value, copy.deepcopy(value)) is True
    assert kind.compare_values(value, other) is False
    assert kind.compare_values(other, value) is False
    assert kind.compare_values(value, sa.orm.attributes.NO_VALUE) is False
    assert kind.compare_values(None, None) is True
    assert kind.compare_values(value, None) is False


def test_assigning_an_equal_array_writes_nothing(shared):
    class Base(DeclarativeBase):
        pass

    class Typed(Base):
        __tablename__ = "typed"
        id: Mapped[int] = mapped_column(primary_key=True)
        v: Mapped[Any] = mapped_column(Vector(2))
        t: Mapped[Any] = mapped_column(Tensor("u8", 2))
        a: Mapped[Any] = mapped_column(PackedArray(), nullable=True)

    Base.metadata.drop_all(shared)
    Base.metadata.create_all(shared)
    with Session(shared) as session:
        made = Typed(id=1, v=[1, 2], t=[1, 2], a=None)
        session.add(made)
        session.commit()
        assert made.a is None
        made.v, made.t, made.a = np.array([1.0, 2.0]), np.uint8([1, 2]), None
        assert not session.is_modified(made)
        made.t = [2, 1]
        assert session.is_modified(made)
        session.commit()
        assert made.t.tolist() == [2, 1]
        made.t[0] = 7
        made.a = np.eye(2)
        session.commit()
        assert (made.t.tolist(), made.a.tolist()) == ([2, 1], [[1, 0], [0, 1]])


def test_pickle_is_allowed_by_the_declaration_alone(shared):
    table = made(shared, Packed("pickle", pickle=True))
    untrusting = table_of(Packed("pickle"), table.name)
    with shared.begin() as connection:
        connection.execute(table.insert(), {"x": object})
        assert connection.scalar(sa.select(table.c.x)) is object
        with pytest.raises(CorruptValue, match="pickle"):
            connection.scalar(sa.select(untrusting.c.x))
        with pytest.raises(sa.exc.StatementError, match="pickle=True"):
            connection.execute(untrusting.insert(), {"x": 1})


# -- Tensor and PackedArray --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("u8", 0),
        ("u8", -1),
        ("u8", 2.0),
        ("u8", True),
        ("c64", 2),
        (None, 2),
        ("u8", 40_000, 40_000),
        ("u8", *[100] * 20),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(arguments):
    with pytest.raises(InvalidArgument):
        Tensor(*arguments)
    with pytest.raises(InvalidArgument):
        Packed("utf8")
    with pytest.raises(InvalidArgument):
        PackedArray("bit")


@pytest.mark.parametrize("elem", ARRAY_ELEMENTS)
@given(data=st.data())
def test_any_array_of_the_dtype_comes_back(elem, data):
    dtype = ARRAY_ELEMENTS[elem]
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=4)))
    kind = Tensor(elem, *array.shape)
    stored = kind.to_bytes(array)
    assert stored == array.astype(dtype.newbyteorder("<")).tobytes()
    for way in (kind, PackedArray(elem), PackedArray()):
        # In whatever order and byte order its items are.
        for given_array in (array, np.asfortranarray(array), array.astype(dtype.newbyteorder(">"))):
            found = way.from_bytes(way.to_bytes(given_array))
            np.testing.assert_array_equal(found, array)
            assert found.shape == array.shape
            assert found.flags.writeable
            assert found.dtype == (given_array.dtype if way.elem is None else dtype)
    assert kind.from_bytes(kind.to_bytes(array.tolist())).tolist() == array.tolist() or dtype.kind == "f"


@pytest.mark.parametrize("kind", [Tensor, PackedArray])
@pytest.mark.parametrize(
    ("elem", "value", "error"),
    [
        ("u8", [256, 0], InvalidArgument),
        ("u8", [-1, 0], InvalidArgument),
        ("i8", [128, 0], InvalidArgument),
        ("i64", np.uint64([2**63, 0]), InvalidArgument),
        ("u64", np.int64([-1, 0]), InvalidArgument),
        ("i64", [2**64, 0], InvalidArgument),
        ("u64", [2**63, -1], InvalidArgument),
        ("u64", [2**63, 0.5], UnsupportedType),
        ("u8", [1.0, 2.0], UnsupportedType),
        ("u8", [True, False], UnsupportedType),
        ("bool", [1, 0], UnsupportedType),
        ("f32", [2**24 + 1, 0], InvalidArgument),
        ("f16", [70_000.0, 0], InvalidArgument),
        ("f32", [1e39, 0], InvalidArgument),
        ("f32", [1j, 0], UnsupportedType),
        ("f32", ["1", "2"], UnsupportedType),
        ("f32", [None, 1], UnsupportedType),
        ("f32", [[1], [1, 2]], InvalidArgument),
        ("f32", "12", UnsupportedType),
        ("f32", b"12345678", UnsupportedType),
        ("f32", {1, 2}, UnsupportedType),
        ("f32", np.ma.masked_array([1.0, 2.0], [True, False]), UnsupportedType),
    ],
)
def test_what_would_be_changed_is_refused(kind, elem, value, error):
    made = kind(elem, 2) if kind is Tensor else kind(elem)
    with pytest.raises(error):
        made.to_bytes(value)


def test_floats_are_rounded_and_integers_become_floats_that_equal_them():
    assert Tensor("f32", 2).from_bytes(Tensor("f32", 2).to_bytes([0.1, 7.0])).tolist() == np.float32([0.1, 7]).tolist()
    assert Tensor("f16", 2).to_bytes([1, 2048]) == np.float16([1, 2048]).tobytes()
    special = Tensor("f16", 3).from_bytes(Tensor("f16", 3).to_bytes([np.nan, np.inf, -np.inf]))
    assert np.isnan(special[0])
    assert special[1:].tolist() == [np.inf, -np.inf]
    assert PackedArray("u8").from_bytes(PackedArray("u8").to_bytes([])).dtype == np.uint8


@pytest.mark.parametrize("value", [[1, 2, 3], [[1], [2]], 1, []])
def test_another_shape_is_refused(value):
    with pytest.raises(InvalidArgument, match="takes"):
        Tensor("i64", 2).to_bytes(np.array(value, "i8"))


@pytest.mark.parametrize("stored", [b"", b"123", "text", 5, b"\x02\x01"])
def test_bytes_that_are_no_tensor_are_corrupt(stored):
    with pytest.raises(CorruptValue):
        Tensor("bool", 2).from_bytes(stored)


@pytest.mark.parametrize("stored", [b"", b"\x00abc", b"\x0a", "text", Packed().pack(np.float64([1]))])
def test_bytes_that_are_no_array_are_corrupt(stored):
    with pytest.raises(CorruptValue):
        PackedArray("f32").from_bytes(stored)


# -- Tracked values outside of their columns ---------------------------------------------------


@pytest.mark.parametrize("kind", [each[0] for each in TYPES if isinstance(each[0], Packed)], ids=repr)
def test_tracked_values_are_packed_as_plain_ones_wherever_they_are(kind):
    value: Any = {"a": [{"b": [1]}]}
    if kind.encoding != "json":
        value["s"] = [{1, 2}]
    for nest in (lambda inner: inner, lambda inner: {"x": inner}, lambda inner: [inner]):
        assert kind.pack(nest(TrackedDict(value))) == kind.pack(nest(value)) or kind.encoding == "pickle"
        assert kind.unpack(kind.pack(nest(TrackedDict(value)))) == nest(value)
    assert type(kind.unpack(kind.pack(TrackedDict(value)))) is dict


def test_a_vault_takes_tracked_values(shared_engines):
    kv = KVault(shared_engines("sqlite"), "takes_tracked")
    kv["a"] = TrackedDict(list=[1])
    kv["b"] = [TrackedDict(list=[1])]
    assert (kv["a"], kv["b"]) == ({"list": [1]}, [{"list": [1]}])
    assert type(kv["a"]["list"]) is list


# -- What PostgreSQL needs ---------------------------------------------------------------------


def test_only_our_types_need_anything():
    assert required_objects([sa.Integer(), sa.LargeBinary(), sa.JSON(), Vector(8, "bit")]) == []
    wanted = "".join(required_objects([Packed(), Packed(), Key(), Vector(3, "i8"), sa.Integer()]))
    assert wanted.count("CREATE DOMAIN") == 2
    assert wanted.count("CREATE EXTENSION IF NOT EXISTS vector") == 1
    assert '"s""x".kv_key AS BYTEA' in required_objects([Key()], 's"x')[0]
    variant = sa.JSON().with_variant(Packed("cbor"), "postgresql")
    for nested in (variant, postgresql.ARRAY(Packed("cbor"))):
        assert "kv_cbor" in required_objects([nested])[0]


def test_tables_are_made_without_our_types_by_the_same_statements_as_ever(url):
    engine = sa.create_engine(url)
    statements = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    table_of(sa.LargeBinary()).create(engine, checkfirst=False)
    assert len(statements) == 1
    engine.dispose()


def test_the_domain_is_in_the_schema_of_the_table(new_url):
    engine = sa.create_engine(new_url("postgresql"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS other_schema CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA other_schema")
    table = sa.Table(
        "typed",
        sa.MetaData(schema="other_schema"),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("x", Packed("msgpack")),
        sa.Column("v", Vector(2, "i8")),
    )
    translated = table_of(Key())
    with engine.begin() as connection:
        table.create(connection)
        mapped = connection.execution_options(schema_translate_map={None: "other_schema"})
        translated.drop(mapped, checkfirst=True)
        translated.create(mapped)
        domains = "SELECT typname FROM pg_type WHERE typnamespace = 'other_schema'::regnamespace AND typtype = 'd'"
        assert set(connection.exec_driver_sql(domains).scalars()) == {"kv_msgpack", "kv_key"}
        table_of(Packed("msgpack")).drop(mapped, checkfirst=True)
        table.create(connection)
        # Nothing but the definition names the domain, which no search_path leads to.
        insert = sa.insert(table).returning(table.c.id, sort_by_parameter_order=True)
        connection.execute(insert, [{"x": 1, "v": [1, 2]}] * 2)
        assert connection.scalar(sa.select(sa.cast(table.c.x, Packed("msgpack")))) == 1
        connection.exec_driver_sql("DROP SCHEMA other_schema CASCADE")
    engine.dispose()


def test_two_connections_make_the_same_domain_at_once(new_url):
    engine = sa.create_engine(new_url("postgresql"))
    started, errors = threading.Event(), []

    def other():
        try:
            with engine.begin() as connection:
                started.set()
                table_of(Packed("cbor"), "second").create(connection)
        except sa.exc.SQLAlchemyError as error:
            errors.append(error)

    thread = threading.Thread(target=other)
    with engine.begin() as connection:
        table_of(Packed("cbor"), "first").create(connection)
        thread.start()
        started.wait()
    thread.join()
    assert not errors
    assert set(sa.inspect(engine).get_table_names()) == {"first", "second"}
    engine.dispose()


def test_a_script_of_alembic_makes_what_is_needed():
    written: list[str] = []

    class Buffer:
        def write(self, text):
            written.append(text)

        def flush(self):
            pass

    for name in ("postgresql", "sqlite"):
        written.clear()
        context = MigrationContext.configure(dialect_name=name, opts={"as_sql": True, "output_buffer": Buffer()})
        Operations(context).create_table(
            "typed", sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", Packed()), sa.Column("v", Vector(3))
        )
        script = "".join(written)
        assert ("CREATE DOMAIN kv_packed AS BYTEA" in script) == (name == "postgresql")
        assert ("CREATE EXTENSION IF NOT EXISTS vector" in script) == (name == "postgresql")
        assert ("x kv_packed" if name == "postgresql" else "x PACKED_BLOB") in script


def test_what_was_made_stays_when_tables_are_dropped(new_url):
    engine = sa.create_engine(new_url("postgresql"))
    for _ in range(2):
        table = table_of(Packed())
        table.create(engine)
        table.drop(engine)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT to_regtype('kv_packed') IS NOT NULL"))
    engine.dispose()


def test_a_domain_is_indexed_compared_and_upserted_like_its_base(shared):
    table = sa.Table(
        "indexed",
        sa.MetaData(),
        sa.Column("key", Key(), primary_key=True),
        sa.Column("x", Packed("msgpack"), unique=True),
        sa.Column("v", Vector(3, "i8"), nullable=True),
    )
    sa.Index("indexed_x", table.c.x)
    table.drop(shared, checkfirst=True)
    table.create(shared)
    dialect = postgresql if shared.dialect.name == "postgresql" else sqlite_dialect
    upsert = dialect.insert(table)
    upsert = upsert.on_conflict_do_update(index_elements=[table.c.key], set_={"x": upsert.excluded.x})
    with shared.begin() as connection:
        connection.execute(upsert, [{"key": "a", "x": 1}, {"key": "b", "x": 2}])
        connection.execute(upsert, [{"key": "a", "x": 3}])
        assert connection.execute(sa.select(table.c.key, table.c.x).order_by(table.c.key)).all() == [("a", 3), ("b", 2)]
        assert connection.scalars(sa.select(sa.func.coalesce(table.c.x, table.c.x)).order_by(table.c.key)).first() == 3
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            connection.execute(table.insert(), {"key": "c", "x": 2})
        if dialect is postgresql:
            connection.exec_driver_sql("CREATE INDEX ON indexed USING hnsw (v halfvec_l2_ops)")
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            nearest = sa.select(table.c.key).order_by(table.c.v.l2_distance([1, 2, 3])).limit(1)
            compiled = nearest.compile(connection, compile_kwargs={"literal_binds": True})
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {compiled}".replace("%", "%%")).scalars())
            assert "Index Scan" in plan


def test_columns_that_were_declared_as_plain_bytes_work_as_before(shared):
    plain = made(shared, sa.LargeBinary())
    table = table_of(Packed(), plain.name)
    with shared.begin() as connection:
        connection.execute(table.insert(), {"x": {"a": 1}})
        assert connection.scalar(sa.select(table.c.x).where(table.c.x == {"a": 1})) == {"a": 1}
        assert connection.scalar(sa.select(plain.c.x)) == Packed().pack({"a": 1})


# -- Annotations -------------------------------------------------------------------------------

Embedding = Annotated[np.ndarray, mapped_column(Vector(384))]
Thumb = Annotated[np.ndarray, Tensor("u8", 2, 2)]
Forgotten = Annotated[np.ndarray, Vector(7)]


def test_annotations_name_types(shared):
    class Base(DeclarativeBase):
        type_annotation_map = {**type_annotation_map, **annotated_types(Thumb)}  # noqa: RUF012

    class Doc(Base):
        __tablename__ = "annotated"
        id: Mapped[int] = mapped_column(primary_key=True)
        embedding: Mapped[Embedding]
        maybe: Mapped[Embedding | None]
        thumb: Mapped[Thumb]
        small: Mapped[Thumb | None]
        array: Mapped[np.ndarray]
        floats: Mapped[NDArray[np.float32]]
        nullable: Mapped[NDArray[np.uint8] | None]

    assert {column.name: (repr(column.type), column.nullable) for column in Doc.__table__.c} == {
        "id": ("Integer()", False),
        "embedding": ("Vector(384)", False),
        "maybe": ("Vector(384)", True),
        "thumb": ("Tensor('u8', 2, 2)", False),
        "small": ("Tensor('u8', 2, 2)", True),
        "array": ("PackedArray()", False),
        "floats": ("PackedArray('f32')", False),
        "nullable": ("PackedArray('u8')", True),
    }
    Base.metadata.drop_all(shared)
    Base.metadata.create_all(shared)
    with Session(shared) as session:
        given = {
            "embedding": np.ones(384),
            "thumb": [[1, 2], [3, 4]],
            "array": np.eye(3, dtype=complex),
            "floats": [1.5],
        }
        session.add(Doc(**given))
        session.commit()
        doc = session.scalars(sa.select(Doc)).one()
        assert (doc.array.dtype, doc.floats.dtype, doc.thumb.tolist()) == (complex, np.float32, [[1, 2], [3, 4]])


def test_an_alias_that_nobody_registered_is_an_error_rather_than_another_type():
    class Base(DeclarativeBase):
        type_annotation_map = type_annotation_map

    class Doc(Base):
        __tablename__ = "forgotten"
        id: Mapped[int] = mapped_column(primary_key=True)
        vector: Mapped[Forgotten | None]

    with pytest.raises(InvalidArgument, match=r"annotated_types\(alias\)"):
        configure_mappers()
    Base.registry.dispose()
    for wrong in (np.ndarray, Annotated[np.ndarray, "text"], Annotated[np.ndarray, Vector(1), Vector(2)]):
        with pytest.raises(InvalidArgument, match="Annotated"):
            annotated_types(wrong)


def test_sqlmodel_takes_the_types(shared):
    import sqlmodel

    class Base(sqlmodel.SQLModel, registry=sa.orm.registry()):
        pass

    class Item(Base, table=True):
        model_config = {"arbitrary_types_allowed": True}  # noqa: RUF012
        __tablename__ = "sqlmodel_item"

        id: int | None = sqlmodel.Field(default=None, primary_key=True)
        vector: np.ndarray = sqlmodel.Field(sa_type=Vector(3))
        value: Any = sqlmodel.Field(default=None, sa_type=Packed)
        meta: dict = sqlmodel.Field(default_factory=dict, sa_type=Packed("msgpack").tracked())

    Item.__table__.drop(shared, checkfirst=True)
    Item.__table__.create(shared)
    with sqlmodel.Session(shared) as session:
        item = Item(vector=np.float32([1, 2, 3]), value=(1, {2}), meta={"a": []})
        session.add(item)
        session.commit()
        item.meta["a"].append(1)
        session.commit()
        assert (item.vector.tolist(), item.value, item.meta) == ([1, 2, 3], (1, {2}), {"a": [1]})
        nearest = sqlmodel.select(Item.id).order_by(Item.__table__.c.vector.l2_distance([1, 2, 3]))
        assert session.exec(nearest).all() == [item.id]
