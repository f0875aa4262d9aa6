"""Times one peer's operations, in a Python of .venv-peers: requests on standard input, answers on standard output.

    .venv-peers/bin/python benchmarks/peer_worker.py upstream /tmp/folder 10000

A request is a line of JSON, ``["read", 2000]``; the answer is a line with the seconds, or null where the peer
cannot do that. The time is taken here, so that none of it is the pipe's.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from time import perf_counter
from typing import Any

from operations import SMALL, Operations, growth_of_iterating


class Upstream(Operations):
    """The earlier package; it has its own SQLite, so its settings cannot be read from here."""

    package = "kohakuvault"

    def open(self, path: str) -> Any:
        from kohakuvault import KVault

        return KVault(path)

    def prepare(self) -> None:
        from kohakuvault import DataPacker

        self._packer = DataPacker("msgpack")
        self._packed = self._packer.pack(SMALL)

    def _set_many(self, store: Any, pairs: list[tuple[str, bytes]]) -> None:
        store.put_many(pairs)

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

    def pack(self, count: int) -> float:
        pack = self._packer.pack
        start = perf_counter()
        for _ in range(count):
            pack(SMALL)
        return (perf_counter() - start) / count

    def unpack(self, count: int) -> float:
        unpack, packed = self._packer.unpack, self._packed
        start = perf_counter()
        for _ in range(count):
            unpack(packed, 0)
        return (perf_counter() - start) / count

    def settings(self) -> str:
        return "sets WAL and synchronous=NORMAL itself, on an SQLite of its own that cannot be asked; page cache 100 MB"


class DiskCache(Operations):
    """``Index``: its dict that evicts nothing."""

    package = "diskcache"

    def open(self, path: str) -> Any:
        from diskcache import Index

        return Index(path)

    def close(self, store: Any) -> None:
        store.cache.close()

    def _set_many(self, store: Any, pairs: list[tuple[str, bytes]]) -> None:
        with store.transact():
            store.update(pairs)

    def settings(self) -> str:
        return "Index (evicts nothing), " + _settings(lambda pragma: self.store.cache._sql(pragma).fetchone()[0])


class SqliteDict(Operations):
    """With autocommit for single writes, without for many, which it would otherwise commit one by one."""

    package = "sqlitedict"

    def open(self, path: str, autocommit: bool = True) -> Any:
        import sqlitedict

        store = sqlitedict.SqliteDict(path, autocommit=autocommit, journal_mode="WAL", outer_stack=False)
        # It sets OFF itself; this runs on its connection.
        store.conn.execute("PRAGMA synchronous=NORMAL")
        return store

    def fill(self) -> None:
        self._many = self.open(self.path, autocommit=False)
        super().fill()

    def _set_many(self, store: Any, pairs: list[tuple[str, bytes]]) -> None:
        many = self._many if store is self.store else self.open(store.filename, autocommit=False)
        many.update(pairs)
        many.commit()
        if many is not self._many:
            many.close()

    def settings(self) -> str:
        return _settings(lambda pragma: self.store.conn.select_one(pragma)[0]) + " (of itself it sets OFF)"


def _settings(ask: Any) -> str:
    level = ("OFF", "NORMAL", "FULL", "EXTRA")[ask("PRAGMA synchronous")]
    return f"journal_mode={ask('PRAGMA journal_mode').upper()}, synchronous={level}"


PEERS = {"upstream": Upstream, "diskcache": DiskCache, "sqlitedict": SqliteDict}


def main() -> None:
    # Whatever else a package prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    name, folder, size = sys.argv[1:]
    peer = PEERS[name](os.path.join(folder, name), int(size))
    about = {"version": importlib.metadata.version(peer.package), "settings": peer.settings()}
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        operation, count = json.loads(line)
        if operation == "memory":
            answer: Any = growth_of_iterating(peer.store.items())
        else:
            run = getattr(peer, operation, None)
            answer = None if run is None else run(count)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
