"""Everything that differs from run to run on an ordinary machine."""

import datetime
import os
import random
import secrets
import tempfile
import time
import uuid

at_load = random.random()
own = random.Random()
fixed = random.Random(7)


class Thing:
    """Something with an address."""


def random_streams():
    return {
        "random": random.random(),
        "random at load": own.random(),
        "a new generator": random.Random().random(),
        "system": random.SystemRandom().random(),
        "urandom": os.urandom(16).hex(),
        "secrets": secrets.token_hex(),
        "uuid4": uuid.uuid4(),
        "uuid1": uuid.uuid1(),
        "shuffle": random.sample(range(1000), 20),
        "temporary name": tempfile.mkdtemp(),
    }


def everything():
    print(Thing(), {"b", "a", "c"}, time.time())
    return random_streams() | {
        "at load": at_load,
        "time": time.time(),
        "now": datetime.datetime.now(),
        "monotonic": time.monotonic(),
        "process time": time.process_time(),
        "address": id(Thing()),
        "hash": hash("text"),
        "set": list({f"item {n}" for n in range(50)}),
        "environment": dict(os.environ),
        "process": os.getpid(),
        "files": [os.stat(path).st_mtime_ns for path in ("/", "/work", "/tmp", "/lib/python3.13/os.py")],
        "inode": os.stat("/lib/python3.13/os.py").st_ino,
    }


def seeded():
    return [fixed.random(), random.Random(7).random()]


def hashes():
    return [hash("ppwasm"), hash(b"ppwasm"), hash("")]


def clock():
    start = time.time_ns()
    first, second = time.monotonic_ns(), time.monotonic_ns()
    before = time.time_ns()
    between = time.time_ns() - before
    before = time.monotonic_ns()
    time.sleep(86_400)
    return [start, second - first, between, time.monotonic_ns() - before]


def calendar():
    return [datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"), time.ctime()]


def sleeps():
    import select

    before = time.time()
    time.sleep(86_400)
    select.select([], [], [], 86_400)
    return time.time() - before >= 2 * 86_400


def real():
    told = time.time_ns()
    before = time.monotonic()
    time.sleep(0.05)
    return [told, 0.05 <= time.monotonic() - before < 30]
