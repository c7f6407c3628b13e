#!/usr/bin/env bash
# Builds the guest and the command line side by side, and fetches the examples' input:
# xtask/build.sh GUEST_FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

guest-python/build.sh --output "$1" &
guest=$!
# Fetched now, so that everything works without a network from here on.
examples/prepare-inputs.sh
cargo_status=0
cargo build --workspace --locked || cargo_status=$?
guest_status=0
wait "$guest" || guest_status=$?
[ "$guest_status" -eq 0 ] || { echo "build: the guest was not built (see above)" >&2; exit 1; }
[ "$cargo_status" -eq 0 ] || { echo "build: cargo failed (see above)" >&2; exit 1; }
