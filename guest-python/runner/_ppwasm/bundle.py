"""The function bundle's files as modules: found, compiled and shown in tracebacks from memory."""

from __future__ import annotations

import linecache
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_loader
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

FORMAT = 1
"""The bundle's format version (docs/guest-abi.md)."""


class File(NamedTuple):
    """One file of a bundle, as it travels."""

    module: str
    path: str
    source: bytes
    is_package: bool


class Loader(SourceFileLoader):
    """Loads one module from memory. What a file's loader does besides, `inspect` and `linecache` get from it too."""

    def __init__(self, name: str, file: File) -> None:
        super().__init__(name, file.path)
        self.file = file

    def is_package(self, _name: str) -> bool:
        return self.file.is_package

    def get_data(self, path: str) -> bytes:
        if path != self.path:
            raise FileNotFoundError(f"not in the bundle: {path!r}")
        return self.file.source

    def path_stats(self, path: str) -> dict[str, float]:
        raise FileNotFoundError(path)  # no bytecode file is looked for


class Finder:
    """Finds the bundle's modules on `sys.meta_path`."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}

    def install(self) -> None:
        """Puts the finder where a program's own directory would be searched: before the library, after the builtins."""
        places = [at for at, finder in enumerate(sys.meta_path) if finder is PathFinder]
        sys.meta_path.insert(places[0] if places else len(sys.meta_path), self)

    def add(self, files: Sequence[File]) -> None:
        """Takes the files in. A library module of the same name makes way, as for a file beside a script."""
        self.files = {file.module: file for file in files}
        for name in list(sys.modules):
            top = name.partition(".")[0]
            if top in self.files and top not in _NEVER_HIDDEN:
                del sys.modules[name]

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.files.get(name)
        if file is None:
            return None
        spec = spec_from_loader(name, Loader(name, file), origin=file.path, is_package=file.is_package)
        if spec is not None:
            spec.has_location = True
            if file.is_package:
                # The directory is not there. Its name makes the submodules' search reach this finder.
                spec.submodule_search_locations = [file.path.rpartition("/")[0]]
        return spec

    def invalidate_caches(self) -> None:
        """Nothing is cached."""

    def compiled(self, file: File) -> CodeType:
        """The code of a file that runs as a script."""
        code: CodeType = Loader("__main__", file).source_to_code(file.source, file.path)
        return code

    def remember_lines(self) -> None:
        """Gives `linecache` the bundle's lines: a file of that path in the scratch directory is another one."""
        from importlib.util import decode_source

        for file in self.files.values():
            try:
                text = decode_source(file.source)
            except (SyntaxError, UnicodeDecodeError):
                continue
            linecache.cache[file.path] = (len(file.source), None, text.splitlines(keepends=True), file.path)


# Loaded before any program's first line in an ordinary interpreter too, so files cannot stand in for them there either.
_NEVER_HIDDEN = frozenset(sys.builtin_module_names) | {
    "__main__",
    "_collections_abc",
    "_ppwasm",
    "_sitebuiltins",
    "abc",
    "codecs",
    "encodings",
    "genericpath",
    "importlib",
    "io",
    "os",
    "posixpath",
    "site",
    "stat",
    "zipimport",
}
