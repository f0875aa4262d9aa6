"""check() and stats() of a VectorKVault: damage is found, named by its row, and repaired where nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, String, text

from kohakuvault import CorruptValue, Problem, SchemaMismatch, VectorKVault, create_engine
from kohakuvault.orm.tables import TableRecord
from kohakuvault.packing import pack

COLUMNS = [Column("lang", String, index=True), Column("year", Integer)]


def opened(bind, **options) -> VectorKVault:
    return VectorKVault(bind, "v", **{"dimensions": 2, "metric": "l2", "metadata": COLUMNS, **options})


@pytest.fixture
def vault(engine):
    vault = opened(engine)
    vault.insert_many(np.arange(20).reshape(10, 2), range(10), {"year": range(10)})
    return vault


def execute(vault: VectorKVault, sql: str, **values: object) -> None:
    with vault.engine.begin() as connection:
        connection.execute(text(sql), values)


def test_a_sound_table_has_no_problems(bind):
    vault = opened(bind)
    assert vault.check() == []
    vault.insert_many(np.ones((1200, 2)), range(1200), {"lang": ["en"] * 1200})
    assert vault.check() == vault.check(fix=True) == []


def test_stats_count_and_measure(vault):
    stats = vault.stats()
    assert stats["table"] == "v"
    assert (stats["rows"], stats["dimensions"], stats["metric"], stats["vector_type"]) == (10, 2, "l2", "f32")
    assert stats["metadata"] == ["lang", "year"]
    assert stats["database_bytes"] > 0
    assert "***" in stats["database"] or stats["database"].endswith(".db")


VALUE_DAMAGE = [
    (b"", "no bytes"),
    (b"\xff\x00", "tag"),
    (pack("text")[:-1] + b"\xff", "UTF-8"),
    (pack({"a": [1, 2, 3]})[:-1], "."),
]


@pytest.mark.parametrize("number", range(len(VALUE_DAMAGE)))
def test_values_that_cannot_be_read_are_found(vault, number):
    damaged, what = VALUE_DAMAGE[number]
    execute(vault, "UPDATE v SET value = :value WHERE id = 4", value=damaged)
    (problem,) = vault.check(fix=True)
    assert (problem.where, problem.of, problem.fixed) == (4, "row", False)
    assert str(problem).startswith("row 4: ")
    assert isinstance(problem, Problem)
    with pytest.raises(CorruptValue, match=f"id 4: .*{what}"):
        vault.get_by_id(4)
    vault.update(4, value="mended")
    assert vault.check() == []


VECTOR_DAMAGE = [
    ("x''", "0 bytes"),
    ("x'00'", "1 bytes"),
    ("x'0000803f'", "4 bytes"),
    ("x'0000803f0000803f0000803f'", "12 bytes"),
    ("x'0000c07f0000803f'", "NaN or infinity"),
    ("x'0000803f0000807f'", "NaN or infinity"),
    ("'[1,2]'", "the vector is TEXT, not BLOB"),
    ("5", "the vector is INTEGER, not BLOB"),
]


@pytest.mark.parametrize(("stored", "what"), VECTOR_DAMAGE)
def test_vectors_that_cannot_be_are_found(tmp_path, stored, what):
    vault = opened(tmp_path / "a.db")
    vault.insert_many(np.arange(20).reshape(10, 2), range(10))
    execute(vault, f"UPDATE v SET vector = {stored} WHERE id = 7")
    (problem,) = vault.check(fix=True)
    assert problem.where == 7
    assert what in problem.what
    assert not problem.fixed
    assert vault.get_by_id(6)[1] == 5
    vault.update(7, vector=[1, 2])
    assert vault.check() == []


@pytest.mark.parametrize(("vector_type", "stored"), [("f16", "x'0000007c'"), ("i8", "x'00'"), ("bit", "x'ff'")])
def test_vectors_of_other_elements_that_cannot_be_are_found(tmp_path, vector_type, stored):
    vault = VectorKVault(tmp_path / "a.db", "v", dimensions=2, vector_type=vector_type)
    vault.insert_many(np.ones((3, 2)))
    execute(vault, f"UPDATE v SET vector = {stored} WHERE id = 2")
    assert [problem.where for problem in vault.check()] == [2]


def test_a_zero_vector_is_one_only_by_cosine(engine):
    by_distance = opened(engine)
    by_distance.insert([0, 0])
    assert by_distance.check() == []
    vault = VectorKVault(engine, "w", dimensions=2)
    id = vault.insert([1, 2])
    with sqlalchemy.orm.Session(engine) as session:
        session.get(vault.entity, id).vector = [0, 0]
        session.commit()
    (problem,) = vault.check()
    assert (problem.where, "zero" in problem.what) == (id, True)


def test_every_damaged_row_is_found_wherever_it_is(tmp_path):
    vault = opened(tmp_path / "a.db")
    vault.insert_many(np.ones((2500, 2)))
    execute(vault, "UPDATE v SET value = x'ff' WHERE id % 500 = 0")
    execute(vault, "UPDATE v SET vector = x'ff' WHERE id % 1000 = 1")
    assert [problem.where for problem in vault.check()] == [1, 500, 1000, 1001, 1500, 2000, 2001, 2500]


def test_a_missing_index_is_made(vault):
    execute(vault, "DROP INDEX ix_v_lang")
    (problem,) = vault.check()
    assert "index of lang is missing" in problem.what
    assert not problem.fixed
    (problem,) = vault.check(fix=True)
    assert problem.fixed
    assert vault.check() == []
    assert [index["name"] for index in sqlalchemy.inspect(vault.engine).get_indexes("v")] == ["ix_v_lang"]


@pytest.mark.parametrize("damage", ["delete", "options", "version"])
def test_a_record_that_is_missing_or_damaged_is_written_anew(vault, damage):
    if damage == "delete":
        execute(vault, "DELETE FROM vault_table WHERE name = 'v'")
    elif damage == "options":
        execute(vault, "UPDATE vault_table SET options = :options", options=b"\xff")
    else:
        execute(vault, "UPDATE vault_table SET version = 0")
    (problem,) = vault.check()
    assert not problem.fixed
    (problem,) = vault.check(fix=True)
    assert problem.fixed
    assert vault.check() == []
    with sqlalchemy.orm.Session(vault.engine) as session:
        record = session.get(TableRecord, "v")
        assert record.options == {
            "dimensions": 2,
            "metric": "l2",
            "vector_type": "f32",
            "index": "auto",
            "metadata": {"lang": "VARCHAR", "year": "INTEGER"},
        }
    other = create_engine(vault.engine.url)
    with pytest.raises(SchemaMismatch, match="dimensions=2, not 3"):
        opened(other, dimensions=3)
    other.dispose()


def test_a_record_of_another_kind_is_only_named(vault):
    execute(vault, "UPDATE vault_table SET kind = 'kv'")
    (problem,) = vault.check(fix=True)
    assert "holds 'kv'" in problem.what
    assert not problem.fixed


def test_a_table_that_is_gone_is_a_problem(vault):
    execute(vault, "DROP TABLE v")
    problems = vault.check()
    assert any("does not exist" in problem.what for problem in problems)


def test_optimize_and_backup_keep_it(tmp_path):
    vault = opened(tmp_path / "a.db")
    ids = vault.insert_many(np.arange(2000).reshape(1000, 2), range(1000))
    vault.delete_many(ids[::2])
    vault.optimize()
    vault.backup(tmp_path / "b.db")
    copy = opened(tmp_path / "b.db")
    assert [row[2] for row in copy.search([0, 0], 3)] == [1, 3, 5]
    assert vault.check() == copy.check() == []
