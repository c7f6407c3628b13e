"""Compiles a folder of Python modules to unchecked-hash `.pyc`, in place.

The path that goes into the code objects is the one inside the guest. A file that does not compile (there are
such files on purpose among the tests) is left without a `.pyc` when `--lenient` is given.

Runs on the build's own Python, which has only the modules that are compiled into it.
"""

import _imp
import importlib.util
import os
import sys
from importlib import _bootstrap_external
from typing import Any

# What py_compile uses for hash-based files; not told to type checkers.
loader: Any = _bootstrap_external
GUEST_ROOT = "/lib/python3.13"


def main(arguments: list[str]) -> None:
    """Compiles every module below the folder that is the last argument."""
    root = arguments[-1]
    lenient = "--lenient" in arguments
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(".py"):
                _compile(folder, name, root, lenient)


def _compile(folder: str, name: str, root: str, lenient: bool) -> None:
    path = os.path.join(folder, name)
    inside = f"{GUEST_ROOT}/{os.path.relpath(path, root)}"
    with open(path, "rb") as file:
        source = file.read()
    try:
        code = compile(source, inside, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError) as error:
        if lenient:
            return
        sys.exit(f"{path}: {error}")
    source_hash = _imp.source_hash(int.from_bytes(importlib.util.MAGIC_NUMBER, "little"), source)
    data = loader._code_to_hash_pyc(code, source_hash, checked=False)
    cache = os.path.join(folder, "__pycache__")
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, f"{name[:-3]}.{sys.implementation.cache_tag}.pyc"), "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main(sys.argv[1:])
