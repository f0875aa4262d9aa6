"""Looking after columns: what check() finds in damaged tables and repairs, figures, and vacuum."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from column_model import elements
from kohakuvault import ColumnVault, CorruptValue, InvalidArgument, NotFound, Problem, ReadOnlyDatabase
from kohakuvault.orm.tables import Block, ColumnRecord, Payload

SERIALS = 2**32
DTYPES = ["i64", "u8", "f32", "f64", "bool", "str:utf8", "bytes", "msgpack", "cbor", "json"]
DTYPES += ["vec:f32:3", "vec:u8:2:3", "vec:f32"]
OPTIONS = [{}, {"compression": "zstd"}, {"checksum": True}, {"compression": "zstd", "checksum": True}]


@pytest.fixture
def cv(engine) -> ColumnVault:
    """A vault with a damaged-to-be column of five blocks and a tail, and one of text."""
    cv = ColumnVault(engine)
    cv.create_column("numbers", "i64", block_bytes=64).extend(range(44))
    cv.create_column("texts", "str", block_bytes=64).extend([f"text {number}" for number in range(20)])
    return cv


@pytest.fixture
def execute(engine):
    """Run a statement as another program would."""

    def run(statement, **values):
        with engine.begin() as connection:
            connection.execute(text(statement) if isinstance(statement, str) else statement, values)

    return run


def whats(problems: list[Problem]) -> list[str]:
    return [problem.what for problem in problems]


# -- check ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_healthy_columns_have_no_problems(engine, dtype, options):
    cv = ColumnVault(engine)
    column = cv.create_column("a", dtype, block_bytes=100, **options)
    assert cv.check() == []
    values = elements(dtype, 10)
    column.extend(values * 3)
    column[5] = values[0]
    column[3:7] = values
    del column[::7]
    column.insert(2, values[1])
    assert column.check() == []
    assert cv.check() == []
    assert cv.check(fix=True) == []


def test_a_healthy_vault_has_no_problems_whatever_it_is_bound_to(bind):
    cv = ColumnVault(bind)
    cv.create_column("a", "f64", block_bytes=64).extend(np.arange(100.0))
    with cv.transaction():
        cv["a"].append(5.0)
        assert cv.check() == []
        assert cv["a"].storage_info()["elements"] == 101
    assert cv.check(fix=True) == []


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40)), max_size=15),
    st.sampled_from([1, 3, 24]),
)
def test_blocks_are_never_larger_than_they_may_be(steps, width):
    column = ColumnVault(":memory:").create_column("a", f"bytes:{width}", block_bytes=64)
    for start, stop, many in steps:
        column[start:stop] = [b"x"] * many
    assert column.check() == []


DAMAGE = [
    ("UPDATE vault_payload SET data = :data WHERE id = {numbers} + 2", "the block at element 8: "),
    ("UPDATE vault_payload SET data = :data WHERE id = {texts} + 1", "the block at element 0: "),
    (
        "DELETE FROM vault_payload WHERE id = {numbers} + 2",
        "the block at element 8 has no payload: its elements are lost",
    ),
    (
        "UPDATE vault_block SET start = 9 WHERE id = {numbers} + 2",
        "the block at element 9 should begin at 8: there is a gap",
    ),
    (
        "UPDATE vault_block SET start = 4 WHERE id = {numbers} + 2",
        "the block at element 4 should begin at 8: there is a gap",
    ),
    ("UPDATE vault_block SET start = -1 WHERE id = {numbers} + 1", "the block at element -1 should begin at 0"),
    ("UPDATE vault_block SET count = 7 WHERE id = {numbers} + 2", "the block at element 8: "),
    ("UPDATE vault_block SET count = 0 WHERE id = {numbers} + 2", "the block at element 8 has the count 0"),
    ("DELETE FROM vault_block WHERE id = {numbers} + 2", "its blocks have 32 elements, rather than 40"),
    (
        "UPDATE vault_column SET length = 45 WHERE name = 'numbers'",
        "its tail has 4 elements, rather than the 5 from 40 to 45",
    ),
    ("UPDATE vault_column SET length = -1 WHERE name = 'numbers'", "its row has length -1, sealed 40 and last_block 5"),
    ("UPDATE vault_column SET sealed = 41 WHERE name = 'numbers'", "its tail has 4 elements, rather than the 3"),
    ("UPDATE vault_column SET last_block = 3 WHERE name = 'numbers'", "the block at element 24 has the id"),
    (
        "UPDATE vault_column SET block_bytes = 32 WHERE name = 'numbers'",
        "the block at element 0 has 64 bytes, more than the 32",
    ),
    ("UPDATE vault_column SET dtype = 'i65' WHERE name = 'numbers'", "its row has the dtype 'i65'"),
    ("UPDATE vault_column SET dtype = 'i16' WHERE name = 'numbers'", "the block at element 0: "),
    ("UPDATE vault_column SET tail = :data WHERE name = 'texts'", "its tail: "),
]


@pytest.mark.parametrize(("statement", "what"), DAMAGE, ids=[statement for statement, _ in DAMAGE])
def test_damage_is_found_in_its_column_and_nowhere_else_and_kept(cv, execute, statement, what):
    damaged = "texts" if "texts" in statement else "numbers"
    with cv.engine.connect() as connection:
        ids = dict(connection.execute(sqlalchemy.select(ColumnRecord.name, ColumnRecord.id)).all())
    statement = statement.format(**{name: column_id * SERIALS for name, column_id in ids.items()})
    execute(statement, **({"data": b"\xff\xff\xff\xff\xff"} if ":data" in statement else {}))
    healthy = "numbers" if damaged == "texts" else "texts"
    cv = ColumnVault(cv.engine)
    problems = [problem for problem in cv.check() if problem.where is not None]
    assert {(problem.where, problem.of) for problem in problems} == {(damaged, "column")}
    assert any(found.startswith(what) for found in whats(problems)), problems
    assert str(problems[0]).startswith(f"column {damaged!r}: ")
    assert cv[healthy].check() == []
    if "dtype 'i65'" not in what:
        assert set(whats(problems)) <= set(whats(cv[damaged].check()))
    # What cannot be made of what is there stays, and is found again.
    assert [problem for problem in cv.check(fix=True) if problem.where is not None and not problem.fixed] == [
        problem for problem in problems if not problem.what.startswith("the summaries")
    ]
    assert [problem for problem in cv.check() if not problem.what.startswith("the summaries")] == [
        problem for problem in problems if not problem.what.startswith("the summaries")
    ]


def test_checksums_find_what_looks_sound(engine, execute):
    cv = ColumnVault(engine)
    cv.create_column("a", "i64", block_bytes=64, checksum=True).extend(range(20))
    with engine.begin() as connection:
        for row in connection.execute(sqlalchemy.select(Payload)).all():
            changed = row.data[:-1] + bytes([row.data[-1] ^ 1])
            connection.execute(sqlalchemy.update(Payload).where(Payload.id == row.id).values(data=changed))
        tail = connection.scalar(sqlalchemy.select(ColumnRecord.tail))
        connection.execute(sqlalchemy.update(ColumnRecord).values(tail=tail[:-1] + bytes([tail[-1] ^ 1])))
    problems = cv.check()
    assert [problem.what.split(":")[0] for problem in problems] == [
        "its tail",
        "the block at element 0",
        "the block at element 8",
    ]
    assert all("checksum" in problem.what for problem in problems)


def test_summaries_of_other_elements_are_found_and_made_anew(cv, execute, engine):
    column = cv["numbers"]
    with engine.begin() as connection:
        summaries = connection.scalars(sqlalchemy.select(Block.summary).order_by(Block.id)).all()
        changed = {Block.summary: summaries[0]}
        low = connection.scalar(sqlalchemy.select(ColumnRecord.id).where(ColumnRecord.name == "numbers")) * SERIALS
        connection.execute(sqlalchemy.update(Block).where(Block.id.in_([low + 2, low + 3])).values(changed))
    assert column.sum() != sum(range(44))
    what = "the summaries of 2 blocks, the first at element 8, are of other elements than theirs"
    assert cv.check() == [Problem(what, "numbers", of="column")] == column.check()
    assert cv.check(fix=True) == [Problem(what, "numbers", fixed=True, of="column")]
    assert column.sum() == sum(range(44))
    assert cv.check() == []


def test_a_summary_where_there_is_none_is_found(cv, execute):
    execute("UPDATE vault_block SET summary = :summary WHERE summary IS NULL", summary=b"x" * 32)
    assert [problem.where for problem in cv.check(fix=True)] == ["texts"]
    assert cv.check() == []


def test_a_missing_trigger_and_index_are_made(cv, execute, engine):
    of = " ON vault_payload" if engine.dialect.name == "postgresql" else ""
    execute("DROP TRIGGER vault_payload_update" + of)
    execute("DROP INDEX vault_block_place")
    # Nothing forgets this summary.
    cv["numbers"][10] = 1000
    assert len(cv.check()) == 3
    assert len(cv.check(fix=True)) == 3
    assert cv.check() == []
    assert cv["numbers"].sum() == sum(range(44)) + 990
    cv["numbers"][11] = 1000
    assert cv["numbers"].sum() == sum(range(44)) + 990 + 989
    assert cv.check() == []


def test_a_missing_record_is_made(cv, execute):
    execute("DELETE FROM vault_table")
    assert whats(cv.check()) == ["table 'vault_column' has no record in vault_table"]
    assert cv.check(fix=True)[0].fixed
    assert cv.check() == []


def test_payloads_of_no_block_are_removed(cv, execute, engine):
    with engine.connect() as connection:
        low = connection.scalar(sqlalchemy.select(ColumnRecord.id).where(ColumnRecord.name == "texts")) * SERIALS
    for block_id in (low + 100, 77 * SERIALS + 1):
        execute("INSERT INTO vault_payload (id, data) VALUES (:id, :data)", id=block_id, data=b"12345678")
    assert whats(cv["texts"].check()) == ["1 payloads with 8 bytes belong to no block"]
    assert cv["numbers"].check() == []
    assert cv.check() == [Problem("2 payloads with 16 bytes belong to no block")]
    assert cv.check(fix=True) == [Problem("2 payloads with 16 bytes belong to no block", fixed=True)]
    assert cv.check() == []
    assert cv["texts"][:] == [f"text {number}" for number in range(20)]


def test_tables_that_are_gone_are_named(cv, execute):
    execute("DROP TABLE vault_payload")
    assert any("vault_payload" in what for what in whats(cv.check()))


def test_checking_a_column_of_any_length_takes_little_memory(tmp_path):
    cv = ColumnVault(tmp_path / "a.db")
    cv.create_column("a", "i64").extend(np.arange(4_000_000))
    cv.create_column("b", "str", compression="zstd").extend(f"text {number}" for number in range(200_000))
    tracemalloc.start()
    assert cv.check() == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Of 32 MB.
    assert peak < 16_000_000


def test_a_read_only_vault_is_checked_and_not_repaired(cv):
    reader = ColumnVault(cv.engine, read_only=True)
    assert reader.check() == []
    assert reader["numbers"].check() == []
    with pytest.raises(ReadOnlyDatabase):
        reader.check(fix=True)


def test_a_deleted_column_is_not_found(cv):
    column = cv["numbers"]
    cv.delete_column("numbers")
    for call in (column.check, column.storage_info):
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize(
    "table", ["vault_payload.data", "vault_column.tail", "vault_block.summary", "vault_block.start"]
)
def test_values_of_other_types_in_an_sqlite_file_are_found(tmp_path, table):
    cv = ColumnVault(tmp_path / "a.db")
    cv.create_column("a", "i64", block_bytes=64).extend(range(20))
    table, column = table.split(".")
    with cv.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET {column} = CAST(X'ff00ff' AS TEXT)")
    problems = cv.check()
    assert problems
    assert all(problem.where in ("a", None) for problem in problems)
    cv.check(fix=True)


# -- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_storage_info_counts_elements_and_bytes(engine, options):
    cv = ColumnVault(engine)
    numbers = cv.create_column("numbers", "i64", block_bytes=64, **options)
    texts = cv.create_column("texts", "str", block_bytes=64, **options)
    numbers.extend(range(20))
    texts.extend(["x" * 11] * 10)
    framed = 4 if options.get("checksum") else 0
    of_numbers, of_texts = numbers.storage_info(), texts.storage_info()
    assert of_numbers["elements"] == 20
    assert of_numbers["blocks"] == 2
    assert of_numbers["packed_bytes"] == 160
    assert of_numbers["tail_bytes"] == 32 + framed
    assert of_numbers["stored_bytes"] == of_numbers["payload_bytes"] + of_numbers["tail_bytes"]
    assert of_numbers["block_bytes"] == 64
    assert of_numbers["checksum"] is ("checksum" in options)
    assert of_numbers["compression"] == ("zstd:3" if "compression" in options else None)
    assert of_texts["packed_bytes"] == 150
    if "compression" not in options:
        assert of_numbers["payload_bytes"] == 2 * (64 + framed)
    total = cv.storage_info()
    assert total["columns"] == 2
    assert all(total[name] == of_numbers[name] + of_texts[name] for name in total if name != "columns")
    assert cv.create_column("empty", "bytes", **options).storage_info()["stored_bytes"] == 0


def test_stats_are_of_the_database_and_its_columns(cv, engine):
    stats = cv.stats()
    assert stats["table"] == "vault_column"
    assert (stats["columns"], stats["elements"]) == (2, 64)
    sizes = {name for name in stats if name.endswith("_bytes")}
    expected = {"database_bytes", "wal_bytes", "free_bytes"}
    assert sizes == (expected if engine.dialect.name == "sqlite" else {"database_bytes", "table_bytes", "index_bytes"})
    assert all(type(stats[name]) is int for name in sizes)
    assert ColumnVault(":memory:").stats()["elements"] == 0


# -- vacuum --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["i64", "str", "msgpack"])
def test_vacuum_merges_small_blocks_and_makes_summaries(engine, dtype, options):
    cv = ColumnVault(engine)
    column = cv.create_column("a", dtype, block_bytes=256, **options)
    other = cv.create_column("b", "f64", block_bytes=64)
    other.extend(np.arange(100.0))
    other[3] = 500.0
    values = [f"value {number}" if dtype == "str" else number for number in range(2000)]
    column.extend(values)
    # All but every tenth are gone: blocks of a few elements are left, too many for their neighbours to take at once.
    for start in range(0, 180):
        del column[start + 1 : start + 10]
    del values[1:]
    kept = column[:]
    before = column.storage_info()["blocks"]
    cv.vacuum()
    after = column.storage_info()
    assert column[:] == kept
    assert after["blocks"] <= before
    assert other[3] == 500.0
    with engine.connect() as connection:
        missing = connection.scalar(
            sqlalchemy.select(sqlalchemy.func.count())
            .select_from(Block)
            .where(Block.summary.is_(None), Block.column_id == other._id)
        )
    assert missing == 0
    assert cv.check() == []


def test_vacuum_leaves_no_two_neighbours_that_fit_one_block(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("a", "i64", block_bytes=64)
    column.extend(range(800))
    # Blocks of five elements each: none is so small that it was merged by itself.
    with cv.transaction():
        for block in range(100):
            del column[5 * block : 5 * block + 3]
    assert column.storage_info()["blocks"] == 100
    del column[::2]
    kept = column[:]
    cv.vacuum()
    assert column[:] == kept
    with engine.connect() as connection:
        of_column = sqlalchemy.select(Block.count).where(Block.column_id == column._id).order_by(Block.start)
        counts = list(connection.scalars(of_column))
    assert all(one + following > 8 for one, following in pairwise(counts))
    assert cv.check() == []


def test_vacuum_stops_at_damage_and_inside_transactions(cv, execute):
    with cv.transaction(), pytest.raises(InvalidArgument, match="vacuum"):
        cv.vacuum()
    cv["numbers"][0] = 5
    execute(sqlalchemy.update(Payload).values(data=b"x"))
    with pytest.raises(CorruptValue):
        cv.vacuum()
