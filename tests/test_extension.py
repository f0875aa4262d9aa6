"""The SQL functions: the same by every rung of the ladder that this interpreter offers, and equal to numpy."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, StaticPool

import kohakuvault
from kohakuvault import ExtensionUnavailable, InvalidArgument, VectorKVault, extension

METRICS = ("cosine", "l2", "l1", "hamming", "ip")


def reaches_auto_extension() -> bool:
    """Whether the SQLite library of the stdlib's driver can be called by name in this interpreter."""
    import _sqlite3

    try:
        return hasattr(ctypes.CDLL(getattr(_sqlite3, "__file__", None)), "sqlite3_auto_extension")
    except OSError:
        return False


# What the stdlib's driver offers, found out here without the package's help; the best first.
OFFERED = [
    *(["load_extension"] if hasattr(sqlite3.Connection, "enable_load_extension") else []),
    *(["auto_extension"] if reaches_auto_extension() else []),
    "create_function",
]


def engine_by(rung: str, database: object = ":memory:") -> sqlalchemy.Engine:
    return kohakuvault.create_engine(database, driver="sqlite3", extension=rung)


@pytest.fixture(params=OFFERED)
def connection(request):
    """A connection that got the functions by a rung that was asked for."""
    engine = engine_by(request.param)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def value(connection, sql, **parameters):
    return connection.execute(text(f"SELECT {sql}"), parameters).scalar_one()


def blob(vector) -> bytes:
    return np.asarray(vector, "<f4").tobytes()


def expected_distance(metric, a, b):
    """The definition, in double precision."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "cosine":
        return 1 - (a * b).sum(-1) / (np.sqrt((a * a).sum(-1)) * np.sqrt((b * b).sum(-1)))
    if metric == "l2":
        return np.sqrt(((a - b) ** 2).sum(-1))
    if metric == "l1":
        return np.abs(a - b).sum(-1)
    if metric == "ip":
        return -(a * b).sum(-1)
    return ((a > 0) != (b > 0)).sum(-1).astype(np.float64)


def close(found, expected):
    # Cosine subtracts from 1, so its error is absolute near 0.
    return found == pytest.approx(expected, rel=1e-6, abs=1e-6)


# -- the ladder -------------------------------------------------------------------------------------


def test_this_interpreter_offers_a_native_rung():
    assert set(OFFERED) - {"create_function"}, "the tests of the native functions would test nothing"


def test_the_rung_that_is_asked_for_is_the_one_that_is_used():
    for rung in OFFERED:
        with engine_by(rung).connect() as connection:
            assert connection.info["kohakuvault.rung"] == rung


def test_auto_picks_the_best_rung():
    with engine_by("auto").connect() as connection:
        assert connection.info["kohakuvault.rung"] == OFFERED[0]


def test_every_rung_gives_the_functions_of_this_very_build(connection):
    assert value(connection, "kv_version()") == kohakuvault.__version__


def limited_driver() -> types.ModuleType:
    """The stdlib's driver as another package would ship it, with a Connection that can load nothing."""
    driver = types.ModuleType("limited")
    driver.__dict__.update({k: v for k, v in vars(sqlite3.dbapi2).items() if not k.startswith("__")})
    driver.Connection = type("Connection", (), {})
    driver.connect = sqlite3.connect
    return driver


@pytest.mark.parametrize("rung", ["load_extension", "auto_extension"])
def test_a_rung_that_is_not_offered_is_an_error_that_names_what_is(rung):
    with pytest.raises(ExtensionUnavailable, match=f"limited does not offer {rung}; it offers create_function"):
        kohakuvault.create_engine(":memory:", module=limited_driver(), extension=rung)


def test_auto_extension_is_not_offered_where_the_library_cannot_be_reached(monkeypatch):
    monkeypatch.setattr(extension, "_library", lambda: None)
    with pytest.raises(ExtensionUnavailable, match="does not offer auto_extension; it offers create_function"):
        engine_by("auto_extension")
    with pytest.raises(ExtensionUnavailable), extension.auto_extension():
        pass


def test_auto_works_where_nothing_can_be_loaded():
    engine = kohakuvault.create_engine(":memory:", module=limited_driver(), extension="auto")
    with engine.connect() as connection:
        assert connection.info["kohakuvault.rung"] == "create_function"
        assert value(connection, "kv_l1_distance(:a, :b)", a=blob([1, 2]), b=blob([0, 4])) == 3
    engine.dispose()


