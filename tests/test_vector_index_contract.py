"""Searches by an index, of every kind on every database, beside numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import Integer, String, text
from sqlalchemy.orm import Session

import kohakuvault
from kohakuvault import InvalidArgument, NotFound, VectorKVault
from vector_indexes import (
    CASES,
    DIMENSIONS,
    METRICS,
    check,
    check_search,
    clustered,
    distances,
    engine_of,
    index_of,
    is_exact,
    order,
    small_blocks,  # noqa: F401 (a fixture)
    small_thresholds,
    supports,
    whole,
)

ROWS = {"sqlite": 1500, "postgresql": 500}
RECALL = 0.9

WITH_METRICS = [
    (database, kind, metric)
    for database, kind in CASES
    for metric in METRICS
    if database == "postgresql" or supports(kind, metric)
]


class Case:
    """A vault, what is in it, and whether searches are exact."""

    def __init__(self, bind, database, kind, metric="l2"):
        self.bind, self.kind, self.metric = bind, kind, metric
        self.exact = is_exact(database, kind, metric)
        self.rows = ROWS[database]
        self.vault = self.open(bind)
        self.ids = np.empty(0, np.int64)
        self.data = np.empty((0, DIMENSIONS), np.float32)

    def open(self, bind):
        index = "auto" if self.kind == "small" else self.kind
        metadata = {"part": Integer(), "lang": String()}
        return VectorKVault(bind, "v", DIMENSIONS, self.metric, index=index, metadata=metadata)

    def add(self, data):
        parts = list(range(len(data)))
        ids = self.vault.insert_many(data, parts, metadata={"part": parts, "lang": ["en", "de"] * (len(data) // 2)})
        self.ids, self.data = np.concatenate([self.ids, ids]), np.concatenate([self.data, data])
        return ids

    def check(self, hits, query, k, among=None):
        ids, data = (self.ids, self.data) if among is None else (self.ids[among], self.data[among])
        return check_search(hits, self.metric, ids, data, query, k, exact=self.exact)

    def recall(self, seed=7, count=12, k=10, vault=None):
        vault = vault or self.vault
        queries = clustered(count, seed)
        return np.mean([self.check(vault.search(query, k), query, k) for query in queries])

    def sound(self):
        assert self.vault.check() == []


@pytest.fixture
def case(request, new_url):
    """A vault of each kind on each database, with clustered rows in blocks where it has blocks."""
    database, kind, *metric = request.param
    with small_thresholds(40, 10**9 if kind == "small" else 100), engine_of(database, new_url) as engine:
        case = Case(engine, database, kind, *metric)
        case.add(clustered(case.rows, 1))
        if database == "postgresql" or kind == "ivf":
            case.vault.optimize()
        yield case


each_case = pytest.mark.parametrize("case", CASES, indirect=True, ids=str)
each_metric = pytest.mark.parametrize("case", WITH_METRICS, indirect=True, ids=str)


@each_metric
def test_the_nearest_are_found_with_their_distances(case):
    assert case.recall() >= (1 if case.exact else RECALL)
    # Among rows that were added since, some of which are not in blocks yet.
    case.add(clustered(case.rows // 10 * 2, 2))
    assert case.recall(seed=8) >= (1 if case.exact else RECALL)
    case.sound()


@pytest.mark.parametrize(
    ("database", "kind", "metric"),
    [each for each in WITH_METRICS if is_exact(*each)],
)
def test_equally_far_rows_of_an_exact_index_are_found_by_id(new_url, database, kind, metric):
    with small_thresholds(40, 10**9 if kind == "small" else 100), engine_of(database, new_url) as engine:
        case = Case(engine, database, kind, metric)
        case.add(whole(case.rows, 3))
        for query in whole(6, 4):
            expected = order(distances(metric, case.data, query), case.ids)
            for k in (1, 7, 100):
                assert [hit[0] for hit in case.vault.search(query, k)] == expected[:k].tolist()
                some = case.vault.search(query, k, where=case.vault.c.lang == "de")
                assert [hit[0] for hit in some] == [id for id in expected if (id - case.ids[0]) % 2][:k]


@each_case
def test_what_is_in_use(case, request):
    index = case.vault.info()["index"]
    database, kind = request.node.callspec.params["case"]
    if kind is None:
        assert index is None
        return
    in_use = {
        ("sqlite", "auto"): "rabitq",
        ("sqlite", "small"): None,
        ("postgresql", "exact"): None,
        ("postgresql", "auto"): None,
    }
    assert index["in_use"] == in_use.get((database, kind), kind)
    assert index["metric"] == "l2"
    assert index["name"] == "v_index"
    if kind == "ivf":
        assert index["lists"] >= 16
        assert index["probes"] >= 1


@each_case
def test_any_k(case):
    query = clustered(1, 5)[0]
    for k in (0, 1, 2, 99, case.rows - 1, case.rows, case.rows + 1, 2**31, 10**30):
        case.check(case.vault.search(query, k), query, k)


@each_case
def test_a_condition_never_costs_rows(case):
    query = clustered(1, 6)[0]
    part = np.arange(case.rows)
    c = case.vault.c
    conditions = [
        (c.part < 0, part < 0),
        (c.part == 3, part == 3),
        (c.part < 20, part < 20),
        (c.part >= case.rows - 350, part >= case.rows - 350),
        (c.part % 3 == 1, part % 3 == 1),
        (c.part >= 0, part >= 0),
        ((c.part < 30) | (c.part > case.rows - 30), (part < 30) | (part > case.rows - 30)),
        (c.lang.in_(["de", "fr"]), part % 2 == 1),
        ({"lang": "en", "part": 4}, part == 4),
    ]
    for where, among in conditions:
        for k in (1, 10, 60, case.rows):
            hits = case.vault.search(query, k, where=where)
            share = case.check(hits, query, k, among)
            assert share >= (1 if case.exact else 0.6), where


@each_case
def test_searches_of_many_and_by_radius(case):
    queries = clustered(5, 9)
    assert case.vault.search_many(queries, 7) == [case.vault.search(query, 7) for query in queries]
    for query in queries[:2]:
        far = distances("l2", case.data, query)
        limit = float(np.sort(far)[20]) + 1e-3
        hits = case.vault.radius(query, limit)
        assert sorted(hit[0] for hit in hits) == sorted(case.ids[far <= limit].tolist())
        nearest = case.vault.search(query, 1)[0]
        assert case.vault.get(query) == nearest[2]
    with pytest.raises(NotFound):
        case.vault.get(queries[0], where=case.vault.c.part < 0)


@each_case
def test_another_metric_is_not_searched_by_the_index(case):
    query = clustered(1, 10)[0]
    for metric in METRICS:
        hits = case.vault.search(query, 9, metric=metric)
        exact = metric != "l2" or case.exact
        check_search(hits, metric, case.ids, case.data, query, 9, exact=exact)


@each_case
def test_rows_that_change_are_found_as_they_are_now(case):
    vault, rng = case.vault, np.random.default_rng(12)
    model = dict(zip(case.ids.tolist(), case.data, strict=True))
    assert vault.search(case.data[5], 1)[0][0] == case.ids[5]

    def agrees():
        case.ids = np.array(sorted(model), np.int64)
        case.data = np.array([model[id] for id in case.ids.tolist()]).reshape(-1, DIMENSIONS)
        assert case.recall(seed=int(rng.integers(100)), count=5) >= (1 if case.exact else 0.8)
        case.sound()

    # Far away from all others: whoever still finds them where they were is wrong.
    away = clustered(60, 13) + 50
    for id, vector in zip(case.ids[:60].tolist(), away, strict=True):
        vault.update(id, vector)
        model[id] = vector
    assert vault.search(away[3], 1)[0][0] == case.ids[3]
    agrees()
    for id, vector in zip(
        [*case.ids[60:90].tolist(), -7, 0, 10**12, 2**63 - 1, -(2**63)], clustered(35, 14), strict=True
    ):
        vault.upsert(id, vector, "new")
        model[id] = vector
    agrees()
    removed = rng.choice(list(model), 200, replace=False).tolist()
    assert vault.delete_many(removed) == 200
    for id in removed:
        del model[id]
    for id in rng.choice(list(model), 30, replace=False).tolist():
        vault.delete(id)
        del model[id]
    agrees()
    # Ids of rows that are gone, given again.
    vault.upsert_many(removed[:100], clustered(100, 15))
    model.update(zip(removed[:100], clustered(100, 15), strict=True))
    agrees()
    vault.update(next(iter(model)), value="only the value")
    vault.update(next(iter(model)), metadata={"part": 5})
    agrees()
    vault.clear()
    model.clear()
    assert vault.search(away[0], 5) == []
    ids = vault.insert_many(clustered(300, 16))
    model.update(zip(ids, clustered(300, 16), strict=True))
    agrees()


@each_case
def test_what_is_rolled_back_is_not_found(case):
    vault = case.vault
    query = clustered(1, 17)[0] + 30
    before = vault.search(query, 20)
    with pytest.raises(ZeroDivisionError), vault.transaction():
        # Enough to be folded.
        ids = vault.insert_many(np.tile(query, (200, 1)))
        assert {hit[0] for hit in vault.search(query, 20)} <= set(ids)
        vault.delete_many([hit[0] for hit in before])
        assert vault.search(query, 1)[0][1] == 0
        raise ZeroDivisionError
    assert vault.search(query, 20) == before
    case.sound()
    with vault.transaction():
        kept = vault.insert_many(np.tile(query, (90, 1)))
        with pytest.raises(ZeroDivisionError), vault.transaction():
            vault.delete_many(kept)
            vault.insert_many(np.tile(query + 1, (90, 1)))
            raise ZeroDivisionError
        assert [hit[1] for hit in vault.search(query, 90)] == [0] * 90
    assert {hit[0] for hit in vault.search(query, 90)} == set(kept)
    case.sound()


@each_case
def test_a_session_searches_what_it_has_written(case):
    query = clustered(1, 18)[0] + 30
    with Session(case.bind) as session:
        vault = case.open(session)
        ids = vault.insert_many(np.tile(query, (150, 1)))
        assert {hit[0] for hit in vault.search(query, 150)} == set(ids)
        savepoint = session.begin_nested()
        vault.delete_many(ids)
        assert vault.search(query, 1)[0][1] > 1
        savepoint.rollback()
        assert {hit[0] for hit in vault.search(query, 150)} == set(ids)
        session.rollback()
        assert vault.search(query, 1)[0][1] > 1
        vault.insert(query, "committed")
        session.commit()
    assert case.vault.get(query) == "committed"
    case.sound()


@each_case
def test_two_vaults_on_one_table_and_one_opened_again(case):
    query = clustered(1, 19)[0] + 30
    other = case.open(kohakuvault.create_engine(case.bind.url))
    assert other.search(query, 30) == case.vault.search(query, 30)
    ids = other.insert_many(np.tile(query, (100, 1)), ["theirs"] * 100)
    assert {hit[0] for hit in case.vault.search(query, 100)} == set(ids)
    case.vault.delete_many(ids[:99])
    assert other.search(query, 2)[0][0] == ids[99]
    if case.kind is not None:
        other.rebuild_index()
    assert case.vault.search(query, 30) == other.search(query, 30)
    other.engine.dispose()
    case.bind.dispose()
    again = case.open(case.bind)
    assert again.get(query) == "theirs"
    case.sound()


@each_case
def test_another_process_finds_and_adds(case):
    address = case.bind.url.render_as_string(hide_password=False)
    code = f"""
