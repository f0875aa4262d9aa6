"""The SQL function ``kv_collect``, the ``PageScan`` that takes what it collects, and iteration with and without it."""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import kohakuvault
from kohakuvault import CorruptValue, KVault, _native, extension
from kohakuvault.packing import Cbor, Json, pack, unpack

NATIVE = extension.best_rung(sqlite3.dbapi2)

KEYS = ["", "a", "naïve \0 ☃", b"", b"\xff\0", 0, -1, 2**63 - 1, -(2**63)]


@pytest.fixture
def connection() -> sqlite3.Connection:
    assert NATIVE != "create_function", "the tests of kv_collect would test nothing"
    return kohakuvault.create_engine(":memory:", driver="sqlite3").raw_connection().dbapi_connection


def table(connection: sqlite3.Connection, rows: Iterable[tuple[Any, Any]]) -> None:
    connection.execute("CREATE TABLE t (key, value)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", rows)


def taken(scan: _native.PageScan) -> list[Any]:
    """All that was collected and not taken yet; what is left to the caller is unpacked."""
    found = []
    while (part := scan.take()) is not None:
        entries, left = part
        found += entries if left is None else [*entries, (left[0], unpack(left[1]))]
    return found


# -- the function --------------------------------------------------------------------------------------


def test_rows_are_collected_and_a_row_is_given_for_each_full_page(connection):
    table(connection, ((n, pack(str(n))) for n in range(100)))
    scan = _native.PageScan("items", 2, 30, 1 << 20)
    rows = connection.execute("SELECT key FROM t WHERE kv_collect(?, key, value)", (scan.token,))
    pages, full = [], []
    while True:
        pages.append(taken(scan))
        if (row := next(rows, None)) is None:
            break
        full += row
    pages.append(taken(scan))
    assert [entry for page in pages for entry in page] == [(n, str(n)) for n in range(100)]
    assert [len(page) for page in pages if page] == [2, 8, 30, 30, 30]
    assert full == [1, 9, 39, 69, 99]


def test_a_page_is_full_by_bytes_too(connection):
    sizes = [10, 10, 5000, 10, 400, 400, 400, 10]
    table(connection, ((n, pack(b"x" * size)) for n, size in enumerate(sizes)))
    scan = _native.PageScan("values", 100, 100, 1000)
    rows = connection.execute("SELECT key FROM t WHERE kv_collect(?, key, value)", (scan.token,))
    pages = [[len(value) for value in taken(scan)]]
    while next(rows, None) is not None:
        pages.append([len(value) for value in taken(scan)])
    assert [page for page in pages if page] == [[10, 10, 5000], [10, 400, 400, 400], [10]]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("keys", KEYS), ("values", [*range(len(KEYS))]), ("items", [(key, n) for n, key in enumerate(KEYS)])],
)
def test_keys_values_or_both_are_taken(connection, form, expected):
    table(connection, ((key, pack(n)) for n, key in enumerate(KEYS)))
    scan = _native.PageScan(form, 100, 100, 1 << 20)
    columns = "key" if form == "keys" else "key, value"
    assert connection.execute(f"SELECT 1 FROM t WHERE kv_collect(?, {columns})", (scan.token,)).fetchall() == []
    assert taken(scan) == expected
    assert scan.take() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("0, 1, 2", "there is no such scan in this process"),
        ("'x', 1", "token: expected an INTEGER; TEXT given"),
        ("NULL, 1", "token: expected an INTEGER; NULL given"),
        ("1.5, 1", "token: expected an INTEGER; REAL given"),
        ("1", "wrong number of arguments"),
    ],
)
def test_what_is_no_scan_is_an_sql_error(connection, arguments, message):
    with pytest.raises(sqlite3.OperationalError, match=message):
        connection.execute(f"SELECT kv_collect({arguments})").fetchall()


def test_a_scan_that_is_gone_is_an_sql_error_and_others_go_on(connection):
    scan, other = (_native.PageScan("keys", 10, 10, 100) for _ in range(2))
    token = scan.token
    assert token != other.token
    del scan
    with pytest.raises(sqlite3.OperationalError, match="no such scan"):
        connection.execute("SELECT kv_collect(?, 1)", (token,)).fetchall()
    connection.execute("SELECT kv_collect(?, 1)", (other.token,)).fetchall()
    assert taken(other) == [1]


def test_a_page_that_is_not_taken_stops_the_query(connection):
    table(connection, ((n, None) for n in range(100)))
    scan = _native.PageScan("keys", 3, 3, 1000)
    with pytest.raises(sqlite3.OperationalError, match="the page before was not taken"):
        connection.execute("SELECT 1 FROM t WHERE kv_collect(?, key)", (scan.token,)).fetchall()
    assert taken(scan) == [0, 1, 2]


