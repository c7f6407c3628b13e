#!/usr/bin/env bash
# Runs programs on this machine and, under emulation, on aarch64 and riscv64, from artifacts that were compiled here; also
# as bytecode, and with checks at every access. Results and memories have to be equal to the last bit. Then one cluster of
# all kinds of workers runs a corpus on each of them.
#
#   xtask/test-cross.sh             all of it
#   xtask/test-cross.sh --cluster   the cluster only
#   xtask/test-cross.sh --long      more random programs, more profiles, all examples
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=(tests/corpus/*.py tests/it/python/corpus.py)
parts=target/cross/parts
results=target/cross/results
programs=target/debug/examples
aarch64=aarch64-unknown-linux-gnu riscv64=riscv64gc-unknown-linux-gnu
# Random programs that this machine runs, and how many of them run under emulation and as bytecode.
seeds=600 seeds_elsewhere=40
profiles=(x86-64-v2-checked aarch64-lse riscv64gc pulley64)
only_cluster=
case ${1-} in
'') ;;
--cluster) only_cluster=1 ;;
--long)
    seeds=4000 seeds_elsewhere=400
    profiles+=(aarch64 riscv64gc-checked)
    export PPWASM_ALL_EXAMPLES=1
    ;;
*)
    echo "usage: xtask/test-cross.sh [--cluster|--long]" >&2
    exit 2
    ;;
esac
rm -rf "$results"
mkdir -p "$results"

say() { printf 'test-cross: %s (after %d s)\n' "$*" "$SECONDS" >&2; }
fail() {
    printf 'test-cross: %s\n' "$*" >&2
    exit 1
}

# run NAME KIND ARGUMENT…: what the corpus program prints on a kind of machine.
run() {
    local name=$1 kind=$2 qemu program=$programs/corpus
    case $kind in
    native) emulate=() ;;
    *)
        qemu=$(command -v "qemu-$kind-static" || command -v "qemu-$kind") || fail "there is no qemu for $kind; make cross installs it"
        emulate=("$qemu" -L "/usr/$kind-linux-gnu")
        program=target/cross/build/${!kind}/board/examples/corpus
        ;;
    esac
    "${emulate[@]}" "$program" "${@:3}" >"$results/$name" 2>"$results/$name.log" || {
        cat "$results/$name.log" >&2
        fail "the programs did not run to their end: $name"
    }
}

# same NAME: says that all results of a kind are this machine's, or ends.
same() {
    local lines
    lines=$(wc -l <"$results/$1")
    diff -u <(head -n "$lines" "$results/$2") "$results/$1" >&2 || fail "$1 differs from this machine"
    printf '%s: %d results and memories equal to those of this machine\n' "$1" "$lines"
}

say "building for this machine"
cargo build --workspace --locked --quiet --bin ppwasm
[ -n "$only_cluster" ] || cargo build --workspace --locked --quiet --example corpus --example compile
say "building for aarch64 and riscv64"
xtask/cross.sh all build --locked --quiet --profile board --no-default-features \
    -p ppwasm --features ppwasm/pulley --bin ppwasm -p ppwasm-host --features ppwasm-host/pulley --example corpus
for kind in aarch64 riscv64; do
    uses=$(xtask/cross.sh "$kind" tree --locked -e normal --prefix none -p ppwasm --no-default-features --features pulley)
    ! grep -E '^(cranelift-codegen|ppwasm-coordinator) ' <<<"$uses" || fail "the worker for $kind holds more than it needs"
    size=$(stat -c %s "target/cross/build/${!kind}/board/ppwasm")
    printf 'the worker for %s: %d KiB\n' "$kind" $((size / 1024))
done
# Programs on hosts: what they come to, and what they leave in memory.
hosts() {
    say "compiling the guest for ${profiles[*]}"
    "$programs/compile" "$parts" "${profiles[@]}"

    say "programs on this machine: the corpus and random ones from $seeds seeds"
    run native native --local "${corpus[@]}"
    run random-native native --local --random "0-$seeds"
    [ "$(wc -l <"$results/native")" -gt 40 ] || fail "the corpus has become small"
    say "with checks at every access"
    run checked native "$parts/x86-64-v2-checked" "${corpus[@]}"
    run random-checked native "$parts/x86-64-v2-checked" --random "0-$seeds"
    same checked native
    same random-checked random-native
    for profile in "${profiles[@]}"; do
        case $profile in
        aarch64*) kind=aarch64 ;;
        riscv64*) kind=riscv64 ;;
        pulley64) kind=native ;;
        *) continue ;;
        esac
        say "$profile on $kind: the corpus and random ones from $seeds_elsewhere seeds"
        run "$profile" "$kind" "$parts/$profile" "${corpus[@]}" &
        first=$!
        run "random-$profile" "$kind" "$parts/$profile" --random "0-$seeds_elsewhere" &
        wait "$first"
        wait "$!"
        same "$profile" native
        same "random-$profile" random-native
    done
}

[ -n "$only_cluster" ] || hosts
say "one cluster of all of them"
cargo test --workspace --locked --quiet --test architectures -- --nocapture
say "done"
