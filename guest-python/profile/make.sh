#!/usr/bin/env bash
# Makes cpython.profdata.xz: builds CPython natively with counters, runs its training set, merges what was counted. README.md says why.
# Needs, beside what the guest's build needs: clang's native runtime library and a C library for 32-bit x86.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache_root=${PPWASM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ppwasm}
sources_folder=${PPWASM_SOURCES:-}
update_imports=no
. "$here/sources.env"
. "$here/flags.env"
. "$here/steps/common.sh"
for step in toolchain fetch native libraries cpython module library guest; do
    . "$here/steps/$step.sh"
done

clang=clang-$CLANG_VERSION
echo 'int main(void) { return 0; }' | "$clang" -m32 -fprofile-generate -x c -o /dev/null - || {
    echo "this needs packages: apt-get install libc6-dev-i386 lib32gcc-12-dev libclang-rt-$CLANG_VERSION-dev" >&2
    exit 1
}

use_cache "$cache_root"
find_toolchain
compute_keys sysroot source c_sources packages native
need source
need native

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# The same relative names as in steps/cpython.sh: static functions are known by the name of their file.
ln -s "$source_dir" source
mkdir build counts
cd build
export PKG_CONFIG=false CC="$clang -m32" CPP="$clang -m32 -E" PYTHONDONTWRITEBYTECODE=1
export OPT="-O2 -DNDEBUG -w" CFLAGS="-fprofile-generate -mllvm -vp-counters-per-site=8" LDFLAGS=-fprofile-generate
../source/configure --host=i686-linux-gnu --build="$(../source/config.guess)" --with-build-python="$native_dir/bin/python3.13" \
    --without-computed-gotos ${CONFIGURE_FLAGS/--disable-test-modules/} ac_cv_file__dev_ptmx=no ac_cv_file__dev_ptc=no
# The training set needs the test modules that the guest leaves out.
make -j"$(parallel_jobs)" python sharedmods
# One or two files of the set fail on 32-bit x86; what they ran is counted all the same.
LLVM_PROFILE_FILE="$work/counts/%m.profraw" PYTHONPATH="$PWD/Modules" timeout 1800 ./python -m test --pgo --timeout 300 || true
compgen -G "$work/counts/*.profraw" >/dev/null || { echo "nothing was counted" >&2; exit 1; }
"llvm-profdata-$CLANG_VERSION" merge -sparse -o "$work/cpython.profdata" "$work"/counts/*.profraw
xz -9e -c "$work/cpython.profdata" >"$here/profile/cpython.profdata.xz"
ls -l "$here/profile/cpython.profdata.xz"
