#!/usr/bin/env bash
# Runs CPython's regression tests in the guest, each file in a sandbox of its own, and compares with expected.toml.
set -euo pipefail

usage() {
    cat <<'END'
usage: guest-python/regression/run.sh [--update] (--all | --quick | NAME...)

  --all      every file
  --quick    the files that `make test` runs too
  NAME       a file or package, such as test_int or test_asyncio.test_tasks
  --update   with --all: writes expected.toml from this run instead of comparing

The tracebacks of what failed are in target/regression/result.json afterwards.
PPWASM names the command (default: target/debug/ppwasm), PPWASM_GUEST_DIR the guest folder (default: target/guest).
END
}

update=no
if [[ ${1:-} == --update ]]; then
    update=yes
    shift
fi
if (($# == 0)) || [[ $1 == --help || ($update == yes && $* != --all) ]]; then
    usage >&2
    exit 2
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$here/../../target
ppwasm=${PPWASM:-$target/debug/ppwasm}
guest=${PPWASM_GUEST_DIR:-$target/guest}
[[ -x $ppwasm ]] || { echo "regression: there is no $ppwasm: run make build, or set PPWASM" >&2; exit 2; }
[[ -f $guest/tests.tar ]] || { echo "regression: there is no $guest/tests.tar: run make guest" >&2; exit 2; }
export PPWASM_GUEST_DIR=$guest PYTHONDONTWRITEBYTECODE=1

# Unpacked once for each version of the tests.
tests=$target/regression/$(sha256sum <"$guest/tests.tar" | cut -c1-16)
if [[ ! -d $tests ]]; then
    mkdir -p "$target/regression"
    unpacked=$(mktemp -d "$target/regression/unpacking.XXXXXX")
    tar -xf "$guest/tests.tar" -C "$unpacked"
    mv -T "$unpacked" "$tests" 2>/dev/null || rm -rf "$unpacked"
fi

work=$(mktemp -d "$target/regression/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 "$here/compare.py" tasks "$@" >"$work/tasks.json"
# Time and random numbers come from these two, so that a run can be repeated exactly.
status=0
"$ppwasm" submit "$here/driver.py:run_test" --from-json "$work/tasks.json" --keep-going --output json \
    --input "$tests/test=test" --memory 1GiB --time-limit 15m \
    --submit-time 2026-01-01T00:00:00Z --job-id 00000000000000000000000000000000 >"$work/result.json" || status=$?
case $status in
    # Also how a task ends that did not succeed: the comparison tells that in its own words.
    0 | 1 | 3 | 4) ;;
    *) exit "$status" ;;
esac
if [[ $update == yes ]]; then
    python3 "$here/compare.py" update "$tests/test" <"$work/result.json"
else
    cp "$work/result.json" "$target/regression/result.json"
    python3 "$here/compare.py" check "$tests/test" "$@" <"$work/result.json"
fi
