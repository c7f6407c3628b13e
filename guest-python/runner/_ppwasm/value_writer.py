"""Values to bytes (docs/values.md). The reference: the C accelerator has to give the same bytes."""

from __future__ import annotations

import array
import enum
import itertools
import struct
import sys
import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from _ppwasm.classes import Classes, attributes, has_plain_layout
from _ppwasm.value_errors import NESTED_TOO_DEEP, NESTING_MAX, CannotTravel

if TYPE_CHECKING:
    import collections
    import datetime
    import decimal
    import fractions
    import pathlib
    import uuid
    import zoneinfo

ARRAY_TAGS = {"B": 64, "H": 69, "I": 70, "Q": 71, "b": 72, "h": 77, "i": 78, "q": 79, "f": 85, "d": 86}
"""RFC 8746's little-endian typed arrays, by the type code of `array.array`."""

_pack_double = struct.Struct(">d").pack


class Writer:
    """Appends encoded values to `out`."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.out = bytearray()

    def value(self, value: object, depth: int) -> None:
        """Appends one value; `depth` arrays and maps are open around it."""
        write = BY_TYPE.get(type(value))
        if write is None:
            write = method_for(type(value))
        write(self, value, depth)

    # The building blocks

    def head(self, major: int, argument: int) -> None:
        """Appends the shortest head."""
        major <<= 5
        if argument < 24:
            self.out.append(major | argument)
        elif argument < 1 << 8:
            self.out += bytes((major | 24, argument))
        elif argument < 1 << 16:
            self.out.append(major | 25)
            self.out += argument.to_bytes(2)
        elif argument < 1 << 32:
            self.out.append(major | 26)
            self.out += argument.to_bytes(4)
        else:
            self.out.append(major | 27)
            self.out += argument.to_bytes(8)

    def open(self, major: int, length: int, depth: int) -> None:
        """Appends the head of an array (4) or a map (5)."""
        if depth >= NESTING_MAX:
            raise CannotTravel(NESTED_TOO_DEEP)
        self.head(major, length)

    def byte_string(self, data: bytes | bytearray) -> None:
        self.head(2, len(data))
        self.out += data

    def items(self, items: Iterable[object], length: int, depth: int, container: object) -> None:
        """An array of the items, which are reached by index."""
        self.open(4, length, depth)
        index = -1
        try:
            for index, item in enumerate(items):  # noqa: B007
                self.value(item, depth + 1)
        except CannotTravel as refusal:
            refusal.passed(f"[{index}]", container)
            raise

    def parts(self, parts: dict[str, object], depth: int, container: object) -> None:
        """An array of the parts, each reached by an attribute."""
        self.open(4, len(parts), depth)
        name = ""
        try:
            for name, part in parts.items():  # noqa: B007
                self.value(part, depth + 1)
        except CannotTravel as refusal:
            refusal.passed(f".{name}", container)
            raise

    def mapping(self, pairs: dict[Any, object], depth: int, container: object, step: Callable[[object], str]) -> None:
        """A map; `step` names the way to the value of a key."""
        self.open(5, len(pairs), depth)
        seen: set[bytes] | None = None
        where = ""
        key: object = None
        try:
            for key, item in pairs.items():
                where = "a key of "
                start = len(self.out)
                self.value(key, depth + 1)
                if type(key) not in _KEYS_UNEQUAL_IN_BYTES:
                    # Two keys that Python tells apart by identity only would arrive as the same bytes.
                    seen = seen if seen is not None else set()
                    encoded = bytes(self.out[start:])
                    if encoded in seen:
                        raise CannotTravel("has the same encoding as another one")
                    seen.add(encoded)
                where = ""
                self.value(item, depth + 1)
        except CannotTravel as refusal:
            refusal.passed(where or step(key), container)
            raise

    def elements(self, elements: Iterable[object], length: int, depth: int, container: object) -> None:
        """An array of a set's elements in the order of their bytes."""
        self.open(4, length, depth)
        start = len(self.out)
        encoded = []
        try:
            for element in elements:
                self.value(element, depth + 1)
                encoded.append(bytes(self.out[start:]))
                del self.out[start:]
        except CannotTravel as refusal:
            refusal.passed("an element of ", container)
            raise
        encoded.sort()
        for one, next_one in itertools.pairwise(encoded):
            if one == next_one:
                raise CannotTravel("has two elements with the same encoding")
        self.out += b"".join(encoded)

    # One method per row of docs/values.md

    def write_none(self, _value: None, _depth: int) -> None:
        self.out.append(0xF6)

    def write_bool(self, value: bool, _depth: int) -> None:
        self.out.append(0xF5 if value else 0xF4)

    def write_int(self, value: int, _depth: int) -> None:
        major = 0
        argument = value
        if value < 0:
            major = 1
            argument = -1 - value
        if argument < 1 << 64:
            self.head(major, argument)
        else:
            self.head(6, 2 + major)
            self.byte_string(argument.to_bytes((argument.bit_length() + 7) // 8))

    def write_float(self, value: float, _depth: int) -> None:
        self.out.append(0xFB)
        self.out += _pack_double(value)

    def write_str(self, value: str, _depth: int) -> None:
        try:
            data = value.encode()
        except UnicodeEncodeError:
            self.head(6, 60001)
            self.byte_string(value.encode("utf-8", "surrogatepass"))
            return
        self.head(3, len(data))
        self.out += data

    def write_bytes(self, value: bytes, _depth: int) -> None:
        self.byte_string(value)

    def write_bytearray(self, value: bytearray, _depth: int) -> None:
        self.head(6, 60002)
        self.byte_string(value)

    def write_list(self, value: list[object], depth: int) -> None:
        self.items(value, len(value), depth, value)

    def write_tuple(self, value: tuple[object, ...], depth: int) -> None:
        self.head(6, 60003)
        self.items(value, len(value), depth, value)

    def write_dict(self, value: dict[Any, object], depth: int) -> None:
        self.mapping(value, depth, value, step_to_key)

    def write_set(self, value: set[object], depth: int) -> None:
        self.head(6, 258)
        self.elements(value, len(value), depth, value)

    def write_frozenset(self, value: frozenset[object], depth: int) -> None:
        self.head(6, 60004)
        self.elements(value, len(value), depth, value)

    def write_complex(self, value: complex, depth: int) -> None:
        self.head(6, 43000)
        self.parts({"real": value.real, "imag": value.imag}, depth, value)

    def write_decimal(self, value: decimal.Decimal, depth: int) -> None:
        sign, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int) or (sign and not any(digits)):
            self.head(6, 60005)
            self.write_str(str(value), depth)
            return
        # Through Decimal: text of more than 4300 digits would be refused on its way to int.
        mantissa = int(type(value)((sign, digits, 0)))
        self.head(6, 4)
        self.parts({"exponent": exponent, "mantissa": mantissa}, depth, value)

    def write_fraction(self, value: fractions.Fraction, depth: int) -> None:
        self.head(6, 30)
        self.parts({"numerator": value.numerator, "denominator": value.denominator}, depth, value)

    def write_datetime(self, value: datetime.datetime, depth: int) -> None:
        if is_plain_zone(value.tzinfo) and not value.fold:
            self.head(6, 0)
            self.write_str(value.isoformat(), depth)
        else:
            self.head(6, 60006)
            self.clock(value, depth)

    def write_time(self, value: datetime.time, depth: int) -> None:
        self.head(6, 60007)
        self.clock(value, depth)

    def clock(self, value: datetime.datetime | datetime.time, depth: int) -> None:
        zone = value.tzinfo
        if zone is not None and method_for(type(zone)) not in (Writer.write_timezone, Writer.write_zone_info):
            refusal = CannotTravel("is neither a datetime.timezone nor a zoneinfo.ZoneInfo")
            refusal.passed(".tzinfo", value)
            raise refusal
        text = value.replace(tzinfo=None).isoformat()
        self.parts({"isoformat()": text, "fold": value.fold, "tzinfo": zone}, depth, value)

    def write_date(self, value: datetime.date, depth: int) -> None:
        self.head(6, 1004)
        self.write_str(value.isoformat(), depth)

    def write_timedelta(self, value: datetime.timedelta, depth: int) -> None:
        self.head(6, 60008)
        parts: dict[str, object] = {name: getattr(value, name) for name in ("days", "seconds", "microseconds")}
        self.parts(parts, depth, value)

    def write_timezone(self, value: datetime.timezone, depth: int) -> None:
        offset, name = zone_parts(value)
        self.head(6, 60009)
        self.parts({"offset": offset, "name": name}, depth, value)

    def write_zone_info(self, value: zoneinfo.ZoneInfo, depth: int) -> None:
        if value.key is None:
            raise CannotTravel("is a time zone without a key")
        self.head(6, 60010)
        self.write_str(value.key, depth)

    def write_uuid(self, value: uuid.UUID, _depth: int) -> None:
        self.head(6, 37)
        self.byte_string(value.bytes)

    def write_range(self, value: range, depth: int) -> None:
        self.head(6, 60011)
        self.parts({"start": value.start, "stop": value.stop, "step": value.step}, depth, value)

    def write_slice(self, value: slice, depth: int) -> None:
        self.head(6, 60012)
        self.parts({"start": value.start, "stop": value.stop, "step": value.step}, depth, value)

    def write_ellipsis(self, _value: types.EllipsisType, depth: int) -> None:
        self.head(6, 60013)
        self.write_none(None, depth)

    def write_path(self, value: pathlib.PurePath, depth: int) -> None:
        self.head(6, 60014)
        self.items((type(value).__name__, str(value)), 2, depth, value)

    def write_array(self, value: array.array[Any], depth: int) -> None:
        if sys.byteorder == "big":
            value = value[:]
            value.byteswap()
        tag = ARRAY_TAGS.get(value.typecode)
        if tag is not None:
            self.head(6, tag)
            self.byte_string(value.tobytes())
        else:
            self.head(6, 60015)
            self.items((value.typecode, value.itemsize, value.tobytes()), 3, depth, value)

    def write_ordered_dict(self, value: collections.OrderedDict[Any, object], depth: int) -> None:
        self.collection("OrderedDict", None, value, depth)

    def write_counter(self, value: Any, depth: int) -> None:
        self.collection("Counter", None, value, depth)

    def write_default_dict(self, value: collections.defaultdict[Any, object], depth: int) -> None:
        factory = value.default_factory
        if factory is not None and not is_builtin_type(factory):
            refusal = CannotTravel("is not a builtin type, the only factory that can travel")
            refusal.passed(".default_factory", value)
            raise refusal
        self.collection("defaultdict", factory and factory.__name__, value, depth)

    def write_deque(self, value: collections.deque[object], depth: int) -> None:
        self.head(6, 60020)
        self.open(4, 3, depth)
        self.write_str("deque", depth)
        self.value(value.maxlen, depth)
        self.items(value, len(value), depth + 1, value)

    def collection(self, name: str, extra: object, value: dict[Any, object], depth: int) -> None:
        self.head(6, 60020)
        self.open(4, 3, depth)
        self.write_str(name, depth)
        self.value(extra, depth)
        self.mapping(value, depth + 1, value, step_to_key)

    # Instances of classes that are named by module and qualified name

    def class_name(self, tag: int, value: object, depth: int) -> None:
        """The tag, the head of its array and the two names."""
        cls = type(value)
        reason = self.classes.why_not(cls)
        if reason is not None:
            raise CannotTravel(f"{described(value)}: {reason}")
        self.head(6, tag)
        self.open(4, 3, depth)
        self.write_str(cls.__module__, depth)
        self.write_str(cls.__qualname__, depth)

    def write_enum_member(self, value: enum.Enum, depth: int) -> None:
        self.class_name(60016, value, depth)
        try:
            self.value(value._value_, depth + 1)
        except CannotTravel as refusal:
            refusal.passed(".value", value)
            raise

    def write_data_class(self, value: object, depth: int) -> None:
        self.class_name(60017, value, depth)
        state = attributes(value)
        fields = {name: state.pop(name) for name in field_names(type(value)) if name in state}
        self.mapping(fields | state, depth + 1, value, _step_to_attribute)

    def write_named_tuple(self, value: tuple[object, ...], depth: int) -> None:
        if getattr(value, "__dict__", None):
            raise CannotTravel("is a named tuple with attributes besides its fields")
        self.class_name(60018, value, depth)
        self.items(value, len(value), depth + 1, value)

    def write_instance(self, value: object, depth: int) -> None:
        reason = self.classes.copies_plainly(type(value))
        if reason is not None:
            raise CannotTravel(f"{described(value)}{reason}")
        self.class_name(60019, value, depth)
        self.mapping(attributes(value), depth + 1, value, _step_to_attribute)

    def write_exception(self, value: BaseException, depth: int) -> None:
        self.class_name(60021, value, depth)
        args = value.args
        try:
            self.items(args, len(args), depth + 1, args)
        except CannotTravel as refusal:
            refusal.passed(".args", value)
            raise

    def write_refused(self, value: object, _depth: int) -> None:
        raise CannotTravel(described(value))


type _Write = Callable[[Writer, Any, int], None]

BY_TYPE: dict[type, _Write] = {
    type(None): Writer.write_none,
    bool: Writer.write_bool,
    int: Writer.write_int,
    float: Writer.write_float,
    str: Writer.write_str,
    bytes: Writer.write_bytes,
    bytearray: Writer.write_bytearray,
    list: Writer.write_list,
    tuple: Writer.write_tuple,
    dict: Writer.write_dict,
    set: Writer.write_set,
    frozenset: Writer.write_frozenset,
    complex: Writer.write_complex,
    range: Writer.write_range,
    slice: Writer.write_slice,
    types.EllipsisType: Writer.write_ellipsis,
}

# By name, so that a value of a module costs nothing before the program has imported it.
_BY_NAME: dict[tuple[str, str], _Write] = {
    ("decimal", "Decimal"): Writer.write_decimal,
    ("fractions", "Fraction"): Writer.write_fraction,
    ("datetime", "datetime"): Writer.write_datetime,
    ("datetime", "date"): Writer.write_date,
    ("datetime", "time"): Writer.write_time,
    ("datetime", "timedelta"): Writer.write_timedelta,
    ("datetime", "timezone"): Writer.write_timezone,
    ("zoneinfo", "ZoneInfo"): Writer.write_zone_info,
    ("uuid", "UUID"): Writer.write_uuid,
    ("pathlib", "PurePosixPath"): Writer.write_path,
    ("pathlib", "PosixPath"): Writer.write_path,
    ("pathlib", "PureWindowsPath"): Writer.write_path,
    ("pathlib", "WindowsPath"): Writer.write_path,
    ("array", "array"): Writer.write_array,
    ("collections", "OrderedDict"): Writer.write_ordered_dict,
    ("collections", "Counter"): Writer.write_counter,
    ("collections", "defaultdict"): Writer.write_default_dict,
    ("collections", "deque"): Writer.write_deque,
}

_KEYS_UNEQUAL_IN_BYTES = frozenset({type(None), bool, int, str, bytes})
"""Types whose unequal values have unequal bytes: a dict's keys of these cannot collide."""


def method_for(cls: type) -> _Write:
    """The method for the instances of a class that is not one of the most common builtins."""
    module = "pathlib" if cls.__module__ == "pathlib._local" else cls.__module__
    write = _BY_NAME.get((module, cls.__qualname__))
    if write is not None and getattr(sys.modules.get(module), cls.__qualname__, None) is cls:
        return write
    if issubclass(cls, enum.Enum):
        return Writer.write_enum_member
    if issubclass(cls, BaseException):
        return Writer.write_exception
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make"):
        return Writer.write_named_tuple
    if issubclass(cls, type) or not has_plain_layout(cls):
        return Writer.write_refused
    if hasattr(cls, "__dataclass_fields__"):
        return Writer.write_data_class
    return Writer.write_instance


def field_names(cls: type) -> list[str]:
    """The names of a dataclass's fields, without its pseudo-fields."""
    from dataclasses import fields

    return [field.name for field in fields(cls)]


def is_builtin_type(value: object) -> bool:
    """Whether this is a type that is found under its name in `builtins`."""
    import builtins

    return isinstance(value, type) and getattr(builtins, value.__name__, None) is value


def zone_parts(zone: datetime.timezone) -> tuple[int, str | None]:
    """A `datetime.timezone`'s offset in microseconds and its name, None when it was given none."""
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
    return (offset.days * 86_400 + offset.seconds) * 1_000_000 + offset.microseconds, name[0] if name else None


def is_plain_zone(zone: datetime.tzinfo | None) -> bool:
    """Whether `isoformat()` of a time in this zone says all about the zone."""
    if zone is None or method_for(type(zone)) is not Writer.write_timezone:
        return False
    offset, name = zone_parts(zone)  # type: ignore[arg-type]
    return name is None and offset % 60_000_000 == 0


def described(value: object) -> str:
    """What a refused value is, with advice where there is a usual way out."""
    cls = type(value)
    if isinstance(value, type):
        return f"is the class {value.__module__}.{value.__qualname__}"
    advice = _ADVICE.get(cls.__name__, "") if cls.__module__ == "builtins" else ""
    if advice:
        return advice
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    for base in cls.__mro__[1:-1]:
        if base in BY_TYPE or (base.__module__, base.__qualname__) in _BY_NAME:
            return f"is an instance of {name}, a subclass of {base.__qualname__}"
    return f"is an instance of {name}"


_ADVICE = {
    "function": "is a function",
    "builtin_function_or_method": "is a builtin function",
    "method": "is a method",
    "module": "is a module",
    "generator": "is a generator; return list(...) of it instead",
    "coroutine": "is a coroutine that was not awaited",
    "async_generator": "is an asynchronous generator",
    "map": "is an iterator (map); return list(...) of it instead",
    "filter": "is an iterator (filter); return list(...) of it instead",
    "zip": "is an iterator (zip); return list(...) of it instead",
    "enumerate": "is an iterator (enumerate); return list(...) of it instead",
    "dict_keys": "is a view of a dict's keys; return list(...) of it instead",
    "dict_values": "is a view of a dict's values; return list(...) of it instead",
    "dict_items": "is a view of a dict's items; return list(...) of it instead",
    "memoryview": "is a memoryview; return bytes(...) of it instead",
}

_STEP_LENGTH_MAX = 80


def step_to_key(key: object) -> str:
    """The key in brackets, without running any code of the user's."""
    if type(key) is str:
        text = f'"{key}"' if key.isprintable() and '"' not in key and "\\" not in key else repr(key)
    elif type(key) is int and key.bit_length() > 256:
        text = "…"
    elif type(key) in _KEYS_UNEQUAL_IN_BYTES or type(key) is float:
        text = repr(key)
    else:
        text = f"<{type(key).__qualname__}>"
    if len(text) > _STEP_LENGTH_MAX:
        text = text[:_STEP_LENGTH_MAX] + "…"
    return f"[{text}]"


def _step_to_attribute(name: object) -> str:
    return f".{name}"