import numpy as np
from sqlalchemy import Integer, String
from kohakuvault import VectorKVault
vault = VectorKVault({address!r}, "v", {DIMENSIONS}, "l2", metadata={{"part": Integer(), "lang": String()}})
ids = vault.insert_many(np.full((300, {DIMENSIONS}), 40.0), ["theirs"] * 300)
assert {{hit[0] for hit in vault.search([40.0] * {DIMENSIONS}, 300)}} == set(ids)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "."})
    assert case.vault.search([40.0] * DIMENSIONS, 3)[2][1:] == (0.0, "theirs")
    case.sound()


@pytest.mark.parametrize("case", [case for case in CASES if case[1] is not None], indirect=True, ids=str)
def test_an_index_is_built_anew_and_measured(case):
    query = clustered(1, 20)[0]
    seen = []
    case.vault.rebuild_index(lambda done, total: seen.append((done, total)))
    assert all(0 <= done <= total for done, total in seen)
    case.vault.rebuild_index()
    case.vault.optimize()
    case.check(case.vault.search(query, 10), query, 10)
    recall = case.vault.recall(20, 5)
    assert recall.mean >= (1 if case.exact else RECALL)
    case.sound()
    case.vault.clear()
    case.vault.rebuild_index()
    case.vault.optimize()
    assert case.vault.search(query, 3) == []
    assert case.vault.recall().queries == 0
    case.sound()


