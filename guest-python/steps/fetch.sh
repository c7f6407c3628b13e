# Brings the pinned sources here, each through its registry's own client, and checks them.

source_inputs() {
    echo "$PYTHON_SHA256"
    files_of patches 2>/dev/null || true
}

source_make() {
    local patch
    fetch_pinned "$PYTHON_TARBALL" "$PYTHON_SHA256" fetch_python_from_debian
    tar -xJf "$PYTHON_TARBALL" -C out --strip-components=1
    for patch in "$here"/patches/*.patch; do
        [[ ! -e $patch ]] || patch -d out -p1 <"$patch"
    done
}

fetch_python_from_debian() {
    use_debian
    debian_apt source --download-only "$PYTHON_DEBIAN_PACKAGE"
}

fetch_wasi_libc() { fetch_pinned "$WASI_LIBC_DEB" "$WASI_LIBC_SHA256" fetch_wasi_libc_from_debian; }

fetch_wasi_libc_from_debian() {
    use_debian
    debian_apt download "$WASI_LIBC_DEBIAN_PACKAGE=$WASI_LIBC_VERSION"
}

# fetch_pinned FILE SHA256 COMMAND: FILE is here afterwards, from the user's folder of sources or by COMMAND.
fetch_pinned() {
    if [[ -n $sources_folder && -f $sources_folder/$1 ]]; then
        cp "$sources_folder/$1" "$1"
    else
        "$3"
    fi
    [[ -f $1 ]] || die "could not fetch $1: put it into a folder and name that with --sources"
    echo "$2  $1" | sha256sum --check --quiet || die "$1 is not the pinned file (its sha256 should be $2)"
}

# A package list of our own, at the mirror that the machine uses; the machine's own configuration stays as it is.
use_debian() {
    command -v apt-get >/dev/null || die "no apt-get here: put $PYTHON_TARBALL and $WASI_LIBC_DEB into a folder and name it with --sources"
    local mirror codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(SUITE) $(CODENAME) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v codename="$codename" '$NF == "main" && ($2 == codename || $3 == codename || $4 == codename) { print $1; exit }')
    [[ -n $mirror ]] || die "no Debian mirror in apt's configuration: put $PYTHON_TARBALL and $WASI_LIBC_DEB into a folder and name it with --sources"
    mkdir -p apt/{parts,state/lists/partial,cache/archives/partial}
    local signed=/usr/share/keyrings/debian-archive-keyring.gpg
    printf '%s [signed-by='$signed'] %s '"$DEBIAN_SUITE"' main\n' deb "$mirror" deb-src "$mirror" >apt/sources.list
    debian_apt update
}

debian_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$PWD/apt/sources.list" -o Dir::Etc::sourceparts="$PWD/apt/parts" \
        -o Dir::State::lists="$PWD/apt/state/lists" -o Dir::Cache="$PWD/apt/cache" -o APT::Sandbox::User= \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

c_sources_inputs() { files_of c-sources; }

c_sources_make() {
    command -v cargo >/dev/null || die "cargo is missing: run guest-python/install-packages.sh"
    cp -r "$here/c-sources" manifest
    mkdir vendored
    (cd manifest && cargo vendor --locked --versioned-dirs ../vendored)
    mv vendored/libz-sys-*/src/zlib out/zlib
    mv vendored/bzip2-sys-*/bzip2-* out/bzip2
    mv vendored/libsqlite3-sys-*/sqlite3 out/sqlite3
    mv vendored/liblzma-sys-* out/liblzma
    mv vendored/blake3-*/c out/blake3
}

packages_inputs() { files_of packages.txt; }

packages_make() {
    local find=()
    [[ -z $sources_folder ]] || find=(--find-links "$sources_folder")
    python3 -m pip --version >/dev/null || die "Python's pip is missing: run guest-python/install-packages.sh"
    python3 -m pip download --quiet --no-deps --require-hashes --no-binary cbor2 --only-binary tzdata "${find[@]}" \
        --dest fetched --requirement "$here/packages.txt"
    mkdir out/cbor2 out/tzdata
    tar -xzf fetched/cbor2-*.tar.gz -C out/cbor2 --strip-components=1
    python3 -m zipfile -e fetched/tzdata-*.whl out/tzdata
}
