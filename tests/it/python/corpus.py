"""Programs that use many parts of the interpreter and the library; each returns what it computed."""

import bz2
import collections
import contextlib
import copy
import csv
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import hashlib
import heapq
import io
import itertools
import json
import lzma
import math
import os
import pathlib
import pickle
import random
import re
import shutil
import sqlite3
import statistics
import string
import struct
import sys
import tempfile
import textwrap
import time
import typing
import unicodedata
import uuid
import weakref
import zlib

counter = itertools.count()


class Shape:
    """A class with what classes have."""

    made = 0

    def __init__(self, name, sides):
        self.name, self.sides = name, sides
        type(self).made += 1

    def __repr__(self):
        return f"{type(self).__name__}({self.name!r}, {self.sides})"

    def __eq__(self, other):
        return isinstance(other, Shape) and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    def __lt__(self, other):
        return self.key < other.key

    @property
    def key(self):
        return (self.sides, self.name)

    @classmethod
    def polygon(cls, sides):
        return cls(f"polygon{sides}", sides)


class Named(Shape):
    __slots__ = ("extra",)

    def __getattr__(self, name):
        return f"no {name}"


def classes():
    shapes = sorted([Shape.polygon(n % 7) for n in range(50)] + [Named("x", 3)])
    unique = {shape: index for index, shape in enumerate(shapes)}
    made = type("Made", (Shape,), {"area": lambda self: self.sides**2})("made", 4)
    with contextlib.suppress(TypeError):
        shapes[0] < 3  # noqa: B015
    return [repr(shapes[:4]), len(unique), Shape.made, made.area(), Named("y", 1).colour]


def generators():
    def walk(depth):
        if depth:
            yield depth
            yield from walk(depth - 1)
            yield -depth

    def average():
        total = count = 0
        value = None
        while True:
            value = yield (total / count if count else value)
            total, count = total + value, count + 1

    running = average()
    next(running)
    sent = [running.send(n) for n in (1, 2, 6)]
    running.close()
    return [list(walk(30)), sent, list(itertools.islice(itertools.permutations("abcd"), 7)), next(counter)]


def exceptions():
    log = []

    def fail(depth):
        try:
            if depth:
                fail(depth - 1)
            [][depth]
        except IndexError as error:
            error.add_note(f"at {depth}")
            raise ValueError(depth) from error
        finally:
            log.append(depth)

    try:
        fail(5)
    except ValueError as error:
        cause = error.__cause__
        log.append([str(error), type(cause).__name__, cause.__notes__])
    try:
        raise ExceptionGroup("two", [KeyError("a"), ZeroDivisionError("b")])
    except* KeyError as group:
        log.append(len(group.exceptions))
    except* ZeroDivisionError as group:
        log.append(str(group.exceptions[0]))
    return log


def raises():
    """Ends with an exception that has a cause, a note and a group in it."""
    try:
        json.loads("[1,")
    except ValueError as error:
        outer = RuntimeError("outer")
        outer.add_note("a note")
        raise outer from ExceptionGroup("group", [error, OSError(2, "none")])


def big_ints():
    n = 3**2000 + 7**999
    return [n % (10**9 + 7), pow(3, n, 10**20), n.bit_count(), math.isqrt(n) % 10**10, math.comb(400, 200), len(str(n))]