def test_one_statement_is_run_for_one_scan_after_another_and_tokens_may_change_within(connection):
    table(connection, ((n, None) for n in range(10)))
    scans = [_native.PageScan("keys", 100, 100, 1000) for _ in range(4)]
    for scan in scans:
        connection.execute("SELECT 1 FROM t WHERE kv_collect(?, key)", (scan.token,)).fetchall()
        assert taken(scan) == list(range(10))
    connection.execute("CREATE TABLE tokens (n, token)")
    connection.executemany("INSERT INTO tokens VALUES (?, ?)", ((n, scan.token) for n, scan in enumerate(scans)))
    sql = "SELECT 1 FROM t JOIN tokens ON n = key % 4 WHERE kv_collect(token, key)"
    connection.execute(sql).fetchall()
    assert [sorted(taken(scan)) for scan in scans] == [[n for n in range(10) if n % 4 == m] for m in range(4)]


def test_views_and_triggers_cannot_use_it(connection):
    connection.execute("CREATE VIEW v AS SELECT kv_collect(1, 2)")
    with pytest.raises(sqlite3.OperationalError, match="unsafe use of kv_collect"):
        connection.execute("SELECT * FROM v")


def test_a_form_that_there_is_not_is_a_named_error():
    with pytest.raises(kohakuvault.InvalidArgument, match="\"rows\": expected 'keys', 'values' or 'items'"):
        _native.PageScan("rows", 1, 1, 1)


# -- what is stored ------------------------------------------------------------------------------------


def test_what_python_has_to_see_to_is_left_to_it_in_its_place(connection):
    pickled = pack(object, allow_pickle=True)
    table(connection, [(1, pack("a")), (2, pickled), (3, b""), (4, "text"), (5, 1.5), (6, None), (7, pack("b"))])
    scan = _native.PageScan("items", 100, 100, 1 << 20)
    connection.execute("SELECT 1 FROM t WHERE kv_collect(?, key, value)", (scan.token,)).fetchall()
    assert list(iter(scan.take, None)) == [
        ([(1, "a")], (2, pickled)),
        ([], (3, b"")),
        ([], (4, "text")),
        ([], (5, 1.5)),
        ([], (6, None)),
        ([(7, "b")], None),
    ]


@pytest.mark.parametrize("form", ["keys", "values", "items"])
@pytest.mark.parametrize("key", [None, 1.5])
def test_a_key_of_a_type_that_no_key_has_is_an_error_in_its_place(connection, form, key):
    table(connection, [(1, pack(1)), (key, pack(2)), (3, pack(3))])
    scan = _native.PageScan(form, 100, 100, 1 << 20)
    columns = "key" if form == "keys" else "key, value"
    connection.execute(f"SELECT 1 FROM t WHERE kv_collect(?, {columns})", (scan.token,)).fetchall()
    assert scan.take() == ([(1, 1) if form == "items" else 1], None)
    with pytest.raises(CorruptValue, match=f"the key {key} of a row"):
        scan.take()
    assert scan.take() == ([(3, 3) if form == "items" else 3], None)


@pytest.mark.parametrize("form", ["keys", "items"])
def test_a_key_that_is_no_text_is_an_error_in_its_place(connection, form):
    table(connection, [(1, pack(1)), ("x", pack(2)), (3, pack(3)), ("x", "odd"), (5, pack(5))])
    connection.execute("UPDATE t SET key = CAST(x'ff' AS TEXT) WHERE key = 'x'")
    scan = _native.PageScan(form, 100, 100, 1 << 20)
    columns = "key" if form == "keys" else "key, value"
    connection.execute(f"SELECT 1 FROM t WHERE kv_collect(?, {columns})", (scan.token,)).fetchall()
    for key in (1, 3):
        assert scan.take() == ([key if form == "keys" else (key, key)], None)
        with pytest.raises(CorruptValue, match=r"stored key b'\\xff' is a text that is not valid UTF-8"):
            scan.take()
    assert scan.take() == ([5 if form == "keys" else (5, 5)], None)
    assert scan.take() is None


# -- with and without it -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["file", "memory"])
def two_vaults(request, tmp_path_factory) -> list[KVault]:
    """A vault that collects, and one that does not."""
    folder = tmp_path_factory.mktemp("vaults")
    engines = [
        kohakuvault.create_engine(
            ":memory:" if request.param == "memory" else folder / f"{rung}.db", driver="sqlite3", extension=rung
        )
        for rung in (NATIVE, "create_function")
    ]
    for engine, expected in zip(engines, [True, False], strict=True):
        assert extension.has_collect(engine.raw_connection().dbapi_connection) is expected
    return [KVault(engine) for engine in engines]


