"""Adding floats to the list of a row, beside the same on a column of a ColumnVault in the same kind of Session.

``python benchmarks/row_list.py [--postgresql URL] [--rounds N]``. The aim: at most 1.2 × the time.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from harness import Timer, in_turns, span, timed
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


def bench(engine: Engine, rounds: int, ways: Sequence[Callable[[Any], None]]) -> None:
    """Print the times of each way, and their ratios."""
    Base.metadata.create_all(engine)
    vault, numbers = ColumnVault(engine), itertools.count()

    def of_row(add: Callable[[Any], None]) -> None:
        with Session(engine) as session:
            sensor = Sensor()
            session.add(sensor)
            add(sensor.readings)
            session.commit()

    def of_vault(add: Callable[[Any], None]) -> None:
        with Session(engine) as session:
            add(ColumnVault(session).create_column(f"bench {next(numbers)}", "f64"))
            session.commit()

    def prepared(timer: Timer) -> Timer:
        def run() -> float | None:
            if engine.dialect.name == "sqlite":
                # Otherwise every second run would pay for both.
                vault.checkpoint()
            return timer()

        return run

    for add in ways:
        timers = {"row": prepared(timed(partial(of_row, add))), "vault": prepared(timed(partial(of_vault, add)))}
        found = in_turns(timers, rounds)
        row, other = (statistics.median(found[name] or [0.0]) for name in ("row", "vault"))
        verdict = "" if row <= AIM * other else f"  (aim: {AIM} ×)"
        print(f"{engine.dialect.name} {add.__name__}: {span(row)} / {span(other)} = {row / other:.2f} ×{verdict}")
        for name in vault:
            if name.startswith("bench "):
                vault.delete_column(name)
    Base.metadata.drop_all(engine)


def main() -> None:
    """Measure on SQLite and, where its URL is given, on PostgreSQL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", metavar="URL")
    parser.add_argument("--rounds", type=int, default=7)
    ways = (extend, in_batches, singly, waiting)
    parser.add_argument("--only", choices=[way.__name__ for way in ways])
    options = parser.parse_args()
    chosen = [way for way in ways if options.only in (None, way.__name__)]
    with tempfile.TemporaryDirectory() as folder:
        engine = kohakuvault.create_engine(Path(folder) / "bench.db")
        bench(engine, options.rounds, chosen)
        engine.dispose()
    if options.postgresql:
        engine = kohakuvault.create_engine(options.postgresql)
        bench(engine, options.rounds, chosen)
        engine.dispose()


if __name__ == "__main__":
    main()
