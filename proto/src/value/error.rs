//! What can be wrong with a value or its encoding.

use super::NESTING_MAX;

/// Why bytes are not a value, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at offset {offset}")]
pub struct DecodeError {
    /// Offset of the item that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

/// What is wrong with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end inside the item.
    #[error("the bytes end within the item")]
    Truncated,
    /// Bytes follow the last item.
    #[error("bytes are left over")]
    LeftOver,
    /// A head that no item has.
    #[error("the head is malformed")]
    Malformed,
    /// A length or number has a shorter form.
    #[error("the head is not the shortest")]
    NotShortest,
    /// An indefinite length.
    #[error("the length is indefinite")]
    Indefinite,
    /// Text that is not UTF-8.
    #[error("the text is not UTF-8")]
    InvalidUtf8,
    /// More than [`NESTING_MAX`] levels.
    #[error("nested more than {NESTING_MAX} levels deep")]
    TooDeep,
    /// A tag that values do not use.
    #[error("tag {0} is unknown")]
    UnknownTag(u64),
    /// A float of another width, `undefined`, or another simple value.
    #[error("the simple value or float width is not used")]
    UnknownSimple,
    /// Another type than the item's place asks for.
    #[error("expected {0}")]
    Expected(&'static str),
    /// An array of another length than its place asks for.
    #[error("expected an array of {0}")]
    ArrayLength(u64),
    /// A key, name or element occurs twice.
    #[error("a key or element occurs twice")]
    Duplicate,
    /// The elements of a set are not in the order of their bytes.
    #[error("the elements of a set are out of order")]
    OutOfOrder,
    /// A key or element that Python cannot hash.
    #[error("a key or element is unhashable")]
    Unhashable,
    /// The content of a tag is no value of its type.
    #[error("{0}")]
    Invalid(InvalidValue),
    /// The value has another encoding, which is the one to use.
    #[error("the value has another encoding")]
    NotCanonical,
}

impl DecodeErrorKind {
    pub(crate) const fn at(self, offset: usize) -> DecodeError {
        DecodeError { offset, kind: self }
    }
}

/// Why a value cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than [`NESTING_MAX`] levels.
    #[error("the value is nested more than {NESTING_MAX} levels deep")]
    TooDeep,
    /// A key, name or element occurs twice.
    #[error("a key or element occurs twice")]
    DuplicateKey,
    /// A key or element that Python cannot hash.
    #[error("a key or element is unhashable")]
    Unhashable,
}

/// Parts that do not make a value of the type named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidValue(pub &'static str);
