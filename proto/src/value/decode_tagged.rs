//! What stands behind each tag, read as strictly as everything else.

use super::decode::{Decoded, Decoder};
use super::{Array, ClassName, Complex, Date, DateTime, Decimal, DecodeErrorKind as Kind};
use super::{DefaultDict, Deque, Fraction, Instance, InvalidValue, Path, PathClass, Range, Time};
use super::{TimeDelta, TimeZone, TypeCode, Uuid, Value, Zone, tags};
use crate::cbor::{self, Head};

impl Decoder<'_, '_> {
    /// The value behind a tag that has been read.
    pub(super) fn tagged(&mut self, head: Head, levels: usize) -> Decoded {
        Ok(match head.argument {
            tags::BIG_INT => Value::Int(self.big_int(false)?),
            tags::NEGATIVE_BIG_INT => Value::Int(self.big_int(true)?),
            tags::SURROGATES => Value::Str(self.surrogates()?),
            tags::BYTE_ARRAY => Value::ByteArray(self.reader.bytes()?.to_vec()),
            tags::TUPLE => Value::Tuple(self.items(levels)?),
            tags::SET => Value::Set(self.elements(levels)?),
            tags::FROZEN_SET => Value::FrozenSet(self.elements(levels)?),
            tags::COMPLEX => {
                self.open(2, levels)?;
                Value::Complex(Complex {
                    real: self.float()?,
                    imag: self.float()?,
                })
            }
            tags::DECIMAL => {
                self.open(2, levels)?;
                let exponent = self.small_int("Decimal")?;
                Value::Decimal(Box::new(valid(Decimal::new(self.int()?, exponent), head)?))
            }
            tags::SPECIAL_DECIMAL => {
                let decimal = Decimal::from_special_text(self.reader.text()?);
                Value::Decimal(Box::new(valid(decimal, head)?))
            }
            tags::FRACTION => {
                self.open(2, levels)?;
                let fraction = Fraction::new(self.int()?, self.int()?);
                Value::Fraction(Box::new(valid(fraction, head)?))
            }
            tags::DATE_TIME => {
                let value = DateTime::from_offset_text(self.reader.text()?);
                Value::DateTime(Box::new(valid(value, head)?))
            }
            tags::LOCAL_DATE_TIME => Value::DateTime(Box::new(self.local_date_time(head, levels)?)),
            tags::DATE => Value::Date(valid(self.reader.text()?.parse::<Date>(), head)?),
            tags::TIME => {
                let levels = self.open(3, levels)?;
                let time = valid(Time::from_local_text(self.reader.text()?), head)?;
                Value::Time(Box::new(self.fold_and_zone(time, levels)?))
            }
            tags::TIME_DELTA => {
                self.open(3, levels)?;
                let days = self.small_int("timedelta")?;
                let (seconds, rest) = (self.small_int("timedelta")?, self.small_int("timedelta")?);
                Value::TimeDelta(valid(TimeDelta::new(days, seconds, rest), head)?)
            }
            tags::TIME_ZONE | tags::ZONE_INFO => Value::Zone(Box::new(self.zone(head, levels)?)),
            tags::UUID => match self.reader.bytes()?.try_into() {
                Ok(bytes) => Value::Uuid(Uuid(bytes)),
                Err(_) => return Err(invalid("UUID", head)),
            },
            tags::RANGE => {
                self.open(3, levels)?;
                let range = Range::new(self.int()?, self.int()?, self.int()?);
                Value::Range(Box::new(valid(range, head)?))
            }
            tags::SLICE => {
                let levels = self.open(3, levels)?;
                let parts = [
                    self.value(levels)?,
                    self.value(levels)?,
                    self.value(levels)?,
                ];
                Value::Slice(Box::new(parts))
            }
            tags::ELLIPSIS => match self.value(0)? {
                Value::None => Value::Ellipsis,
                _ => return Err(invalid("ellipsis", head)),
            },
            tags::PATH => {
                self.open(2, levels)?;
                let class = PathClass::from_name(self.reader.text()?);
                let class = class.ok_or(invalid("path", head))?;
                Value::Path(Box::new(valid(Path::new(class, self.text()?), head)?))
            }
            tags::ARRAY => self.other_array(head, levels)?,
            tags::COLLECTION => self.collection(head, levels)?,
            tags::ENUM | tags::DATA_CLASS | tags::NAMED_TUPLE | tags::OBJECT | tags::EXCEPTION => {
                self.instance(head, levels)?
            }
            tag => match TypeCode::from_tag(tag) {
                Some(code) => self.array(head, code, code.item_sizes()[0])?,
                None => return Err(Kind::UnknownTag(tag).at(head.at)),
            },
        })
    }

