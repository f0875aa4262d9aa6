"""The buffer of the write cache: a dict that keeps keys of different types apart, and gives rows to write."""

from __future__ import annotations

import sqlite3
import sys
import threading
import uuid
from types import SimpleNamespace

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import kohakuvault
from kohakuvault import InvalidArgument, KVault, UnsupportedType, extension
from kohakuvault._native import WriteBuffer
from kohakuvault.orm.tables import KVTable
from kohakuvault.packing import pack, unpack

NO_LIMIT = sys.maxsize

keys = (
    st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)]) | st.text("ab\0ß", max_size=2) | st.binary(max_size=1)
)
values = st.none() | st.booleans() | st.integers() | st.binary(max_size=300) | st.lists(st.text(), max_size=3)
times = st.none() | st.none() | st.floats(0, 1e10)
sets = st.tuples(keys, values, times)


def filled(entries, limit=NO_LIMIT) -> WriteBuffer:
    """A buffer of ``(key, value, expires_at)``."""
    buffer = WriteBuffer()
    buffer.admit(limit)
    for key, value, expires_at in entries:
        assert buffer.put(key, value, expires_at, False) or buffer.insert(key, pack(value), expires_at, limit)
    return buffer


def pages(buffer, size, as_rows) -> list[tuple[bytes | None, list | None]]:
    """All pages, from the first to the one that is empty."""
    found, start = [], 0
    while True:
        start, rows, entries = buffer.page(start, size, as_rows)
        if rows is None and entries is None:
            return found
        found.append((rows, entries))


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    assert extension.best_rung(sqlite3.dbapi2) != "create_function", "the tests of rows would test nothing"
    engine = kohakuvault.create_engine(":memory:", driver="sqlite3")
    return engine.raw_connection().dbapi_connection


@settings(deadline=None)
@given(steps=st.lists(sets | st.just("clear"), max_size=60), lookups=st.lists(keys), size=st.integers(1, 2000))
def test_it_is_a_dict_in_the_order_of_first_insertion(connection, steps, lookups, size):
    buffer, model = WriteBuffer(), {}
    buffer.admit(NO_LIMIT)
    for step in steps:
        if step == "clear":
            assert buffer.clear() == len(model)
            model.clear()
            continue
        key, value, expires_at = step
        # Nothing is put into an empty buffer.
        assert buffer.put(key, value, expires_at, False) is bool(model)
        assert model or buffer.insert(key, pack(value), expires_at, NO_LIMIT)
        model[type(key), key] = (key, pack(value), expires_at)
        assert buffer.entries == len(model)
    entries = list(model.values())
    for key in [*lookups, *(key for key, _, _ in entries)]:
        found = model.get((type(key), key))
        assert buffer.get(key) == (found and found[1:])
    assert [entry for _, some in pages(buffer, size, False) for entry in some] == entries
    written = []
    for rows, some in pages(buffer, size, True):
        if rows is None:
            assert len(some) == 1 or all(expires_at is not None for _, _, expires_at in some)
            written += some
        else:
            assert len(rows) <= size + 1
            written += [(*row, None) for row in connection.execute("SELECT key, value FROM kv_rows(?)", (rows,))]
    assert written == entries
    assert [type(key) for key, *_ in written] == [type(key) for key, *_ in entries]


def test_what_equals_a_key_but_is_none_is_not_found():
    buffer = filled([(1, "int", None), ("1", "str", None)])
    assert [unpack(buffer.get(key)[0]) for key in (1, "1")] == ["int", "str"]
    for other in (True, 1.0, b"1", None, 2**64, "\ud800", [1], type("Text", (str,), {})("1")):
        assert buffer.get(other) is None


def test_what_cannot_be_stored_changes_nothing():
    buffer = filled([("a", 1, None)])
    size = buffer.bytes
    for wrong in (True, 1.0, None, type("Text", (str,), {})("a")):
        with pytest.raises(UnsupportedType):
            buffer.put(wrong, 1, None, False)
    for wrong in (2**63, "\ud800"):
        with pytest.raises(InvalidArgument):
            buffer.put(wrong, 1, None, False)
    for wrong in (object(), {1: object()}, "\ud800"):
        with pytest.raises((UnsupportedType, InvalidArgument)):
            buffer.put("a", wrong, None, False)
    assert (buffer.entries, buffer.bytes, buffer.get("a")) == (1, size, (pack(1), None))


def test_pickles_are_packed_only_where_they_may_be():
    buffer = filled([("a", 1, None)])
    value = SimpleNamespace(x=1)
    with pytest.raises(UnsupportedType, match="pickle"):
        buffer.put("a", value, None, False)
    assert buffer.put("a", value, None, True)
    assert unpack(buffer.get("a")[0], allow_pickle=True) == value


