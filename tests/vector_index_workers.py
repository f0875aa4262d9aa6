"""Processes that write to one vector index at once, or are killed: ``python vector_index_workers.py SCENARIO URL …``.

See test_vector_index_faults.py. The scenarios of vector_workers.py are run with small thresholds, so that everything is
folded soon, and some of their own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import numpy as np

import vector_workers
from column_workers import forked, together
from vector_indexes import small_thresholds
from vector_model import check_found
from vector_workers import opened, vectors_of


def check_about(*arguments: object) -> None:
    """As check_found, of searches that may miss some."""
    check_found(*arguments, is_exact=False)  # type: ignore[arg-type, misc]


def rebuilding(url: str, options: str, rounds: str) -> None:
    """Kill whoever builds an index anew, beside one who inserts: it is the old one or the new one."""
    vault = opened(url, options)
    ids = vault.insert_many(vectors_of(0, 600))
    vault.optimize()
    vault.engine.dispose()
    rng = random.Random(2)
    for _ in range(int(rounds)):
        workers = [forked(rebuild, url, options), forked(churn, url, options)]
        time.sleep(rng.uniform(0.1, 0.4))
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
            _, status = os.waitpid(worker, 0)
            assert os.WIFSIGNALED(status), f"a worker ended by itself with {status}"
        vault = opened(url, options)
        assert vault.check() == []
        assert set(ids) <= set(vault)
        found = vault.search(vectors_of(0, 1)[0], 5)
        assert len(found) == 5
        vault.engine.dispose()


def rebuild(url: str, options: str) -> None:
    vault = opened(url, options)
    while True:
        vault.rebuild_index()
        vault.optimize()


def churn(url: str, options: str) -> None:
    vault = opened(url, options)
    batch = os.getpid()
    while True:
        ids = vault.insert_many(vectors_of(batch, 100))
        vault.upsert_many(ids[:50], vectors_of(batch + 1, 50))
        vault.delete_many(ids)


def at_once(url: str, options: str, seconds: str) -> None:
    """Two who write, one who builds the index anew, two who search."""
    vault = opened(url, options)
    ids = vault.insert_many(np.tile(np.full(16, 30.0, np.float32), (50, 1)))
    vault.engine.dispose()
    end = time.monotonic() + float(seconds)
    workers = [forked(churn_until, url, options, end) for _ in range(2)]
    workers += [
        forked(rebuild_until, url, options, end),
        *(forked(find_until, url, options, ids, end) for _ in range(2)),
    ]
    together(workers)
    vault = opened(url, options)
    assert vault.check() == []
    assert sorted(vault) == sorted(ids)
    vault.engine.dispose()


def churn_until(url: str, options: str, end: float) -> None:
    vault = opened(url, options)
    batch = os.getpid()
    while time.monotonic() < end:
        ids = vault.insert_many(vectors_of(batch, 100))
        vault.upsert_many(ids[:50], vectors_of(batch + 1, 50))
        assert vault.delete_many(ids) == 100


def rebuild_until(url: str, options: str, end: float) -> None:
    vault = opened(url, options)
    while time.monotonic() < end:
        vault.rebuild_index()
        time.sleep(0.05)


def find_until(url: str, options: str, ids: list[int], end: float) -> None:
    vault = opened(url, options)
    while time.monotonic() < end:
        found = vault.search(np.full(16, 30.0), 50)
        assert sorted(id for id, _, _ in found) == ids
        assert {far for _, far, _ in found} == {0.0}


if __name__ == "__main__":
    scenarios = {
        "killing": vector_workers.killing,
        "whole_batches": vector_workers.together_writing_and_searching,
        "rebuilding": rebuilding,
        "at_once": at_once,
    }
    if json.loads(sys.argv[3]).get("index") != "exact":
        vector_workers.check_found = check_about
    with small_thresholds():
        scenarios[sys.argv[1]](*sys.argv[2:])
