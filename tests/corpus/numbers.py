"""Numbers where processors and C libraries differ: each program returns what it computed, with every bit."""

import cmath
import decimal
import fractions
import math
import random
import struct

HARD = [
    0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 1e-200, 1e-16, 0.1, 0.5,
    0.9999999999999999, 1.0, 1.0000000000000002, 1.5, math.pi / 4, math.pi / 2, math.pi, math.e, 22.0, 355 / 113,
    1e5, 1e15, 9007199254740993.0, 1e16, 1e22, 1e100, 1.7976931348623157e308, math.inf, -math.inf, math.nan,
]


def bits(number):
    """The bits of a float, a NaN's payload included."""
    return struct.pack("<d", number)


def attempt(function, *arguments):
    """What a function gives, or the name of what it raises."""
    try:
        result = function(*arguments)
    except (ArithmeticError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(result, float):
        return bits(result)
    if isinstance(result, complex):
        return bits(result.real) + bits(result.imag)
    return repr(result)


def math_functions():
    names = [
        "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "cos", "cosh", "degrees", "erf", "erfc", "exp",
        "exp2", "expm1", "fabs", "floor", "frexp", "gamma", "isqrt", "lgamma", "log", "log10", "log1p", "log2", "modf",
        "radians", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "ulp",
    ]
    signed = HARD + [-number for number in HARD]
    return [(name, [attempt(getattr(math, name), x) for x in signed if name != "isqrt"]) for name in names]


def math_of_two():
    names = ["atan2", "copysign", "fmod", "hypot", "nextafter", "pow", "remainder", "dist"]
    some = HARD[::2] + [-number for number in HARD[1::3]]
    return [
        (name, [attempt(getattr(math, name), *(([x], [y]) if name == "dist" else (x, y))) for x in some for y in some])
        for name in names
    ]


def complex_functions():
    names = ["acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "log", "log10", "phase", "polar", "sin", "sinh", "sqrt", "tan", "tanh"]
    some = [complex(x, y) for x in HARD[::3] for y in HARD[1::4]]
    return [(name, [attempt(getattr(cmath, name), z) for z in some]) for name in names]


def fma_and_sums():
    random.seed(7)
    numbers = [random.uniform(-1, 1) * 2.0 ** random.randrange(-60, 60) for _ in range(2000)]
    products = [a * b + c for a, b, c in zip(numbers, numbers[1:], numbers[2:])]
    return bits(sum(numbers)), bits(math.fsum(numbers)), bits(math.sumprod(numbers, numbers[::-1])), bits(sum(products)), bits(math.prod(numbers[:40]))


def nan_payloads():
    """A NaN with a payload of its own, through everything that passes floats on."""
    made = [struct.unpack("<d", struct.pack("<Q", pattern))[0] for pattern in (
        0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000001234, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF,
    )]
    out = []
    for nan in made:
        out += [bits(nan), bits(-nan), bits(nan + 1.0), bits(1.0 - nan), bits(nan * 0.0), bits(abs(nan)), bits(math.copysign(nan, -1.0))]
        out += [bits(math.sqrt(nan)), bits(nan**2), bits(max(nan, 1.0)), bits(float(f"{nan}")), struct.pack("<f", nan), struct.pack("<e", nan)]
    out += [bits(math.inf - math.inf), bits(math.inf * 0.0), bits(0.0 * -math.inf), bits(complex(math.inf, math.nan).real)]
    return out, [bits(nan) for nan in sorted(made + [1.0, -1.0], key=repr)]


def formatting_and_parsing():
    random.seed(11)
    patterns = [random.getrandbits(64) for _ in range(3000)]
    numbers = [struct.unpack("<d", struct.pack("<Q", pattern))[0] for pattern in patterns]
    texts = [f"{x!r} {x:.3e} {x:.17g} {x:g} {x:.0f} {x.hex()}" for x in numbers]
    again = [bits(float(repr(x))) for x in numbers]
    hard = ["2.2250738585072011e-308", "1.00000000000000011102230246251565", "9007199254740993", "4.9e-324", "2.4703282292062328e-324", "1e400", "0x1.8p3"]
    return texts, again, [attempt(float, text) for text in hard], [attempt(float.fromhex, text) for text in hard]


def conversions():
    some = [x for x in HARD if math.isfinite(x)]
    out = [(int(x), round(x, 2), round(x, -2), x.as_integer_ratio(), divmod(x, 0.3), x // 0.1, x % 0.1) for x in some]
    packed = [attempt(struct.pack, "<f", x) for x in HARD] + [attempt(struct.pack, "<e", x) for x in HARD]
    return [repr(row) for row in out], packed


def decimals_and_fractions():
    context = decimal.Context(prec=60)
    numbers = [decimal.Decimal(f"{k}.{k * 7919}e{k % 23 - 11}") for k in range(1, 200)]
    out = [str(context.divide(a, b)) for a, b in zip(numbers, numbers[1:])]
    out += [str(context.exp(context.divide(number, 10**12))) for number in numbers[:20]] + [str(context.ln(number)) for number in numbers[:20]]
    total = sum((fractions.Fraction(k, k + 3) for k in range(1, 120)), fractions.Fraction(0))
    return out, str(total), [str(fractions.Fraction(x).limit_denominator(1000)) for x in HARD[8:24]]


def integers():
    random.seed(3)
    numbers = [random.getrandbits(size) - (1 << (size - 1)) for size in range(1, 900, 7)]
    out = [(a * b, attempt(divmod, a, b), a & b, a | b, a ^ b, a >> 17, a << 5, abs(a).bit_length(), hash(a)) for a, b in zip(numbers, numbers[1:])]
    return [repr(row) for row in out], [pow(abs(a), 65537, abs(b) + 2) for a, b in zip(numbers[:40], numbers[9:])], math.isqrt(10**301)


PROGRAMS = [
    "math_functions", "math_of_two", "complex_functions", "fma_and_sums", "nan_payloads", "formatting_and_parsing",
    "conversions", "decimals_and_fractions", "integers",
]


def programs():
    return PROGRAMS


def call(name):
    """Runs the program of that name; `programs` is the list of them."""
    return globals()[name]()
