#!/usr/bin/env bash
# Makes .venv-peers, of the same Python as .venv, with the packages that benchmarks/ compares with.
# Does nothing where Python and benchmarks/peers.txt are what they were.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
PYTHON=${PYTHON:-python3}
PEERS=.venv-peers
WANTED=benchmarks/peers.txt

install() {
    make_venv "$PEERS" && "$PEERS/bin/python" -m pip install -q --only-binary kohakuvault -r "$WANTED"
}

key=$("$PYTHON" scripts/fingerprint.py "$WANTED")
if ! is_current "$PEERS/key" "$key"; then
    step "installing what $WANTED lists in $PEERS" install ||
        die "pip could not install $WANTED (its message is above); without peers: .venv/bin/python benchmarks/run.py"
    say "$key" >"$PEERS/key"
fi
