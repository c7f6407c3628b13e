"""Answers the host's requests: `start` once, `load` once per function image, `call` per task (docs/guest-abi.md).

`call` is the path that every job takes, in memory of which every page written to has to be put back
afterwards. It makes no object that it can do without and imports nothing.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import importlib.util
import inspect
import io
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from _ppwasm import bundle, failures
from _ppwasm.seeding import Seeding
from _ppwasm.value_reader import Reader
from _ppwasm.values import Classes, MalformedValue, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

BASE_MODULES = "base_modules.txt"

_RETURNED = b"\x82\x00"
_RAISED = b"\x82\x01"
_NULL = b"\xf6"
_ENVELOPE_LEVELS = -2
"""Level at which a message begins: two arrays or maps are around its values, which begin at level 0."""

_WARM_UP_CALLS = 64

_SEEDED = frozenset({"random", "secrets", "tempfile"})
"""Modules that would give every image the same random numbers and names."""


class NoSuchFunction(LookupError):
    """The entry module has no function of that name."""


class NotAFunction(TypeError):
    """What the entry names cannot be called."""


class NothingLoaded(RuntimeError):
    """A call came before a function was loaded."""


NoSuchFunction.__module__ = NotAFunction.__module__ = NothingLoaded.__module__ = "ppwasm"


class Entry(NamedTuple):
    """What a bundle starts with: a function of a module, or a script when `qualname` is None."""

    module: str
    qualname: str | None


def _nothing(*_args: object, **_kwargs: object) -> object:
    raise NothingLoaded("no function was loaded into this image")


_finder = bundle.Finder()
_classes = Classes()
_function: Callable[..., object] = _nothing
_generators: list[Any] = []
_stdout: Any = sys.stdout
_stderr: Any = sys.stderr


def start() -> None:
    """Makes the base image: the modules that most programs use, and nothing that a program could have changed."""
    global _stdout, _stderr
    _stdout, _stderr = sys.stdout, sys.stderr
    if sys.platform == "wasi":
        # Not there in the ordinary interpreter that runs the tests, which has all that a sandbox has not.
        import _sandbox

        _sandbox.install()
        # As on a terminal: whoever watches a script sees its lines as they come, in order with stderr's.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
    _add_site_builtins()
    before = set(sys.modules)
    for name in _base_modules():
        importlib.import_module(name)
    seeded = _SEEDED & (sys.modules.keys() - before)
    if seeded:
        raise ImportError(f"a base module imports {', '.join(sorted(seeded))}, which keeps a seed or a random name")
    _finder.install()
    _warm_up()


def load(request: bytes) -> bytes:
    """Makes the function image of a bundle. The reply's value is null."""
    global _function, _generators
    seeding = Seeding(_finder)
    seeding.watch()
    try:
        entry, captured = _read_bundle(request)
        sys.argv = [_finder.files[entry.module].path]
        if entry.qualname is None:
            _function = _script(_finder.files[entry.module])
        else:
            _function = _runnable(_found(_imported(entry.module, captured), entry))
        reply = _RETURNED + _NULL
    except BaseException as error:
        reply = _failed(error)
    finally:
        _generators = seeding.finish()
    reply = _flushed(reply)
    # The function's own modules are not walked, and so not written to, by a job's collections.
    gc.collect()
    gc.freeze()
    return reply


def call(request: bytes) -> bytes:
    """Runs the function. The reply holds its value or its exception."""
    try:
        for generator in _generators:
            generator.seed()
        args, kwargs = _read_call(request)
        reply = encode(_function(*args, **kwargs), _classes, "result", _RETURNED)
    except BaseException as error:
        reply = _failed(error)
    try:
        _stdout.flush()
        _stderr.flush()
        if sys.stdout is _stdout and sys.stderr is _stderr:
            return reply
    except BaseException:
        pass
    return _flushed(reply)


# Starting


def _base_modules() -> list[str]:
    path = f"{__file__.rpartition('/')[0]}/{BASE_MODULES}"
    with open(path, encoding="utf-8") as file:
        words = [line.partition("#")[0].strip() for line in file]
    return [word for word in words if word]


def _add_site_builtins() -> None:
    """Adds what `site` gives every program, as far as it makes sense here."""
    import _sitebuiltins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()


def _warm_up() -> None:
    """Calls until the interpreter has stopped to write into the code that every call runs through."""
    global _function
    request = encode([[1, 2.0, "text", [None, True]], {"key": {"a": 1}}])
    _function = _first
    for _ in range(_WARM_UP_CALLS):
        call(request)
    _function = _nothing


def _first(first: object, *_args: object, **_kwargs: object) -> object:
    return first


# Loading


