#!/usr/bin/env bash
# Runs cargo for other architectures, with the compiler and libraries that cross-setup.sh has made ready.
#
#   xtask/cross.sh aarch64|riscv64|all CARGO-ARGUMENT…
#
# What it builds is in target/cross/build, away from what is built for this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

aarch64=aarch64-unknown-linux-gnu riscv64=riscv64gc-unknown-linux-gnu
case ${1-} in
aarch64 | riscv64) for=("--target=${!1}") ;;
all) for=("--target=$aarch64" "--target=$riscv64") ;;
*)
    echo "usage: xtask/cross.sh aarch64|riscv64|all CARGO-ARGUMENT…" >&2
    exit 2
    ;;
esac
for architecture in aarch64 riscv64; do
    tool=$architecture-linux-gnu name=${!architecture//-/_}
    export "CARGO_TARGET_${name^^}_RUSTFLAGS=--sysroot $PWD/target/cross/sysroot"
    export "CARGO_TARGET_${name^^}_LINKER=$tool-gcc"
    export "CC_$name=$tool-gcc" "AR_$name=$tool-ar"
done
export CARGO_TARGET_DIR=$PWD/target/cross/build
export RUSTC=/usr/bin/rustc
exec /usr/bin/cargo "$2" "${for[@]}" "${@:3}"
