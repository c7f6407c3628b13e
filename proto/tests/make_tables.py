"""Writes what the crate holds of CPython 3.13: golden_repr.json, and the table of characters that `repr` escapes.

Run it with the guest's version of Python after a change of that version or of the expressions below:

    python3.13 proto/tests/make_tables.py && cargo fmt -p ppwasm-proto

The bytes come from the runner's encoder, so the table also says that Rust and Python mean the same value.
"""

from __future__ import annotations

import json
import math
import random
import struct
import sys
import unicodedata
from pathlib import Path

TESTS = Path(__file__).resolve().parent
RUNNER = TESTS.parent.parent / "guest-python" / "runner"
sys.path[:0] = [str(RUNNER), str(RUNNER / "tests")]

from _ppwasm.classes import Classes  # noqa: E402
from _ppwasm.values import encode  # noqa: E402
from golden_names import NAMES  # noqa: E402

EXPRESSIONS = r"""
None
True
False
...
0
-1
2**64
-2**64
2**64 - 1
-2**64 - 1
10**100
-10**4299
0.0
-0.0
1.0
-1.5
0.1
1e15
1e16
1e17
123456789012345680.0
1234567890123456.7
9007199254740993.0
0.0001
0.00001
0.00012345
1.5e-5
5e-324
2.2250738585072014e-308
1.7976931348623157e308
1e22
1e23
9.5367431640625e-07
float("inf")
float("-inf")
float("nan")
-float("nan")
0j
1j
-1j
complex(0.0, -0.0)
complex(-0.0, 0.0)
complex(1, 2)
complex(1, -2)
complex(1.5, 1e16)
complex(-1e-7, 1e100)
complex(float("nan"), float("nan"))
complex(0, float("inf"))
complex(1, float("-inf"))
""
"plain"
"it's"
'say "hi"'
"it's \"both\""
"back\\slash"
"tab\t newline\n return\r"
"\x00\x01\x1f\x7f\x80\x9f\xa0\xad\xff"
"äöü €"
"\u0378\u200b\u2028\u3000\ufeff\uffff"
"\U0001f600 \U0001f9ff"
"\U000e0001 \U0010ffff"
"\ud800"
"a\udc80b"
"'\udfff"
"中文 العربية हिन्दी"
"\u0301e"
b""
b"plain"
b"it's"
b'say "hi"'
b"it's \"both\""
bytes(range(256))
bytearray(b"a\x00")
bytearray()
[]
[1]
[1, "two", [3.0]]
()
(1,)
(1, 2)
((),)
{}
{"a": 1, 2: (3,)}
{(1, 2): {"x": None}}
set()
{1}
{1, 2, 3}
{"only"}
frozenset()
frozenset({5})
{frozenset({1}): 1}
Decimal("0")
Decimal("1.50")
Decimal("-1.5")
Decimal("1E+3")
Decimal("1e-7")
Decimal("0.000001")
Decimal("0.0000001")
Decimal("123456789.123456789")
Decimal("123E+5")
Decimal("-0")
Decimal("-0.00")
Decimal("0E+5")
Decimal("-0E-9")
Decimal("NaN")
Decimal("-sNaN123")
Decimal("Infinity")
Decimal("-Infinity")
Decimal("1e999999")
Fraction(1, 3)
Fraction(-7)
Fraction(2**70, 3)
datetime(2024, 2, 29, 12, 30)
datetime(2024, 2, 29, 12, 30, 5)
datetime(2024, 2, 29, 12, 30, 0, 7)
datetime(2024, 2, 29, 0, 0)
datetime(1, 1, 1, 0, 0, tzinfo=timezone.utc)
datetime(2024, 1, 1, fold=1)
datetime(2024, 1, 1, fold=1, tzinfo=timezone.utc)
datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5), "EST"))
datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=1)))
datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
date(2024, 2, 29)
date(1, 1, 1)
time(0, 0)
time(12, 30, 5)
time(12, 30, 0, 7)
time(12, 30, fold=1)
time(12, 30, tzinfo=timezone.utc)
time(12, 30, 1, fold=1, tzinfo=ZoneInfo("UTC"))
timedelta(0)
timedelta(days=1)
timedelta(seconds=-1)
timedelta(days=999999999, hours=23, microseconds=1)
timezone.utc
timezone(timedelta(0), "UTC")
timezone(timedelta(hours=-1, microseconds=5))
timezone(timedelta(hours=1), "it's")
ZoneInfo("Europe/Berlin")
UUID("12345678-1234-5678-1234-567812345678")
range(3)
range(1, 10, 2)
range(10, 0, -1)
range(2**70)
slice(3)
slice(1, None, 2)
slice("a", (1,), None)
PosixPath("/tmp/a b")
PosixPath(".")
PurePosixPath("it's")
PosixPath("\udcff")
PureWindowsPath("C:\\Users\\x")
array("d")
array("d", [1.0, -0.0, 1e16, float("nan")])
array("f", [0.1, 1.5])
array("b", [-1, 127])
array("B", [255])
array("h", [-2])
array("H", [65535])
array("i", [-3])
array("I", [4294967295])
array("l", [-4])
array("L", [4])
array("q", [-(2**63)])
array("Q", [2**64 - 1])
array("w", "it's \U0001f600")
array("w")
array("u", "text")
Point(1, y=2)
Point(Point(None), [Point("x")])
Frozen("n", frozenset({"t"}))
OrderedDict()
OrderedDict([("b", 1), ("a", [2])])
Counter()
Counter("hello world")
Counter({"a": 1, "b": 3, "c": 2, "d": 3})
Counter({"a": -1, "b": 0.5, "c": 0})
Counter({"a": "x", "b": None})
deque()
deque([1, 2])
deque([1, 2], maxlen=5)
defaultdict(int, {"a": 1})
defaultdict(None)
defaultdict(list, {1: [2]})
ValueError("x")
ValueError()
ValueError("x", 1)
KeyError("it's")
OSError(2, "No such file")
TwoPartError(1, "two")
ExceptionGroup("several", [ValueError(1), TypeError("t")])
SystemExit(3)
StopIteration((1,))
[1, 2.5, {"k": [None, True, {}]}, ["ä\n\x00\x7f\u2028"]]
[1, 2.5, {"k": (None, True, b"x")}, Decimal("1.10"), date(2000, 1, 1)]
"""


