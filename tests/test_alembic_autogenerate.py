"""Autogenerate: it sees what is ours in models, ignores what is ours in databases, and undoes what it does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import (
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
import orm_model
from kohakuvault import Column, ColumnVault, InvalidArgument, KVault, VectorKVault
from kohakuvault.orm import (
    Packed,
    PackedArray,
    Tensor,
    TextIndex,
    Vector,
    VectorIndex,
    match,
    nearest,
    vault_dict,
    vault_list,
)
from kohakuvault.orm.tables import KVTable, TextTable, VectorTable
from kohakuvault.orm.vector_index import indexes_of
from kohakuvault.packing import pack
from migrating import Migrations, dump


@pytest.fixture
def migrations(tmp_path, url):
    made = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url))
    yield made
    made.engine.dispose()


def everything() -> Any:
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        lang: Mapped[str] = mapped_column(String(8), index=True)
        body: Mapped[str] = mapped_column(Text())
        meta: Mapped[dict] = mapped_column(Packed("msgpack").tracked())
        anything: Mapped[Any] = mapped_column(Packed(), nullable=True)
        embedding: Mapped[np.ndarray] = mapped_column(Vector(8))
        small: Mapped[np.ndarray | None] = mapped_column(Vector(8, "f16"))
        thumb: Mapped[np.ndarray | None] = mapped_column(Tensor("u8", 4, 4, 3))
        ragged: Mapped[np.ndarray | None] = mapped_column(PackedArray("f32"))
        settings: Mapped[KVault] = vault_dict()
        readings: Mapped[Column[float]] = vault_list("f64")
        __table_args__ = (
            VectorIndex("doc_embedding", "embedding", metric="cosine", kind="rabitq"),
            VectorIndex("doc_small", "small", metric="l2", kind="hnsw", m=8),
            VectorIndex("doc_auto", "small", metric="cosine"),
            TextIndex("doc_body", "body", tokenize="porter"),
        )

    class Settings(KVTable, Base):
        __tablename__ = "settings"

    class Owned(KVTable, Base):
        __tablename__ = "owned"
        __pickle__ = True
        owner_id: Mapped[int] = mapped_column(ForeignKey("doc.id"))
        __table_args__ = (UniqueConstraint("owner_id", "key"),)

    class Picture(VectorTable, Base):
        __tablename__ = "picture"
        __dimensions__ = 16
        __vector_type__ = "bit"
        __table_args__ = (VectorIndex("picture_vector", "vector", metric="hamming", kind="exact"),)

    class Note(TextTable, Base):
        __tablename__ = "note"
        __text_columns__ = ("title", "content")
        __weights__ = (5, 1)

    Base.Doc, Base.Settings, Base.Picture, Base.Note = Doc, Settings, Picture, Note
    return Base


def test_after_create_all_there_is_nothing_to_do(migrations):
    base = everything()
    base.metadata.create_all(migrations.engine)
    with Session(migrations.engine) as session:
        session.add(base.Doc(lang="en", body="text", meta={}, embedding=np.ones(8), settings={"a": 1}, readings=[1.5]))
        KVault(session, base.Settings)["a"] = 1
        VectorKVault(session, base.Picture).insert(np.ones(16), 1)
        KVault(session, "other").put_file("big", _file(migrations, 2_000_000))
        VectorKVault(session, "search", dimensions=4, index="rabitq").insert([1, 2, 3, 4])
        ColumnVault(session).create_column("scores", "f64").append(1.5)
        session.commit()
    assert migrations.operations(base.metadata) == []


def _file(migrations, size):
    import io

    return io.BytesIO(b"x" * size)


def test_what_a_migration_makes_is_what_create_all_makes(migrations, new_url):
    base = everything()
    script = migrations.autogenerate(base.metadata)
    migrations.upgrade()
    assert migrations.operations(base.metadata) == [], script
    other = kohakuvault.create_engine(new_url(migrations.engine.dialect.name))
    base.metadata.create_all(other)
    made = dump(migrations.engine)
    assert {key: value for key, value in made.items() if "vault_table" not in key} == _of(
        dump(other), other, migrations
    )
    for opened in (KVault(migrations.engine, base.Settings, create=False),):
        opened["a"] = 1
    VectorKVault(migrations.engine, base.Picture, create=False).insert(np.ones(16), 1)
    migrations.downgrade("base")
    assert {key for key in dump(migrations.engine) if "vault_" not in key} == set()
    migrations.upgrade()
    assert dump(migrations.engine) == made
    other.dispose()


def _of(found, other, migrations):
    """Return a dump as if it were of the other schema."""
    if other.dialect.name == "sqlite":
        return found
    names = [engine.url.query["options"].split("=")[1].split(",")[0] for engine in (other, migrations.engine)]
    return {key: re.sub(rf"\b{names[0]}\b", names[1], value) for key, value in found.items()}


def model(*items: Any, **columns: Any) -> MetaData:
    """Return metadata of one table ``doc`` with these columns and what else it has."""
    metadata = MetaData()
    Table(
        "doc",
        metadata,
        sqlalchemy.Column("id", Integer, primary_key=True),
        sqlalchemy.Column("body", Text()),
        *(sqlalchemy.Column(name, type_) for name, type_ in columns.items()),
        *items,
    )
    return metadata


CHANGES = {
    "a vector index is added": (
        model(embedding=Vector(4)),
        model(VectorIndex("doc_embedding", "embedding", kind="rabitq"), embedding=Vector(4)),
        ["CreateVectorIndexOp"],
    ),
    "its metric": (
        model(VectorIndex("ix", "embedding", kind="rabitq"), embedding=Vector(4)),
        model(VectorIndex("ix", "embedding", kind="rabitq", metric="l2"), embedding=Vector(4)),
        ["DropVectorIndexOp", "CreateVectorIndexOp"],
    ),
    "its options": (
        model(VectorIndex("ix", "embedding", kind="hnsw", m=8), embedding=Vector(4)),
        model(VectorIndex("ix", "embedding", kind="hnsw", m=16), embedding=Vector(4)),
        ["DropVectorIndexOp", "CreateVectorIndexOp"],
    ),
    "a column of vectors with its index": (
        model(),
        model(VectorIndex("ix", "embedding"), embedding=Vector(4)),
        ["ModifyTableOps", "CreateVectorIndexOp"],
    ),
    "dimensions": (
        model(VectorIndex("ix", "embedding", kind="rabitq"), embedding=Vector(4)),
        model(VectorIndex("ix", "embedding", kind="rabitq"), embedding=Vector(8)),
        ["DropVectorIndexOp", "RepackColumnOp", "CreateVectorIndexOp"],
    ),
    "elements": (
        model(VectorIndex("ix", "embedding", kind="rabitq"), embedding=Vector(4)),
        model(VectorIndex("ix", "embedding", kind="rabitq"), embedding=Vector(4, elem="f16")),
        ["DropVectorIndexOp", "RepackColumnOp", "CreateVectorIndexOp"],
    ),
    "a text index is added": (model(), model(TextIndex("doc_body", "body")), ["CreateTextIndexOp"]),
    "its tokenizer": (
        model(TextIndex("doc_body", "body")),
        model(TextIndex("doc_body", "body", tokenize="porter")),
        ["DropTextIndexOp", "CreateTextIndexOp"],
    ),
    "an encoding": (model(meta=Packed("msgpack")), model(meta=Packed("cbor")), ["RepackColumnOp"]),
    "bytes that are packed from now on": (model(meta=LargeBinary()), model(meta=Packed("cbor")), ["RepackColumnOp"]),
    "the shape of tensors": (model(t=Tensor("u8", 2, 2)), model(t=Tensor("u8", 3, 2)), ["RepackColumnOp"]),
    "the elements of tensors": (model(t=Tensor("u8", 2)), model(t=Tensor("i16", 2)), ["RepackColumnOp"]),
    "the elements of arrays": (model(t=PackedArray("f32")), model(t=PackedArray("f64")), ["RepackColumnOp"]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", ["there", "back"])
def test_each_change_is_seen_made_and_undone(tmp_path, url, change, way):
    before, after, expected = CHANGES[change]
    if way == "back":
        before, after = after, before
    migrations = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url), render_as_batch=True)
    migrations.autogenerate(before)
    migrations.upgrade()
    first = dump(migrations.engine)
    found = [name for name in migrations.operations(after) if name != "PrepareVaultTypesOp"]
    if way == "there":
        assert found == expected
    assert found
    script = migrations.autogenerate(after)
    migrations.upgrade()
    assert migrations.operations(after) == [], script
    last = dump(migrations.engine)
    migrations.downgrade("r1")
    assert without_order(dump(migrations.engine)) == without_order(first), script
    migrations.upgrade()
    assert without_order(dump(migrations.engine)) == without_order(last)
    migrations.engine.dispose()


def without_order(found: dict[str, Any]) -> dict[str, Any]:
    """Return a dump without functions, domains and configurations, which stay, as an extension does."""
    return {key: value.replace('"', "") for key, value in found.items() if not key.startswith("function")}


def test_rows_are_in_the_indexes_and_encodings_that_a_migration_makes(migrations):
    before = model(TextIndex("doc_body", "body"), embedding=Vector(4), meta=Packed("msgpack"))
    after = model(
        VectorIndex("ix", "embedding", kind="exact"),
        TextIndex("doc_body", "body", tokenize="porter"),
        embedding=Vector(4),
        meta=Packed("cbor"),
    )
    migrations.autogenerate(before)
    migrations.upgrade()
    values = [None, 1, "text", {"a": [1, [2, 3]]}, b"bytes", 2**70]
    with migrations.engine.begin() as connection:
        table = before.tables["doc"]
        rows = [
            {"body": f"running {n}", "embedding": np.eye(4)[n % 4], "meta": value} for n, value in enumerate(values)
        ]
        connection.execute(table.insert(), rows)
    migrations.autogenerate(after)
    migrations.upgrade()
    table = after.tables["doc"]
    with migrations.engine.connect() as connection:
        hit = nearest(table.c.embedding, [1, 0, 0, 0], k=2)
        assert sorted(connection.scalars(select(hit.c.id))) == [1, 5]
        assert connection.scalars(select(table.c.id).where(match(table.c.body, "runs 3"))).all() == [4]
        assert [type(value) for value in connection.scalars(select(table.c.meta).order_by(table.c.id))] == [
            type(value) for value in values
        ]
        raw = connection.scalars(select(table.c.meta.cast(LargeBinary))).all()
        assert all(bytes(each)[0] == pack(1, encoding="cbor")[0] for each in raw)
    migrations.downgrade("r1")
    table = before.tables["doc"]
    with migrations.engine.connect() as connection:
        assert connection.scalars(select(table.c.meta).order_by(table.c.id)).all() == values


ARRAYS = [
    (Tensor("u8", 2), Tensor("i16", 2), [0, 200], [200, 255]),
    (Tensor("f64", 2), Tensor("f32", 2), [0.5, 1e-3], [0.5, 1e300]),
    (PackedArray("f32"), PackedArray("f64"), [[0.5]], None),
    (PackedArray(), PackedArray("i32"), [1, 2], [1.5]),
    (Vector(2), Vector(2, elem="f16"), [0.5, 1 / 3], [0.5, 1e9]),
    (Vector(2, elem="f16"), Vector(2), [0.5, 0.25], None),
    (Tensor("f32", 2), PackedArray("f32"), [0.5, 0.25], None),
    (Tensor("u8", 2), Packed("msgpack"), [1, 200], None),
]


@pytest.mark.parametrize(("old", "new", "good", "bad"), ARRAYS, ids=lambda each: repr(each)[:40])
def test_arrays_are_converted_or_refused_by_a_migration_and_never_read_as_something_else(
    migrations, old, new, good, bad
):
    before, after = model(t=old), model(t=new)
    migrations.autogenerate(before)
    migrations.upgrade()
    with migrations.engine.begin() as connection:
        connection.execute(before.tables["doc"].insert(), [{"id": 1, "t": good}, {"id": 2, "t": None}])
    migrations.autogenerate(after)
    if bad is not None and not (isinstance(new, Tensor) and new.elem == "i16"):
        with migrations.engine.begin() as connection:
            connection.execute(before.tables["doc"].insert(), {"id": 7, "t": bad})
        with pytest.raises(InvalidArgument, match=r"cannot hold the value .* of row 7"):
            migrations.upgrade()
        with migrations.engine.begin() as connection:
            found = connection.scalar(select(before.tables["doc"].c.t).where(before.tables["doc"].c.id == 7))
            assert np.allclose(found, bad)
            connection.execute(before.tables["doc"].delete().where(before.tables["doc"].c.id == 7))
    migrations.upgrade()
    with migrations.engine.connect() as connection:
        found = connection.scalars(select(after.tables["doc"].c.t).order_by(after.tables["doc"].c.id)).all()
    assert np.allclose(found[0], good, rtol=1e-3)
    assert found[1] is None
    migrations.downgrade("r1")
    with migrations.engine.connect() as connection:
        found = connection.scalars(select(before.tables["doc"].c.t).order_by(before.tables["doc"].c.id)).all()
    assert np.allclose(found[0], good, rtol=1e-3)


def test_an_encoding_and_nullability_may_change_at_once(tmp_path, url):
    def doc(type_, nullable):
        metadata = MetaData()
        columns = [sqlalchemy.Column("id", Integer, primary_key=True)]
        Table("doc", metadata, *columns, sqlalchemy.Column("meta", type_, nullable=nullable))
        return metadata

    before, after = doc(Packed("msgpack"), True), doc(Packed("cbor"), False)
    for batch in (True, False) if url.get_backend_name() == "postgresql" else (True,):
        folder = tmp_path / str(batch)
        folder.mkdir()
        migrations = Migrations(folder, url, lambda: kohakuvault.create_engine(url), render_as_batch=batch)
        migrations.autogenerate(before)
        migrations.upgrade()
        with migrations.engine.begin() as connection:
            connection.execute(before.tables["doc"].insert(), [{"meta": {"a": 1}}, {"meta": [1, 2]}])
        script = migrations.autogenerate(after)
        migrations.upgrade()
        assert migrations.operations(after) == [], script
        with migrations.engine.connect() as connection:
            found = connection.scalars(select(after.tables["doc"].c.meta).order_by(after.tables["doc"].c.id))
            assert found.all() == [{"a": 1}, [1, 2]]
        migrations.downgrade("r1")
        with migrations.engine.connect() as connection:
            found = connection.scalars(select(before.tables["doc"].c.meta).order_by(before.tables["doc"].c.id))
            assert found.all() == [{"a": 1}, [1, 2]]
        migrations.downgrade("base")
        migrations.engine.dispose()


def test_a_removed_table_takes_its_indexes_along(migrations):
    migrations.autogenerate(
        model(VectorIndex("ix", "embedding", kind="hnsw"), TextIndex("doc_body", "body"), embedding=Vector(4))
    )
    migrations.upgrade()
    made = dump(migrations.engine)
    assert migrations.operations(MetaData()) == ["DropVectorIndexOp", "DropTextIndexOp", "DropTableOp"]
    migrations.autogenerate(MetaData())
    migrations.upgrade()
    assert not [key for key in dump(migrations.engine) if not key.startswith("function")]
    migrations.downgrade("r1")
    assert dump(migrations.engine) == made


def test_lists_and_dicts_of_rows_come_and_go(migrations):
    def base(*, with_containers: bool) -> Any:
        class Base(DeclarativeBase):
            pass

        class Sensor(Base):
            __tablename__ = "sensor"
            id: Mapped[int] = mapped_column(primary_key=True)
            if with_containers:
                readings: Mapped[Column[float]] = vault_list("f64")
                settings: Mapped[KVault] = vault_dict()

        Base.Sensor = Sensor
        return Base

    migrations.config.attributes["own"]["render_as_batch"] = True
    without, has = base(with_containers=False), base(with_containers=True)
    migrations.autogenerate(without.metadata)
    migrations.upgrade()
    first = dump(migrations.engine, r"alembic_version.*|sqlite_.*|vault_.*")
    migrations.autogenerate(has.metadata)
    migrations.upgrade()
    assert migrations.operations(has.metadata) == []
    with Session(migrations.engine) as session:
        session.add(has.Sensor(id=1, readings=[1.5, 2.5], settings={"a": 1}))
        session.commit()
        assert session.get_one(has.Sensor, 1).readings[:] == [1.5, 2.5]
    migrations.downgrade("r1")
    assert without_order(dump(migrations.engine, r"alembic_version.*|sqlite_.*|vault_.*")) == without_order(first)
    with migrations.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM vault_column")) == 0
    migrations.upgrade()
    assert migrations.operations(has.metadata) == []


def test_a_users_table_that_looks_like_ours_is_seen(migrations):
    names = ["ix_meta", "ix_pending", "ix_blk", "notes_data", "vault_block", "settings_chunk", "vault_version"]
    with migrations.engine.begin() as connection:
        for name in names:
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, note VARCHAR)"))
    assert migrations.operations(MetaData()) == ["DropTableOp"] * len(names)


def test_without_the_extension_satellites_are_known_too(tmp_path, new_url):
    url = new_url("sqlite")
    ours = kohakuvault.create_engine(url, backends=["vec", "vss"])
    kinds = ("exact", "vec", "vss")
    metadata = model(
        *(VectorIndex(f"ix_{kind}", "embedding", kind=kind, metric="l2") for kind in kinds),
        TextIndex("doc_body", "body"),
        embedding=Vector(4),
    )
    metadata.create_all(ours)
    with ours.begin() as connection:
        connection.execute(metadata.tables["doc"].insert(), [{"embedding": np.ones(4)}] * 3)
        connection.exec_driver_sql("CREATE VIRTUAL TABLE mine USING fts5(a)")
    for index in ("ix_vss",):
        next(each for each in indexes_of(metadata.tables["doc"]) if each.name == index).rebuild(ours)
    ours.dispose()
    plain = Migrations(tmp_path, url, lambda: sqlalchemy.create_engine(url))
    # The application's own virtual table is its own affair, but for its shadow tables.
    assert plain.operations(metadata) == ["DropTableOp"]
    plain.engine.dispose()


def test_the_applications_own_arguments_are_asked_and_not_replaced(tmp_path, url):
    seen: list[str] = []

    def include_name(name, type_, parent_names):
        return name != "hidden"

    def include_object(item, name, type_, reflected, compare_to):
        seen.append(f"object {type_}")
        return name != "left_out"

    def render_item(type_, item, context):
        return "sa.Text()" if isinstance(item, String) else False

    def process(context, revision, directives):
        seen.extend(type(operation).__name__ for operation in directives[0].upgrade_ops.ops)

    def compare_type(context, inspected, metadata_column, inspected_type, metadata_type):
        seen.append("compare_type")

    migrations = Migrations(
        tmp_path,
        url,
        lambda: kohakuvault.create_engine(url),
        include_name=include_name,
        include_object=include_object,
        render_item=render_item,
        process_revision_directives=process,
        compare_type=compare_type,
    )
    with migrations.engine.begin() as connection:
        connection.execute(text("CREATE TABLE hidden (id INTEGER PRIMARY KEY)"))
    KVault(migrations.engine, "kv")["a"] = 1
    metadata = model(VectorIndex("ix", "embedding", kind="exact"), embedding=Vector(4), title=String(5))
    Table("left_out", metadata, sqlalchemy.Column("id", Integer, primary_key=True))
    script = migrations.autogenerate(metadata)
    assert "sa.Column('title', sa.Text()" in script
    assert "type_=Vector(4)" in script
    assert {"object table", "CreateTableOp", "CreateVectorIndexOp"} <= set(seen)
    assert "left_out" not in script
    assert "hidden" not in script
    migrations.upgrade()
    migrations.operations(metadata)
    assert "compare_type" in seen
    migrations.engine.dispose()


def test_variants_of_our_types_are_rendered(migrations):
    metadata = model(v=Vector(4).with_variant(String(9), "mysql"), j=sqlalchemy.JSON().with_variant(Packed(), "sqlite"))
    script = migrations.autogenerate(metadata)
    assert "Vector(4).with_variant(sa.String(length=9), 'mysql')" in script
    assert "sa.JSON().with_variant(Packed(), 'sqlite')" in script
    migrations.upgrade()
    assert migrations.operations(metadata) == []


def test_an_index_of_pgvectors_that_is_a_plain_one_stays_that(tmp_path, new_url):
    url = new_url("postgresql")
    migrations = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url))
    metadata = model(embedding=Vector(4))
    Index(
        "plain",
        metadata.tables["doc"].c.embedding,
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_l2_ops"},
    )
    metadata.create_all(migrations.engine)
    assert migrations.operations(metadata) == []
    assert migrations.operations(model(embedding=Vector(4))) == ["DropVectorIndexOp"]
    migrations.engine.dispose()


def test_few_rows_need_no_index_of_postgresqls(tmp_path, new_url):
    url = new_url("postgresql")
    migrations = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url))
    metadata = model(VectorIndex("ix", "embedding"), VectorIndex("iv", "embedding", kind="ivf"), embedding=Vector(4))
    metadata.create_all(migrations.engine)
    assert migrations.operations(metadata) == []
    with migrations.engine.begin() as connection:
        connection.execute(metadata.tables["doc"].insert(), [{"embedding": np.ones(4)}] * 10)
    # Of ivf some rows are enough.
    assert migrations.operations(metadata) == ["CreateVectorIndexOp"]
    migrations.engine.dispose()


# Of indexes of expressions, which nobody can reflect on SQLite.
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified", "ignore:Skipped unsupported reflection")
def test_the_whole_model_of_the_orm_side(migrations):
    metadata = orm_model.Base.metadata
    script = migrations.autogenerate(metadata)
    migrations.upgrade()
    made = dump(migrations.engine)
    assert migrations.operations(metadata) == [], script
    migrations.downgrade("base")
    migrations.upgrade()
    assert dump(migrations.engine) == made
