"""The packages that ours is compared with, each in a process of its own: .venv-peers has another ``kohakuvault``."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from typing_extensions import Self

from harness import Timer

HERE = Path(__file__).parent
PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
UPSTREAM = "upstream"
# Kind of store → who is compared; what each does is in <kind>_peers.py.
NAMES = {
    "packing": (UPSTREAM,),
    "kv": (UPSTREAM, "diskcache", "sqlitedict"),
    "column": (UPSTREAM, "zarr", "h5py"),
    "text": (UPSTREAM,),
    "ordered": (UPSTREAM, "sortedcontainers", "BTrees"),
}


class PeerFailed(Exception):
    """A store that could not be started, or could not do what it was asked for; the text says why."""


def are_installed() -> bool:
    return PYTHON.exists()


@contextmanager
def started(kind: str, folder: Path, *numbers: int) -> Iterator[list[Peer]]:
    """Yield all peers of a kind of store, none where they are not installed."""
    with ExitStack() as stack:
        names = NAMES[kind] if are_installed() else ()
        yield [stack.enter_context(Peer(kind, name, folder, *numbers)) for name in names]


def versions(peers: list[Peer]) -> dict[str, str]:
    return {f"{peer.name} (kohakuvault)" if peer.name == UPSTREAM else peer.name: peer.version for peer in peers}


def notes(peers: list[Peer]) -> list[str]:
    """Return how each peer is set, or how to get them."""
    if not peers:
        return ["Peers are not installed: scripts/peers.sh does that."]
    return [f"{peer.name}: {peer.settings}." for peer in peers]


class Peer:
    """A worker that holds one peer's store and times operations on it when asked to.

    ``numbers`` are what stores of that kind are made with, such as the number of keys. ``environment`` is added to
    this process's.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        folder: Path,
        *numbers: int,
        python: Path = PYTHON,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        # -E: PYTHONPATH is for this Python.
        worker = [str(python), "-E", str(HERE / "peer_worker.py"), f"{kind}_peers"]
        self._process = subprocess.Popen(
            [*worker, name, str(folder), *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            about = self._answer()
        except PeerFailed:
            self.close()
            raise
        self.version: str = about["version"]
        self.settings: str = about["settings"]

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Return what the worker answers: seconds, or None for what the peer cannot do."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def timer(self, operation: str, *arguments: Any) -> Timer:
        return lambda: self.ask(operation, *arguments)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"the worker of {self.name} ended with status {self._process.wait()}; its error is above")
        found = json.loads(line)
        if isinstance(found, dict) and "error" in found:
            raise PeerFailed(f"{self.name}: {found['error']}")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            # sqlitedict's thread may not end.
            self._process.kill()
            self._process.wait()