@pytest.fixture(params=["file", "memory", "transaction", "session", "no WAL"])
def kv_of_each_kind(request, tmp_path) -> Iterator[list[KVault]]:
    """A vault that collects and one that does not, on each way to read many rows."""
    with ExitStack() as stack:
        vaults = []
        for rung in (NATIVE, "create_function"):
            pragmas = {"journal_mode": "delete"} if request.param == "no WAL" else {}
            place = ":memory:" if request.param == "memory" else tmp_path / f"{rung}.db"
            engine = kohakuvault.create_engine(place, driver="sqlite3", extension=rung, pragmas=pragmas)
            stack.callback(engine.dispose)
            bind = stack.enter_context(Session(engine)) if request.param == "session" else engine
            vaults.append(KVault(bind))
            if request.param == "transaction":
                stack.enter_context(vaults[-1].transaction())
        yield vaults


def outcome(entries: Iterable[Any]) -> tuple[list[Any], str | None]:
    """What an iterator gives, with types, and the error that ends it."""
    found: list[Any] = []
    try:
        found.extend(map(repr, entries))
    except kohakuvault.KohakuVaultError as error:
        return found, f"{type(error).__name__}: {error}"
    return found, None


def everything(kv: KVault) -> dict[str, Any]:
    """The outcome of everything that reads many entries in order."""
    ways = {
        "iter": lambda: iter(kv),
        "reversed": lambda: reversed(kv),
        "keys": kv.keys,
        "values": kv.values,
        "items": kv.items,
        "values reversed": lambda: reversed(kv.values()),
        "items reversed": lambda: reversed(kv.items()),
        "range": kv.range,
        "range reversed": lambda: kv.range(reverse=True),
        "range between": lambda: kv.range(0, b"a"),
        "range from": lambda: kv.range("a", reverse=True),
        "prefix": lambda: kv.prefix("a"),
        "prefix of bytes": lambda: kv.prefix(b"", reverse=True),
        "keys limited": lambda: kv.keys(limit=3),
        "values by prefix, limited": lambda: kv.values("a", 2),
        "items by prefix, limited": lambda: kv.items("", 5),
    }
    return {name: outcome(way()) for name, way in ways.items()}


keys = st.integers(-3, 3) | st.text("ab\0ß", max_size=2) | st.binary(max_size=2) | st.sampled_from(KEYS)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=99)
values = st.recursive(
    plain, lambda some: st.lists(some, max_size=3) | st.tuples(some) | st.dictionaries(keys, some, max_size=2)
)
wrapped = values | st.booleans().map(Json) | st.text(max_size=5).map(Cbor)
damage = st.sampled_from(["x'ee'", "x''", "'text'", "1.5", "7", "x'07c1'", "x'0201'", "x'01ff'", "x'0b80044e2e'"])
damaged_keys = st.just("CAST(x'ff' AS TEXT)")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(keys, wrapped, st.sampled_from([None, None, 3600, 1e-9])), max_size=40),
    st.lists(st.tuples(st.integers(0, 40), damage), max_size=2),
    st.lists(st.tuples(st.integers(0, 40), damaged_keys), max_size=1),
    st.integers(1, 5),
    st.integers(1, 200),
)
def test_the_results_are_the_same(two_vaults, entries, damages, key_damages, rows, size):
    for kv in two_vaults:
        kv.clear()
        for key, value, ttl in entries:
            kv.put(key, value, ttl)
        with kv.engine.begin() as connection:
            for column, some in (("value", damages), ("key", key_damages)):
                for place, stored in some:
                    connection.exec_driver_sql(f"UPDATE kv SET {column} = {stored} WHERE id = {place}")
    with pytest.MonkeyPatch.context() as patch:
        for name, number in {"_FIRST": rows, "_MOST": rows * 3, "_BYTES": size}.items():
            patch.setattr(kohakuvault.kv.scan, name, number)
        collected, plain = (everything(kv) for kv in two_vaults)
    if key_damages:
        # The driver says it in its own words, and for a whole page of rows before any of them is given.
        collected, plain = (
            {way: found[1] is None or found[1][:14] for way, found in all.items() if "limited" not in way}
            for all in (collected, plain)
        )
    assert collected == plain


def test_pages_of_every_size_are_read_in_order(kv_of_each_kind):
    for kv in kv_of_each_kind:
        sizes = [10] * 3000 + [700_000, 10, 10, 300_000, 300_000] + [200] * 5000
        kv.put_many((n, bytes([n % 256]) * size) for n, size in enumerate(sizes))
        assert list(kv) == list(reversed(list(reversed(kv)))) == list(range(len(sizes)))
        for entries in (kv.items(), kv.range(), reversed(list(kv.range(reverse=True)))):
            for n, (key, value) in enumerate(entries):
                assert (key, len(value), value[0]) == (n, sizes[n], n % 256)
            assert n == len(sizes) - 1


