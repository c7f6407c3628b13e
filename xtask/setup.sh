#!/usr/bin/env bash
# Makes a fresh Debian 12 or 13 ready to build ppwasm: a Rust toolchain that is new enough and a C
# compiler. Says what it installs before it does; does nothing when all is there. (What the guest's
# build needs besides, guest-python/install-packages.sh installs.)
set -euo pipefail
cd "$(dirname "$0")/.."
. xtask/install.sh

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

rust_is_new_enough() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    local found
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$rust_wanted" "${found%%-*}" | sort -V | head -n 1)" = "$rust_wanted" ]
}

packages=()
rust_is_new_enough || packages+=(cargo-web rustc-web)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
[ "${#packages[@]}" -gt 0 ] || exit 0

command -v apt-get >/dev/null ||
    fail "needs Rust $rust_wanted or newer and a C compiler; there is no apt-get here to install them with"
install_packages setup "${packages[@]}"
rust_is_new_enough ||
    fail "needs Rust $rust_wanted or newer, found $(rustc --version 2>&1 || true); install it with rustup"
