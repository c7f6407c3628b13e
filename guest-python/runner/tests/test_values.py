"""How values travel, rule by rule of docs/values.md."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import io
import json
import math
import random
import struct
import unittest
from pathlib import Path
from typing import Any, cast

import golden_classes
from golden_names import NAMES, nested_dicts, nested_lists, nested_tuples

from _ppwasm import values
from _ppwasm.values import NESTING_MAX, CannotTravel, Classes, MalformedValue, decode, encode

CLASSES = Classes({"golden_classes"})
FOLDER = Path(__file__).parent


def identical(one: Any, other: Any) -> bool:
    """Equal in type and value, all the way down; NaNs by their bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return bool(struct.pack(">d", one) == struct.pack(">d", other))
    if isinstance(one, complex):
        return identical(one.real, other.real) and identical(one.imag, other.imag)
    if isinstance(one, decimal.Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, dict):
        return all(map(identical, one, other)) and all(map(identical, one.values(), other.values()))
    if isinstance(one, datetime.datetime | datetime.time):
        return bool(one == other) and one.fold == other.fold and repr(one.tzinfo) == repr(other.tzinfo)
    if isinstance(one, BaseException | golden_classes.Plain | golden_classes.Slotted):
        return encode(one, CLASSES) == encode(other, CLASSES)
    if isinstance(one, range):
        return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
    return bool(one == other)


class Golden(unittest.TestCase):
    """The bytes that every implementation is held against."""

    def test_every_value_has_its_bytes_and_comes_back(self) -> None:
        for row in json.loads((FOLDER / "golden_values.json").read_text()):
            with self.subTest(row["python"]):
                value = eval(row["python"], dict(NAMES))
                self.assertEqual(encode(value, CLASSES).hex(), row["hex"])
                back = decode(bytes.fromhex(row["hex"]), CLASSES)
                self.assertTrue(identical(value, back))

    def test_every_malformed_input_is_refused_at_its_offset(self) -> None:
        for row in json.loads((FOLDER / "golden_malformed.json").read_text()):
            with self.subTest(row["what"], hex=row["hex"][:60]):
                with self.assertRaises(MalformedValue) as caught:
                    decode(bytes.fromhex(row["hex"]), CLASSES)
                self.assertEqual(caught.exception.offset, row["offset"])
                self.assertIn(f"at offset {row['offset']}", str(caught.exception))

    def test_every_proper_beginning_of_a_value_is_refused(self) -> None:
        for row in json.loads((FOLDER / "golden_values.json").read_text()):
            whole = bytes.fromhex(row["hex"])
            for length in range(min(len(whole), 60)):
                with self.subTest(row["python"], length=length), self.assertRaises(MalformedValue):
                    decode(whole[:length], CLASSES)


class RandomValues(unittest.TestCase):
    """What no list of examples thinks of."""

    def test_random_values_come_back(self) -> None:
        choose = random.Random(1)
        for _ in range(300):
            value = random_value(choose, 4)
            data = encode(value, CLASSES)
            back = decode(data, CLASSES)
            self.assertTrue(identical(value, back), f"{value!r} {back!r}")
            self.assertEqual(encode(back, CLASSES), data)

    def test_changed_bytes_are_refused_or_are_another_value_s(self) -> None:
        choose = random.Random(2)
        for _ in range(1000):
            data = bytearray(encode(random_value(choose, 3), CLASSES))
            data[choose.randrange(len(data))] = choose.randrange(256)
            try:
                value = decode(bytes(data), CLASSES)
            except MalformedValue:
                continue
            self.assertEqual(encode(value, CLASSES), bytes(data))


def random_value(choose: random.Random, depth: int) -> Any:
    """Some value; hashable parts where they have to be."""
    if depth and choose.random() < 0.6:
        size = choose.choice((0, 1, 2, 3, 30))
        kind = choose.randrange(6)
        if kind == 0:
            return [random_value(choose, depth - 1) for _ in range(size)]
        if kind == 1:
            return tuple(random_value(choose, depth - 1) for _ in range(size))
        if kind == 2:
            return {random_leaf(choose): random_value(choose, depth - 1) for _ in range(size)}
        if kind == 3:
            return {random_leaf(choose) for _ in range(size)}
        if kind == 4:
            return frozenset(random_leaf(choose) for _ in range(size))
        return golden_classes.Pair(random_value(choose, depth - 1), golden_classes.Point(1, random_leaf(choose)))
    return random_leaf(choose)


