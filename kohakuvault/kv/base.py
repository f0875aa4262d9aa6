"""What the parts of a KVault share: how it is opened, its statements, and the writes that wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from time import time
from typing import Any

from sqlalchemy import Table

from .._native import WriteBuffer
from ..binding import Bind, Binding
from ..container import Container
from ..errors import CorruptValue, InvalidArgument, NotFound, corrupt_at
from ..lending import DriverCursor
from ..orm.tables import KVTable, kv_class, table_of
from ..packing import ChunkedBytes
from ..schema import entity_of, open_tables
from .many import put_waiting
from .options import refuse_unknown
from .read_cache import ReadCache
from .statements import KVStatements, kv_statements
from .streams import Streams
from .write_cache import KVWriteCache

__all__ = ["SWEEP_EVERY", "SWEEP_MOST", "KVBase", "writer"]

# One in so many writes that expire also removes up to so many entries that have.
SWEEP_EVERY, SWEEP_MOST = 64, 256


class KVBase(Container):
    """A KV table that is open. See :class:`~kohakuvault.KVault` for the parameters."""

    def __init__(
        self,
        bind: Bind,
        table: str | type[KVTable] = "kv",
        *,
        create: bool = True,
        pickle: bool = False,
        read_only: bool = False,
        read_cache: int | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown)
        self._table = table
        self.entity: type[KVTable] = entity_of(table, KVTable, lambda name: kv_class(name, pickle))
        self._read_only = read_only
        self._create = create and not read_only
        super().__init__(bind, read_only=read_only)
        binding = self.binding
        self._sql = self._statements(binding)
        self._value_of = self._sql.unpack
        self._takes_any = True
        self._allows_pickle = self._sql.pickle
        self._expiring = count()
        self._writes = self._write_cache(binding)
        if pickle and not self._sql.pickle:
            raise InvalidArgument(f"pickle=True: the class {self.entity.__name__} has to say __pickle__ = True")
        self._open(binding)
        self.read_cache: ReadCache | None = None
        if read_cache is not None:
            self.read_cache = ReadCache(binding, table_of(self.entity), read_cache)
        self._cache = self.read_cache if self.read_cache is not None and self.read_cache.reason is None else None

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "create": self._create,
            "pickle": self._sql.pickle,
            "read_only": self._read_only,
            "read_cache": self.read_cache and self.read_cache.capacity,
        }
        return _reopen, (type(self), self._address(), self._table, options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} {self._where()}>"

    @property
    def _name(self) -> str:
        """What the vault is called: among all with its bind it names one."""
        return table_of(self.entity).name

    def _statements(self, binding: Binding) -> KVStatements:
        return kv_statements(table_of(self.entity), binding.dialect)

    def _write_cache(self, binding: Binding) -> KVWriteCache:
        """Return what writes wait in, that of all vaults with this name."""
        cache = binding.caches.get(self._name)
        if cache is None:
            # Of two threads that are here at once, one's is taken.
            cache = binding.caches.setdefault(self._name, KVWriteCache(writer(self._sql)))
        assert isinstance(cache, KVWriteCache)
        return cache

    def _tables(self) -> Sequence[Table]:
        return [table_of(self.entity)]

    def _open(self, binding: Binding) -> None:
        open_tables(binding, self._tables(), "kv", {}, create=self._create)

    def _waiting(self, key: Any) -> tuple[bytes, float | None] | None:
        """Return the packed value that waits for ``key``, and when it expires; None if none does."""
        stored = self._sql.stored_key(key)
        waiting = self._writes.waiting
        return waiting.get(stored) if waiting is not None and self.binding.may_wait else None

    def _wait(self, key: Any, value: Any, expires_at: float | None) -> bool:
        """Let an entry wait to be written; return False if it must be written directly."""
        binding = self._binding
        if binding is None or binding.epoch != self._epoch:
            binding = self.binding
        if not binding.may_wait:
            return False
        sql = self._sql
        put = self._writes.put
        if put is not None and sql.packs_plainly and put(key, value, expires_at, sql.pickle):
            return True
        return self._writes.offer(binding, sql.stored_key(key), sql.pack(value), expires_at)

    def _unpack(self, key: Any, packed: Any, cursor: DriverCursor) -> Any:
        """Return the value that is stored for ``key`` as ``packed``, which was read by ``cursor``."""
        try:
            value = self._value_of(packed)
            return value if type(value) is not ChunkedBytes else self._join(value, cursor)
        except CorruptValue as error:
            raise corrupt_at(key, error) from error

    def _join(self, value: ChunkedBytes, cursor: DriverCursor | None = None) -> bytes:
        return self._streams.whole(value, cursor)

    @property
    def _streams(self) -> Streams:
        return Streams(self._settled, table_of(self.entity), self._sql, create=self._create)

    def _missing(self, key: Any) -> NotFound:
        return NotFound(f"no key {key!r:.200} in {self!r}")

    def close(self) -> None:
        """Let the database go; see :meth:`Container.close`."""
        if self.read_cache is not None:
            self.read_cache.close()
            self.read_cache = self._cache = None
        super().close()


def writer(sql: KVStatements) -> Callable[[DriverCursor, WriteBuffer], None]:
    """Return what writes the entries of a buffer."""

    def write(cursor: DriverCursor, waiting: WriteBuffer) -> None:
        if put_waiting(cursor, sql, waiting):
            cursor.run(sql.delete_expired, time(), SWEEP_MOST)

    return write


def _reopen(vault: type[KVBase], address: str, table: Any, options: dict[str, Any]) -> KVBase:
    return vault(address, table, **options)