def test_an_unknown_rung_is_an_error_that_names_the_known_ones():
    with pytest.raises(InvalidArgument, match="'magic'; expected 'auto' or one of load_extension, auto_extension"):
        engine_by("magic")


# -- distances --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_distances_equal_those_of_numpy(connection, metric):
    random = np.random.default_rng(1)
    for dimensions in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 100, 384, 1000):
        a, b = random.standard_normal((2, dimensions)).astype(np.float32)
        found = value(connection, f"kv_{metric}_distance(:a, :b)", a=blob(a), b=blob(b))
        assert isinstance(found, float)
        assert close(found, expected_distance(metric, a, b)), dimensions


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("arguments", ["v, :q", ":q, v", "v, w", "w, v", "v, (SELECT :q)"])
def test_distances_over_a_table_whichever_argument_is_constant(connection, metric, arguments):
    rows = np.random.default_rng(2).standard_normal((50, 2, 12)).astype(np.float32)
    query = rows[7, 0]
    connection.execute(text("CREATE TABLE t (v, w)"))
    connection.execute(text("INSERT INTO t VALUES (:v, :w)"), [{"v": blob(v), "w": blob(w)} for v, w in rows])
    found = connection.execute(
        text(f"SELECT kv_{metric}_distance({arguments}) FROM t ORDER BY rowid"),
        {"q": blob(query)} if ":q" in arguments else {},
    ).scalars()
    expected = expected_distance(metric, rows[:, 0], rows[:, 1] if "w" in arguments else query)
    assert close(list(found), expected)


def test_rows_may_have_vectors_of_different_lengths(connection):
    pairs = [(np.arange(n) + 1.0, np.arange(n)[::-1] - 2.5) for n in (3, 1, 8, 3)]
    connection.execute(text("CREATE TABLE t (v, w)"))
    connection.execute(text("INSERT INTO t VALUES (:v, :w)"), [{"v": blob(v), "w": blob(w)} for v, w in pairs])
    found = connection.execute(text("SELECT kv_l2_distance(v, w) FROM t ORDER BY rowid")).scalars()
    assert close(list(found), [expected_distance("l2", v, w) for v, w in pairs])


@pytest.mark.parametrize("metric", METRICS)
def test_the_distance_to_null_is_null(connection, metric):
    for arguments in ("NULL, :v", ":v, NULL", "NULL, NULL"):
        parameters = {"v": blob([1, 2])} if ":v" in arguments else {}
        assert value(connection, f"kv_{metric}_distance({arguments})", **parameters) is None


def test_a_zero_vector_has_no_cosine_and_every_other_distance(connection):
    vectors = {"zero": blob([0, 0]), "v": blob([3, 4])}
    assert value(connection, "kv_cosine_distance(:zero, :v)", **vectors) is None
    assert value(connection, "kv_cosine_distance(:v, :zero)", **vectors) is None
    assert value(connection, "kv_l2_distance(:zero, :v)", **vectors) == 5
    assert value(connection, "kv_l1_distance(:zero, :v)", **vectors) == 7
    assert value(connection, "kv_hamming_distance(:zero, :v)", **vectors) == 2
    assert value(connection, "kv_ip_distance(:zero, :v)", **vectors) == 0


@contextmanager
def sql_error(connection):
    """The statement fails as any statement does, and the connection stays usable."""
    with pytest.raises(OperationalError):
        yield
    assert value(connection, "kv_version()") == kohakuvault.__version__


BAD_PAIRS = {
    "another length": "x'0000803f', x'0000803f0000803f'",
    "not a whole number of f32": "x'0000803f', x'0000803f00'",
    "both ragged": "x'00', x'00'",
    "empty": "x'', x''",
    "text": "'abcd', x'0000803f'",
    "text second": "x'0000803f', 'abcd'",
    "integer": "1, x'0000803f'",
    "real": "x'0000803f', 1.5",
    "one argument": "x'0000803f'",
    "four arguments": "x'0000803f', x'0000803f', 'f32', 1",
    "element type unknown": "x'0000803f', x'0000803f', 'f64'",
    "element type NULL": "x'0000803f', x'0000803f', NULL",
    "element type a blob": "x'0000803f', x'0000803f', x'663332'",
    "another length of f16": "x'003c', x'003c003c', 'f16'",
    "not a whole number of f16": "x'003c', x'003c00', 'f16'",
    "another length of i8": "x'01', x'0102', 'i8'",
    "another length of bits": "x'01', x'0102', 'bit'",
    "empty bits": "x'', x'', 'bit'",
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("arguments", BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_arguments_that_are_no_pair_of_vectors_are_an_sql_error(connection, metric, arguments):
    with sql_error(connection):
        value(connection, f"kv_{metric}_distance({arguments})")


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "hamming"])
def test_bits_have_no_other_distance_than_hamming(connection, metric):
    assert value(connection, "kv_hamming_distance(x'f00f', x'ffff', 'bit')") == 8
    with sql_error(connection):
        value(connection, f"kv_{metric}_distance(x'f00f', x'ffff', 'bit')")


