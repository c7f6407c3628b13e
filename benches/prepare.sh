#!/usr/bin/env bash
# Brings what benchmarks compare with, once, into the cache, and prints where it is:
#   prepare.sh suite     the folder of pyperformance's benchmarks
#   prepare.sh python    the native interpreter: its program, a tab, what it is
#   prepare.sh peers     a Python that has the systems that the fabric is compared with
#   prepare.sh counter   the plugin with which qemu counts instructions
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PPWASM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ppwasm}/bench
python_minor=3.13

die() {
    printf 'bench: %s\n' "$*" >&2
    exit 1
}

# build_once NAME COMMAND: `$cache/NAME` is there afterwards, made by COMMAND in an empty folder `out`.
build_once() {
    local place=$cache/$1 work
    [[ ! -d $place ]] || return 0
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/work.XXXXXX")
    (cd "$work" && mkdir out && "$2" >&2) || { rm -rf "$work"; die "could not prepare $1 (see above)"; }
    mv -T "$work/out" "$place" 2>/dev/null || [[ -d $place ]] || die "could not write $place"
    rm -rf "$work"
}

make_suite() {
    local wheel name
    echo "bench: fetching pyperformance and what it benchmarks" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --no-binary pyaes \
        --dest fetched --requirement "$here/pyperformance/requirements.txt"
    python3 -m zipfile -e fetched/pyperformance-*.whl unpacked
    mv unpacked/pyperformance/data-files/benchmarks/bm_* out/
    # Each benchmark's folder is all that its script sees in the guest.
    for name in docutils:docutils html5lib:html5lib html5lib:six html5lib:webencodings sqlglot:sqlglot tomli_loads:tomli; do
        for wheel in fetched/"${name#*:}"-*.whl; do
            python3 -m zipfile -e "$wheel" "out/bm_${name%:*}"
        done
    done
    mkdir pyaes
    tar -xzf fetched/pyaes-*.tar.gz -C pyaes --strip-components=1
    mv pyaes/pyaes out/bm_crypto_pyaes/
    rm -rf out/*/*.dist-info out/*/*/tests
}

# Debian 13's own build (profile-guided, link-time optimised) with the C library that it needs, installed nowhere.
make_debian_python() {
    local package
    echo "bench: fetching Debian 13's python$python_minor to compare with" >&2
    # shellcheck disable=SC2034 # read by what is sourced
    DEBIAN_SUITE=trixie
    # shellcheck source=/dev/null
    . "$here/../guest-python/steps/fetch.sh"
    use_debian
    debian_apt download libc6 "python$python_minor-minimal" "libpython$python_minor-minimal" \
        "libpython$python_minor-stdlib" libexpat1 zlib1g libffi8 libsqlite3-0 libbz2-1.0 liblzma5 libssl3t64
    for package in *.deb; do
        dpkg-deb -x "$package" out
    done
    local library
    library=$(cd out && echo usr/lib/*-linux-gnu*)
    cat >out/python <<SCRIPT
#!/bin/sh
root=\$(dirname "\$0")
PYTHONHOME=\$root/usr exec "\$root/$(cd out && echo "$library"/ld-linux-*.so.*)" --library-path "\$root/$library" \\
    "\$root/usr/bin/python$python_minor" "\$@"
SCRIPT
    chmod +x out/python
    out/python -c 'import _decimal, _json, sqlite3, zlib'
}

describe() { "$1" -c 'import platform, sys; print(platform.python_version())'; }

is_optimised() {
    "$1" -c 'import sysconfig; raise SystemExit("--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""))' 2>/dev/null
}

find_python() {
    local found
    if [[ -n ${PPWASM_BENCH_PYTHON:-} ]]; then
        printf '%s\t%s\n' "$PPWASM_BENCH_PYTHON" "CPython $(describe "$PPWASM_BENCH_PYTHON"), chosen by PPWASM_BENCH_PYTHON"
    elif [[ -x /usr/bin/python$python_minor ]]; then
        printf '%s\t%s\n' "/usr/bin/python$python_minor" "CPython $(describe "/usr/bin/python$python_minor") of the distribution"
    elif found=$(command -v "python$python_minor") && is_optimised "$found"; then
        printf '%s\t%s\n' "$found" "CPython $(describe "$found"), optimised, on PATH"
    elif command -v apt-get >/dev/null && (build_once python-debian13 make_debian_python); then
        found=$cache/python-debian13/python
        printf '%s\t%s\n' "$found" "CPython $(describe "$found") of Debian 13"
    else
        printf '%s\t%s\n' python3 "CPython $(describe python3), the python3 on PATH: ANOTHER VERSION than the guest's"
    fi
}

make_peers() {
    echo "bench: fetching ppft, dask and ray to compare with" >&2
    python3 -m venv out
    # Paths in it are absolute, so it is not run by its scripts but by `python -m`.
    out/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$here/peers/requirements.txt"
    out/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$here/peers/ray.txt" ||
        echo "bench: no ray: its wheel cannot be had for this machine or Python" >&2
}

# Debian 12's qemu-user takes plugins; a qemu that is linked statically does not.
make_counter() {
    local missing=() major interface plugin=$here/../target/bench/count-instructions.so
    command -v qemu-x86_64 >/dev/null || missing+=(qemu-user)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    # shellcheck source=/dev/null
    . "$here/../xtask/install.sh"
    install_packages bench "${missing[@]}"
    major=$(qemu-x86_64 --version | sed -n 's/.* version \([0-9]*\)\..*/\1/p')
    interface=$((major < 9 ? 1 : 2))
    mkdir -p "$(dirname "$plugin")"
    cc -shared -fPIC -O2 -Wall -Wextra -DINTERFACE=$interface -o "$plugin" "$here/qemu/count-instructions.c"
    qemu-x86_64 -cpu max -plugin "$plugin" -d plugin /bin/true 2>&1 | grep -q '^instructions: [1-9]' ||
        die "this qemu takes no plugin that counts instructions"
    realpath "$plugin"
}

case ${1:-} in
    suite)
        build_once "pyperformance-$(sha256sum <"$here/pyperformance/requirements.txt" | cut -c1-12)" make_suite
        echo "$cache/pyperformance-$(sha256sum <"$here/pyperformance/requirements.txt" | cut -c1-12)"
        ;;
    python) find_python ;;
    peers)
        name=peers-$(cat "$here"/peers/*.txt | sha256sum | cut -c1-12)
        build_once "$name" make_peers
        echo "$cache/$name/bin/python"
        ;;
    counter) make_counter ;;
    *) die "usage: prepare.sh suite|python|peers|counter" ;;
esac
