"""Times one peer's operations, in a Python of .venv-peers: requests on standard input, answers on standard output.

    .venv-peers/bin/python benchmarks/peer_worker.py kv upstream /tmp/folder 10000

makes ``PEERS["upstream"]`` of the module ``kv_peers``, with the file and the numbers that follow. A request is a line
of JSON, ``["read", 2000]``; the answer is a line with the seconds, or null where the peer cannot do that. The time is
taken here, so that none of it is the pipe's.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys


def main() -> None:
    # Whatever else a package prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    kind, name, folder, *numbers = sys.argv[1:]
    peer = importlib.import_module(f"{kind}_peers").PEERS[name](os.path.join(folder, name), *map(int, numbers))
    about = {"version": importlib.metadata.version(peer.package), "settings": peer.settings()}
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        run = getattr(peer, operation, None)
        print(json.dumps(None if run is None else run(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
