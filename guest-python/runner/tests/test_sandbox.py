"""The standard library in a sandbox: all of it imports, and what a sandbox has not says so. Runs in the guest only."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import importlib
import io
import multiprocessing
import os
import pkgutil
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
from pathlib import Path
from typing import Any

IN_GUEST = sys.platform == "wasi"

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


@unittest.skipUnless(IN_GUEST, "what this is about is in the guest")
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


@unittest.skipUnless(IN_GUEST, "what this is about is in the guest")
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
        import getpass
        import grp
        import mmap
        import pwd
        import resource
        import syslog
        import termios

        self.refused(KeyError, "users", pwd.getpwnam, "root")
        self.refused(KeyError, "users", grp.getgrgid, 0)
        self.refused(KeyError, "users", pwd.getpwuid, os.getuid())
        self.refused(AttributeError, "users", getattr, os, "getlogin")
        self.assertEqual(os.path.expanduser("~/x"), "~/x")
        self.refused(termios.error, "terminal", termios.tcgetattr, 0)
        self.assertEqual(shutil.get_terminal_size(), (80, 24))
        self.refused(OSError, "system log", syslog.syslog, "x")
        self.refused(OSError, "devices", fcntl.ioctl, 0, 0)
        with self.assertRaisesRegex(OSError, "cannot map files"):
            mmap.mmap(-1, 100)
        with self.assertRaisesRegex(OSError, "limits are the job's"):
            resource.setrlimit(resource.RLIMIT_STACK, (1, 1))
        self.assertGreaterEqual(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 0)
        with self.assertRaises(OSError):
            getpass.getuser()

    def test_file_locks_are_granted(self) -> None:
        import fcntl

        with tempfile.TemporaryFile() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            fcntl.lockf(file, fcntl.LOCK_UN)


@unittest.skipUnless(IN_GUEST, "what this is about is in the guest")
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


@unittest.skipUnless(IN_GUEST, "what this is about is in the guest")
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
