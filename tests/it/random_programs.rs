//! Random Python programs from a seed: classes, functions, loops, containers and exceptions.
//!
//! A program always ends: loops run over short ranges, a function calls only those before it, and every
//! call uses fuel. What it computes and which exceptions it caught are its result.

use std::fmt::Write;

/// Calls that a program may make in all.
const FUEL: u32 = 2_000;
/// Expressions inside each other.
const DEPTH_MAX: u32 = 4;

/// The program of this seed. Its function `run` takes nothing and returns a list of text.
pub(crate) fn program(seed: u64) -> String {
    let mut writer = Writer {
        rng: Rng(seed),
        out: String::new(),
        functions: 0,
        classes: 0,
        loops: 0,
    };
    writer.program();
    writer.out
}

/// SplitMix64: small, and the same everywhere for ever.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

struct Writer {
    rng: Rng,
    out: String,
    functions: u64,
    classes: u64,
    loops: u64,
}

const VARIABLES: [&str; 5] = ["a", "b", "c", "d", "e"];

impl Writer {
    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.out, "{}{text}", "    ".repeat(indent));
    }

    fn program(&mut self) {
        let head = format!(
            "import cmath, collections, decimal, fractions, functools, gc, hashlib, itertools, json, math, random, re, \
             statistics, struct, time\n\
             fuel = {FUEL}\nlog = []\n\
             def burn():\n    global fuel\n    fuel -= 1\n    if fuel < 0: raise RuntimeError('fuel')\n\
             def note(*values):\n    if len(log) < 400: log.append(repr(values)[:200])\n\
             def number(x): return x if type(x) in (int, float, bool) and abs(x) < 1e300 else hash(repr(x)) / 2**40\n\
             def bits(x): return struct.pack('<d', x).hex() if isinstance(x, float) else repr(x)\n"
        );
        self.out.push_str(&head);
        for _ in 0..1 + self.rng.below(2) {
            self.class();
        }
        for _ in 0..1 + self.rng.below(3) {
            self.function();
        }
        self.line(0, "def run():");
        self.variables(1);
        for _ in 0..4 + self.rng.below(6) {
            self.guarded(1);
        }
        self.line(1, "note(a, b, c, d, e, fuel)");
        if self.rng.below(3) == 0 {
            self.line(1, "print(*log[:20], sep='\\n')");
        }
        self.line(1, "return log");
    }

    fn variables(&mut self, indent: usize) {
        for name in VARIABLES {
            let value = self.literal();
            self.line(indent, &format!("{name} = {value}"));
        }
    }

    fn class(&mut self) {
        let name = format!("C{}", self.classes);
        let base = match self.classes {
            0 => self
                .rng
                .pick(&["", "(list)", "(dict)", "(Exception)"])
                .to_owned(),
            n => format!("(C{})", n - 1),
        };
        self.line(0, &format!("class {name}{base}:"));
        let shared = self.literal();
        self.line(1, &format!("shared = {shared}"));
        self.line(1, "def __init__(self, x=0):");
        self.line(2, "self.x, self.y = x, [x]");
        self.line(
            1,
            "def __repr__(self): return f'{type(self).__name__}<{self.x!r:.40}>'",
        );
        self.line(
            1,
            "def __eq__(self, other): return self is other or repr(self) == repr(other)",
        );
        self.line(1, "def __hash__(self): return hash(repr(self))");
        self.line(
            1,
            "def __add__(self, other): return type(self)((self.x, other))",
        );
        self.line(1, "def method(self, a, b=1, *c, d=None, **e):");
        self.line(2, "burn()");
        let (first, second) = (self.expression(2), self.expression(2));
        self.line(2, &format!("self.y.append({first})"));
        self.line(2, &format!("return {second}"));
        self.classes += 1;
    }

    fn function(&mut self) {
        let name = self.functions;
        let kind = self.rng.below(4);
        if kind == 1 {
            self.line(0, "@functools.lru_cache(maxsize=8)");
        }
        self.line(0, &format!("def f{name}(a, b=2, c=(), d='', e=None):"));
        self.line(1, "burn()");
        for _ in 0..1 + self.rng.below(4) {
            self.guarded(1);
        }
        let result = self.expression(1);
        if kind == 2 {
            self.line(1, "for step in range(3):");
            self.line(2, &format!("yield step, {result}"));
        } else {
            self.line(1, &format!("return {result}"));
        }
        self.functions += 1;
    }

    /// A statement whose exceptions are noted.
    fn guarded(&mut self, indent: usize) {
        self.line(indent, "try:");
        self.statement(indent + 1);
        self.line(indent, "except Exception as error:");
        self.line(indent + 1, "note(type(error).__name__, str(error)[:80])");
        if self.rng.below(6) == 0 {
            self.line(indent, "finally:");
            let name = self.rng.pick(&VARIABLES);
            self.line(indent + 1, &format!("{name} = repr({name})[:40]"));
        }
    }

    fn statement(&mut self, indent: usize) {
        let target = self.rng.pick(&VARIABLES);
        let value = self.expression(0);
        // Not deeper than this: the program has to end soon.
        let kind = if indent > 4 {
            self.rng.below(6)
        } else {
            self.rng.below(12)
        };
        match kind {
            0 | 1 => self.line(indent, &format!("{target} = {value}")),
            2 => self.line(indent, &format!("note({value})")),
            3 => {
                let other = self.rng.pick(&VARIABLES);
                self.line(indent, &format!("{target}, {other} = {other}, {value}"));
            }
            4 => {
                let operator = self.rng.pick(&["+=", "-=", "|=", "&=", "%=", "//="]);
                self.line(indent, &format!("{target} {operator} {value}"));
            }
            5 => {
                let index = self.expression(3);
                self.line(indent, &format!("{target}[{index}] = {value}"));
            }
            6 => {
                let condition = self.expression(2);
                self.line(indent, &format!("if {condition}:"));
                self.statement(indent + 1);
                self.line(indent, "else:");
                self.statement(indent + 1);
            }
            7 | 8 => {
                self.loops += 1;
                let (name, times) = (self.loops, 1 + self.rng.below(6));
                self.line(indent, &format!("for i{name} in range({times}):"));
                self.line(indent + 1, "burn()");
                self.guarded(indent + 1);
                self.guarded(indent + 1);
            }
            9 => {
                self.line(
                    indent,
                    &format!("for item in itertools.islice(iter({value}), 5):"),
                );
                self.line(indent + 1, &format!("{target} = item"));
                self.statement(indent + 1);
            }
            10 => {
                self.line(
                    indent,
                    &format!("with open('/tmp/{target}', 'a+') as file:"),
                );
                self.line(indent + 1, &format!("file.write(repr({value})[:100])"));
                self.line(indent + 1, "file.seek(0)");
                self.line(indent + 1, &format!("{target} = file.read()[:200]"));
            }
            _ => {
                let error = self
                    .rng
                    .pick(&["ValueError", "KeyError", "LookupError", "OSError"]);
                self.line(indent, "try:");
                self.line(indent + 1, &format!("raise {error}({value})"));
                self.line(indent, &format!("except {error} as caught:"));
                self.line(indent + 1, &format!("{target} = caught.args"));
            }
        }
    }

    fn literal(&mut self) -> String {
        match self.rng.below(12) {
            0..3 => (self.rng.below(200) as i64 - 100).to_string(),
            3 => format!("{}", self.rng.next()),
            4 => format!("-{}{}", self.rng.next(), self.rng.next()),
            5 => format!(
                "{}.{}e{}",
                self.rng.below(10),
                self.rng.below(1000),
                self.rng.below(40)
            ),
            6 => self
                .rng
                .pick(&["'text'", "'ü€🌍'", "''", "'a,b,c'", "b'bytes'", "'%s'"])
                .to_owned(),
            7 => self.rng.pick(&["None", "True", "False", "..."]).to_owned(),
            8 => format!(
                "[{0}, {1}, 'x'] * {2}",
                self.rng.below(9),
                self.rng.below(9),
                self.rng.below(9)
            ),
            9 => format!("{{{}: 'v', 'k': {}}}", self.rng.below(9), self.rng.below(9)),
            10 => format!("{{{}, {}, 'x'}}", self.rng.below(9), self.rng.below(9)),
            _ => format!("({}, {})", self.rng.below(9), self.rng.below(9)),
        }
    }

    /// Where processors and C libraries differ: floats with all their bits, hashes, orders, addresses.
    fn numeric(&mut self, x: &str, y: &str, z: &str) -> String {
        let (m, n) = (format!("number({x})"), format!("number({y})"));
        match self.rng.below(15) {
            0..3 => format!(
                "bits(math.{}({m}))",
                self.rng.pick(&[
                    "sin", "cos", "tan", "asinh", "atan", "cosh", "erf", "erfc", "exp", "exp2",
                    "expm1", "gamma", "lgamma", "log", "log10", "log1p", "log2", "sqrt", "cbrt",
                    "tanh", "ulp",
                ])
            ),
            3 => format!(
                "bits(math.{}({m}, {n}))",
                self.rng.pick(&[
                    "atan2",
                    "copysign",
                    "fmod",
                    "hypot",
                    "nextafter",
                    "pow",
                    "remainder"
                ])
            ),
            4 => format!("bits(math.fma({m}, {n}, number({z})))")
                .replace("math.fma(", "(lambda a, b, c: a * b + c)("),
            5 => format!(
                "repr(cmath.{}(complex({m}, {n})))",
                self.rng.pick(&[
                    "acos", "asinh", "atan", "cosh", "exp", "log", "sin", "sqrt", "tanh", "polar"
                ])
            ),
            6 => format!(
                "f'{{float({m}):{}}}'",
                self.rng
                    .pick(&[".17g", ".3e", "g", ",.4f", "+.0f", "%", "08.2f", ""])
            ),
            7 => format!(
                "[float({m}).hex(), float(repr(float({n}))), float({m}).as_integer_ratio()]"
            ),
            8 => format!(
                "[divmod(float({m}), 0.3), {m} // 0.1, round({n}, {}), int({m})]",
                self.rng.below(5)
            ),
            9 => format!(
                "bits({m} * 1e308 * 10 - {n} * 1e308 * {})",
                self.rng.pick(&["10", "0.0", "-10", "1e10"])
            ),
            10 => format!(
                "str(decimal.Decimal(repr(float({m}))).{}(decimal.Context(prec={})))[:90]",
                self.rng
                    .pick(&["exp", "sqrt", "ln", "normalize", "to_integral_value"]),
                6 + self.rng.below(40)
            )
            .replace(
                "to_integral_value(decimal",
                "quantize(decimal.Decimal('0.001'), context=decimal",
            ),
            11 => format!(
                "fractions.Fraction({m}).limit_denominator({})",
                1 + self.rng.below(5000)
            ),
            12 => format!(
                "random.Random(repr({x})).{}",
                self.rng.pick(&[
                    "random()",
                    "gauss(0, 1)",
                    "sample(range(1000), 5)",
                    "getrandbits(90)",
                    "betavariate(2, 3)",
                    "choices('abcdef', k=4)",
                    "binomialvariate(50, 0.3)",
                    "randrange(10**30)",
                ])
            ),
            13 => format!(
                "[hash({m}), hash(repr({y})), list({{repr({x}), repr({y}), {m}, {n}, {}}}), id({z}) % 4096]",
                self.rng.below(99)
            ),
            _ => format!(
                "[struct.pack('<{}', {m}).hex(), statistics.pstdev([{m}, {n}, 1.5]), bits(math.fsum([{m}, {n}, 1e100, 1, -1e100])), time.time()]",
                self.rng.pick(&["d", "f", "e"])
            ),
        }
    }

    fn expression(&mut self, depth: u32) -> String {
        if depth >= DEPTH_MAX || self.rng.below(6) == 0 {
            return if self.rng.below(2) == 0 {
                self.rng.pick(&VARIABLES).to_owned()
            } else {
                format!("({})", self.literal())
            };
        }
        let mut part = || self.expression(depth + 1);
        let (x, y, z) = (part(), part(), part());
        let name = self.rng.pick(&VARIABLES);
        match self.rng.below(41) {
            0 => format!("({x} + {y})"),
            1 => format!("({x} - {y})"),
            2 => format!("short({x} * {y})").replace(
                "short",
                "(lambda v: v[:50] if hasattr(v, '__len__') else v)",
            ),
            3 => format!("({x} {} {y})", self.rng.pick(&["/", "//", "%"])),
            4 => format!("({x} {} {y})", self.rng.pick(&["&", "|", "^"])),
            5 => format!("({x} << (abs(hash({y})) % 200))"),
            6 => format!(
                "({x} {} {y})",
                self.rng
                    .pick(&["<", "==", "!=", ">=", "in", "is", "and", "or"])
            ),
            7 => format!("({x} if {y} else {z})"),
            8 => format!("[{x}, {y}]"),
            9 => format!("({x}, {y}, {z})"),
            10 => format!("{{repr({x}): {y}}}"),
            11 => format!("[{name} for {name} in itertools.islice(iter({x}), 6) if {y}]"),
            12 => format!("{{str({name}): {y} for {name} in itertools.islice(iter({x}), 6)}}"),
            13 => format!("sorted(map(repr, {x}))[:5]"),
            14 => format!("{x}[{y}]"),
            15 => format!("{x}[:{}:{}]", self.rng.below(7), 1 + self.rng.below(3)),
            16 => format!("f'{{{name}!r:.30}}|{{len(repr({name}))}}'"),
            17 => format!(
                "(lambda v, w={y}: {}) ({x})",
                self.rng.pick(&["(v, w)", "v", "[w]", "str(v)[:9]"])
            ),
            18 => format!("json.dumps({x}, default=str)[:60]"),
            19 => format!("hashlib.sha256(repr({x}).encode()).hexdigest()[:8]"),
            20 => format!(
                "round(math.{}({x}), 6)",
                self.rng.pick(&["sqrt", "sin", "exp", "log", "floor"])
            ),
            21 => format!("re.findall(r'\\w+', repr({x}))[:4]"),
            22 => format!(
                "pow(hash({x}), {}, {})",
                self.rng.below(999),
                2 + self.rng.below(99_999)
            ),
            23 => format!("collections.Counter(repr({x})[:30]).most_common(2)"),
            27..39 => self.numeric(&x, &y, &z),
            24 if self.classes > 0 => format!("C{}({x})", self.rng.below(self.classes)),
            25 if self.classes > 0 => {
                format!("C{}({x}).method({y}, d={z})", self.rng.below(self.classes))
            }
            24..27 if self.functions > 0 => {
                let call = format!("f{}({x}, {y})", self.rng.below(self.functions));
                if self.rng.below(3) == 0 {
                    format!("list({call})")
                } else {
                    call
                }
            }
            _ => format!(
                "{}({x})",
                self.rng
                    .pick(&["len", "str", "type", "bool", "repr", "abs", "list", "id"])
            ),
        }
    }
}

#[test]
fn a_seed_always_gives_the_same_program() {
    assert_eq!(program(7), program(7));
    assert_ne!(program(7), program(8));
}
