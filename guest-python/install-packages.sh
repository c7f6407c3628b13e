#!/usr/bin/env bash
# Installs what guest-python/build.sh needs, on Debian 12 or 13, as root or through sudo. Says first what it will
# install, and does nothing when everything is there. wasi-libc is not among it: the build unpacks the right one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/flags.env"

# A package is wanted when the thing that the build takes from it is missing.
missing=()
want() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
has_wasm_runtime() { [[ -f $(clang-"$CLANG_VERSION" --target=wasm32-wasi -print-libgcc-file-name) ]]; }
# Crates of the 2024 edition need 1.85. Debian 12's own is older, but it has a newer one under another name.
has_cargo() { printf '%s\n' "cargo 1.85" "$(cargo --version)" | sort --version-sort --check; }
cargo_package() { (. /etc/os-release && [[ ${VERSION_CODENAME:-} == bookworm ]]) && echo cargo-web || echo cargo; }
has_headers() { echo '#include <stdio.h>' | cc -E -o /dev/null -; }

if [[ -z ${WASI_SDK_PATH:-} ]]; then
    want "clang-$CLANG_VERSION" command -v "clang-$CLANG_VERSION"
    want "lld-$CLANG_VERSION" command -v "wasm-ld-$CLANG_VERSION"
    want "llvm-$CLANG_VERSION" command -v "llvm-ar-$CLANG_VERSION"
    want "libclang-rt-$CLANG_VERSION-dev-wasm32" has_wasm_runtime
fi
want gcc command -v cc
want libc6-dev has_headers
want binutils command -v ar
want make command -v make
want patch command -v patch
want xz-utils command -v xz
want util-linux command -v flock
want diffutils command -v cmp
want ca-certificates test -d /etc/ssl/certs
want python3-pip python3 -m pip --version
want "$(cargo_package)" has_cargo
# For measurements with wasm-opt; the build itself does not use it.
want binaryen command -v wasm-opt

if ((${#missing[@]} == 0)); then
    echo "everything that the guest's build needs is installed"
    exit
fi
echo "will install: ${missing[*]}"
command -v apt-get >/dev/null || { echo "no apt-get here: install these by hand" >&2; exit 1; }
as_root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "neither root nor sudo: run this as root" >&2; exit 1; }
    as_root=(sudo)
fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
