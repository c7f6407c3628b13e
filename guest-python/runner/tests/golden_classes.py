"""Classes for the tests of values, as a user's bundle would have them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    tags: frozenset[str] = field(default_factory=frozenset)


class Pair(NamedTuple):
    first: object
    second: object


class Plain:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)

    class Inner:
        """A class within a class."""


class Slotted:
    __slots__ = ("__hidden", "left", "right")

    def __init__(self, left: object, right: object) -> None:
        self.left = left
        self.right = right
        self.__hidden = 1


class TwoPartError(Exception):
    """An error with two arguments."""


class Copied:
    """Says itself how it is copied, so its attributes alone do not make it."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Copied, ())


class OwnDict(dict[str, int]):
    """A subclass of a builtin type."""
