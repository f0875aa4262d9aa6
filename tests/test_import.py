"""Importing the files of KohakuVault 0.8.6 and 1.1.0, which those releases themselves write for these tests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

import kohakuvault
import legacy_contents as contents
from kohakuvault import ColumnVault, KVault, TextVault, VectorKVault
from kohakuvault.cli import app
from kohakuvault.errors import CannotOpen, InvalidArgument, InvalidDatabase, KohakuVaultError, SchemaMismatch
from kohakuvault.legacy import import_file
from kohakuvault.orm import match
from kohakuvault.orm.tables import text_class
from legacy_releases import RELEASES, write_files


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Return the directory with the files that a release has written, to be read only."""

    @cache
    def directory_of(release):
        directory = tmp_path_factory.mktemp(f"release-{release}")
        write_files(release, directory)
        return directory

    return directory_of


@pytest.fixture(params=RELEASES)
def release(request):
    return request.param


@pytest.fixture
def files(release, written):
    return written(release)


@pytest.fixture
def new(tmp_path):
    return tmp_path / "new.db"


def same(one, other) -> bool:
    """Whether two values are equal and of the same types, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (np.ndarray, np.generic)):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def item_of(report, name):
    (item,) = [item for item in report.items if item.name == name]
    return item


# -- dicts ---------------------------------------------------------------------------------------


def test_every_kind_of_value_comes_back_equal_and_of_its_type(files, url):
    report = import_file(files / "values.db", url)
    assert report.is_complete, str(report)
    kv = KVault(url)
    expected = {
        **contents.SAME,
        **{key: value for key, (_, value) in contents.STORED_AS.items()},
        "changed": "after",
        "json": {"é": [1, 2.5, None]},
        "msgpack": [1, "a"],
        "cbor": {"x": 1.0},
        "pickle": (1, {2}),
    }
    found = dict(kv.items())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert same(found[key], value), key
    # In the order of insertion.
    assert list(found)[:5] == list(contents.SAME)[:5]
    assert report.items[0].taken == len(expected)


def test_what_those_releases_could_not_tell_apart_is_counted_and_can_be_chosen(files, tmp_path):
    report = import_file(files / "odd.db", tmp_path / "guess.db", tables=["odd"])
    kv = KVault(tmp_path / "guess.db", "odd")
    (note,) = [remark for text, remark in item_of(report, "odd").notes.items() if "eight bytes" in text]
    assert same(kv["u8"], np.array([1, 2], np.uint8))
    assert same(kv["-0.0"], -0.0)
    assert kv["2**60+2**59"] == 2**60 + 2**59
    assert type(kv["1e300"]) is int
    assert kv["0.0 and 0"] == 0
    assert set(note.first) <= {repr(key) for key in contents.AMBIGUOUS}
    assert note.count == len(contents.AMBIGUOUS)

    import_file(files / "odd.db", tmp_path / "float.db", tables=["odd"], numbers="float")
    import_file(files / "odd.db", tmp_path / "int.db", tables=["odd"], numbers="int")
    assert KVault(tmp_path / "float.db", "odd")["1e300"] == 1e300
    assert same(KVault(tmp_path / "float.db", "odd")["0.0 and 0"], 0.0)
    assert type(KVault(tmp_path / "int.db", "odd")["-0.0"]) is int
    import_file(files / "values.db", tmp_path / "int.db", numbers="int", tables=["kv"])
    assert type(KVault(tmp_path / "int.db")["95.5"]) is int
    with pytest.raises(InvalidArgument, match="numbers is"):
        import_file(files / "odd.db", tmp_path / "x.db", numbers="real")


def test_what_cannot_be_read_is_reported_by_its_reason_and_skipped(files, new):
    report = import_file(files / "odd.db", new, tables=["odd"])
    item = item_of(report, "odd")
    kv = KVault(new, "odd")
    assert not report.is_complete
    assert set(kv) == set(contents.AMBIGUOUS)
    assert item.taken == len(contents.AMBIGUOUS) == len(kv)
    assert item.left == len(contents.REFUSED) + 2
    for key, (_, part) in contents.REFUSED.items():
        reasons = [reason for reason, remark in item.not_taken.items() if repr(key) in remark.first]
        assert len(reasons) == 1, key
        assert part.lower() in reasons[0].lower(), key


def test_no_pickle_is_loaded_unless_that_is_asked_for(files, tmp_path):
    exploded = files / "exploded"
    assert not exploded.exists()
    report = import_file(files / "odd.db", tmp_path / "not.db", tables=["odd"])
    assert any(".mkdir" in reason and "--pickle" in reason for reason in item_of(report, "odd").not_taken)
    assert not exploded.exists()

    report = import_file(files / "odd.db", tmp_path / "asked.db", tables=["odd"], pickle=True)
    assert exploded.exists()
    exploded.rmdir()
    kv = KVault(tmp_path / "asked.db", "odd", pickle=True)
    assert kv["deque"] == contents.REFUSED["deque"][0]
    assert kv["range"] == range(3)
    assert kv["bomb"] is None
    assert not any("more than plain data" in reason for reason in item_of(report, "odd").not_taken)


def test_plain_values_are_not_stored_as_pickles_where_pickle_is_allowed(files, new):
    import_file(files / "values.db", new, pickle=True)
    kv = KVault(new)
    assert same(kv["tuple"], contents.SAME["tuple"])


def test_keys_are_text_where_they_are_utf8_and_bytes_on_request(files, tmp_path):
    import_file(files / "odd.db", tmp_path / "a.db", tables=["Keys of mine"])
    kv = KVault(tmp_path / "a.db", "Keys of mine")
    assert dict(kv.items()) == {
        b"\xff\xfe": "no UTF-8",
        "": "empty",
        "nul\0": "nul",
        "é": "text",
        "k" * 5000: "long",
    }
    import_file(files / "odd.db", tmp_path / "b.db", tables=["Keys of mine"], keys="bytes")
    assert dict(KVault(tmp_path / "b.db", "Keys of mine").items()) == contents.KEYS
    with pytest.raises(InvalidArgument, match="keys is"):
        import_file(files / "odd.db", tmp_path / "c.db", keys="int")


def forged_dict(path: Path, rows) -> Path:
    """Make a file with a dict of these stored keys and values."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)")
    db.executemany("INSERT INTO kv VALUES (?, ?)", rows)
    db.commit()
    db.close()
    return path


