#!/usr/bin/env bash
# Runs cargo for another architecture, with the compiler and library that cross-setup.sh has made ready.
#
#   xtask/cross.sh aarch64|riscv64 CARGO-ARGUMENT…
#
# What it builds is in target/cross/build, away from what is built for this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1-} in
aarch64) target=aarch64-unknown-linux-gnu ;;
riscv64) target=riscv64gc-unknown-linux-gnu ;;
*)
    echo "usage: xtask/cross.sh aarch64|riscv64 CARGO-ARGUMENT…" >&2
    exit 2
    ;;
esac
tool=$1-linux-gnu
shift
name=${target//-/_}
export CARGO_TARGET_DIR=$PWD/target/cross/build
export RUSTC=/usr/bin/rustc
export "CARGO_TARGET_${name^^}_RUSTFLAGS=--sysroot $PWD/target/cross/sysroot"
export "CARGO_TARGET_${name^^}_LINKER=$tool-gcc"
export "CC_$name=$tool-gcc" "AR_$name=$tool-ar"
# Nobody edits and builds again here, and the memory of what was built would be large.
export CARGO_INCREMENTAL=0
exec /usr/bin/cargo "$1" --target "$target" "${@:2}"
