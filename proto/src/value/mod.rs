//! Python values outside Python: each row of the table of values as a Rust type, and its encoding.
//!
//! [`Value::encode`] gives the one encoding of a value, [`Value::decode`] accepts that and nothing else. How values
//! look to people and programs (`repr`, JSON) is for the modules beside this one.

mod array;
mod collection;
mod convert;
mod decimal;
mod decode;
mod decode_tagged;
mod encode;
mod error;
mod int;
mod number;
mod object;
mod tags;
mod text;
mod time;

pub use crate::digits::DIGITS_MAX;
pub use array::{Array, ArrayItem, TypeCode};
pub use collection::{DefaultDict, Deque, Elements};
pub use convert::WrongType;
pub use decimal::Decimal;
pub use error::{DecodeError, DecodeErrorKind, EncodeError, InvalidValue};
pub use int::Int;
pub use number::{Complex, Float, Fraction, Range};
pub use object::{ClassName, Instance, Path, PathClass, Uuid};
pub use text::Text;
pub use time::{Date, DateTime, Time, TimeDelta, TimeZone, Zone};

pub(crate) use int::Argument;

/// Arrays and maps that may be open at once in the encoding of a value.
///
/// A list, tuple, set or dict opens one. So do the parts of a value that has parts, like a complex number or a
/// range; an instance of a class opens one more for what it holds.
pub const NESTING_MAX: usize = 200;

/// A Python value.
///
/// Two values are equal when their encodings are: `1`, `1.0` and `True` are three values, NaNs with the same bits
/// are equal, and the order of a dict counts.
///
/// ```
/// use ppwasm_proto::Value;
///
/// let value = Value::tuple([Value::from(1), Value::from("one"), Value::from(1.0)]);
/// assert_eq!(Value::decode(&value.encode()?)?, value);
/// assert_eq!(value.to_python_repr(), "(1, 'one', 1.0)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(Int),
    /// `float`.
    Float(Float),
    /// `complex`.
    Complex(Complex),
    /// `str`.
    Str(Text),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// `bytearray`.
    ByteArray(Vec<u8>),
    /// `list`.
    List(Vec<Self>),
    /// `tuple`.
    Tuple(Vec<Self>),
    /// `dict`, in insertion order. It cannot be encoded when two keys are equal or one is unhashable.
    Dict(Vec<(Self, Self)>),
    /// `set`.
    Set(Elements),
    /// `frozenset`.
    FrozenSet(Elements),
    /// `decimal.Decimal`.
    Decimal(Box<Decimal>),
    /// `fractions.Fraction`.
    Fraction(Box<Fraction>),
    /// `datetime.datetime`.
    DateTime(Box<DateTime>),
    /// `datetime.date`.
    Date(Date),
    /// `datetime.time`.
    Time(Box<Time>),
    /// `datetime.timedelta`.
    TimeDelta(TimeDelta),
    /// `datetime.timezone` or `zoneinfo.ZoneInfo`.
    Zone(Box<Zone>),
    /// `uuid.UUID`.
    Uuid(Uuid),
    /// `range`.
    Range(Box<Range>),
    /// `slice`: start, stop and step, any values.
    Slice(Box<[Self; 3]>),
    /// `...`.
    Ellipsis,
    /// A path of `pathlib`.
    Path(Box<Path>),
    /// `array.array`.
    Array(Box<Array>),
    /// A member of an enum, by its value.
    Enum(Box<Instance<Self>>),
    /// An instance of a dataclass: its fields, then other attributes. Each name once.
    DataClass(Box<Instance<Vec<(Text, Self)>>>),
    /// A named tuple.
    NamedTuple(Box<Instance<Vec<Self>>>),
    /// An instance of another class: its attributes. Each name once.
    Object(Box<Instance<Vec<(Text, Self)>>>),
    /// `collections.OrderedDict`.
    OrderedDict(Vec<(Self, Self)>),
    /// `collections.Counter`.
    Counter(Vec<(Self, Self)>),
    /// `collections.deque`.
    Deque(Box<Deque>),
    /// `collections.defaultdict`.
    DefaultDict(Box<DefaultDict>),
    /// An exception, by its `args`.
    Exception(Box<Instance<Vec<Self>>>),
}

impl Value {
    /// A list of the items.
    pub fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// A tuple of the items.
    pub fn tuple<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Tuple(items.into_iter().map(Into::into).collect())
    }

    /// A dict of the pairs, in their order.
    pub fn dict<K: Into<Self>, V: Into<Self>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Dict(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }

    /// The name of its type in Python: `int`, `datetime.date`, for instances of a class the class's.
    pub fn type_name(&self) -> &str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(_) => "complex",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::ByteArray(_) => "bytearray",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Decimal(_) => "decimal.Decimal",
            Self::Fraction(_) => "fractions.Fraction",
            Self::DateTime(_) => "datetime.datetime",
            Self::Date(_) => "datetime.date",
            Self::Time(_) => "datetime.time",
            Self::TimeDelta(_) => "datetime.timedelta",
            Self::Zone(zone) => match **zone {
                Zone::Fixed(_) => "datetime.timezone",
                Zone::Named(_) => "zoneinfo.ZoneInfo",
            },
            Self::Uuid(_) => "uuid.UUID",
            Self::Range(_) => "range",
            Self::Slice(_) => "slice",
            Self::Ellipsis => "ellipsis",
            Self::Path(path) => path.class().name(),
            Self::Array(_) => "array.array",
            Self::OrderedDict(_) => "collections.OrderedDict",
            Self::Counter(_) => "collections.Counter",
            Self::Deque(_) => "collections.deque",
            Self::DefaultDict(_) => "collections.defaultdict",
            Self::Enum(member) => &member.class.qualname,
            Self::DataClass(object) | Self::Object(object) => &object.class.qualname,
            Self::NamedTuple(object) | Self::Exception(object) => &object.class.qualname,
        }
    }

    /// Whether the value can for certain be no key of a dict and no element of a set. Of instances of classes only
    /// Python knows.
    pub fn is_unhashable(&self) -> bool {
        match self {
            Self::List(_) | Self::Dict(_) | Self::Set(_) | Self::ByteArray(_) | Self::Array(_) => {
                true
            }
            Self::OrderedDict(_) | Self::Counter(_) | Self::Deque(_) | Self::DefaultDict(_) => true,
            Self::Tuple(items) => items.iter().any(Self::is_unhashable),
            Self::NamedTuple(object) => object.content.iter().any(Self::is_unhashable),
            Self::Slice(parts) => parts.iter().any(Self::is_unhashable),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_small() {
        assert!(
            size_of::<Value>() <= 32,
            "results hold millions of them: {}",
            size_of::<Value>()
        );
    }
}
