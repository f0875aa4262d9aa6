"""VectorKVaults that several processes use at once, or whose writer is killed: whole batches, or none of their rows.

``make stress`` kills many more times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from kohakuvault import DatabaseBusy, DriverError, VectorKVault, create_engine

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its processes are forked"),
    pytest.mark.timeout(3600 if STRESS else 120),
]

WORKERS = Path(__file__).parent / "vector_workers.py"

# What a vault is opened with. Each is run on every database.
OPTIONS: list[dict[str, Any]] = [{"index": None}, {"index": "exact"}]


def run(scenario: str, url: object, options: dict[str, Any], *arguments: object) -> None:
    """Run a scenario of vector_workers.py in a process of its own."""
    text = url.render_as_string(hide_password=False)
    command = [sys.executable, str(WORKERS), scenario, text, json.dumps(options), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_killed_writer_leaves_whole_batches(url, options):
    few, many = (12, 350) if url.get_backend_name() == "sqlite" else (4, 60)
    run("killing", url, options, many if STRESS else few)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_searches_beside_writers_see_whole_batches(url, options):
    run("at_once", url, options, 30 if STRESS else 2)


def test_threads_share_a_vault(engine):
    vault = VectorKVault(engine, "v", dimensions=4, metric="l2")
    vault.insert([0, 0, 0, 0], "origin")
    errors: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work(me: int) -> None:
        barrier.wait()
        try:
            for step in range(15):
                ids = vault.insert_many(np.full((5, 4), me + 1), [me] * 5)
                vault.update(ids[0], value=(me, step))
                assert vault.get_by_id(ids[0])[1] == (me, step)
                assert vault.delete_many(ids[1:3]) == 2
                assert vault.search([0, 0, 0, 0], 1)[0][2] == "origin"
                assert len(vault.search_many(np.ones((3, 4)), 2)) == 3
        except BaseException as error:  # noqa: BLE001 (whatever it is, the test shows it)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(vault) == 1 + 6 * 15 * 3
    assert vault.check() == []


def test_a_writer_that_is_locked_out_says_so_and_writes_nothing(tmp_path):
    engine = create_engine(tmp_path / "a.db", pragmas={"busy_timeout": 50})
    vault = VectorKVault(engine, "v", dimensions=2)
    ids = vault.insert_many(np.ones((3, 2)))
    other = create_engine(tmp_path / "a.db")
    with Session(other) as session:
        VectorKVault(session, "v", dimensions=2).insert([1, 2])
        for write in (
            lambda: vault.insert([1, 2]),
            lambda: vault.insert_many(np.ones((3, 2))),
            lambda: vault.upsert(1, [1, 2]),
            lambda: vault.delete_many(ids),
        ):
            with pytest.raises(DatabaseBusy):
                write()
        assert len(vault.search([1, 1])) == 3
        session.rollback()
    assert list(vault) == ids
    other.dispose()
    engine.dispose()


def test_an_error_of_the_database_half_way_undoes_the_whole(tmp_path):
    vault = VectorKVault(tmp_path / "a.db", "v", dimensions=2)
    ids = vault.insert_many(np.ones((1000, 2)), range(1000))
    with vault.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON v WHEN new.id = 1700 BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER keep BEFORE DELETE ON v WHEN old.id = 900 BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    for write in (
        lambda: vault.insert_many(np.ones((1000, 2)), range(1000)),
        lambda: vault.upsert_many(range(1500, 1800), np.ones((300, 2))),
        lambda: vault.delete_many(ids),
        vault.clear,
    ):
        with pytest.raises(DriverError, match="refused"):
            write()
        assert list(vault) == ids
