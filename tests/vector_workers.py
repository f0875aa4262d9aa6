"""Processes that use one VectorKVault at once, or are killed: ``python vector_workers.py SCENARIO URL …``.

See test_vector_faults.py. Each scenario runs in a process of its own that has no threads, and forks its workers, which
is a hundred times quicker than to start an interpreter for each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
from sqlalchemy import Integer

from column_workers import forked, together
from kohakuvault import VectorKVault, create_engine
from vector_model import check_found, distance

DIMENSIONS = 16


def opened(url: str, options: str) -> VectorKVault:
    """Open the vault of a worker; ``options`` are the constructor's, as JSON."""
    return VectorKVault(create_engine(url), "v", DIMENSIONS, "l2", metadata={"batch": Integer()}, **json.loads(options))


def vectors_of(batch: int, count: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((count, DIMENSIONS)).astype(np.float32)


# -- killed --------------------------------------------------------------------------------------------


def killing(url: str, options: str, rounds: str) -> None:
    """Kill writers at any moment: of each batch there is all or nothing, and what was acknowledged is there."""
    opened(url, options).engine.dispose()
    rng = random.Random(1)
    batch = 1
    acknowledged: set[int] = set()
    for _ in range(int(rounds)):
        reading, writing = os.pipe()
        writer = forked(write_batches, url, options, batch, writing)
        os.close(writing)
        # Behind the first batch, whenever that is.
        count = len(os.read(reading, 1))
        time.sleep(rng.uniform(0, 0.2))
        os.kill(writer, signal.SIGKILL)
        _, status = os.waitpid(writer, 0)
        assert os.WIFSIGNALED(status), f"the writer ended by itself with {status}"
        with os.fdopen(reading, "rb") as done:
            count += len(done.read())
        acknowledged.update(range(batch, batch + count))
        # One more may have been written, and not acknowledged.
        batch += count + 1
        check_batches(url, options, acknowledged)


def write_batches(url: str, options: str, batch: int, acknowledge: int) -> None:
    vault = opened(url, options)
    while True:
        count = size_of(batch)
        if batch % 3 == 0:
            with vault.transaction():
                for vector in vectors_of(batch, count):
                    vault.insert(vector, batch, {"batch": batch})
        else:
            vault.insert_many(
                vectors_of(batch, count), [batch] * count, {"batch": [batch] * count} if batch % 2 else None
            )
            if not batch % 2:
                mark(vault, batch)
        os.write(acknowledge, b".")
        batch += 1


def mark(vault: VectorKVault, batch: int) -> None:
    """Say of which batch rows are, in a second transaction, by upsert_many and delete_many."""
    ids = [id for id, (_, value) in vault.items() if value == batch]
    with vault.transaction():
        vault.upsert_many(ids, vectors_of(batch, len(ids)), [batch] * len(ids), {"batch": [batch] * len(ids)})
        vault.delete_many(vault.insert_many(vectors_of(0, 3), [batch] * 3))


def size_of(batch: int) -> int:
    return 5 + batch * 7 % 60


def check_batches(url: str, options: str, acknowledged: set[int]) -> None:
    vault = opened(url, options)
    found: dict[int, list[tuple[int, np.ndarray]]] = {}
    for id, (vector, value) in vault.items():
        found.setdefault(value, []).append((id, vector))
    for batch, rows in found.items():
        assert len(rows) == size_of(batch), (batch, len(rows), size_of(batch))
        assert np.array_equal([vector for _, vector in rows], vectors_of(batch, len(rows))), batch
    assert acknowledged <= set(found)
    assert vault.check() == []
    if found:
        last = max(found)
        everything = {id: (vector, batch, None) for batch, rows in found.items() for id, vector in rows}
        query = vectors_of(last, 1)[0]
        check_found(vault.search(query, 10), everything, query, "l2", 10)
    vault.engine.dispose()


# -- at once -------------------------------------------------------------------------------------------


def together_writing_and_searching(url: str, options: str, seconds: str) -> None:
    """Two insert and delete whole batches, two search: whoever searches sees whole batches, at their distances."""
    opened(url, options).engine.dispose()
    end = time.monotonic() + float(seconds)
    workers = [forked(write, url, options, number, end) for number in range(2)]
    workers += [forked(search, url, options, end) for _ in range(2)]
    together(workers)
    vault = opened(url, options)
    assert vault.check() == []
    counts = Counter(value for _, (_, value) in vault.items())
    assert all(count == size_of(batch) for batch, count in counts.items())
    assert counts


def write(url: str, options: str, me: int, end: float) -> None:
    vault = opened(url, options)
    kept: list[list[int]] = []
    batch = me
    while time.monotonic() < end or len(kept) < 3:
        batch += 2
        count = size_of(batch)
        kept.append(vault.insert_many(vectors_of(batch, count), [batch] * count, {"batch": [batch] * count}))
        if len(kept) > 5:
            ids = kept.pop(0)
            assert vault.delete_many(ids) == len(ids)
        vault.update(kept[-1][0], vector=vectors_of(batch, 1)[0])


def search(url: str, options: str, end: float) -> None:
    vault = opened(url, options)
    rng = random.Random(os.getpid())
    while time.monotonic() < end:
        query = vectors_of(rng.randrange(50), 1)[0]
        with vault.snapshot():
            hits = vault.search(query, 30)
            everything: dict[int, tuple[np.ndarray, Any, None]] = {
                id: (vector, value, None) for id, (vector, value) in vault.items()
            }
            check_found(hits, everything, query, "l2", 30)
            for batch in {value for _, _, value in hits}:
                assert sum(value == batch for _, value, _ in everything.values()) == size_of(batch)
        for id, given, value in vault.search(query, 5):
            # By now the row may be gone, but it was at that distance.
            row = everything.get(id)
            assert row is None or (row[1] == value and abs(distance("l2", row[0], query) - given) < 1e-4)


if __name__ == "__main__":
    scenarios = {"killing": killing, "at_once": together_writing_and_searching}
    scenarios[sys.argv[1]](*sys.argv[2:])
