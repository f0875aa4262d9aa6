"""The SQL table ``kv_rows``, the buffers it reads, and the bulk operations that use it where a connection has it."""

from __future__ import annotations

import itertools
import sqlite3

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import kohakuvault
from kohakuvault import InvalidArgument, KVault, UnsupportedType, _native, extension
from kohakuvault.orm.tables import KVTable
from kohakuvault.orm.types import Packed
from kohakuvault.packing import Json, pack, unpack

NATIVE = extension.best_rung(sqlite3.dbapi2)

KEYS = ["", "a", "naïve \0 ☃", b"", b"\xff\0", 0, -1, 2**63 - 1, -(2**63), "a"]


def pairs_buffer(pairs: object, **options: object) -> bytes:
    """One buffer of all pairs."""
    buffer, large = _native.pack_rows(iter(pairs), 1 << 30, **options)
    assert large is None
    return buffer


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    assert NATIVE != "create_function", "the tests of kv_rows would test nothing"
    engine = kohakuvault.create_engine(":memory:", driver="sqlite3")
    return engine.raw_connection().dbapi_connection


@pytest.fixture
def run(connection):
    return lambda sql, *parameters: connection.execute(sql, parameters).fetchall()


# -- the table -----------------------------------------------------------------------------------------


def test_rows_come_out_as_they_went_in(run):
    pairs = [(key, number) for number, key in enumerate(KEYS)]
    found = run("SELECT position, key, value, typeof(key), typeof(value) FROM kv_rows(?)", pairs_buffer(pairs))
    kinds = {str: "text", bytes: "blob", int: "integer"}
    assert found == [(n, key, pack(n), kinds[type(key)], "blob") for n, key in enumerate(KEYS)]
    found = run("SELECT position, key, value FROM kv_rows(?)", _native.pack_keys(iter(KEYS), 1 << 20))
    assert found == [(n, key, None) for n, key in enumerate(KEYS)]


def test_a_buffer_of_no_rows_and_null_have_no_rows(run):
    for buffer in (b"\x01", b"\x02", None):
        assert run("SELECT * FROM kv_rows(?)", buffer) == []


def test_columns_are_position_key_value_and_the_hidden_argument(run):
    buffer = pairs_buffer([("a", None)])
    assert run("SELECT * FROM kv_rows(?)", buffer) == [(0, "a", pack(None))]
    assert run('SELECT rowid, "rows" FROM kv_rows(?)', buffer) == [(0, buffer)]
    assert run('SELECT key FROM kv_rows WHERE "rows" = ?', buffer) == [("a",)]
    other = pairs_buffer([("b", None)])
    assert run('SELECT key FROM kv_rows(?) WHERE "rows" = ?', buffer, other) == []
    assert run('SELECT key FROM kv_rows(?) WHERE "rows" = ?', buffer, buffer) == [("a",)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("key FROM kv_rows(?1) LIMIT 2", [(0,), (1,)]),
        ("key FROM kv_rows(?1) LIMIT 2 OFFSET 8", [(8,), (9,)]),
        ("key FROM kv_rows(?1) ORDER BY position DESC LIMIT 2", [(9,), (8,)]),
        ("key FROM kv_rows(?1) ORDER BY position LIMIT 1", [(0,)]),
        ("key FROM kv_rows(?1) ORDER BY key % 3, position LIMIT 4", [(0,), (3,), (6,), (9,)]),
        ("key FROM kv_rows(?1) WHERE position = 3 OR key > 7", [(3,), (8,), (9,)]),
        ("count(*), max(key), max(value) FROM kv_rows(?1)", [(10, 9, pack(9))]),
        ("a.key FROM kv_rows(?1) a JOIN kv_rows(?1) b ON a.key = b.key + 8", [(8,), (9,)]),
        ("1 WHERE 4 IN (SELECT key FROM kv_rows(?1))", [(1,)]),
        ("(SELECT count(*) FROM kv_rows(t.b)) FROM (SELECT ?1 AS b UNION ALL SELECT x'01') t", [(10,), (0,)]),
    ],
)
def test_it_is_a_table_like_any_other(run, sql, expected):
    assert run(f"SELECT {sql}", pairs_buffer((n, n) for n in range(10))) == expected


