"""One model with everything that the ORM side has: one file for every database and SQLAlchemy that there is."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from kohakuvault import Column, KVault
from kohakuvault.orm import (
    KVTable,
    Packed,
    PackedArray,
    Tensor,
    TextIndex,
    Vector,
    VectorIndex,
    VectorTable,
    vault_dict,
    vault_list,
)

DIMENSIONS = 8


class Base(DeclarativeBase):
    pass


class Settings(KVTable, Base):
    """A dict of the application's own class."""

    __tablename__ = "settings"


class Picture(VectorTable, Base):
    """Vectors of the application's own class, with a column of metadata."""

    __tablename__ = "picture"
    __dimensions__ = DIMENSIONS
    __table_args__ = (VectorIndex("picture_index", "vector", metric="l2", kind="exact"),)

    lang: Mapped[str | None]


class Doc(Base):
    """The model of the documentation."""

    __tablename__ = "doc"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    meta: Mapped[dict[str, Any]] = mapped_column(Packed("msgpack").tracked())
    embedding: Mapped[np.ndarray[Any, Any]] = mapped_column(Vector(DIMENSIONS))
    thumb: Mapped[np.ndarray[Any, Any] | None] = mapped_column(Tensor("u8", 4, 4, 3))
    samples: Mapped[np.ndarray[Any, Any] | None] = mapped_column(PackedArray())
    theme_id: Mapped[int | None] = mapped_column(ForeignKey("settings.id"))
    theme: Mapped[Settings | None] = relationship()
    settings: Mapped[KVault] = vault_dict()
    readings: Mapped[Column[float]] = vault_list("f64")

    __table_args__ = (
        VectorIndex("doc_embedding", "embedding", metric="cosine"),
        TextIndex("doc_body", "body"),
    )


Index("doc_lang", Doc.meta["lang"].as_string())