@pytest.mark.parametrize(
    "columns", ["key, value, expires_at", "value, key, expires_at", "expires_at, key, value, id DESC"]
)
def test_indexes_of_the_users_own_do_not_change_the_order(kv_of_each_kind, columns):
    for kv in kv_of_each_kind:
        order = [(n * 7919) % 3001 for n in range(3001)]
        kv.put_many((n, str(n % 7)) for n in order)
        with kv.transaction() as connection:
            connection.exec_driver_sql(f"CREATE INDEX everything ON kv ({columns})")
            connection.exec_driver_sql("ANALYZE")
        assert list(kv) == [key for key, _ in kv.items()] == order
        assert list(reversed(kv.values())) == [str(n % 7) for n in reversed(order)]
        assert [key for key, _ in kv.range()] == sorted(order)
        assert [key for key, _ in kv.range(reverse=True)] == sorted(order, reverse=True)


def test_a_damaged_row_is_an_error_when_iteration_reaches_it(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update((n, [n]) for n in range(2000))
        with kv.transaction() as connection:
            connection.exec_driver_sql("UPDATE kv SET value = x'ee' WHERE key = 1500")
        for entries, before in (
            (kv.items(), 1500),
            (kv.range(1000), 500),
            (kv.values(), 1500),
            (reversed(kv.items()), 499),
        ):
            iterator = iter(entries)
            assert len(list(itertools.islice(iterator, before))) == before
            with pytest.raises(CorruptValue, match=r"^key 1500: stored value .* known tag"):
                next(iterator)
        assert list(kv) == list(range(2000))
        kv[1500] = 1
        assert len(list(kv.items())) == 2000


def test_iteration_that_is_left_early_leaves_nothing_open(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update((n, n) for n in range(5000))
        for _ in range(20):
            assert next(iter(kv.items())) == (0, 0)
            assert [key for key, _ in itertools.islice(kv.range(100), 70)] == list(range(100, 170))
        kv.clear()
        assert list(kv.items()) == []


def test_entries_may_be_changed_while_they_are_iterated_over(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update((n, n) for n in range(900))
        for key, value in kv.items():
            if key % 3 == 0:
                kv[key] = value + 1
            elif key % 3 == 1:
                del kv[key]
            kv[f"new {key}"] = 0
        assert sum(value for key, value in kv.items() if isinstance(key, int)) == sum(
            n + (n % 3 == 0) for n in range(900) if n % 3 != 1
        )
        assert len(kv) == 1500


def test_iterators_of_one_vault_run_interleaved(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update((n, str(n)) for n in range(3000))
        iterators = [kv.items(), kv.range(), zip(kv.keys(), kv.values(), strict=True)]
        for n, entries in enumerate(zip(*iterators, strict=True)):
            assert entries == ((n, str(n)),) * 3
        assert n == 2999


def test_a_transaction_that_ends_while_its_vault_is_iterated_over_changes_nothing(tmp_path):
    kv = KVault(tmp_path / "test.db")
    kv.update((n, n) for n in range(3000))
    with kv.transaction():
        iterator = iter(kv.items())
        first = list(itertools.islice(iterator, 10))
    assert first + list(iterator) == [(n, n) for n in range(3000)]


def test_iteration_sees_one_state_while_others_write(tmp_path):
    kv = KVault(tmp_path / "test.db")
    kv.update((n, 0) for n in range(5000))
    stop = threading.Event()

    def write() -> None:
        with KVault(tmp_path / "test.db") as other:
            for number in itertools.count(1):
                other.put_many((n, number) for n in range(5000))
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = set()
        for way in (kv.values, lambda: (value for _, value in kv.range()), lambda: reversed(kv.values())) * 5:
            found = list(way())
            assert len(found) == 5000
            assert len(set(found)) == 1
            seen.add(found[0])
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
def test_one_large_value_is_in_memory_at_a_time(tmp_path):
    def anonymous() -> int:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024

    kv = KVault(tmp_path / "test.db")
    kv.put_many((n, os.urandom(1 << 20)) for n in range(100))
    with KVault(tmp_path / "test.db") as kv:
        next(iter(kv.items()))
        for entries in (kv.items, kv.range, lambda: reversed(kv.items())):
            before, most = anonymous(), 0
            for _, value in entries():
                assert len(value) == 1 << 20
                most = max(most, anonymous())
            assert most - before < 20
