//! Value to bytes.

use super::{EncodeError, NESTING_MAX, Value};
use crate::cbor;

impl Value {
    /// The encoding of the value.
    ///
    /// # Errors
    ///
    /// When it is nested too deep or a dict has a key twice.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode_to(&mut out)?;
        Ok(out)
    }

    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(self, out, NESTING_MAX)
    }
}

fn encode(value: &Value, out: &mut Vec<u8>, levels: usize) -> Result<(), EncodeError> {
    match value {
        Value::None => out.push(cbor::NULL),
        Value::Bool(false) => out.push(cbor::FALSE),
        Value::Bool(true) => out.push(cbor::TRUE),
        Value::Int(int) => match (int.as_u64(), int.as_i64()) {
            (Some(n), _) => cbor::head(out, cbor::UNSIGNED, n),
            (None, Some(n)) => cbor::head(out, cbor::NEGATIVE, !n as u64),
            (None, None) => return Err(EncodeError::TooDeep),
        },
        Value::Float(float) => cbor::float(out, float.0.to_bits()),
        Value::Str(text) => cbor::text(out, text),
        Value::Bytes(bytes) => cbor::bytes(out, bytes),
        Value::List(items) => {
            let levels = levels.checked_sub(1).ok_or(EncodeError::TooDeep)?;
            cbor::array(out, items.len());
            items
                .iter()
                .try_for_each(|item| encode(item, out, levels))?;
        }
        Value::Dict(items) => {
            let levels = levels.checked_sub(1).ok_or(EncodeError::TooDeep)?;
            cbor::map(out, items.len());
            for (key, value) in items {
                encode(key, out, levels)?;
                encode(value, out, levels)?;
            }
        }
    }
    Ok(())
}