def test_a_native_error_says_what_was_given_and_what_is_expected():
    with engine_by(OFFERED[0]).connect() as connection:
        with pytest.raises(OperationalError, match="the vectors have 1 and 2 dimensions; expected equal numbers"):
            value(connection, f"kv_l2_distance({BAD_PAIRS['another length']})")
        with pytest.raises(OperationalError, match="TEXT given; expected a BLOB of little-endian f32"):
            value(connection, f"kv_l2_distance({BAD_PAIRS['text']})")


def test_a_distance_may_be_indexed_and_stand_in_a_check(connection):
    connection.execute(text("CREATE TABLE t (v BLOB CHECK (kv_l2_distance(v, x'0000000000000000') < 10))"))
    connection.execute(text("CREATE INDEX i ON t (kv_l1_distance(v, x'0000803f0000803f'))"))
    connection.execute(text("INSERT INTO t VALUES (:v)"), {"v": blob([3, 4])})
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        connection.execute(text("INSERT INTO t VALUES (:v)"), {"v": blob([30, 40])})
    plan = connection.execute(
        text("EXPLAIN QUERY PLAN SELECT * FROM t WHERE kv_l1_distance(v, x'0000803f0000803f') = 5")
    ).one()
    assert "USING INDEX i" in plan.detail


# -- k nearest --------------------------------------------------------------------------------------


@pytest.fixture
def vectors(connection) -> np.ndarray:
    """500 rows of a table ``t (id, v, name, even)``; ids are 1 + the index."""
    rows = np.random.default_rng(3).standard_normal((500, 16)).astype(np.float32)
    connection.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB, name TEXT, even INTEGER)"))
    connection.execute(
        text("INSERT INTO t VALUES (:id, :v, :name, :even)"),
        [
            {"id": i + 1, "v": blob(row), "name": f'é"\\ {i + 1}', "even": (i + 1) % 2 == 0}
            for i, row in enumerate(rows)
        ],
    )
    return rows


def nearest(connection, query, k, metric, key="id", rest=""):
    sql = f"kv_nearest({key}, v, :q, :k, :metric) FROM t {rest}"
    return json.loads(value(connection, sql, q=blob(query), k=k, metric=metric))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [0, 1, 10, 500, 501, 2**62])
def test_the_k_nearest_are_those_of_numpy(connection, vectors, metric, k):
    query = np.random.default_rng(4).standard_normal(16)
    distances = expected_distance(metric, vectors, query.astype(np.float32))
    # Equal distances, which hamming has many of, are in the order of the rows.
    order = np.argsort(distances, kind="stable")[:k]
    found = nearest(connection, query, k, metric)
    assert [distance for _, distance in found] == pytest.approx(distances[order], rel=1e-6, abs=1e-6)
    assert [id for id, _ in found] == [int(i) + 1 for i in order]


def test_a_condition_is_applied_before_the_search(connection, vectors):
    found = nearest(connection, vectors[0], 10, "l2", rest="WHERE even")
    distances = expected_distance("l2", vectors[1::2], vectors[0])
    assert [id for id, _ in found] == [2 * int(i) + 2 for i in np.argsort(distances)[:10]]


def test_each_group_has_its_own_nearest(connection, vectors):
    sql = "SELECT even, kv_nearest(id, v, :q, 1, 'l2') FROM t GROUP BY even ORDER BY even"
    odd, even = connection.execute(text(sql), {"q": blob(vectors[4])}).all()
    assert json.loads(odd[1]) == [[5, 0.0]]
    assert json.loads(even[1])[0][0] == 2 * int(np.argmin(expected_distance("l2", vectors[1::2], vectors[4]))) + 2


def test_keys_may_be_text_of_any_kind(connection, vectors):
    assert nearest(connection, vectors[41], 1, "cosine", key="name") == [['é"\\ 42', 0.0]]


def test_rows_without_a_vector_are_left_out(connection, vectors):
    connection.execute(text("UPDATE t SET v = NULL WHERE id <= 498"))
    assert {id for id, _ in nearest(connection, vectors[0], 10, "l2")} == {499, 500}
    connection.execute(text("UPDATE t SET v = NULL"))
    assert nearest(connection, vectors[0], 10, "l2") == []


