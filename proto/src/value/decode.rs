//! Bytes to value. The bytes come from anybody.

use super::{DecodeError, DecodeErrorKind as Kind, Float, NESTING_MAX, Value};
use crate::cbor::{self, Reader};

impl Value {
    /// The value whose encoding `bytes` is, all of them.
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
        decode(reader, NESTING_MAX)
    }
}

fn decode(reader: &mut Reader<'_>, levels: usize) -> Result<Value, DecodeError> {
    let head = reader.head()?;
    let deeper = || levels.checked_sub(1).ok_or(Kind::TooDeep.at(head.at));
    Ok(match head.major {
        cbor::UNSIGNED => Value::Int(head.argument.into()),
        cbor::BYTES => Value::Bytes(reader.bytes_of(head)?.to_vec()),
        cbor::TEXT => Value::Str(reader.text_of(head)?.to_owned()),
        cbor::ARRAY => {
            let levels = deeper()?;
            Value::List(
                (0..head.argument)
                    .map(|_| decode(reader, levels))
                    .collect::<Result<_, _>>()?,
            )
        }
        cbor::MAP => {
            let levels = deeper()?;
            let pairs =
                (0..head.argument).map(|_| Ok((decode(reader, levels)?, decode(reader, levels)?)));
            Value::Dict(pairs.collect::<Result<_, _>>()?)
        }
        cbor::TAG => return Err(Kind::UnknownTag(head.argument).at(head.at)),
        _ => match head.low {
            20 => Value::Bool(false),
            21 => Value::Bool(true),
            22 => Value::None,
            27 => Value::Float(Float(f64::from_bits(head.argument))),
            _ => return Err(Kind::UnknownSimple.at(head.at)),
        },
    })
}