def test_a_key_that_is_too_long_for_postgresql_is_skipped_and_the_others_taken(tmp_path, new_url):
    url = new_url("postgresql")
    # It cannot be compressed.
    long = np.random.default_rng(1).bytes(5000)
    report = import_file(forged_dict(tmp_path / "old.db", [(b"a", b"1"), (long, b"2"), (b"c", b"3")]), url)
    assert dict(KVault(url).items()) == {"a": b"1", "c": b"3"}
    (item,) = report.items
    assert (item.taken, item.left) == (2, 1)
    assert "5000 bytes" in next(iter(item.not_taken))


def test_keys_and_values_that_are_numbers_are_reported_and_text_is_taken_for_its_bytes(tmp_path, new):
    rows = [("text", "1"), (5, b"2"), (b"number", 3), (b"good", b"4"), (b"text", b"twice")]
    (item,) = import_file(forged_dict(tmp_path / "old.db", rows), new).items
    assert dict(KVault(new).items()) == {"text": b"twice", "good": b"4"}
    assert (item.taken, item.left) == (2, 3)


def test_values_that_were_stored_without_header_are_bytes(files, new):
    import_file(files / "odd.db", new, tables=["bare"])
    kv = KVault(new, "bare")
    assert kv["text"] == b"text"
    assert kv["int"] == (5).to_bytes(8, "little")


# -- columns -------------------------------------------------------------------------------------


def test_columns_of_every_dtype_come_back_equal(files, release, url):
    report = import_file(files / "columns.db", url)
    assert report.is_complete, str(report)
    cv = ColumnVault(url)
    for name, (values, dtype) in contents.dtypes(release).items():
        column = cv[name]
        assert column.dtype == dtype
        assert item_of(report, name).taken == len(values) == len(column)
        got = column[:]
        if name == "f16":
            assert got == [float(np.float16(value)) for value in values]
        elif name == "f32":
            assert got == [float(np.float32(value)) for value in values]
        elif isinstance(values, np.ndarray):
            wanted = values.astype(np.float32) if values.dtype == np.float16 else values
            assert got.dtype == wanted.dtype
            assert np.array_equal(got, wanted)
        else:
            assert all(map(same, got, values)), name
    assert cv.check() == []


