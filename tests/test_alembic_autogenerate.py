"""Autogenerate: it sees what is ours in models, ignores what is ours in databases, and undoes what it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from kohakuvault import ColumnVault, KVault, VectorKVault
from kohakuvault.orm import Packed, Vector, VectorIndex
from kohakuvault.orm.tables import KVTable, VectorTable
from migrating import Migrations, dump


@pytest.fixture
def migrations(tmp_path, url):
    made = Migrations(tmp_path, url, lambda: kohakuvault.create_engine(url))
    yield made
    made.engine.dispose()


def everything(kind: str = "rabitq", metric: str = "cosine", encoding: str | None = "msgpack") -> Any:
    class Base(DeclarativeBase):
        pass

    class Doc(Base):
        __tablename__ = "doc"
        id: Mapped[int] = mapped_column(primary_key=True)
        lang: Mapped[str] = mapped_column(String(8), index=True)
        meta: Mapped[dict] = mapped_column(Packed(encoding))
        embedding: Mapped[np.ndarray] = mapped_column(Vector(8))
        small: Mapped[np.ndarray | None] = mapped_column(Vector(8, "f16"))
        __table_args__ = (
            VectorIndex("doc_embedding", "embedding", metric=metric, kind=kind),
            VectorIndex("doc_small", "small", metric="l2", kind="hnsw", m=8),
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

    Base.Doc, Base.Settings, Base.Picture = Doc, Settings, Picture
    return Base


def test_after_create_all_there_is_nothing_to_do(migrations):
    base = everything()
    base.metadata.create_all(migrations.engine)
    with Session(migrations.engine) as session:
        session.add(base.Doc(lang="en", meta={}, embedding=np.ones(8)))
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
    return {key: value.replace(f"{names[0]}.", f"{names[1]}.") for key, value in found.items()}
