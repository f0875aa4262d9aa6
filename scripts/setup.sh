#!/usr/bin/env bash
# Makes .venv with the package installed editable, its Rust half built for release, and everything tests need.
# Does nothing where Python, pyproject.toml and native/ are what they were.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
PYTHON=${PYTHON:-python3}
VENV=.venv
if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
    vss_libraries="libblas.so.3 liblapack.so.3 libgomp.so.1"
else
    vss_libraries=""
fi

check_python() {
    command -v "$PYTHON" >/dev/null 2>&1 ||
        die "there is no '$PYTHON' on PATH; install Python 3.10 or newer (Debian: apt install python3), or name one: make PYTHON=/path/to/python3"
    "$PYTHON" -c '' >/dev/null 2>&1 ||
        die "'$PYTHON' is on PATH but does not start; name a Python 3.10 or newer that does: make PYTHON=/path/to/python3"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$("$PYTHON" --version 2>&1) is too old, 3.10 is the oldest that works; name a newer one: make PYTHON=/path/to/python3"
}

check_cargo() {
    command -v cargo >/dev/null 2>&1 ||
        die "there is no 'cargo' on PATH; install Rust from https://rustup.rs and open a new shell"
    local have need
    have=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$have" ] ||
        die "'cargo' is on PATH but 'rustc' does not start; run 'rustup default stable', or install Rust from https://rustup.rs"
    need=$(sed -n 's/^rust-version *= *"\([0-9]*\.[0-9]*\).*/\1/p' native/Cargo.toml)
    if [ -n "$need" ] && [ "$(printf '%s\n' "$need" "$have" | sort -V | head -n 1)" != "$need" ]; then
        die "Rust $have is too old, native/ needs $need; run 'rustup update stable', or install Rust from https://rustup.rs"
    fi
}

# apt_install PACKAGE...: with the rights we have, without a question; fails where there are none.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    local run=(env DEBIAN_FRONTEND=noninteractive)
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        run=(sudo -n "${run[@]}")
    fi
    local install=("${run[@]}" apt-get install -y -q --no-install-recommends "$@")
    "${install[@]}" || { "${run[@]}" apt-get update -q && "${install[@]}"; }
}

# FAISS in sqlite-vss is linked against the system's BLAS, LAPACK and OpenMP. Without them only that backend is missing.
vss_libraries_load() {
    # shellcheck disable=SC2086
    [ -z "$vss_libraries" ] || "$PYTHON" -c 'import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]' $vss_libraries 2>/dev/null
}

system_libraries() {
    if ! command -v cc >/dev/null 2>&1; then
        step "installing a C linker for Rust" apt_install gcc libc6-dev ||
            die "Rust needs a C linker and there is no 'cc' on PATH; run 'apt install build-essential' as root"
    fi
    if ! vss_libraries_load; then
        step "installing libopenblas0 and libgomp1 for sqlite-vss" apt_install libopenblas0 libgomp1 2>/dev/null &&
            vss_libraries_load ||
            say "  sqlite-vss will not load, all else works: run 'apt install libopenblas0 libgomp1' as root to have it too."
    fi
}

# pip before 22.3 cannot install into another environment, which .venv-system needs.
install_tools() {
    "$VENV/bin/python" -m pip install -q --upgrade 'pip>=22.3' "$(sed -n 's/^requires = \["\(maturin[^"]*\)"\].*/\1/p' pyproject.toml)"
}

# maturin leaves the library in kohakuvault/, compiles only what changed, and installs what pyproject.toml asks for.
build() {
    rm -f kohakuvault/_native*.so
    VIRTUAL_ENV="$PWD/$VENV" PATH="$PWD/$VENV/bin:$PATH" "$VENV/bin/maturin" develop --release --extras dev
}

check_python
check_cargo

python_key=$("$PYTHON" scripts/fingerprint.py)
if ! is_current "$VENV/python-key" "$python_key"; then
    system_libraries
    step "creating $VENV ($("$PYTHON" --version))" make_venv "$VENV" ||
        die "'$PYTHON' cannot make virtual environments; run 'apt install python3-venv' as root (Debian), or name another: make PYTHON=/path/to/python3"
    step "installing maturin" install_tools ||
        die "pip could not install maturin (its message is above); is there a network, or a package index that pip is configured for?"
    say "$python_key" >"$VENV/python-key"
fi

build_key=$("$PYTHON" scripts/fingerprint.py pyproject.toml native)
if ! is_current "$VENV/build-key" "$build_key" || ! ls kohakuvault/_native*.so >/dev/null 2>&1; then
    rm -f "$VENV/build-key"
    step "building native/ for release and installing what pyproject.toml asks for" build ||
        die "the package could not be built or installed (the message is above)"
    say "$build_key" >"$VENV/build-key"
fi
