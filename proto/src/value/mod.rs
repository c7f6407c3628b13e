//! Python values outside Python: each row of the table of values as a Rust type, with its encoding.

mod convert;
mod decode;
mod encode;
mod error;
mod int;

pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use int::Int;

/// Containers inside containers, at most.
pub const NESTING_MAX: usize = 200;

/// A Python value.
///
/// Two values are equal when their encodings are equal: `1`, `1.0` and `True` are three values, NaNs with the
/// same bits are equal, and the order of a dict counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int` of any size.
    Int(Int),
    /// `float`.
    Float(Float),
    /// `str`.
    Str(String),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// `list`.
    List(Vec<Value>),
    /// `dict` in insertion order.
    Dict(Vec<(Value, Value)>),
}

/// A float that is compared and hashed by its bits.
#[derive(Clone, Copy)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl std::fmt::Debug for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
