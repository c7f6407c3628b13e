"""The standard library in a sandbox: all of it imports, and what a sandbox has not says so. Runs in the guest only."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import functools
import hashlib
import hmac
import importlib
import io
import multiprocessing
import os
import pkgutil
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANNOT_BE_THERE = {
    "ctypes": "a sandbox has no native libraries to call, so there is no ctypes",
    "curses": "a sandbox has no terminal, so there is no curses",
    "dbm.gnu": "a sandbox has no GNU dbm library, so there is no dbm.gnu",
    "dbm.ndbm": "a sandbox has no ndbm library, so there is no dbm.ndbm",
    "ensurepip": "a sandbox's library is fixed when the guest is built, so there is no ensurepip",
    "idlelib": "a sandbox has no display, so there is no idlelib",
    "readline": "a sandbox has no terminal, so there is no readline",
    "ssl": "a sandbox has no network, so there is no ssl",
    "tkinter": "a sandbox has no display, so there is no tkinter",
    "turtle": "a sandbox has no display, so there is no turtle",
    "turtledemo": "a sandbox has no display, so there is no turtledemo",
    "venv": "a sandbox's library is fixed when the guest is built, so there is no venv",
}
"""Public modules that cannot be imported, and what the error says."""

PARTS_OF_THOSE = {
    "_ctypes",
    "_curses",
    "_curses_panel",
    "_dbm",
    "_gdbm",
    "_pyrepl._minimal_curses",
    "_pyrepl.curses",
    "_pyrepl.unix_console",
    "_pyrepl.unix_eventqueue",
    "_ssl",
    "_tkinter",
    "ctypes._aix",
    "ctypes._endian",
    "ctypes.macholib",
    "ctypes.macholib.dyld",
    "ctypes.macholib.dylib",
    "ctypes.macholib.framework",
    "ctypes.util",
    "ctypes.wintypes",
    "curses.ascii",
    "curses.has_key",
    "curses.panel",
    "curses.textpad",
    "multiprocessing.sharedctypes",
}
"""Modules that belong to one of those or need it."""

OF_OTHER_SYSTEMS = {
    "_overlapped",
    "_pyrepl.readline",
    "_pyrepl.simple_interact",
    "_pyrepl.windows_console",
    "_scproxy",
    "_winapi",
    "_wmi",
    "asyncio.windows_events",
    "asyncio.windows_utils",
    "encodings.mbcs",
    "encodings.oem",
    "msvcrt",
    "multiprocessing.popen_spawn_win32",
    "nt",
    "winreg",
    "winsound",
}
"""Modules for Windows and macOS, or for a terminal of theirs, which no other system has either."""

INNER = {"_hashlib", "_interpchannels", "_interpqueues", "_interpreters", "_posixsubprocess", "_uuid"}
"""C parts that their library modules do without."""

NOT_IMPORTED = {"antigravity"}
"""Opens a web browser when it is imported."""


PBKDF2_ARGUMENTS = (b"p" * 150, b"salt\0", 7)
PBKDF2_OF_OPENSSL = {
    "md5": "3ecd1891ea5ea4d33ed3b9c16217b4c1b2aaa02de1e840b82a09e1b5b7c98691726cdec590863b5f",
    "sha224": "b991d17990216dee48f9d7e144a366945c11a12b4f2855bec13dabb46fb71a2c137d4533d976f873",
    "sha256": "70c8196777a9d216e891ee6413d838398dc75c1f5cf970ca2797ea3d788d2778f386ddb29586cd91",
    "sha384": "5070b92fe816b18cd8b2f17a721be5414a10190e34d50ea0f508c4b16345ca3b5ed3e4345b17e1a5",
    "sha512": "6787c35ae236c02af893737860d0d946e9642ea1495ddafb15a0ae1c5b3417318d91c1c13dcb2e71",
    "sha3_256": "b3ec2949dc781b2287576caf9ec3094da4cbef5aa8ccc8ab923705ba3296c9dec2d2038eee323022",
    "blake2s": "01ded67f3462fa53679b9214150e88c0b2f6ee7bcf27cfcec0754710d2a326af6fcb6b480efb1390",
}
"""Keys of 40 bytes, from a password that is longer than any block."""

PBKDF2_SHA256 = (
    "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
    "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
)


def library_modules() -> set[str]:
    """The names of all modules and submodules of the standard library."""
    names = set(sys.stdlib_module_names) - NOT_IMPORTED
    root = os.path.dirname(os.__file__)

    def walk(folder: str, prefix: str) -> None:
        for module in pkgutil.iter_modules([folder], prefix):
            last = module.name.rpartition(".")[2]
            if last != "__main__":
                names.add(module.name)
                if module.ispkg:
                    walk(f"{folder}/{last}", module.name + ".")

    for name in sys.stdlib_module_names:
        if os.path.isdir(f"{root}/{name}"):
            walk(f"{root}/{name}", name + ".")
    return names


class Library(unittest.TestCase):
    def test_every_module_imports_or_is_listed(self) -> None:
        listed = CANNOT_BE_THERE.keys() | PARTS_OF_THOSE | OF_OTHER_SYSTEMS | INNER
        refused = {}
        before = dict(sys.modules)
        quiet = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            for name in sorted(library_modules()):
                try:
                    importlib.import_module(name)
                except Exception as error:
                    refused[name] = f"{type(error).__name__}: {error}"
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]
        self.assertEqual({name: text for name, text in refused.items() if name not in listed}, {})
        self.assertEqual(listed - refused.keys(), set())
        for name, sentence in CANNOT_BE_THERE.items():
            self.assertEqual(refused[name], f"ModuleNotFoundError: ppwasm: {sentence}")
        for name in PARTS_OF_THOSE:
            self.assertIn("ModuleNotFoundError: ppwasm: a sandbox has no ", refused[name])


class Refusals(unittest.TestCase):
    """Using what a sandbox has not."""

    def refused(self, kind: type[BaseException], what: str, function: Any, *args: Any, **kwargs: Any) -> BaseException:
        with self.assertRaises(kind) as caught:
            function(*args, **kwargs)
        self.assertIn(f"ppwasm: a sandbox has no {what}", str(caught.exception))
        return caught.exception

    def test_network(self) -> None:
        error = self.refused(OSError, "network", socket.socket)
        self.assertEqual(error.errno, errno.ENETUNREACH)  # type: ignore[attr-defined]
        self.refused(OSError, "network", socket.create_connection, ("example.org", 80))
        self.refused(OSError, "network", socket.create_connection, ("127.0.0.1", 80))
        self.refused(OSError, "network", socket.create_server, ("", 80))
        self.refused(OSError, "network", socket.socketpair)
        self.refused(socket.gaierror, "network", socket.getaddrinfo, "example.org", 80)
        self.refused(socket.gaierror, "network", socket.gethostbyname, "example.org")
        for address in ("http://example.org/", "https://example.org/", "ftp://example.org/x"):
            self.refused(OSError, "network", urllib.request.urlopen, address)
        import http.server
        import smtplib

        self.refused(OSError, "network", http.server.HTTPServer, ("", 8000), http.server.BaseHTTPRequestHandler)
        self.refused(OSError, "network", smtplib.SMTP, "example.org")

    def test_conversions_of_addresses_need_no_network(self) -> None:
        self.assertEqual(socket.inet_aton("127.1"), b"\x7f\0\0\x01")
        self.assertEqual(socket.inet_ntoa(b"\x7f\0\0\x01"), "127.0.0.1")
        self.assertEqual(socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, "::1")), "::1")
        self.assertEqual((socket.htons(1), socket.ntohl(1)), (256, 1 << 24))
        self.assertEqual((socket.gethostname(), socket.getfqdn()), ("localhost", "localhost"))
        with self.assertRaises(OSError):
            socket.inet_aton("1.2.3.4.5")

    def test_processes(self) -> None:
        for function in (subprocess.run, subprocess.Popen, subprocess.check_output):
            self.refused(OSError, "processes", function, ["ls"])
        self.refused(OSError, "processes", subprocess.getoutput, "ls")
        self.refused(OSError, "processes", os.system, "ls")
        self.refused(OSError, "processes", os.popen, "ls")
        self.refused(OSError, "processes", os.execv, "/bin/ls", ["ls"])
        self.refused(OSError, "processes", os.execlp, "ls", "ls")
        self.refused(OSError, "processes", os.kill, 1, 9)
        self.refused(OSError, "pipes", os.pipe)
        for name in ("fork", "forkpty", "posix_spawn", "spawnv"):
            self.assertFalse(hasattr(os, name))
            error = self.refused(AttributeError, "processes", getattr, os, name)
            self.assertIn(f"module 'os' has no attribute {name!r}", str(error))
        with self.assertRaisesRegex(AttributeError, "^module 'os' has no attribute 'no_such_name'$"):
            os.no_such_name  # type: ignore[attr-defined]  # noqa: B018

    def test_multiprocessing(self) -> None:
        process = multiprocessing.Process(target=print)
        self.refused(OSError, "processes", process.start)
        self.refused(OSError, "pipes", multiprocessing.Pipe, False)
        self.refused(OSError, "network", multiprocessing.Pipe)
        with self.assertRaises(OSError):
            multiprocessing.Pool(2)
        with self.assertRaises(OSError):
            multiprocessing.Manager()
        from multiprocessing import shared_memory

        self.refused(OSError, "shared memory", shared_memory.SharedMemory, create=True, size=10)
        self.assertEqual(multiprocessing.cpu_count(), 1)

    def test_locks_of_multiprocessing_work_for_the_one_process(self) -> None:
        lock = multiprocessing.Lock()
        with lock:
            self.assertFalse(lock.acquire(block=False))
            self.assertFalse(lock.acquire(timeout=0.001))
            with self.assertRaisesRegex(RuntimeError, "wait for ever"):
                lock.acquire()
        self.assertTrue(lock.acquire(block=False))
        lock.release()
        again = multiprocessing.RLock()
        with again, again:
            self.assertTrue(again.acquire())
            again.release()
        semaphore = multiprocessing.Semaphore(2)
        self.assertEqual([semaphore.acquire(block=False) for _ in range(3)], [True, True, False])

    def test_threads(self) -> None:
        self.refused(RuntimeError, "threads", threading.Thread(target=print).start)
        self.refused(RuntimeError, "threads", threading.Timer(1, print).start)
        import _thread

        self.refused(RuntimeError, "threads", _thread.start_new_thread, print, ())
        self.assertEqual(threading.active_count(), 1)

    def test_pools_can_be_made_and_refuse_to_work(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.refused(RuntimeError, "threads", pool.submit, print)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            self.refused(RuntimeError, "threads", pool.map, print, [1])
        with concurrent.futures.ProcessPoolExecutor(4) as processes:
            self.refused(OSError, "processes", processes.submit, print)
            self.refused(OSError, "processes", processes.map, print, [1])
        from multiprocessing.pool import ThreadPool

        self.refused(OSError, "pipes", ThreadPool)

    def test_users_terminal_and_the_rest(self) -> None:
        import fcntl
        import grp
        import mmap
        import pwd
        import resource
        import syslog
        import termios

        asked: tuple[tuple[type[Exception], Callable[..., Any], str | int], ...] = (
            (KeyError, pwd.getpwnam, "nobody"),
            (KeyError, pwd.getpwuid, 33),
            (KeyError, grp.getgrgid, 33),
            (KeyError, grp.getgrnam, "nobody"),
            (AttributeError, functools.partial(getattr, os), "getlogin"),
        )
        for error, function, argument in asked:
            with self.assertRaisesRegex(error, "ppwasm: a sandbox has one user only"):
                function(argument)
        for module, name, why in (
            (os, "dup2", "cannot duplicate descriptors"),
            (os, "statvfs", "cannot tell how much room"),
            (shutil, "disk_usage", "cannot tell how much room"),
        ):
            self.assertFalse(hasattr(module, name))
            with self.assertRaisesRegex(AttributeError, f"^ppwasm: a sandbox {why}"):
                getattr(module, name)
        with self.assertRaisesRegex(OSError, "a sandbox cannot duplicate descriptors"):
            os.dup(1)
        self.refused(termios.error, "terminal", termios.tcgetattr, 0)
        self.assertEqual(shutil.get_terminal_size(), (80, 24))
        self.refused(OSError, "system log", syslog.syslog, "x")
        self.refused(OSError, "devices", fcntl.ioctl, 0, 0)
        with self.assertRaisesRegex(OSError, "cannot map files"):
            mmap.mmap(-1, 100)
        with self.assertRaisesRegex(OSError, "limits are the job's"):
            resource.setrlimit(resource.RLIMIT_STACK, (1, 1))
        self.assertGreaterEqual(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 0)

    def test_signals_that_would_interrupt(self) -> None:
        import signal

        for name in ("alarm", "setitimer", "pause", "pthread_kill"):
            self.assertFalse(hasattr(signal, name))
            self.refused(AttributeError, "timers that interrupt", getattr, signal, name)
        with self.assertRaisesRegex(AttributeError, "^module 'signal' has no attribute 'no_such_name'$"):
            signal.no_such_name  # type: ignore[attr-defined]  # noqa: B018

    def test_umask_is_kept_and_changes_nothing(self) -> None:
        before = os.umask(0o077)
        self.assertEqual(before, 0o022)
        self.assertEqual(os.umask(before), 0o077)
        with self.assertRaises(TypeError):
            os.umask("022")  # type: ignore[arg-type]

    def test_the_one_thread_s_time_is_the_process_s(self) -> None:
        before = time.process_time_ns()
        self.assertLess(before, time.thread_time_ns())
        self.assertLess(time.thread_time(), time.process_time())
        self.assertEqual(time.get_clock_info("thread_time"), time.get_clock_info("process_time"))
        self.assertEqual(time.thread_time.__module__, "time")

    def test_file_locks_are_granted(self) -> None:
        import fcntl

        with tempfile.TemporaryFile() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            fcntl.lockf(file, fcntl.LOCK_UN)
        with self.assertRaises(ValueError):
            fcntl.flock(-1, fcntl.LOCK_SH)
        with self.assertRaises(TypeError):
            fcntl.flock("x", fcntl.LOCK_SH)  # type: ignore[arg-type]
        with self.assertRaises(OSError):
            fcntl.flock(99, fcntl.LOCK_SH)
        self.refused(OSError, "devices", fcntl.fcntl, 0, fcntl.F_GETFL)


class OneUser(unittest.TestCase):
    """The user whom programs ask for to find a home and an owner."""

    def test_the_user_has_a_name_and_a_home(self) -> None:
        import getpass
        import grp
        import pwd

        self.assertEqual(getpass.getuser(), "user")
        self.assertEqual(pwd.getpwuid(os.getuid()), pwd.getpwnam("user"))
        self.assertEqual(grp.getgrgid(os.getgid()), grp.getgrnam("user"))
        self.assertEqual(pwd.getpwnam("root").pw_uid, 0)
        self.assertEqual([entry.pw_name for entry in pwd.getpwall()], ["root", "user"])
        self.assertEqual(Path.home(), Path("/work"))
        self.assertEqual(os.path.expanduser("~/x"), "/work/x")
        self.assertEqual(Path("~user/x").expanduser(), Path("/work/x"))
        self.assertEqual(os.path.expanduser("~nobody/x"), "~nobody/x")

    def test_files_belong_to_the_user(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            self.assertEqual((Path(file.name).owner(), Path(file.name).group()), ("user", "user"))
            found = os.fstat(file.fileno())
            self.assertEqual((found.st_uid, found.st_gid), (os.getuid(), os.getgid()))


class Names(unittest.TestCase):
    """Names and addresses that need no network."""

    def test_localhost_and_numbers_are_known(self) -> None:
        inet, stream = socket.AF_INET, socket.SOCK_STREAM
        self.assertEqual(
            socket.getaddrinfo("localhost", "http", type=stream), [(inet, stream, 6, "", ("127.0.0.1", 80))]
        )
        self.assertEqual(
            socket.getaddrinfo("::1", 8080, type=socket.SOCK_DGRAM),
            [(socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", 8080, 0, 0))],
        )
        self.assertEqual([entry[4] for entry in socket.getaddrinfo("10.1.2.3", None)], [("10.1.2.3", 0)] * 3)
        passive = socket.getaddrinfo(None, 80, type=stream, flags=socket.AI_PASSIVE)
        self.assertEqual([entry[4] for entry in passive], [("0.0.0.0", 80)])
        self.assertEqual(socket.gethostbyname("localhost"), "127.0.0.1")
        self.assertEqual(socket.gethostbyaddr("127.0.0.1"), ("localhost", [], ["127.0.0.1"]))
        self.assertEqual(socket.getnameinfo(("127.0.0.1", 443), 0), ("localhost", "https"))
        self.assertEqual(socket.getnameinfo(("10.1.2.3", 9999), 0), ("10.1.2.3", "9999"))
        self.assertEqual((socket.getservbyname("ssh"), socket.getservbyport(53, "udp")), (22, "domain"))

    def test_what_is_wrong_with_a_request(self) -> None:
        for code, arguments in {
            socket.EAI_NONAME: (None, None),
            socket.EAI_SERVICE: ("localhost", "no such service"),
            socket.EAI_FAMILY: ("localhost", 80, 77),
            socket.EAI_ADDRFAMILY: ("localhost", 80, socket.AF_INET6),
            socket.EAI_SOCKTYPE: ("localhost", 80, 0, 77),
        }.items():
            with self.assertRaises(socket.gaierror) as caught:
                socket.getaddrinfo(*arguments)  # type: ignore[arg-type]
            self.assertEqual(caught.exception.errno, code, arguments)
        with self.assertRaises(OSError):
            socket.getservbyname("no such service")
        with self.assertRaises(socket.herror):
            socket.gethostbyaddr("10.1.2.3")

    def test_a_mock_of_a_socket_has_its_methods(self) -> None:
        from unittest import mock

        made = mock.create_autospec(socket.socket)()
        for name in ("accept", "bind", "connect", "listen", "recv", "recv_into", "send", "sendall", "setsockopt"):
            self.assertTrue(callable(getattr(made, name)), name)
        with self.assertRaisesRegex(OSError, "a sandbox has no network"):
            socket.socket.sendall(made, b"x")
        self.assertFalse(hasattr(socket, "AF_UNIX"))


class Waiting(unittest.TestCase):
    """Waits that nobody can end: those with a timeout end when it is over, the others are an error."""

    LOOKS_MAX = 100
    """So many looks at the clock may come to a wait's length, when each moves it a little. Spinning takes millions."""

    def takes(self, seconds: float, wait: Callable[[], Any]) -> Any:
        # Each look moves the sandbox's clock, so that time says how often it was looked at.
        started = time.monotonic()
        time.monotonic()
        step = time.monotonic() - started
        started = time.monotonic()
        try:
            return wait()
        finally:
            passed = time.monotonic() - started
            self.assertGreaterEqual(passed, seconds)
            self.assertLess(passed - seconds, self.LOOKS_MAX * max(step, 1e-6))

    def held(self) -> Any:
        lock = threading.Lock()
        lock.acquire()
        return lock

    def test_with_a_timeout(self) -> None:
        condition = threading.Condition()

        def condition_waits() -> bool:
            with condition:
                return condition.wait(7200)

        self.assertIs(self.takes(3600, lambda: threading.Event().wait(3600)), False)
        self.assertIs(self.takes(7200, condition_waits), False)
        self.assertIs(self.takes(60, lambda: self.held().acquire(timeout=60)), False)
        self.assertIs(self.takes(60, lambda: threading.Semaphore(0).acquire(timeout=60)), False)
        for make in (queue.Queue, queue.SimpleQueue, queue.PriorityQueue):
            with self.assertRaises(queue.Empty):
                self.takes(5, lambda make=make: make().get(timeout=5))  # type: ignore[misc]
        with self.assertRaises(queue.Full):
            full: queue.Queue[int] = queue.Queue(1)
            full.put(1)
            self.takes(5, lambda: full.put(2, timeout=5))
        with self.assertRaises(threading.BrokenBarrierError):
            self.takes(3, lambda: threading.Barrier(2).wait(3))
        with self.assertRaises(concurrent.futures.TimeoutError):
            self.takes(9, lambda: concurrent.futures.Future[int]().result(timeout=9))

    def test_a_very_long_timeout(self) -> None:
        self.assertIs(self.takes(1e9, lambda: self.held().acquire(timeout=1e9)), False)
        with self.assertRaises(OverflowError):
            self.held().acquire(timeout=threading.TIMEOUT_MAX * 2)

    def test_without_waiting(self) -> None:
        self.assertIs(self.takes(0, lambda: self.held().acquire(blocking=False)), False)
        self.assertIs(self.takes(0, lambda: self.held().acquire(timeout=0)), False)
        with self.assertRaises(queue.Empty):
            self.takes(0, lambda: queue.SimpleQueue[int]().get(timeout=0))

    def test_without_a_timeout(self) -> None:
        condition = threading.Condition()

        def condition_waits() -> bool:
            with condition:
                return condition.wait()

        for wait in (
            threading.Event().wait,
            condition_waits,
            self.held().acquire,
            self.held().__enter__,
            queue.Queue().get,
            queue.SimpleQueue().get,
            threading.Barrier(2).wait,
            concurrent.futures.Future().result,
        ):
            with self.assertRaisesRegex(
                RuntimeError, "ppwasm: this would wait for ever, because a sandbox has no other"
            ):
                wait()
        # The condition's lock is free again.
        self.assertTrue(condition.acquire(blocking=False))

    def test_a_wait_leaves_a_lock_as_it_was(self) -> None:
        lock = self.held()
        self.assertFalse(lock.acquire(timeout=1))
        lock.release()
        self.assertTrue(lock.acquire(timeout=1))
        items: queue.SimpleQueue[int] = queue.SimpleQueue()
        with self.assertRaises(queue.Empty):
            items.get(timeout=1)
        items.put(3)
        self.assertEqual(items.get(), 3)

    def test_select_with_a_closed_descriptor(self) -> None:
        import select

        with tempfile.TemporaryFile() as file:
            closed = file.fileno()
        asked: tuple[tuple[Any, Any, Any], ...] = (
            ([closed], [], []),
            ([], (closed,), []),
            ([], [], iter([closed])),
        )
        for one, two, three in asked:
            with self.assertRaises(OSError) as caught:
                select.select(one, two, three, 0)
            self.assertEqual(caught.exception.errno, errno.EBADF)
        self.assertEqual(self.takes(20, lambda: select.select([], [], [], 20)), ([], [], []))