def test_no_rows_have_no_nearest(connection, vectors):
    # As rows: over no rows at all, the driver's aggregates are NULL without being asked.
    found = "(SELECT kv_nearest(id, v, :q, 10, 'l2') FROM t WHERE id < 0)"
    assert value(connection, f"count(*) FROM json_each({found})", q=blob(vectors[0])) == 0


def test_a_zero_vector_comes_last_by_cosine(connection, vectors):
    connection.execute(text("UPDATE t SET v = zeroblob(64) WHERE id = 1"))
    found = nearest(connection, vectors[1], 500, "cosine")
    assert found[0] == [2, 0.0]
    assert found[-1] == [1, None]


BAD_SEARCHES = {
    "query of another length": "id, v, x'0000803f', 3, 'l2'",
    "query not whole": "id, v, x'00', 3, 'l2'",
    "query empty": "id, v, x'', 3, 'l2'",
    "query NULL": "id, v, NULL, 3, 'l2'",
    "query text": "id, v, 'text', 3, 'l2'",
    "query NaN": "id, v, :nan, 3, 'l2'",
    "query infinite": "id, v, :inf, 3, 'l2'",
    "vector text": "id, 'text', :q, 3, 'l2'",
    "vector integer": "id, 1, :q, 3, 'l2'",
    "vector of another length": "id, CASE id WHEN 300 THEN x'0000803f' ELSE v END, :q, 3, 'l2'",
    "k negative": "id, v, :q, -1, 'l2'",
    "k NULL": "id, v, :q, NULL, 'l2'",
    "k real": "id, v, :q, 3.0, 'l2'",
    "k text": "id, v, :q, '3', 'l2'",
    "metric unknown": "id, v, :q, 3, 'manhattan'",
    "metric NULL": "id, v, :q, 3, NULL",
    "metric blob": "id, v, :q, 3, x'6c32'",
    "key NULL": "NULL, v, :q, 3, 'l2'",
    "key real": "1.5, v, :q, 3, 'l2'",
    "key blob": "x'00', v, :q, 3, 'l2'",
    "too few arguments": "id, v, :q, 3",
    "element type unknown": "id, v, :q, 3, 'l2', 'f64'",
    "element type NULL": "id, v, :q, 3, 'l2', NULL",
    "metric that bits do not have": "id, v, :q, 3, 'l2', 'bit'",
    "too many arguments": "id, v, :q, 3, 'l2', 'f32', 1",
}


@pytest.mark.parametrize("arguments", BAD_SEARCHES.values(), ids=BAD_SEARCHES)
def test_a_search_that_makes_no_sense_is_an_sql_error(connection, vectors, arguments):
    bad = {"q": vectors[0], "nan": [*vectors[0][1:], float("nan")], "inf": [*vectors[0][1:], float("inf")]}
    parameters = {name: blob(v) for name, v in bad.items() if f":{name}" in arguments}
    with sql_error(connection):
        value(connection, f"kv_nearest({arguments}) FROM t", **parameters)
    assert nearest(connection, vectors[9], 1, "l2") == [[10, 0.0]]


# -- through Python and native are the same -----------------------------------------------------------

