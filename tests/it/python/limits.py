"""Calls that reach a limit, one way each. Those that never end say first that they have begun."""

import errno
import hashlib
import itertools
import os
import re
import select
import sqlite3
import sys

import time
import zlib
from collections import deque


def begun():
    os.write(1, b"begun")


# Never ending


def python_loop():
    begun()
    while True:
        pass


def loop_that_catches_everything():
    begun()
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001
            continue
        finally:
            continue  # noqa: B012


def generator_in_c():
    begun()
    deque(itertools.repeat(0), maxlen=0)


def sum_in_c():
    begun()
    sum(itertools.repeat(1))


def huge_power():
    begun()
    return 10 ** 10**8


def huge_text():
    sys.set_int_max_str_digits(0)
    number = 1 << 10_000_000
    begun()
    return str(number)


def regular_expression():
    begun()
    return re.match(r"(a|aa|a*)*$", "a" * 60 + "b")


def sorting():
    numbers = list(range(1 << 18))
    begun()
    while True:
        numbers.sort(key=lambda n: n * 7919 % 262_147)


def sorting_once():
    class Slow(int):
        def __lt__(self, other):
            return sum(itertools.repeat(1, 20_000)) < 0

    begun()
    return sorted(map(Slow, range(100_000)))


def hashing():
    block = bytes(64 << 20)
    begun()
    while True:
        hashlib.sha256(block)


def query():
    connection = sqlite3.connect(":memory:")
    begun()
    return connection.execute(
        "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c"
    ).fetchone()


def copying():
    block = bytes(32 << 20)
    begun()
    while True:
        bytearray(block)


def copying_at_once():
    block = bytearray(3 << 29)
    begun()
    # Moves all that is behind by one byte.
    block.pop(0)
    block.pop(1)


def filling_at_once():
    begun()
    bytearray(3 << 29)


def searching():
    block = bytes(32 << 20)
    begun()
    while True:
        block.count(b"\x01\x02")


def compressing():
    block = os.urandom(1 << 20) * 16
    begun()
    while True:
        zlib.compress(block, 9)


def growing_again_and_again():
    begun()
    while True:
        bytes(100 << 20)


def host_calls():
    begun()
    while True:
        os.write(1, b"")


def random_bytes():
    begun()
    while True:
        os.urandom(4 << 20)


def scratch_writes():
    block = bytes(8 << 20)
    begun()
    with open("/tmp/file", "wb", buffering=0) as file:
        while True:
            file.seek(0)
            file.write(block)


def sleeping_by_rule():
    begun()
    while True:
        time.sleep(3600)


# Sleeping


def sleep():
    begun()
    time.sleep(3600)


def sleep_in_select():
    begun()
    select.select([], [], [], 3600)


def sleep_in_asyncio():
    import asyncio

    begun()
    asyncio.run(asyncio.sleep(3600))


def sleep_again_and_again():
    begun()
    while True:
        time.sleep(0.001)


def sleep_for(seconds):
    before = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - before >= seconds


# Ending the guest


def abort():
    os.abort()


def hard_exit(code):
    os._exit(code)


def deep_in_c():
    """A recursion that C code makes without asking the interpreter."""
    nested = iter(())
    for _ in range(1_000_000):
        nested = itertools.chain(nested)
    return next(nested, None)


def deep_in_python(limit):
    sys.setrecursionlimit(limit)

    def down(n):
        return 1 + down(n + 1)

    return down(0)


def deep_in_both():
    class Deep:
        def __getattr__(self, name):
            return getattr(self, name + "x")

        def __eq__(self, other):
            return other == self

        def __repr__(self):
            return f"<{self!r}>"

    reached = []
    for attempt in (lambda d: d.x, lambda d: d == Deep(), repr):
        try:
            attempt(Deep())
        except RecursionError as error:
            reached.append(type(error).__name__)
    return reached


def recursion_that_fills_the_memory():
    """Caught, so that it can say what it was."""
    sys.setrecursionlimit(1 << 30)

    def down():
        return down()

    try:
        down()
    except BaseException as error:  # noqa: BLE001
        return type(error).__name__


def endless_python_recursion():
    return endless_python_recursion()


# Amounts


def write(descriptor, count):
    stream = {1: sys.stdout, 2: sys.stderr}[descriptor]
    stream.write("x" * count)
    return count


def print_without_end():
    while True:
        print("x" * 1000)


def returns(count):
    return b"x" * count


def raises(count):
    raise ValueError("x" * count)


def allocate(count):
    global kept
    kept = bytearray(count)
    return len(kept)


def allocate_without_end():
    kept = []
    while True:
        kept.append(" " * 10_000)


def allocate_in_c():
    return len(b"x" * (1 << 30))


def impossible_size():
    return [0] * (1 << 29)


def fill_file(path, count):
    """Writes so many bytes; the number that fitted and the error's name."""
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < count:
                written += file.write(b"x" * min(count - written, 1000))
    except OSError as error:
        return [written, errno.errorcode[error.errno], os.path.getsize(path)]
    return [written, None, os.path.getsize(path)]


def fill_file_and_raise(path, count):
    with open(path, "wb") as file:
        file.write(b"x" * count)


def room_comes_back(path, count):
    """Frees the room of one file for another."""
    log = [fill_file(path, count)]
    os.unlink(path)
    log.append(fill_file(path + "2", count))
    os.truncate(path + "2", 0)
    log.append(fill_file(path + "3", count))
    return log


def make_files(count):
    """Makes so many files, directories and links; how many there are and the error's name."""
    made = 0
    try:
        for number in range(count):
            path = f"/tmp/{number}" if number % 2 else f"/work/{number}"
            if number % 3 == 0:
                os.mkdir(path)
            elif number % 3 == 1:
                open(path, "x").close()
            else:
                os.symlink("nowhere", path)
            made += 1
    except OSError as error:
        return [made, errno.errorcode[error.errno]]
    return [made, None]


def add(a, b):
    return a + b
