//! Parts of messages that are stored by themselves, as they are on the wire.

use minicbor::{Decode, Encode};

use super::error::{FieldError, WireError};
use super::structure;

pub(super) fn to_bytes(part: &impl Encode<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    minicbor::encode(part, &mut bytes).expect("a vector takes every byte");
    bytes
}

/// Reads what [`to_bytes`] gave; `name` is what errors call it.
pub(super) fn from_bytes<'b, T: Decode<'b, ()>>(
    name: &'static str,
    bytes: &'b [u8],
) -> Result<T, WireError> {
    structure::check(bytes)?;
    minicbor::decode(bytes).map_err(|error| WireError::Field {
        message: name,
        reason: FieldError::new(&error),
    })
}
