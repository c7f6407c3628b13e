//! What stands behind each tag, read as strictly as everything else.
//!
//! A tag whose content is a fine item but not one of the tag's is reported at the tag; a fault inside the content
//! where it is.

use super::decode::{Decoded, Decoder, deeper};
use super::{Array, ClassName, Complex, Date, DateTime, Decimal, DecodeError};
use super::{DecodeErrorKind as Kind, DefaultDict, Deque, Elements, Fraction, Instance, Int};
use super::{
    InvalidValue, Path, PathClass, Range, Text, Time, TimeDelta, TimeZone, TypeCode, Uuid,
};
use super::{Value, Zone, tags};
use crate::cbor::{self, Head};

/// What is wrong with the content of a tag: a fault somewhere in it, or that it is not for this tag.
enum Fault {
    Inside(DecodeError),
    Content(Kind),
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Inside(error)
    }
}

impl From<InvalidValue> for Fault {
    fn from(error: InvalidValue) -> Self {
        Self::Content(Kind::Invalid(error))
    }
}

const fn expected(what: &'static str) -> Fault {
    Fault::Content(Kind::Expected(what))
}

type Content<T = Value> = Result<T, Fault>;

impl Decoder<'_, '_> {
    /// The value behind a tag that has been read.
    pub(super) fn tagged(&mut self, head: Head, levels: usize) -> Decoded {
        self.content(head.argument, levels)
            .map_err(|fault| match fault {
                Fault::Inside(error) => error,
                Fault::Content(kind) => kind.at(head.at),
            })
    }

    fn content(&mut self, tag: u64, levels: usize) -> Content {
        match tag {
            tags::BIG_INT => self.big_int(false),
            tags::NEGATIVE_BIG_INT => self.big_int(true),
            tags::SURROGATES => self.surrogates(),
            tags::BYTE_ARRAY => Ok(Value::ByteArray(self.bytes()?.to_vec())),
            tags::TUPLE => Ok(Value::Tuple(self.items(levels)?)),
            tags::SET => Ok(Value::Set(self.elements(levels)?)),
            tags::FROZEN_SET => Ok(Value::FrozenSet(self.elements(levels)?)),
            tags::COMPLEX => match self.parts(levels)? {
                [Value::Float(real), Value::Float(imag)] => Ok(Complex { real, imag }.into()),
                _ => Err(expected("two floats")),
            },
            tags::DECIMAL => {
                let [exponent, mantissa] = self.ints(levels)?;
                Ok(Decimal::new(mantissa, small(&exponent, "Decimal")?)?.into())
            }
            tags::SPECIAL_DECIMAL => Ok(Decimal::from_special_text(self.text()?)?.into()),
            tags::FRACTION => {
                let [numerator, denominator] = self.ints(levels)?;
                Ok(Fraction::new(numerator, denominator)?.into())
            }
            tags::DATE_TIME => Ok(DateTime::from_offset_text(self.text()?)?.into()),
            tags::LOCAL_DATE_TIME => self.local_date_time(levels),
            tags::DATE => Ok(self.text()?.parse::<Date>()?.into()),
            tags::TIME => {
                let (text, fold, zone) = self.clock(levels)?;
                let time = Time::from_local_text(&text)?;
                Ok(time.with_zone(fold, zone).into())
            }
            tags::TIME_DELTA => {
                let [days, seconds, microseconds] = self.ints(levels)?;
                let days = small(&days, "timedelta")?;
                let within = (
                    small(&seconds, "timedelta")?,
                    small(&microseconds, "timedelta")?,
                );
                Ok(TimeDelta::new(days, within.0, within.1)?.into())
            }
            tags::TIME_ZONE => self.time_zone(levels),
            tags::ZONE_INFO => Ok(Zone::Named(self.text()?.to_owned()).into()),
            tags::UUID => match self.bytes()?.try_into() {
                Ok(bytes) => Ok(Uuid(bytes).into()),
                Err(_) => Err(InvalidValue("UUID").into()),
            },
            tags::RANGE => {
                let [start, stop, step] = self.ints(levels)?;
                Ok(Range::new(start, stop, step)?.into())
            }
            tags::SLICE => Ok(Value::Slice(Box::new(self.parts(levels)?))),
            tags::ELLIPSIS if self.reader.head()?.is_null() => Ok(Value::Ellipsis),
            tags::ELLIPSIS => Err(expected("null")),
            tags::PATH => self.path(levels),
            tags::ARRAY => self.other_array(levels),
            tags::COLLECTION => self.collection(levels),
            tags::ENUM | tags::DATA_CLASS | tags::NAMED_TUPLE | tags::OBJECT | tags::EXCEPTION => {
                self.instance(tag, levels)
            }
            _ => {
                let code = TypeCode::from_tag(tag).ok_or(Fault::Content(Kind::UnknownTag(tag)))?;
                Ok(Array::new(code, code.item_sizes()[0], self.bytes()?.to_vec())?.into())
            }
        }
    }

