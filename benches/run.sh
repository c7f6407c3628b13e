#!/usr/bin/env bash
# Measures and writes target/bench/report.json: run.sh [--quick] [--only NAME…] [--guest DIR] [--list]
# README.md says what each figure means.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The dev profile, so that wasmtime is not compiled once more; its dependencies are optimised there.
cargo build --quiet --locked --workspace
if [[ " $* " == *" --list "* ]]; then
    exec target/debug/report "$@"
fi
IFS=$'\t' read -r PPWASM_BENCH_NATIVE PPWASM_BENCH_NATIVE_KIND < <(benches/prepare.sh python)
export PPWASM_BENCH_NATIVE PPWASM_BENCH_NATIVE_KIND
[[ -n $PPWASM_BENCH_NATIVE ]] || { echo "bench: no Python to compare with" >&2; exit 1; }
benches/prepare.sh suite >/dev/null
# Without them the fabric is measured alone, and the report says so.
PPWASM_BENCH_PEERS=$(benches/prepare.sh peers) && export PPWASM_BENCH_PEERS || echo "bench: no peers to compare the fabric with" >&2
cargo build --quiet --locked -p ppwasm-scheduler --example throughput
if [[ " $* " != *" --quick "* ]]; then
    PPWASM_BENCH_COUNTER=$(benches/prepare.sh counter) && export PPWASM_BENCH_COUNTER ||
        echo "bench: instructions of other architectures cannot be counted" >&2
    cargo build --quiet --locked --workspace --example corpus
fi
if [[ " $* " != *" --only "* ]]; then
    # The parts of a call, by themselves: criterion's own table, not in the report.
    quick=()
    [[ " $* " != *" --quick "* ]] || quick=(--quick)
    cargo bench --quiet --locked --profile dev -p ppwasm-benches --bench parts -- --noplot "${quick[@]}"
fi
exec target/debug/report "$@"