def test_the_order_of_positions_costs_no_sorting(run):
    plan = run("EXPLAIN QUERY PLAN SELECT key FROM kv_rows(?) ORDER BY position", b"\x01")
    assert not any("TEMP B-TREE" in row[-1] for row in plan)
    plan = run("EXPLAIN QUERY PLAN SELECT key FROM kv_rows(?) ORDER BY position DESC", b"\x01")
    assert any("TEMP B-TREE" in row[-1] for row in plan)


def test_an_argument_may_come_from_another_table_and_its_values_outlive_it(connection):
    connection.execute("CREATE TEMP TABLE buffers (n, b)")
    buffers = [(n, pairs_buffer((f"{n}:{m}", bytes([n]) * 1000) for m in range(3))) for n in range(50)]
    connection.executemany("INSERT INTO buffers VALUES (?, ?)", buffers)
    # Whichever table is named first, and with values that are kept while the argument changes.
    for tables in ("buffers, kv_rows(b) r", "kv_rows(b) r, buffers"):
        sql = f"SELECT n, max(r.value), min(r.key), r.value FROM {tables} GROUP BY n ORDER BY n"
        for n, value, key, _ in connection.execute(sql).fetchall():
            assert (unpack(value), key) == (bytes([n]) * 1000, f"{n}:0")
        found = connection.execute(f"SELECT max(r.value), max(r.key) FROM {tables}").fetchall()
        assert found == [(pack(bytes([49]) * 1000), "9:2")]
    sql = "SELECT n FROM buffers LEFT JOIN kv_rows(CASE WHEN n < 2 THEN b END) ORDER BY n"
    assert [n for (n,) in connection.execute(sql)] == [0, 0, 0, 1, 1, 1, *range(2, 50)]
    connection.execute("DROP TABLE buffers")


def test_a_statement_is_run_again_and_several_at_once(connection):
    buffers = [pairs_buffer((n, str(n) * n) for n in range(count)) for count in (3, 0, 100)]
    sql = "SELECT key, value FROM kv_rows(?)"
    cursors = [connection.execute(sql, (buffer,)) for buffer in buffers * 2]
    found: list[list[tuple[int, bytes]]] = [[] for _ in cursors]
    for rows in itertools.zip_longest(*cursors):
        for into, row in zip(found, rows, strict=True):
            into.extend([row] if row else [])
    assert [len(rows) for rows in found] == [3, 0, 100] * 2
    assert all(unpack(value) == str(key) * key for rows in found for key, value in rows)


def test_views_and_triggers_may_use_it_where_the_schema_is_not_trusted(tmp_path):
    with kohakuvault.create_engine(tmp_path / "test.db", pragmas={"trusted_schema": 0}).begin() as connection:
        buffer = pairs_buffer([("a", 1)]).hex()
        connection.exec_driver_sql(f"CREATE VIEW v AS SELECT key FROM kv_rows(x'{buffer}')")
        assert connection.exec_driver_sql("SELECT * FROM v").fetchall() == [("a",)]


def test_a_database_in_utf16_gives_the_same_text():
    engine = kohakuvault.create_engine(":memory:", driver="sqlite3", pragmas={"encoding": None})
    connection = engine.raw_connection().dbapi_connection
    connection.execute("PRAGMA encoding = 'UTF-16le'")
    connection.execute("CREATE TABLE t (k)")
    assert connection.execute("PRAGMA encoding").fetchone() == ("UTF-16le",)
    found = connection.execute("SELECT key FROM kv_rows(?)", (_native.pack_keys(iter(KEYS), 1 << 20),)).fetchall()
    assert [key for (key,) in found] == KEYS


