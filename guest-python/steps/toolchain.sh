# The compiler for WebAssembly: clang and wasi-libc of Debian, or a WASI SDK that the user has.

find_toolchain() {
    local tool
    if [[ -n ${WASI_SDK_PATH:-} ]]; then
        clang=$WASI_SDK_PATH/bin/clang
        llvm_ar=$WASI_SDK_PATH/bin/llvm-ar
        wasm_ld=$WASI_SDK_PATH/bin/wasm-ld
        [[ -x $clang && -x $llvm_ar && -x $wasm_ld ]] || die "WASI_SDK_PATH=$WASI_SDK_PATH holds no bin/clang, bin/llvm-ar and bin/wasm-ld"
    else
        clang=clang-$CLANG_VERSION
        llvm_ar=llvm-ar-$CLANG_VERSION
        wasm_ld=wasm-ld-$CLANG_VERSION
    fi
    for tool in "$clang" "$llvm_ar" "$wasm_ld" cc make xz flock; do
        command -v "$tool" >/dev/null || die "$tool is missing: run guest-python/install-packages.sh"
    done
    wasm_builtins=$("$clang" --target=wasm32-wasi -print-libgcc-file-name)
    [[ -f $wasm_builtins ]] || die "clang's runtime library for wasm32 is missing: run guest-python/install-packages.sh"
    # Only what the compiler says of itself that is the same wherever it was packaged.
    compiler_version=$("$clang" -dumpversion)
    toolchain_identity="clang $compiler_version $(sha256sum <"$wasm_builtins")"
}

toolchain_inputs() {
    echo "$toolchain_identity"
    keys_of sysroot
    files_of flags.env steps/toolchain.sh
}

# Debian's package, unpacked; nothing else may be in a sysroot, or clang finds the machine's own headers.
sysroot_inputs() {
    if [[ -n ${WASI_SDK_PATH:-} ]]; then
        (cd "$WASI_SDK_PATH/share/wasi-sysroot" && find include/wasm32-wasi* lib/wasm32-wasi* -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    else
        echo "$WASI_LIBC_SHA256"
    fi
}

sysroot_make() {
    if [[ -n ${WASI_SDK_PATH:-} ]]; then
        mkdir -p out/include out/lib
        cp -r "$WASI_SDK_PATH"/share/wasi-sysroot/include/wasm32-wasi out/include/
        cp -r "$WASI_SDK_PATH"/share/wasi-sysroot/lib/wasm32-wasi out/lib/
        return
    fi
    fetch_wasi_libc
    mkdir unpacked
    ar p "$WASI_LIBC_DEB" data.tar.xz | tar -xJ -C unpacked
    mkdir -p out/include out/lib
    cp -r unpacked/usr/include/wasm32-wasi out/include/
    cp -r unpacked/usr/lib/wasm32-wasi out/lib/
}

# Writes bin/wasm32-wasi-clang into the scratch folder and puts it on the path, so that command lines, and what
# CPython remembers of them, hold no path of this machine.
use_toolchain() {
    need sysroot
    mkdir -p bin
    cat >bin/wasm32-wasi-clang <<EOF
#!/bin/sh
exec "$(command -v "$clang")" --target=wasm32-wasi --sysroot="$sysroot_dir" -fuse-ld="$(command -v "$wasm_ld")" \\
    -ffile-prefix-map="$PWD"=/build -fdebug-compilation-dir=/build -Wno-unused-command-line-argument \\
    '-DCOMPILER="[Clang $compiler_version]"' "\$@"
EOF
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v "$llvm_ar")" >bin/wasm32-wasi-ar
    chmod +x bin/*
    PATH=$PWD/bin:$PATH
    export PATH SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
}
