# A Python of the guest's version that runs here, which the build of the guest needs, and a BLAKE3 program.

native_inputs() {
    uname -sm
    keys_of source c_sources
    files_of steps/native.sh tools/blake3.c
}

native_make() {
    need source
    need c_sources
    mkdir build
    (
        cd build
        # Modules that the build's own scripts import; everything else is left out.
        export PKG_CONFIG=false PYTHONDONTWRITEBYTECODE=1
        "$source_dir/configure" --without-ensurepip --disable-test-modules OPT="-DNDEBUG -O1"
        printf '*static*\n_opcode _opcode.c\n_struct _struct.c\n' >Modules/Setup.local
        nice make -j"$(parallel_jobs)" python
    )
    mkdir -p out/bin out/lib/python3.13/lib-dynload
    cp build/python out/bin/python3.13
    strip out/bin/python3.13
    (cd "$source_dir/Lib" && tar -c --exclude=./test --exclude=./idlelib --exclude=./ensurepip .) | tar -x -C out/lib/python3.13
    cc -O2 -I"$c_sources_dir/blake3" -DBLAKE3_NO_SSE2 -DBLAKE3_NO_SSE41 -DBLAKE3_NO_AVX2 -DBLAKE3_NO_AVX512 -DBLAKE3_USE_NEON=0 \
        -o out/bin/blake3 "$here/tools/blake3.c" "$c_sources_dir"/blake3/blake3{,_dispatch,_portable}.c
}

native_python() { PYTHONHOME= PYTHONPATH= "$native_dir/bin/python3.13" -I -S -B "$@"; }
