#!/usr/bin/env bash
# Runs a corpus of programs on this machine, and under emulation on aarch64 and riscv64, from artifacts that were compiled
# here; also as bytecode. Results and memories have to be equal to the last bit.
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=(tests/corpus/*.py tests/it/python/corpus.py)
parts=target/cross/parts
results=target/cross/results
mkdir -p "$results"

say() { printf 'test-cross: %s (after %d s)\n' "$*" "$SECONDS" >&2; }

emulator() { # ARCHITECTURE
    command -v "qemu-$1-static" || command -v "qemu-$1" || {
        echo "test-cross: there is no qemu for $1; make cross installs it" >&2
        exit 1
    }
}

emulated() { # ARCHITECTURE TARGET PROFILE NAME
    say "$4"
    local qemu
    qemu=$(emulator "$1")
    "$qemu" -L "/usr/$1-linux-gnu" "target/cross/build/$2/debug/examples/corpus" "$parts/$3" "${corpus[@]}" \
        >"$results/$4" || {
        echo "test-cross: the corpus did not run to its end on $4" >&2
        exit 1
    }
}

say "compiling the guest for each target"
cargo build --locked --quiet -p ppwasm-host --examples
target/debug/examples/compile "$parts" aarch64 aarch64-lse riscv64gc pulley64
say "building the host for each target"
for arch in aarch64 riscv64; do
    xtask/cross.sh "$arch" build --locked --quiet -p ppwasm-host --no-default-features --features pulley --example corpus
done

say "this machine"
target/debug/examples/corpus --local "${corpus[@]}" >"$results/native"
target/debug/examples/corpus "$parts/pulley64" "${corpus[@]}" >"$results/pulley"
emulated riscv64 riscv64gc-unknown-linux-gnu riscv64gc riscv64
emulated aarch64 aarch64-unknown-linux-gnu aarch64 aarch64
emulated aarch64 aarch64-unknown-linux-gnu aarch64-lse aarch64-lse
emulated riscv64 riscv64gc-unknown-linux-gnu pulley64 riscv64-pulley

lines=$(wc -l <"$results/native")
[ "$lines" -gt 40 ] || {
    echo "test-cross: only $lines results" >&2
    exit 1
}
status=0
for found in pulley riscv64 aarch64 aarch64-lse riscv64-pulley; do
    if diff -u "$results/native" "$results/$found"; then
        echo "$found: $lines results and memories equal to this machine's"
    else
        status=1
    fi
done
exit "$status"
