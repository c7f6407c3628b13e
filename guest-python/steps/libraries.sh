# The C libraries, compiled for the guest: zlib, bzip2, liblzma, SQLite.

libraries_inputs() {
    toolchain_inputs
    keys_of c_sources
    files_of steps/libraries.sh libraries
}

libraries_make() {
    need c_sources
    use_toolchain
    ln -s "$c_sources_dir" c-sources
    cp -r "$here/libraries" own
    mkdir -p out/include out/lib
    # Largest first, so that it does not run alone at the end.
    {
        library_sources sqlite3 c-sources/sqlite3/sqlite3.c
        library_sources sqlite3-locks own/sqlite_locks.c
        library_sources lzma $(lzma_sources)
        library_sources z c-sources/zlib/*.c
        library_sources bz2 c-sources/bzip2/{blocksort,huffman,crctable,randtable,compress,decompress,bzlib}.c
    } >sources.list
    export -f compile_source compile_flags
    export WASM_FEATURES OPTIMISE OPTIMISE_SQLITE SQLITE_FLAGS
    xargs -P "$(parallel_jobs)" -L 1 bash -c 'set -euo pipefail; compile_source "$1" "$2"' compile <sources.list
    local library
    shopt -s nullglob
    for library in sqlite3 lzma z bz2; do
        wasm32-wasi-ar rcsD "out/lib/lib$library.a" objects/"$library"{,-locks}/*.o
    done
    cp c-sources/zlib/{zlib,zconf}.h c-sources/bzip2/bzlib.h c-sources/sqlite3/sqlite3{,ext}.h out/include/
    cp -r c-sources/liblzma/xz/src/liblzma/api/. out/include/
}

library_sources() {
    local library=$1 source
    shift
    mkdir -p "objects/$library"
    for source in "$@"; do
        printf '%s %s\n' "$library" "$source"
    done
}

# What the crate's own build compiles: no threads, no assembler, no generators of tables.
lzma_sources() {
    ls c-sources/liblzma/xz/src/liblzma/{check,common,delta,lz,lzma,rangecoder,simple}/*.c |
        grep -v -E '(mt|tablegen|_small|consts_gen|cputhreads|physmem)\.c$'
}

compile_source() {
    wasm32-wasi-clang $WASM_FEATURES $(compile_flags "$1") -w -c "$2" -o "objects/$1/$(basename "$2" .c).o"
}

compile_flags() {
    local lzma=c-sources/liblzma folder
    case $1 in
        sqlite3) echo $OPTIMISE_SQLITE $SQLITE_FLAGS ;;
        sqlite3-locks) echo $OPTIMISE ;;
        z) echo "$OPTIMISE -DHAVE_UNISTD_H" ;;
        bz2) echo "$OPTIMISE -D_FILE_OFFSET_BITS=64" ;;
        lzma)
            echo "$OPTIMISE -std=c99 -DHAVE_CONFIG_H -I$lzma -I$lzma/xz/src/common"
            for folder in api lzma lz check simple delta common rangecoder; do
                echo "-I$lzma/xz/src/liblzma/$folder"
            done
            ;;
    esac
}
