"""Files and large values of KVault: put_file, get_to_file, open."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import zipfile

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Session

import kohakuvault
from kohakuvault import (
    CorruptValue,
    InvalidArgument,
    KohakuVaultError,
    KVault,
    NotFound,
    ReaderFailed,
    SchemaMismatch,
    StreamLost,
    UnsupportedType,
)
from kohakuvault.orm.tables import KVTable
from kohakuvault.packing import ChunkedBytes, Pickle, pack, unpack

CHUNK = 10
DATA = bytes(range(35))  # four chunks


@pytest.fixture
def kv(bind) -> KVault:
    return KVault(bind)


def put(kv: KVault, key: object = "file", data: bytes = DATA) -> None:
    kv.put_file(key, data, chunk_size=CHUNK)


def stored(kv: KVault) -> int:
    """How many bytes the chunk table holds."""
    return sum(size for _, size in kv.binding.all(kv._streams._sql.streams))


def execute(kv: KVault, sql: str, **values: object) -> None:
    """What another program, or the application, does to the tables."""
    with kv.transaction() as connection:
        connection.execute(sqlalchemy.text(sql), values)


# -- there and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_a_file_comes_back_by_every_way_of_reading(kv, length):
    data = os.urandom(length)
    kv["before"] = 1
    assert kv.put_file("file", io.BytesIO(data), chunk_size=CHUNK) == length
    kv["after"] = 2
    assert kv["file"] == data
    assert type(kv["file"]) is bytes
    assert kv.get("file") == data
    assert kv.setdefault("file") == data
    with kv.open("file") as file:
        assert file.read() == data
    target = io.BytesIO()
    assert kv.get_to_file("file", target) == length
    assert target.getvalue() == data
    assert kv.get_many(["after", "file", "none"]) == [2, data, None]
    assert list(kv.items()) == [("before", 1), ("file", data), ("after", 2)]
    assert list(reversed(kv.items())) == [("after", 2), ("file", data), ("before", 1)]
    assert list(kv.values()) == [1, data, 2]
    assert list(reversed(kv.values())) == [2, data, 1]
    assert list(kv.range("f")) == [("file", data)]
    assert kv.last() == ("file", data)
    assert kv.copy() == kv == {"before": 1, "file": data, "after": 2}
    assert kv.pop("file") == data
    assert "file" not in kv
    assert kv._streams.damaged() == []


def test_the_entry_keeps_its_place_and_key(kv):
    kv.update({1: "a", b"k": "b", "k": "c"})
    put(kv, b"k")
    assert list(kv.items()) == [(1, "a"), (b"k", DATA), ("k", "c")]


def test_popitem_gives_the_bytes(kv):
    put(kv)
    assert kv.popitem() == ("file", DATA)
    assert stored(kv) == 0


def test_compare_and_swap_compares_the_bytes(kv):
    put(kv)
    assert not kv.replace("file", DATA[:-1] + b"x", "new")
    assert not kv.replace("file", DATA + b"x", "new")
    assert not kv.replace("none", DATA, "new")
    assert kv.replace("file", DATA, "new")
    assert (kv["file"], stored(kv)) == ("new", 0)


def test_numbers_are_not_added_to_bytes(kv):
    put(kv)
    with pytest.raises(UnsupportedType, match="bytes"):
        kv.incr("file")


class Trickle:
    """Gives a byte or two at a time, in a buffer that it uses again."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._buffer = bytearray(2)

    def read(self, size: int) -> memoryview:
        count = self._file.readinto(memoryview(self._buffer)[: min(size, 2)])
        return memoryview(self._buffer)[:count]


@pytest.mark.parametrize(
    "reader",
    [
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        memoryview(bytes(byte for pair in zip(DATA, DATA, strict=True) for byte in pair))[::2],
        io.BytesIO(DATA),
        Trickle(DATA),
    ],
    ids=["bytes", "bytearray", "memoryview", "strided", "file", "trickle"],
)
def test_what_can_be_read(reader):
    kv = KVault(":memory:")
    assert kv.put_file("file", reader, chunk_size=CHUNK) == len(DATA)
    assert kv["file"] == DATA


