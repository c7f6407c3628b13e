"""Hashes, orders, addresses and limits: each program returns what it computed."""

import json
import random
import re
import sys
import time


def hashes():
    things = [0, 1, -1, 2**61 - 1, 2**61, -(2**80), 1.5, 1e300, float("inf"), 2 + 3j, "", "a", "ä€😀", b"", b"bytes" * 40, (), (1, "a", None), frozenset("abc"), None, True]
    return [hash(thing) for thing in things], hash(object()) % 16, sys.hash_info.hash_bits


def sets_and_dicts():
    words = [f"{k * 2654435761 % 997:x}" for k in range(600)]
    mixed = set(words) | {k * k for k in range(300)} | {(k, str(k)) for k in range(50)}
    taken = [mixed.pop() for _ in range(200)]
    numbers = {k: None for k in range(500, 0, -3)}
    for k in range(0, 500, 2):
        numbers.pop(k, None)
    return [repr(word) for word in set(words)], [repr(one) for one in taken], list(numbers), list(vars(sys.modules[__name__]))[:30]


def addresses():
    made = [object() for _ in range(50)]
    lists = [[k] for k in range(50)]
    return [id(one) for one in made], [id(one) for one in lists], id(hashes), id("a string of its own"), repr(object())


def sorting():
    random.seed(5)
    rows = [(random.randrange(20), random.random(), str(random.getrandbits(20))) for _ in range(2000)]
    words = ["Straße", "strasse", "ÄPFEL", "äpfel", "Zebra", "éclair", "eclair", "10", "9", "😀"]
    return sorted(rows)[:50], sorted(rows, key=lambda row: row[0])[:50], sorted(words), sorted(words, key=str.casefold), max(rows), min(rows)


def randomness():
    random.seed("a seed of text")
    generator = random.Random(2**70)
    numbers = [random.random(), random.gauss(0, 1), random.betavariate(2, 3), random.expovariate(1.5), random.vonmisesvariate(0, 4), random.triangular()]
    picked = random.sample(range(10**6), 40), random.choices("abcdef", [1, 2, 3, 4, 5, 6], k=40)
    deck = list(range(100))
    generator.shuffle(deck)
    return numbers, picked, deck, generator.getrandbits(400), generator.binomialvariate(100, 0.3)


def texts():
    tree = {"name": "Wörter \u2028 \ud83d\ude00", "numbers": [1e16, 1.1, -0.0, 1e-7, 2**70, True, None], "deep": [[[[{}]]]]}
    text = json.dumps([tree] * 20, sort_keys=True)
    pattern = re.compile(r"(?P<word>\w+)(?:\s*[-:]\s*)(?P<number>\d+(?:\.\d+)?)", re.UNICODE)
    found = pattern.findall("alpha - 1.5, beta: 22, gamma-3, Größe : 4" * 30)
    folded = [word.casefold().title().swapcase() for word in ["ΌΣΟΣ", "ǆ", "ﬁn", "İstanbul", "Maße"]]
    return json.loads(text)[3], text, found, folded, re.sub(r"(\w)(\w+)", r"\2\1ay", "the quick brown fox"), "ẞ".encode("utf-16")


def times():
    before = time.monotonic_ns(), time.perf_counter_ns(), time.time_ns()
    time.sleep(1.25)
    after = time.monotonic_ns(), time.perf_counter_ns(), time.time_ns()
    return before, after, time.process_time_ns(), time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(2**31)), time.get_clock_info("time").resolution


def depth(level):
    return level if level <= 0 else depth(level - 1) + 1


def recursion():
    reached = 0

    def deeper():
        nonlocal reached
        reached += 1
        return deeper()

    def through_a_type(level):
        class Deep:
            def __repr__(self):
                return through_a_type(level + 1)

        return repr(Deep())

    out = [sys.getrecursionlimit(), depth(500)]
    for function in (deeper, lambda: through_a_type(0), lambda: json.dumps(nested(100_000)), lambda: re.compile("(" * 5000)):
        try:
            out.append(function())
        except (RecursionError, re.error) as error:
            out.append(f"{type(error).__name__}: {error}")
    return out, reached


def nested(levels):
    outer = inner = []
    for _ in range(levels):
        inner.append([])
        inner = inner[0]
    return outer


def memory():
    held = []
    try:
        while True:
            held.append(bytearray(1 << 20))
    except MemoryError:
        count = len(held)
    held.clear()
    return count, len([None] * 100_000)


def uncaught():
    return {}["a key that is not there"]


PROGRAMS = ["hashes", "sets_and_dicts", "addresses", "sorting", "randomness", "texts", "times", "recursion", "memory", "uncaught"]


def programs():
    return PROGRAMS


def call(name):
    """Runs the program of that name; `programs` is the list of them."""
    return globals()[name]()
