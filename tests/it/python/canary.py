"""Plants canaries wherever Python keeps something, and looks for them.

Each probe is a pair: `plant` changes something that an interpreter keeps, `look` tells its state. A call that
only looks has to see the same in every sandbox.
"""

import _random
import abc
import argparse
import ast
import atexit
import builtins
import codecs
import collections
import contextvars
import copyreg
import csv
import decimal
import functools
import gc
import io
import json
import linecache
import locale
import logging
import os
import random
import re
import shutil
import signal
import sqlite3
import string
import sys
import tempfile
import threading
import time
import types
import uuid
import warnings

CANARY = "canary-6f1c"
PROBES = {}


class Cage:
    bird = None

    def __init__(self, bird=None):
        self.bird = bird


class Base(abc.ABC):
    """Something to register with."""


shared_list = []
shared_dict = {"inside": []}
local = threading.local()
variable = contextvars.ContextVar("variable", default=None)
sentinel = object()


def default_argument(birds=[]):  # noqa: B006
    return birds


@functools.lru_cache
def cached(x):
    return [x]


@functools.singledispatch
def dispatched(x):
    return "plain"


def counter():
    count = 0
    while True:
        count += 1
        yield count


running = counter()


def probe(plant):
    """Pairs a planter with the looker of the same name that was defined before it."""
    PROBES[plant.__name__] = (plant, globals()["see_" + plant.__name__])
    return plant


def see_module_globals():
    return sorted(globals())


@probe
def module_globals():
    globals()[CANARY] = CANARY
    globals()["shared_list"] = [CANARY]


def see_mutable_globals():
    return [len(shared_list), len(shared_dict), len(shared_dict["inside"]), len(default_argument())]


@probe
def mutable_globals():
    shared_list.append(CANARY)
    shared_dict["inside"].append(CANARY)
    default_argument().append(CANARY)


def see_builtin_names():
    return [sorted(vars(builtins)), ascii("four"), print is builtins.print]


@probe
def builtin_names():
    builtins.canary = CANARY
    builtins.ascii = lambda _: CANARY


def see_modules():
    return sorted(sys.modules)


@probe
def modules():
    sys.modules[CANARY] = types.ModuleType(CANARY)
    import colorsys  # noqa: F401


def see_patched_library():
    return [json.dumps([1]), string.ascii_lowercase, re.sub("a", "b", "banana"), os.path.join("a", "b")]


@probe
def patched_library():
    json.dumps = lambda _: CANARY
    string.ascii_lowercase = CANARY
    re.sub = lambda *_: CANARY
    os.path.join = lambda *_: CANARY


def see_class_attributes():
    return [Cage.bird, Cage().bird, hasattr(argparse.ArgumentParser, "canary"), hasattr(Cage, "sing")]


@probe
def class_attributes():
    Cage.bird = CANARY
    Cage.sing = lambda _: CANARY
    argparse.ArgumentParser.canary = CANARY


def see_function_attributes():
    return [vars(default_argument), see_module_globals.__defaults__, counter.__code__.co_consts]


@probe
def function_attributes():
    default_argument.canary = CANARY
    see_module_globals.__defaults__ = (CANARY,)
    counter.__code__ = counter.__code__.replace(co_consts=(*counter.__code__.co_consts, CANARY))


def see_caches():
    return [list(cached.cache_info()), list(fnmatch_cache()), len(dispatched.registry), len(re._cache)]


def fnmatch_cache():
    import fnmatch

    return fnmatch._compile_pattern.cache_info()


@probe
def caches():
    import fnmatch

    cached(CANARY)
    fnmatch.fnmatch(CANARY, "can*y")
    dispatched.register(Cage, lambda _: CANARY)
    re.compile(CANARY)


def see_interned():
    return sys.getunicodeinternedsize()


@probe
def interned():
    global kept_strings
    kept_strings = [sys.intern(f"{CANARY}-{number}") for number in range(1000)]


def see_running_generator():
    return [running.gi_frame.f_locals.get("count"), running.gi_frame.f_lasti]


@probe
def running_generator():
    next(running)
    next(running)