def test_paths_are_read_and_written(tmp_path):
    kv = KVault(":memory:")
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    seen = []
    kv.put_file("file", source, chunk_size=CHUNK, progress=lambda *state: seen.append(state))
    assert seen == [(10, 35), (20, 35), (30, 35), (35, 35)]
    assert kv.get_to_file("file", target) == 35
    assert target.read_bytes() == DATA
    with pytest.raises(FileNotFoundError):
        kv.put_file("file", tmp_path / "none")
    with pytest.raises(NotFound):
        kv.get_to_file("none", target)
    assert target.read_bytes() == DATA


def test_only_size_bytes_are_read():
    kv = KVault(":memory:")
    for size in (0, 5, 10, 20, 25):
        file = io.BytesIO(DATA)
        assert kv.put_file("file", file, size=size, chunk_size=CHUNK) == size
        assert kv["file"] == DATA[:size]
        assert file.read() == DATA[size:]
    kv.put_file("file", DATA, size=12, chunk_size=CHUNK)
    assert kv["file"] == DATA[:12]


def test_progress_is_told_after_each_chunk():
    kv = KVault(":memory:")
    seen = []

    def note(done: int, total: int | None) -> None:
        seen.append((done, total))

    kv.put_file("file", io.BytesIO(DATA), chunk_size=CHUNK, progress=note)
    assert seen == [(10, None), (20, None), (30, None), (35, None)]
    seen.clear()
    kv.put_file("file", io.BytesIO(DATA), size=15, chunk_size=CHUNK, progress=note)
    assert seen == [(10, 15), (15, 15)]
    seen.clear()
    kv.get_to_file("file", io.BytesIO(), progress=note)
    assert seen == [(10, 15), (15, 15)]
    seen.clear()
    kv.get_to_file("file", io.BytesIO(), chunk_size=4, progress=note)
    assert seen == [(4, 15), (8, 15), (10, 15), (14, 15), (15, 15)]


def test_a_writer_may_take_less_than_it_is_given():
    class Slow(io.RawIOBase):
        taken = b""

        def write(self, data: bytes) -> int:
            self.taken += bytes(data[:3])
            return min(3, len(data))

    kv = KVault(":memory:")
    put(kv)
    writer = Slow()
    assert kv.get_to_file("file", writer) == 35
    assert writer.taken == DATA


def test_the_time_of_expiry_is_stored(kv):
    put(kv)
    for data in (b"small", DATA):
        kv.put_file("file", data, chunk_size=CHUNK, ttl=60)
        with kv.transaction() as connection:
            row = connection.execute(sqlalchemy.select(kv.entity.__table__.c.expires_at)).scalar_one()
        assert row is not None
        kv.put_file("file", data, chunk_size=CHUNK)
        with kv.transaction() as connection:
            assert connection.execute(sqlalchemy.select(kv.entity.__table__.c.expires_at)).scalar_one() is None


# -- the file object -----------------------------------------------------------------------------------


seeks = st.tuples(st.just("seek"), st.integers(0, 45))
ends = st.tuples(st.just("end"), st.integers(-35, 5))
reads = st.tuples(st.sampled_from(["read", "read1", "peeked", "readinto"]), st.integers(0, 40))
lines = st.tuples(st.sampled_from(["readline", "readall", "tell"]), st.just(0))


@given(st.binary(max_size=35) | st.just(DATA), st.lists(seeks | ends | reads | lines, max_size=20), st.booleans())
def test_it_reads_as_a_file_in_memory_does(data, actions, buffered):
    kv = KVault(":memory:")
    put(kv, data=data)
    file = kv.open("file")
    expected = io.BytesIO(data)
    if not buffered:
        # Every read comes to the chunks.
        file = io.BufferedReader(file.detach(), buffer_size=1)
    for action, number in actions:
        if action == "seek":
            assert file.seek(number) == expected.seek(number)
        elif action == "end":
            position = max(len(data) + number, 0)
            assert file.seek(position - len(data), 2) == expected.seek(position)
        elif action == "read":
            assert file.read(number) == expected.read(number)
        elif action == "read1":
            piece = file.read1(number)
            assert piece == expected.read(len(piece))
            assert piece or number == 0 or expected.tell() >= len(data)
        elif action == "readinto":
            buffers = bytearray(number), bytearray(number)
            assert file.readinto(buffers[0]) == expected.readinto(buffers[1])
            assert buffers[0] == buffers[1]
        elif action == "readline":
            assert file.readline() == expected.readline()
        elif action == "readall":
            assert file.read() == expected.read()
        else:
            assert file.tell() == expected.tell()


