#!/usr/bin/env bash
# How much slower Python runs in the guest than natively, or one guest against another: see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ " $* " == *" --binary "* ]] || cargo build --quiet --locked -p ppwasm-benches --bin guest-side
exec python3 benches/slowdown.py "$@"