def test_columns_that_were_changed_come_back_as_they_were(files, new):
    import_file(files / "columns.db", new)
    cv = ColumnVault(new)
    assert cv["appended"][:] == [b"%d" % number * 20 for number in range(300)]
    numbers = list(range(2000))
    numbers[3] = -3
    del numbers[1000]
    numbers.insert(5, 55)
    assert cv["changed"][:] == numbers
    assert cv["changed texts"][:] == json.loads((files / "changed texts.json").read_text())
    assert (cv["empty"][:], cv["empty texts"][:], cv["cleared"][:], cv["after gone"][:]) == ([], [], [7], [4])
    assert "gone" not in cv


def copy(file: Path, tmp_path: Path) -> tuple[Path, sqlite3.Connection]:
    """Return a copy of an old file, and a connection to change it."""
    path = tmp_path / f"copy of {file.name}"
    shutil.copy(file, path)
    return path, sqlite3.connect(path, isolation_level=None)


@pytest.fixture
def both_formats(written, tmp_path):
    """A file with columns of both formats, some of the same name: 1.1 does not see those of 0.8."""
    path, db = copy(written("1.1.0") / "columns.db", tmp_path)
    db.execute("ATTACH ? AS old", (str(written("0.8.6") / "columns.db"),))
    for table in ("col_meta", "col_chunks"):
        db.execute(f"CREATE TABLE {table} AS SELECT * FROM old.{table}")
    db.close()
    return path


def test_a_file_with_columns_of_both_formats_gives_both(both_formats, new):
    report = import_file(both_formats, new)
    assert report.is_complete, str(report)
    cv = ColumnVault(new)
    assert cv["i64"][:] == cv["i64 (0.8)"][:] == contents.OLD_DTYPES["i64"][0]
    assert "i8 (0.8)" not in cv


def test_an_element_that_cannot_be_read_is_replaced_so_that_the_others_keep_their_places(files, release, tmp_path, new):
    path, db = copy(files / "columns.db", tmp_path)
    if release == "0.8.6":
        db.execute(
            "UPDATE col_chunks SET data = X'ff' || substr(CAST(data AS BLOB), 2) WHERE col_id ="
            "(SELECT col_id FROM col_meta WHERE name = 'str_data')"
        )
    else:
        db.execute(
            "UPDATE kvault_col_data SET payload = CAST(X'ff' || substr(payload, 2) AS BLOB) WHERE block_id IN ("
            "SELECT block_id FROM kvault_col_blocks JOIN kvault_col_columns USING (col_id) WHERE name = 'str')"
        )
    db.close()
    report = import_file(path, new, tables=["str", "i64"])
    assert ColumnVault(new)["str"][:] == ["", *contents.TEXTS[1:]]
    item = item_of(report, "str")
    assert (item.taken, item.left) == (len(contents.TEXTS) - 1, 1)
    assert [remark.first for remark in item.not_taken.values()] == [["0"]]
    assert item_of(report, "i64").is_complete


@pytest.mark.parametrize("column", ["i64", "bytes"])
def test_a_column_ends_where_its_blocks_end(files, release, tmp_path, new, column):
    path, db = copy(files / "columns.db", tmp_path)
    values = contents.OLD_DTYPES[column][0]
    if release == "0.8.6":
        name = column if column == "i64" else "bytes_idx"
        db.execute(
            "DELETE FROM col_chunks WHERE chunk_idx = 1 AND col_id = (SELECT col_id FROM col_meta WHERE name = ?)",
            [name],
        )
    else:
        db.execute(
            "DELETE FROM kvault_col_blocks WHERE block_no = 1 AND col_id ="
            "(SELECT col_id FROM kvault_col_columns WHERE name = ?)",
            [column],
        )
    db.close()
    item = item_of(import_file(path, new, tables=[column]), column)
    got = ColumnVault(new)[column][:]
    assert 0 < len(got) < len(values)
    assert got == values[: len(got)]
    assert (item.taken, item.left) == (len(got), len(values) - len(got))


