"""The operations: reversed, in batches, as SQL, on both databases; batch mode keeps triggers."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Integer, LargeBinary, MetaData, Table, Text, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from kohakuvault import Column, InvalidArgument, KVault, SchemaMismatch, VectorKVault
from kohakuvault.orm import Key, Packed, TextIndex, Vector, VectorIndex, match, nearest, vault_dict, vault_list
from kohakuvault.orm import alembic as vault
from kohakuvault.orm.alembic.found_indexes import found_indexes
from migrating import Migrations, dump

OPERATIONS = [
    vault.CreateVectorIndexOp("ix", "doc", "embedding", type_=Vector(4), metric="l2", kind="hnsw", m=8, key="doc_id"),
    vault.CreateTextIndexOp("ix", "doc", ["body"], tokenize="porter", weights=(2,), key="doc_id", prefix=(2, 3)),
    vault.CreateVaultTableOp("settings", "kv", pickle=True),
    vault.CreateVaultTableOp("v", "vectors", options={"dimensions": 4, "vector_type": "f16", "index": None}),
    vault.CreateVaultListOp("sensor", "readings"),
    vault.CreateVaultDictOp("sensor_settings", "sensor", key_type=sqlalchemy.String(5)),
    vault.RepackColumnOp("doc", "meta", to=Packed("cbor"), from_=Packed("msgpack")),
    vault.PrepareVaultTypesOp((Vector(3), Packed())),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: type(operation).__name__)
def test_the_reverse_of_the_reverse_is_the_same(operation):
    assert operation.reverse().reverse() == operation
    assert operation.to_diff_tuple()[0] in repr(type(operation).__dict__)
    if not isinstance(operation, vault.PrepareVaultTypesOp):
        assert operation != operation.reverse()


def test_a_drop_that_does_not_say_what_it_drops_cannot_be_reversed():
    with pytest.raises(ValueError, match="give it column_name and type_"):
        vault.DropVectorIndexOp("ix", "doc").reverse()
    with pytest.raises(ValueError, match="give it columns"):
        vault.DropTextIndexOp("ix", "doc").reverse()
    with pytest.raises(ValueError, match="give it dimensions"):
        vault.DropVaultTableOp("v", "vectors").reverse()


@pytest.fixture
def migrations(tmp_path, url):
    made = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url))
    yield made
    made.engine.dispose()


def docs(*items: Any) -> Table:
    return Table(
        "doc",
        MetaData(),
        sqlalchemy.Column("id", Integer, primary_key=True),
        sqlalchemy.Column("body", Text(), nullable=False),
        sqlalchemy.Column("embedding", Vector(4)),
        sqlalchemy.Column("meta", Packed("msgpack")),
        *items,
    )


def filled(engine: sqlalchemy.Engine, table: Table, rows: int = 40) -> None:
    table.create(engine)
    with engine.begin() as connection:
        given = [{"body": f"text {n}", "embedding": np.eye(4)[n % 4], "meta": {"n": n}} for n in range(rows)]
        connection.execute(table.insert(), given)


def operations_on(connection: sqlalchemy.Connection) -> Any:
    return Operations(MigrationContext.configure(connection))


def test_what_is_written_by_hand_needs_little(engine):
    table = docs()
    filled(engine, table)
    before = dump(engine)
    with engine.begin() as connection:
        op = operations_on(connection)
        op.create_vector_index("doc_embedding", "doc", "embedding", kind="rabitq")
        op.create_text_index("doc_body", "doc", ["body"])
        op.create_vault_table("settings", "kv")
        op.create_vault_table("v", "vectors", sqlalchemy.Column("lang", Text()), dimensions=4)
    with engine.begin() as connection:
        hit = nearest(table.c.embedding, [1, 0, 0, 0], k=3)
        assert len(connection.execute(select(hit.c.id)).all()) == 3
    KVault(engine, "settings", create=False)["a"] = 1
    VectorKVault(engine, "v", dimensions=4, create=False, index=None, metadata={"lang": Text()}).insert([1, 2, 3, 4])
    with engine.begin() as connection:
        op = operations_on(connection)
        op.drop_vector_index("doc_embedding", "doc")
        op.drop_text_index("doc_body", "doc")
        op.drop_vault_table("settings", "kv")
        op.drop_vault_table("v", "vectors")
        assert connection.scalar(text("SELECT count(*) FROM vault_table")) == 0
        connection.execute(text("DROP TABLE vault_table"))
    assert {key for key in dump(engine) if not key.startswith("function")} == set(before)


def test_a_dropped_dict_takes_its_large_values_along(engine):
    import io

    KVault(engine, "settings").put_file("big", io.BytesIO(b"x" * 2_000_000))
    with engine.begin() as connection:
        operations_on(connection).drop_vault_table("settings", "kv")
        assert not sqlalchemy.inspect(connection).has_table("settings_chunk")
        assert connection.scalar(text("SELECT count(*) FROM vault_table")) == 0


def test_wrong_arguments_are_told(engine):
    filled(engine, docs(), 1)
    with engine.begin() as connection:
        op = operations_on(connection)
        with pytest.raises(InvalidArgument, match="'nothing' is no kind of table"):
            op.create_vault_table("x", "nothing", sqlalchemy.Column("id", Integer))
        with pytest.raises(InvalidArgument, match="needs dimensions"):
            op.create_vault_table("x", "vectors")
        with pytest.raises(InvalidArgument, match="has no option 'metric'"):
            op.create_vault_table("x", "kv", metric="l2")
        with pytest.raises(InvalidArgument, match="there is no table 'lost'"):
            op.create_vector_index("ix", "lost", "embedding")
        with pytest.raises(InvalidArgument, match=r"give type_, such as type_=Vector\(384\)"):
            op.create_vector_index("ix", "doc", "body")
        with pytest.raises(InvalidArgument, match="one of to and from_ is a Packed type, or both are of arrays"):
            op.repack_column("doc", "body", to=Text(), from_=LargeBinary())


# -- repack_column ---------------------------------------------------------------------------------


VALUES = {
    "JSON": (sqlalchemy.JSON(), [{"a": [1, 2.5, None]}, [1, 2], "text", 5, True, None]),
    "Text": (Text(), ["text", "", "5", "ä"]),
    "LargeBinary": (LargeBinary(), [b"", b"\x00\xff", b"{}"]),
    "PickleType": (sqlalchemy.PickleType(), [{"a": (1, 2)}, [1], "text"]),
    "Packed('json')": (Packed("json"), [{"a": 1}, None, "x"]),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("to", [Packed(), Packed("msgpack")], ids=repr)
def test_values_are_packed_and_unpacked_as_they_were(engine, kind, to):
    type_, values = VALUES[kind]
    metadata = MetaData()

    def table_of(column_type):
        return Table(
            "t",
            MetaData(),
            sqlalchemy.Column("a", Integer, primary_key=True),
            sqlalchemy.Column("b", Text(), primary_key=True),
            sqlalchemy.Column("value", column_type),
            sqlalchemy.Column("last", Integer),
        )

    old, new = table_of(type_), table_of(to)
    old.create(engine)
    before = dump(engine)
    with engine.begin() as connection:
        rows = [{"a": n, "b": str(n), "value": value, "last": n} for n, value in enumerate(values)]
        connection.execute(old.insert(), rows)
        connection.execute(text("INSERT INTO t (a, b) VALUES (99, 'null')"))
    for table, arguments in ((new, {"to": to, "from_": type_}), (old, {"to": type_, "from_": to})):
        done: list[tuple[int, int]] = []
        with engine.begin() as connection:
            operations_on(connection).repack_column("t", "value", **arguments, progress=lambda *each: done.append(each))
        with engine.connect() as connection:
            found = connection.scalars(select(table.c.value).where(table.c.a < 99).order_by(table.c.a)).all()
            assert [(type(each), each) for each in found] == [(type(each), each) for each in values]
            assert connection.scalar(text("SELECT count(*) FROM t WHERE value IS NULL AND a = 99")) == 1
            assert connection.scalars(select(table.c.last).where(table.c.a < 99).order_by(table.c.a)).all() == list(
                range(len(values))
            )
    assert {key: value.replace('"', "") for key, value in dump(engine).items()} == {
        key: value.replace('"', "") for key, value in before.items()
    }
    del metadata


def test_what_would_not_come_back_is_refused_and_nothing_is_changed(engine):
    table = docs()
    filled(engine, table, 5)
    with engine.begin() as connection:
        connection.execute(table.update().where(table.c.id == 3).values(meta=(1, 2)))
    for to in (sqlalchemy.JSON(), Packed("json"), Text()):
        refused = pytest.raises(InvalidArgument, match=r"repack_column of doc.meta: .* cannot hold the value .* of row")
        with refused, engine.begin() as connection:
            operations_on(connection).repack_column("doc", "meta", to=to, from_=Packed("msgpack"))
        with engine.connect() as connection:
            assert connection.scalars(select(table.c.meta).order_by(table.c.id)).all()[1:3] == [{"n": 1}, (1, 2)]


def test_more_than_a_page_of_rows(engine):
    table = docs()
    filled(engine, table, 2500)
    done: list[tuple[int, int]] = []
    with engine.begin() as connection:
        operations_on(connection).repack_column(
            "doc", "meta", to=Packed("cbor"), from_=Packed("msgpack"), progress=lambda *each: done.append(each)
        )
        assert connection.scalars(select(table.c.meta).order_by(table.c.id)).all() == [{"n": n} for n in range(2500)]
    assert done == [(1000, 2500), (2000, 2500), (2500, 2500)]


# -- batch mode ------------------------------------------------------------------------------------


def test_replacing_a_table_keeps_all_triggers_and_satellites(tmp_path, new_url):
    url = new_url("sqlite")
    engine = kohakuvault.create_engine(url, pragmas={"foreign_keys": "OFF"})

    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        embedding: Mapped[np.ndarray] = mapped_column(Vector(4))
        settings: Mapped[KVault] = vault_dict()
        readings: Mapped[Column[float]] = vault_list("f64")
        __table_args__ = (VectorIndex("doc_embedding", "embedding", kind="exact"), TextIndex("doc_body", "body"))

    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for n in range(20):
            session.add(Doc(body=f"text {n}", embedding=np.eye(4)[n % 4], settings={"n": n}, readings=[n]))
        session.commit()
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE log (id INTEGER PRIMARY KEY, note)")
        connection.exec_driver_sql(
            "CREATE TRIGGER mine AFTER UPDATE ON doc BEGIN INSERT INTO log (note) VALUES ('100% of :doc'); END"
        )
    before = dump(engine)
    for copy_from in (None, Doc.__table__):
        with engine.begin() as connection:
            op = operations_on(connection)
            with op.batch_alter_table("doc", recreate="always", copy_from=copy_from) as batch:
                batch.alter_column("body", nullable=True)
        after = dump(engine)
        assert {key: value for key, value in after.items() if key != "table doc"} == {
            key: value for key, value in before.items() if key != "table doc"
        }
    with Session(engine) as session:
        doc = session.get_one(Doc, 3)
        assert (dict(doc.settings), doc.readings[:]) == ({"n": 2}, [2.0])
        doc.body = "another"
        session.commit()
        assert session.scalars(select(Doc.id).where(match(Doc.body, "another"))).all() == [3]
        assert session.execute(text("SELECT note FROM log")).scalars().all() == ["100% of :doc"]
        session.delete(doc)
        session.commit()
        assert session.execute(text("SELECT count(*) FROM vault_column")).scalar() == 19
        hit = nearest(Doc.embedding, [0, 0, 1, 0], k=20)
        assert 3 not in session.scalars(select(hit.c.id)).all()
    engine.dispose()


def test_replacing_a_table_that_others_hang_on_is_refused(new_url):
    engine = kohakuvault.create_engine(new_url("sqlite"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE doc (id INTEGER PRIMARY KEY, body TEXT)")
        connection.exec_driver_sql("CREATE TABLE part (id INTEGER PRIMARY KEY, doc REFERENCES doc ON DELETE CASCADE)")
        connection.exec_driver_sql("INSERT INTO doc VALUES (1, 'x')")
        connection.exec_driver_sql("INSERT INTO part VALUES (1, 1)")
    refused = pytest.raises(InvalidArgument, match="refers to it with ON DELETE CASCADE")
    with refused, engine.begin() as connection, operations_on(connection).batch_alter_table("doc", recreate="always"):
        pass
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM part").scalar() == 1
    with engine.connect() as connection, vault.without_foreign_keys(connection), connection.begin():
        op = operations_on(connection)
        with op.batch_alter_table("doc", recreate="always"):
            pass
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM part").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


def test_operations_in_a_batch_are_done_in_their_order(engine):
    table = docs()
    filled(engine, table)
    with engine.begin() as connection:
        op = operations_on(connection)
        with op.batch_alter_table("doc") as batch:
            batch.add_column(sqlalchemy.Column("other", Vector(3)))
            batch.create_vector_index("doc_other", "other", type_=Vector(3), kind="hnsw")
            batch.create_text_index("doc_body", ["body"])
            batch.repack_column("meta", to=Packed("cbor"), from_=Packed("msgpack"))
            batch.alter_column("body", nullable=True)
        assert [index.name for index in found_indexes(connection) if index.schema is None] == ["doc_other"]
        indexed = docs(TextIndex("doc_body", "body"))
        assert connection.scalar(select(indexed.c.id).where(match(indexed.c.body, "7"))) == 8
    with engine.begin() as connection:
        op = operations_on(connection)
        with op.batch_alter_table("doc") as batch:
            batch.drop_vector_index("doc_other")
            batch.drop_text_index("doc_body")
            batch.drop_column("other")
        assert [index.name for index in found_indexes(connection) if index.schema is None] == []


# -- --sql -----------------------------------------------------------------------------------------

UPGRADE = """
op.create_table("doc", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("body", sa.Text()),
    sa.Column("embedding", Vector(4)), sa.Column("meta", Packed("msgpack")), sa.Column("readings", sa.BigInteger()))
