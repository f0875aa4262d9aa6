"""The vector stores of a run, each in a process of its own; those that fail are left out with their reason."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers import HERE, Peer, PeerFailed

PYTHON = HERE.parent / ".venv-vector-peers" / "bin" / "python"

NUMPY, VEC, PLAIN = "numpy", "sqlite-vec", "plain table"
KINDS = ("none", "exact", "rabitq", "ivf", "vss", "vec")
# The names in vector_peers.py.
PEERS = (
    "upstream",
    VEC,
    "sqlite-vss",
    "vectorlite",
    "faiss-flat",
    "faiss-ivf",
    "faiss-hnsw",
    "hnswlib",
    "usearch",
    "lancedb",
    "lancedb-ivf",
    "pgvector-hnsw",
    "pgvector-ivf",
)
# What takes more than ten minutes to build of a million rows, by one thread.
SLOW_TO_BUILD = ("sqlite-vss", "vectorlite", "faiss-hnsw", "hnswlib", "usearch", "pgvector-hnsw")

# Of the pools of threads that vector_store.one_thread does not keep from being made.
ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL", "RAYON", "VECLIB", "NUMEXPR")}


def ours(kind: str) -> str:
    """Return the name of our store with that kind of index."""
    return f"ours {kind}"


def is_ours(name: str) -> bool:
    return name.startswith("ours ")


def start(name: str, folder: Path, dimensions: int, capacity: int) -> Peer:
    """Start a store's process."""
    if name in PEERS:
        if not PYTHON.exists():
            raise PeerFailed("not installed: scripts/peers.sh vector-peers does that")
        kind, python = "vector", PYTHON
    else:
        kind, python = "our_vector", Path(sys.executable)
    return Peer(kind, name, folder, dimensions, capacity, python=python, environment=ONE_THREAD)


class Stores:
    """The processes of stores that hold one data set; ``missing`` gets the reason of each that fails."""

    def __init__(self, names: list[str], folder: Path, dimensions: int, capacity: int, missing: dict[str, str]) -> None:
        self.alive: dict[str, Peer] = {}
        self.folder = folder
        self.missing = missing
        self._made_with = (dimensions, capacity)
        for name in names:
            try:
                self.alive[name] = start(name, folder, *self._made_with)
            except PeerFailed as error:
                lose(name, error, self.missing)

    def ask(self, name: str, operation: str, *arguments: Any) -> Any:
        """Return a store's answer; None of one that fails, which is not asked again."""
        try:
            return self.alive[name].ask(operation, *arguments)
        except PeerFailed as error:
            self.alive.pop(name).close()
            lose(name, error, self.missing)
            return None

    def in_new_process(self, name: str, operation: str, *arguments: Any) -> Any:
        """Return the answer of another process, which finds on the disk what the store's own has saved."""
        try:
            with start(name, self.folder, *self._made_with) as fresh:
                return fresh.ask(operation, *arguments)
        except PeerFailed as error:
            lose(f"{name}, in a new process", error, self.missing)
            return None

    def answers_file(self, name: str) -> str:
        return str(self.folder / f"{name}-answers.npy")

    def close(self) -> None:
        for peer in self.alive.values():
            peer.close()


def lose(name: str, error: PeerFailed, missing: dict[str, str]) -> None:
    """Keep in ``missing`` why a store is left out, and tell it."""
    missing[name] = textwrap.shorten(str(error).removeprefix(f"{name}: "), 200, placeholder=" …")
    say(f"without {name}: {missing[name]}")


_started = time.perf_counter()


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(f"[{time.perf_counter() - _started:6.0f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def opened(names: list[str], folder: Path, dimensions: int, capacity: int, missing: dict[str, str]) -> Iterator[Stores]:
    """Yield the stores, in a folder of their own; end their processes and remove it afterwards."""
    folder.mkdir(parents=True)
    stores = Stores(names, folder, dimensions, capacity, missing)
    try:
        yield stores
    finally:
        stores.close()
        shutil.rmtree(folder, ignore_errors=True)
