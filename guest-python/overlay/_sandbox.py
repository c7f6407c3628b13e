"""What a sandbox has not, said in one sentence where a program asks for it.

The modules of this folder lie over the standard library: small stand-ins for modules written in C, so
that everything above them stays as it is. Where a module of the library itself has to behave in another
way, `install` has it amended after it was imported; no file of the library is copied and changed.
"""

from __future__ import annotations

import errno
import operator
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

NETWORK = "ppwasm: a sandbox has no network; give the job its data as arguments or input files"
PROCESSES = "ppwasm: a sandbox has no processes; submit the parts as tasks of a job instead"
THREADS = "ppwasm: a sandbox has no threads; submit the parts as tasks of a job instead"
PIPES = "ppwasm: a sandbox has no pipes, because it has no processes to connect"
SHARED_MEMORY = "ppwasm: a sandbox has no shared memory, because it has no processes to share it"
MAPPED_FILES = "ppwasm: a sandbox cannot map files into memory; read them instead"
USERS = "ppwasm: a sandbox has one user only"
TERMINAL = "ppwasm: a sandbox has no terminal"
LIMITS = "ppwasm: a sandbox's limits are the job's and are set when it is submitted"
SYSTEM_LOG = "ppwasm: a sandbox has no system log; print instead"
INTERRUPTS = "ppwasm: a sandbox has no timers that interrupt and nobody to signal it; a job's --time-limit ends a task"
DEVICES = "ppwasm: a sandbox has no devices and no descriptor flags"
DUPLICATES = "ppwasm: a sandbox cannot duplicate descriptors; open the file again instead"
FREE_SPACE = "ppwasm: a sandbox cannot tell how much room its files have; the job's --scratch limit is it"


def no_network() -> OSError:
    """The error of everything that would reach another machine."""
    return OSError(errno.ENETUNREACH, NETWORK)


def unsupported(sentence: str) -> OSError:
    """The error of a system call that is not there."""
    return OSError(errno.ENOTSUP, sentence)


def absent(module: str, why: str) -> ModuleNotFoundError:
    """The error of a module that cannot be there."""
    return ModuleNotFoundError(f"ppwasm: {why}, so there is no {module}", name=module)


def descriptor(value: Any) -> int:
    """The number of an open descriptor, given as such or as an object that has one."""
    if isinstance(value, int):
        number: Any = value
    else:
        method = getattr(value, "fileno", None)
        if method is None:
            raise TypeError("argument must be an int, or have a fileno() method.")
        number = method()
        if not isinstance(number, int):
            raise TypeError("fileno() returned a non-integer")
    if number < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({number})")
    return int(number)


def install() -> None:
    """Prepares the interpreter; before `threading` is imported, which keeps what it finds in `_thread`."""
    import _thread
    import os

    for name in ("start_new_thread", "start_new", "start_joinable_thread"):
        setattr(_thread, name, _no_threads)
    for name, sentence in _REFUSED_CALLS.items():
        setattr(os, name, _refusing(name, sentence))
    for name in ("getuid", "geteuid", "getgid", "getegid"):
        setattr(os, name, _users_number)
    setattr(os, "umask", _umask)
    _add_clock_of_the_thread()
    _check_descriptors_of_select()
    # Names that `multiprocessing` needs to be imported.
    os.WNOHANG = 1  # type: ignore[misc]
    os.waitstatus_to_exitcode = _refusing("waitstatus_to_exitcode", PROCESSES)
    vars(os)["__getattr__"] = _os_getattr
    sys.meta_path.insert(0, _Amender())


def _no_threads(*_args: object, **_kwargs: object) -> NoReturn:
    raise RuntimeError(THREADS)


def _check_descriptors_of_select() -> None:
    """wasi-libc's `select` says nothing of a closed descriptor, where every other one fails."""
    import os
    import select

    selected = select.select

    def checked(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None, /) -> Any:
        lists = [each if isinstance(each, (list, tuple)) else list(each) for each in (rlist, wlist, xlist)]
        for each in lists:
            for one in each:
                if isinstance(one, int) and one >= 0:
                    os.fstat(one)
        return selected(lists[0], lists[1], lists[2], timeout)

    checked.__name__ = checked.__qualname__ = "select"
    checked.__doc__ = selected.__doc__
    select.select = checked


def _add_clock_of_the_thread() -> None:
    """The sandbox's one thread has used what the sandbox has used."""
    import time

    def thread_time() -> float:
        """thread_time() -> float

        Thread time for profiling: sum of the kernel and user-space CPU time."""
        return time.process_time()

    def thread_time_ns() -> int:
        """thread_time() -> int

        Thread time for profiling as nanoseconds:
        sum of the kernel and user-space CPU time."""
        return time.process_time_ns()

    clock_info = time.get_clock_info

    def get_clock_info(name: str) -> Any:
        """get_clock_info(name: string) -> dict

        Get information of the specified clock."""
        return clock_info("process_time" if name == "thread_time" else name)

    for function in (thread_time, thread_time_ns, get_clock_info):
        function.__module__, function.__qualname__ = "time", function.__name__
        setattr(time, function.__name__, function)


_umask_bits = 0o022


def _umask(mask: int, /) -> int:
    """Keeps what was set and returns what was; permissions of files are always the same."""
    global _umask_bits
    before, _umask_bits = _umask_bits, operator.index(mask) & 0o777
    return before


USER_NUMBER = 1000
"""The one user, and the one group; `pwd` and `grp` have the names. The files' owner (`glue/files.c`)."""


def _users_number() -> int:
    return USER_NUMBER


