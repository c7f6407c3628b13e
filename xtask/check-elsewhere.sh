#!/usr/bin/env bash
# Type-checks the workspace for Windows or macOS, from Debian 12 or 13: every crate, program, test, example and benchmark,
# with warnings denied. Says what it installs before it does; does nothing twice.
#
#   xtask/check-elsewhere.sh windows|macos [CARGO-CHECK-ARGUMENT…]
#
# Nothing is linked and nothing runs. Debian has no standard library for either system that is of a new enough compiler,
# so the library is type-checked from its source as well. C and assembler of dependencies (SQLite, ring, parts of wasmtime
# and blake3) are NOT compiled: in the place of a compiler for the system stands a script that writes empty files. What is
# found is what Rust's own compiler can find without them.
set -euo pipefail
cd "$(dirname "$0")/.."
. xtask/install.sh

folder=$PWD/target/cross/check
case ${1-} in
windows) target=x86_64-pc-windows-gnu ;;
macos) target=aarch64-apple-darwin ;;
*)
    echo "usage: xtask/check-elsewhere.sh windows|macos [CARGO-CHECK-ARGUMENT…]" >&2
    exit 2
    ;;
esac
shift

packages=()
[ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] || packages+=(rustc-web cargo-web)
[ -e /usr/lib/rustlib/src/rust/library/std/Cargo.toml ] || packages+=(rust-web-src)
# What rustc makes import libraries for Windows with.
command -v x86_64-w64-mingw32-dlltool >/dev/null || packages+=(binutils-mingw-w64-x86-64)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
install_packages check-elsewhere "${packages[@]}"

# The stand-in for a C compiler of another system: asked who it is, it answers as gcc does; asked to compile, it writes an
# empty object. An assembler or archiver needs no stand-in: what goes into an archive may be empty.
mkdir -p "$folder/stand-in/no-sdk"
cat >"$folder/stand-in/cc.new" <<'STAND_IN'
#!/bin/sh
output=
preprocesses=
while [ $# -gt 0 ]; do
    case $1 in
    -E) preprocesses=yes ;;
    '-?') exit 1 ;;
    -o) output=$2; shift ;;
    -o*) output=${1#-o} ;;
    esac
    shift
done
if [ -n "$preprocesses" ]; then echo '#pragma message "gcc"'; fi
if [ -n "$output" ]; then : >"$output"; fi
STAND_IN
chmod +x "$folder/stand-in/cc.new"
mv "$folder/stand-in/cc.new" "$folder/stand-in/cc"

arguments=("--target=$target")
name=${target//-/_}
export "CC_$name=$folder/stand-in/cc" "AR_$name=ar" "RANLIB_$name=true"
# There is none, and it is not to be looked for.
export SDKROOT=$folder/stand-in/no-sdk
export CARGO_TARGET_DIR=$folder
export RUSTC=/usr/bin/rustc
# The library's source is checked with a feature of the compiler that has no stable name yet.
export RUSTC_BOOTSTRAP=1
export CARGO_BUILD_WARNINGS=deny
if [ $# -eq 0 ]; then
    set -- --workspace --all-targets
fi
# Build scripts and derive macros run for a moment only: optimising them would take longer than all else.
for profile in 'dev' 'dev.package."*"'; do
    arguments+=(--config "profile.$profile.opt-level=0" --config "profile.$profile.debug=false")
done
exec /usr/bin/cargo check --locked -Zbuild-std=std -Zwarnings "${arguments[@]}" "$@"
