"""Bytes to values (docs/values.md). Takes nothing but what the writer gives, and names the first fault's offset."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Container
from typing import Any

from _ppwasm.classes import Classes, restore
from _ppwasm.value_errors import NESTING_MAX, MalformedValue
from _ppwasm.value_writer import (
    ARRAY_TAGS,
    Writer,
    field_names,
    is_builtin_type,
    is_plain_zone,
    method_for,
    zone_parts,
)

_unpack_double = struct.Struct(">d").unpack_from

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)

_BREAK = 31


class Reader:
    """Reads one value after the other from `data`, from `position` on."""

    def __init__(self, data: bytes, classes: Classes) -> None:
        self.data = data
        self.classes = classes
        self.position = 0

    def value(self, depth: int) -> object:
        """Reads one value; `depth` arrays and maps are open around it."""
        start = self.position
        major, argument = self.head()
        if major == _UNSIGNED:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _BYTES:
            return self.raw(argument, start)
        if major == _TEXT:
            return self.text(argument, start)
        if major == _ARRAY:
            self.enter(argument, 1, depth, start)
            return [self.value(depth + 1) for _ in range(argument)]
        if major == _MAP:
            return self.mapping(argument, depth, start)
        if major == _TAG:
            read = BY_TAG.get(argument)
            if read is None:
                raise MalformedValue(f"unknown tag {argument}", start)
            return read(self, depth, start)
        return self.simple(argument, start)

    def head(self) -> tuple[int, int]:
        """Reads a head: major type and argument; for a float or a simple value the head's low bits."""
        start = self.position
        if start >= len(self.data):
            raise MalformedValue("the bytes end where a value has to begin", start)
        initial = self.data[start]
        major, low = initial >> 5, initial & 31
        self.position = start + 1
        if low < 24 or major == _SIMPLE:
            return major, low
        if low == _BREAK:
            raise MalformedValue("indefinite length", start)
        if low > 27:
            raise MalformedValue("reserved head", start)
        size = 1 << (low - 24)
        argument = int.from_bytes(self.raw(size, start))
        if argument < (24, 1 << 8, 1 << 16, 1 << 32)[low - 24]:
            raise MalformedValue("head is not the shortest", start)
        return major, argument

    def raw(self, length: int, start: int) -> bytes:
        """Reads so many bytes of the item that begins at `start`."""
        end = self.position + length
        if end > len(self.data):
            raise MalformedValue("the bytes end within an item", start)
        raw = self.data[self.position : end]
        self.position = end
        return raw

    def text(self, length: int, start: int) -> str:
        try:
            return self.raw(length, start).decode()
        except UnicodeDecodeError:
            raise MalformedValue("invalid UTF-8", start) from None

    def simple(self, low: int, start: int) -> object:
        if low == 27:
            return _unpack_double(self.raw(8, start))[0]
        try:
            return {20: False, 21: True, 22: None}[low]
        except KeyError:
            raise MalformedValue("a simple value or float width that no value has", start) from None

    def enter(self, length: int, unit: int, depth: int, start: int) -> None:
        """Checks that an array's or map's contents, of at least `unit` bytes each, can be there."""
        if depth >= NESTING_MAX:
            raise MalformedValue(f"nested more than {NESTING_MAX} levels deep", start)
        if length * unit > len(self.data) - self.position:
            raise MalformedValue("the bytes end within an item", start)

    def mapping(self, length: int, depth: int, start: int) -> dict[object, object]:
        self.enter(length, 2, depth, start)
        result: dict[object, object] = {}
        seen: set[bytes] = set()
        for _ in range(length):
            key_start = self.position
            key = self.value(depth + 1)
            self.check_distinct(key, result, seen, key_start)
            result[key] = self.value(depth + 1)
        return result

    def elements(self, depth: int, start: int) -> set[object]:
        """Reads a set's elements, in the order of their bytes."""
        length = self.expect(_ARRAY, start)
        self.enter(length, 1, depth, start)
        result: set[object] = set()
        seen: set[bytes] = set()
        before = b""
        for _ in range(length):
            element_start = self.position
            element = self.value(depth + 1)
            self.check_distinct(element, result, seen, element_start)
            encoded = self.data[element_start : self.position]
            if encoded < before:
                raise MalformedValue("set elements out of order", element_start)
            before = encoded
            result.add(element)
        return result

    def check_distinct(self, key: object, known: Container[object], seen: set[bytes], start: int) -> None:
        """Checks that the key or element that was just read equals no other, neither in value nor in bytes."""
        encoded = self.data[start : self.position]
        try:
            is_known = key in known or encoded in seen
        except TypeError:
            raise MalformedValue(f"a key that is not hashable ({type(key).__name__})", start) from None
        if is_known:
            raise MalformedValue("duplicate key", start)
        seen.add(encoded)

    # Contents of tags

    def expect(self, major: int, start: int) -> int:
        """Reads the head of a tag's content, which has to be of this major type; its argument."""
        if self.position < len(self.data) and self.data[self.position] >> 5 != major:
            raise MalformedValue("wrong content of a tag", start)
        return self.head()[1]

    def content_bytes(self, start: int) -> bytes:
        return self.raw(self.expect(_BYTES, start), start)

    def content_text(self, start: int) -> str:
        return self.text(self.expect(_TEXT, start), start)

    def content_items(self, length: int | None, depth: int, start: int) -> list[Any]:
        """Reads an array of `length` items, of any number of them for None."""
        count = self.expect(_ARRAY, start)
        if length is not None and count != length:
            raise MalformedValue("wrong content of a tag", start)
        self.enter(count, 1, depth, start)
        return [self.value(depth + 1) for _ in range(count)]

    def content_parts(self, types: tuple[object, ...], depth: int, start: int) -> list[Any]:
        """Reads an array of items of exactly these types, one after the other."""
        parts = self.content_items(len(types), depth, start)
        for part, expected in zip(parts, types, strict=True):
            if expected is not object and type(part) is not expected:
                raise MalformedValue("wrong content of a tag", start)
        return parts

    def check(self, is_right: bool, start: int) -> None:
        if not is_right:
            raise MalformedValue("wrong content of a tag", start)

    # One method per tag of docs/values.md

    def read_bignum(self, _depth: int, start: int) -> int:
        raw = self.content_bytes(start)
        self.check(len(raw) > 8 and raw[0] != 0, start)
        return int.from_bytes(raw)

    def read_negative_bignum(self, depth: int, start: int) -> int:
        return -1 - self.read_bignum(depth, start)

    def read_surrogates(self, _depth: int, start: int) -> str:
        raw = self.content_bytes(start)
        try:
            text = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise MalformedValue("invalid UTF-8", start) from None
        self.check(any("\ud800" <= character <= "\udfff" for character in text), start)
        return text

    def read_bytearray(self, _depth: int, start: int) -> bytearray:
        return bytearray(self.content_bytes(start))

    def read_tuple(self, depth: int, start: int) -> tuple[object, ...]:
        return tuple(self.content_items(None, depth, start))

    def read_frozenset(self, depth: int, start: int) -> frozenset[object]:
        return frozenset(self.elements(depth, start))

    def read_complex(self, depth: int, start: int) -> complex:
        real, imag = self.content_parts((float, float), depth, start)
        return complex(real, imag)

    def read_decimal(self, depth: int, start: int) -> object:
        from decimal import Decimal, InvalidOperation

        exponent, mantissa = self.content_parts((int, int), depth, start)
        try:
            digits = Decimal(mantissa).as_tuple().digits
            return Decimal((mantissa < 0, digits, exponent))
        except (InvalidOperation, OverflowError, ValueError):
            raise MalformedValue("a decimal number that Python's decimal cannot hold", start) from None

    def read_special_decimal(self, _depth: int, start: int) -> object:
        from decimal import Decimal, InvalidOperation

        text = self.content_text(start)
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise MalformedValue("wrong content of a tag", start) from None
        is_special = not value.is_finite() or (value.is_zero() and value.is_signed())
        self.check(is_special and str(value) == text, start)
        return value

    def read_fraction(self, depth: int, start: int) -> object:
        from fractions import Fraction

        numerator, denominator = self.content_parts((int, int), depth, start)
        self.check(denominator > 0, start)
        value = Fraction(numerator, denominator)
        self.check(value.denominator == denominator, start)
        return value

    def iso(self, cls: Any, text: object, start: int) -> Any:
        """A date or time from its `isoformat()`."""
        self.check(type(text) is str, start)
        try:
            value = cls.fromisoformat(text)
        except ValueError:
            raise MalformedValue("wrong content of a tag", start) from None
        self.check(value.isoformat() == text, start)
        return value

    def read_datetime(self, _depth: int, start: int) -> object:
        from datetime import datetime

        value = self.iso(datetime, self.content_text(start), start)
        self.check(is_plain_zone(value.tzinfo), start)
        return value

    def read_datetime_parts(self, depth: int, start: int) -> object:
        from datetime import datetime

        value = self.clock(datetime, depth, start)
        self.check(value.fold or not is_plain_zone(value.tzinfo), start)
        return value

    def read_time(self, depth: int, start: int) -> object:
        from datetime import time

        return self.clock(time, depth, start)

    def clock(self, cls: Any, depth: int, start: int) -> Any:
        from datetime import timezone

        text, fold, zone = self.content_items(3, depth, start)
        value = self.iso(cls, text, start)
        zoneinfo = sys.modules.get("zoneinfo")
        zones = (type(None), timezone, zoneinfo and zoneinfo.ZoneInfo)
        self.check(type(fold) is int and fold in (0, 1) and type(zone) in zones, start)
        self.check(value.tzinfo is None, start)
        return value.replace(fold=fold, tzinfo=zone)

    def read_date(self, _depth: int, start: int) -> object:
        from datetime import date

        return self.iso(date, self.content_text(start), start)

    def read_timedelta(self, depth: int, start: int) -> object:
        from datetime import timedelta

        days, seconds, microseconds = self.content_parts((int, int, int), depth, start)
        try:
            value = timedelta(days, seconds, microseconds)
        except OverflowError:
            raise MalformedValue("wrong content of a tag", start) from None
        self.check((value.days, value.seconds, value.microseconds) == (days, seconds, microseconds), start)
        return value

    def read_timezone(self, depth: int, start: int) -> object:
        from datetime import timedelta, timezone

        offset, name = self.content_parts((int, object), depth, start)
        self.check(name is None or type(name) is str, start)
        try:
            delta = timedelta(microseconds=offset)
            value = timezone(delta) if name is None else timezone(delta, name)
        except (OverflowError, ValueError):
            raise MalformedValue("wrong content of a tag", start) from None
        self.check(zone_parts(value) == (offset, name), start)
        return value

    def read_zone_info(self, _depth: int, start: int) -> object:
        from zoneinfo import ZoneInfo

        key = self.content_text(start)
        try:
            return ZoneInfo(key)
        except (OSError, ValueError, KeyError):
            raise MalformedValue(f"no time zone {key!r} here", start) from None

    def read_uuid(self, _depth: int, start: int) -> object:
        from uuid import UUID

        raw = self.content_bytes(start)
        self.check(len(raw) == 16, start)
        return UUID(bytes=raw)

    def read_range(self, depth: int, start: int) -> range:
        first, stop, step = self.content_parts((int, int, int), depth, start)
        self.check(step != 0, start)
        return range(first, stop, step)

    def read_slice(self, depth: int, start: int) -> slice:
        return slice(*self.content_items(3, depth, start))

    def read_ellipsis(self, _depth: int, start: int) -> object:
        self.check(self.data[self.position : self.position + 1] == b"\xf6", start)
        self.position += 1
        return ...

    def read_path(self, depth: int, start: int) -> object:
        import pathlib

        name, text = self.content_parts((str, str), depth, start)
        self.check(name in ("PurePosixPath", "PosixPath", "PureWindowsPath", "WindowsPath"), start)
        try:
            value = getattr(pathlib, name)(text)
        except NotImplementedError:
            raise MalformedValue(f"no {name} on this system", start) from None
        self.check(str(value) == text, start)
        return value

    def read_array(self, code: str, raw: bytes, start: int) -> Any:
        """An `array.array` from its little-endian bytes."""
        from array import array

        value: array[Any] = array(code)
        self.check(len(raw) % value.itemsize == 0, start)
        value.frombytes(raw)
        if sys.byteorder == "big":
            value.byteswap()
        return value

    def read_other_array(self, depth: int, start: int) -> object:
        from array import array

        code, size, raw = self.content_parts((str, int, bytes), depth, start)
        self.check(code in ("l", "L", "u", "w"), start)
        if size == array(code).itemsize:
            value = self.read_array(code, raw, start)
        else:
            # C's `long` has another size where the array was made.
            same_size = {("l", 4): "i", ("l", 8): "q", ("L", 4): "I", ("L", 8): "Q"}.get((code, size))
            self.check(same_size is not None, start)
            try:
                value = array(code, self.read_array(same_size or code, raw, start))
            except OverflowError:
                raise MalformedValue(f"a number too large for array({code!r}) here", start) from None
        if code in ("u", "w"):
            try:
                value.tounicode()
            except ValueError:
                raise MalformedValue("wrong content of a tag", start) from None
        return value

    def read_collection(self, depth: int, start: int) -> object:
        import builtins
        import collections

        name, extra, contents = self.content_items(3, depth, start)
        if name == "deque":
            self.check(type(contents) is list and (extra is None or type(extra) is int), start)
            self.check(extra is None or len(contents) <= extra <= sys.maxsize, start)
            return collections.deque(contents, extra)
        self.check(type(contents) is dict, start)
        if name == "defaultdict":
            self.check(extra is None or type(extra) is str, start)
            factory = None if extra is None else getattr(builtins, extra, None)
            self.check(extra is None or is_builtin_type(factory), start)
            return collections.defaultdict(factory, contents)
        self.check(extra is None, start)
        if name == "OrderedDict":
            return collections.OrderedDict(contents)
        self.check(name == "Counter", start)
        counter: collections.Counter[object] = collections.Counter()
        counter.update(contents)
        return counter

    # Instances of classes that are named by module and qualified name

    def instance_parts(self, content: type, depth: int, start: int) -> tuple[type, Any]:
        """Reads `[module, qualified name, content]`."""
        module, qualname, parts = self.content_parts((str, str, content), depth, start)
        cls = self.classes.find(module, qualname)
        if cls is None:
            raise MalformedValue(f"no class {module}.{qualname} here", start)
        return cls, parts

    def read_enum_member(self, depth: int, start: int) -> object:
        cls, value = self.instance_parts(object, depth, start)
        self.check(method_for(cls) is Writer.write_enum_member, start)
        make: Any = cls
        try:
            member: Any = make(value)
        except (ValueError, KeyError, TypeError):
            raise MalformedValue(f"no such member of {cls.__qualname__}", start) from None
        inner: Any = member._value_
        self.check(type(member) is cls and type(inner) is type(value) and inner == value, start)
        return member

    def read_data_class(self, depth: int, start: int) -> object:
        cls, state = self.instance_parts(dict, depth, start)
        self.check(method_for(cls) is Writer.write_data_class, start)
        for name in field_names(cls):
            if name not in state and cls.__dataclass_fields__[name].init:  # type: ignore[attr-defined]
                raise MalformedValue(f"no field {name!r} for {cls.__qualname__}", start)
        return self.restored(cls, state, start)

    def read_instance(self, depth: int, start: int) -> object:
        cls, state = self.instance_parts(dict, depth, start)
        self.check(method_for(cls) is Writer.write_instance and self.classes.copies_plainly(cls) is None, start)
        return self.restored(cls, state, start)

    def restored(self, cls: type, state: dict[Any, object], start: int) -> object:
        self.check(all(type(name) is str for name in state), start)
        try:
            return restore(cls, state)
        except (TypeError, AttributeError) as error:
            raise MalformedValue(f"no {cls.__qualname__} with this content ({error})", start) from None

    def read_named_tuple(self, depth: int, start: int) -> object:
        cls, items = self.instance_parts(list, depth, start)
        self.check(method_for(cls) is Writer.write_named_tuple and len(cls._fields) == len(items), start)  # type: ignore[attr-defined]
        return tuple.__new__(cls, items)

    def read_exception(self, depth: int, start: int) -> object:
        cls, args = self.instance_parts(list, depth, start)
        self.check(method_for(cls) is Writer.write_exception, start)
        try:
            return cls(*args)
        except Exception as error:
            raise MalformedValue(f"no {cls.__qualname__} with these arguments ({error})", start) from None


