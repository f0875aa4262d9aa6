"""Vector indexes whose tables were damaged: named errors, writes that go on, and how it is mended."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from kohakuvault import CorruptValue, KohakuVaultError, VectorKVault, create_engine
from vector_indexes import (
    DIMENSIONS,
    add,
    check_search,
    clustered,
    mapped,
    small_blocks,  # noqa: F401 (a fixture)
    small_thresholds,
)

QUERY = clustered(1, 50)[0]
DATA = clustered(400, 51)


@pytest.fixture(params=["exact", "rabitq", "ivf"])
def vault(request, tmp_path):
    """A vault on a file, with rows in blocks, and in lists where there are."""
    vault = VectorKVault(create_engine(tmp_path / "v.db"), "v", DIMENSIONS, "l2", index=request.param)
    vault.insert_many(DATA)
    if request.param == "ivf":
        vault.optimize()
    yield vault
    vault.engine.dispose()


def run(vault, sql, *values):
    """Run SQL of the application's, by a plain connection without the extension."""
    with sqlite3.connect(vault.engine.url.database) as connection:
        rows = connection.execute(sql, values).fetchall()
    connection.close()
    return rows


# What is done to the tables, and whether a search notices: all but what it has no need of; None for maybe.
DAMAGE = {
    "a block is cut": ("UPDATE v_index_blk SET data = substr(data, 1, length(data) - 1)", True),
    "a block is empty": ("UPDATE v_index_blk SET data = x'' WHERE id = (SELECT min(id) FROM v_index_blk)", False),
    "a block is text": ("UPDATE v_index_blk SET data = 'text'", True),
    "a block is gone": ("DELETE FROM v_index_blk WHERE id = (SELECT max(id) FROM v_index_blk)", False),
    "a block is there twice": ("INSERT INTO v_index_blk SELECT max(id) + 1, data FROM v_index_blk WHERE id = 0", None),
    "entries have other bytes": ("UPDATE v_index_blk SET data = randomblob(length(data))", False),
    "no meta": ("DELETE FROM v_index_meta", True),
    "no version": ("DELETE FROM v_index_meta WHERE key = 'version'", True),
    "a newer version": ("UPDATE v_index_meta SET value = 99 WHERE key = 'version'", True),
    "no stamp": ("DELETE FROM v_index_meta WHERE key = 'stamp'", True),
    "no code": ("DELETE FROM v_index_meta WHERE key = 'code'", True),
    "another code": ("UPDATE v_index_meta SET value = 'two-bit' WHERE key = 'code'", True),
    "a code of another metric": ("UPDATE v_index_meta SET value = 'signs' WHERE key = 'code'", True),
    "another metric": ("UPDATE v_index_meta SET value = 'ip' WHERE key = 'metric'", False),
    "no metric": ("UPDATE v_index_meta SET value = 'far' WHERE key = 'metric'", True),
    "another element": ("UPDATE v_index_meta SET value = 'f16' WHERE key = 'element'", True),
    "other dimensions": ("UPDATE v_index_meta SET value = 17 WHERE key = 'dimensions'", True),
    "no dimensions": ("UPDATE v_index_meta SET value = 0 WHERE key = 'dimensions'", True),
    "huge dimensions": ("UPDATE v_index_meta SET value = 1 << 62 WHERE key = 'dimensions'", True),
    "negative dimensions": ("UPDATE v_index_meta SET value = -5 WHERE key = 'dimensions'", True),
    "dimensions are text": ("UPDATE v_index_meta SET value = '16' WHERE key = 'dimensions'", True),
    "another seed": ("UPDATE v_index_meta SET value = 'x' WHERE key = 'seed'", True),
    "a mean of text": ("INSERT OR REPLACE INTO v_index_meta VALUES ('mean', 'x')", True),
    "centroids cut": ("INSERT OR REPLACE INTO v_index_meta VALUES ('centroids', x'0102')", True),
    "no column": ("UPDATE v_index_meta SET value = 'missing' WHERE key = 'vector'", True),
    "no key": ("UPDATE v_index_meta SET value = 'missing' WHERE key = 'key'", True),
    "no place": ("DELETE FROM v_index_loc WHERE id = 5", False),
    "another place": ("UPDATE v_index_loc SET blk = 99 WHERE id = 5", False),
    "a place of nothing": ("INSERT INTO v_index_loc VALUES (10000, 0)", False),
    "a list that there is not": ("UPDATE v_index_blk SET id = -1 WHERE id = (SELECT max(id) FROM v_index_blk)", False),
    "no trigger": ("DROP TRIGGER v_index_update", True),
    "no meta table": ("DROP TABLE v_index_meta", True),
    "no blocks table": ("DROP TABLE v_index_blk", True),
    "no places table": ("DROP TABLE v_index_loc", True),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.filterwarnings("ignore:vector index:RuntimeWarning")
def test_damage_is_named_and_mended_while_writes_go_on(vault, damage):
    sql, is_noticed = DAMAGE[damage]
    vault.search(QUERY, 5)
    run(vault, sql)
    # What connections remember stays right until somebody says that it changed.
    vault.engine.dispose()
    if is_noticed:
        with pytest.raises(CorruptValue, match="rebuild_index"):
            vault.search(QUERY, 400)
    else:
        with nullcontext() if is_noticed is False else suppress(CorruptValue):
            for k in (1, 5, 400):
                assert len(vault.search(QUERY, k)) == k
    problems = vault.check()
    assert problems
    assert all(not problem.fixed for problem in problems)
    # Everything that is written is there, and searched for without the index.
    ids = vault.insert_many(clustered(90, 52))
    vault.update(3, clustered(1, 53)[0])
    vault.delete(4)
    vault.delete_many(ids[:10])
    assert len(vault) == 400 + 90 - 11
    assert vault.exists(3)
    assert len(vault.search(QUERY, 500, metric="l1")) == len(vault)
    vault.rebuild_index()
    assert_mended(vault)


def assert_mended(vault):
    assert vault.check() == []
    rows = dict(run(vault, "SELECT id, vector FROM v"))
    data = np.array([np.frombuffer(row, np.float32) for row in rows.values()])
    hits = vault.search(QUERY, 10)
    assert check_search(hits, "l2", np.array(list(rows)), data, QUERY, 10, exact=vault.index == "exact") >= 0.8
    assert len(vault.search(QUERY, 1000)) == len(rows)
    vault.insert_many(clustered(60, 54))
    assert vault.check() == []


@pytest.mark.parametrize("damage", ["a block is cut", "no meta", "no trigger", "no blocks table", "no place"])
def test_check_mends_what_it_finds(vault, damage):
    run(vault, DAMAGE[damage][0])
    problems = vault.check(fix=True)
    assert problems
    assert all(problem.fixed for problem in problems)
    assert_mended(vault)


def test_a_fold_that_fails_warns_and_writes_what_was_to_be_written(vault):
    run(vault, "DROP TABLE v_index_blk")
    with pytest.warns(RuntimeWarning, match="'v_index' is damaged.*rebuild_index"):
        vault.insert_many(clustered(90, 55))
    assert len(vault) == 490


def test_without_the_table_of_its_triggers_nothing_is_written_and_the_error_says_so(vault):
    run(vault, "DROP TABLE v_index_pending")
    for write in (lambda: vault.insert(QUERY), lambda: vault.delete(1), lambda: vault.update(1, QUERY)):
        with pytest.raises(CorruptValue, match="rebuild_index"):
            write()
    vault.update(1, value="is no vector")
    with pytest.raises(CorruptValue, match="rebuild_index"):
        vault.search(QUERY)
    vault.rebuild_index()
    assert len(vault) == 400
    assert_mended(vault)


def test_rows_that_cannot_be_compared_are_named(vault):
    run(vault, "UPDATE v SET vector = x'0011' WHERE id = 7")
    with pytest.raises(CorruptValue, match="row 7"):
        vault.search(QUERY)
    # They are in no block, and stay pending.
    vault.insert_many(clustered(90, 56))
    with pytest.raises(CorruptValue, match="row 7"):
        vault.search(QUERY)
    vault.rebuild_index()
    with pytest.raises(CorruptValue, match="row 7"):
        vault.search(QUERY)
    vault.delete(7)
    assert_mended(vault)


def test_a_column_that_was_renamed(tmp_path):
    engine = create_engine(tmp_path / "v.db")
    entity = mapped("exact", "l2")
    entity.metadata.create_all(engine)
    with Session(engine) as session:
        add(session, entity, DATA)
        session.execute(text("ALTER TABLE doc RENAME COLUMN embedding TO other"))
        with pytest.raises(Exception, match="rebuild_index"):
            session.execute(text("SELECT * FROM kv_knn('doc_index', :query, 3)"), {"query": QUERY.tobytes()}).all()
        session.rollback()
    engine.dispose()


# -- random bytes --------------------------------------------------------------------------------------

longs = st.integers(-(2**63), 2**63 - 1)
cells = st.one_of(
    st.none(),
    longs,
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=200),
    st.sampled_from(
        ["cosine", "l2", "ip", "l1", "hamming", "f32", "f16", "i8", "bit", "one-bit", "eight-bit", "signs"]
    ),
    st.integers(0, 70),
)
KEYS = [
    "version",
    "kind",
    "code",
    "metric",
    "element",
    "dimensions",
    "seed",
    "mean",
    "centroids",
    "probes",
    "key",
    "vector",
    "stamp",
]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A vault that tests may leave in any state."""
    with small_thresholds():
        vault = VectorKVault(
            create_engine(tmp_path_factory.mktemp("broken") / "v.db"), "v", DIMENSIONS, "l2", index="rabitq"
        )
        vault.insert_many(DATA)
        yield vault
    vault.engine.dispose()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(KEYS), cells, min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore:vector index:RuntimeWarning")
def test_any_meta_is_an_error_or_a_search(broken, changes):
    for key, value in changes.items():
        run(broken, "INSERT OR REPLACE INTO v_index_meta VALUES (?, ?)", key, value)
    survives(broken)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=1000), entries=st.integers(0, 40))
@pytest.mark.filterwarnings("ignore:vector index:RuntimeWarning")
def test_any_block_is_an_error_or_a_search(broken, data, entries):
    whole = (data * (entries * 28 // max(len(data), 1) + 1))[: entries * 28]
    run(broken, "INSERT OR REPLACE INTO v_index_blk VALUES (1, ?)", whole if entries else data)
    survives(broken)


def survives(vault):
    """Search, check and write; whatever fails does so by an error of ours. Then mend it."""
    for operation in (
        lambda: vault.search(QUERY, 10),
        lambda: vault.search(QUERY, 1000),
        lambda: vault.search_many(DATA[:2], 3, where=vault.c.id > 50),
        vault.info,
        vault.check,
    ):
        with suppress(KohakuVaultError):
            operation()
    ids = vault.insert_many(clustered(50, 57))
    vault.delete_many(ids)
    vault.rebuild_index()
    assert vault.check() == []
    assert len(vault.search(QUERY, 1000)) == len(vault) == 400


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tag=st.sampled_from([b"", b"\0", b"\1", b"\2"]),
    data=st.one_of(
        st.binary(max_size=60),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8).map(
            lambda ids: struct.pack(f"<{len(ids)}q", *sorted(ids))
        ),
        st.tuples(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=30)).map(
            lambda parts: struct.pack("<Qq", *parts[:2]) + parts[2]
        ),
    ),
)
def test_any_set_of_ids_is_an_error_or_a_search(broken, tag, data):
    search = text("SELECT count(*) FROM kv_knn('v_index', :query, 400, :ids)")
    with broken.engine.connect() as connection:
        try:
            count = connection.scalar(search, {"query": QUERY.tobytes(), "ids": tag + data})
        except OperationalError as error:
            count = 0 if "expected a set of ids that kv_idset made" in str(error) else None
    assert count is not None
    assert count <= 400


def test_a_file_with_random_pages_never_ends_the_process(tmp_path):
    path = tmp_path / "v.db"
    vault = VectorKVault(create_engine(path, pragmas={"journal_mode": "DELETE"}), "v", DIMENSIONS, "l2", index="exact")
    vault.insert_many(DATA)
    vault.engine.dispose()
    whole = path.read_bytes()
    rng = np.random.default_rng(58)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            start = int(rng.integers(4096, len(whole) - 64))
            damaged[start : start + 64] = rng.bytes(64)
        path.write_bytes(damaged)
        engine = create_engine(path)
        # The driver's own, of a message that quotes the file.
        with suppress(KohakuVaultError, UnicodeDecodeError):
            again = VectorKVault(engine, "v", DIMENSIONS, "l2", index="exact")
            with suppress(KohakuVaultError):
                again.search(QUERY, 50)
            with suppress(KohakuVaultError):
                again.search(QUERY, 50, where=again.c.id > 40)
            again.check()
        engine.dispose()
