"""Classes as a user's file has them."""

import enum
import sys
from collections import namedtuple
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Point:
    x: int
    y: object = None
    tags: list = field(default_factory=list)


@dataclass
class Child(Point):
    z: int = 5


class Colour(enum.Enum):
    RED = 1
    DEEP = ("a", 2)


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Pair(NamedTuple):
    left: object
    right: object


Triple = namedtuple("Triple", "a b c")


class Plain:
    def __init__(self, x):
        self.x = x
        self.self_made = {"deep": [x]}

    class Inner:
        pass


class Slots:
    __slots__ = ("a", "b")


class Strict(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)


def make():
    inner = Plain.Inner()
    inner.name = "ü"
    slots = Slots()
    slots.a = 1.5
    return [
        Point(1, Point(-0.0), ["t"]),
        Child(1, 2, [], 9),
        Colour.RED,
        Colour.DEEP,
        Flags.A | Flags.B,
        Pair(Colour.RED, (1,)),
        Triple(1, [2], {3: 4}),
        Plain(10**50),
        inner,
        slots,
        Strict(3, "text"),
        {Pair(1, 2): {Colour.RED}},
    ]


def check(values):
    point, child, red, deep, flags, pair, triple, plain, inner, slots, error, keyed = values
    assert point == Point(1, Point(-0.0), ["t"]) and type(point) is Point and str(point.y.x) == "-0.0"
    assert child == Child(1, 2, [], 9) and type(child) is Child
    assert red is Colour.RED and deep is Colour.DEEP
    assert flags == Flags.A | Flags.B and type(flags) is Flags
    assert pair.left is Colour.RED and type(pair) is Pair and type(pair.right) is tuple
    assert triple._asdict() == {"a": 1, "b": [2], "c": {3: 4}}
    assert type(plain) is Plain and plain.x == 10**50 and plain.self_made == {"deep": [10**50]}
    assert type(inner) is Plain.Inner and inner.name == "ü"
    assert slots.a == 1.5 and not hasattr(slots, "b")
    assert type(error) is Strict and error.args == (3, "text")
    assert keyed[Pair(1, 2)] == {Colour.RED}
    return values


def cannot(kind):
    match kind:
        case "function":
            return [lambda: None]
        case "open file":
            return {"a": [1, sys.stdout]}
        case "contains itself":
            value = []
            value.append(value)
            return value
        case "too deep":
            value = []
            for _ in range(500):
                value = [value]
            return value
        case "foreign class":
            import argparse

            return argparse.ArgumentParser()