def see_registrations():
    return [
        issubclass(Cage, Base),
        len(copyreg.dispatch_table),
        len(sqlite3.adapters),
        csv.list_dialects(),
        csv.field_size_limit(),
        [codec_known("canary"), codec_known("utf-8")],
        len(shutil.get_archive_formats()),
    ]


def codec_known(name):
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


@probe
def registrations():
    Base.register(Cage)
    copyreg.pickle(Cage, lambda cage: (Cage, ()))
    sqlite3.register_adapter(Cage, str)
    csv.register_dialect(CANARY, delimiter=":")
    csv.field_size_limit(77)
    codecs.register(lambda name: codecs.lookup("utf-8") if name == "canary" else None)
    shutil.register_archive_format(CANARY, lambda: None, description=CANARY)


def see_environment():
    return [dict(os.environ), os.getenv("CANARY"), time.tzname[0]]


@probe
def environment():
    os.environ["CANARY"] = CANARY
    os.putenv("OTHER_CANARY", CANARY)
    os.environ["TZ"] = "CAN5"
    time.tzname = (CANARY, CANARY)


def see_files():
    found = []
    for top in ("/work", "/tmp"):
        for folder, folders, files in os.walk(top):
            found += [folder, *sorted(folders), *sorted(files)]
    return found


@probe
def files():
    for top in ("/work", "/tmp"):
        os.makedirs(f"{top}/deep/{CANARY}")
        with open(f"{top}/deep/{CANARY}/file", "w") as file:
            file.write(CANARY)
        os.symlink("deep", f"{top}/link")


def see_descriptors():
    found = []
    for number in range(100):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    with open("/lib/python3.13/this.py") as file:
        found.append(file.fileno())
    return found


@probe
def descriptors():
    global kept_open
    kept_open = [open("/lib/python3.13/this.py"), open("/tmp/kept-open", "w"), os.open("/work", os.O_RDONLY)]


def see_directory():
    return os.getcwd()


@probe
def directory():
    os.mkdir("/tmp/elsewhere")
    os.chdir("/tmp/elsewhere")


def see_random_state():
    return [hash(random.getstate()), random.random(), os.urandom(4).hex()]


@probe
def random_state():
    random.seed(CANARY)
    random.gauss()
    os.urandom(1)


def see_uuid_state():
    return [uuid._node, uuid._last_timestamp]


@probe
def uuid_state():
    uuid.getnode()
    uuid._last_timestamp = 1


def see_decimal_context():
    return [str(decimal.getcontext()), str(decimal.DefaultContext), str(decimal.Decimal(1) / 3)]


@probe
def decimal_context():
    decimal.getcontext().prec = 5
    decimal.getcontext().traps[decimal.Inexact] = False
    decimal.DefaultContext.prec = 6


def see_warning_state():
    return [list(map(str, warnings.filters)), warnings.defaultaction, globals().get("__warningregistry__")]


@probe
def warning_state():
    warnings.simplefilter("error")
    warnings.warn("deprecated " + CANARY, stacklevel=1) if False else warnings.filters.append(CANARY)
    globals()["__warningregistry__"] = {CANARY: True}


def see_collector():
    return [gc.isenabled(), gc.get_threshold(), gc.get_count()[1:], gc.garbage, len(gc.callbacks), gc.get_freeze_count()]


@probe
def collector():
    gc.disable()
    gc.set_threshold(17, 18, 19)
    gc.garbage.append(CANARY)
    gc.callbacks.append(print_nothing)
    gc.freeze()


def print_nothing(*_):
    """Does nothing."""


def see_interpreter_settings():
    return [
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        sys.get_int_max_str_digits(),
        sys.argv,
        sys.path,
        len(sys.meta_path),
        len(sys.path_hooks),
        sorted(sys.path_importer_cache),
        sys.dont_write_bytecode,
        sys.excepthook is sys.__excepthook__,
        sys.displayhook is sys.__displayhook__,
        sys.gettrace() is None,
        sys.getprofile() is None,
        sys.get_coroutine_origin_tracking_depth(),
        hasattr(sys, "last_exc"),
    ]