    fn expect(&mut self, major: u8, what: &'static str) -> Content<Head> {
        let head = self.reader.head()?;
        if head.major == major {
            Ok(head)
        } else {
            Err(expected(what))
        }
    }

    fn bytes(&mut self) -> Content<&[u8]> {
        let head = self.expect(cbor::BYTES, "a byte string")?;
        Ok(self.reader.bytes_of(head)?)
    }

    fn text(&mut self) -> Content<&str> {
        let head = self.expect(cbor::TEXT, "text")?;
        Ok(self.reader.text_of(head)?)
    }

    /// Opens an array; its head and the levels that are left inside.
    fn open(&mut self, levels: usize) -> Content<(Head, usize)> {
        let head = self.expect(cbor::ARRAY, "an array")?;
        let levels = deeper(head, levels).map_err(|_| Fault::Content(Kind::TooDeep))?;
        Ok((head, levels))
    }

    fn items(&mut self, levels: usize) -> Content<Vec<Value>> {
        let (head, levels) = self.open(levels)?;
        Ok(self.items_in(head, levels)?)
    }

    /// The values of an array that has to have so many.
    fn parts<const N: usize>(&mut self, levels: usize) -> Content<[Value; N]> {
        let (head, levels) = self.open(levels)?;
        if head.argument != N as u64 {
            return Err(Fault::Content(Kind::ArrayLength(N as u64)));
        }
        let mut parts = [const { Value::None }; N];
        for part in &mut parts {
            *part = self.value(levels)?;
        }
        Ok(parts)
    }

    fn ints<const N: usize>(&mut self, levels: usize) -> Content<[Int; N]> {
        let parts = self.parts::<N>(levels)?;
        if parts.iter().any(|part| part.as_int().is_none()) {
            return Err(expected("integers"));
        }
        Ok(parts.map(|part| match part {
            Value::Int(int) => int,
            _ => 0.into(),
        }))
    }

    /// The elements of a set: distinct, in the order of their bytes.
    fn elements(&mut self, levels: usize) -> Content<Elements> {
        let (head, levels) = self.open(levels)?;
        let mut elements = Vec::new();
        let mut before: &[u8] = &[];
        for _ in 0..head.argument {
            let at = self.reader.at();
            let element = self.value(levels)?;
            let bytes = self.reader.since(at);
            if element.is_unhashable() {
                return Err(Kind::Unhashable.at(at).into());
            }
            if bytes <= before {
                let kind = if bytes == before {
                    Kind::Duplicate
                } else {
                    Kind::OutOfOrder
                };
                return Err(kind.at(at).into());
            }
            before = bytes;
            elements.push(element);
        }
        Ok(Elements::from_sorted(elements))
    }

    fn big_int(&mut self, is_negative: bool) -> Content {
        match self.bytes()? {
            [0, ..] => Err(Fault::Content(Kind::NotCanonical)),
            bytes if bytes.len() <= 8 => Err(Fault::Content(Kind::NotCanonical)),
            bytes => Ok(Int::from_big_endian(is_negative, bytes).into()),
        }
    }

    fn surrogates(&mut self) -> Content {
        let text = Text::from_surrogatepass(self.bytes()?.to_vec())?;
        match text.as_str() {
            None => Ok(text.into()),
            Some(_) => Err(Fault::Content(Kind::NotCanonical)),
        }
    }

    /// Local text, fold and zone.
    fn clock(&mut self, levels: usize) -> Content<(String, bool, Option<Zone>)> {
        let [text, fold, zone] = self.parts(levels)?;
        let text = text.as_str().ok_or(expected("text"))?.to_owned();
        let fold = match fold.as_u64() {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(expected("a fold of 0 or 1")),
        };
        match zone {
            Value::None => Ok((text, fold, None)),
            Value::Zone(zone) => Ok((text, fold, Some(*zone))),
            _ => Err(expected("a zone or null")),
        }
    }

    fn local_date_time(&mut self, levels: usize) -> Content {
        let (text, fold, zone) = self.clock(levels)?;
        let DateTime { date, time } = DateTime::from_local_text(&text)?;
        let value = DateTime::new(date, time.with_zone(fold, zone));
        match value.to_offset_text() {
            None => Ok(value.into()),
            Some(_) => Err(Fault::Content(Kind::NotCanonical)),
        }
    }