def test_a_dtype_or_format_that_is_unknown_is_reported_and_no_column_made(files, release, tmp_path, new):
    path, db = copy(files / "columns.db", tmp_path)
    table = "col_meta" if release == "0.8.6" else "kvault_col_columns"
    for name, dtype in (
        ("i64", "i128"),
        ("f64", "str:zlib"),
        ("bytes:4", "bytes:99999999999"),
        ("vec:f32:3", "vec:f32:0"),
    ):
        db.execute(f"UPDATE {table} SET dtype = ? WHERE name = ?", [dtype, name])
    db.execute(f"UPDATE {table} SET length = ? WHERE name = 'after gone'", [2**62])
    db.close()
    report = import_file(path, new)
    cv = ColumnVault(new)
    for name in ("i64", "f64", "bytes:4", "vec:f32:3"):
        assert name not in cv
        assert "dtype" in next(iter(item_of(report, name).not_taken))
    assert 1 <= len(cv["after gone"]) <= 512


# -- vectors and texts ---------------------------------------------------------------------------


def test_vectors_keep_ids_values_and_metric(files, url):
    report = import_file(files / "vectors.db", url)
    assert report.is_complete, str(report)
    given = contents.vectors(1100, 5)
    for metric in ("cosine", "l2", "l1"):
        vault = VectorKVault(url, f"v_{metric}", 5, metric)
        assert len(vault) == 1097
        assert item_of(report, f"v_{metric}").taken == 1097
        assert not {1, 7, 1030} & set(vault)
        vector, value = vault.get_by_id(5)
        wanted = given[4] / np.linalg.norm(given[4]) if metric == "cosine" else given[4]
        assert np.allclose(vector, wanted, rtol=0, atol=1e-6)
        assert metric == "cosine" or np.array_equal(vector, wanted)
        assert value == {"n": 4}
        assert vault.get_by_id(4)[1] == (3, None)
        assert vault.get_by_id(9)[1] == "changed"
        assert vault.get_by_id(10)[1] == b"only the value"
        assert vault.search(given[1050], 1)[0][0] == 1051
        assert vault.insert(np.ones(5), "next") not in set(range(1, 1101)) - {1, 7, 1030}
    assert len(VectorKVault(url, "v_empty", 3)) == 0


def test_texts_keep_ids_and_values_and_can_be_searched(files, engine):
    report = import_file(files / "texts.db", engine)
    assert report.is_complete, str(report)
    articles = text_class("articles", ("title", "body"))
    with Session(engine) as session:
        rows = {row.id: row for row in session.scalars(select(articles))}
        assert sorted(rows) == [id for id in range(1, 51) if id != 7]
        assert (rows[3].title, rows[3].body, rows[3].value) == ("title 2", "the quick fox 2 é☃", {"n": 2})
        assert (rows[9].title, rows[9].body, rows[9].value) == ("new title", "new body", {"n": 8})
        assert rows[10].value == (1, 2)
        assert session.scalars(select(articles.id).where(match(articles, "fox 30"))).all() == [31]
        session.add(articles(title="one more", body="by the ORM", value=None))
        session.flush()
        only = session.scalars(select(text_class("text_vault"))).one()
        assert (only.id, only.content, only.value) == (1, "only text", None)
    assert [row[0] for row in TextVault(engine, "articles", ["title", "body"]).search("fox 30")] == [31]
    for wrong in ({"columns": ["title"]}, {"columns": ["title", "body"], "tokenize": "porter"}):
        with pytest.raises(SchemaMismatch, match="was made with"):
            TextVault(engine, "articles", **wrong)


def test_a_text_that_is_too_long_for_postgresql_is_skipped_and_the_others_taken(files, tmp_path, new_url):
    path, db = copy(files / "texts.db", tmp_path)
    words = " ".join(f"word{number}" for number in range(150_000))
    db.execute("UPDATE articles_content SET c0 = ? WHERE id = 1", [words])
    db.execute("UPDATE articles_content SET c0 = 'with' || char(0) || 'NUL' WHERE id = 2")
    db.close()
    url = new_url("postgresql")
    item = item_of(import_file(path, url, tables=["articles"]), "articles")
    assert (item.taken, item.left) == (47, 2)
    assert sorted(remark.first for remark in item.not_taken.values()) == [["1"], ["2"]]


@pytest.mark.parametrize(("name", "table"), [("texts.db", "articles"), ("vectors.db", "v_l2")])
def test_rows_that_lead_to_the_same_large_value_do_not_fill_the_disk(files, tmp_path, new, name, table):
    path, db = copy(files / name, tmp_path)
    db.execute(f"UPDATE {table}_values SET value = randomblob(2000000) WHERE id = 2")
    if table == "articles":
        db.execute("UPDATE articles_content SET c2 = 2")
    else:
        db.execute("UPDATE v_l2_metadatachunks00 SET data = ?", [(2).to_bytes(8, "little") * 1024])
    db.close()
    item = item_of(import_file(path, new, tables=[table]), table)
    assert any("lead to the same bytes" in reason for reason in item.not_taken)
    assert new.stat().st_size < 20_000_000


