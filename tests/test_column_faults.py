"""Columns that several processes use at once, or whose writer is killed: one state or another, never a mixture.

``make stress`` kills a thousand times.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from column_model import all_equal, check_storage, elements
from kohakuvault import ColumnVault, DatabaseBusy, create_engine

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its processes are forked"),
    pytest.mark.timeout(3600 if STRESS else 120),
]

WORKERS = Path(__file__).parent / "column_workers.py"


def run(scenario: str, url: object, *arguments: object) -> None:
    """Run a scenario of column_workers.py in a process of its own."""
    text = url.render_as_string(hide_password=False) if hasattr(url, "render_as_string") else str(url)
    command = [sys.executable, str(WORKERS), scenario, text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("dtype", ["i64", "str:utf8"])
def test_eight_processes_append_at_once(url, dtype):
    run("appending", url, dtype)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_read_beside_writers_is_of_one_state(url, compression):
    run("changing", url, compression, 30 if STRESS else 1.5)


def test_columns_are_deleted_renamed_and_made_while_others_use_them(url):
    run("replacing", url)


@pytest.mark.parametrize(
    ("dtype", "how"), [("i64", "plain"), ("str:utf8", "plain"), ("i64", "transaction"), ("str:utf8", "zstd")]
)
def test_a_killed_writer_leaves_the_state_before_or_after(url, dtype, how):
    few, many = (12, 350) if url.get_backend_name() == "sqlite" else (4, 60)
    run("killing", url, dtype, how, many if STRESS else few)


def test_a_full_disk_changes_nothing(tmp_path):
    run("full_disk", tmp_path / "a.db")


def test_forked_processes_use_the_handle_of_their_parent(tmp_path):
    run("forking", tmp_path / "a.db")


@pytest.mark.parametrize("dtype", ["i64", "str:utf8"])
def test_threads_share_a_handle(engine, dtype):
    column = ColumnVault(engine).create_column("c", dtype, block_bytes=64)
    convert = int if dtype == "i64" else str
    column.extend(map(convert, range(8)))
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work(me: int) -> None:
        barrier.wait()
        try:
            for step in range(25):
                column.append(convert(me * 100 + 100 + step))
                column.extend([convert(me * 100 + 150 + step)] * 2)
                column[me] = convert(me)
                assert column[me] == convert(me)
                assert column[:8] == list(map(convert, range(8)))
                assert len(column[-3:]) == 3
                if dtype == "i64":
                    assert column.sum(0, 8) == 28
        except BaseException as error:  # noqa: BLE001 (whatever it is, the test shows it)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check_storage(column)
    found = [int(value) for value in column[8:]]
    for me in range(8):
        mine = [value - me * 100 - 100 for value in found if me * 100 + 100 <= value < me * 100 + 200]
        assert [value for value in mine if value < 50] == list(range(25))
        assert [value - 50 for value in mine if value >= 50] == [step for step in range(25) for _ in "ab"]
    assert len(found) == 8 * 75


@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "checksum": True}], ids=["plain", "zstd+checksum"])
def test_a_database_that_somebody_keeps_locked_is_read_and_not_changed(tmp_path, options):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 20})
    column = ColumnVault(engine).create_column("c", "i64", block_bytes=64, **options)
    column.extend(range(30))
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for write in (
        lambda: column.append(1),
        lambda: column.extend([1, 2]),
        lambda: column.extend(range(100)),
        lambda: column.__setitem__(3, 1),
        lambda: column.__setitem__(-1, 1),
        lambda: column.__setitem__(slice(3, 20), [1]),
        lambda: column.__setitem__([1, 2], [1, 2]),
        lambda: column.insert(5, 1),
        lambda: column.__delitem__(slice(3, 9)),
        column.pop,
        column.reverse,
        column.sort,
        column.clear,
        lambda: column.remove(7),
        lambda: column._vault.delete_column("c"),
        lambda: column._vault.rename_column("c", "d"),
        lambda: column._vault.create_column("d", "i64"),
    ):
        with pytest.raises(DatabaseBusy):
            write()
        assert column[:] == list(range(30))
    assert (column[3], column[-1], column.sum()) == (3, 29, 435)
    other.execute("COMMIT")
    other.close()
    column.append(30)
    assert column[:] == list(range(31))
    engine.dispose()


@pytest.mark.parametrize("dtype", ["i64", "str:utf8", "vec:f32:3"])
def test_what_a_session_rolls_back_was_never_there(engine, dtype):
    values = elements(dtype, 100)
    ColumnVault(engine).create_column("c", dtype, block_bytes=64).extend(values[:50])
    with Session(engine) as session:
        column = ColumnVault(session)["c"]
        for change in (
            lambda: column.append(values[60]),
            lambda: column.extend(values),
            lambda: column.__setitem__(3, values[60]),
            lambda: column.__setitem__(-1, values[60]),
            lambda: column.__setitem__(slice(3, 30), values[60:70]),
            lambda: column.insert(20, values[60]),
            lambda: column.__delitem__(slice(0, 40)),
            column.pop,
            column.reverse,
            column.clear,
        ):
            change()
            assert not all_equal(column[:], values[:50])
            session.rollback()
            assert all_equal(column[:], values[:50])
            check_storage(column)
        column.append(values[99])
        session.commit()
    assert all_equal(ColumnVault(engine)["c"][:], [*values[:50], values[99]])