op.execute("INSERT INTO doc (id, body) VALUES (1, 'some text')")
op.create_vector_index("doc_embedding", "doc", "embedding", type_=Vector(4), kind="hnsw")
op.create_text_index("doc_body", "doc", ["body"])
op.create_vault_table("settings", "kv")
op.create_vault_table("v", "vectors", dimensions=4)
op.create_vault_dict("doc_settings", "doc")
op.prepare_vault_types(Vector(3))
op.add_column("doc", sa.Column("other", Vector(3)))
"""
DOWNGRADE = """
op.drop_vault_dict("doc_settings", "doc")
op.drop_vault_table("v", "vectors", dimensions=4)
op.drop_vault_table("settings", "kv")
op.drop_text_index("doc_body", "doc", ["body"])
op.drop_vector_index("doc_embedding", "doc", "embedding", type_=Vector(4), kind="hnsw")
op.drop_table("doc")
"""
IMPORTS = "from kohakuvault.orm import Packed, Vector"


def run_script(engine: sqlalchemy.Engine, sql: str) -> None:
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(engine.url.database) as connection:
            connection.executescript(sql)
        connection.close()
    else:
        raw = engine.raw_connection()
        raw.driver_connection.autocommit = True
        raw.driver_connection.execute(sql)
        raw.invalidate()


def test_a_script_does_what_a_connection_does(migrations, tmp_path, new_url):
    migrations.write(UPGRADE, DOWNGRADE, IMPORTS)
    migrations.upgrade()
    made = dump(migrations.engine)
    migrations.downgrade("base")
    with migrations.engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("DROP TABLE vault_table"))
    run_script(migrations.engine, migrations.sql(None))
    assert dump(migrations.engine) == made
    table = docs(TextIndex("doc_body", "body"), VectorIndex("doc_embedding", "embedding", kind="hnsw"))
    with migrations.engine.begin() as connection:
        connection.execute(table.insert(), {"body": "more", "embedding": [1, 2, 3, 4], "id": 2})
        assert connection.scalar(select(table.c.id).where(match(table.c.body, "some"))) == 1
        hit = nearest(table.c.embedding, [1, 2, 3, 4], k=1)
        assert connection.scalar(select(hit.c.id)) == 2
    KVault(migrations.engine, "settings", create=False)["a"] = 1
    run_script(migrations.engine, migrations.sql(None, "r1:base", down=True))
    assert not [key for key in dump(migrations.engine) if not key.startswith("function") and " vault_table" not in key]


def test_what_takes_a_connection_says_so(migrations):
    migrations.write("op.repack_column('doc', 'meta', to=Packed('cbor'), from_=Packed('msgpack'))", "pass", IMPORTS)
    with pytest.raises(InvalidArgument, match="which --sql cannot"):
        migrations.sql(None)


def test_replacing_a_table_in_a_script_keeps_triggers(tmp_path, new_url):
    url = new_url("sqlite")
    migrations = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url))
    table = docs(VectorIndex("doc_embedding", "embedding", kind="exact"), TextIndex("doc_body", "body"))
    filled(migrations.engine, table)
    before = dump(migrations.engine)
    migrations.config.attributes["table"] = table
    migrations.write(
        """