def test_damaged_rows_of_texts_are_reported(files, tmp_path, new):
    path, db = copy(files / "texts.db", tmp_path)
    db.execute("UPDATE articles_content SET c0 = CAST(X'ff' AS TEXT) WHERE id = 1")
    db.execute("UPDATE articles_content SET c1 = 5 WHERE id = 2")
    db.execute("UPDATE articles_content SET c2 = 99999 WHERE id = 3")
    db.execute("UPDATE articles_values SET value = ? WHERE id = 4", [contents.forged(b"\xff", 6)])
    db.close()
    item = item_of(import_file(path, new, tables=["articles"]), "articles")
    assert (item.taken, item.left) == (45, 4)
    assert sorted(remark.first for remark in item.not_taken.values()) == [["1"], ["2"], ["3"], ["4"]]


def test_damaged_rows_of_vectors_are_reported(files, tmp_path, new):
    path, db = copy(files / "vectors.db", tmp_path)
    db.execute("DELETE FROM v_l2_values WHERE id = 5")
    (data,) = db.execute("SELECT vectors FROM v_l2_vector_chunks00 WHERE rowid = 1").fetchone()
    damaged = np.frombuffer(data, "<f4").copy()
    damaged[5] = np.nan
    db.execute("UPDATE v_l2_vector_chunks00 SET vectors = ? WHERE rowid = 1", [damaged.tobytes()])
    db.execute("UPDATE v_l1_chunks SET validity = X'ff' WHERE chunk_id = 2")
    db.close()
    report = import_file(path, new)
    item = item_of(report, "v_l2")
    assert sorted(remark.first for remark in item.not_taken.values()) == [["2"], ["5"]]
    assert len(VectorKVault(new, "v_l2", 5, "l2")) == item.taken == 1095
    assert item_of(report, "v_l1").taken == 1022
    assert item_of(report, "v_cosine").is_complete


# -- the old file --------------------------------------------------------------------------------


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_old_file_is_not_changed(files, new):
    before = digest(files / "values.db"), os.stat(files / "values.db").st_mtime_ns
    import_file(files / "values.db", new)
    assert (digest(files / "values.db"), os.stat(files / "values.db").st_mtime_ns) == before


def test_what_is_in_the_write_ahead_log_counts_and_others_can_write_meanwhile(files, tmp_path, new):
    path, db = copy(files / "values.db", tmp_path)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("INSERT INTO kv VALUES (CAST('in the log' AS BLOB), X'01')")
    before = digest(path)
    wrote = []

    def write(*_):
        if not wrote:
            db.execute("INSERT INTO kv VALUES (CAST('too late' AS BLOB), X'02')")
            wrote.append(True)

    import_file(path, new, progress=write)
    kv = KVault(new)
    assert wrote
    assert kv["in the log"] == b"\x01"
    assert "too late" not in kv
    assert digest(path) == before
    db.close()


def test_files_that_are_none_are_refused_and_no_new_file_is_made(tmp_path, files, new):
    empty = tmp_path / "empty"
    empty.touch()
    text = tmp_path / "text"
    text.write_text("no database at all" * 100)
    ours = tmp_path / "ours.db"
    KVault(ours)["a"] = 1
    for path, error in (
        (tmp_path / "missing", CannotOpen),
        (tmp_path, CannotOpen),
        (empty, SchemaMismatch),
        (text, InvalidDatabase),
        (ours, SchemaMismatch),
    ):
        with pytest.raises(error):
            import_file(path, new)
    with pytest.raises(InvalidArgument, match="there is no 'x'"):
        import_file(files / "values.db", new, tables=["x"])
    assert not new.exists()


