"""How columns lie in blocks: full ones after appending, no many small ones after insertions, and in small files."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy

from column_model import check_storage, elements
from kohakuvault import ColumnVault, create_engine
from kohakuvault.column.elements import elements_of
from kohakuvault.orm.tables import Block, Payload

RNG = np.random.default_rng(3)


@pytest.fixture
def cv(engine) -> ColumnVault:
    return ColumnVault(engine)


def test_blocks_of_every_size_and_elements_larger_than_a_block(cv):
    for block_bytes in (64, 100, 1000, 16_000):
        column = cv.create_column(f"b{block_bytes}", "bytes", block_bytes=block_bytes)
        model = [bytes([i % 256]) * (i * 7 % 300) for i in range(100)]
        column.extend(model[:50])
        for value in model[50:]:
            column.append(value)
        assert column[:] == model
        column[10] = b"x" * 100_000
        model[10] = b"x" * 100_000
        assert column[:] == model
        assert column[10] == model[10]


def test_appending_fills_blocks(cv):
    column = cv.create_column("c", "i64")
    for number in range(300):
        column.append(number)
    column.extend(range(300, 5000))
    with cv.engine.connect() as connection:
        sizes = connection.scalars(sqlalchemy.select(Block.count).order_by(Block.start)).all()
    assert sizes == [2000, 2000]
    assert column[:] == list(range(5000))


def test_a_column_costs_little_more_than_its_bytes(cv):
    column = cv.create_column("c", "f64")
    column.extend(RNG.standard_normal(200_000))
    with cv.engine.connect() as connection:
        stored = connection.scalar(sqlalchemy.select(sqlalchemy.func.sum(sqlalchemy.func.length(Payload.data))))
    assert stored == 1_600_000


def stored_blocks(cv: ColumnVault) -> list[int]:
    """The bytes of each block."""
    with cv.binding.inspecting() as connection:
        return list(connection.scalars(sqlalchemy.select(sqlalchemy.func.length(Payload.data)).order_by(Payload.id)))


# Times the least number of blocks. One that falls below half is joined with a neighbour if both fit into one; so of two
# neighbours one is at least half full, or was when it was changed last. At random, blocks are half to quite full.
MOST = 2.0


@pytest.mark.parametrize(("dtype", "block_bytes"), [("i64", 64), ("i64", 256), ("str:utf8", 256), ("bytes:5", 100)])
def test_random_insertions_and_deletions_do_not_scatter_a_column(tmp_path, dtype, block_bytes):
    cv = ColumnVault(tmp_path / "a.db")
    column = cv.create_column("c", dtype, block_bytes=block_bytes)
    values = elements(dtype, 1000)
    column.extend(values)
    model = list(values)
    rng = random.Random(5)

    def is_compact() -> bool:
        check_storage(column)
        sizes = stored_blocks(cv)
        return len(sizes) <= MOST * -(-sum(sizes) // block_bytes)

    with cv.transaction():
        for step in range(10_000):
            grows = (step // 1000) % 2 == 0
            if rng.random() < (0.7 if grows else 0.3):
                index = rng.randrange(len(model))
                column.insert(index, values[step % 1000])
                model.insert(index, values[step % 1000])
            elif model:
                index = rng.randrange(len(model))
                del column[index], model[index]
            if step % 500 == 0:
                assert is_compact(), step
    assert is_compact()
    assert column[:] == model


@pytest.mark.parametrize("where", ["front", "middle", "behind"])
def test_insertions_in_one_place_do_not_scatter_a_column(tmp_path, where):
    cv = ColumnVault(tmp_path / "a.db")
    column = cv.create_column("c", "i64", block_bytes=64)
    column.extend(range(100))
    model = list(range(100))
    with cv.transaction():
        for step in range(500):
            index = {"front": 0, "middle": 50, "behind": 50 + step}[where]
            column.insert(index, step)
            model.insert(index, step)
        assert len(stored_blocks(cv)) <= 2.2 * 600 / 8
        for step in range(450):
            index = {"front": 0, "middle": 50, "behind": 549 - step}[where]
            del column[index], model[index]
        assert len(stored_blocks(cv)) <= MOST * 150 / 8
    check_storage(column)
    assert column[:] == model


def test_what_is_deleted_takes_no_place(cv):
    column = cv.create_column("c", "str:utf8", block_bytes=64)
    column.extend(elements("str:utf8", 300))
    del column[5:]
    assert len(stored_blocks(cv)) <= 2
    column.extend(elements("str:utf8", 300))
    del column[:-5]
    assert len(stored_blocks(cv)) <= 2
    column.clear()
    assert stored_blocks(cv) == []
    column.extend(elements("str:utf8", 300))
    assert cv.delete_column("c")
    assert stored_blocks(cv) == []


@pytest.mark.parametrize("dtype", ["i8", "i64", "f64", "vec:f32:768", "vec:u8:28:28", "bytes:100"])
def test_a_file_is_little_larger_than_the_packed_elements(tmp_path, dtype):
    path: Path = tmp_path / "a.db"
    engine = create_engine(path)
    cv = ColumnVault(engine)
    empty = cv.create_column("c", dtype)
    cv.checkpoint()
    before = path.stat().st_size
    size = elements_of(dtype).item_size
    assert size is not None
    count = 8_000_000 // size
    kind, _, shape = dtype.removeprefix("vec:").partition(":")
    if dtype.startswith("bytes"):
        empty.extend([bytes(size)] * count)
    else:
        empty.extend(np.zeros((count, *map(int, filter(None, shape.split(":")))), f"{kind[0]}{int(kind[1:]) // 8}"))
    cv.checkpoint()
    assert path.stat().st_size - before <= 1.05 * count * size
    engine.dispose()
