# CPython for the guest, as libraries: everything that `steps/module.sh` links.

cpython_inputs() {
    toolchain_inputs
    keys_of source libraries
    files_of steps/cpython.sh configure tools/sysconfig_data.py profile/cpython.profdata.xz
}

cpython_make() {
    need source
    need native
    need libraries
    use_toolchain
    ln -s "$source_dir" source
    ln -s "$native_dir" native
    ln -s "$libraries_dir" libraries
    xz -dc "$here/profile/cpython.profdata.xz" >cpython.profdata
    mkdir build
    (
        cd build
        configure_cpython
        nice make -j"$(parallel_jobs)" libpython3.13.a $(helper_libraries) pybuilddir.txt
        mkdir -p ../out/lib ../out/include
        cp libpython3.13.a $(helper_libraries) ../out/lib/
        cp -r ../source/Include/. pyconfig.h ../out/include/
        native_python "$here/tools/sysconfig_data.py" "$(cat pybuilddir.txt)"/_sysconfigdata_*.py ../out/lib \
            "$(cd .. && pwd)=/build" "$source_dir=/build/source" "$native_dir=/build/native" "$libraries_dir=/build/libraries"
    )
}

# Archives that modules of CPython link beside its own.
helper_libraries() { echo Modules/_decimal/libmpdec/libmpdec.a Modules/expat/libexpat.a Modules/_hacl/libHacl_Hash_SHA2.a; }

configure_cpython() {
    local module library machine
    machine=$(../source/config.guess)
    export PYTHONDONTWRITEBYTECODE=1
    # Or it finds the machine's own libraries.
    export PKG_CONFIG=false
    export CONFIG_SITE=$here/configure/config.site HOSTRUNNER=true
    export CC=wasm32-wasi-clang CPP="wasm32-wasi-clang -E" AR=wasm32-wasi-ar RANLIB=true READELF=true LDSHARED=false
    export OPT="$OPTIMISE $OPTIMISE_CPYTHON -Wall" CFLAGS=$WASM_FEATURES LDFLAGS="-z stack-size=$STACK_BYTES -Wl,--stack-first"
    for library in ZLIB=z BZIP2=bz2 LIBLZMA=lzma LIBSQLITE3=sqlite3; do
        export "${library%=*}_CFLAGS=-I../libraries/include" "${library%=*}_LIBS=-L../libraries/lib -l${library#*=}"
    done
    # Sockets are replaced by a module in Python; the others need what the sandbox has not.
    for module in _socket _ctypes _ssl _hashlib _curses _curses_panel _tkinter _dbm _gdbm readline _uuid; do
        export "py_cv_module_$module=n/a"
    done
    ../source/configure --host=wasm32-wasi --build="$machine" --with-build-python="$(cd ../native && pwd)/bin/python3.13" \
        --prefix=/ --with-tzpath=/lib/python3.13/tzdata/zoneinfo $CONFIGURE_FLAGS
}
