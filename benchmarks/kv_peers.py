"""The dicts that ``KVault`` is compared with; for a Python of .venv-peers."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from kv_operations import Operations


class Upstream(Operations):
    """The earlier package; it has its own SQLite, so its settings cannot be read from here."""

    package = "kohakuvault"

    def open(self, path: str) -> Any:
        from kohakuvault import KVault

        return KVault(path)

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
