"""Times one store's operations in a process of its own: requests on standard input, answers on standard output.

    .venv-peers/bin/python benchmarks/peer_worker.py kv_peers upstream /tmp/folder 10000

makes ``PEERS["upstream"]`` of the module ``kv_peers``, with the file and the numbers that follow. A request is a line
of JSON, ``["read", 2000]``; the answer is a line with the seconds, or null where the peer cannot do that. The time is
taken here, so that none of it is the pipe's. What goes wrong is answered as ``{"error": …}``, its traceback printed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def main() -> None:
    # Whatever else a package prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    module, name, folder, *numbers = sys.argv[1:]
    peer: Any = None

    def start() -> dict[str, str]:
        nonlocal peer
        peer = importlib.import_module(module).PEERS[name](os.path.join(folder, name), *map(int, numbers))
        return {"version": importlib.metadata.version(peer.package), "settings": peer.settings()}

    print(json.dumps(answer(start)), file=answers, flush=True)
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        run = getattr(peer, operation, None)
        print(json.dumps(None if run is None else answer(run, *arguments)), file=answers, flush=True)


def answer(run: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return run(*arguments)
    except Exception as error:  # noqa: BLE001 (whoever asked decides what to do without this store)
        # A package that is not there, or has not yet what was asked for, is no surprise.
        if not isinstance(error, (ImportError, NotImplementedError)):
            traceback.print_exc()
        return {"error": str(error).strip() or type(error).__name__}


if __name__ == "__main__":
    main()