any_floats = st.integers(1, 20).flatmap(
    lambda n: hnp.arrays("<f4", (6, n), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
)


@pytest.fixture(scope="module")
def twins():
    """The driver's connections of one native engine, and of one that calls through Python."""
    engines = [engine_by(rung) for rung in (OFFERED[0], "create_function")]
    yield [engine.raw_connection().dbapi_connection for engine in engines]
    for engine in engines:
        engine.dispose()


@settings(deadline=None, max_examples=150)
@given(rows=any_floats, metric=st.sampled_from(METRICS))
def test_functions_called_through_python_give_the_very_same_numbers(twins, rows, metric):
    pairs = [(rows[0].tobytes(), row.tobytes()) for row in rows]
    native, python = (
        [connection.execute(f"SELECT kv_{metric}_distance(?, ?)", pair).fetchone()[0] for pair in pairs]
        for connection in twins
    )
    assert native == python


@settings(deadline=None, max_examples=150)
@given(rows=any_floats, metric=st.sampled_from(METRICS), k=st.integers(0, 8))
def test_a_search_through_python_gives_the_very_same_json(twins, rows, metric, k):
    query = np.nan_to_num(rows[0], posinf=1.0, neginf=-1.0).astype("<f4").tobytes()
    table = " UNION ALL ".join(f"SELECT {i} AS id, ? AS v" for i in range(len(rows)))
    sql = f"SELECT kv_nearest(id, v, ?, ?, ?) FROM ({table})"
    parameters = (query, k, metric, *(row.tobytes() for row in rows))
    native, python = (connection.execute(sql, parameters).fetchone()[0] for connection in twins)
    assert native == python


ELEMENTS = {"f32": "<f4", "f16": "<f2", "i8": "i1", "bit": "u1"}


def metrics_of(elem):
    return ("hamming",) if elem == "bit" else METRICS


@settings(deadline=None, max_examples=150)
@given(data=st.data(), elem=st.sampled_from(list(ELEMENTS)), size=st.integers(1, 40))
def test_any_bytes_have_the_very_same_distances_natively_and_through_python(twins, data, elem, size):
    metric = data.draw(st.sampled_from(metrics_of(elem)))
    length = size * np.dtype(ELEMENTS[elem]).itemsize
    rows = data.draw(st.lists(st.binary(min_size=length, max_size=length), min_size=2, max_size=6))
    query = rows[0] if np.isfinite(np.frombuffer(rows[0], ELEMENTS[elem])).all() else bytes(length)
    table = " UNION ALL ".join(f"SELECT {i} AS id, ? AS v" for i in range(len(rows)))
    distances = f"SELECT json_group_array(kv_{metric}_distance(v, ?, ?)) FROM ({table})"
    sql = f"SELECT kv_nearest(id, v, ?, 4, ?, ?), ({distances}) FROM ({table})"
    parameters = (query, metric, elem, query, elem, *rows, *rows)
    native, python = (connection.execute(sql, parameters).fetchone() for connection in twins)
    assert native == python


def numbers(elem, shape, seed=1):
    """Random numbers of an element type, as it stores them."""
    random = np.random.default_rng(seed)
    if elem == "bit":
        return random.integers(0, 2, shape).astype(bool)
    return (
        random.integers(-128, 128, shape).astype("i1")
        if elem == "i8"
        else random.normal(size=shape).astype(ELEMENTS[elem])
    )


def packed(elem, vector):
    return np.packbits(vector).tobytes() if elem == "bit" else vector.astype(ELEMENTS[elem]).tobytes()


@pytest.mark.parametrize("elem", ELEMENTS)
def test_distances_of_every_element_type_equal_those_of_numpy(connection, elem):
    connection.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB, elem TEXT)"))
    for dimensions in (1, 7, 8, 9, 63, 64, 65, 300):
        rows = numbers(elem, (20, dimensions), dimensions)
        query = rows[0] ^ rows[1] if elem == "bit" else rows[1][::-1].copy()
        query[0] = 1
        connection.execute(text("DELETE FROM t"))
        connection.execute(
            text("INSERT INTO t VALUES (:id, :v, :elem)"),
            [{"id": i, "v": packed(elem, row), "elem": elem} for i, row in enumerate(rows)],
        )
        for metric in metrics_of(elem):
            expected = expected_distance(metric, rows, query)
            scale = np.linalg.norm(rows.astype(float), axis=1) * np.linalg.norm(query.astype(float))
            tolerance = 1e-6 * np.maximum(np.abs(expected), scale if metric == "ip" else 1)
            # As a constant and as a column.
            for name in (f"'{elem}'", "elem"):
                sql = text(f"SELECT kv_{metric}_distance(v, :q, {name}) FROM t ORDER BY id")
                found = np.array(connection.execute(sql, {"q": packed(elem, query)}).scalars().all(), float)
                undefined = np.isnan(expected)
                assert (np.isnan(found) == undefined).all(), metric
                assert (np.abs(found - expected)[~undefined] <= tolerance[~undefined]).all(), metric
            sql = text("SELECT kv_nearest(id, v, :q, 5, :metric, :elem) FROM t")
            nearest = connection.execute(sql, {"q": packed(elem, query), "metric": metric, "elem": elem}).scalar_one()
            distances = [np.nan if d is None else d for _, d in json.loads(nearest)]
            assert np.allclose(distances, np.sort(expected)[:5], rtol=1e-6, atol=tolerance.max(), equal_nan=True)


