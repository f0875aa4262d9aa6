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
