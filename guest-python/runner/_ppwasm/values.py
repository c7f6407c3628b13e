"""How values travel (docs/values.md): `encode` and `decode`.

There are two implementations of the same bytes and errors. `reference_encode` and `reference_decode` are plain Python
and do everything; `encode` and `decode` use the guest's C module for the types that most values are made of, where it
is there, and come back to the reference for the rest.
"""

from __future__ import annotations

from _ppwasm.classes import Classes
from _ppwasm.value_errors import NESTING_MAX, CannotTravel, MalformedValue
from _ppwasm.value_reader import BY_TAG, Reader
from _ppwasm.value_writer import BY_TYPE, Writer, method_for, step_to_key

try:
    import _ppwasm_values as _c
except ImportError:
    IS_ACCELERATED = False
else:
    IS_ACCELERATED = True

__all__ = [
    "IS_ACCELERATED",
    "NESTING_MAX",
    "CannotTravel",
    "Classes",
    "MalformedValue",
    "decode",
    "encode",
    "reference_decode",
    "reference_encode",
]

_STANDARD_CLASSES = Classes()


def reference_encode(
    value: object, classes: Classes = _STANDARD_CLASSES, root: str = "result", prefix: bytes = b""
) -> bytes:
    """The prefix and the bytes of a value. Raises `CannotTravel`, which calls the value `root`."""
    writer = Writer(classes)
    writer.out += prefix
    try:
        writer.value(value, 0)
    except CannotTravel as refusal:
        raise CannotTravel(refusal.explained(root)) from None
    return bytes(writer.out)


def reference_decode(data: bytes, classes: Classes = _STANDARD_CLASSES, depth: int = 0) -> object:
    """The value of these bytes. Raises `MalformedValue`, which names an offset.

    `depth` is below 0 for a message, whose own arrays and maps are around the values that it holds.
    """
    reader = Reader(data, classes)
    value = reader.value(depth)
    if reader.position != len(data):
        raise MalformedValue("bytes left over", reader.position)
    return value


if not IS_ACCELERATED:
    encode = reference_encode
    decode = reference_decode
else:

    class _Writer(Writer):
        """Writes what C does not, and has C write what is in it."""

        def value(self, value: object, depth: int) -> None:
            self.out += _c.encode(value, self.classes, depth, b"")

    class _Reader(Reader):
        """Reads what C does not, and has C read what is in it."""

        def value(self, depth: int) -> object:
            value, self.position = _c.decode_at(self.data, self.classes, depth, self.position)
            return value

    def _write_other(value: object, classes: Classes, depth: int) -> bytes:
        writer = _Writer(classes)
        write = BY_TYPE.get(type(value)) or method_for(type(value))
        write(writer, value, depth)
        return bytes(writer.out)

    def _read_tag(data: bytes, classes: Classes, tag: int, start: int, position: int, depth: int) -> tuple[object, int]:
        read = BY_TAG.get(tag)
        if read is None:
            raise MalformedValue(f"unknown tag {tag}", start)
        reader = _Reader(data, classes)
        reader.position = position
        return read(reader, depth, start), reader.position

    _c.set_up(_write_other, _read_tag, step_to_key, CannotTravel, MalformedValue)

    def encode(value: object, classes: Classes = _STANDARD_CLASSES, root: str = "result", prefix: bytes = b"") -> bytes:
        try:
            return _c.encode(value, classes, 0, prefix)
        except CannotTravel as refusal:
            raise CannotTravel(refusal.explained(root)) from None

    def decode(data: bytes, classes: Classes = _STANDARD_CLASSES, depth: int = 0) -> object:
        return _c.decode(data, classes, depth)
