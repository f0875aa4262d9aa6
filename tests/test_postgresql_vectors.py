"""How vectors travel to PostgreSQL: in binary on engines of ours, as text on others, and always the same."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Engine, event, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from kohakuvault import CorruptValue
from kohakuvault.orm import Vector, nearest
from kohakuvault.postgresql_vectors import BinaryVector


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"

    id: Mapped[int] = mapped_column(primary_key=True)
    f32 = mapped_column(Vector(5))
    f16 = mapped_column(Vector(5, "f16"))
    i8 = mapped_column(Vector(5, "i8"))
    bit = mapped_column(Vector(11, "bit"))


ROWS = [
    {
        "f32": np.array([1e-38, -3.4e38, 0.1, -0.0, 16777217], np.float32),
        "f16": np.array([6e-8, -65504, 0.1, 0, 1], np.float16),
        "i8": np.array([-128, 127, 0, 1, -1], np.int8),
        "bit": np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], bool),
    },
    {"f32": None, "f16": None, "i8": None, "bit": None},
]


def sent(engine: Engine) -> list[bool]:
    """Of each statement with vectors, whether they are sent in binary."""
    kinds: list[bool] = []

    def executed(connection, cursor, statement, parameters, context, many) -> None:
        for row in parameters if many else [parameters]:
            values = [value for value in row.values() if isinstance(value, (str, BinaryVector)) and len(str(value)) > 8]
            kinds.extend(isinstance(value, BinaryVector) for value in values)

    event.listen(engine, "before_cursor_execute", executed)
    return kinds


def check(engine: Engine) -> list[bool]:
    Base.metadata.create_all(engine)
    kinds = sent(engine)
    with Session(engine) as session:
        session.execute(insert(Row), ROWS)
        session.flush()
        rows = session.scalars(select(Row).order_by(Row.id)).all()
        for row, expected in zip(rows, ROWS, strict=True):
            for name, value in expected.items():
                found = getattr(row, name)
                assert (found is None) == (value is None)
                if value is not None:
                    assert found.dtype == value.dtype
                    assert found.tolist() == value.tolist()
        hit = nearest(Row.f16, ROWS[0]["f16"], k=1, metric="l2")
        assert session.scalar(select(hit.c.id)) == rows[0].id
        assert session.scalar(select(Row.id).where(Row.bit.hamming_distance(ROWS[0]["bit"]) == 0)) == rows[0].id
        assert session.scalar(select(Row.id).where(Row.f32 == ROWS[0]["f32"])) == rows[0].id
        session.commit()
    return kinds


@pytest.mark.parametrize("install", [True, False])
def test_every_element_type_arrives_as_it_is(new_url, install: bool) -> None:
    make = kohakuvault.create_engine if install else sqlalchemy.create_engine
    engine = make(new_url("postgresql"))
    kinds = check(engine)
    assert kinds
    assert set(kinds) == {install}
    engine.dispose()


def test_an_engine_whose_connections_are_in_use_goes_on_with_text(new_url) -> None:
    engine = sqlalchemy.create_engine(new_url("postgresql"))
    with engine.connect():
        kohakuvault.install(engine)
        assert set(check(engine)) == {False}
    engine.dispose()


def test_a_connection_that_was_idle_when_the_engine_was_fitted_is_replaced(new_url) -> None:
    engine = sqlalchemy.create_engine(new_url("postgresql"))
    with engine.connect():
        pass
    kohakuvault.install(engine)
    assert set(check(engine)) == {True}
    engine.dispose()


def test_text_that_is_no_vector_is_corrupt() -> None:
    process = Vector(2).result_processor(sqlalchemy.create_engine("postgresql+psycopg://").dialect, None)
    assert process("[1,-2.5e-07]").tolist() == [1, np.float32(-2.5e-07)]
    for wrong in ("", "[", "1,2", "[1,2", "[1,x]", "[1]", "[]"):
        with pytest.raises(CorruptValue):
            process(wrong)