def test_the_old_file_itself_is_refused_as_the_new_one(files, tmp_path):
    path = tmp_path / "old.db"
    shutil.copy(files / "values.db", path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    before = digest(path)
    engine = kohakuvault.create_engine(path)
    for new in (path, str(path), link, f"sqlite:///{path}", engine):
        with pytest.raises(InvalidArgument, match="old file itself"):
            import_file(path, new)
    assert digest(path) == before
    engine.dispose()


def test_views_and_computed_columns_are_not_read(tmp_path, new):
    path = tmp_path / "forged.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)")
    db.execute(
        "CREATE TABLE forged (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL "
        "GENERATED ALWAYS AS (CAST(key AS BLOB)) VIRTUAL)"
    )
    db.execute(
        "CREATE VIEW v_chunks AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    )
    db.commit()
    db.close()
    assert [item.name for item in import_file(path, new).items] == ["kv"]


# -- the new database ----------------------------------------------------------------------------


def test_nothing_is_added_to_what_has_rows_and_resume_takes_the_rest(files, new):
    import_file(files / "columns.db", new, tables=["i64", "f64"])
    with pytest.raises(InvalidArgument, match="'i64', 'f64' already"):
        import_file(files / "columns.db", new)
    assert list(ColumnVault(new)) == ["i64", "f64"]
    report = import_file(files / "columns.db", new, resume=True)
    assert report.is_complete
    assert not [item for item in report.items if item.name in ("i64", "f64")]
    assert ColumnVault(new)["i64"][:] == contents.OLD_DTYPES["i64"][0]
    import_file(files / "columns.db", new, prefix="old ")
    assert ColumnVault(new)["old i64"][:] == contents.OLD_DTYPES["i64"][0]


def test_a_strangers_table_is_not_written_to(files, new):
    db = sqlite3.connect(new)
    db.execute("CREATE TABLE kv (mine)")
    db.close()
    report = import_file(files / "values.db", new)
    assert "not a 'kv' table" in next(iter(report.items[0].not_taken))
    assert sqlite3.connect(new).execute("SELECT count(*) FROM kv").fetchone() == (0,)


def test_in_a_session_all_of_it_is_undone_by_a_rollback(files, engine):
    with Session(engine) as session:
        assert import_file(files / "values.db", session).is_complete
        assert KVault(session)["text"] == "héllo ☃"
        session.rollback()
    assert not inspect(engine).has_table("kv")


def test_a_database_in_memory_is_given_as_an_engine(files):
    with pytest.raises(InvalidArgument, match="pass an engine"):
        import_file(files / "values.db", ":memory:")
    engine = kohakuvault.create_engine(":memory:")
    import_file(files / "values.db", engine)
    assert KVault(engine)["text"] == "héllo ☃"
    engine.dispose()


def test_progress_ends_with_all_rows(files, new):
    told = {}
    report = import_file(
        files / "columns.db", new, progress=lambda name, done, total: told.__setitem__(name, (done, total))
    )
    for item in report.items:
        assert told[item.name] == (item.taken, item.taken)


def test_an_import_that_is_killed_leaves_each_table_whole_or_absent(tmp_path, new):
    old = tmp_path / "large.db"
    db = sqlite3.connect(old)
    names = [f"t{number}" for number in range(6)]
    for name in names:
        db.execute(f"CREATE TABLE {name} (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)")
        db.executemany(f"INSERT INTO {name} VALUES (?, ?)", [(b"%d" % number, b"v" * 50) for number in range(20_000)])
    db.commit()
    db.close()
    code = "import sys; from kohakuvault.legacy import import_file; import_file(*sys.argv[1:], resume=True)"
    killed = 0
    for wait in (0.05, 0.1, 0.2):
        process = subprocess.Popen([sys.executable, "-c", code, old, new])
        # From when the first table is being written.
        while not new.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(wait)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        engine = kohakuvault.create_engine(new)
        there = set(inspect(engine).get_table_names()) & set(names)
        engine.dispose()
        assert all(len(KVault(new, name)) == 20_000 for name in there)
    assert killed
    import_file(old, new, resume=True)
    assert all(len(KVault(new, name)) == 20_000 for name in names)


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: object):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_the_command_says_by_its_exit_code_whether_all_was_taken(files, tmp_path):
    done = run(files / "values.db", tmp_path / "a.db")
    assert done.exit_code == 0, done.output
    assert "kv" in done.stdout
    done = run(files / "odd.db", tmp_path / "b.db", "--json")
    assert done.exit_code == 3
    assert "were not taken" in done.stderr
    said = json.loads(done.stdout)
    assert not said["complete"]
    assert {item["name"] for item in said["items"]} == {"odd", "Keys of mine", "bare"}
    done = run(files / "odd.db", tmp_path / "c.db", "-t", "odd", "--numbers", "int", "--keys", "bytes", "--prefix", "x")
    assert done.exit_code == 3
    assert ".mkdir" in "".join(done.stdout.split())
    assert b"u8" in KVault(tmp_path / "c.db", "xodd")
    done = run(files / "values.db", tmp_path / "a.db")
    assert done.exit_code == 1
    assert "--resume" in done.stderr
    assert run(files / "values.db", tmp_path / "a.db", "--resume").exit_code == 0


