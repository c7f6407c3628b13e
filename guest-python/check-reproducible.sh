#!/usr/bin/env bash
# Builds the guest twice from nothing, in folders of different names and depths, and compares every file.
# `check-reproducible.sh [FOLDER]`: works in a new folder there (default: the one for temporary files). Takes two builds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/guest-reproducible.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

first=$scratch/one
second=$scratch/another/folder-deeper/with-a-longer-name
for folder in "$first" "$second"; do
    "$here/build.sh" --cache "$folder/cache" --output "$folder/guest"
done

status=0
for name in python.wasm python.names.wasm library.tar tests.tar guest.json; do
    if cmp "$first/guest/$name" "$second/guest/$name"; then
        echo "same: $name $(sha256sum <"$first/guest/$name" | cut -c1-64)"
    else
        status=1
    fi
done
exit $status
