//! Bytes to value. The bytes come from anybody: only the one encoding of a value is taken, no length is believed
//! before the bytes are there, and nesting is bounded.

use std::collections::HashSet;

use super::{DecodeError, DecodeErrorKind as Kind, Float, Int, NESTING_MAX, Text, Value};
use crate::cbor::{self, Head, Reader};

/// Room that is made before the items are there.
const CAPACITY_MAX: u64 = 256;

impl Value {
    /// The value whose encoding `bytes` is, all of them.
    ///
    /// Memory grows with the bytes: items of one byte, the worst case, need up to a hundred times as much.
    ///
    /// # Errors
    ///
    /// When the bytes are anything but the one encoding of a value.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode_from(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    pub(crate) fn decode_from(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Decoder { reader }.value(NESTING_MAX)
    }
}

impl Text {
    /// Reads text, also the kind that holds lone surrogates.
    pub(crate) fn decode_from(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match (Decoder { reader }).value(0)? {
            Value::Str(text) => Ok(text),
            _ => Err(Kind::Expected("text").at(at)),
        }
    }
}

pub(super) type Decoded<T = Value> = Result<T, DecodeError>;

/// Reads values. `levels` are the arrays and maps that may still be opened.
pub(super) struct Decoder<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
}

impl Decoder<'_, '_> {
    pub(super) fn value(&mut self, levels: usize) -> Decoded {
        let head = self.reader.head()?;
        Ok(match head.major {
            cbor::UNSIGNED => Value::Int(head.argument.into()),
            cbor::NEGATIVE => Value::Int(Int::from_negative(head.argument)),
            cbor::BYTES => Value::Bytes(self.reader.bytes_of(head)?.to_vec()),
            cbor::TEXT => Value::Str(self.reader.text_of(head)?.into()),
            cbor::ARRAY => Value::List(self.items_in(head, deeper(head, levels)?)?),
            cbor::MAP => Value::Dict(self.pairs_of(head, levels)?),
            cbor::TAG => return self.tagged(head, levels),
            _ => match head.low {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                22 => Value::None,
                27 => Value::Float(float_of(head)),
                _ => return Err(Kind::UnknownSimple.at(head.at)),
            },
        })
    }

    /// The items of an array that has been opened.
    pub(super) fn items_in(&mut self, head: Head, levels: usize) -> Decoded<Vec<Value>> {
        let mut items = Vec::with_capacity(head.argument.min(CAPACITY_MAX) as usize);
        for _ in 0..head.argument {
            items.push(self.value(levels)?);
        }
        Ok(items)
    }

    /// The pairs of a map whose head has been read.
    fn pairs_of(&mut self, head: Head, levels: usize) -> Decoded<Vec<(Value, Value)>> {
        let levels = deeper(head, levels)?;
        let mut pairs = Vec::with_capacity(head.argument.min(CAPACITY_MAX) as usize);
        let mut keys = HashSet::new();
        for _ in 0..head.argument {
            let at = self.reader.at();
            let key = self.value(levels)?;
            if key.is_unhashable() {
                return Err(Kind::Unhashable.at(at));
            }
            // Values are equal when their bytes are.
            if head.argument > 1 && !keys.insert(self.reader.since(at)) {
                return Err(Kind::Duplicate.at(at));
            }
            pairs.push((key, self.value(levels)?));
        }
        Ok(pairs)
    }
}

pub(super) fn deeper(head: Head, levels: usize) -> Decoded<usize> {
    levels.checked_sub(1).ok_or(Kind::TooDeep.at(head.at))
}

const fn float_of(head: Head) -> Float {
    Float(f64::from_bits(head.argument))
}