@pytest.mark.parametrize("length", [5, 35])
def test_it_is_a_binary_file(length):
    kv = KVault(":memory:")
    put(kv, data=DATA[:length])
    with kv.open("file") as file:
        assert isinstance(file, io.BufferedReader)
        assert (file.name, file.mode, file.closed) == ("file", "rb", False)
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert file.seek(3) == file.tell() == 3
        assert file.seek(-1, io.SEEK_END) == length - 1
        assert file.read(5) == DATA[length - 1 : length]
        for wrong in ((-1, 0), (-length - 1, 2), (0, 7)):
            with pytest.raises(ValueError, match=r"seek|whence"):
                file.seek(*wrong)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.read()
    put(kv, 7)
    put(kv, b"k")
    assert (kv.open(7).name, kv.open(b"k").name) == ("7", b"k")


def test_what_reads_files_reads_it(tmp_path):
    kv = KVault(":memory:")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "first\nsecond ☃\n" * 50)
        archive.writestr("b.bin", os.urandom(500))
    kv.put_file("archive.zip", packed.getvalue(), chunk_size=CHUNK)
    with kv.open("archive.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("a.txt").decode() == "first\nsecond ☃\n" * 50
        # A member of the archive is a reader too.
        with archive.open("a.txt") as member:
            kv.put_file("a.txt", member, chunk_size=CHUNK)
    with io.TextIOWrapper(kv.open("a.txt"), encoding="utf-8") as text:
        assert list(text) == ["first\n", "second ☃\n"] * 50
    with kv.open("archive.zip") as source, (tmp_path / "copy").open("wb") as target:
        shutil.copyfileobj(source, target)
    assert (tmp_path / "copy").read_bytes() == packed.getvalue()


def test_an_entry_can_be_copied_to_another(kv):
    put(kv)
    with kv.open("file") as file:
        kv.put_file("copy", file, chunk_size=7)
    del kv["file"]
    assert kv["copy"] == DATA


def test_an_open_file_outlives_its_vault(tmp_path):
    with KVault(tmp_path / "test.db") as kv:
        put(kv)
        file = kv.open("file")
    del kv
    assert file.read() == DATA


def test_only_bytes_can_be_opened(kv):
    kv["text"] = "text"
    for read in (kv.open, lambda key: kv.get_to_file(key, io.BytesIO())):
        with pytest.raises(UnsupportedType, match=r"'text' is of type str"):
            read("text")
        with pytest.raises(NotFound, match="no key 'none'"):
            read("none")


@pytest.fixture
def shared(engine) -> KVault:
    return KVault(engine)


@pytest.mark.parametrize("change", ["put", "put_file", "delete"])
def test_a_file_that_is_replaced_while_it_is_open_ends_with_an_error(shared, engine, change):
    put(shared)
    file, other = shared.open("file"), shared.open("file").detach()
    assert other.read(3) == DATA[:3]
    writer = KVault(engine)
    if change == "put":
        writer["file"] = "other"
    elif change == "put_file":
        put(writer, data=DATA[::-1])
    else:
        del writer["file"]
    # The chunk that is in memory is right, whatever happened since.
    assert other.read(20) == DATA[3:10]
    with pytest.raises(StreamLost, match="replaced or removed meanwhile"):
        other.read(1)
    with pytest.raises(OSError, match="replaced or removed meanwhile"):
        file.read()


def test_replacing_while_it_is_copied_out_changes_nothing(shared, engine):
    put(shared)
    writer = KVault(engine)

    class Target(io.BytesIO):
        def write(self, data):
            writer["file"] = "other"
            return super().write(data)

    target = Target()
    assert shared.get_to_file("file", target) == 35
    assert target.getvalue() == DATA
    assert shared["file"] == "other"


# -- readers that fail ---------------------------------------------------------------------------------


class Failing:
    """Gives 25 bytes, then whatever there is to go wrong."""

    def __init__(self, fail) -> None:
        self._file = io.BytesIO(DATA[:25])
        self._fail = fail

    def read(self, size: int) -> object:
        return self._file.read(size) or self._fail()


def lost() -> bytes:
    raise ConnectionResetError("the peer is gone")


def interrupted() -> bytes:
    raise KeyboardInterrupt


FAILURES = {
    "short": (lambda: io.BytesIO(DATA[:25]), ReaderFailed, "after 25 of 35 bytes"),
    "no bytes": (lambda: io.BytesIO(b""), ReaderFailed, "after 0 of 35 bytes"),
    "error": (lambda: Failing(lost), ReaderFailed, "ConnectionResetError: the peer is gone"),
    "interrupt": (lambda: Failing(interrupted), KeyboardInterrupt, None),
    "text": (lambda: io.StringIO("text" * 10), UnsupportedType, "binary mode"),
    "text chunk": (lambda: Failing(lambda: "text"), UnsupportedType, "binary mode"),
    "none": (lambda: Failing(lambda: None), ReaderFailed, "returned None"),
    "list": (lambda: Failing(lambda: [1]), UnsupportedType, "not list"),
    "too much": (lambda: Failing(lambda: b"x" * 100), ReaderFailed, "returned 100 bytes"),
    "no reader": (lambda: 5, UnsupportedType, "binary file object"),
    "path as text": (lambda: "data.bin", UnsupportedType, "pathlib.Path"),
}


@pytest.mark.parametrize("old", [b"old", bytes(21), None], ids=["plain", "chunks", "absent"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_reader_that_fails_leaves_the_old_value(shared, failure, old):
    fails_and_leaves(shared, failure, old)


@pytest.mark.parametrize("failure", ["short", "interrupt"])
def test_with_every_bind_a_reader_that_fails_leaves_the_old_value(kv, failure):
    fails_and_leaves(kv, failure, bytes(21))


def fails_and_leaves(kv: KVault, failure: str, old: bytes | None) -> None:
    if old is not None:
        put(kv, data=old)
    make, error, message = FAILURES[failure]
    with pytest.raises(error, match=message) as caught:
        kv.put_file("file", make(), size=35, chunk_size=CHUNK)
    assert failure != "error" or isinstance(caught.value.__cause__, ConnectionResetError)
    assert kv.get("file") == old
    assert kv._streams.orphans() == {}
    put(kv)
    assert kv["file"] == DATA


def test_a_progress_function_that_raises_stops_it(kv):
    put(kv, data=b"old")

    def stop(done: int, total: int | None) -> None:
        if done > 20:
            raise LookupError("cancelled")

    with pytest.raises(LookupError, match="cancelled"):
        kv.put_file("file", DATA, chunk_size=CHUNK, progress=stop)
    assert kv["file"] == b"old"
    assert kv._streams.orphans() == {}


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"size": -1}, InvalidArgument),
        ({"size": 2.5}, UnsupportedType),
        ({"size": True}, UnsupportedType),
        ({"chunk_size": 0}, InvalidArgument),
        ({"chunk_size": 2**40}, InvalidArgument),
        ({"chunk_size": "1"}, UnsupportedType),
    ],
)
def test_arguments_that_mean_nothing_are_refused(keywords, error):
    kv = KVault(":memory:")
    with pytest.raises(error, match=next(iter(keywords))):
        kv.put_file("file", DATA, **keywords)
    with pytest.raises(UnsupportedType, match="a key is"):
        kv.put_file(1.5, Failing(lost))
    assert len(kv) == 0


