# What the guest sees under /lib/python3.13: the standard library, the packages, the overlay and the runner.

# Parts of the standard library that are of no use in the sandbox.
LIBRARY_WITHOUT="test idlelib tkinter turtledemo turtle.py ensurepip venv lib-dynload site-packages"

stdlib_inputs() {
    keys_of source cpython packages
    files_of steps/library.sh tools/compile_library.py
}

stdlib_make() {
    need source
    need native
    need cpython
    need packages
    local part
    cp -r "$source_dir/Lib/." out/
    for part in $LIBRARY_WITHOUT; do
        rm -rf "out/$part"
    done
    cp "$cpython_dir"/lib/_sysconfigdata_*.py out/
    cp -r "$packages_dir/cbor2/cbor2" "$packages_dir/tzdata/tzdata" out/
    native_python "$here/tools/compile_library.py" out
}

library_inputs() {
    keys_of stdlib
    files_of steps/library.sh tools/compile_library.py tools/pack.py runner/_ppwasm
    [[ ! -d $here/overlay ]] || files_of overlay
}

library_make() {
    need native
    need stdlib
    mkdir own
    [[ ! -d $here/overlay ]] || cp -r "$here/overlay/." own/
    mkdir -p own/_ppwasm
    cp -r "$here/runner/_ppwasm/." own/_ppwasm/
    find own -name __pycache__ -prune -exec rm -r {} +
    native_python "$here/tools/compile_library.py" own
    native_python "$here/tools/pack.py" out/library.tar "$stdlib_dir" own
}

# CPython's own regression tests, to be unpacked over the library by whoever runs them in the guest.
tests_inputs() {
    keys_of source
    files_of steps/library.sh tools/pack.py
}

tests_make() {
    need source
    need native
    mkdir -p tests
    cp -r "$source_dir/Lib/test" tests/
    find tests -name __pycache__ -prune -exec rm -r {} +
    native_python "$here/tools/pack.py" out/tests.tar tests
}
