"""The packages that KVault is compared with, each in a process of its own: .venv-peers has another ``kohakuvault``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from harness import Timer

HERE = Path(__file__).parent
PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
NAMES = ("upstream", "diskcache", "sqlitedict")


def are_installed() -> bool:
    return PYTHON.exists()


class Peer:
    """A worker that holds one peer's store of ``size`` keys and times operations on it when asked to."""

    def __init__(self, name: str, folder: Path, size: int) -> None:
        self.name = name
        # -E: PYTHONPATH is for this Python.
        command = [str(PYTHON), "-E", str(HERE / "peer_worker.py"), name, str(folder), str(size)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        about = self._answer()
        self.version: str = about["version"]
        self.settings: str = about["settings"]

    def ask(self, operation: str, count: int = 0) -> Any:
        """Return what the worker answers: seconds, or None for what the peer cannot do."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, count]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def timer(self, operation: str, count: int) -> Timer:
        return lambda: self.ask(operation, count)

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