# -- transactions --------------------------------------------------------------------------------------


def test_a_transaction_that_is_rolled_back_takes_the_file_back(kv):
    put(kv, data=bytes(21))
    with contextlib.suppress(LookupError), kv.transaction():
        put(kv)
        put(kv, "new")
        assert kv["file"] == kv["new"] == DATA
        raise LookupError
    assert dict(kv) == {"file": bytes(21)}
    assert stored(kv) == 21


def test_the_first_file_may_be_rolled_back_with_its_table(kv):
    kv["before"] = 1
    with contextlib.suppress(LookupError), kv.transaction():
        put(kv)
        raise LookupError
    assert dict(kv) == {"before": 1}
    assert kv._streams.orphans() == {}
    put(kv)
    assert kv["file"] == DATA
    del kv["file"]
    assert stored(kv) == 0


def test_a_session_commits_or_rolls_back(engine):
    with Session(engine) as session:
        put(KVault(session))
        session.rollback()
        assert "file" not in KVault(session)
        put(KVault(session))
        with contextlib.suppress(LookupError), session.begin_nested():
            put(KVault(session), data=DATA[::-1])
            raise LookupError
        assert KVault(session)["file"] == DATA
        session.commit()
    kv = KVault(engine)
    assert (kv["file"], stored(kv), kv._streams.orphans()) == (DATA, 35, {})