# -- hostile arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("kv_rows", "argument is missing"),
        ("kv_rows()", "argument is missing"),
        ("kv_rows(1)", "INTEGER given; expected a BLOB"),
        ("kv_rows(1.5)", "REAL given; expected a BLOB"),
        ("kv_rows('text')", "TEXT given; expected a BLOB"),
        ("kv_rows(x'01', 2)", "too many arguments"),
        ("kv_rows(x'')", "byte 0: it is empty"),
        ("kv_rows(x'00')", "byte 0: unknown kind of buffer"),
        ("kv_rows(x'0104')", "byte 1: unknown kind of key"),
        ("kv_rows(x'0101')", "byte 1: it ends too early"),
        ("kv_rows(x'0102ffffffff61')", "byte 1: it ends too early"),
        ("kv_rows(x'0203ffffffff')", "byte 1: it ends too early"),
        ("kv_rows(x'010201000000ff')", "not UTF-8"),
        ("kv_rows(x'0203000000000000000009')", "byte 10: unknown kind of key"),
        ("kv_rows(zeroblob(1000000))", "unknown kind of buffer"),
    ],
)
def test_what_is_no_buffer_is_an_sql_error(run, call, message):
    with pytest.raises(sqlite3.OperationalError, match=message):
        run(f"SELECT * FROM {call}")
    assert run("SELECT count(*) FROM kv_rows(x'01')") == [(0,)]


@pytest.mark.parametrize(
    "sql", ["INSERT INTO kv_rows VALUES (1, 2, 3)", "DELETE FROM kv_rows(x'01')", "DROP TABLE kv_rows"]
)
def test_it_is_read_only(connection, sql):
    with pytest.raises(sqlite3.OperationalError):
        connection.execute(sql)


def test_there_is_no_other_table_of_the_module(connection):
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("CREATE VIRTUAL TABLE t USING kv_rows")


def test_every_truncation_is_an_error_or_fewer_rows(run):
    buffer = pairs_buffer(zip(KEYS, KEYS, strict=True))
    whole = run("SELECT position, key, value FROM kv_rows(?)", buffer)
    counts = set()
    for length in range(len(buffer)):
        try:
            found = run("SELECT position, key, value FROM kv_rows(?)", buffer[:length])
        except sqlite3.OperationalError as error:
            assert "not a buffer of rows" in str(error)  # noqa: PT017
        else:
            assert found == whole[: len(found)]
            counts.add(len(found))
    assert counts == set(range(len(KEYS)))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\x01", b"\x02", b"\x01\x02", b"\x02\x01"]))
def test_any_bytes_are_rows_or_an_error(connection, data, head):
    try:
        rows = connection.execute("SELECT key, value FROM kv_rows(?)", (head + data,)).fetchall()
    except sqlite3.OperationalError as error:
        assert "not a buffer of rows" in str(error)  # noqa: PT017
    else:
        assert all(type(key) in (int, str, bytes) for key, _ in rows)


# -- buffers -------------------------------------------------------------------------------------------


def test_an_iterator_is_read_until_the_buffer_is_full(run):
    rest = iter([(n, b"x" * 100) for n in range(100)])
    buffers = []
    while (filled := _native.pack_rows(rest, 1000)) != (None, None):
        assert filled[1] is None
        buffers.append(filled[0])
    assert all(1000 <= len(buffer) < 1200 for buffer in buffers[:-1])
    assert [key for buffer in buffers for (key,) in run("SELECT key FROM kv_rows(?)", buffer)] == list(range(100))
    rest = iter(range(100))
    buffers = list(iter(lambda: _native.pack_keys(rest, 100), None))
    assert [key for buffer in buffers for (key,) in run("SELECT key FROM kv_rows(?)", buffer)] == list(range(100))
    assert len(buffers) > 5


