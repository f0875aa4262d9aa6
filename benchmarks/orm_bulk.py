"""ORM bulk insert with Packed and Vector columns, beside LargeBinary columns that get the same bytes, packed already.

    .venv/bin/python benchmarks/orm_bulk.py [--rows 100000] [--dimensions 384] [--url postgresql+psycopg://...]

The session takes objects (``add_all``), dicts (``insert``, the 2.0 bulk insert), and dicts without the ORM.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import Engine, LargeBinary, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from harness import runs_in_turns, span
from kohakuvault.orm import Packed, Vector
from kohakuvault.packing import pack

MOST = 1.5


def entities(dimensions: int) -> tuple[type[Any], type[Any]]:
    """Return two classes of the same columns, with our types and with plain ones."""

    class Base(DeclarativeBase):
        pass

    class Typed(Base):
        __tablename__ = "typed"
        id: Mapped[int] = mapped_column(primary_key=True)
        meta: Mapped[Any] = mapped_column(Packed())
        embedding: Mapped[Any] = mapped_column(Vector(dimensions))

    class Plain(Base):
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)
        meta: Mapped[bytes] = mapped_column(LargeBinary())
        embedding: Mapped[bytes] = mapped_column(LargeBinary())

    return Typed, Plain


def ways(engine: Engine, entity: type[Any], rows: list[dict[str, Any]]) -> dict[str, Callable[[], None]]:
    """Return what inserts the rows, by name."""

    def inserting(run: Callable[[Session], object]) -> Callable[[], None]:
        def timed() -> None:
            with Session(engine) as session:
                run(session)
                session.rollback()

        return timed

    def add(session: Session) -> None:
        session.add_all([entity(**row) for row in rows])
        session.flush()

    return {
        "add_all": inserting(add),
        "ORM insert": inserting(lambda session: session.execute(insert(entity), rows)),
        "Core insert": inserting(lambda session: session.connection().execute(insert(entity.__table__), rows)),
    }


def main() -> None:
    """Print the times and ratios; exit with an error if one is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = kohakuvault.create_engine(given.url or Path(folder) / "bulk.db")
        typed, plain = entities(given.dimensions)
        typed.metadata.drop_all(engine)
        typed.metadata.create_all(engine)
        random = np.random.default_rng(1)
        vectors = random.standard_normal((given.rows, given.dimensions), np.float32)
        metas = [{"id": number, "name": f"n{number}", "tags": ["a", "b"], "score": 0.5} for number in range(given.rows)]
        values = [{"meta": meta, "embedding": vector} for meta, vector in zip(metas, vectors, strict=True)]
        packed = [{"meta": pack(row["meta"]), "embedding": row["embedding"].tobytes()} for row in values]
        worst = 0.0
        ours, theirs = ways(engine, typed, values), ways(engine, plain, packed)
        for name, run in ours.items():
            found = runs_in_turns({"ours": run, "plain": theirs[name]}, given.rounds)
            times = {who: median(seconds or []) for who, seconds in found.items()}
            ratio = times["ours"] / times["plain"]
            worst = max(worst, ratio)
            print(f"{name:12} {span(times['ours']):>9} plain {span(times['plain']):>9}  ratio {ratio:.2f}")
        typed.metadata.drop_all(engine)
        engine.dispose()
    if worst > MOST:
        raise SystemExit(f"the worst ratio is {worst:.2f}; at most {MOST} is the target")


if __name__ == "__main__":
    main()