def sampled() -> list[str]:
    """Expressions of floats and texts that nobody chose."""
    chance = random.Random(2)
    floats = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(400)]
    floats += [chance.uniform(-1, 1) * 10.0 ** chance.randint(-8, 20) for _ in range(400)]
    floats += [float(chance.randint(0, 10**18)) for _ in range(100)]
    expressions = [repr(value) for value in floats if value == value and abs(value) != float("inf")]
    for limit in (0x80, 0x250, 0x3000, 0x10000, 0x110000):
        for _ in range(60):
            points = [chance.randrange(limit) for _ in range(12)]
            expressions.append('"' + "".join(f"\\U{point:08x}" for point in points) + '"')
    return expressions


def is_plain(value: object) -> bool:
    """Whether Python's json writes the value and reads the same back."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and is_plain(key) for key in value) and all(map(is_plain, value.values()))
    return value is None or type(value) in (bool, int)


def golden_repr() -> None:
    """Writes golden_repr.json."""
    classes = Classes(("golden_classes",))
    rows = []
    for expression in EXPRESSIONS.strip().splitlines() + sampled():
        value = eval(expression, dict(NAMES))
        row = {"python": expression, "hex": encode(value, classes).hex(), "repr": repr(value)}
        if is_plain(value):
            row["json"] = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        rows.append(f"  {json.dumps(row)}")
    (TESTS / "golden_repr.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


def printable() -> None:
    """Writes the table of printable characters."""
    changes, before = [], True
    for point in range(0x80, sys.maxunicode + 1):
        if chr(point).isprintable() != before:
            before = not before
            changes.append(f"{point:#x},\n")
    (TESTS.parent / "src" / "repr" / "printable.rs").write_text(f"""\
//! Which characters `repr` prints as they are: Unicode {unicodedata.unidata_version}, the guest's.
//!
//! Written by `tests/make_tables.py`.

/// Whether Python's `str.isprintable` holds for the character.
pub(super) fn is_printable(c: char) -> bool {{
    match c {{
        ' '..='~' => true,
        ..'\\u{{80}}' => false,
        c => CHANGES.partition_point(|change| *change <= u32::from(c)) % 2 == 0,
    }}
}}

/// The code points at which it changes, from U+0080, the first, on: there it becomes false.
const CHANGES: [u32; {len(changes)}] = [
{"".join(changes)}];
""")


if sys.version_info[:2] != (3, 13):
    sys.exit("make_tables.py: needs Python 3.13, whose texts these are")
golden_repr()
printable()
