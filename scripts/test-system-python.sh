#!/usr/bin/env bash
# Tests the extension on a second Python, whose sqlite3 can load extensions where that of .venv cannot, or the other way round:
# builds a wheel for it, installs that wheel into .venv-system, and runs the tests that depend on it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
SYSTEM_PYTHON=${SYSTEM_PYTHON:-/usr/bin/python3}
VENV=.venv
SYSTEM=.venv-system
TESTS=(tests/test_extension.py tests/test_engine.py)

loads_extensions() { "$1" -c 'import sqlite3; print(hasattr(sqlite3.Connection, "enable_load_extension"))'; }

skip() {
    printf '\n· second Python: none (%s); load_extension and auto_extension are not both tested\n' "$*"
    exit 0
}

[ -x "$SYSTEM_PYTHON" ] || skip "there is no $SYSTEM_PYTHON"
"$SYSTEM_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || skip "$SYSTEM_PYTHON is older than 3.10"
"$SYSTEM_PYTHON" -c 'import sqlite3, venv' 2>/dev/null || skip "$SYSTEM_PYTHON has no sqlite3 or no venv"
here=$(loads_extensions "$VENV/bin/python")
there=$(loads_extensions "$SYSTEM_PYTHON")
[ "$here" != "$there" ] || skip "$SYSTEM_PYTHON and $VENV both have enable_load_extension: $here"

pip_there() { "$VENV/bin/python" -m pip --python "$SYSTEM/bin/python" "$@"; }

install() {
    "$SYSTEM_PYTHON" -m venv --clear --without-pip "$SYSTEM" # Debian's python3 may have no ensurepip
    # A target folder of its own: PyO3 is compiled for one Python, and two would take turns in undoing each other's work.
    "$VENV/bin/maturin" build --release --locked -i "$PWD/$SYSTEM/bin/python" --target-dir native/target/system -o "$SYSTEM/wheels"
    pip_there install -q "$SYSTEM"/wheels/*.whl hypothesis pytest pytest-timeout
}

key=$("$SYSTEM_PYTHON" scripts/fingerprint.py pyproject.toml native kohakuvault)
if [ ! -f "$SYSTEM/key" ] || [ "$(cat "$SYSTEM/key")" != "$key" ]; then
    printf '\n'
    step "building and installing the wheel for $SYSTEM_PYTHON in $SYSTEM" install ||
        die "the wheel for $SYSTEM_PYTHON could not be built or installed (the message is above)"
    say "$key" >"$SYSTEM/key"
fi
# The script, not 'python -m pytest', which would put this folder before the installed wheel.
show "pytest on $SYSTEM_PYTHON (enable_load_extension: $there)" "$SYSTEM/bin/pytest" -q -p no:cacheprovider "${TESTS[@]}"
