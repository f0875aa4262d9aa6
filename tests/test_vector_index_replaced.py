"""Rows that REPLACE deleted, of which no trigger tells the index: searches are as if their entries were not there."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kohakuvault import create_engine
from kohakuvault.orm import Vector, VectorIndex, nearest
from vector_indexes import clustered


@pytest.mark.parametrize("kind", ["rabitq", "ivf", "exact"])
@pytest.mark.parametrize("k", [10, 700, 3000])
def test_entries_of_replaced_rows_hide_nobody(tmp_path, kind, k):
    class Base(DeclarativeBase):
        pass

    class Page(Base):
        __tablename__ = "page"
        id: Mapped[int] = mapped_column(primary_key=True)
        slug: Mapped[str] = mapped_column(unique=True)
        embedding: Mapped[np.ndarray] = mapped_column(Vector(16))
        __table_args__ = (VectorIndex("page_embedding", "embedding", kind=kind, metric="l2"),)

    engine = create_engine(tmp_path / "app.db")
    Base.metadata.create_all(engine)
    data = clustered(3000, 1)
    query = data[7] + 0.01
    with Session(engine) as session:
        session.add_all(Page(slug=str(number), embedding=vector) for number, vector in enumerate(data))
        session.commit()
    closest = np.argsort(np.linalg.norm(data - query, axis=1))[:600]
    # By a writer without the extension, through another UNIQUE column than the key.
    with sqlite3.connect(tmp_path / "app.db") as plain:
        far = (np.ones(16, np.float32) * 1000).tobytes()
        rows = [(10_000 + number, str(slug), far) for number, slug in enumerate(closest.tolist())]
        plain.executemany("INSERT OR REPLACE INTO page (id, slug, embedding) VALUES (?, ?, ?)", rows)
    plain.close()
    with Session(engine) as session:
        found, exact = (
            session.execute(select(hit.c.id, hit.c.distance).order_by(hit.c.distance, hit.c.id)).all()
            for hit in (
                nearest(Page.embedding, query, k, metric="l2"),
                nearest(Page.embedding, query, k, metric="l2", exact=True),
            )
        )
    share = len({row.id for row in found} & {row.id for row in exact}) / k
    assert len(found) == k
    assert share == 1 if kind == "exact" else share >= 0.7
    engine.dispose()
