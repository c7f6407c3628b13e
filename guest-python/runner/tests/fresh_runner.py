"""A runner of a test's own, beside the one that may be running the test."""

from __future__ import annotations

import importlib
import io
import linecache
import sys
from typing import Any, NamedTuple

from _ppwasm.values import decode, encode


class Reply(NamedTuple):
    """A reply, taken apart: the value, or what is told of the exception."""

    raised: bool
    value: Any


class FreshRunner:
    """A second copy of the runner's modules, gone again after `close`."""

    def __init__(self) -> None:
        self.modules_before = dict(sys.modules)
        self.meta_path_before = list(sys.meta_path)
        self.argv_before = sys.argv
        self.streams_before = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = self.stdout, self.stderr = io.StringIO(), io.StringIO()
        # The finder of the runner that runs the test would find its own `job.py` first.
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_ppwasm.bundle"]
        for name in [name for name in sys.modules if name.partition(".")[0] == "_ppwasm"]:
            del sys.modules[name]
        self.runner: Any = importlib.import_module("_ppwasm.runner")
        self.runner.start()

    def close(self) -> None:
        """Puts the interpreter's state back."""
        sys.stdout, sys.stderr = self.streams_before
        sys.argv = self.argv_before
        sys.meta_path[:] = self.meta_path_before
        for name in set(sys.modules) - set(self.modules_before):
            del sys.modules[name]
        sys.modules.update(self.modules_before)

    def load(
        self, source: str, function: str | None = "f", captured: dict[str, object] | None = None, **others: str
    ) -> Reply:
        """Loads a bundle of `job.py` with this source and of the others, module name to source."""
        files: list[list[object]] = [["job", "job.py", source.encode("utf-8", "surrogateescape"), False]]
        for name, text in others.items():
            is_package = name.endswith("__init__")
            module = name.removesuffix("____init__").replace("__", ".")
            path = name.replace("__init__", "//").replace("__", "/").replace("//", "__init__") + ".py"
            files.append([module, path, text.encode(), is_package])
        linecache.clearcache()  # a real image has seen one `job.py` only
        bundle: dict[int, object] = {0: 1, 1: files, 2: ["job", function]}
        if captured is not None:
            bundle[3] = captured
        return reply(self.runner.load(encode(bundle)))

    def call(self, *args: object, **kwargs: object) -> Reply:
        """Calls what is loaded."""
        return reply(self.runner.call(encode([list(args), kwargs])))

    def output(self) -> tuple[str, str]:
        """What was printed to stdout and stderr."""
        return self.stdout.getvalue(), self.stderr.getvalue()


def reply(data: bytes) -> Reply:
    """Takes a reply apart."""
    parts: Any = decode(data)
    raised, value = parts
    if raised:
        assert list(value) == ["type", "message", "traceback", "notes", "exit_code"], value
    return Reply(bool(raised), value)