    fn array(&mut self, head: Head, code: TypeCode, item_bytes: usize) -> Decoded {
        let array = Array::new(code, item_bytes, self.reader.bytes()?.to_vec());
        Ok(Value::Array(Box::new(valid(array, head)?)))
    }

    fn other_array(&mut self, head: Head, levels: usize) -> Decoded {
        self.open(3, levels)?;
        let code = TypeCode::from_letter(self.reader.text()?).filter(|code| code.tag().is_none());
        let item_bytes = self.small_int("array")?;
        self.array(head, code.ok_or(invalid("array", head))?, item_bytes)
    }

    fn local_date_time(&mut self, head: Head, levels: usize) -> Decoded<DateTime> {
        let levels = self.open(3, levels)?;
        let DateTime { date, time } = valid(DateTime::from_local_text(self.reader.text()?), head)?;
        let value = DateTime::new(date, self.fold_and_zone(time, levels)?);
        if value.to_offset_text().is_none() {
            Ok(value)
        } else {
            Err(Kind::NotCanonical.at(head.at))
        }
    }

    fn fold_and_zone(&mut self, mut time: Time, levels: usize) -> Decoded<Time> {
        let fold = self.reader.expect(cbor::UNSIGNED)?;
        time.fold = match fold.argument {
            0 => false,
            1 => true,
            _ => return Err(invalid("time", fold)),
        };
        let zone = self.reader.head()?;
        time.zone = match zone.major {
            cbor::TAG => Some(self.zone(zone, levels)?),
            _ if is_null(zone) => None,
            _ => return Err(Kind::Expected("a zone or null").at(zone.at)),
        };
        Ok(time)
    }

    /// A zone whose tag has been read.
    fn zone(&mut self, head: Head, levels: usize) -> Decoded<Zone> {
        match head.argument {
            tags::ZONE_INFO => Ok(Zone::Named(self.reader.text()?.to_owned())),
            tags::TIME_ZONE => {
                self.open(2, levels)?;
                let offset_us = self.small_int("timezone")?;
                let name = match self.reader.clone().head()? {
                    null if is_null(null) => {
                        self.reader.head()?;
                        None
                    }
                    _ => Some(self.text()?),
                };
                Ok(Zone::Fixed(valid(TimeZone::new(offset_us, name), head)?))
            }
            _ => Err(Kind::Expected("a zone or null").at(head.at)),
        }
    }

    fn collection(&mut self, head: Head, levels: usize) -> Decoded {
        let levels = self.open(3, levels)?;
        let class = self.reader.text()?;
        let extra = self.reader.head()?;
        let is_plain = is_null(extra);
        Ok(match class {
            "OrderedDict" if is_plain => Value::OrderedDict(self.pairs(levels)?),
            "Counter" if is_plain => Value::Counter(self.pairs(levels)?),
            "deque" if is_plain || extra.major == cbor::UNSIGNED => {
                let len_max = (!is_plain).then_some(extra.argument);
                Value::Deque(Box::new(valid(
                    Deque::new(self.items(levels)?, len_max),
                    head,
                )?))
            }
            "defaultdict" if is_plain || extra.major == cbor::TEXT => {
                let factory = match is_plain {
                    true => None,
                    false => Some(self.reader.text_of(extra)?),
                };
                let dict = DefaultDict::new(factory, self.pairs(levels)?);
                Value::DefaultDict(Box::new(valid(dict, head)?))
            }
            _ => return Err(invalid("collection", head)),
        })
    }

    fn instance(&mut self, head: Head, levels: usize) -> Decoded {
        let levels = self.open(3, levels)?;
        let class = ClassName::new(self.reader.text()?, self.reader.text()?);
        Ok(match head.argument {
            tags::ENUM => Value::Enum(Box::new(Instance::new(class, self.value(levels)?))),
            tags::NAMED_TUPLE => {
                Value::NamedTuple(Box::new(Instance::new(class, self.items(levels)?)))
            }
            tags::EXCEPTION => {
                Value::Exception(Box::new(Instance::new(class, self.items(levels)?)))
            }
            tag => {
                let object = Box::new(Instance::new(class, self.attributes(levels)?));
                if tag == tags::DATA_CLASS {
                    Value::DataClass(object)
                } else {
                    Value::Object(object)
                }
            }
        })
    }
}

fn is_null(head: Head) -> bool {
    head.major == cbor::SIMPLE && head.low == cbor::NULL & 0x1f
}

fn valid<T>(value: Result<T, InvalidValue>, head: Head) -> Decoded<T> {
    value.map_err(|error| Kind::Invalid(error).at(head.at))
}

const fn invalid(of: &'static str, head: Head) -> super::DecodeError {
    Kind::Invalid(InvalidValue(of)).at(head.at)
}