def test_a_reader_that_rolls_back_loses_the_chunks_and_not_the_old_value(engine):
    with Session(engine) as session:
        kv = KVault(session)
        put(kv, data=bytes(21))
        session.commit()

        class Rollback(io.BytesIO):
            def read(self, size):
                # After the first batch of chunks.
                if self.tell() == 1200:
                    session.rollback()
                return super().read(size)

        with pytest.raises(StreamLost, match="rollback within the reader"):
            kv.put_file("file", Rollback(bytes(2000)), chunk_size=1)
        assert kv["file"] == bytes(21)


def test_other_writers_get_their_turn_while_the_reader_is_slow(shared, engine):
    other = KVault(engine)

    class Slow(io.BytesIO):
        def read(self, size):
            other.incr("reads")
            return super().read(size)

    shared.put_file("file", Slow(DATA), chunk_size=CHUNK)
    assert (shared["file"], shared["reads"]) == (DATA, 5)


# -- nothing stays behind ------------------------------------------------------------------------------


def orm(act):
    def remove(kv):
        with kv.transaction() as connection, Session(connection, join_transaction_mode="create_savepoint") as session:
            act(session, session.scalars(sqlalchemy.select(kv.entity)).one())
            session.commit()

    return remove


WAYS = {
    "set": lambda kv: kv.__setitem__("file", 1),
    "put_file": lambda kv: kv.put_file("file", b"small"),
    "del": lambda kv: kv.__delitem__("file"),
    "delete": lambda kv: kv.delete("file"),
    "pop": lambda kv: kv.pop("file"),
    "popitem": lambda kv: kv.popitem(),
    "update": lambda kv: kv.update(file=1),
    "replace": lambda kv: kv.replace("file", DATA, 1),
    "delete_many": lambda kv: kv.delete_many(["file"]),
    "delete_range": lambda kv: kv.delete_range("a", "z"),
    "clear": lambda kv: kv.clear(),
    "ORM delete": orm(lambda session, row: session.delete(row)),
    "ORM update": orm(lambda session, row: setattr(row, "value", "new")),
    "SQL DELETE": lambda kv: execute(kv, "DELETE FROM kv"),
    "SQL UPDATE": lambda kv: execute(kv, "UPDATE kv SET value = :value", value=b"\x02"),
}


@pytest.mark.parametrize("way", WAYS)
def test_chunks_go_with_their_entry(kv, way):
    put(kv)
    assert stored(kv) == 35
    WAYS[way](kv)
    assert stored(kv) == 0


def test_what_leaves_the_value_leaves_the_chunks(kv):
    put(kv)
    put(kv, "other", DATA[::-1])
    execute(kv, "UPDATE kv SET value = value, expires_at = 1e12")
    del kv["other"]
    assert (kv["file"], stored(kv)) == (DATA, 35)


def test_another_program_leaves_nothing_either(tmp_path):
    kv = KVault(tmp_path / "test.db")
    put(kv)
    put(kv, "other")
    raw = sqlite3.connect(tmp_path / "test.db")
    with raw:
        raw.execute("DELETE FROM kv WHERE key = 'file'")
    raw.close()
    assert (stored(kv), kv["other"]) == (35, DATA)


