"""ColumnVault: columns by name, and the handles of those that are renamed, deleted or made anew."""

from __future__ import annotations

import copy
import pickle
import sqlite3
from contextlib import closing, suppress

import pytest
from sqlalchemy.orm import Session

from kohakuvault import (
    ColumnVault,
    InvalidArgument,
    NotFound,
    SchemaMismatch,
    UnsupportedType,
    create_engine,
)


@pytest.fixture
def cv(engine) -> ColumnVault:
    return ColumnVault(engine)


def test_columns_by_name(cv):
    column = cv.create_column("scores", "f64")
    assert "scores" in cv
    assert "other" not in cv
    assert list(cv) == ["scores"]
    assert len(cv) == 1
    with pytest.raises(InvalidArgument, match="exists already"):
        cv.create_column("scores", "f64")
    assert cv.ensure("scores", "f64").name == "scores"
    with pytest.raises(InvalidArgument, match="has dtype 'f64', not 'i64'"):
        cv.ensure("scores", "i64")
    cv.ensure("naïve ☃ 'quoted\"", "str").append("x")
    assert cv["naïve ☃ 'quoted\""][:] == ["x"]
    with pytest.raises(NotFound, match="no column 'other'; there are 'scores'"):
        cv["other"]
    column.extend([1.0] * 5000)
    assert cv.delete_column("scores") is True
    assert cv.delete_column("scores") is False
    for operation in (lambda: len(column), lambda: column.append(1.0), lambda: column[:]):
        with pytest.raises(NotFound, match="deleted"):
            operation()
    new = cv.create_column("scores", "i64")
    assert new[:] == []
    with pytest.raises(NotFound, match="deleted"):
        column.append(1.0)


@pytest.mark.parametrize(
    "dtype_", ["", "i63", "vec", "vec:f32:0", "vec:f32:-1", "vec:str:3", "str:klingon", "bytes:0", 5, None]
)
def test_an_unknown_dtype_is_named(dtype_):
    with pytest.raises((InvalidArgument, UnsupportedType), match="dtype"):
        ColumnVault(":memory:").create_column("c", dtype_)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", None, 5])
def test_an_impossible_name_is_refused(name):
    with pytest.raises((InvalidArgument, UnsupportedType), match="name"):
        ColumnVault(":memory:").create_column(name, "i64")


def test_every_kind_of_bind(bind):
    cv = ColumnVault(bind)
    numbers, texts = cv.create_column("n", "i64"), cv.create_column("t", "str:utf8")
    numbers.extend(range(5000))
    texts.extend(map(str, range(5000)))
    numbers[2500:2600] = [-1]
    del texts[10]
    texts[0] = "zero"
    numbers.insert(0, 7)
    model = [7, *range(5000)]
    model[2501:2601] = [-1]
    assert numbers[:] == model
    assert texts[:] == ["zero", *map(str, [*range(1, 10), *range(11, 5000)])]
    assert numbers.pop() == 4999


def test_a_second_handle_and_a_reopened_vault_see_the_same(cv):
    column = cv.create_column("c", "i64", block_bytes=64)
    other = cv["c"]
    column.extend(range(5))
    other.extend(range(5, 20))
    assert column[:] == other[:] == ColumnVault(cv)["c"][:] == list(range(20))
    assert cv.list_columns() == [("c", "i64", 20)]


# -- handles of columns that are renamed, deleted or made anew -----------------------------------------


def test_a_renamed_column_keeps_its_handles(cv):
    column = cv.create_column("old", "i64")
    elsewhere = ColumnVault(cv)["old"]
    column.append(1)
    cv.rename_column("old", "new")
    column.append(2)
    elsewhere.append(3)
    assert column.name == "new"
    assert column[:] == elsewhere[:] == cv["new"][:] == [1, 2, 3]
    with pytest.raises(NotFound, match="no column 'old'"):
        cv["old"]
    cv.create_column("old", "str").append("other")
    assert elsewhere[:] == [1, 2, 3]


def test_a_rename_that_is_rolled_back(cv):
    column, other = cv.create_column("old", "i64"), cv.create_column("other", "i64")
    for made in (False, True):
        with suppress(ZeroDivisionError), cv.transaction():
            if made:
                cv.create_column("lost", "i64")
            cv.rename_column("old", "newer")
            cv.rename_column("newer", "newest")
            column.append(1)
            assert cv["newest"][:] == [1]
            raise ZeroDivisionError
        assert column[:] == []
        assert column.name == "old"
        other.append(1)
    column.append(5)
    assert cv["old"][:] == [5]
    with cv.transaction():
        with suppress(ZeroDivisionError), cv.transaction():
            cv.rename_column("old", "new")
            raise ZeroDivisionError
        column.append(6)
    assert (column.name, column[:]) == ("old", [5, 6])


def test_a_column_whose_making_was_rolled_back_is_not_the_next_of_its_name(cv):
    kept = cv.create_column("kept", "i64")
    with suppress(ZeroDivisionError), cv.transaction():
        lost = cv.create_column("c", "i64")
        lost.append(1)
        kept.append(1)
        raise ZeroDivisionError
    with pytest.raises(NotFound):
        lost.append(2)
    other = cv.create_column("c", "str:utf8")
    other.append("x")
    for operation in (lambda: lost.append(2), lambda: lost[:], lambda: len(lost), lost.clear, lambda: lost[0]):
        with pytest.raises(NotFound):
            operation()
    assert lost.dtype == "i64"
    kept.append(2)
    assert (kept[:], other[:], cv["c"][:]) == ([2], ["x"], ["x"])


