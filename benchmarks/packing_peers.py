"""What packing is compared with; for a Python of .venv-peers."""

from __future__ import annotations

from time import perf_counter

from kohakuvault import DataPacker
from packing_operations import SMALL, PackMany


class Upstream(PackMany):
    """The earlier package."""

    package = "kohakuvault"

    def __init__(self, path: str) -> None:
        super().__init__()
        self._packer = DataPacker("msgpack")
        self._packed = self._packer.pack(SMALL)

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
        return "DataPacker; of a small dict, DataPacker('msgpack')"


PEERS = {"upstream": Upstream}
