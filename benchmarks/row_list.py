"""Adding floats to the list of a row, beside the same on a column of a ColumnVault in the same kind of Session.

``python benchmarks/row_list.py [--postgresql URL] [--rounds N]``. The aim: at most 1.2 × the time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from harness import runs_in_turns, span
from kohakuvault import Column, ColumnVault
from kohakuvault.orm import vault_list

MANY = 1_000_000
AIM = 1.2


class Base(DeclarativeBase):
    """Of the model below."""


class Sensor(Base):
    """A row with a list."""

    __tablename__ = "bench_sensor"
    id: Mapped[int] = mapped_column(primary_key=True)
    readings: Mapped[Column[float]] = vault_list("f64")


def extend(column: Any) -> None:
    """All at once."""
    column.extend(np.arange(MANY, dtype=np.float64))


def in_batches(column: Any) -> None:
    """A thousand at a time."""
    batch = np.arange(1000, dtype=np.float64)
    for _ in range(MANY // 1000):
        column.extend(batch)


def singly(column: Any) -> None:
    """One by one: a fiftieth of them."""
    for number in range(MANY // 50):
        column.append(float(number))


def waiting(column: Any) -> None:
    """One by one, while they may wait: a tenth of them."""
    with column.cache():
        for number in range(MANY // 10):
            column.append(float(number))


def bench(engine: Engine, rounds: int) -> None:
    """Print the times of each way, and their ratios."""
    Base.metadata.create_all(engine)
    ColumnVault(engine)

    def of_row(add: Callable[[Any], None]) -> None:
        with Session(engine) as session:
            sensor = Sensor()
            session.add(sensor)
            add(sensor.readings)
            session.commit()

    def of_vault(add: Callable[[Any], None]) -> None:
        with Session(engine) as session:
            vault = ColumnVault(session)
            vault.delete_column("bench")
            session.commit()
            add(vault.create_column("bench", "f64"))
            session.commit()

    for add in (extend, in_batches, singly, waiting):
        found = runs_in_turns({"row": lambda add=add: of_row(add), "vault": lambda add=add: of_vault(add)}, rounds)
        row, vault = (statistics.median(found[name] or [0.0]) for name in ("row", "vault"))
        verdict = "" if row <= AIM * vault else f"  (aim: {AIM} ×)"
        print(f"{engine.dialect.name} {add.__name__}: {span(row)} / {span(vault)} = {row / vault:.2f} ×{verdict}")
    Base.metadata.drop_all(engine)


def main() -> None:
    """Measure on SQLite and, where its URL is given, on PostgreSQL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", metavar="URL")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = kohakuvault.create_engine(Path(folder) / "bench.db")
        bench(engine, options.rounds)
        engine.dispose()
    if options.postgresql:
        engine = kohakuvault.create_engine(options.postgresql)
        bench(engine, options.rounds)
        engine.dispose()


if __name__ == "__main__":
    main()
