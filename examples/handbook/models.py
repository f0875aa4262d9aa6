"""What the handbook stores: readers, and the entries of Python's standard library."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from kohakuvault import Column, KVault
from kohakuvault.orm import Packed, TextIndex, Vector, VectorIndex, vault_dict, vault_list

DIMENSIONS = 384


class Base(DeclarativeBase):
    pass


class Reader(Base):
    __tablename__ = "reader"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    # Since revision 0003: whatever a reader wants remembered.
    memory: Mapped[KVault] = vault_dict()


class Entry(Base):
    __tablename__ = "entry"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    text: Mapped[str]
    # JSON until revision 0002.
    facts: Mapped[dict[str, Any]] = mapped_column(Packed("msgpack").tracked())
    # Since revision 0002; NULL until `embed` has been run.
    embedding: Mapped[np.ndarray[Any, Any] | None] = mapped_column(Vector(DIMENSIONS))
    # Since revision 0003: the seconds of every visit, of which there may be millions.
    visits: Mapped[Column[float]] = vault_list("f64")

    __table_args__ = (
        TextIndex("entry_text", "name", "text"),
        VectorIndex("entry_embedding", "embedding", metric="cosine"),
    )