def test_a_pair_larger_than_a_buffer_is_handed_back(run):
    large = ("b", b"x" * 1000)
    rest = iter([("a", 1), large, ("c", 3), ["d", b"y" * 1000]])
    buffer, pair = _native.pack_rows(rest, 500)
    assert (run("SELECT key FROM kv_rows(?)", buffer), pair) == ([("a",)], large)
    assert pair is large
    buffer, pair = _native.pack_rows(rest, 500)
    assert (run("SELECT key FROM kv_rows(?)", buffer), pair) == ([("c",)], ("d", b"y" * 1000))
    assert _native.pack_rows(iter([large]), 500) == (None, large)
    assert _native.pack_rows(rest, 500) == (None, None)


def test_values_are_packed_as_pack_does(run):
    values = [None, True, 1, 2**70, 1.5, "x", b"y", {"a": [1, (2,)]}, [1], {1, 2}, 1j, np.arange(3), Json([1])]
    values += [np.float32(1), [np.arange(2)], frozenset("a")]
    found = run("SELECT value FROM kv_rows(?)", pairs_buffer(enumerate(values)))
    assert [value for (value,) in found] == [pack(value) for value in values]
    for options in ({"encoding": "json"}, {"encoding": "pickle", "allow_pickle": True}, {"allow_pickle": True}):
        some = [[1, "x"], {"a": None}]
        found = run("SELECT value FROM kv_rows(?)", pairs_buffer(enumerate(some), **options))
        assert [value for (value,) in found] == [pack(value, **options) for value in some]
    found = run("SELECT value FROM kv_rows(?)", pairs_buffer([("a", object)], allow_pickle=True))
    assert unpack(found[0][0], allow_pickle=True) is object


def test_values_may_be_packed_already(run):
    assert run("SELECT value FROM kv_rows(?)", pairs_buffer([("a", b"\x02")], packed=True)) == [(b"\x02",)]
    with pytest.raises(UnsupportedType, match=r"packed values are bytes, not 'x' of type builtins\.str"):
        pairs_buffer([("a", "x")], packed=True)


class Text(str):
    pass


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (
            1.5,
            UnsupportedType,
            r"a key is str, bytes or int, not float: 1\.5\. Convert it, for instance with str\(\) or int\(\)",
        ),
        (True, UnsupportedType, "not bool: True"),
        (None, UnsupportedType, "not NoneType: None"),
        (bytearray(b"x"), UnsupportedType, "not bytearray"),
        (Text("x"), UnsupportedType, "not Text: 'x'"),
        (("x" * 100,), UnsupportedType, r"not tuple: \('x{58}\. Convert"),
        ("\ud800x", InvalidArgument, r"key '\\ud800x' has a lone surrogate, .* use its bytes as the key"),
        (2**63, InvalidArgument, "key 9223372036854775808 is beyond 64 bits; integer keys are .* Use str"),
        (-(2**63) - 1, InvalidArgument, "key -9223372036854775809 is beyond 64 bits"),
        (10**5000, InvalidArgument, "key of thousands of digits is beyond 64 bits"),
    ],
    ids=lambda value: f"{value!r:.20}" if not isinstance(value, int) or abs(value) < 2**70 else "large",
)
def test_what_cannot_be_a_key_is_a_named_error_everywhere(kv_of_each_kind, key, error, message):
    for call in (
        lambda: _native.check_key(key),
        lambda: pairs_buffer([(key, 1)]),
        lambda: _native.pack_keys(iter([key]), 100),
        *(lambda kv=kv: kv.put_many([("a", 1), (key, 1)]) for kv in kv_of_each_kind),
        *(lambda kv=kv: kv.get_many(["a", key]) for kv in kv_of_each_kind),
        *(lambda kv=kv: kv[key] for kv in kv_of_each_kind),
    ):
        with pytest.raises(error, match=f"^{message}|{message}"):
            call()
    assert [len(kv) for kv in kv_of_each_kind] == [0, 0]