def _typed_array(code: str) -> Callable[[Reader, int, int], object]:
    return lambda reader, _depth, start: reader.read_array(code, reader.content_bytes(start), start)


BY_TAG: dict[int, Callable[[Reader, int, int], object]] = {
    0: Reader.read_datetime,
    2: Reader.read_bignum,
    3: Reader.read_negative_bignum,
    4: Reader.read_decimal,
    30: Reader.read_fraction,
    37: Reader.read_uuid,
    258: Reader.elements,
    1004: Reader.read_date,
    43000: Reader.read_complex,
    60001: Reader.read_surrogates,
    60002: Reader.read_bytearray,
    60003: Reader.read_tuple,
    60004: Reader.read_frozenset,
    60005: Reader.read_special_decimal,
    60006: Reader.read_datetime_parts,
    60007: Reader.read_time,
    60008: Reader.read_timedelta,
    60009: Reader.read_timezone,
    60010: Reader.read_zone_info,
    60011: Reader.read_range,
    60012: Reader.read_slice,
    60013: Reader.read_ellipsis,
    60014: Reader.read_path,
    60015: Reader.read_other_array,
    60016: Reader.read_enum_member,
    60017: Reader.read_data_class,
    60018: Reader.read_named_tuple,
    60019: Reader.read_instance,
    60020: Reader.read_collection,
    60021: Reader.read_exception,
} | {tag: _typed_array(code) for code, tag in ARRAY_TAGS.items()}