@probe
def interpreter_settings():
    sys.setswitchinterval(1.5)
    sys.set_int_max_str_digits(1000)
    sys.argv.append(CANARY)
    sys.path.append(CANARY)
    sys.meta_path.append(CANARY)
    sys.path_hooks.append(print_nothing)
    sys.path_importer_cache[CANARY] = None
    sys.dont_write_bytecode = False
    sys.excepthook = print_nothing
    sys.displayhook = print_nothing
    sys.set_coroutine_origin_tracking_depth(3)
    sys.last_exc = CANARY
    sys.setrecursionlimit(555)
    sys.setprofile(print_nothing)
    sys.settrace(print_nothing)


def see_streams():
    return [
        sys.stdout is sys.__stdout__,
        sys.stderr is sys.__stderr__,
        sys.stdin is sys.__stdin__,
        sys.stdin.read() if not sys.stdin.closed else None,
        sys.stdout.line_buffering,
        sys.stdout.encoding,
        sys.stdout.errors,
    ]


@probe
def streams():
    sys.stdin.read(2)
    sys.stdout.reconfigure(line_buffering=not sys.stdout.line_buffering, encoding="ascii", errors="replace")
    sys.stdout, sys.stderr = io.StringIO(), None


def see_signals():
    return [str(signal.getsignal(signal.SIGINT)), str(signal.getsignal(signal.SIGTERM))]


@probe
def signals():
    signal.signal(signal.SIGINT, print_nothing)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def see_at_exit():
    return [atexit._ncallbacks(), len(threading._threading_atexits)]


@probe
def at_exit():
    atexit.register(print_nothing)


def see_locale_setting():
    return [locale.setlocale(locale.LC_ALL), locale.localeconv()["decimal_point"]]


@probe
def locale_setting():
    other = "C" if locale.setlocale(locale.LC_CTYPE) != "C" else "C.UTF-8"
    locale.setlocale(locale.LC_ALL, other)
    locale._override_localeconv["decimal_point"] = CANARY


def see_clocks():
    return [time.time_ns(), time.monotonic_ns(), time.process_time_ns()]


@probe
def clocks():
    time.sleep(1000)


def see_thread_state():
    return [vars(local), variable.get(), len(contextvars.copy_context()), threading.current_thread().name]


@probe
def thread_state():
    local.canary = CANARY
    variable.set(CANARY)
    threading.current_thread().name = CANARY


def see_log():
    return [logging.root.level, len(logging.root.handlers), sorted(logging.root.manager.loggerDict), logging.raiseExceptions]


@probe
def log():
    logging.basicConfig(level=5)
    logging.getLogger(CANARY).setLevel(7)
    logging.raiseExceptions = False


def see_library_state():
    return [
        len(linecache.cache),
        tempfile.tempdir,
        ast.dump(ast.parse("1")),
        collections.Counter("aab").most_common(1),
    ]


@probe
def library_state():
    linecache.cache[CANARY] = (1, None, [CANARY], CANARY)
    tempfile.tempdir = CANARY
    ast.dump = lambda _: CANARY
    collections.Counter.most_common = lambda *_: CANARY


def see_allocator():
    """Addresses: an allocator that has kept anything hands out other ones."""
    large = bytearray(1 << 20)
    return [id(object()), id([]), id(large), id(_random.Random()), sys.getallocatedblocks()]


@probe
def allocator():
    global kept_blocks
    kept_blocks = [bytearray(size) for size in (1, 100, 10_000, 1_000_000)] * 10
    kept_blocks += [object() for _ in range(10_000)]


def seen():
    return {name: look() for name, (_, look) in PROBES.items()}


def canary(mode):
    """Looks, or plants and then ends in the way that `mode` names."""
    # First of all, so that what the other probes do does not show in it.
    first = see_allocator() if mode == "look" else None
    if mode == "look":
        return {"first": first, **seen()}
    for plant, _ in PROBES.values():
        plant()
    if mode == "raise":
        raise RuntimeError(CANARY)
    if mode == "exit":
        os._exit(3)
    if mode == "exit politely":
        raise SystemExit(3)
    if mode == "print":
        os.write(1, b"x" * (1 << 20))
    if mode == "return too much":
        return CANARY * 100_000
    return None


def plant_one(name):
    """What a probe's looker sees before and after its own planter: a probe that sees no difference proves nothing."""
    plant, look = PROBES[name]
    before = look()
    plant()
    return [before, look()]


def names():
    return list(PROBES)