def test_streams_of_every_number_are_found_by_the_triggers(kv, monkeypatch):
    numbers = [0, 1, 0x7FFFFFFF, 0x0000F000, 0x12345678, 0x0FEDCBA9, 0x70000000]
    for number in numbers:
        monkeypatch.setattr("kohakuvault.kv.streams.secrets.randbits", lambda bits, number=number: number)
        put(kv, number)
    assert sorted(stream for stream, _ in kv.binding.all(kv._streams._sql.streams)) == sorted(numbers)
    for left, number in enumerate(numbers, 1):
        del kv[number]
        assert stored(kv) == 35 * (len(numbers) - left)
    assert kv._streams.damaged() == []


def test_a_number_that_is_taken_is_not_taken_twice(kv, monkeypatch):
    numbers = iter([5, 5, 5, 6])
    monkeypatch.setattr("kohakuvault.kv.streams.secrets.randbits", lambda bits: next(numbers))
    put(kv)
    put(kv, "other", DATA[::-1])
    assert (kv["file"], kv["other"]) == (DATA, DATA[::-1])


def test_a_vault_without_large_values_has_one_table(kv):
    kv.put_file("file", DATA)
    kv["b"] = DATA
    with kv.transaction() as connection:
        assert set(sqlalchemy.inspect(connection).get_table_names()) <= {"kv", "vault_table"}
    assert kv._streams.orphans() == {}
    assert kv._streams.damaged() == []


# -- tables --------------------------------------------------------------------------------------------

NAMES = ['q"uote', "a.b", "per%cent", "it's", "Größe ☃", "n" * 63, "☃" * 21, "x" * 50, "x" * 51, "x" * 52]


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_any_name_have_chunks(engine, name):
    kv = KVault(engine, name)
    put(kv)
    assert kv["file"] == DATA
    put(kv, data=bytes(21))
    assert (kv["file"], stored(kv)) == (bytes(21), 21)
    del kv["file"]
    assert stored(kv) == 0
    assert all(len(table.encode()) <= 63 for table in sqlalchemy.inspect(engine).get_table_names())


def test_long_names_that_begin_alike_have_tables_of_their_own(engine):
    vaults = [KVault(engine, "n" * 62 + last) for last in "ab"]
    for kv, data in zip(vaults, (DATA, DATA[::-1]), strict=True):
        put(kv, data=data)
    vaults[0].clear()
    assert (stored(vaults[0]), vaults[1]["file"]) == (0, DATA[::-1])


class Base(DeclarativeBase):
    pass


class Files(KVTable, Base):
    __tablename__ = "own_files"


def test_a_class_of_ones_own_shows_where_the_bytes_are(engine):
    kv = KVault(engine, Files)
    put(kv)
    with Session(engine) as session:
        row = session.scalars(sqlalchemy.select(Files)).one()
        assert isinstance(row.value, ChunkedBytes)
        assert (row.value.length, row.value.chunk_size, row.value.chunks) == (35, 10, 4)
        session.add(Files(key="copy", value=row.value))
        with pytest.raises(sqlalchemy.exc.StatementError, match="belong to the entry"):
            session.flush()
        session.rollback()
        row.value = row.value
        session.commit()
        assert kv["file"] == DATA
        row.value = "new"
        session.commit()
    assert (kv["file"], stored(kv)) == ("new", 0)
    # The application's own schema is not changed by it.
    assert list(Base.metadata.tables) == ["own_files"]


def test_without_create_an_error_says_what_is_missing(engine):
    KVault(engine)
    kv = KVault(engine, create=False)
    kv.put_file("small", DATA)
    with pytest.raises(SchemaMismatch, match=r"'kv_chunk' does not exist.*create=False"):
        put(kv)
    put(KVault(engine))
    put(kv, data=DATA[::-1])
    assert kv["file"] == DATA[::-1]


def test_the_triggers_are_made_anew_with_the_table_of_the_entries(engine, url):
    put(KVault(engine))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE kv"))
        connection.execute(sqlalchemy.text("DELETE FROM vault_table WHERE name = 'kv'"))
    again = kohakuvault.create_engine(url)
    KVault(again)
    with pytest.raises(SchemaMismatch, match="lacks the triggers"):
        put(KVault(again, create=False))
    kv = KVault(again)
    assert kv._streams.remove_orphans() == 35
    put(kv)
    del kv["file"]
    assert stored(kv) == 0
    again.dispose()


