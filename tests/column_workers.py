"""Processes that use one column at once, or are killed: ``python column_workers.py SCENARIO URL …``.

See test_column_faults.py. Each scenario runs in a process of its own that has no threads, and forks its workers, which
is a hundred times quicker than to start an interpreter for each.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sqlalchemy

from column_model import check_storage, elements
from kohakuvault import Column, ColumnVault, DriverError, NotFound, create_engine
from kohakuvault.database_address import as_url
from kohakuvault.orm.tables import Block, ColumnRecord, Payload


def forked(work: Callable[..., None], *arguments: Any) -> int:
    """Run ``work`` in a child process and return its id; it exits with 1 if it raises."""
    child = os.fork()
    if child:
        return child
    try:
        work(*arguments)
    except BaseException:  # noqa: BLE001 (nothing of the parent's may run in the child)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def together(workers: list[int]) -> None:
    """Wait for all, and fail if one has failed."""
    for worker in workers:
        _, status = os.waitpid(worker, 0)
        assert status == 0, f"a worker ended with {status}"


def opened(url: str) -> ColumnVault:
    return ColumnVault(create_engine(url))


# -- eight at once -------------------------------------------------------------------------------------


def appending(url: str, dtype: str) -> None:
    vault = opened(url)
    vault.create_column("c", dtype, block_bytes=256)
    vault.engine.dispose()
    together([forked(append, url, dtype, number) for number in range(8)])
    column = opened(url)["c"]
    check_storage(column)
    found = [int(value) for value in column]
    for number in range(8):
        # Nothing lost, and in order.
        assert [value % 1000 for value in found if value // 1000 == number] == list(range(210)), number
    # Those of one operation are not torn apart.
    for index, value in enumerate(found):
        if value % 1000 in (*range(60, 150, 3), *range(150, 210, 6)):
            many = 3 if value % 1000 < 150 else 6
            assert found[index : index + many] == list(range(value, value + many))
    assert len(found) == 8 * 210


def append(url: str, dtype: str, me: int) -> None:
    vault = opened(url)
    column = vault["c"]
    values: list[Any] = list(range(me * 1000, me * 1000 + 210))
    if dtype != "i64":
        values = [str(value) for value in values]
    for value in values[:60]:
        column.append(value)
    for start in range(60, 150, 3):
        column.extend(values[start : start + 3])
    for start in range(150, 210, 6):
        with vault.transaction():
            column.extend(values[start : start + 3])
            for value in values[start + 3 : start + 6]:
                column.append(value)


# -- readers beside writers ----------------------------------------------------------------------------


def changing(url: str, compression: str, seconds: str) -> None:
    """Writers insert and delete pairs of ``x, -x`` in the middle: whoever reads sees whole pairs."""
    vault = opened(url)
    options: dict[str, Any] = {"compression": "zstd:1", "checksum": True} if compression == "zstd" else {}
    column = vault.create_column("c", "i64", block_bytes=64, **options)
    column.extend([sign * value for value in range(1, 31) for sign in (1, -1)])
    vault.engine.dispose()
    end = time.monotonic() + float(seconds)
    workers = [forked(change, url, number, end) for number in range(2)]
    workers += [forked(watch, url, end) for _ in range(2)]
    together(workers)
    column = opened(url)["c"]
    check_storage(column)
    assert column.sum() == 0


def change(url: str, me: int, end: float) -> None:
    column = opened(url)["c"]
    rng = random.Random(me)
    number = 1
    while time.monotonic() < end:
        place = 2 * rng.randrange(60)
        number += 1
        if len(column) > 100:
            del column[place : place + 2 * rng.randint(1, 20)]
        elif rng.random() < 0.3:
            column[place : place + 4] = [number, -number] * rng.randint(0, 5)
        else:
            column[place:place] = [number, -number] * rng.randint(1, 9)
    assert number > 5


def watch(url: str, end: float) -> None:
    column = opened(url)["c"]
    reads = 0
    while time.monotonic() < end:
        for values in (
            column[:],
            column.to_numpy().tolist(),
            list(column),
            column[-8:],
            column[::-1][::-1],
            column[4:24],
        ):
            assert len(values) % 2 == 0
            assert values[::2] == [-value for value in values[1::2]], values
        assert column.sum() == 0
        reads += 1
    assert reads > 2


# -- deleted and made anew meanwhile ---------------------------------------------------------------------


def replacing(url: str) -> None:
    vault = opened(url)
    vault.create_column("c", "i64", block_bytes=64)
    vault.engine.dispose()
    workers = [forked(use_what_there_is, url, number) for number in range(4)]
    vault = opened(url)
    for number in range(25):
        time.sleep(0.02)
        if number % 2:
            vault.rename_column("c", f"c{number}")
        else:
            vault.delete_column("c")
        vault.create_column("c", "str:utf8" if number % 3 else "i64", block_bytes=64)
    time.sleep(0.05)
    vault.delete_column("c")
    together(workers)
    for name in vault:
        check_storage(vault[name])
    with vault.binding.inspecting() as connection:
        ids = set(connection.scalars(sqlalchemy.select(ColumnRecord.id)))
        assert set(connection.scalars(sqlalchemy.select(Block.column_id))) <= ids
        assert {number // 2**32 for number in connection.scalars(sqlalchemy.select(Payload.id))} <= ids


def use_what_there_is(url: str, me: int) -> None:
    vault = opened(url)
    done = 0
    for number in itertools.count():
        try:
            column = vault["c"]
        except NotFound:
            if list(vault) and done > 3 and number > 50 and "c" not in vault:
                time.sleep(0.05)
                if "c" not in vault:
                    return
            continue
        value = (lambda n: str(n)) if column.dtype == "str:utf8" else int
        with suppress(NotFound):
            for step in range(20):
                column.append(value(me))
                column.extend([value(step)] * 7)
                column.insert(3, value(number % 1000))
                del column[:2]
                assert len(column[:]) <= 10_000
                done += 1
        if len(vault) == 0:
            return


# -- killed ----------------------------------------------------------------------------------------------


def operate(target: Any, number: int, pool: list[Any]) -> None:
    """Do the operation of that number to a column, or a list."""
    rng = random.Random(number)
    length = len(target)
    some = rng.choices(pool, k=rng.choice([1, 3, 40]))
    place = rng.randrange(length + 1)
    kind = number % 8
    if length > 400:
        del target[rng.randrange(50) : -20]
    elif kind == 0:
        target.append(some[0])
    elif kind == 1:
        target.extend(some)
    elif kind in (2, 3):
        target.insert(place, some[0])
    elif kind == 4:
        target[place : place + rng.choice([0, 10, 100])] = some * rng.choice([1, 3])
    elif kind == 5:
        target.sort(key=repr, reverse=bool(number % 3))
    elif kind == 6:
        del target[place : place + rng.choice([1, 20])]
    elif length:
        target[min(place, length - 1)] = some[0]


def killing(url: str, dtype: str, how: str, kills: str) -> None:
    """A worker operates, and is killed at any moment; then all of an operation is there, or nothing of it."""
    pool = elements(dtype, 30)
    vault = opened(url)
    options: dict[str, Any] = {"compression": "zstd:1", "checksum": True} if how == "zstd" else {}
    for name in "ab":
        vault.create_column(name, dtype, block_bytes=64, **options)
    vault.engine.dispose()
    model: list[Any] = []
    number = 0
    rng = random.Random(1)
    for _ in range(int(kills)):
        reading, writing = os.pipe()
        worker = forked(operate_until_killed, url, how, pool, number, writing)
        os.close(writing)
        # From the first operation on, before which there is more to do.
        acknowledged = os.read(reading, 1)
        time.sleep(rng.random() ** 2 * 0.05)
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        while more := os.read(reading, 65536):
            acknowledged += more
        os.close(reading)
        for _ in acknowledged:
            operate(model, number, pool)
            number += 1
        vault = opened(url)
        wait_for_the_end(vault)
        found = [vault[name][:] for name in "ab"]
        check_storage(vault["a"])
        if found[0] != model:
            # It was done, and not told any more.
            operate(model, number, pool)
            number += 1
        assert found[0] == model, number
        if how == "transaction":
            assert found[1] == model, number
        vault.engine.dispose()
    assert number >= int(kills)


def wait_for_the_end(vault: ColumnVault) -> None:
    """Wait until the database server has noticed that the worker is dead: it may still do what it was told."""
    if vault.engine.dialect.name == "postgresql":
        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'to be killed'"
        with vault.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while connection.scalar(sqlalchemy.text(others)):
                time.sleep(0.005)


def operate_until_killed(url: str, how: str, pool: list[Any], number: int, told: int) -> None:
    where = as_url(url)
    if where.get_backend_name() == "postgresql":
        where = where.update_query_dict({"application_name": "to be killed"})
    vault = ColumnVault(create_engine(where))
    columns: list[Column] = [vault[name] for name in "ab"]
    for step in itertools.count(number):
        if how == "transaction":
            with vault.transaction():
                for column in columns:
                    operate(column, step, pool)
        else:
            operate(columns[0], step, pool)
        os.write(told, b".")


# -- full disks, forks -----------------------------------------------------------------------------------


def full_disk(path: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    vault = opened(path)
    numbers, texts = vault.create_column("n", "i64"), vault.create_column("t", "str:utf8")
    numbers.extend(range(5000))
    texts.extend(map(str, range(5000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    big = list(range(1_000_000))
    for operation in (
        lambda: numbers.extend(big),
        lambda: numbers.__setitem__(slice(10, 20), big),
        lambda: texts.extend(map(str, big)),
        lambda: texts.insert(3, "x" * 5_000_000),
        lambda: texts.__setitem__(4000, "x" * 5_000_000),
    ):
        try:
            operation()
        except DriverError:
            pass
        else:
            raise AssertionError("the disk was not full")
        assert numbers[:] == list(range(5000))
        assert texts[:] == list(map(str, range(5000)))
    for column in (numbers, texts):
        check_storage(column)
    numbers[7] = -1
    texts.append("more")
    assert (numbers[7], texts[-1], len(texts)) == (-1, "more", 5001)


def forking(url: str) -> None:
    vault = opened(url)
    column = vault.create_column("c", "i64", block_bytes=64)
    column.extend(range(20))
    assert column[3] == 3

    def use(me: int) -> None:
        # The handle of the parent.
        for step in range(20):
            column.append(1000 * me + step)
            assert column[3] == 3
            column[5] = 5

    workers = [forked(use, number) for number in range(1, 4)]
    use(0)
    together(workers)
    check_storage(column)
    found = column[20:]
    for me in range(4):
        assert [value % 1000 for value in found if value // 1000 == me] == list(range(20))
    assert len(found) == 80


if __name__ == "__main__":
    scenarios = {"appending": appending, "changing": changing, "replacing": replacing, "killing": killing}
    scenarios |= {"full_disk": full_disk, "forking": forking}
    scenarios[sys.argv[1]](*sys.argv[2:])