class KeyDerivation(unittest.TestCase):
    """`hashlib.pbkdf2_hmac` and `scrypt`, which CPython's own tests hold to more of the RFCs' vectors."""

    def test_pbkdf2(self) -> None:
        # RFC 6070 and RFC 7914, section 11; the others from OpenSSL.
        for name, password, salt, iterations, length, key in (
            ("sha1", b"password", b"salt", 2, 20, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
            ("sha256", b"Password", b"NaCl", 80000, 64, PBKDF2_SHA256),
            *((name, *PBKDF2_ARGUMENTS, 40, key) for name, key in PBKDF2_OF_OPENSSL.items()),
        ):
            self.assertEqual(hashlib.pbkdf2_hmac(name, password, salt, iterations, length).hex(), key, name)

    def test_the_digest_s_length_is_the_default(self) -> None:
        for name in hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}:
            key = hashlib.pbkdf2_hmac(name, b"", b"", 1)
            self.assertEqual(len(key), hashlib.new(name).digest_size)
            # The first iteration alone is one HMAC.
            self.assertEqual(key, hmac.digest(b"", (1).to_bytes(4, "big"), name))

    def test_arguments_of_pbkdf2(self) -> None:
        for error, arguments in (
            (ValueError, ("sha256", b"", b"", 0)),
            (OverflowError, ("sha256", b"", b"", 2**31)),
            (ValueError, ("sha256", b"", b"", 1, 0)),
            (OverflowError, ("sha256", b"", b"", 1, 2**31)),
            (ValueError, ("shake_128", b"", b"", 1)),
            (ValueError, ("unknown", b"", b"", 1)),
            (TypeError, (b"sha256", b"", b"", 1)),
            (TypeError, ("sha256", "", b"", 1)),
            (TypeError, ("sha256", b"", 3, 1)),
            (TypeError, ("sha256", b"", b"", 1.0)),
        ):
            with self.assertRaises(error, msg=str(arguments)):
                hashlib.pbkdf2_hmac(*arguments)

    def test_scrypt(self) -> None:
        # RFC 7914, section 12.
        key = hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16)
        self.assertTrue(key.hex().startswith("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830"), key.hex())
        # 128 * r * (n + p + 2) bytes are what it takes.
        needed = 128 * 8 * (1024 + 1 + 2)
        hashlib.scrypt(b"", salt=b"", n=1024, r=8, p=1, maxmem=needed)
        for error, changed in (
            (ValueError, {"maxmem": needed - 1}),
            (ValueError, {"n": 1000}),
            (ValueError, {"n": 1}),
            (ValueError, {"n": 2**16, "r": 1}),
            (ValueError, {"n": 2**15, "r": 8}),
            (ValueError, {"r": 0}),
            (ValueError, {"p": 2**30 // 8}),
            (ValueError, {"dklen": 0}),
            (TypeError, {"salt": None}),
            (TypeError, {"n": None}),
            (TypeError, {"r": 1.0}),
        ):
            arguments: dict[str, Any] = {"salt": b"", "n": 1024, "r": 8, "p": 1, **changed}
            with self.assertRaises(error, msg=str(changed)):
                hashlib.scrypt(b"", **arguments)

    def test_digests_of_files_and_messages(self) -> None:
        digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        self.assertEqual(hashlib.file_digest(io.BytesIO(b"abc"), "sha256").hexdigest(), digest)
        with tempfile.TemporaryFile() as file:
            file.write(b"abc")
            file.seek(0)
            self.assertEqual(hashlib.file_digest(file, hashlib.sha256).hexdigest(), digest)
        # RFC 4231, test case 2.
        told = hmac.digest(b"Jefe", b"what do ya want for nothing?", "sha256").hex()
        self.assertEqual(told, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")


class Files(unittest.TestCase):
    """Temporary files and the library's ways to copy and move them, which ask the system for much."""

    def test_temporary_files_and_copies(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            one = Path(folder, "one")
            one.write_text("text")
            shutil.copy2(one, Path(folder, "two"))
            shutil.copytree(folder, f"{folder}/inner")
            shutil.move(f"{folder}/inner/one", f"{folder}/inner/three")
            self.assertEqual(
                sorted(path.name for path in Path(folder).rglob("*")), ["inner", "one", "three", "two", "two"]
            )
            archive = shutil.make_archive(f"{folder}/all", "zip", f"{folder}/inner")
            shutil.unpack_archive(archive, f"{folder}/out")
            self.assertEqual(Path(folder, "out", "three").read_text(), "text")
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write("x")


class Asyncio(unittest.TestCase):
    """Coroutines that wait for nothing but timers and each other."""

    def test_sleep_and_gather(self) -> None:
        async def after(seconds: float, value: str) -> str:
            await asyncio.sleep(seconds)
            order.append(value)
            return value

        async def main() -> tuple[str, ...]:
            return await asyncio.gather(after(0.03, "a"), after(0.01, "b"), after(0, "c"))

        order: list[str] = []
        started = time.monotonic()
        self.assertEqual(list(asyncio.run(main())), ["a", "b", "c"])
        self.assertEqual(order, ["c", "b", "a"])
        self.assertGreaterEqual(time.monotonic() - started, 0.03)

    def test_wait_for_and_timeout(self) -> None:
        async def main() -> None:
            with self.assertRaises(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(10), 0.001)
            with self.assertRaises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            done, pending = await asyncio.wait(
                [asyncio.ensure_future(asyncio.sleep(0)), asyncio.ensure_future(asyncio.sleep(5))], timeout=0.01
            )
            self.assertEqual((len(done), len(pending)), (1, 1))

        asyncio.run(main())

    def test_task_group_queue_and_lock(self) -> None:
        async def main() -> list[int]:
            queue: asyncio.Queue[int] = asyncio.Queue(2)
            lock = asyncio.Lock()
            taken = []

            async def produce() -> None:
                for number in range(5):
                    await queue.put(number)

            async def consume() -> None:
                for _ in range(5):
                    async with lock:
                        taken.append(await queue.get())

            async with asyncio.TaskGroup() as group:
                group.create_task(produce())
                group.create_task(consume())
            return taken

        self.assertEqual(asyncio.run(main()), [0, 1, 2, 3, 4])

    def test_an_exception_in_a_task_group(self) -> None:
        async def fail() -> None:
            raise ValueError(1)

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.sleep(10))

        with self.assertRaises(ExceptionGroup):
            asyncio.run(main())

    def test_a_wait_that_cannot_end_is_an_error(self) -> None:
        async def main() -> None:
            await asyncio.Event().wait()

        with self.assertRaisesRegex(RuntimeError, "wait for ever"):
            asyncio.run(main())

    def test_runner_loop_and_policy(self) -> None:
        with asyncio.Runner() as runner:
            self.assertEqual(runner.run(asyncio.sleep(0, 1)), 1)
        loop = asyncio.new_event_loop()
        self.assertIsInstance(loop, asyncio.SelectorEventLoop)
        self.assertEqual(loop.run_until_complete(asyncio.sleep(0, 2)), 2)
        loop.call_soon_threadsafe(loop.stop)
        loop.run_forever()
        loop.close()

    def test_network_processes_and_threads_are_refused(self) -> None:
        async def main() -> None:
            for what, awaitable in (
                ("network", asyncio.open_connection("example.org", 80)),
                ("network", asyncio.start_server(print, port=80)),
                ("network", asyncio.get_running_loop().getaddrinfo("example.org", 80)),
                ("processes", asyncio.create_subprocess_exec("ls")),
                ("processes", asyncio.create_subprocess_shell("ls")),
                ("threads", asyncio.to_thread(print)),
            ):
                with self.assertRaises((OSError, RuntimeError)) as caught:
                    await awaitable
                self.assertIn(f"a sandbox has no {what}", str(caught.exception))

        asyncio.run(main())

    def test_tests_of_coroutines(self) -> None:
        class Inner(unittest.IsolatedAsyncioTestCase):
            """A test as a program would have it."""

            async def test_sleep(self) -> None:
                await asyncio.sleep(0.001)

        result = unittest.TestResult()
        Inner("test_sleep").run(result)
        self.assertEqual((result.testsRun, result.errors, result.failures), (1, [], []))


if __name__ == "__main__":
    unittest.main()