def test_the_element_type_may_differ_from_row_to_row(connection):
    rows = [("f32", blob([1, 2])), ("f16", np.array([1, 2, 3, 4], "<f2").tobytes()), ("i8", bytes(range(8)))]
    expected = []
    for elem, vector in rows:
        expected.append(float(np.abs(np.frombuffer(vector, ELEMENTS[elem]).astype(float)).sum()))
    sql = "SELECT kv_l1_distance(v, zeroblob(8), elem) FROM ({}) ORDER BY id".format(
        " UNION ALL ".join(f"SELECT {i} AS id, '{elem}' AS elem, x'{v.hex()}' AS v" for i, (elem, v) in enumerate(rows))
    )
    assert connection.execute(text(sql)).scalars().all() == expected


# -- nothing leaks out of auto_extension ----------------------------------------------------------------


def is_clean(connection: sqlite3.Connection) -> bool:
    """Whether the new connection has only SQLite's own functions."""
    sql = "SELECT count(*) FROM pragma_function_list WHERE name LIKE 'kv\\_%' ESCAPE '\\'"
    count = connection.execute(sql).fetchone()[0]
    connection.close()
    return count == 0


def test_only_connections_opened_inside_auto_extension_get_the_functions():
    if "auto_extension" not in OFFERED:
        with pytest.raises(ExtensionUnavailable), extension.auto_extension():
            pass
        return
    assert is_clean(sqlite3.connect(":memory:"))
    with extension.auto_extension():
        assert not is_clean(sqlite3.connect(":memory:"))
    assert is_clean(sqlite3.connect(":memory:"))


@pytest.mark.parametrize("rung", OFFERED)
def test_connections_that_others_open_are_clean(tmp_path, rung):
    engine = engine_by(rung, tmp_path / "x.db")
    with engine.connect() as connection:
        assert value(connection, "kv_version()")
        assert is_clean(sqlite3.connect(tmp_path / "x.db"))
    engine.dispose()
    assert is_clean(sqlite3.connect(":memory:"))


@pytest.mark.parametrize("rung", OFFERED)
def test_connections_that_others_open_are_clean_after_one_of_ours_failed(tmp_path, rung):
    engine = engine_by(rung, tmp_path)  # a directory is no file
    with pytest.raises(OperationalError, match="unable to open"):
        engine.connect()
    assert is_clean(sqlite3.connect(":memory:"))


