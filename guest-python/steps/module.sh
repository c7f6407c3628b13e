# python.wasm: CPython's libraries, the extension modules beside them and the guest's own C part, linked and checked.

module_inputs() {
    toolchain_inputs
    keys_of cpython libraries packages
    files_of steps/module.sh glue extensions.txt check-module.py tools/wasm_module.py tools/strip_module.py
    [[ $update_imports == yes ]] || files_of imports.txt
}

module_make() {
    need native
    need cpython
    need libraries
    need packages
    use_toolchain
    ln -s "$cpython_dir" cpython
    ln -s "$packages_dir" packages
    ln -s "$libraries_dir" libraries
    cp -r "$here/glue" glue
    extension_table >glue/extensions.c
    mkdir objects
    local source
    for source in glue/*.c; do
        compile_for_guest -Wall -Wextra -Werror -Ilibraries/include "$source"
    done
    for source in packages/cbor2/source/*.c; do
        compile_for_guest -w "$source"
    done
    # A warning of this linker is a function called with another type than it has: never to be ignored.
    wasm32-wasi-clang -mexec-model=reactor -o linked.wasm objects/*.o cpython/lib/lib{python3.13,mpdec,expat,Hacl_Hash_SHA2}.a \
        -Llibraries/lib -lsqlite3 -lz -lbz2 -llzma -lm -ldl \
        -lwasi-emulated-signal -lwasi-emulated-getpid -lwasi-emulated-process-clocks \
        $(link_options)
    native_python "$here/tools/strip_module.py" linked.wasm out/python.wasm out/python.names.wasm
    [[ $update_imports == no ]] || native_python "$here/check-module.py" out/python.wasm --imports "$here/imports.txt" --update
    native_python "$here/check-module.py" out/python.wasm --imports "$here/imports.txt"
}

compile_for_guest() {
    local source=${*: -1} options=("${@:1:$#-1}")
    wasm32-wasi-clang $WASM_FEATURES $OPTIMISE -fno-strict-overflow -std=c11 -Icpython/include -Iglue "${options[@]}" \
        -c "$source" -o "objects/$(tr / - <<<"${source%.c}").o"
}

link_options() {
    local option
    for option in $LINK_FLAGS $(printf -- '--wrap=%s ' $WRAPPED_FUNCTIONS) --fatal-warnings; do
        printf -- '-Xlinker %s ' "$option"
    done
}

# The modules named in extensions.txt, dotted names included, as CPython's built-in importer wants them.
extension_table() {
    local name
    printf '#include "ppwasm.h"\n'
    while read -r name; do
        printf 'extern PyObject *PyInit_%s(void);\n' "${name##*.}"
    done <"$here/extensions.txt"
    printf 'const struct _inittab ppwasm_extensions[] = {\n'
    while read -r name; do
        printf '    {"%s", PyInit_%s},\n' "$name" "${name##*.}"
    done <"$here/extensions.txt"
    printf '    {NULL, NULL},\n};\n'
}
