"""The way back: what a database says a column is becomes our type, and is compared with what a model says."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kohakuvault import CorruptValue, KVault
from kohakuvault.orm import Key, Packed, PackedArray, Tensor, Vector, reflected_type
from kohakuvault.orm.reflection import type_named

TYPES = {
    "packed": Packed(),
    "msgpack": Packed("msgpack"),
    "cbor": Packed("cbor"),
    "json": Packed("json"),
    "pickle": Packed("pickle"),
    "key": Key(),
    "vector": Vector(384),
    "any_vector": Vector(),
    "half": Vector(384, "f16"),
    "int8": Vector(384, "i8"),
    "any_int8": Vector(elem="i8"),
    "bits": Vector(384, "bit"),
    "tensor": Tensor("u8", 64, 64, 3),
    "number": Tensor("f64"),
    "array": PackedArray(),
    "floats": PackedArray("f32"),
    "bools": PackedArray("bool"),
}
# What PostgreSQL's types do not tell: bit says nothing of vectors, and int8 is halfvec as float16 is.
READ_AS = {"postgresql": {"bits": None, "int8": Vector(384, "f16"), "any_int8": Vector(elem="f16")}}


def read_as(engine, name):
    """Return what the type is found to be."""
    return READ_AS.get(engine.dialect.name, {}).get(name, TYPES[name])


def table_of(types=TYPES, schema=None, metadata=None):
    columns = [sa.Column(name, kind) for name, kind in types.items()]
    return sa.Table(
        "typed", metadata or sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), *columns, schema=schema
    )


@pytest.fixture
def bare(url):
    """An engine that knows nothing of us."""
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def test_a_reflected_table_has_our_types(bare):
    table_of().create(bare)
    table = sa.Table("typed", sa.MetaData(), autoload_with=bare)
    for name, kind in TYPES.items():
        expected = read_as(bare, name)
        assert expected is None or repr(table.c[name].type) == repr(expected)
        assert table.c[name].type.compile(bare.dialect) == kind.compile(bare.dialect)
    assert type(table.c.id.type) is sa.INTEGER
    with bare.connect() as connection:
        reflected = sa.MetaData()
        reflected.reflect(connection)
        assert repr(reflected.tables["typed"].c.tensor.type) == "Tensor('u8', 64, 64, 3)"


def test_a_reflected_table_makes_the_same_table_again(bare):
    table_of().create(bare)
    table = sa.Table("typed", sa.MetaData(), autoload_with=bare)
    before = sa.inspect(bare).get_columns("typed")
    table.drop(bare)
    table.create(bare)
    after = sa.inspect(bare).get_columns("typed")
    assert [repr(column) for column in after] == [repr(column) for column in before]


def test_the_type_of_one_column_can_be_asked_for(bare):
    table_of().create(bare)
    with bare.connect() as connection:
        for bind in (bare, connection, sa.inspect(bare), sa.inspect(connection)):
            for name in TYPES:
                assert repr(reflected_type(bind, "typed", name)) == repr(read_as(bare, name))
            assert reflected_type(bind, "typed", "id") is None
            assert reflected_type(bind, "typed", "missing") is None
            assert reflected_type(bind, "missing", "x") is None


def test_equal_types_are_equal_and_others_are_not(bare):
    table_of().create(bare)
    table = sa.Table("typed", sa.MetaData(), autoload_with=bare)
    for name, kind in TYPES.items():
        assert kind.compare_against_backend(bare.dialect, table.c[name].type) is True
        for other in TYPES.values():
            # Float16 and int8 are one type of PostgreSQL's.
            equal = other.compile(bare.dialect) == kind.compile(bare.dialect)
            assert other.compare_against_backend(bare.dialect, table.c[name].type) is equal
    for other in (sa.LargeBinary(), sa.Text(), sa.Integer(), sa.types.NullType()):
        for kind in TYPES.values():
            assert kind.compare_against_backend(bare.dialect, other) is False
    changed = [Vector(385), Vector(384, "bit"), Tensor("u8", 64, 64, 4), Tensor("i8", 64, 64, 3), PackedArray("f64")]
    for kind in changed:
        for name, other in TYPES.items():
            if repr(kind) != repr(other):
                assert kind.compare_against_backend(bare.dialect, table.c[name].type) is False


@pytest.mark.parametrize("kind", [Packed(pickle=True), Packed().tracked()], ids=repr)
def test_what_is_no_part_of_the_schema_is_no_difference(bare, kind):
    table_of({"x": kind}).create(bare)
    found = sa.Table("typed", sa.MetaData(), autoload_with=bare).c.x.type
    assert repr(found) == "Packed()"
    assert kind.compare_against_backend(bare.dialect, found) is True


def test_a_reflected_pickle_is_not_read(bare):
    table = table_of({"x": Packed("pickle", pickle=True)})
    table.create(bare)
    reflected = sa.Table("typed", sa.MetaData(), autoload_with=bare)
    with bare.begin() as connection:
        connection.execute(table.insert(), {"x": print})
        with pytest.raises(CorruptValue, match="pickle"):
            connection.execute(sa.select(reflected.c.x)).all()


def test_autogenerate_finds_nothing_to_do_after_create_all_and_every_change_later(bare):
    table = table_of()
    table.create(bare)
    with bare.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, table.metadata) == []
        changed = {
            **TYPES,
            "msgpack": Packed("cbor"),
            "vector": Vector(385),
            "half": Vector(384, "i8"),
            "int8": Vector(384, "f16"),
            "bits": Vector(383, "bit"),
            "tensor": Tensor("u8", 64, 3, 64),
            "number": Tensor("f32"),
            "array": PackedArray("f32"),
            "floats": PackedArray(),
        }
        found = compare_metadata(context, table_of(changed).metadata)
        expected = {
            name for name, kind in TYPES.items() if changed[name].compile(bare.dialect) != kind.compile(bare.dialect)
        }
        assert len(expected) >= 7
        assert {difference[0][3] for difference in found} == expected
        assert {difference[0][0] for difference in found} == {"modify_type"}


def test_tables_in_another_schema_are_reflected_too(bare, tmp_path):
    with bare.connect() as connection:
        if bare.dialect.name == "sqlite":
            connection.exec_driver_sql(f"ATTACH '{tmp_path / 'other.db'}' AS other_schema")
        else:
            connection.exec_driver_sql("CREATE SCHEMA other_schema")
        table_of(schema="other_schema").create(connection)
        table = sa.Table("typed", sa.MetaData(), autoload_with=connection, schema="other_schema")
        for name, kind in TYPES.items():
            expected = read_as(bare, name)
            assert expected is None or repr(table.c[name].type) == repr(expected)
            assert kind.compare_against_backend(bare.dialect, table.c[name].type) is True
            assert repr(reflected_type(connection, "typed", name, schema="other_schema")) == repr(expected)
        connection.rollback()


def test_names_are_recognised_whatever_their_case_and_no_others():
    for name in ("tensor_u8_2_3_blob", "KV_TENSOR_U8_2_3", "kv_tensor_u8_2_3"):
        assert repr(type_named(name)) == "Tensor('u8', 2, 3)"
    assert repr(type_named("f32_blob(8)")) == "Vector(8)"
    for name in (
        "",
        "BLOB",
        "BYTEA",
        "MY_BLOB",
        "F32_BLOB(0)",
        "F64_BLOB(3)",
        "BIT_BLOB",
        "KEY_BLOB(3)",
        "TENSOR_BLOB",
        "TENSOR_C64_2_BLOB",
        "TENSOR_U8_X_BLOB",
        "TENSOR_U8_0_BLOB",
        "kv_tensor",
        "kv_other",
        "kv_f32",
        "vector_of_things",
    ):
        assert type_named(name) is None, name


def test_a_column_that_is_called_like_ours_and_is_not_is_left_alone(bare):
    with bare.begin() as connection:
        if bare.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TABLE t (a MY_BLOB, b TENSOR_U8_0_BLOB, c, d BLOB, e F32_BLOB(0), f BIT_BLOB, "
                "g PACKED_BLOB(3), h KEY_BLOB(3), i F32_BLOB(3, 4), j ARRAY_BLOB(2))"
            )
        else:
            connection.exec_driver_sql("CREATE DOMAIN kv_other AS bytea; CREATE TABLE t (a kv_other, d bytea)")
    table = sa.Table("t", sa.MetaData(), autoload_with=bare)
    assert not any(isinstance(column.type, (Key, Packed, PackedArray, Tensor, Vector)) for column in table.c)
    assert all(reflected_type(bare, "t", column.name) is None for column in table.c)


def test_a_vault_opens_a_table_that_was_declared_as_plain_bytes(bare):
    with bare.begin() as connection:
        blob = "BLOB" if bare.dialect.name == "sqlite" else "BYTEA"
        number = "INTEGER PRIMARY KEY" if bare.dialect.name == "sqlite" else "BIGSERIAL PRIMARY KEY"
        real = "FLOAT" if bare.dialect.name == "sqlite" else "DOUBLE PRECISION"
        connection.exec_driver_sql(
            f"CREATE TABLE kv (id {number}, key {blob} UNIQUE NOT NULL, value {blob} NOT NULL, expires_at {real})"
        )
    kv = KVault(bare, "kv")
    kv["a"] = {"b": 1}
    assert kv["a"] == {"b": 1}
    fresh = KVault(bare, "fresh")
    fresh["a"] = 1
    assert fresh.check() == []
    columns = sa.Table("fresh", sa.MetaData(), autoload_with=bare).c
    assert (repr(columns.key.type), repr(columns.value.type)) == ("Key()", "Packed()")


def test_where_pgvector_has_its_own_types_they_stay_and_are_compared(postgresql_url):
    """In a process of its own: pgvector registers its types when it is imported."""
    code = """
