"""Classes for the tests of values, as a user's bundle would have them."""

from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass, field
from typing import ClassVar, NamedTuple


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


class OtherArgumentsError(Exception):
    """Takes other arguments than it hands on."""

    def __init__(self, number: int, text: str) -> None:
        if text != "text":
            raise KeyError(text)
        super().__init__(number)


@dataclass
class Eager:
    """A dataclass that does something when it is made, and would be copied in its own way."""

    made: ClassVar[list[str]] = []

    first: int
    scale: InitVar[int] = 1
    second: int = field(init=False)

    def __post_init__(self, scale: int) -> None:
        self.made.append("made")
        self.second = self.first * scale

    def __getstate__(self) -> object:
        raise AssertionError("is not asked")

    def __setattr__(self, name: str, value: object) -> None:
        self.made.append(name)
        super().__setattr__(name, value)


class Base:
    __slots__ = ("low",)


class Derived(Base):
    __slots__ = ("__dict__", "high")


class OwnDict(dict[str, int]):
    """A subclass of a builtin type."""
