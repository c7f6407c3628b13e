"""How values travel: `encode` and `decode` by docs/values.md, in plain Python.

This is the reference. The C accelerator does the common types and comes back here for the rest.
"""

from __future__ import annotations

from _ppwasm.classes import Classes
from _ppwasm.value_errors import NESTING_MAX, CannotTravel, MalformedValue
from _ppwasm.value_reader import Reader
from _ppwasm.value_writer import Writer

__all__ = ["NESTING_MAX", "CannotTravel", "Classes", "MalformedValue", "decode", "encode"]

_STANDARD_CLASSES = Classes()


def encode(value: object, classes: Classes = _STANDARD_CLASSES, root: str = "result") -> bytes:
    """The bytes of a value. Raises `CannotTravel`, which calls the value `root`."""
    writer = Writer(classes)
    try:
        writer.value(value, 0)
    except CannotTravel as refusal:
        raise CannotTravel(refusal.explained(root)) from None
    return bytes(writer.out)


def decode(data: bytes, classes: Classes = _STANDARD_CLASSES) -> object:
    """The value of these bytes. Raises `MalformedValue`, which names an offset."""
    reader = Reader(data, classes)
    value = reader.value(0)
    if reader.position != len(data):
        raise MalformedValue("bytes left over", reader.position)
    return value
