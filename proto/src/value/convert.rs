//! Rust values to Python values and back.

use num_bigint::BigInt;

use super::{Array, Complex, Date, DateTime, Decimal, DefaultDict, Deque, Elements, Float};
use super::{Fraction, Int, Path, Range, Text, Time, TimeDelta, Uuid, Value, Zone};

macro_rules! from {
    ($($type:ty as $value:ident => $convert:expr),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $convert
            }
        }
    )*};
}

from! {
    bool as value => Self::Bool(value),
    i8 as value => Self::Int(value.into()),
    i16 as value => Self::Int(value.into()),
    i32 as value => Self::Int(value.into()),
    i64 as value => Self::Int(value.into()),
    i128 as value => Self::Int(value.into()),
    isize as value => Self::Int(value.into()),
    u8 as value => Self::Int(value.into()),
    u16 as value => Self::Int(value.into()),
    u32 as value => Self::Int(value.into()),
    u64 as value => Self::Int(value.into()),
    u128 as value => Self::Int(value.into()),
    usize as value => Self::Int(value.into()),
    BigInt as value => Self::Int(value.into()),
    Int as value => Self::Int(value),
    f32 as value => Self::Float(Float(value.into())),
    f64 as value => Self::Float(Float(value)),
    Complex as value => Self::Complex(value),
    &str as value => Self::Str(value.into()),
    String as value => Self::Str(value.into()),
    Text as value => Self::Str(value),
    &[u8] as value => Self::Bytes(value.to_vec()),
    Vec<u8> as value => Self::Bytes(value),
    Vec<Value> as value => Self::List(value),
    Decimal as value => Self::Decimal(Box::new(value)),
    Fraction as value => Self::Fraction(Box::new(value)),
    Date as value => Self::Date(value),
    Time as value => Self::Time(Box::new(value)),
    DateTime as value => Self::DateTime(Box::new(value)),
    TimeDelta as value => Self::TimeDelta(value),
    Uuid as value => Self::Uuid(value),
    Range as value => Self::Range(Box::new(value)),
    Array as value => Self::Array(Box::new(value)),
    Zone as value => Self::Zone(Box::new(value)),
    Path as value => Self::Path(Box::new(value)),
    Deque as value => Self::Deque(Box::new(value)),
    DefaultDict as value => Self::DefaultDict(Box::new(value)),
    () as _value => Self::None,
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<A: Into<Self>, B: Into<Self>> From<(A, B)> for Value {
    fn from((a, b): (A, B)) -> Self {
        Self::Tuple(vec![a.into(), b.into()])
    }
}

impl<A: Into<Self>, B: Into<Self>, C: Into<Self>> From<(A, B, C)> for Value {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self::Tuple(vec![a.into(), b.into(), c.into()])
    }
}

impl Value {
    /// Whether it is `None`.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// A `bool`.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An `int` that fits. `True` is no `int` here.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_int().and_then(Int::as_i64)
    }

    /// An `int` that fits.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_int().and_then(Int::as_u64)
    }

    /// An `int`.
    pub const fn as_int(&self) -> Option<&Int> {
        match self {
            Self::Int(value) => Some(value),
            _ => None,
        }
    }

    /// A `float`. An `int` is no `float` here.
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value.0),
            _ => None,
        }
    }

    /// A `str` without lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(value) => value.as_str(),
            _ => None,
        }
    }

    /// The content of a `bytes` or `bytearray`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(value) | Self::ByteArray(value) => Some(value),
            _ => None,
        }
    }

    /// The items of a list, tuple, named tuple, set, frozenset or deque.
    pub fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            Self::NamedTuple(object) => Some(&object.content),
            Self::Set(elements) | Self::FrozenSet(elements) => Some(Elements::as_slice(elements)),
            Self::Deque(deque) => Some(deque.items()),
            _ => None,
        }
    }

    /// The pairs of a `dict` or of one of its relatives in `collections`.
    pub fn as_pairs(&self) -> Option<&[(Self, Self)]> {
        match self {
            Self::Dict(pairs) | Self::OrderedDict(pairs) | Self::Counter(pairs) => Some(pairs),
            Self::DefaultDict(dict) => Some(&dict.items),
            _ => None,
        }
    }

    /// The value of a key of a dict, or the attribute of an instance, when the name is text. Looks at one after
    /// the other.
    pub fn get(&self, name: &str) -> Option<&Self> {
        if let Self::DataClass(object) | Self::Object(object) = self {
            let mut attributes = object.content.iter();
            return attributes
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value);
        }
        let mut pairs = self.as_pairs()?.iter();
        pairs
            .find(|(key, _)| key.as_str() == Some(name))
            .map(|(_, value)| value)
    }
}