def test_what_would_exceed_the_limit_is_not_taken():
    buffer = filled([("a", b"x" * 100, None)])
    size = buffer.bytes
    assert 100 < size < 400
    buffer.admit(2 * size)
    assert buffer.put("b", b"x" * 100, None, False)
    assert buffer.bytes == 2 * size
    assert not buffer.put("c", b"", None, False)
    assert not buffer.put("a", b"", None, False)
    assert not buffer.insert("c", pack(b""), None, 2 * size)
    assert (buffer.entries, buffer.get("a"), buffer.get("c")) == (2, (pack(b"x" * 100), None), None)
    assert buffer.insert("a", pack(b""), None, 3 * size)
    assert buffer.bytes == 2 * size - 100
    assert buffer.clear() == 2
    assert (buffer.entries, buffer.bytes, buffer.get("a")) == (0, 0, None)
    assert not buffer.put("a", 1, None, False)


def test_at_first_nothing_is_put():
    buffer = WriteBuffer()
    assert buffer.insert("a", pack(1), None, NO_LIMIT)
    assert not buffer.put("b", 1, None, False)
    assert buffer.entries == 1


def test_there_is_no_page_behind_the_last():
    buffer = filled([("a", 1, None)])
    for as_rows in (True, False):
        assert buffer.page(0, 100, as_rows)[0] == 1
        assert buffer.page(1, 100, as_rows) == (1, None, None)
        assert buffer.page(9, 100, as_rows) == (9, None, None)


def test_a_value_may_set_others_while_it_is_pickled():
    buffer = filled([("a", 0, None)])

    class Meddles:
        def __reduce__(self):
            assert buffer.put("inner", "x" * 1000, None, False)
            return complex, (1, 2)

    assert buffer.put("outer", Meddles(), None, True)
    assert unpack(buffer.get("outer")[0], allow_pickle=True) == 1 + 2j
    assert unpack(buffer.get("inner")[0]) == "x" * 1000


def test_threads_lose_nothing_while_another_flushes(engine):
    kv = KVault(engine)
    rounds = 300
    done = threading.Event()
    wrong = []

    def write(me):
        for number in range(rounds):
            # The same few keys again and again: some of them while they are being written.
            kv[f"{me}:{number % 7}"] = number
            if kv[f"{me}:{number % 7}"] != number:
                wrong.append((me, number))

    def flush():
        while not done.is_set():
            kv.flush_cache()

    with kv.cache():
        writers = [threading.Thread(target=write, args=(me,)) for me in range(3)]
        flusher = threading.Thread(target=flush)
        for thread in (*writers, flusher):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        flusher.join()
    assert wrong == []
    last = {number % 7: number for number in range(rounds)}
    assert dict(kv) == {f"{me}:{slot}": number for me in range(3) for slot, number in last.items()}


def test_rows_that_expire_and_large_ones_keep_their_places(engine):
    kv = KVault(engine)
    with kv.cache():
        for number in range(30):
            kv.put(number, number, ttl=1000 if number % 3 else None)
            kv[f"large {number}"] = bytes([number]) * (400_000 if number % 10 == 0 else 10)
    expected = [key for number in range(30) for key in (number, f"large {number}")]
    assert list(kv) == expected
    assert [len(kv[f"large {number}"]) for number in (0, 1, 10)] == [400_000, 10, 400_000]
    assert kv.expires_at(3) is None
    assert kv.expires_at(4) is not None


class Base(DeclarativeBase):
    pass


class ByUuid(KVTable, Base):
    __tablename__ = "by_uuid"

    key: Mapped[uuid.UUID] = mapped_column(sqlalchemy.Uuid, unique=True, nullable=False)


class ByNumber(KVTable, Base):
    __tablename__ = "by_number"

    key: Mapped[float] = mapped_column(sqlalchemy.Float, unique=True, nullable=False)


@pytest.mark.parametrize(
    ("table", "keys", "waits"),
    [(ByUuid, [uuid.UUID(int=2), uuid.UUID(int=1)], True), (ByNumber, [2.5, 0.5], False)],
)
def test_keys_of_the_users_own_types_wait_where_the_driver_takes_text_or_bytes(tmp_path, table, keys, waits):
    kv = KVault(tmp_path / "a.db", table)
    with kv.cache():
        for number, key in enumerate(keys):
            kv[key] = number
            assert kv[key] == number
            assert key in kv
        assert kv.stats()["waiting"] == (len(keys) if waits else 0)
    assert list(kv.items()) == [(key, number) for number, key in enumerate(keys)]
