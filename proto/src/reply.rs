//! The guest's answer to loading and to a call. The guest is not trusted: any bytes may arrive here.

use crate::cbor::{self, Reader};
use crate::outcome::{EncodedValue, Exception};
use crate::value::{DecodeError, DecodeErrorKind as Kind, Text, Value};

/// What the guest answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The function returned; after loading, the function is ready and the value is `None`.
    Returned(EncodedValue),
    /// The function, or the module while it was loaded, raised an exception.
    Raised(Exception),
}

impl Reply {
    /// Reads a reply. Its length is the caller's to limit; memory use is a small multiple of it.
    ///
    /// The value returned is not looked at: see [`EncodedValue`].
    ///
    /// # Errors
    ///
    /// When the bytes are not a reply.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(2)?;
        let which = reader.expect(cbor::UNSIGNED)?;
        match which.argument {
            0 if reader.remaining() == 0 => Err(Kind::Truncated.at(reader.at())),
            0 => Ok(Self::Returned(EncodedValue::from_bytes(
                reader.rest().to_vec(),
            ))),
            1 => {
                let exception = read_exception(&mut reader)?;
                reader.end()?;
                Ok(Self::Raised(exception))
            }
            _ => Err(Kind::Expected("0 or 1").at(which.at)),
        }
    }
}

fn read_exception(reader: &mut Reader<'_>) -> Result<Exception, DecodeError> {
    let map = reader.expect(cbor::MAP)?;
    let (mut type_name, mut message, mut traceback) = (None, None, None);
    let (mut notes, mut exit_code) = (None, None);
    for _ in 0..map.argument {
        let at = reader.at();
        match reader.text()? {
            "type" => once(&mut type_name, at, read_text(reader)?)?,
            "message" => once(&mut message, at, read_text(reader)?)?,
            "traceback" => once(&mut traceback, at, read_text(reader)?)?,
            "notes" => once(&mut notes, at, read_notes(reader)?)?,
            "exit_code" => once(&mut exit_code, at, read_exit_code(reader)?)?,
            _ => return Err(Kind::Expected("a key of an exception").at(at)),
        }
    }
    let missing = Kind::Expected("all keys of an exception").at(map.at);
    Ok(Exception {
        type_name: type_name.ok_or(missing)?,
        message: message.ok_or(missing)?,
        traceback: traceback.ok_or(missing)?,
        notes: notes.ok_or(missing)?,
        exit_code: exit_code.ok_or(missing)?,
    })
}

fn once<T>(place: &mut Option<T>, at: usize, value: T) -> Result<(), DecodeError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Kind::Duplicate.at(at)),
    }
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    Ok(Text::decode_from(reader)?.to_string())
}

fn read_notes(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let head = reader.expect(cbor::ARRAY)?;
    (0..head.argument).map(|_| read_text(reader)).collect()
}

fn read_exit_code(reader: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    let at = reader.at();
    match Value::decode_from(reader)? {
        Value::Int(code) => Ok(Some(code.as_i64().unwrap_or(-1))),
        Value::None => Ok(None),
        _ => Err(Kind::Expected("an integer or null").at(at)),
    }
}
