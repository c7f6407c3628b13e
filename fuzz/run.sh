#!/usr/bin/env bash
# Fuzzes one target: run.sh TARGET SECONDS [FLAG OF LIBFUZZER…]. README.md says what the targets are and where findings go.
set -euo pipefail
cd "$(dirname "$0")"

if (($# < 2)); then
    echo "usage: fuzz/run.sh TARGET SECONDS [FLAG OF LIBFUZZER…]; the targets:" $(cd fuzz_targets && ls | sed 's/\.rs$//') >&2
    exit 2
fi
target=$1
seconds=$2
shift 2
[[ -f fuzz_targets/$target.rs ]] || { echo "fuzz: there is no target $target" >&2; exit 2; }

features=()
case $target in image | library | input_tree) features=(--features host) ;; esac
# What cargo-fuzz passes, without a sanitizer: the code under test is safe Rust, and so the stable compiler does.
coverage="-Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, build scripts and macros are built without those flags.
RUSTFLAGS=$coverage CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} \
    cargo build --quiet --release --target "$host" --bin "$target" "${features[@]}"

corpus=../tests/fuzz/corpus/$target
found=target/found/$target
mkdir -p "$corpus" "$found"
limits=(-max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048)
# New inputs go to `found` and, made few again, to the corpus.
"${CARGO_TARGET_DIR:-target}/$host/release/$target" "${limits[@]}" -artifact_prefix="$found/crash-" "$@" "$found" "$corpus"
merged=$(mktemp -d "target/merged.XXXXXX")
"${CARGO_TARGET_DIR:-target}/$host/release/$target" -merge=1 -max_len=512 "$merged" "$corpus" "$found" 2>/dev/null
echo "fuzz: $(ls "$merged" | wc -l) inputs reach what $(ls "$corpus" | wc -l) of the corpus and $(ls "$found" | wc -l) others reach: $merged" >&2