def test_a_key_is_returned_as_it_is():
    for key in KEYS:
        assert _native.check_key(key) is key


@pytest.mark.parametrize("item", [1, None, (), ("a",), ("a", 1, 2), "abc", ["a"]], ids=repr)
def test_what_is_no_pair_is_a_named_error(kv_of_each_kind, item):
    for kv in kv_of_each_kind:
        with pytest.raises(InvalidArgument, match="expected pairs of key and value, not"):
            kv.put_many([("a", 1), item])
        assert len(kv) == 0


def test_pairs_may_be_any_iterables_of_two(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.put_many(["ab", ["c", 1], iter(("d", 2)), {"e": 0, "f": 0}])
        assert dict(kv) == {"a": "b", "c": 1, "d": 2, "e": "f"}


# -- with and without kv_rows --------------------------------------------------------------------------


@pytest.fixture
def kv_of_each_kind(tmp_path) -> list[KVault]:
    """A vault whose connections have kv_rows, and one whose connections have not."""
    engines = [
        kohakuvault.create_engine(tmp_path / f"{rung}.db", extension=rung) for rung in (NATIVE, "create_function")
    ]
    for engine, expected in zip(engines, [True, False], strict=True):
        assert extension.has_rows(engine.raw_connection().dbapi_connection) is expected
    return [KVault(engine) for engine in engines]


keys = st.integers(-3, 3) | st.text("ab\0ß", max_size=2) | st.binary(max_size=1)
values = st.none() | st.integers() | st.binary(max_size=40) | st.lists(st.booleans(), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(keys, values), max_size=30), max_size=3), st.lists(keys), st.integers(1, 100))
def test_the_results_are_the_same(batches, wanted, size):
    engines = [
        kohakuvault.create_engine(":memory:", driver="sqlite3", extension=rung) for rung in (NATIVE, "create_function")
    ]
    vaults = [KVault(engine) for engine in engines]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kohakuvault.kv.many, "_ROWS", size)
        patch.setattr(kohakuvault.kv.many, "_KEYS", size)
        for kv in vaults:
            for batch in batches:
                kv.put_many(batch)
        native, plain = vaults
        assert list(native.items()) == list(plain.items())
        want = {}
        for key, value in itertools.chain.from_iterable(batches):
            want[type(key), key] = value
        assert list(native.items()) == [(key, value) for (_, key), value in want.items()]
        missing = object()
        expected = [want.get((type(key), key), missing) for key in wanted]
        assert native.get_many(wanted, missing) == plain.get_many(wanted, missing) == expected
        assert native.delete_many(wanted) == plain.delete_many(wanted)
        assert list(native.items()) == list(plain.items())


def test_many_large_values_are_written_from_a_generator(kv_of_each_kind):
    for kv in kv_of_each_kind:
        sizes = [10, 3_000_000, 700_000, 700_000, 10, 1_100_000]
        kv.put_many((n, bytes([n]) * size) for n, size in enumerate(sizes))
        assert [(key, len(value), value[:1]) for key, value in kv.items()] == [
            (n, size, bytes([n])) for n, size in enumerate(sizes)
        ]
        assert [len(value) for value in kv.get_many(range(6))] == sizes


def test_a_generator_that_fails_late_leaves_everything_as_it_was(kv_of_each_kind):
    def failing():
        yield from ((n, b"x" * 1000) for n in range(5000))
        raise RuntimeError("half-way")

    for kv in kv_of_each_kind:
        kv.put_many([(1, "old"), ("a", "old")])
        with pytest.raises(RuntimeError, match="half-way"):
            kv.put_many(failing())
        with pytest.raises(UnsupportedType, match="cannot store"):
            kv.put_many(itertools.chain(((n, 1) for n in range(100_000)), [("b", object())]))
        assert dict(kv) == {1: "old", "a": "old"}
        kv["b"] = 1
        assert len(kv) == 3