@pytest.mark.parametrize("rung", OFFERED)
def test_many_threads_may_open_connections_at_once(tmp_path, rung):
    engines = [
        kohakuvault.create_engine(tmp_path / f"{n}.db", driver="sqlite3", extension=rung, poolclass=NullPool)
        for n in range(4)
    ]

    def work(n: int) -> list[object]:
        found = []
        for turn in range(25):
            with engines[(n + turn) % 4].connect() as connection:
                found.append((connection.info["kohakuvault.rung"], value(connection, "kv_version()")))
            # Other code of the application, which opens its own at the same time.
            sqlite3.connect(":memory:").close()
        return found

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [[(rung, kohakuvault.__version__)] * 25] * 8
    assert is_clean(sqlite3.connect(":memory:"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_while_a_connection_is_being_opened_can_open_its_own():
    script = """
        import os, threading
        from contextlib import nullcontext
        import kohakuvault
        from kohakuvault import extension

        opening, forked = threading.Event(), threading.Event()
        def open_slowly():
            offered = extension._library() is not None
            with extension.auto_extension() if offered else nullcontext():
                opening.set()
                forked.wait()
        thread = threading.Thread(target=open_slowly)
        thread.start()
        opening.wait()
        child = os.fork()
        if child == 0:
            with kohakuvault.create_engine(":memory:").connect() as connection:
                version = connection.exec_driver_sql("SELECT kv_version()").scalar()
            os._exit(0 if version == kohakuvault.__version__ else 1)
        forked.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


# -- engines of the application's own -------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path):
    """An engine as anybody would make it."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'bare.db'}")
    yield engine
    engine.dispose()


def has_all(engine) -> bool:
    with engine.connect() as connection:
        functions = connection.execute(text("SELECT kv_version()")).scalar_one() == kohakuvault.__version__
        return functions and connection.execute(text("PRAGMA synchronous")).scalar_one() == 1


def test_install_before_there_are_connections(bare):
    assert kohakuvault.install(bare) is bare
    assert has_all(bare)


def test_install_twice_is_harmless(bare):
    assert kohakuvault.install(kohakuvault.install(bare)) is bare
    assert has_all(bare)


def test_install_replaces_connections_that_are_idle(bare):
    with bare.connect() as one, bare.connect() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
    kohakuvault.install(bare)
    assert has_all(bare)


def test_install_replaces_connections_that_are_in_use_when_they_come_back(bare):
    with bare.connect() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        kohakuvault.install(bare)
        connection.execute(text("INSERT INTO t VALUES (1)"))
        connection.commit()
    assert has_all(bare)
    with bare.connect() as connection:
        assert value(connection, "x FROM t") == 1


@pytest.mark.parametrize("pool", [StaticPool, None], ids=["static", "default"])
def test_install_keeps_a_database_in_memory_and_sets_its_connection_up(pool):
    options = {"poolclass": pool} if pool else {}
    engine = sqlalchemy.create_engine("sqlite://", **options)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
    kohakuvault.install(engine)
    assert has_all(engine)
    with engine.connect() as connection:
        assert value(connection, "x FROM t") == 1
    engine.dispose()


def test_install_reaches_containers_that_were_open_before(bare):
    vault = VectorKVault(bare, dimensions=2)
    vault.insert([1, 0], "east")
    kohakuvault.install(bare)
    assert vault.get([1, 0.1]) == "east"
    with vault.transaction():
        assert vault.get([1, 0.1]) == "east"


def test_install_fits_the_sync_engine_of_an_async_one_and_returns_the_latter(bare):
    given = SimpleNamespace(sync_engine=bare)
    assert kohakuvault.install(given) is given
    assert has_all(bare)


@pytest.mark.parametrize("thing", [None, "app.db", object()])
def test_install_refuses_what_is_no_engine(thing):
    with pytest.raises(InvalidArgument, match=r"install\(\) takes a SQLAlchemy Engine or AsyncEngine, not"):
        kohakuvault.install(thing)


EAST_FIRST = [(1, 0.0, "east"), (2, pytest.approx(2**0.5), "north")]


@pytest.fixture
def compass(bare):
    vault = VectorKVault(bare, table="compass", dimensions=2, metric="l2")
    vault.insert_many([[1, 0], [0, 1]], ["east", "north"])
    return vault


def test_vectors_can_be_searched_on_an_engine_without_install(bare, compass):
    assert compass.search([1, 0]) == EAST_FIRST


def test_on_an_engine_without_install_a_transaction_has_the_functions_too(bare, compass):
    # Connections of the application that lie in the pool, opened before anybody searched.
    with bare.connect() as one, bare.connect() as two, bare.connect() as three:
        for connection in (one, two, three):
            connection.execute(text("SELECT 1"))
    compass.search([1, 0])
    with compass.transaction():
        assert compass.search([1, 0]) == EAST_FIRST


def test_on_an_engine_without_install_a_session_has_the_functions_too(bare, compass):
    with bare.connect() as one, bare.connect() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
    compass.search([1, 0])
    with Session(bare) as one, Session(bare) as two:
        for session in (one, two):
            vault = VectorKVault(session, table="compass", dimensions=2, metric="l2")
            assert vault.search([1, 0]) == EAST_FIRST


def test_many_threads_may_search_on_an_engine_without_install(bare, compass):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: compass.search([1, 0]), range(64)))
    assert found == [EAST_FIRST] * 64


@pytest.mark.parametrize("rung", OFFERED)
def test_a_vault_finds_what_numpy_finds_by_every_rung(rung):
    random = np.random.default_rng(5)
    rows, query = random.standard_normal((300, 24)), random.standard_normal(24)
    for metric in METRICS:
        vault = VectorKVault(engine_by(rung), dimensions=24, metric=metric)
        ids = vault.insert_many(rows)
        distances = expected_distance(metric, rows.astype(np.float32), query.astype(np.float32))
        found = vault.search(query, 20)
        assert [id for id, _, _ in found] == [ids[i] for i in np.argsort(distances, kind="stable")[:20]]
        assert [distance for _, distance, _ in found] == pytest.approx(np.sort(distances)[:20], rel=1e-6, abs=1e-6)


# -- distances in Python --------------------------------------------------------------------------------

finite = st.floats(-1e6, 1e6, width=32)
pairs = st.integers(1, 70).flatmap(lambda n: hnp.arrays(np.float32, (2, n), elements=finite))


@settings(deadline=None)
@given(pair=pairs, metric=st.sampled_from(METRICS))
def test_distance_equals_that_of_numpy(pair, metric):
    a, b = pair
    found = kohakuvault.distance(metric, a, b)
    if metric == "cosine" and not (a.any() and b.any()):
        assert np.isnan(found)
    else:
        # The terms of an inner product may cancel out.
        scale = np.linalg.norm(a.astype(np.float64)) * np.linalg.norm(b.astype(np.float64)) if metric == "ip" else 1
        assert found == pytest.approx(float(expected_distance(metric, a, b)), rel=1e-6, abs=1e-6 * scale)


