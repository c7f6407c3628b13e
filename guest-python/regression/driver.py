"""Runs one file of CPython's regression tests, in the guest: the function of a ppwasm job with one task per file.

The tests lie in the working directory as package `test`. What is set here is what `python -m test` sets; `compare.py`
judges the report.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import random
import sys
import traceback
import unittest
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn, override

TRACEBACK_CHARS_MAX = 4_000
SEED = 0

C_API = ("_testcapi", "_testinternalcapi", "_testlimitedcapi")
EXTENSIONS = (*C_API, "_testmultiphase", "_testsinglephase")
# Files that cannot be imported without modules that are there for tests only, and those modules.
WITH_STAND_INS = {
    "test_bytes": C_API,
    "test_class": C_API,
    "test_code": C_API,
    "test_compile": C_API,
    "test_compileall": EXTENSIONS,
    "test_dis": C_API,
    "test_fileutils": C_API,
    "test_getpath": C_API,
    "test_import": EXTENSIONS,
    "test_importlib": EXTENSIONS,
    "test_marshal": C_API,
    "test_monitoring": C_API,
    "test_pkgutil": EXTENSIONS,
    "test_pyclbr": EXTENSIONS,
    "test_sysconfig": ("venv",),
    "test_traceback": C_API,
    "test_types": EXTENSIONS,
}


def run_test(task: dict[str, Any]) -> dict[str, Any]:
    """Runs the tests of the file or package `task["name"]`, but for those in `task["not_run"]`.

    The report has the names of the tests that passed, the reasons of those skipped and the tracebacks of those that
    failed, by name. A name is the test's id below the file: `Class.test_method`.
    """
    name = task["name"]
    sys.path.insert(0, os.getcwd())
    _set_up(name)
    module_name = f"test.{name}"
    result = Result(module_name)
    report: dict[str, Any] = {"name": name, "no_import": None}
    try:
        suite = _loaded(module_name)
    except unittest.SkipTest as error:
        report["no_import"] = f"skipped: {error}"
    except Exception:
        report["no_import"] = _shortened(traceback.format_exc())
    else:
        _remove(suite, result, Names(task.get("not_run", ())))
        _run(suite, result)
    # Two tests may have one name.
    passed = result.passed - result.skipped.keys() - result.failed.keys()
    report.update(passed=sorted(passed), skipped=result.skipped, failed=result.failed)
    return report


def _loaded(module_name: str) -> unittest.TestSuite:
    module = importlib.import_module(module_name)
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromModule(module)
    if loader.errors:
        raise ImportError("\n".join(map(str, loader.errors)))
    return suite


def _run(suite: unittest.TestSuite, result: Result, calls: int = 5) -> None:
    """Runs the tests below some calls: a few look at the stack and expect `python -m test` in it."""
    if calls:
        _run(suite, result, calls - 1)
    else:
        suite.run(result)


def _set_up(name: str) -> None:
    # Tests write into the current directory.
    folder = "/tmp/test_python"
    os.mkdir(folder)
    os.chdir(folder)
    sys.modules.update({module: StandIn(module) for module in WITH_STAND_INS.get(name, ())})
    support, utils, os_helper = _of_test("support", "libregrtest.utils", "support.os_helper")

    support.record_original_stdout(sys.stdout)
    support.verbose = 0
    support.use_resources = ()
    sys.addaudithook(lambda _event, _args: None)
    utils.setup_unraisable_hook()
    utils.setup_threading_excepthook()
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("test.__main__")
    if os_helper.FS_NONASCII:
        os.environ.setdefault("PYTHONREGRTEST_UNICODE_GUARD", os_helper.FS_NONASCII)
    random.seed(SEED)
    _run_whole_files()
    gc.collect()


def _run_whole_files() -> None:
    """Has files run that skip themselves as a whole under WASI because some of their tests need what it has not.

    Here each test shows for itself. Single tests are still skipped.
    """
    support, socket_helper, threading_helper = _of_test("support", "support.socket_helper", "support.threading_helper")
    support.requires_working_socket = _not_whole_files(support.requires_working_socket)
    threading_helper.requires_working_threading = _not_whole_files(threading_helper.requires_working_threading)
    socket_helper._bind_nix_socket_error = OSError("no sockets")
    socket_helper.has_gethostname = True
    support.has_subprocess_support = True
    try:
        importlib.import_module("test.test_tools")
    finally:
        support.has_subprocess_support = False


def _of_test(*names: str) -> list[Any]:
    return [importlib.import_module(f"test.{name}") for name in names]


def _not_whole_files(requires: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *, module=False: None if module else requires()


class StandIn(ModuleType):
    """In place of a module that the guest has not: a test that uses it is skipped."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return ASKED_ON_IMPORT.get(name) or Absent(f"{self.__name__}.{name}")