def test_a_table_of_somebody_elses_is_left_alone(engine):
    KVault(engine, "kv_chunk")["precious"] = 1
    kv = KVault(engine)
    put(kv, data=b"small")
    with pytest.raises(SchemaMismatch, match="'kv_chunk' holds 'kv', not 'chunks'"):
        put(kv)
    assert KVault(engine, "kv_chunk")["precious"] == 1
    assert kv["file"] == b"small"


def test_the_chunk_table_is_no_dict(engine):
    put(KVault(engine))
    with pytest.raises(SchemaMismatch, match="'kv_chunk' holds 'chunks', not 'kv'"):
        KVault(engine, "kv_chunk")


def test_the_trigger_finds_the_chunks_from_another_search_path(new_url):
    url = new_url("postgresql")
    engine = kohakuvault.create_engine(url)
    kv = KVault(engine)
    put(kv)
    schema = url.query["options"].removeprefix("-csearch_path=").partition(",")[0]
    elsewhere = sqlalchemy.create_engine(url.difference_update_query(["options"]))
    with elsewhere.begin() as connection:
        connection.execute(sqlalchemy.text(f"DELETE FROM {schema}.kv"))
    assert stored(kv) == 0
    elsewhere.dispose()
    engine.dispose()


# -- damage --------------------------------------------------------------------------------------------

