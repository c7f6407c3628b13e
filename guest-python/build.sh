#!/usr/bin/env bash
# Builds the guest folder: CPython and the runner as one WebAssembly module, and the library they see.
# README.md says what is made of what; every step is a file in steps/.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: guest-python/build.sh [--output DIR] [--cache DIR] [--sources DIR] [--update-imports]

  --output DIR       where python.wasm, library.tar, guest.json and the rest go (default: target/guest)
  --cache DIR        where results are kept (default: $PPWASM_CACHE_DIR, else ppwasm in the user's cache folder)
  --sources DIR      a folder that may hold the pinned files, so that they are not fetched (default: $PPWASM_SOURCES)
  --update-imports   write imports.txt from the module instead of comparing

WASI_SDK_PATH, when set, names the WASI SDK to use instead of clang and wasi-libc from Debian.
EOF
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=$here/../target/guest
cache_root=${PPWASM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ppwasm}
sources_folder=${PPWASM_SOURCES:-}
update_imports=no
while (($# > 0)); do
    case $1 in
        --output) output=${2:?--output needs a folder}; shift 2 ;;
        --cache) cache_root=${2:?--cache needs a folder}; shift 2 ;;
        --sources) sources_folder=${2:?--sources needs a folder}; shift 2 ;;
        --update-imports) update_imports=yes; shift ;;
        --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
done

. "$here/sources.env"
. "$here/flags.env"
. "$here/steps/common.sh"
for step in toolchain fetch native libraries cpython module library guest; do
    . "$here/steps/$step.sh"
done

# In the order in which they depend on each other.
use_cache "$cache_root"
find_toolchain
compute_keys sysroot source c_sources packages native libraries cpython module stdlib tests
need module
need stdlib
need tests
# Only now, because the runner may have been edited in the minutes that the module took.
compute_keys library guest
need guest
deliver "$output"