# Called as they are. Programs ask with `hasattr` for others before they call them; those are not defined, and
# `_os_getattr` says why.
_REFUSED_CALLS = {
    "system": PROCESSES,
    "execv": PROCESSES,
    "execve": PROCESSES,
    "kill": PROCESSES,
    "wait": PROCESSES,
    "waitpid": PROCESSES,
    "pipe": PIPES,
    "dup": DUPLICATES,
}

_MISSING_NAMES = {
    name: sentence
    for sentence, names in {
        PROCESSES: "fork forkpty killpg nice pidfd_open posix_spawn posix_spawnp register_at_fork setpgid setsid spawnl"
        " spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe wait3 wait4 waitid getppid getpgid getsid",
        USERS: "getgroups getlogin setuid seteuid setgid setegid chown fchown lchown chroot",
        TERMINAL: "openpty login_tty ttyname ctermid tcgetpgrp get_terminal_size",
        PIPES: "pipe2 mkfifo",
        DUPLICATES: "dup2",
        FREE_SPACE: "statvfs fstatvfs",
    }.items()
    for name in names.split()
}


def _refusing(name: str, sentence: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise unsupported(sentence)

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def _os_getattr(name: str) -> NoReturn:
    message = f"module 'os' has no attribute {name!r}"
    if name in _MISSING_NAMES:
        message = f"{_MISSING_NAMES[name]} ({message})"
    raise AttributeError(message, name=name, obj=sys.modules["os"])


class _Amender:
    """Finds the library's modules that have an amendment."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        amend = _AMENDMENTS.get(name)
        if amend is None:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _AmendingLoader(name, spec.origin, amend)
        return spec


class _AmendingLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, amend: Callable[[Any], None]) -> None:
        super().__init__(name, path)
        self.amend = amend

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self.amend(module)


# Amendments, each called with the module right after it was executed


def _amend_subprocess(module: Any) -> None:
    def __init__(self: Any, *_args: object, **_kwargs: object) -> None:  # noqa: N807
        # What the finaliser of a Popen looks at.
        self._child_created = False
        raise unsupported(PROCESSES)

    module.Popen.__init__ = __init__


def _amend_multiprocessing_process(module: Any) -> None:
    module.BaseProcess.start = _refusing("start", PROCESSES)


def _amend_process_pool(module: Any) -> None:
    """The pool can be made, as one of threads can; there is nothing in it to submit to."""

    def __init__(self: Any, *_args: object, **_kwargs: object) -> None:  # noqa: N807
        self._shutdown_thread = False

    def shutdown(self: Any, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._shutdown_thread = True

    module.ProcessPoolExecutor.__init__ = __init__
    module.ProcessPoolExecutor.submit = _refusing("submit", PROCESSES)
    module.ProcessPoolExecutor.map = _refusing("map", PROCESSES)
    module.ProcessPoolExecutor.shutdown = shutdown


def _amend_urllib_request(module: Any) -> None:
    """Without `ssl` an https address would be one of an unknown type, which is not the reason."""
    unknown_open = module.UnknownHandler.unknown_open

    def known_open(self: Any, request: Any) -> Any:
        if request.type == "https":
            raise module.URLError(no_network())
        return unknown_open(self, request)

    module.UnknownHandler.unknown_open = known_open


def _amend_hashlib(module: Any) -> None:
    """What CPython has from OpenSSL only."""
    import _key_derivation

    module.pbkdf2_hmac = _key_derivation.pbkdf2_hmac
    module.scrypt = _key_derivation.scrypt
    module.__all__ += ("pbkdf2_hmac",)


def _amend_signal(module: Any) -> None:
    """Programs that look whether these are there find that they are not; the others hear why."""

    def explained(name: str) -> NoReturn:
        message = f"module 'signal' has no attribute {name!r}"
        if name in _MISSING_SIGNAL_NAMES:
            message = f"{INTERRUPTS} ({message})"
        raise AttributeError(message, name=name, obj=module)

    explained.__module__ = module.__name__
    module.__getattr__ = explained


def _amend_shutil(module: Any) -> None:
    def explained(name: str) -> NoReturn:
        message = f"module 'shutil' has no attribute {name!r}"
        if name == "disk_usage":
            message = f"{FREE_SPACE} ({message})"
        raise AttributeError(message, name=name, obj=module)

    explained.__module__ = module.__name__
    module.__getattr__ = explained


_MISSING_SIGNAL_NAMES = frozenset(
    {"ITIMER_PROF", "ITIMER_REAL", "ITIMER_VIRTUAL", "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask"}
    | {"setitimer", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo"}
)


def _amend_sysconfig(module: Any) -> None:
    """The prefix is the root, and `//lib` would be another place than `/lib` wherever somebody compares."""
    expand_vars = module._expand_vars

    def with_one_root(scheme: str, variables: dict[str, Any] | None) -> dict[str, str]:
        paths: dict[str, str] = expand_vars(scheme, variables)
        return {
            name: path[1:] if path.startswith("//") and not path.startswith("///") else path
            for name, path in paths.items()
        }

    module._expand_vars = with_one_root


_AMENDMENTS: dict[str, Callable[[Any], None]] = {
    "concurrent.futures.process": _amend_process_pool,
    "hashlib": _amend_hashlib,
    "multiprocessing.process": _amend_multiprocessing_process,
    "shutil": _amend_shutil,
    "signal": _amend_signal,
    "subprocess": _amend_subprocess,
    "sysconfig": _amend_sysconfig,
    "urllib.request": _amend_urllib_request,
}