def test_another_column_that_gets_the_id_of_one_that_was_rolled_back(cv):
    with suppress(ZeroDivisionError), cv.transaction():
        lost = cv.create_column("lost", "i64")
        raise ZeroDivisionError
    other = cv.create_column("other", "i64")
    for operation in (lambda: lost.append(2), lambda: lost[:], lambda: len(lost)):
        with pytest.raises(NotFound):
            operation()
    assert other[:] == []


def test_a_deletion_that_is_rolled_back_and_one_that_is_not(cv):
    column = cv.create_column("c", "i64")
    column.extend([1, 2])
    with suppress(ZeroDivisionError), cv.transaction():
        assert cv.delete_column("c")
        anew = cv.create_column("c", "str")
        anew.append("x")
        with pytest.raises(NotFound):
            column.append(3)
        raise ZeroDivisionError
    assert column[:] == cv["c"][:] == [1, 2]
    with pytest.raises(NotFound):
        anew.append("y")
    with cv.transaction():
        assert cv.delete_column("c")
        anew = cv.create_column("c", "str")
        anew.append("x")
    with pytest.raises(NotFound, match="deleted"):
        column.append(3)
    assert anew[:] == cv["c"][:] == ["x"]


def test_handles_of_a_session_that_is_rolled_back(engine):
    ColumnVault(engine).create_column("c", "i64").extend([1, 2])
    with Session(engine) as session:
        cv = ColumnVault(session)
        column = cv["c"]
        column.append(3)
        cv.rename_column("c", "d")
        lost = cv.create_column("c", "str")
        lost.append("x")
        session.rollback()
        assert (column[:], column.name) == ([1, 2], "c")
        with pytest.raises(NotFound):
            lost.append("y")
        column.append(4)
        session.commit()
    assert ColumnVault(engine)["c"][:] == [1, 2, 4]


def test_another_process_deletes_makes_and_renames(new_url):
    for database in ("sqlite", "postgresql"):
        engines = [create_engine(new_url(database))]
        engines.append(create_engine(engines[0].url))
        here, there = map(ColumnVault, engines)
        column = here.create_column("c", "i64", block_bytes=64)
        column.extend(range(20))
        assert there.delete_column("c")
        there.create_column("c", "str").append("x")
        for operation in (
            lambda column=column: column.append(1),
            lambda column=column: column.__setitem__(3, 1),
            lambda column=column: column[3],
            lambda column=column: column[2:5],
            lambda column=column: column[-1],
            lambda column=column: list(column),
            lambda column=column: column.insert(0, 1),
            lambda column=column: column.sum(),
            lambda column=column: column.extend(range(50)),
            column.clear,
        ):
            with pytest.raises(NotFound, match="deleted"):
                operation()
        assert "deleted" in repr(column)
        column = here["c"]
        there.rename_column("c", "d")
        column.append("y")
        assert there["d"][:] == ["x", "y"]
        for engine in engines:
            engine.dispose()


def test_an_existing_column_has_the_options_that_ensure_is_given(cv):
    plain = cv.ensure("plain", "i64")
    checked = cv.ensure("checked", "i64", compression="zstd:5", checksum=True, block_bytes=1000)
    assert cv.ensure("plain", "i64") is plain
    assert cv.ensure("checked", "i64") is checked
    assert cv.ensure("checked", "i64", compression="zstd:5", checksum=True, block_bytes=1000) is checked
    for options in ({"checksum": True}, {"compression": "zstd"}, {"block_bytes": 128}):
        with pytest.raises(InvalidArgument, match=f"made with {next(iter(options))}="):
            cv.ensure("plain", "i64", **options)


def test_del_removes_a_column(cv):
    cv.create_column("a", "i64")
    del cv["a"]
    assert list(cv) == []
    with pytest.raises(NotFound, match="no column 'a'"):
        del cv["a"]


def test_a_name_has_at_most_1000_bytes(cv):
    cv.create_column("ä" * 500, "i64").append(1)
    assert cv["ä" * 500][:] == [1]
    with pytest.raises(InvalidArgument, match="1001 bytes"):
        cv.create_column("ä" * 500 + "x", "i64")


def test_vaults_and_columns_that_were_opened_by_path_can_be_pickled(tmp_path):
    cv = ColumnVault(tmp_path / "a.db", block_bytes=1000, read_cache=1 << 20)
    numbers = cv.create_column("numbers", "i64")
    numbers.extend([1, 2])
    again = pickle.loads(pickle.dumps(cv))
    assert again.read_cache.capacity == 1 << 20
    again["numbers"].append(3)
    column = pickle.loads(pickle.dumps(numbers))
    assert column == [1, 2, 3]
    assert copy.deepcopy(numbers) == numbers
    with pytest.raises(UnsupportedType, match="cannot be pickled"):
        pickle.dumps(ColumnVault(cv.engine))


@pytest.mark.parametrize(
    "table",
    [
        "kvault_col_columns(col_id INTEGER PRIMARY KEY, name TEXT, dtype TEXT, elem_size INTEGER, length INTEGER)",
        "col_meta(col_id INTEGER PRIMARY KEY, name TEXT, dtype TEXT, elem_size INTEGER, chunk_bytes INTEGER)",
    ],
)
def test_a_file_of_an_old_release_is_not_taken_for_one_without_columns(tmp_path, table):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table}")
    with pytest.raises(SchemaMismatch, match="kohakuvault import OLD NEW"):
        ColumnVault(path)
    with closing(sqlite3.connect(path)) as connection:
        assert len(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()) == 1