def test_a_vault_without_index_has_none_to_build(engine):
    vault = VectorKVault(engine, dimensions=3, index=None)
    with pytest.raises(InvalidArgument, match="has no index"):
        vault.rebuild_index()


SQLITE = [case for case in CASES if case[0] == "sqlite"]


@pytest.mark.parametrize("case", SQLITE, indirect=True, ids=str)
def test_what_else_happens_to_a_table_on_sqlite(case, tmp_path):
    query = clustered(1, 21)[0]
    before = case.vault.search(query, 25)
    with case.bind.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM"))
    assert case.vault.search(query, 25) == before
    with case.bind.begin() as connection:
        connection.execute(text("ALTER TABLE v ADD COLUMN more TEXT DEFAULT 'x'"))
    assert case.vault.search(query, 25) == before
    case.sound()
    case.vault.backup(tmp_path / "copy.db")
    copy = case.open(tmp_path / "copy.db")
    assert copy.search(query, 25) == before
    copy.insert(query, "in the copy")
    assert copy.get(query) == "in the copy"
    assert copy.check() == []
    assert case.vault.search(query, 25) == before


@pytest.mark.parametrize("kind", ["exact", "rabitq", "ivf", "auto"])
def test_a_table_that_is_renamed_takes_its_index_along(new_url, kind):
    with engine_of("sqlite", new_url) as engine:
        case = Case(engine, "sqlite", kind)
        case.add(clustered(1000, 22))
        query = clustered(1, 23)[0]
        found = text("SELECT id FROM kv_knn('v_index', :query, 9) ORDER BY distance")
        with engine.begin() as connection:
            packed = {"query": query.tobytes()}
            before = connection.execute(found, packed).scalars().all()
            connection.execute(text("ALTER TABLE v RENAME TO w"))
            assert connection.execute(found, packed).scalars().all() == before
            connection.execute(text("DELETE FROM w WHERE id = :id"), {"id": before[0]})
            assert connection.execute(found, packed).scalars().all()[:8] == before[1:]
            connection.execute(text("ALTER TABLE w RENAME TO v"))
        assert [hit[0] for hit in case.vault.search(query, 8)] == before[1:]
        check(engine, index_of(case.vault))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_an_index_is_what_it_was_made_as(new_url, database):
    with engine_of(database, new_url) as engine:
        kinds = ("exact", "rabitq", "hnsw")
        for kind in kinds:
            VectorKVault(engine, f"v_{kind}", 3, "l2", index=kind)
        for kind in kinds:
            for other in {*kinds, None} - {kind}:
                with pytest.raises(kohakuvault.SchemaMismatch, match="index"):
                    VectorKVault(engine, f"v_{kind}", 3, "l2", index=other)
            # "auto" takes what there is.
            vault = VectorKVault(engine, f"v_{kind}", 3, "l2")
            vault.insert([1, 2, 3], "x")
            assert vault.get([1, 2, 3]) == "x"
        VectorKVault(engine, "none", 3, "l2", index=None)
        vault = VectorKVault(engine, "none", 3, "l2")
        vault.insert([1, 2, 3], "x")
        assert vault.get([1, 2, 3]) == "x"
        assert vault.info()["index"] is None
        assert vault.check() == []