def _read_bundle(request: bytes) -> tuple[Entry, dict[str, object]]:
    """Reads a bundle and takes its files in; the captured values may be instances of their classes."""
    reader = Reader(request, _classes)
    major, length = reader.head()
    if major != 5:
        raise MalformedValue("a bundle is a map", 0)
    parts: dict[object, Any] = {}
    for _ in range(length):
        start = reader.position
        key = reader.value(0)
        parts[key] = reader.value(_ENVELOPE_LEVELS + 1)
        if key == 0 and parts[0] != bundle.FORMAT:
            raise MalformedValue(f"bundle format {parts[0]!r} is not {bundle.FORMAT}, the one this guest reads", start)
        if key == 1:
            _take_in(parts[1], start)
    if reader.position != len(request):
        raise MalformedValue("bytes left over", reader.position)
    if not {0, 1, 2} <= parts.keys() <= {0, 1, 2, 3}:
        raise MalformedValue("a bundle has the keys 0, 1, 2 and perhaps 3", 0)
    match parts[2]:
        case [str() as module, str() | None as qualname]:
            pass
        case _:
            raise MalformedValue("the entry is [module name, qualified name or null]", 0)
    if module not in _finder.files:
        raise MalformedValue(f"the entry module {module!r} is not among the bundle's files", 0)
    return Entry(module, qualname), parts.get(3, {})


def _take_in(files: Any, start: int) -> None:
    shape = (str, str, bytes, bool)
    for file in files:
        if type(file) is not list or tuple(map(type, file)) != shape:
            raise MalformedValue("a file is [module name, path, source bytes, is_package]", start)
    _finder.add([bundle.File(*file) for file in files])
    _classes.bundle_modules = _finder.files


def _imported(name: str, captured: dict[str, object]) -> ModuleType:
    """The entry module, with the captured values in its globals from the start."""
    if not captured:
        # Not `importlib.import_module`, which would be a frame in the traceback.
        __import__(name)
        return sys.modules[name]
    parent = name.rpartition(".")[0]
    if parent:
        __import__(parent)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    vars(module).update(captured)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return sys.modules[name]


def _found(module: ModuleType, entry: Entry) -> object:
    """The object that the entry names."""
    qualname = str(entry.qualname)
    path = _finder.files[entry.module].path
    found: object = module
    for at, name in enumerate(qualname.split(".")):
        try:
            found = getattr(found, name)
        except AttributeError:
            owner = ".".join(qualname.split(".")[:at])
            where = f"{owner!r} in {path}" if owner else path
            raise NoSuchFunction(f"no function {name!r} in {where}{_hint(name, found)}") from None
    if not callable(found):
        raise NotAFunction(f"{qualname!r} in {path} is not a function but {_an(type(found).__name__)}")
    return found


def _hint(name: str, owner: object) -> str:
    """What the caller may have meant."""
    import difflib

    names = [other for other, value in vars(owner).items() if callable(value) and not other.startswith("__")]
    if isinstance(owner, ModuleType):
        own = [other for other in names if getattr(vars(owner)[other], "__module__", None) == owner.__name__]
        names = own or names
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; it has {', '.join(names[:10])}" if names else ""


def _an(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _runnable(function: Any) -> Callable[..., object]:
    """The function as `call` calls it."""
    if not any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None)))):  # noqa: B004
        runnable: Callable[..., object] = function
        return runnable
    import asyncio

    def run(*args: object, **kwargs: object) -> object:
        return asyncio.run(function(*args, **kwargs))

    return run


def _script(file: bundle.File) -> Callable[..., object]:
    """A call that runs the file as `__main__`."""
    code = _finder.compiled(file)

    def run(*args: str) -> None:
        import atexit

        sys.argv = [file.path, *args]
        try:
            _run_as_main(code, file)
        except SystemExit as error:
            failures.print_exit_message(error)
            raise
        finally:
            atexit._run_exitfuncs()

    return run


def _run_as_main(code: CodeType, file: bundle.File) -> None:
    main = ModuleType("__main__")
    main.__file__ = file.path
    main.__loader__ = bundle.Loader("__main__", file)
    main.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


# Calling


def _read_call(request: bytes) -> list[Any]:
    """The list of args and kwargs."""
    parts: Any = decode(request, _classes, _ENVELOPE_LEVELS)
    if type(parts) is list and len(parts) == 2 and type(parts[0]) is list and type(parts[1]) is dict:
        return parts
    raise MalformedValue("a call is [args, kwargs]", 0)


def _failed(error: BaseException) -> bytes:
    """The reply for an exception. Whatever it takes, it is one."""
    try:
        if isinstance(error, MemoryError):
            failures.free_frames(error)
        # A program may have set it so low that nothing could be told.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000))
        return _told(error)
    except BaseException:
        pass
    try:
        failures.free_frames(error)
        return _told(error)
    except BaseException as fault:
        text = f"(the exception could not be told: {type(fault).__name__})"
        told: dict[str, object] = {
            "type": type(error).__name__,
            "message": text,
            "traceback": "",
            "notes": [],
            "exit_code": None,
        }
        return _RAISED + encode(told)


def _told(error: BaseException) -> bytes:
    _finder.remember_lines()
    return encode(failures.described(error), prefix=_RAISED)


def _flushed(reply: bytes) -> bytes:
    """Flushes what the program printed, to whatever it has made stdout and stderr; a fault in that is the outcome."""
    streams: tuple[Any, ...] = (getattr(sys, "stdout", None), getattr(sys, "stderr", None), _stdout, _stderr)
    for stream in {id(stream): stream for stream in streams}.values():
        try:
            stream.flush()
        except OSError as error:
            if reply.startswith(_RETURNED):
                reply = _failed(error)
        except BaseException:
            # Closed, replaced by None or by something that is no file: nothing left to flush.
            continue
    return reply