    fn time_zone(&mut self, levels: usize) -> Content {
        let [offset_us, name] = self.parts(levels)?;
        let offset_us = small(
            offset_us.as_int().ok_or(expected("an integer"))?,
            "timezone",
        )?;
        let name = match name {
            Value::None => None,
            Value::Str(name) => Some(name),
            _ => return Err(expected("text or null")),
        };
        Ok(Zone::Fixed(TimeZone::new(offset_us, name)?).into())
    }

    fn path(&mut self, levels: usize) -> Content {
        let [class, text] = self.parts(levels)?;
        let class = class.as_str().and_then(PathClass::from_name);
        match text {
            Value::Str(text) => Ok(Path::new(class.ok_or(InvalidValue("path"))?, text)?.into()),
            _ => Err(expected("text")),
        }
    }

    fn other_array(&mut self, levels: usize) -> Content {
        let [code, item_bytes, bytes] = self.parts(levels)?;
        let code = code.as_str().and_then(TypeCode::from_letter);
        let code = code
            .filter(|code| code.tag().is_none())
            .ok_or(InvalidValue("array"))?;
        let item_bytes = item_bytes
            .as_u64()
            .and_then(|size| usize::try_from(size).ok());
        match bytes {
            Value::Bytes(bytes) => {
                Ok(Array::new(code, item_bytes.ok_or(InvalidValue("array"))?, bytes)?.into())
            }
            _ => Err(expected("a byte string")),
        }
    }

    fn collection(&mut self, levels: usize) -> Content {
        let [class, extra, contents] = self.parts(levels)?;
        let class = class.as_str().ok_or(expected("text"))?;
        match (class, extra, contents) {
            ("OrderedDict", Value::None, Value::Dict(pairs)) => Ok(Value::OrderedDict(pairs)),
            ("Counter", Value::None, Value::Dict(pairs)) => Ok(Value::Counter(pairs)),
            ("deque", Value::None, Value::List(items)) => Ok(Deque::new(items, None)?.into()),
            ("deque", Value::Int(len_max), Value::List(items)) => {
                let len_max = len_max.as_u64().ok_or(InvalidValue("deque"))?;
                Ok(Deque::new(items, Some(len_max))?.into())
            }
            ("defaultdict", Value::None, Value::Dict(pairs)) => {
                Ok(DefaultDict::new(None::<String>, pairs)?.into())
            }
            ("defaultdict", Value::Str(factory), Value::Dict(pairs)) => {
                let factory = factory.into_string().ok_or(InvalidValue("defaultdict"))?;
                Ok(DefaultDict::new(Some(factory), pairs)?.into())
            }
            _ => Err(expected("a collection")),
        }
    }

    fn instance(&mut self, tag: u64, levels: usize) -> Content {
        let [module, qualname, content] = self.parts(levels)?;
        let (Some(module), Some(qualname)) = (module.as_str(), qualname.as_str()) else {
            return Err(expected("the names of a class"));
        };
        let class = ClassName::new(module, qualname);
        Ok(match (tag, content) {
            (tags::ENUM, value) => Value::Enum(Box::new(Instance::new(class, value))),
            (tags::NAMED_TUPLE, Value::List(items)) => {
                Value::NamedTuple(Box::new(Instance::new(class, items)))
            }
            (tags::EXCEPTION, Value::List(args)) => {
                Value::Exception(Box::new(Instance::new(class, args)))
            }
            (tags::DATA_CLASS, Value::Dict(pairs)) => {
                Value::DataClass(Box::new(Instance::new(class, attributes(pairs)?)))
            }
            (tags::OBJECT, Value::Dict(pairs)) => {
                Value::Object(Box::new(Instance::new(class, attributes(pairs)?)))
            }
            _ => return Err(expected("the content of an instance")),
        })
    }
}

/// An integer that fits `T`; otherwise the parts do not make a value of the type named.
fn small<T: TryFrom<i64>>(int: &Int, of: &'static str) -> Result<T, InvalidValue> {
    int.as_i64()
        .and_then(|int| T::try_from(int).ok())
        .ok_or(InvalidValue(of))
}

fn attributes(pairs: Vec<(Value, Value)>) -> Content<Vec<(Text, Value)>> {
    let attribute = |(name, value)| match name {
        Value::Str(name) => Ok((name, value)),
        _ => Err(expected("names of attributes")),
    };
    pairs.into_iter().map(attribute).collect()
}
