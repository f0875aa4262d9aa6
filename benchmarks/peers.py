"""The packages that ours is compared with, each in a process of its own: .venv-peers has another ``kohakuvault``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
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
}


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

    ``numbers`` are what stores of that kind are made with, such as the number of keys.
    """

    def __init__(self, kind: str, name: str, folder: Path, *numbers: int) -> None:
        self.name = name
        # -E: PYTHONPATH is for this Python.
        command = [str(PYTHON), "-E", str(HERE / "peer_worker.py"), kind, name, str(folder), *map(str, numbers)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        about = self._answer()
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
            raise SystemExit(f"the worker of {self.name} ended with status {self._process.wait()}; its error is above")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            # sqlitedict's thread may not end.
            self._process.kill()
            self._process.wait()
