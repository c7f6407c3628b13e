"""The names that the expressions of `golden_values.json` use."""

from __future__ import annotations

import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from uuid import UUID
from zoneinfo import ZoneInfo

from golden_classes import Access, Colour, Frozen, Level, Pair, Plain, Point, Slotted, TwoPartError


def nested_lists(levels: int) -> list[object]:
    """Lists so many levels deep, an int in the innermost one."""
    value: list[object] = [0]
    for _ in range(levels - 1):
        value = [value]
    return value


def nested_tuples(levels: int) -> tuple[object, ...]:
    """Tuples so many levels deep."""
    value: tuple[object, ...] = ()
    for _ in range(levels - 1):
        value = (value,)
    return value


def nested_dicts(levels: int) -> dict[int, object]:
    """Dicts so many levels deep."""
    value: dict[int, object] = {}
    for _ in range(levels - 1):
        value = {1: value}
    return value


__all__ = [
    "UUID",
    "Access",
    "Colour",
    "Counter",
    "Decimal",
    "Fraction",
    "Frozen",
    "HTTPStatus",
    "Level",
    "OrderedDict",
    "Pair",
    "Plain",
    "Point",
    "PosixPath",
    "PurePosixPath",
    "PureWindowsPath",
    "Slotted",
    "TwoPartError",
    "ZoneInfo",
    "array",
    "date",
    "datetime",
    "defaultdict",
    "deque",
    "nested_dicts",
    "nested_lists",
    "nested_tuples",
    "struct",
    "time",
    "timedelta",
    "timezone",
]
NAMES = {name: globals()[name] for name in __all__}
