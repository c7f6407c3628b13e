#!/usr/bin/env bash
# Makes a Debian 12 or 13 on x86-64 ready to build for aarch64 and riscv64 and to run the result under emulation: C cross
# compilers, qemu, and Rust's standard library for both. Debian 12 has no riscv64, so that library comes from Debian 13's
# archive; it is of the same build of the compiler, and is unpacked below target/cross, not installed, and kept in the
# user's cache. Does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."
. xtask/install.sh

root=target/cross
targets=(aarch64-unknown-linux-gnu:arm64 riscv64gc-unknown-linux-gnu:riscv64)

fail() {
    printf 'cross-setup: %s\n' "$*" >&2
    exit 1
}

[ "$(uname -m)" = x86_64 ] || fail "builds from x86-64 only"

packages=()
want() {
    command -v "$1" >/dev/null || packages+=("${@:2}")
}
want aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
want riscv64-linux-gnu-gcc gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
command -v qemu-riscv64-static >/dev/null || command -v qemu-riscv64 >/dev/null || packages+=(qemu-user-static)
# A compiler whose standard library Debian has for other architectures.
want /usr/bin/rustc rustc-web cargo-web
install_packages cross-setup "${packages[@]}"
# Downloads with it too.
command -v apt-get >/dev/null || fail "there is no apt-get here to get standard libraries with"

compiler=$(/usr/bin/rustc --version)
version=$(cut -d' ' -f2 <<<"$compiler")
stamp=$root/sysroot/made-for
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$compiler" ]; then
    exit 0
fi
rm -rf "$root/sysroot"
mkdir -p "$root/sysroot/lib/rustlib"
ln -s "$(/usr/bin/rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu" "$root/sysroot/lib/rustlib/"
# By the compiler that it is for; whole, or not there.
kept=${PPWASM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ppwasm}/cross/$(sha256sum <<<"$compiler" | cut -c1-16)
finish() {
    cp -r --reflink=auto "$kept/." "$root/sysroot/lib/rustlib/"
    printf '%s\n' "$compiler" >"$stamp"
    exit 0
}
[ ! -d "$kept" ] || finish

printf 'cross-setup: getting the standard library of Rust %s for other architectures\n' "$version" >&2
apt=$root/apt
rm -rf "$apt"
mkdir -p "$apt"/{lists/partial,cache/archives/partial,unpacked,libraries}
: >"$apt/status"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in "debian trixie" "debian-security trixie-security"; do
    printf 'deb [signed-by=%s] http://deb.debian.org/%s main\n' "$keys" "$suite" >>"$apt/sources.list"
done
here=$PWD/$apt
ask_debian_13() { # ARCHITECTURE COMMAND…
    local architecture=$1
    shift
    (cd "$apt" && apt-get -q -o "Dir::State::lists=$here/lists" -o "Dir::State::status=$here/status" \
        -o "Dir::Cache=$here/cache" -o "Dir::Etc::sourcelist=$here/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture" "$@" >&2)
}
get() { # ARCHITECTURE
    local try
    for try in 1 2 3; do
        # A mirror that is being updated has an index that does not fit; the other one may do.
        ask_debian_13 "$1" update || true
        ask_debian_13 "$1" download libstd-rust-web-dev && return
        [ "$try" -eq 3 ] || sleep 20
    done
    fail "Debian 13 gave no standard library for $1; is there a network?"
}
for pair in "${targets[@]}"; do
    target=${pair%%:*} architecture=${pair##*:}
    get "$architecture"
    package=$(find "$apt" -maxdepth 1 -name "libstd-rust-web-dev_*_$architecture.deb")
    case $package in
    *"_$version+"*) ;;
    *) fail "the compiler is $version, Debian 13 has the library of another: ${package##*/}" ;;
    esac
    dpkg-deb -x "$package" "$apt/unpacked"
    mv "$apt/unpacked/usr/lib/rustlib/$target" "$apt/libraries/"
    rm "$package"
done
mkdir -p "${kept%/*}"
cp -r "$apt/libraries" "$kept.$$"
mv -T "$kept.$$" "$kept" 2>/dev/null || rm -rf "$kept.$$"
rm -rf "$apt"
finish
