# The guest folder: the module, the library and what names them.

guest_inputs() {
    keys_of module library tests
    files_of steps/guest.sh
}

guest_make() {
    need native
    need module
    need library
    need tests
    ln "$module_dir"/python.wasm "$module_dir"/python.names.wasm "$library_dir"/library.tar "$tests_dir"/tests.tar out/
    local digests
    mapfile -t digests < <("$native_dir/bin/blake3" out/python.wasm out/library.tar)
    printf '{"format": 1, "python": "%s", "module_blake3": "%s", "library_blake3": "%s"}\n' \
        "$PYTHON_VERSION" "${digests[@]}" >out/guest.json
}

# Copies what differs into the user's folder; guest.json last, so that it never names what is not there yet.
deliver() {
    local name
    mkdir -p "$1"
    for name in tests.tar python.names.wasm python.wasm library.tar guest.json; do
        if ! cmp -s "$guest_dir/$name" "$1/$name"; then
            cp "$guest_dir/$name" "$1/.$name.$$"
            mv "$1/.$name.$$" "$1/$name"
        fi
    done
    say "$(cd "$1" && pwd): $(cat "$guest_dir/guest.json")"
}