@settings(deadline=None)
@given(pair=pairs, metric=st.sampled_from(METRICS))
def test_distance_takes_arrays_lists_and_bytes(pair, metric):
    a, b = pair
    forms = [(a, b), (a.astype(np.float64), b), (a.tolist(), b.tolist()), (blob(a), blob(b)), (tuple(a.tolist()), b)]
    first, *others = (kohakuvault.distance(metric, *form) for form in forms)
    assert all(other == first or (np.isnan(other) and np.isnan(first)) for other in others)


@settings(deadline=None)
@given(pair=pairs, metric=st.sampled_from(METRICS))
def test_distance_is_symmetric_and_but_for_ip_never_negative_and_zero_to_itself(pair, metric):
    a, b = pair
    there, back = kohakuvault.distance(metric, a, b), kohakuvault.distance(metric, b, a)
    assert there == back or (np.isnan(there) and np.isnan(back))
    if metric == "ip":
        return
    assert not there < 0
    if a.any() or metric != "cosine":
        assert kohakuvault.distance(metric, a, a) == 0


@pytest.mark.parametrize(
    ("metric", "a", "b", "error"),
    [
        ("manhattan", [1.0], [1.0], ValueError),
        ("l2", [1.0], [1.0, 2.0], ValueError),
        ("l2", [], [], ValueError),
        ("l2", [[1.0]], [[1.0]], (TypeError, ValueError)),
        ("l2", b"12345", [1.0], ValueError),
        ("l2", ["1"], [1.0], TypeError),
        ("l2", "1234", [1.0], TypeError),
        ("l2", None, [1.0], TypeError),
        ("l2", [1.0], 1.0, TypeError),
    ],
)
def test_distance_refuses_what_is_no_pair_of_vectors(metric, a, b, error):
    with pytest.raises(error):
        kohakuvault.distance(metric, a, b)


@pytest.mark.parametrize("elem", ELEMENTS)
def test_distance_takes_every_element_type(elem):
    a, b = numbers(elem, (2, 21))
    for metric in metrics_of(elem):
        expected = expected_distance(metric, a, b)
        for form in (np.asarray, np.ndarray.tolist, lambda vector: packed(elem, vector)):
            assert kohakuvault.distance(metric, form(a), form(b), elem) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("metric", "a", "b", "elem", "problem"),
    [
        ("l2", [1], [1], "f8", 'unknown element type "f8"; expected one of f32, f16, i8, bit'),
        ("l2", [1], [1], "bit", "vectors of bit have no distance by l2; expected metric hamming"),
        ("l2", [70000.0], [1], "f16", "dimension 0 is 70000.0; expected numbers that float16 can hold"),
        ("l2", [1, 0.5], [1, 2], "i8", "dimension 1 is 0.5; expected integers from -128 to 127"),
        ("l2", [1, 128], [1, 2], "i8", "dimension 1 is 128.0; expected integers from -128 to 127"),
        ("hamming", [0, 2], [1, 1], "bit", "dimension 1 is 2.0; expected 0 or 1"),
        ("hamming", [0, 1], [1, 1, 1], "bit", "the vector has 3 dimensions; the query has 2"),
        ("hamming", b"ab", b"a", "bit", "the vector has 1 bytes of bits; the query has 2"),
        ("l1", b"abc", b"abc", "f16", "the vector has 3 bytes; expected little-endian f16, a multiple of 2 bytes"),
    ],
)
def test_distance_says_what_is_wrong_with_elements(metric, a, b, elem, problem):
    with pytest.raises(ValueError, match=problem):
        kohakuvault.distance(metric, a, b, elem)


@pytest.mark.parametrize("elem", ELEMENTS)
def test_a_prepared_query_knows_every_element_type(elem):
    rows = numbers(elem, (30, 17))
    matrix = np.packbits(rows, axis=1) if elem == "bit" else rows
    for metric in metrics_of(elem):
        query = kohakuvault._native.VectorQuery(metric, rows[0], elem)
        assert query.elem == elem
        expected = expected_distance(metric, rows, rows[0])
        assert query.distances(matrix) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert query.distances(matrix.tobytes()) == query.distances(matrix)
        assert [query.distance(row) for row in rows] == query.distances(matrix)
        with pytest.raises(ValueError, match="expected"):
            query.distances(matrix.tobytes()[:-1])
        with pytest.raises(ValueError, match="expected"):
            query.distances(matrix[:, :-1].copy())
        with pytest.raises(TypeError, match="expected"):
            query.distances(matrix.astype(np.float64))