def test_names_and_reasons_of_the_file_are_no_markup_and_no_control_characters(tmp_path):
    path = tmp_path / "forged.db"
    db = sqlite3.connect(path)
    db.execute('CREATE TABLE "[red]\x1b[2J" (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)')
    db.execute('INSERT INTO "[red]\x1b[2J" VALUES (?, ?)', (b"[bold]", contents.forged(b"", 1)))
    db.commit()
    db.close()
    done = run(path, tmp_path / "new.db")
    assert done.exit_code == 3
    assert "\x1b" not in done.stdout
    assert "[red]" in done.stdout


# -- damage ----------------------------------------------------------------------------------------


def attempt(path: Path, new: Path) -> None:
    """Import a damaged file: it may be refused as a whole, by an error of ours, and must do nothing else."""
    for name in (new, f"{new}-wal", f"{new}-shm"):
        Path(name).unlink(missing_ok=True)
    try:
        report = import_file(path, new)
    except KohakuVaultError:
        return
    for item in report.items:
        assert item.taken >= 0
    if new.exists():
        for name, _, _ in ColumnVault(new).list_columns():
            for _ in ColumnVault(new)[name]:
                pass


@pytest.mark.parametrize("name", ["columns.db", "vectors.db", "odd.db", "texts.db"])
def test_files_with_changed_bytes_are_read_as_far_as_they_can_be(files, tmp_path, new, name):
    original = (files / name).read_bytes()
    path = tmp_path / "damaged.db"
    random = np.random.default_rng(list(name.encode()))
    for round in range(5):
        data = bytearray(original)
        if round == 0:
            del data[int(random.integers(len(data))) :]
        for place in random.integers(100, max(len(data), 101), int(random.integers(1, 60))).tolist():
            if place < len(data):
                data[place] = int(random.integers(256))
        path.write_bytes(data)
        attempt(path, new)
    assert not (files / "exploded").exists()


def test_values_of_random_bytes_are_read_or_reported(tmp_path, new):
    random = np.random.default_rng(7)
    payloads = [random.bytes(int(random.integers(0, 40))) for _ in range(3000)]
    whole = [b"\x80\x04" + payload for payload in payloads]
    rows = [
        (b"%d %d" % (encoding, number), contents.forged(payload, encoding))
        for encoding in range(8)
        for number, payload in enumerate(whole if encoding == 1 else payloads)
    ]
    (item,) = import_file(forged_dict(tmp_path / "random.db", rows), new).items
    assert item.taken + item.left == len(rows)
    assert len(KVault(new)) == item.taken
    # All that was taken can be read.
    assert sum(1 for _ in KVault(new).items()) == item.taken


def test_pickles_of_plain_data_that_are_changed_are_read_or_reported():
    import pickle

    from kohakuvault.legacy.plain_pickle import NotPlain, plain_value
    from kohakuvault.packing import pack, unpack

    random = np.random.default_rng(8)
    originals = [pickle.dumps(value, 4) for value in contents.SAME.values() if not isinstance(value, bytes)]
    taken = 0
    for data in originals * 40:
        changed = bytearray(data[:2000])
        for place in random.integers(0, len(changed), 3).tolist():
            changed[place] = int(random.integers(256))
        try:
            value = plain_value(bytes(changed))
            unpack(pack(value))
        except (NotPlain, InvalidArgument, kohakuvault.UnsupportedType):
            continue
        taken += 1
    assert taken


@pytest.mark.parametrize("protocol", [4, 5])
def test_plain_data_is_read_from_pickles_of_either_protocol(protocol):
    import pickle

    from kohakuvault.legacy.plain_pickle import plain_value

    shared = [1, 2]
    values = [*contents.SAME.values(), {"shared": (shared, shared)}, list(range(3000)), set(range(3000))]
    for value in values:
        assert same(plain_value(pickle.dumps(value, protocol)), value)
    assert math.isnan(plain_value(pickle.dumps(math.nan, protocol)))