def random_leaf(choose: random.Random) -> Any:
    """A hashable value without parts."""
    return choose.choice(
        (
            None,
            True,
            choose.getrandbits(choose.randrange(1, 200)),
            -choose.getrandbits(choose.randrange(1, 70)),
            choose.choice((0.0, -0.0, 1e300, 5e-324, math.inf, -math.inf, choose.random())),
            "".join(
                chr(choose.choice((65, 0xE9, 0x4E16, 0x1F30D, 0xD800, 0xDFFF))) for _ in range(choose.randrange(5))
            ),
            choose.randbytes(choose.randrange(30)),
            fractions.Fraction(choose.getrandbits(70), choose.getrandbits(70) + 1),
            decimal.Decimal(choose.getrandbits(60)).scaleb(choose.randrange(-30, 30)),
            datetime.timedelta(microseconds=choose.getrandbits(60)),
            golden_classes.Colour.GREEN,
        )
    )


class Rules(unittest.TestCase):
    """Single rules that the golden bytes do not say by themselves."""

    def refused(self, value: object) -> str:
        with self.assertRaises(CannotTravel) as caught:
            encode(value, CLASSES)
        return str(caught.exception)

    def test_200_levels_travel_and_201_do_not(self) -> None:
        for nested in (nested_lists, nested_tuples, nested_dicts):
            value = nested(NESTING_MAX)
            self.assertTrue(identical(decode(encode(value)), value))
            self.assertIn("nested more than 200 levels deep", self.refused(nested(NESTING_MAX + 1)))
            too_deep = encode([0]).replace(b"\x00", encode(value)) if nested is nested_lists else None
            if too_deep:
                with self.assertRaises(MalformedValue):
                    decode(too_deep)

    def test_every_kind_of_container_reaches_200_levels(self) -> None:
        def nested(wrap: Any, levels_each: int) -> Any:
            value: Any = 0
            for _ in range(NESTING_MAX // levels_each):
                value = wrap(value)
            return value

        for wrap, levels in (
            (lambda inner: frozenset({inner}), 1),
            (lambda inner: slice(inner, None, None), 1),
            (lambda inner: {1: inner}, 1),
            (lambda inner: golden_classes.Plain(a=inner), 2),
            (lambda inner: golden_classes.Point(inner), 2),
            (lambda inner: golden_classes.Pair(inner, None), 2),
            (lambda inner: golden_classes.TwoPartError(inner), 2),
            (lambda inner: collections.deque([inner]), 2),
            (lambda inner: collections.defaultdict(None, {1: inner}), 2),
        ):
            value = nested(wrap, levels)
            data = encode(value, CLASSES)
            self.assertEqual(encode(decode(data, CLASSES), CLASSES), data)
            self.assertIn("nested more than 200", self.refused(wrap(value)))

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        one: list[Any] = [1]
        one.append({"x": one})
        self.assertEqual(self.refused(one), "result cannot travel: it contains itself")
        self.assertEqual(self.refused([0, one]), "result[1] cannot travel: it contains itself")
        plain = golden_classes.Plain(name="a")
        plain.__dict__["self"] = plain
        self.assertEqual(self.refused((plain,)), "result[0] cannot travel: it contains itself")

    def test_a_value_that_occurs_twice_arrives_as_two(self) -> None:
        shared: list[int] = []
        one, two = cast("list[object]", decode(encode([shared, shared])))
        self.assertIsNot(one, two)

    def test_the_order_of_a_set_is_that_of_the_bytes(self) -> None:
        words = [f"word{number}" for number in range(200)]
        self.assertEqual(encode(set(words)), encode({word for word in sorted(words, reverse=True)}))  # noqa: C416

    def test_the_message_names_the_place(self) -> None:
        for value, message in (
            (
                [0, 1, {"handle": io.StringIO()}],
                'result[2]["handle"] cannot travel: it is an instance of _io.StringIO',
            ),
            (lambda: 1, "result cannot travel: it is a function"),
            ({"a": (1, print)}, 'result["a"][1] cannot travel: it is a builtin function'),
            ({'it\'s "a"\n': math}, "result['it\\'s \"a\"\\n'] cannot travel: it is a module"),
            ({b"k": {2.5: {10**100: math}}}, "result[b'k'][2.5][…] cannot travel: it is a module"),
            ({(1, len): 0}, "(a key of result)[1] cannot travel: it is a builtin function"),
            ([{(len,)}], "(an element of result[0])[0] cannot travel: it is a builtin function"),
            (golden_classes.Plain(f=[len]), "result.f[0] cannot travel: it is a builtin function"),
            (golden_classes.Point(1, len), "result.y cannot travel: it is a builtin function"),  # type: ignore[arg-type]
            (golden_classes.Pair(1, len), "result[1] cannot travel: it is a builtin function"),
            (ValueError(1, len), "result.args[1] cannot travel: it is a builtin function"),
            ((n for n in (1,)), "result cannot travel: it is a generator; return list(...) of it instead"),
            ({}.keys(), "result cannot travel: it is a view of a dict's keys; return list(...) of it instead"),
            (int, "result cannot travel: it is the class builtins.int"),
            (object(), "result cannot travel: it is an instance of object"),
            (NotImplemented, "result cannot travel: it is an instance of NotImplementedType"),
        ):
            with self.subTest(message):
                self.assertEqual(self.refused(value), message)

    def test_a_long_place_and_a_long_key_are_shortened(self) -> None:
        value: object = len
        for _ in range(150):
            value = {"key" * 100: value}
        self.assertLess(len(self.refused(value)), 1200)

    def test_the_root_has_the_name_it_is_given(self) -> None:
        with self.assertRaises(CannotTravel) as caught:
            encode([len], root="n")
        self.assertTrue(str(caught.exception).startswith("n[0] "))

    def test_subclasses_of_builtin_types_are_refused(self) -> None:
        self.assertEqual(
            self.refused(golden_classes.OwnDict()),
            "result cannot travel: it is an instance of golden_classes.OwnDict, a subclass of dict",
        )
        for base in (int, float, str, bytes, list, tuple, set, frozenset, complex, decimal.Decimal, datetime.datetime):
            cls = type("Own", (base,), {"__module__": "golden_classes"})
            value = cls(2024, 1, 1) if base is datetime.datetime else cls()
            self.assertIn("a subclass of", self.refused(value))

    def test_a_class_that_copies_itself_is_refused(self) -> None:
        self.assertIn("__reduce__ of its own", self.refused(golden_classes.Copied()))

    def test_a_class_outside_the_bundle_is_refused(self) -> None:
        import argparse

        self.assertIn("an instance of argparse.Namespace", self.refused(argparse.Namespace(a=1)))

    def test_a_class_within_a_function_is_refused(self) -> None:
        Local = enum.Enum("Local", {"A": 1}, module="golden_classes", qualname="f.<locals>.Local")  # noqa: N806
        self.assertIn("defined inside a function", self.refused(Local.A))

    def test_a_class_that_is_not_found_under_its_name_is_refused(self) -> None:
        Missing = enum.Enum("Missing", {"A": 1}, module="golden_classes")  # noqa: N806
        self.assertIn("not found as golden_classes.Missing", self.refused(Missing.A))

    def test_modules_outside_bundle_and_library_are_not_imported(self) -> None:
        self.assertIsNone(Classes().find("golden_classes", "Point"))
        self.assertIsNone(Classes().find("_ppwasm.values", "Reader"))
        self.assertIs(Classes().find("decimal", "Decimal"), decimal.Decimal)
        self.assertIsNone(Classes().find("math", "sin"))

    def test_keys_that_only_identity_tells_apart_are_refused(self) -> None:
        self.assertIn("same encoding", self.refused({golden_classes.Plain(): 1, golden_classes.Plain(): 2}))
        self.assertIn("same encoding", self.refused({golden_classes.Plain(), golden_classes.Plain()}))
        self.assertIn("same encoding", self.refused({float("nan"): 1, float("nan"): 2}))

    def test_attributes_beside_the_fields_of_a_dataclass_travel(self) -> None:
        point = golden_classes.Point(1)
        point.colour = "red"  # type: ignore[attr-defined]
        self.assertEqual(decode(encode(point, CLASSES), CLASSES).__dict__, {"x": 1, "y": 0, "colour": "red"})

    def test_nothing_of_a_dataclass_runs_when_it_is_read(self) -> None:
        value = golden_classes.Eager(2, 5)
        data = encode(value, CLASSES)
        golden_classes.Eager.made.clear()
        self.assertEqual(decode(data, CLASSES).__dict__, {"first": 2, "second": 10})
        self.assertEqual(golden_classes.Eager.made, [])

    def test_only_fields_of_init_have_to_be_there(self) -> None:
        value = golden_classes.Eager(2)
        del value.second
        self.assertEqual(decode(encode(value, CLASSES), CLASSES).__dict__, {"first": 2})
        del value.first
        with self.assertRaisesRegex(MalformedValue, "no field 'first' for Eager"):
            decode(encode(value, CLASSES), CLASSES)

    def test_attributes_are_slots_of_the_base_first(self) -> None:
        value = golden_classes.Derived()
        value.other = 3  # type: ignore[attr-defined]
        value.high = 2  # type: ignore[attr-defined]
        value.low = 1  # type: ignore[attr-defined]
        value.__orig_class__ = list  # type: ignore[attr-defined]
        data = encode(value, CLASSES)
        names = [name for name in (b"low", b"high", b"other") if name in data]
        self.assertEqual(sorted(names, key=data.index), [b"low", b"high", b"other"])
        self.assertNotIn(b"__orig_class__", data)
        read: Any = decode(data, CLASSES)
        self.assertEqual((read.low, read.high, read.__dict__), (1, 2, {"other": 3}))
        no_room = encode(golden_classes.Slotted(1, 2), CLASSES).replace(b"dleft", b"dwest")
        with self.assertRaisesRegex(MalformedValue, "no Slotted with this content"):
            decode(no_room, CLASSES)

    def test_an_exception_is_its_class_and_args(self) -> None:
        error = ValueError(1, "two")
        error.add_note("a note")
        error.more = 3  # type: ignore[attr-defined]
        error.__cause__ = KeyError()
        read: Any = decode(encode(error))
        self.assertEqual((type(read), read.args, read.__dict__), (ValueError, (1, "two"), {}))
        self.assertIsNone(read.__cause__)
        self.assertIsNone(read.__context__)
        self.assertIsNone(read.__traceback__)

    def test_an_exception_that_its_args_do_not_make_is_refused_on_reading(self) -> None:
        for args in ((1,), (1, "other text")):
            error = golden_classes.OtherArgumentsError(1, "text")
            error.args = args
            data = encode(error, CLASSES)
            with self.assertRaisesRegex(MalformedValue, "no OtherArgumentsError with these arguments .* at offset 0"):
                decode(data, CLASSES)

    def test_flags_and_mixins_are_enum_members(self) -> None:
        both = golden_classes.Access.READ | golden_classes.Access.WRITE
        self.assertIs(decode(encode(both, CLASSES), CLASSES), both)
        self.assertIs(decode(encode(golden_classes.Level.HIGH, CLASSES), CLASSES), golden_classes.Level.HIGH)
        other_type = encode(golden_classes.Level.LOW, CLASSES)[:-1] + encode(True)
        with self.assertRaises(MalformedValue):
            decode(other_type, CLASSES)

    def test_a_named_tuple_with_attributes_is_refused(self) -> None:
        class_of_pair = type("Pair", (golden_classes.Pair,), {"__module__": "golden_classes"})
        value = class_of_pair(1, 2)
        value.more = 3
        self.assertIn("a named tuple with attributes besides its fields", self.refused(value))

    def test_the_order_of_a_dict_is_its_own(self) -> None:
        one, other = {1: 0, 2: 0}, {2: 0, 1: 0}
        self.assertNotEqual(encode(one), encode(other))
        self.assertEqual(list(cast("dict[int, int]", decode(encode(other)))), [2, 1])
        self.assertEqual(encode(collections.Counter("ba")), encode(decode(encode(collections.Counter("ba")))))

    def test_equal_keys_and_unordered_elements_are_refused_on_reading(self) -> None:
        for same in ((1, 1.0), (1, True), (0.0, -0.0), ("a", "a"), (b"", b"")):
            keys = b"".join(encode(key) + encode(None) for key in same)
            with self.assertRaisesRegex(MalformedValue, "duplicate key"):
                decode(b"\xa2" + keys)
        for low, high in ((1, 2), (9, 256), ("a", "b"), ("z", "aa"), (5, "a")):
            in_order = sorted((encode(low), encode(high)))
            decode(b"\xd9\x01\x02\x82" + b"".join(in_order))
            with self.assertRaisesRegex(MalformedValue, "out of order"):
                decode(b"\xd9\x01\x02\x82" + b"".join(reversed(in_order)))

    def test_levels_are_the_arrays_and_maps_of_the_bytes(self) -> None:
        """At the last level, and one past it."""
        for value, levels in (
            (5, 0),
            (10**30, 0),
            ("text", 0),
            (datetime.date(2020, 1, 1), 0),
            (datetime.timedelta(1), 1),
            (1j, 1),
            ([], 1),
            ({}, 1),
            (frozenset(), 1),
            (fractions.Fraction(1, 2), 1),
            (golden_classes.Colour.RED, 1),
            (golden_classes.Point(1), 2),
            (golden_classes.Pair(1, 2), 2),
            (golden_classes.Plain(), 2),
            (ValueError(), 2),
            (collections.deque(), 2),
            (collections.Counter(), 2),
        ):
            wrapped: Any = value
            for _ in range(NESTING_MAX - levels):
                wrapped = [wrapped]
            data = encode(wrapped, CLASSES)
            self.assertEqual(encode(decode(data, CLASSES), CLASSES), data)
            if levels:
                self.assertIn("nested more than 200", self.refused([wrapped]))
                # The same with one array more around it, as a hostile writer would send it.
                with self.assertRaisesRegex(MalformedValue, "nested more than 200"):
                    decode(b"\x81" + data, CLASSES)

    def test_a_zone_without_a_key_is_refused(self) -> None:
        import zoneinfo

        path = next(Path(folder, "UTC") for folder in (*zoneinfo.TZPATH, "/usr/share/zoneinfo") if folder)
        if not path.exists():
            self.skipTest("no zone files here")
        with path.open("rb") as file:
            zone = zoneinfo.ZoneInfo.from_file(file)
        self.assertEqual(self.refused(zone), "result cannot travel: it is a time zone without a key")
        with self.assertRaisesRegex(MalformedValue, "no time zone 'No/Where' here"):
            decode(encode(zoneinfo.ZoneInfo("UTC")).replace(b"cUTC", b"hNo/Where"))

    def test_a_long_decimal_travels(self) -> None:
        value = decimal.Decimal("1." + "7" * 10_000)
        self.assertEqual(decode(encode(value)), value)

    def test_an_array_of_another_platform_s_long_is_read(self) -> None:
        self.assertEqual(decode(bytes.fromhex("d9ea6f83616c0444feffffff")).tolist(), [-2])  # type: ignore[attr-defined]
        self.assertEqual(
            decode(bytes.fromhex("d9ea6f83616c0848feffffffffffffff")).tolist(),  # type: ignore[attr-defined]
            [-2],
        )

    def test_a_zone_class_of_one_s_own_is_refused(self) -> None:
        class Zone(datetime.tzinfo):
            """A zone of one's own."""

        zone: Any = Zone

        self.assertEqual(
            self.refused([datetime.time(1, tzinfo=zone())]),
            "result[0].tzinfo cannot travel: it is neither a datetime.timezone nor a zoneinfo.ZoneInfo",
        )


if __name__ == "__main__":
    unittest.main()