DAMAGE = {
    "a chunk is missing": "DELETE FROM kv_chunk WHERE id % 4294967296 = 2",
    "the last chunk is missing": "DELETE FROM kv_chunk WHERE id % 4294967296 = 3",
    "a chunk is short": "UPDATE kv_chunk SET data = substr(data, 1, 9) WHERE id % 4294967296 = 2",
    "a chunk is long": "UPDATE kv_chunk SET data = data || data WHERE id % 4294967296 = 2",
    "all chunks are missing": "DELETE FROM kv_chunk",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_chunks_are_an_error_that_leaves_the_rest_readable(kv, damage):
    put(kv)
    execute(kv, DAMAGE[damage])
    put(kv, "whole")
    with pytest.raises(CorruptValue, match="chunk"):
        kv["file"]
    with pytest.raises(CorruptValue, match="chunk"):
        kv.pop("file")
    with pytest.raises(CorruptValue, match="chunk"), kv.open("file") as file:
        file.read()
    with pytest.raises(CorruptValue, match="chunk"):
        kv.get_to_file("file", io.BytesIO())
    assert kv["whole"] == DATA
    ((key, problem),) = kv._streams.damaged()
    assert (key, problem[:11]) == ("file", "of 4 chunks")
    del kv["file"]
    assert kv._streams.damaged() == []
    assert stored(kv) == 35


def test_a_chunk_that_is_no_bytes_is_an_error(tmp_path):
    kv = KVault(tmp_path / "test.db")
    put(kv)
    execute(kv, "UPDATE kv_chunk SET data = '0123456789'")
    with pytest.raises(CorruptValue, match="a str, not 10 bytes"):
        kv["file"]


def test_a_chunk_table_that_is_gone_is_an_error(kv):
    put(kv)
    execute(kv, "DROP TABLE kv_chunk")
    assert kv._streams.damaged() == [("file", "there is no chunk table")]
    assert kv._streams.orphans() == {}


@given(st.binary(max_size=20) | st.binary(min_size=16, max_size=16))
def test_any_bytes_behind_the_tag_are_a_value_or_an_error(payload):
    try:
        value = unpack(b"\x0d" + payload)
    except CorruptValue:
        return
    assert type(value) is ChunkedBytes
    assert len(payload) == 16
    assert 0 <= value.stream < 2**31
    assert 0 < value.chunk_size < value.length
    assert 2 <= value.chunks <= 2**32


def test_a_value_that_claims_to_be_huge_is_an_error(kv):
    put(kv)
    forged = b"\x0d" + bytes(4) + (2**57).to_bytes(8, "little") + (2**31).to_bytes(4, "little")
    execute(kv, "UPDATE kv SET value = :value", value=forged)
    with pytest.raises(CorruptValue, match="chunk 0"):
        kv["file"]


def test_it_cannot_be_stored_as_a_value(kv):
    reference = ChunkedBytes(1, 20, 10)
    for store in (pack, lambda value: pack(value, allow_pickle=True), lambda value: kv.put("file", value)):
        with pytest.raises(UnsupportedType, match="belong to the entry"):
            store(reference)
    assert pack(Pickle(1), allow_pickle=True)[0] != 0x0D


# -- what is left behind -------------------------------------------------------------------------------


def test_streams_of_no_entry_are_found_and_removed(kv):
    put(kv)
    kv.binding.run(kv._streams._sql.begin, (7 << 32) + 0, b"x" * 10)
    kv.binding.run(kv._streams._sql.begin, (7 << 32) + 1, b"x" * 10)
    assert kv._streams.orphans() == {7: 20}
    assert kv._streams.remove_orphans() == 20
    assert kv._streams.remove_orphans() == 0
    assert (kv["file"], stored(kv)) == (DATA, 35)


def test_removing_what_is_being_written_stops_the_writer(shared, engine):
    put(shared)
    other = KVault(engine)

    class Removed(io.BytesIO):
        def read(self, size):
            if self.tell() == 1200:
                assert other._streams.remove_orphans() == 1024
            return super().read(size)

    with pytest.raises(StreamLost, match="put it again"):
        shared.put_file("file", Removed(bytes(2000)), chunk_size=1)
    assert (shared["file"], stored(shared)) == (DATA, 35)


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


WRITER = """
    import io, sys
    from kohakuvault import KVault
    kv, letter = KVault(sys.argv[1]), sys.argv[2].encode()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(10):
        kv.put_file("file", io.BytesIO(letter * 100_000), chunk_size=1000)
"""


def test_two_processes_that_write_one_key_leave_the_value_of_one(url):
    text = url.render_as_string(hide_password=False)
    kv = KVault(url)
    processes = [run(WRITER, text, letter) for letter in "ab"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert kv["file"] in (b"a" * 100_000, b"b" * 100_000)
    assert (stored(kv), kv._streams.orphans()) == (100_000, {})


VICTIM = """
    import io, os, signal, sys
    from kohakuvault import KVault

    class Fatal(io.BytesIO):
        def read(self, size):
            if self.tell() > 6_000_000:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().read(size)

    KVault(sys.argv[1]).put_file("file", Fatal(bytes(10_000_000)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_process_that_is_killed_leaves_the_old_value_and_what_can_be_removed(url):
    kv = KVault(url)
    put(kv)
    process = run(VICTIM, url.render_as_string(hide_password=False))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert kv["file"] == DATA
    assert kv._streams.damaged() == []
    assert list(kv._streams.orphans().values()) == [4 * 1024 * 1024]
    assert kv._streams.remove_orphans() == 4 * 1024 * 1024
    assert (kv["file"], stored(kv)) == (DATA, 35)


FLAT = """
    import io, resource, sys
    from kohakuvault import KVault, create_engine

    class Made(io.RawIOBase):
        left = int(sys.argv[3])
        def readable(self):
            return True
        def readinto(self, buffer):
            count = min(len(buffer), self.left)
            buffer[:count] = bytes(count)
            self.left -= count
            return count

    class Nowhere:
        def write(self, data):
            return len(data)

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    # Pages of a file that is mapped would count as the process's memory.
    kv = KVault(create_engine(sys.argv[1], **eval(sys.argv[2])))
    kv.put_file("warm", bytes(1_000_000))
    kv.get_to_file("warm", Nowhere())
    before = peak()
    size = Made.left
    assert kv.put_file("file", Made()) == size
    assert kv.get_to_file("file", Nowhere()) == size
    with kv.open("file") as file:
        total = 0
        while piece := file.read(100_000):
            total += len(piece)
    assert total == size
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="getrusage is of POSIX")
def test_memory_stays_flat(url):
    is_sqlite = url.get_backend_name() == "sqlite"
    options, size = ({"pragmas": {"mmap_size": 0}}, 200_000_000) if is_sqlite else ({}, 100_000_000)
    process = run(FLAT, url.render_as_string(hide_password=False), options, size)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert int(output) < 60_000_000


def test_every_error_is_one_of_ours():
    assert issubclass(ReaderFailed, KohakuVaultError)
    assert issubclass(StreamLost, KohakuVaultError)