def test_a_vault_is_copied_into_another_of_the_same_file(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update((n, b"x" * 5000) for n in range(2000))
        copy = KVault(kv, "copy")
        copy.update(kv)
        assert list(copy) == list(range(2000))
        kv |= kv
        assert list(kv) == list(range(2000))


def test_missing_keys_repeated_keys_and_defaults(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update({1: None, "1": [1]})
        first, second, *others = kv.get_many(["1", "1", 1, b"1", 2, ""], default="none")
        assert (first, second, others) == ([1], [1], [None, "none", "none", "none"])
        assert kv.get_many(iter([1] * 20_000)) == [None] * 20_000


def test_a_damaged_value_is_an_error_and_leaves_the_connection_usable(kv_of_each_kind):
    for kv in kv_of_each_kind:
        kv.update((n, n) for n in range(1000))
        with kv.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE kv SET value = x'ee' WHERE key = 500")
        with pytest.raises(kohakuvault.CorruptValue):
            kv.get_many(range(1000))
        kv[500] = 500
        assert kv.get_many(range(1000)) == list(range(1000))


def test_a_session_of_an_engine_that_knows_nothing_of_us_does_without(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/test.db")
    with Session(engine) as session:
        kv = KVault(session)
        kv.put_many([("a", 1), ("b", 2), ("a", 3)])
        assert kv.get_many(["a", "b", "c"]) == [3, 2, None]
        session.rollback()
    with Session(kohakuvault.create_engine(tmp_path / "test.db")) as session:
        kv = KVault(session)
        kv.put_many([("a", 1), ("b", 2), ("a", 3)])
        assert kv.get_many(["a", "b", "c"]) == [3, 2, None]
        session.rollback()
        assert len(kv) == 0


class Base(DeclarativeBase):
    pass


class Settings(KVTable, Base):
    __tablename__ = "settings"

    note: Mapped[str | None] = mapped_column()
    value: Mapped[object] = mapped_column(Packed(encoding="json"), nullable=False)


class Raw(sqlalchemy.TypeDecorator):
    """A value with the user's own way of packing."""

    impl = sqlalchemy.LargeBinary
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return pack(value)[::-1]


class Odd(KVTable, Base):
    __tablename__ = "odd"

    value: Mapped[object] = mapped_column(Raw(), nullable=False)


def test_values_are_packed_as_the_mapped_class_says(kv_of_each_kind):
    for kv in kv_of_each_kind:
        table = KVault(kv, Settings)
        table.put_many([("a", [1]), ("b", "x")])
        odd = KVault(kv, Odd)
        odd.put_many([("a", "xyz")])
        with kv.engine.connect() as connection:
            stored = connection.exec_driver_sql("SELECT key, value FROM settings").fetchall()
            assert stored == [("a", b"\x09[1]"), ("b", b'\x09"x"')]
            assert connection.exec_driver_sql("SELECT value FROM odd").scalar() == b"zyx\x01"
        with pytest.raises(UnsupportedType):
            table.put_many([("c", (1, 2))])
        assert table.get_many("ab") == [[1], "x"]


class Dated(KVTable, Base):
    __tablename__ = "dated"

    by: Mapped[str] = mapped_column(default="me")
    made: Mapped[int] = mapped_column(default=lambda: 5)
    changed: Mapped[int | None] = mapped_column(onupdate=lambda: 7)


def test_columns_of_a_mapped_class_have_their_defaults(kv_of_each_kind):
    for kv in kv_of_each_kind:
        table = KVault(kv, Dated)
        table["a"] = 1
        table.put_many([("b", 2), ("c", 3)])
        assert table.setdefault("d", 4) == 4
        table.incr("d")
        with kv.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT key, by, made, changed FROM dated ORDER BY id").fetchall()
        assert rows == [("a", "me", 5, None), ("b", "me", 5, None), ("c", "me", 5, None), ("d", "me", 5, 7)]
        assert table.copy() == {"a": 1, "b": 2, "c": 3, "d": 5}
