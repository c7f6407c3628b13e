//! Bytes to value. The bytes come from anybody: only the one encoding of a value is taken, no length is believed
//! before the bytes are there, and nesting is bounded.

use std::collections::HashSet;

use super::{
    DecodeError, DecodeErrorKind as Kind, Elements, Float, Int, InvalidValue, NESTING_MAX,
};
use super::{Text, Value, tags};
use crate::cbor::{self, Head, Reader};

/// Room that is made before the items are there.
const CAPACITY_MAX: u64 = 256;

impl Value {
    /// The value whose encoding `bytes` is, all of them.
    ///
    /// The value takes at most 32 times the memory of the bytes, plus a constant.
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
        Decoder { reader }.text()
    }
}

pub(super) type Decoded<T = Value> = Result<T, DecodeError>;

/// Reads values. `levels` are the arrays and maps that may still be opened.
pub(super) struct Decoder<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn value(&mut self, levels: usize) -> Decoded {
        let head = self.reader.head()?;
        Ok(match head.major {
            cbor::UNSIGNED => Value::Int(head.argument.into()),
            cbor::NEGATIVE => Value::Int(Int::from_negative(head.argument)),
            cbor::BYTES => Value::Bytes(self.reader.bytes_of(head)?.to_vec()),
            cbor::TEXT => Value::Str(self.reader.text_of(head)?.into()),
            cbor::ARRAY => Value::List(self.items_of(head, levels)?),
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

    /// The items of an array whose head has been read.
    fn items_of(&mut self, head: Head, levels: usize) -> Decoded<Vec<Value>> {
        let levels = deeper(head, levels)?;
        let mut items = Vec::with_capacity(head.argument.min(CAPACITY_MAX) as usize);
        for _ in 0..head.argument {
            items.push(self.value(levels)?);
        }
        Ok(items)
    }

    pub(super) fn items(&mut self, levels: usize) -> Decoded<Vec<Value>> {
        let head = self.reader.expect(cbor::ARRAY)?;
        self.items_of(head, levels)
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

    pub(super) fn pairs(&mut self, levels: usize) -> Decoded<Vec<(Value, Value)>> {
        let head = self.reader.expect(cbor::MAP)?;
        self.pairs_of(head, levels)
    }

    /// A map of names to values.
    pub(super) fn attributes(&mut self, levels: usize) -> Decoded<Vec<(Text, Value)>> {
        let head = self.reader.expect(cbor::MAP)?;
        let levels = deeper(head, levels)?;
        let mut attributes = Vec::with_capacity(head.argument.min(CAPACITY_MAX) as usize);
        let mut names = HashSet::new();
        for _ in 0..head.argument {
            let at = self.reader.at();
            let name = self.text()?;
            if !names.insert(self.reader.since(at)) {
                return Err(Kind::Duplicate.at(at));
            }
            attributes.push((name, self.value(levels)?));
        }
        Ok(attributes)
    }

    /// The elements of a set: distinct, in the order of their bytes.
    pub(super) fn elements(&mut self, levels: usize) -> Decoded<Elements> {
        let head = self.reader.expect(cbor::ARRAY)?;
        let levels = deeper(head, levels)?;
        let mut elements = Vec::with_capacity(head.argument.min(CAPACITY_MAX) as usize);
        let mut before: &'a [u8] = &[];
        for _ in 0..head.argument {
            let at = self.reader.at();
            let element = self.value(levels)?;
            if element.is_unhashable() {
                return Err(Kind::Unhashable.at(at));
            }
            let bytes = self.reader.since(at);
            if bytes <= before {
                let kind = if bytes == before {
                    Kind::Duplicate
                } else {
                    Kind::OutOfOrder
                };
                return Err(kind.at(at));
            }
            before = bytes;
            elements.push(element);
        }
        Ok(Elements::from_sorted(elements))
    }

    /// Opens an array of exactly `len` parts; the levels that are left inside.
    pub(super) fn open(&mut self, len: u64, levels: usize) -> Decoded<usize> {
        let head = self.reader.array_of(len)?;
        deeper(head, levels)
    }

    pub(super) fn float(&mut self) -> Decoded<Float> {
        let head = self.reader.head()?;
        if head.major == cbor::SIMPLE && head.low == 27 {
            Ok(float_of(head))
        } else {
            Err(Kind::Expected("a float").at(head.at))
        }
    }

    pub(super) fn int(&mut self) -> Decoded<Int> {
        let head = self.reader.head()?;
        match head.major {
            cbor::UNSIGNED => Ok(head.argument.into()),
            cbor::NEGATIVE => Ok(Int::from_negative(head.argument)),
            cbor::TAG if head.argument == tags::BIG_INT => self.big_int(false),
            cbor::TAG if head.argument == tags::NEGATIVE_BIG_INT => self.big_int(true),
            _ => Err(Kind::Expected("an integer").at(head.at)),
        }
    }

    /// An integer that fits `T`; otherwise the parts do not make a value of the type named.
    pub(super) fn small_int<T: TryFrom<i64>>(&mut self, of: &'static str) -> Decoded<T> {
        let at = self.reader.at();
        let small = self.int()?.as_i64().and_then(|int| T::try_from(int).ok());
        small.ok_or(Kind::Invalid(InvalidValue(of)).at(at))
    }

    /// The bytes of an integer whose tag has been read.
    pub(super) fn big_int(&mut self, is_negative: bool) -> Decoded<Int> {
        let at = self.reader.at();
        match self.reader.bytes()? {
            [0, ..] | [] => Err(Kind::NotCanonical.at(at)),
            bytes if bytes.len() <= 8 => Err(Kind::NotCanonical.at(at)),
            bytes => Ok(Int::from_big_endian(is_negative, bytes)),
        }
    }

    pub(super) fn text(&mut self) -> Decoded<Text> {
        let head = self.reader.head()?;
        match head.major {
            cbor::TEXT => Ok(self.reader.text_of(head)?.into()),
            cbor::TAG if head.argument == tags::SURROGATES => self.surrogates(),
            _ => Err(Kind::Expected("text").at(head.at)),
        }
    }

    /// The bytes of text whose tag has been read.
    pub(super) fn surrogates(&mut self) -> Decoded<Text> {
        let at = self.reader.at();
        let bytes = self.reader.bytes()?.to_vec();
        let text = Text::from_surrogatepass(bytes).map_err(|_| Kind::InvalidUtf8.at(at))?;
        if text.as_str().is_none() {
            Ok(text)
        } else {
            Err(Kind::NotCanonical.at(at))
        }
    }
}

fn deeper(head: Head, levels: usize) -> Decoded<usize> {
    levels.checked_sub(1).ok_or(Kind::TooDeep.at(head.at))
}

const fn float_of(head: Head) -> Float {
    Float(f64::from_bits(head.argument))
}
