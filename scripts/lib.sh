# What the scripts share; to be sourced with the repository as the current directory.
# shellcheck shell=bash

export CARGO_TARGET_DIR="$PWD/native/target"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*"; }

die() {
    printf '\nStopped: %s\n' "$*" >&2
    exit 1
}

now_us() {
    if [ -n "${EPOCHREALTIME:-}" ]; then
        printf '%s' "${EPOCHREALTIME/[.,]/}"
    else # bash 3 of macOS
        printf '%s000000' "$(date +%s)"
    fi
}

# since START: the seconds since now_us printed START, with one decimal.
since() {
    local tenths=$((($(now_us) - $1) / 100000))
    printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

# step LABEL COMMAND...: one line with the time taken; the command's own output only if it fails.
step() {
    local label=$1 start log
    shift
    start=$(now_us)
    log=$(mktemp)
    printf '· %s ' "$label"
    if "$@" >"$log" 2>&1 </dev/null; then
        printf '%s\n' "$(since "$start")"
        rm -f "$log"
    else
        printf 'failed after %s\n' "$(since "$start")"
        tail -n 60 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

# show LABEL COMMAND...: the same with the command's output, for what a person wants to read.
show() {
    local label=$1 start
    shift
    start=$(now_us)
    printf '\n· %s\n' "$label"
    if "$@" </dev/null; then
        printf '· %s: passed in %s\n' "$label" "$(since "$start")"
    else
        printf '· %s: failed after %s\n' "$label" "$(since "$start")" >&2
        return 1
    fi
}

# make_venv FOLDER: a new virtual environment of $PYTHON, with pip.
make_venv() {
    rm -rf "$1"
    if "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        "$PYTHON" -m venv "$1"
    else # Debian without python3-venv: the pip that is there can install one into the new environment.
        "$PYTHON" -m venv --without-pip "$1" && "$PYTHON" -m pip --python "$1/bin/python" install -q pip
    fi
}

# is_current FILE KEY: whether what FILE belongs to was made with KEY.
is_current() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}