with op.batch_alter_table("doc", recreate="always", copy_from=op.get_context().config.attributes["table"]) as batch:
    batch.alter_column("body", nullable=True)
"""
    )
    run_script(migrations.engine, migrations.sql(None))
    after = dump(migrations.engine)
    assert {key: value.replace('"', "") for key, value in after.items() if key != "table doc"} == {
        key: value.replace('"', "") for key, value in before.items() if key != "table doc"
    }
    migrations.engine.dispose()


def test_an_index_in_the_table_of_a_migration_is_made_with_it(migrations):
    migrations.write(
        """
table = op.create_table("doc", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("key", Key()))
""",
        'op.drop_table("doc")',
        "from kohakuvault.orm import Key",
    )
    migrations.upgrade()
    assert isinstance(Key(), Key)
    migrations.downgrade("base")


def test_a_strangers_tables_are_in_nobodys_place(engine):
    filled(engine, docs(), 1)
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE ix_meta (note TEXT)"))
            with pytest.raises(SchemaMismatch, match="is not of a vector index"):
                operations_on(connection).create_vector_index("ix", "doc", "embedding")


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
def test_replacing_a_table_keeps_indexes_of_expressions(new_url):
    engine = kohakuvault.create_engine(new_url("sqlite"))
    table = docs()
    sqlalchemy.Index("doc_lang", table.c.meta["lang"].as_string())
    filled(engine, table, 3)
    before = dump(engine)
    for copy_from in (None, table):
        with engine.begin() as connection:
            op = operations_on(connection)
            with op.batch_alter_table("doc", recreate="always", copy_from=copy_from):
                pass
        assert dump(engine).keys() == before.keys()
    engine.dispose()
