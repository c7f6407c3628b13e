#!/usr/bin/env bash
# Puts the examples' input, which is real, under target/inputs: prepare-inputs.sh [EXAMPLE…], all of them by default.
#
# It all comes out of Debian packages, which are unpacked and not installed. apt fetches them from where this machine's
# sources say, with package lists of its own, so neither root nor an `apt-get update` is needed. Every file but one is
# known by its SHA-256 and is the same in Debian 12 and 13. The cache keeps what was fetched; what is there is not
# fetched again, and then no network is needed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
inputs=$root/target/inputs
cache=${PPWASM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ppwasm}/inputs

# name, the example it is for, SHA-256, package, path in the package
files=(
    'kjv.txt words e53aaf0af1e58f259e35d0d9f7ca1bbe154fd77bb95471279b37b34d3c397a98 bible-kjv-text usr/lib/bible.data'
    'digits.csv neighbours 6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8 python3-sklearn usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz'
    'astronaut.png filters 88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5 python3-skimage usr/lib/python3/dist-packages/skimage/data/astronaut.png'
    'Front_Center.wav filters 0d61518bcd3f13b0c709a5298e939caf698b80d31d71d50475365ee0e5536cc9 alsa-utils usr/share/sounds/alsa/Front_Center.wav'
)
# The exception: the archive's own list of packages, which changes with every update of Debian. The first one is kept.
archive_file=packages.txt
archive_example=pagerank
archive_packages_min=10000

fail() {
    printf 'inputs: %s\n' "$*" >&2
    exit 1
}

has_digest() {
    printf '%s  %s\n' "$1" "$2" | sha256sum --check --status 2>/dev/null
}

# keep FILE IN_CACHE moves a file into the cache, at once, so that nobody finds half of it there.
keep() {
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.$$"
    mv "$2.$$" "$2"
}

# place IN_CACHE NAME copies a file from the cache to target/inputs, unless it is there.
place() {
    cmp -s "$1" "$inputs/$2" && return
    mkdir -p "$inputs"
    cp "$1" "$inputs/$2.$$"
    mv "$inputs/$2.$$" "$inputs/$2"
}

# The Bible's text lies in blocks that the old `compress` made, which gzip reads. At 88, big-endian: the number of
# blocks, where each one begins, and where the last one ends; then the three bytes that begin every compressed file,
# once for all blocks.
unpack_bible() {
    local data=$1 count offsets block begin length
    count=$(od -An -tu4 --endian=big -j88 -N4 "$data")
    mapfile -t offsets < <(od -An -v -tu4 --endian=big -w4 -j92 -N$(((count + 1) * 4)) "$data")
    for ((block = 0; block < count; block++)); do
        begin=${offsets[block]} length=$((offsets[block + 1] - offsets[block]))
        { printf '\x1f\x9d\x90' && tail -c +$((begin + 1)) "$data" | head -c "$length"; } | gzip -dc
    done
}

# unpack NAME SOURCE writes a file of a package to stdout, as the examples read it.
unpack() {
    case $1 in
        kjv.txt) unpack_bible "$2" ;;
        *.csv) gzip -dc "$2" ;;
        *) cat "$2" ;;
    esac
}

# Writes the fields that the graph is made of, for the first Debian release that this machine's sources name.
list_packages() {
    local lists
    # shellcheck disable=SC2016  # apt fills these in
    mapfile -t lists < <(
        apt_get indextargets --format '$(ARCHITECTURE) $(CODENAME) $(FILENAME)' \
            'Created-By: Packages' 'Origin: Debian' 'Component: main' |
            awk -v here="$(dpkg --print-architecture)" '$1 == here && $2 !~ /-/ { print $3 }'
    )
    [ "${#lists[@]}" -gt 0 ] || {
        cat "$work/log" >&2
        fail "apt-get has no list of Debian's packages (see above); is there a network, and Debian in its sources?"
    }
    /usr/lib/apt/apt-helper cat-file "${lists[0]}" | grep -E '^(Package|Depends|Pre-Depends):'
}

# apt-get with package lists and a cache of its own.
apt_get() {
    apt-get -qq -o Dir::State="$work/state" -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

for name in "$@"; do
    [ -e "$root/examples/$name/run.sh" ] || fail "there is no example $name"
done
wanted=" $* "
is_wanted() {
    [ "$wanted" = "  " ] || [[ $wanted == *" $1 "* ]]
}

missing=() packages=()
for file in "${files[@]}"; do
    read -r name example digest package path <<<"$file"
    is_wanted "$example" || continue
    if has_digest "$digest" "$cache/$digest/$name"; then
        place "$cache/$digest/$name" "$name"
    else
        missing+=("$file")
        packages+=("$package")
    fi
done
fetching="${packages[*]}"
archive_list=
if is_wanted "$archive_example"; then
    archive_list=$cache/archive/$archive_file
    if [ -s "$archive_list" ]; then
        place "$archive_list" "$archive_file"
        archive_list=
    else
        fetching+=${fetching:+, }"the list of Debian's packages"
    fi
fi
[ -n "$fetching" ] || exit 0

command -v apt-get >/dev/null || fail "needs apt-get, to fetch $fetching"
printf 'inputs: fetching from the Debian archive, without installing: %s\n' "$fetching" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/unpacked"
apt_get update >"$work/log" 2>&1 || true # one of the sources may be away; what is needed shows below

if [ "${#packages[@]}" -gt 0 ]; then
    (cd "$work" && apt_get download "${packages[@]}" >>"$work/log" 2>&1) || {
        cat "$work/log" >&2
        fail "apt-get could not fetch ${packages[*]} (see above); is there a network?"
    }
fi
for file in "${missing[@]}"; do
    read -r name example digest package path <<<"$file"
    dpkg-deb -x "$work/${package}"_*.deb "$work/unpacked/$package"
    unpack "$name" "$work/unpacked/$package/$path" >"$work/$name" || fail "$package holds no $path, which $example needs"
    has_digest "$digest" "$work/$name" || fail "$path in $package is not the file that $example needs (SHA-256 $digest)"
    keep "$work/$name" "$cache/$digest/$name"
    place "$cache/$digest/$name" "$name"
done
if [ -n "$archive_list" ]; then
    list_packages >"$work/$archive_file"
    found=$(grep -c '^Package:' "$work/$archive_file" || true)
    [ "$found" -ge "$archive_packages_min" ] || fail "the list of Debian's packages names only $found; is there a network?"
    keep "$work/$archive_file" "$archive_list"
    place "$archive_list" "$archive_file"
fi
