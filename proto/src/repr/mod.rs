//! Values as Python's `repr` prints them.
//!
//! Exact for CPython 3.13 and for every value that the sandbox's own program would print the same, with these
//! exceptions, where the value alone does not say what Python would print:
//!
//! * An enum member prints `<Color: 1>`: its name does not travel.
//! * A named tuple prints `Point(1, 2)`: the names of its fields do not travel.
//! * An instance of another class prints `<job.Plain object: a=1>` instead of an address.
//! * A class's own `__repr__` is not run; a dataclass prints all of its attributes.
//! * Sets print in the order in which they travel.
//! * An integer of more than [`DIGITS_MAX`](crate::value::DIGITS_MAX) digits, which Python does not print at all,
//!   prints in hexadecimal.

mod collections;
mod float;
mod objects;
mod printable;
mod strings;

use std::fmt::Write;

pub(crate) use float::float_text;

use crate::digits::{decimal_digits, hexadecimal};
use crate::value::{Complex, Int, Value, Zone};

impl Value {
    /// What Python's `repr` prints for the value.
    ///
    /// ```
    /// use ppwasm_proto::Value;
    ///
    /// let value = Value::dict([("pi", Value::from(3.14)), ("it's", Value::from(b"\xff"))]);
    /// assert_eq!(value.to_python_repr(), r#"{'pi': 3.14, "it's": b'\xff'}"#);
    /// ```
    ///
    /// It is exact for all but the names of enum members and of a named tuple's fields, which do not travel,
    /// instances of classes that are no dataclasses, the order of sets, and integers of more than
    /// [`DIGITS_MAX`](crate::value::DIGITS_MAX) digits.
    pub fn to_python_repr(&self) -> String {
        let mut printer = Printer { out: String::new() };
        printer.value(self);
        printer.out
    }
}

/// Appends to a text.
struct Printer {
    out: String,
}

impl Printer {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.text("None"),
            Value::Bool(true) => self.text("True"),
            Value::Bool(false) => self.text("False"),
            Value::Ellipsis => self.text("Ellipsis"),
            Value::Int(int) => self.int(int),
            Value::Float(float) => self.text(&float_text(float.0)),
            Value::Complex(complex) => self.complex(*complex),
            Value::Str(text) => self.quoted(text.code_points()),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::ByteArray(bytes) => self.wrapped("bytearray(", ")", |p| p.bytes(bytes)),
            Value::List(items) => self.list(items),
            Value::Tuple(items) => self.tuple(items),
            Value::Dict(pairs) => self.dict(pairs.iter()),
            Value::Set(elements) => self.set(elements),
            Value::FrozenSet(elements) => self.frozenset(elements),
            Value::Decimal(decimal) => self.format(format_args!("Decimal('{decimal}')")),
            Value::Fraction(fraction) => {
                self.ints("Fraction", &[fraction.numerator(), fraction.denominator()]);
            }
            Value::DateTime(value) => self.date_time(value),
            Value::Date(date) => {
                let (year, month, day) = (date.year(), date.month(), date.day());
                self.format(format_args!("datetime.date({year}, {month}, {day})"));
            }
            Value::Time(time) => self.time(time),
            Value::TimeDelta(delta) => self.time_delta(*delta),
            Value::Zone(zone) => match &**zone {
                Zone::Fixed(zone) => self.time_zone(zone),
                Zone::Named(key) => self.zone_info(key),
            },
            Value::Uuid(uuid) => self.format(format_args!("UUID('{uuid}')")),
            Value::Range(range) => self.range(range),
            Value::Slice(parts) => self.wrapped("slice(", ")", |p| p.items(&parts[..])),
            Value::Path(path) => self.path(path),
            Value::Array(array) => self.array(array),
            Value::Enum(member) => self.enum_member(member),
            Value::DataClass(object) => self.data_class(object),
            Value::NamedTuple(object) => {
                let open = format!("{}(", object.class.name());
                self.wrapped(&open, ")", |p| p.items(&object.content));
            }
            Value::Object(object) => self.object(object),
            Value::Exception(object) => self.exception(object),
            Value::OrderedDict(pairs) => self.ordered_dict(pairs),
            Value::Counter(pairs) => self.counter(pairs),
            Value::Deque(deque) => self.deque(deque),
            Value::DefaultDict(dict) => self.default_dict(dict),
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn format(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(arguments)
            .unwrap_or_else(|_| unreachable!("a String takes every text"));
    }

    fn wrapped(&mut self, open: &str, close: &str, inner: impl FnOnce(&mut Self)) {
        self.text(open);
        inner(self);
        self.text(close);
    }

    /// Prints the items with commas between them.
    fn separated<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut print: impl FnMut(&mut Self, T),
    ) {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.text(", ");
            }
            print(self, item);
        }
    }

    fn items(&mut self, items: &[Value]) {
        self.separated(items, Self::value);
    }

    fn list(&mut self, items: &[Value]) {
        self.wrapped("[", "]", |p| p.items(items));
    }

    fn tuple(&mut self, items: &[Value]) {
        let close = if items.len() == 1 { ",)" } else { ")" };
        self.wrapped("(", close, |p| p.items(items));
    }

    fn int(&mut self, int: &Int) {
        let text = decimal_digits(int).unwrap_or_else(|| hexadecimal(int));
        self.text(&text);
    }

    fn ints(&mut self, name: &str, ints: &[&Int]) {
        self.text(name);
        self.wrapped("(", ")", |p| p.separated(ints, |p, int| p.int(int)));
    }

    fn complex(&mut self, complex: Complex) {
        let [real, imag] = [complex.real.0, complex.imag.0].map(|part| {
            let text = float_text(part);
            text.strip_suffix(".0")
                .map(ToOwned::to_owned)
                .unwrap_or(text)
        });
        if complex.real.0.to_bits() == 0 {
            self.format(format_args!("{imag}j"));
        } else {
            let plus = if imag.starts_with('-') { "" } else { "+" };
            self.format(format_args!("({real}{plus}{imag}j)"));
        }
    }
}
