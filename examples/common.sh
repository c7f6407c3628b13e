# shellcheck shell=bash
# What the examples' run.sh scripts share; they source it. They are called as `run.sh [OUTPUT_DIRECTORY]`, find the
# ppwasm command in $PPWASM or on the path, print the answer on stdout, and fail when it is not the one in expected.txt.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
example=$(basename "$here")
root=$(cd "$here/../.." && pwd)
# shellcheck disable=SC2034  # the scripts use it
inputs=$root/target/inputs
output=${1:-$root/target/examples/$example}
ppwasm=${PPWASM:-ppwasm}

fail() {
    printf '%s: %s\n' "$example" "$*" >&2
    exit 1
}

# Fetches this example's input if it is not there yet.
prepare_inputs() {
    "$root/examples/prepare-inputs.sh" "$example"
}

# submit FILE:FUNCTION [OPTION…], the file's path relative to the example's folder. Shows progress to a person only.
submit() {
    local quiet=(--quiet)
    [ -t 2 ] && quiet=()
    "$ppwasm" submit "$here/$1" "${@:2}" "${quiet[@]}"
}

# shellcheck disable=SC2016  # $type is a key of the JSON
# bytes_in FILE writes to stdout the one `bytes` value in what `--output json` printed, which holds it in base64.
bytes_in() {
    tr -d '\n' <"$1" |
        sed -nE 's/.*"\$type": *"bytes", *"value": *"([A-Za-z0-9+\/=]+)".*/\1/p' |
        base64 -d
}

# Prints the answer; fails when it is not what expected.txt says.
check_answer() {
    printf '%s\n' "$1"
    diff "$here/expected.txt" <(printf '%s\n' "$1") >&2 || fail "the answer is not the one in expected.txt (<)"
}

command -v "$ppwasm" >/dev/null || fail "there is no command $ppwasm; build it, or say where it is in PPWASM"
mkdir -p "$output"