# What `test.support` calls while files are imported: the guest's answers.
ASKED_ON_IMPORT = {
    "get_config": lambda: {"code_debug_ranges": 1},
    "get_immortalize_deferred": lambda: False,
    "suppress_immortalization": lambda _suppress: None,
}


class Absent:
    """Something of such a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise unittest.SkipTest(f"needs {self._name}")

    __bool__ = __enter__ = __eq__ = __index__ = __iter__ = __mro_entries__ = __call__
    __add__ = __mul__ = __sub__ = __lt__ = __gt__ = __le__ = __ge__ = __call__


class Names:
    """Names of tests; one that ends in `.*` stands for all below it."""

    def __init__(self, names: Any) -> None:
        self._exact = {name for name in names if not name.endswith(".*")}
        self._prefixes = tuple(name[:-1] for name in names if name.endswith(".*"))

    def __contains__(self, name: str) -> bool:
        return name in self._exact or (bool(self._prefixes) and name.startswith(self._prefixes))


class Result(unittest.TestResult):
    """Notes how each test ended, under its name; the parts of a test count as the test."""

    def __init__(self, module_name: str) -> None:
        super().__init__()
        self._prefix = f"{module_name}."
        self.passed: set[str] = set()
        self.skipped: dict[str, str] = {}  # type: ignore[assignment]
        self.failed: dict[str, str] = {}

    def name(self, test: Any) -> str:
        if isinstance(test, unittest.case._SubTest):  # type: ignore[attr-defined]
            test = test.test_case
        return str(test.id()).replace(self._prefix, "")

    @override
    def startTest(self, test: Any) -> None:
        # When the sandbox is ended, this says where.
        print(f"test: {self.name(test)}", file=sys.__stderr__, flush=True)
        super().startTest(test)

    @override
    def addSuccess(self, test: Any) -> None:
        self.passed.add(self.name(test))

    @override
    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.passed.add(self.name(test))

    @override
    def addUnexpectedSuccess(self, test: Any) -> None:
        self.failed.setdefault(self.name(test), "unexpected success")

    @override
    def addSkip(self, test: Any, reason: str) -> None:
        self.skipped.setdefault(self.name(test), reason)

    @override
    def addFailure(self, test: Any, err: Any) -> None:
        self._failed(test, err)

    @override
    def addError(self, test: Any, err: Any) -> None:
        self._failed(test, err)

    @override
    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._failed(test, err)

    @override
    def addDuration(self, test: Any, elapsed: float) -> None:
        pass

    def _failed(self, test: Any, err: Any) -> None:
        text = "".join(traceback.format_exception(*err))
        self.failed.setdefault(self.name(test), _shortened(text))


def _shortened(text: str) -> str:
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    half = TRACEBACK_CHARS_MAX // 2
    return f"{text[:half]}\n...\n{text[-half:]}"


def _remove(suite: Any, result: Result, not_run: Names) -> None:
    """Takes tests out of a suite."""
    kept = []
    for test in suite:
        if isinstance(test, unittest.BaseTestSuite):
            _remove(test, result, not_run)
        elif result.name(test) in not_run:
            continue
        kept.append(test)
    suite._tests = kept