import sys, sqlalchemy as sa
if sys.argv[2] == "first":
    import pgvector.sqlalchemy
from kohakuvault.orm import Vector, reflected_type
import pgvector.sqlalchemy
engine = sa.create_engine(sys.argv[1])
types = {"v": Vector(3), "h": Vector(3, "f16"), "i": Vector()}
with engine.connect() as connection:
    connection.exec_driver_sql("CREATE SCHEMA beside_pgvector; SET search_path = beside_pgvector, public")
    table = sa.Table("t", sa.MetaData(), *(sa.Column(name, kind) for name, kind in types.items()))
    table.create(connection)
    found = sa.Table("t", sa.MetaData(), autoload_with=connection)
    assert isinstance(found.c.v.type, pgvector.sqlalchemy.Vector), found.c.v.type
    for name, kind in types.items():
        assert kind.compare_against_backend(engine.dialect, found.c[name].type), name
        assert not Vector(4, elem=kind.elem).compare_against_backend(engine.dialect, found.c[name].type)
        assert repr(reflected_type(connection, "t", name)) == repr(kind)
    connection.rollback()
"""
    for order in ("first", "last"):
        arguments = [sys.executable, "-c", code, postgresql_url.render_as_string(hide_password=False), order]
        subprocess.run(arguments, check=True, timeout=60)
