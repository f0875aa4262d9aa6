"""``KVault`` beside the raw cursor and other persistent dicts: 256-byte values, 10,000 keys; then more of them."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, time
from typing import Any

import peers
import raw
from harness import Report, Target, as_fast, in_turns, times_raw
from kohakuvault import KVault
from kohakuvault.kv.statements import KVStatements, kv_statements
from kohakuvault.orm.tables import table_of
from kohakuvault.packing import pack
from kv_operations import VALUE, Operations, new_value
from memory import growth_of_iterating, in_new_process
from peers import UPSTREAM

SIZE = 10_000

# What is printed, what is run, how many of it in a round, rounds, what should be reached. A round that writes is
# short, so that in most of them no checkpoint of the WAL (every 1000 pages, with its fsync) falls.
ROWS: list[tuple[str, str, int, int, tuple[Target, ...]]] = [
    ("kv[key]", "read", 1000, 51, (times_raw(1.3),)),
    ("key in kv", "contains", 1000, 51, (times_raw(1.3),)),
    ("kv[key] = value, autocommit", "put", 50, 101, (times_raw(1.3),)),
    ("kv[key], hot, read_cache", "cached_read", 1000, 51, (as_fast(8, UPSTREAM),)),
    ("put_many, keys that are there", "set_many", SIZE, 15, (as_fast(1, UPSTREAM),)),
    ("put_many, new keys", "load", SIZE, 15, (as_fast(1, UPSTREAM),)),
    ("kv.cache(): kv[key] = value", "cached_put", SIZE, 15, (as_fast(1, UPSTREAM),)),
    ("get_many", "get_many", SIZE, 15, (as_fast(1, UPSTREAM),)),
    ("items()", "items", SIZE, 15, (as_fast(1.3, UPSTREAM),)),
    ("keys()", "only_keys", SIZE, 15, ()),
    ("len(kv)", "length", 50, 9, ()),
    ("open, first read", "open_and_read", 3, 9, ()),
    ("pop", "pop", 30, 51, ()),
]


class Ours(Operations):
    """KVault."""

    def open(self, path: str) -> KVault:
        return KVault(path)

    def prepare(self) -> None:
        self._cached = KVault(self.path, read_cache=64 << 20)

    def _set_many(self, store: Any, pairs: list[tuple[str, bytes]]) -> None:
        store.put_many(pairs)

    def cached_read(self, count: int) -> float:
        # Hot: what the operations before have written has emptied the cache.
        self._read(self._cached, self.keys)
        return self._read(self._cached, self.some_keys(count))

    def cached_put(self, count: int) -> float:
        start = perf_counter()
        with self.store.cache():
            self._put(self.store, self.keys[:count])
        return (perf_counter() - start) / count

    def get_many(self, count: int) -> float:
        keys = self.keys[:count]
        start = perf_counter()
        self.store.get_many(keys)
        return (perf_counter() - start) / count


class Raw(Operations):
    """The SQL that KVault runs, on a cursor of its driver; parameters are converted before the time is taken."""

    def open(self, path: str) -> Any:
        vault = KVault(path)  # makes the table
        self._sql: KVStatements = kv_statements(table_of(vault.entity), vault.binding.dialect)
        vault.close()
        connection = raw.connect(path)
        self._cursor = connection.cursor()
        return connection

    def _count(self) -> int:
        count: int = self._cursor.execute(self._sql.count.sql, self._sql.count.parameters((time(),))).fetchone()[0]
        return count

    def _set_many(self, store: Any, pairs: list[tuple[str, bytes]]) -> None:
        self._executemany(self._put_parameters([key for key, _ in pairs]))

    def _put_parameters(self, keys: list[str]) -> list[Any]:
        value = new_value()
        return [self._sql.put.parameters((key, value)) for key in keys]

    def _executemany(self, parameters: list[Any]) -> float:
        start = perf_counter()
        self._cursor.execute("BEGIN IMMEDIATE")
        self._cursor.executemany(self._sql.put.sql, parameters)
        self._cursor.execute("COMMIT")
        return perf_counter() - start

    def _fetch(self, statement: Any, count: int) -> float:
        parameters = [statement.parameters((key,)) for key in self.some_keys(count)]
        cursor, sql = self._cursor, statement.sql
        start = perf_counter()
        for given in parameters:
            cursor.execute(sql, given)
            cursor.fetchone()
        return (perf_counter() - start) / count

    def read(self, count: int) -> float:
        return self._fetch(self._sql.get, count)

    def contains(self, count: int) -> float:
        return self._fetch(self._sql.exists, count)

    def put(self, count: int) -> float:
        parameters = self._put_parameters(self.some_keys(count))
        cursor, sql = self._cursor, self._sql.put.sql
        start = perf_counter()
        for given in parameters:
            cursor.execute(sql, given)
        return (perf_counter() - start) / count

    def set_many(self, count: int) -> float:
        return self._executemany(self._put_parameters(self.keys[:count])) / count

    def load(self, count: int) -> float:
        self._cursor.execute(self._sql.clear.sql)
        return self.set_many(count)

    cached_put = set_many

    def get_many(self, count: int) -> float:
        size = 512
        statement = self._sql.get_many(size)
        parts = [self.keys[start : start + size] for start in range(0, count, size)]
        now = time()
        parameters = [statement.parameters([*part, *part[-1:] * (size - len(part)), now]) for part in parts]
        cursor, found = self._cursor, {}
        start = perf_counter()
        cursor.execute("BEGIN")
        for given in parameters:
            found.update(cursor.execute(statement.sql, given).fetchall())
        cursor.execute("COMMIT")
        return (perf_counter() - start) / count

    def items(self, count: int) -> float:
        return self._consume(self._cursor.execute("SELECT key, value FROM kv ORDER BY id"), count)

    def only_keys(self, count: int) -> float:
        return self._consume(self._cursor.execute("SELECT key FROM kv ORDER BY id"), count)

    def length(self, count: int) -> float:
        parameters = self._sql.count.parameters((time(),))
        start = perf_counter()
        for _ in range(count):
            self._cursor.execute(self._sql.count.sql, parameters).fetchone()
        return (perf_counter() - start) / count

    def pop(self, count: int) -> float:
        keys = self._random.sample(self.keys, count)
        cursor, get, delete = self._cursor, self._sql.get_for_update, self._sql.delete
        parameters = [get.parameters((key,)) for key in keys]
        start = perf_counter()
        for given in parameters:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute(get.sql, given)
            cursor.fetchone()
            cursor.execute(delete.sql, delete.parameters((*given, 0.0)))
            cursor.execute("COMMIT")
        taken = perf_counter() - start
        self._executemany(self._put_parameters(keys))
        return taken / count

    def open_and_read(self, count: int) -> float:
        path = self.path + ".second"
        parameters, taken = self._sql.get.parameters((self.keys[500],)), 0.0
        for _ in range(count):
            start = perf_counter()
            connection = raw.connect(path)
            connection.execute(self._sql.get.sql, parameters).fetchone()
            taken += perf_counter() - start
            connection.close()
        return taken / count

    def prepare(self) -> None:
        vault = KVault(self.path + ".second")
        vault.put_many(self.pairs[:1000])
        vault.close()


def bench(report: Report, folder: Path, versions: dict[str, str], scale: bool) -> None:
    """Time every row, then three of them at more keys."""
    assert pack(VALUE)[1:] == VALUE
    folder.mkdir()
    compare(report, folder, versions)
    sizes = (10_000, 100_000, 1_000_000) if scale else (10_000, 100_000)
    report.section("KVault as the number of keys grows, a key or an entry")
    for size in sizes:
        at_size(report, folder / str(size), size, memory=size == sizes[-1])


def compare(report: Report, folder: Path, versions: dict[str, str]) -> None:
    report.section(f"KVault: {SIZE:,} keys, values of {len(VALUE)} bytes, a key or an entry")
    stores: dict[str, Any] = {
        "ours": Ours(str(folder / "ours.db"), SIZE),
        "raw cursor": Raw(str(folder / "raw.db"), SIZE),
    }
    with peers.started("kv", folder, SIZE) as others:
        for label, operation, count, rounds, targets in ROWS:
            timers = {name: _timer(store, operation, count) for name, store in stores.items()}
            timers |= {peer.name: peer.timer(operation, count) for peer in others}
            report.add(label, in_turns(timers, rounds), *targets)
        report.note("Durability of all: WAL, synchronous=NORMAL, a commit survives a crash of the process.")
        for line in peers.notes(others):
            report.note(line)
        versions |= peers.versions(others)


def _timer(store: Operations, operation: str, count: int) -> Any:
    run = getattr(store, operation)
    return (lambda: None) if run is None else (lambda: run(count))


def at_size(report: Report, folder: Path, size: int, *, memory: bool) -> None:
    folder.mkdir()
    ours = Ours(str(folder / "ours.db"), size)
    connection = raw.connect(ours.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # all of it into the file that is copied
    connection.close()
    shutil.copyfile(ours.path, folder / "raw.db")
    stores: dict[str, Any] = {"ours": ours, "raw cursor": Raw(str(folder / "raw.db"), size)}
    with ExitStack() as stack:
        upstream = None
        if peers.are_installed():
            upstream = stack.enter_context(peers.Peer("kv", UPSTREAM, folder, size))
        for label, operation, count, rounds in (
            ("kv[key]", "read", 1000, 31),
            ("kv[key] = value, autocommit", "put", 50, 101),
            ("items()", "items", size, 9 if size <= 100_000 else 3),
        ):
            timers = {name: _timer(store, operation, count) for name, store in stores.items()}
            if upstream is not None:
                timers[UPSTREAM] = upstream.timer(operation, count)
            report.add(f"{label}, {size:,} keys", in_turns(timers, rounds))
    if memory:
        grown = {"ours": in_new_process(_iterate_ours, ours.path)}
        grown["raw cursor, kept in a list"] = in_new_process(_keep_all, str(folder / "raw.db"))
        if upstream is not None:
            with peers.Peer("kv", UPSTREAM, folder, size) as fresh:
                grown[UPSTREAM] = fresh.ask("memory")
        for name, growth in grown.items():
            if growth is not None:
                private, mapped = (growth[kind] / 1e6 for kind in ("private", "mapped"))
                report.note(
                    f"Memory that iterating {size:,} items takes, {name}: {private:.1f} MB "
                    f"(and {mapped:.0f} MB of pages of the mapped file, which are the system's)."
                )


def _iterate_ours(path: str) -> dict[str, int] | None:
    kv = KVault(path)
    kv["key:0"]
    return growth_of_iterating(kv.items())


def _keep_all(path: str) -> dict[str, int] | None:
    """For comparison: what it takes to have them all."""
    cursor = raw.connect(path).cursor()
    cursor.execute("SELECT key, value FROM kv ORDER BY id")
    kept: list[Any] = []
    return growth_of_iterating(kept.append(row) for row in cursor)