def floats():
    values = [math.sin(n) * 10**n for n in range(-20, 20)]
    values += [math.inf, -math.inf, -0.0, math.fsum(values), math.gamma(5.5), 1e308 * 10, 5e-324 / 2]
    values += [math.nan, math.inf - math.inf, float.fromhex("0x1.8p-3"), round(2.675, 2), 7.0 // -2, -7.5 % 2]
    return [values, [value.hex() for value in values], f"{values[3]:.17g} {values[30]:,.3f}"]


def strings():
    text = "".join(chr(n) for n in itertools.chain(range(32, 127), range(0x370, 0x3FF), range(0x1F600, 0x1F620)))
    words = textwrap.wrap(text * 3, 40)
    table = str.maketrans("abc", "xyz")
    return [
        words[-1][::-1].upper(),
        text.translate(table).encode("utf-16").hex()[:200],
        unicodedata.normalize("NFKD", "ﬁancée Å"),
        [unicodedata.name(c, "?") for c in "aß€🌍"],
        string.Template("$a and ${b}").substitute(a=1, b=[2]),
        "%-10s|%+08.3f|%x" % ("left", math.pi, 255),
        f"{'mid':^9}|{1234567:_}|{0.1 + 0.2!r:>25}",
        "a,b,,c".split(","),
        "Straße".casefold(),
    ]


def expressions():
    text = "key = 12, other=-7 ; name='va\\'lue' " * 20
    found = re.findall(r"(\w+)\s*=\s*(-?\d+|'(?:\\.|[^'])*')", text)
    return [found[:5], re.sub(r"(?P<n>\d+)", lambda m: str(int(m["n"]) * 2), text)[:60], re.split(r"\W+", text)[:9]]


def json_and_csv():
    data = {"list": [1, 2.5, None, True, "ü\n"], "nested": {str(n): {"n": n} for n in range(200)}}
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False)
    out = io.StringIO()
    writer = csv.DictWriter(out, ["a", "b"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({"a": n, "b": '"quo,ted"\n'} for n in range(20))
    return [json.loads(text) == data, hashlib.sha256(text.encode()).hexdigest(), list(csv.reader(out.getvalue().splitlines()))[3]]


def decimals():
    with decimal.localcontext() as context:
        context.prec = 60
        root = decimal.Decimal(2).sqrt()
    parts = [decimal.Decimal(n) / 7 for n in range(20)]
    return [root, sum(parts), decimal.Decimal("NaN"), decimal.Decimal("-0"), fractions.Fraction(355, 113) ** 5, +root]


def dates():
    start = datetime.datetime(2024, 2, 28, 23, 59, tzinfo=datetime.timezone.utc)
    days = [start + datetime.timedelta(days=n, hours=n) for n in range(3)]
    return [days, days[2] - start, start.strftime("%A %j"), datetime.date.fromisoformat("2025-12-31").isocalendar()[1]]


def database():
    connection = sqlite3.connect(":memory:")
    connection.create_function("half", 1, lambda n: n / 2)
    connection.execute("create table t (id integer primary key, name text, x real)")
    connection.executemany("insert into t (name, x) values (?, ?)", [(f"n{n % 10}", n / 3) for n in range(2000)])
    connection.execute("create index i on t (name, x)")
    rows = connection.execute("select name, count(*), round(sum(half(x)), 6) from t group by name order by name").fetchall()
    with contextlib.suppress(sqlite3.Error):
        connection.execute("select broken")
    return rows


def database_in_scratch():
    path = "/work/data.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (n)")
        connection.executemany("insert into t values (?)", [(n,) for n in range(1000)])
    connection.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [connection.execute("select sum(n) from t").fetchone()[0], os.path.getsize(path) > 0]


def compression():
    data = b"".join(struct.pack("<IH", n, n * n & 0xFFFF) for n in range(4000))
    packed = [zlib.compress(data, 9), bz2.compress(data), lzma.compress(data, preset=1)]
    unpacked = [zlib.decompress(packed[0]), bz2.decompress(packed[1]), lzma.decompress(packed[2])]
    return [[len(p) for p in packed], [u == data for u in unpacked], zlib.crc32(data), zlib.adler32(data)]


def scratch_files():
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        for n in range(20):
            (base / f"sub{n % 3}").mkdir(exist_ok=True)
            (base / f"sub{n % 3}" / f"{n}.txt").write_text(f"line {n}\n" * n)
        shutil.copytree(base / "sub1", base / "copy")
        os.symlink("copy", base / "link")
        os.rename(base / "sub2", base / "moved")
        names = sorted(str(p.relative_to(base)) for p in base.rglob("*"))
        with open(base / "moved" / "2.txt", "r+b") as file:
            file.seek(3)
            file.write(b"XYZ")
            file.truncate(9)
        text = (base / "moved" / "2.txt").read_bytes()
        size = sum(p.stat().st_size for p in base.rglob("*.txt"))
    return [names, text, size, os.listdir("/tmp")]


def randomness():
    rng = random.Random(7)
    return [
        random.random(),
        random.sample(range(1000), 5),
        rng.gauss(0, 1),
        rng.choices("abc", k=10),
        os.urandom(8).hex(),
        str(uuid.uuid4()),
        statistics.stdev([random.expovariate(1) for _ in range(100)]),
    ]


def clocks():
    before = time.monotonic()
    time.sleep(12.5)
    after = time.monotonic()
    return [round(after - before, 1), time.time(), time.strftime("%H:%M:%S", time.gmtime()), time.perf_counter_ns()]


def recursion():
    def down(n):
        return down(n + 1)

    reached = 0
    for _ in range(3):
        try:
            down(0)
        except RecursionError as error:
            reached += len(str(error))
    nested = []
    for _ in range(100_000):
        nested = [nested]
    try:
        repr(nested)
    except RecursionError:
        reached += 1
    while nested:
        nested = nested[0]
    return reached


def recursion_uncaught():
    return recursion_uncaught()


def out_of_memory():
    """Catches the MemoryError; the program goes on."""
    blocks, log = [], []
    try:
        while True:
            blocks.append(bytearray(4 << 20))
    except MemoryError:
        log.append(len(blocks))
        blocks.clear()
    blocks.append(bytearray(1 << 20))
    return log


def out_of_memory_in_small_steps():
    kept = []
    try:
        while True:
            kept.append(("x" * 1000) + str(len(kept)))
    except MemoryError:
        count = len(kept)
        kept.clear()
    return count > 1000


def out_of_memory_uncaught():
    return [0] * (1 << 28)


def cycles():
    class Node:
        pass

    finalized = []
    for n in range(500):
        a, b = Node(), Node()
        a.other, b.other, a.payload = b, a, [n] * 10
        weakref.finalize(a, finalized.append, n)
    del a, b
    found = gc.collect()
    return [found > 0, len(finalized), sorted(finalized)[:3]]


def growing():
    """Allocates more than the memory's first size, so that it grows."""
    total = 0
    for size in (1 << 20, 30 << 20, 70 << 20):
        block = bytearray(size)
        block[::4096] = b"\x01" * len(block[::4096])
        total += sum(block[::4096])
    return total


def growing_and_keeping():
    global kept
    kept = [bytes([n]) * (1 << 20) for n in range(60)]
    return sum(block[-1] for block in kept)


def printing():
    for n in range(500):
        print("line", n, sep="\t")
    print("ünïcode \udc80", file=sys.stderr)
    sys.stdout.write("no newline")
    os.write(2, b"\x1b[31mraw\xff")
    return None


def heap_of_objects():
    heap = []
    for n in range(5000):
        heapq.heappush(heap, (n * 7919 % 5003, str(n)))
    return [heapq.heappop(heap) for _ in range(10)]


def many_kinds():
    class Colour(enum.Enum):
        RED = 1
        BLUE = "b"

    @dataclasses.dataclass(order=True)
    class Point:
        x: int
        y: float = 0.5
        tags: list = dataclasses.field(default_factory=list)

    points = sorted(Point(n % 5, n) for n in range(20))
    pair = typing.NamedTuple("pair", [("a", int), ("b", str)])(1, "b")
    return [
        [dataclasses.astuple(point) for point in points[:3]],
        Colour("b").name,
        tuple(pair),
        collections.Counter("mississippi"),
        collections.OrderedDict(a=1),
        collections.deque(range(9), maxlen=4),
        collections.ChainMap({"a": 1}, {"b": 2})["b"],
        {frozenset({1, 2}), frozenset()},
        {1, "a", None, 2.5, (1, 2)},
        copy.deepcopy(points[0]) == points[0],
        len(pickle.dumps(list(range(100)))),
        1j**2,
    ]


def compiling():
    scope = {}
    source = "\n".join(f"def f{n}(x): return x + {n} if x % 2 else f'{{x}}'" for n in range(200))
    exec(compile(source, "made.py", "exec"), scope)
    return [scope["f7"](1), scope["f199"](2), eval("[n ** 2 for n in range(5)]")]


def closures():
    def compose(*functions):
        return functools.reduce(lambda f, g: lambda x: g(f(x)), functions)

    @functools.lru_cache(maxsize=100)
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    return [compose(*[functools.partial(int.__add__, n) for n in range(100)])(0), fib(300), fib.cache_info().hits]


def matching():
    def kind(value):
        match value:
            case {"type": "point", "at": [x, y]} if x == y:
                return f"diagonal {x}"
            case {"type": str(name), **rest}:
                return f"{name} {sorted(rest)}"
            case [first, *_, last]:
                return f"{first}..{last}"
            case int() | float():
                return "number"
            case _:
                return "other"

    values = [{"type": "point", "at": [3, 3]}, {"type": "line", "z": 1}, [1, 2, 3], 2.5, "text"]
    return [kind(value) for value in values]


def writing_everywhere():
    """Touches pages all over the memory, again and again."""
    block = bytearray(20 << 20)
    for offset in range(5):
        for at in range(offset, len(block), 4096 * 3):
            block[at] = offset + 1
    return zlib.crc32(block)


def system_exit():
    print("before")
    sys.exit("goodbye")


def cannot_travel():
    return [1, {"deep": (lambda: None)}]


def hard_exit():
    os._exit(7)


PROGRAMS = [name for name, thing in list(globals().items()) if getattr(thing, "__module__", None) == __name__ and not isinstance(thing, type)]


def programs():
    return PROGRAMS


def run(source):
    """Runs the function `run` of a program."""
    scope = {"__name__": "program"}
    exec(compile(source, "program.py", "exec"), scope)
    return scope["run"]()


def call(name):
    """Runs the program of that name; `programs` is the list of them."""
    return globals()[name]()