/// A value that is not of the type asked for, or an `int` out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct WrongType {
    /// The Rust type that was asked for.
    pub expected: &'static str,
    /// The Python type of the value.
    pub found: String,
}

macro_rules! try_from {
    ($($type:ty, $name:literal, |$value:ident| $convert:expr;)*) => {$(
        impl TryFrom<&Value> for $type {
            type Error = WrongType;

            fn try_from($value: &Value) -> Result<Self, WrongType> {
                let found = || $value.type_name().to_owned();
                ($convert).ok_or_else(|| WrongType { expected: $name, found: found() })
            }
        }

        impl TryFrom<Value> for $type {
            type Error = WrongType;

            fn try_from(value: Value) -> Result<Self, WrongType> {
                Self::try_from(&value)
            }
        }
    )*};
}

fn small<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    value.as_i64().and_then(|small| T::try_from(small).ok())
}

try_from! {
    bool, "bool", |value| value.as_bool();
    i8, "i8", |value| small(value);
    i16, "i16", |value| small(value);
    i32, "i32", |value| small(value);
    i64, "i64", |value| small(value);
    u8, "u8", |value| small(value);
    u16, "u16", |value| small(value);
    u32, "u32", |value| small(value);
    u64, "u64", |value| value.as_u64();
    usize, "usize", |value| value.as_u64().and_then(|int| Self::try_from(int).ok());
    BigInt, "BigInt", |value| value.as_int().map(Int::to_bigint);
    f64, "f64", |value| value.as_f64();
    String, "String", |value| value.as_str().map(ToOwned::to_owned);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(i64::try_from(Value::from(-5)), Ok(-5));
        assert_eq!(u64::try_from(Value::from(u64::MAX)), Ok(u64::MAX));
        assert_eq!(f64::try_from(Value::from(0.5)), Ok(0.5));
        assert_eq!(String::try_from(Value::from("a")), Ok("a".to_owned()));
        assert_eq!(
            BigInt::try_from(Value::from(u128::MAX)),
            Ok(BigInt::from(u128::MAX))
        );
        assert_eq!(Value::from(b"ab").as_bytes(), Some(&b"ab"[..]));
        assert_eq!(Value::from(None::<i64>), Value::None);
        assert_eq!(Value::from((1, "a")).as_items().map(<[_]>::len), Some(2));
    }

    #[test]
    fn other_types_are_refused_by_name() {
        let error = WrongType {
            expected: "i64",
            found: "float".to_owned(),
        };
        assert_eq!(i64::try_from(&Value::from(1.0)), Err(error.clone()));
        assert_eq!(error.to_string(), "expected i64, found float");
        assert!(u8::try_from(Value::from(256)).is_err());
        assert!(i64::try_from(Value::from(true)).is_err());
        assert!(f64::try_from(Value::from(1)).is_err());
        assert!(i64::try_from(Value::from(u64::MAX)).is_err());
    }

    #[test]
    fn parts_are_found_by_name() {
        let value = Value::dict([("a", 1), ("b", 2)]);
        assert_eq!(value.get("b"), Some(&2.into()));
        assert_eq!(value.get("c"), None);
        assert_eq!(Value::from(1).get("a"), None);
    }
}
