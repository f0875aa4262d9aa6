#!/usr/bin/env bash
# peers.sh [NAME]: makes .venv-NAME, of the same Python as .venv, with the packages that benchmarks/ compares with, those
# that benchmarks/NAME.txt lists (by default peers). Does nothing where Python and that file are what they were.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
PYTHON=${PYTHON:-python3}
NAME=${1:-peers}
PEERS=.venv-$NAME
WANTED=benchmarks/$NAME.txt
PIP=("$PEERS/bin/python" -m pip install -q --only-binary kohakuvault)

install() {
    make_venv "$PEERS" && "${PIP[@]}" -r "$WANTED"
}

# Without those that cannot be installed here; the benchmark names them too.
install_each() {
    [ -x "$PEERS/bin/python" ] || return 1
    grep -v '^#' "$WANTED" | while read -r package; do
        step "  $package" "${PIP[@]}" "$package" || say "  goes without $package"
    done
}

key=$("$PYTHON" scripts/fingerprint.py "$WANTED")
if ! is_current "$PEERS/key" "$key"; then
    step "installing what $WANTED lists in $PEERS" install || install_each ||
        die "pip could not install $WANTED (its message is above); the benchmarks also run without peers"
    say "$key" >"$PEERS/key"
fi
