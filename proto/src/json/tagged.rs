//! Tagged objects to values: each has the members that `write` gives it, no fewer and no more.

use serde_json::{Map, Value as Json};

use super::read::{deeper, items, member, value as read};
use super::{JsonError, JsonErrorKind as Kind, TYPE, base64};
use crate::digits::parse_hexadecimal;
use crate::value::{Array, ClassName, Complex, Date, DateTime, Decimal, DefaultDict, Deque};
use crate::value::{Elements, Fraction, Instance, Int, InvalidValue, Path, PathClass, Range, Text};
use crate::value::{Time, TimeDelta, TimeZone, TypeCode, Uuid, Value, Zone};

type Read<T> = Result<T, JsonError>;

/// The value of an object whose `$type` is `name`, with so many levels left inside it.
pub(super) fn value(name: &str, object: &Map<String, Json>, levels: usize) -> Read<Value> {
    let mut members = Members {
        object,
        levels,
        taken: vec![TYPE],
    };
    let value = members.value_of(name)?;
    match object
        .keys()
        .find(|member| !members.taken.contains(&member.as_str()))
    {
        None => Ok(value),
        Some(extra) => Err(Kind::Extra(extra.clone()).into()),
    }
}

/// The members of a tagged object, and which of them have been asked for.
struct Members<'a> {
    object: &'a Map<String, Json>,
    levels: usize,
    taken: Vec<&'static str>,
}

impl<'a> Members<'a> {
    fn value_of(&mut self, name: &str) -> Read<Value> {
        Ok(match name {
            "int" => self
                .text("value", |text| {
                    parse_hexadecimal(text).ok_or(InvalidValue("int"))
                })?
                .into(),
            "float" => self.text("value", parse_float)?.into(),
            "str" => self
                .text("value", |text| Text::from_surrogatepass(parse_bytes(text)?))?
                .into(),
            "bytes" => Value::Bytes(self.text("value", parse_bytes)?),
            "bytearray" => Value::ByteArray(self.text("value", parse_bytes)?),
            "tuple" => Value::Tuple(self.list()?),
            "set" => Value::Set(self.elements()?),
            "frozenset" => Value::FrozenSet(self.elements()?),
            "dict" => Value::Dict(self.pairs_in_list()?),
            "complex" => match self.parts()? {
                [Value::Float(real), Value::Float(imag)] => Complex { real, imag }.into(),
                _ => return Err(Kind::Expected("two floats").into()),
            },
            "Decimal" => self.decimal()?.into(),
            "Fraction" => {
                let [numerator, denominator] = self.ints()?;
                Fraction::new(numerator, denominator)?.into()
            }
            "datetime" => self.date_time()?.into(),
            "date" => self.text("value", str::parse::<Date>)?.into(),
            "time" => {
                let time = self.text("value", Time::from_local_text)?;
                self.clock(time)?.into()
            }
            "timedelta" => {
                let [days, seconds, microseconds] = self.ints()?;
                let days = small(&days, "timedelta")?;
                let within = (
                    small(&seconds, "timedelta")?,
                    small(&microseconds, "timedelta")?,
                );
                TimeDelta::new(days, within.0, within.1)?.into()
            }
            "timezone" => self.time_zone()?.into(),
            "ZoneInfo" => {
                Zone::Named(self.text("value", |key| Ok::<_, InvalidValue>(key.to_owned()))?).into()
            }
            "UUID" => self.text("value", str::parse::<Uuid>)?.into(),
            "range" => {
                let [start, stop, step] = self.ints()?;
                Range::new(start, stop, step)?.into()
            }
            "slice" => Value::Slice(Box::new(self.parts()?)),
            "ellipsis" => Value::Ellipsis,
            "array" => self.array()?.into(),
            "OrderedDict" => Value::OrderedDict(self.pairs()?),
            "Counter" => Value::Counter(self.pairs()?),
            "deque" => self.deque()?.into(),
            "defaultdict" => self.default_dict()?.into(),
            "enum" => Value::Enum(Box::new(Instance::new(self.class()?, self.read("value")?))),
            "dataclass" => {
                Value::DataClass(Box::new(Instance::new(self.class()?, self.attributes()?)))
            }
            "namedtuple" => Value::NamedTuple(Box::new(Instance::new(self.class()?, self.list()?))),
            "object" => Value::Object(Box::new(Instance::new(self.class()?, self.attributes()?))),
            "exception" => Value::Exception(Box::new(Instance::new(self.class()?, self.list()?))),
            _ => match PathClass::from_name(name) {
                Some(class) => match self.read("value")? {
                    Value::Str(text) => Path::new(class, text)?.into(),
                    _ => return Err(Kind::Expected("text").into()),
                },
                None => return Err(Kind::UnknownType(name.to_owned()).into()),
            },
        })
    }

    fn optional(&mut self, name: &'static str) -> Option<&'a Json> {
        let found = self.object.get(name)?;
        self.taken.push(name);
        Some(found)
    }

    fn json(&mut self, name: &'static str) -> Read<&'a Json> {
        self.optional(name).ok_or(Kind::Missing(name).into())
    }

    fn read(&mut self, name: &'static str) -> Read<Value> {
        let json = self.json(name)?;
        read(json, self.levels).map_err(|error| error.within(member(name)))
    }

    /// What `parse` makes of a member's text.
    fn text<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Read<T> {
        let text = self.json(name)?.as_str().ok_or(Kind::Expected("text"));
        let parsed = text.and_then(|text| parse(text).map_err(Kind::Invalid));
        parsed.map_err(|kind| JsonError::from(kind).within(member(name)))
    }

    fn list(&mut self) -> Read<Vec<Value>> {
        match self.json("value")? {
            Json::Array(list) => items(list, deeper(self.levels)?),
            _ => Err(Kind::Expected("a list").into()),
        }
        .map_err(|error: JsonError| error.within(member("value")))
    }

    fn parts<const N: usize>(&mut self) -> Read<[Value; N]> {
        let wrong = Kind::Expected(if N == 2 { "a list of 2" } else { "a list of 3" });
        let list = self.list()?;
        list.try_into()
            .map_err(|_| JsonError::from(wrong).within(member("value")))
    }

    fn ints<const N: usize>(&mut self) -> Read<[Int; N]> {
        let parts = self.parts::<N>()?;
        if parts.iter().any(|part| part.as_int().is_none()) {
            return Err(JsonError::from(Kind::Expected("integers")).within(member("value")));
        }
        Ok(parts.map(|part| match part {
            Value::Int(int) => int,
            _ => 0.into(),
        }))
    }

    fn elements(&mut self) -> Read<Elements> {
        Elements::new(self.list()?).map_err(|error| Kind::Elements(error).into())
    }

    fn pairs_in_list(&mut self) -> Read<Vec<(Value, Value)>> {
        let pair = |pair| match pair {
            Value::List(pair) => <[_; 2]>::try_from(pair)
                .ok()
                .map(|[key, value]| (key, value)),
            _ => None,
        };
        let pairs = self.list()?.into_iter().map(pair).collect::<Option<_>>();
        pairs.ok_or(JsonError::from(Kind::Expected("a list of pairs")).within(member("value")))
    }

    fn pairs(&mut self) -> Read<Vec<(Value, Value)>> {
        match self.read("value")? {
            Value::Dict(pairs) => Ok(pairs),
            _ => Err(JsonError::from(Kind::Expected("a dict")).within(member("value"))),
        }
    }

    fn attributes(&mut self) -> Read<Vec<(Text, Value)>> {
        let attribute = |(name, value)| match name {
            Value::Str(name) => Some((name, value)),
            _ => None,
        };
        let attributes = self
            .pairs()?
            .into_iter()
            .map(attribute)
            .collect::<Option<_>>();
        attributes.ok_or(JsonError::from(Kind::Expected("names")).within(member("value")))
    }

    fn class(&mut self) -> Read<ClassName> {
        let owned = |text: &str| Ok(text.to_owned());
        Ok(ClassName {
            module: self.text("module", owned)?,
            qualname: self.text("class", owned)?,
        })
    }

    fn decimal(&mut self) -> Read<Decimal> {
        if self.object.get("value").is_some_and(Json::is_array) {
            let [mantissa, exponent] = self.ints()?;
            return Ok(Decimal::new(mantissa, small(&exponent, "Decimal")?)?);
        }
        self.text("value", str::parse)
    }

    fn date_time(&mut self) -> Read<DateTime> {
        let with_offset = self.object.get("value").and_then(Json::as_str);
        if let Some(value) = with_offset.and_then(|text| DateTime::from_offset_text(text).ok()) {
            self.taken.push("value");
            return Ok(value);
        }
        let DateTime { date, time } = self.text("value", DateTime::from_local_text)?;
        Ok(DateTime::new(date, self.clock(time)?))
    }

    fn clock(&mut self, time: Time) -> Read<Time> {
        let fold = match self.optional("fold").map(Json::as_u64) {
            None | Some(Some(0)) => false,
            Some(Some(1)) => true,
            Some(_) => return Err(JsonError::from(Kind::Expected("0 or 1")).within(member("fold"))),
        };
        let zone = match self.object.contains_key("zone") {
            false => None,
            true => match self.read("zone")? {
                Value::Zone(zone) => Some(*zone),
                Value::None => None,
                _ => return Err(JsonError::from(Kind::Expected("a zone")).within(member("zone"))),
            },
        };
        Ok(time.with_zone(fold, zone))
    }

    fn time_zone(&mut self) -> Read<Zone> {
        let offset_us = self.json("value")?.as_i64();
        let offset_us = offset_us.ok_or(Kind::Expected("microseconds"))?;
        let name = match self.object.contains_key("name") {
            false => None,
            true => match self.read("name")? {
                Value::Str(name) => Some(name),
                Value::None => None,
                _ => return Err(JsonError::from(Kind::Expected("text")).within(member("name"))),
            },
        };
        Ok(Zone::Fixed(TimeZone::new(offset_us, name)?))
    }

    fn array(&mut self) -> Read<Array> {
        let code = self.text("code", |code| {
            TypeCode::from_letter(code).ok_or(InvalidValue("type code"))
        })?;
        let item_bytes = self
            .json("item_bytes")?
            .as_u64()
            .and_then(|size| usize::try_from(size).ok());
        let item_bytes = item_bytes.ok_or(Kind::Expected("a number of bytes"))?;
        Ok(Array::new(
            code,
            item_bytes,
            self.text("value", parse_bytes)?,
        )?)
    }

    fn deque(&mut self) -> Read<Deque> {
        let len_max = match self.optional("maxlen") {
            None | Some(Json::Null) => None,
            Some(json) => Some(json.as_u64().ok_or(Kind::Expected("a length"))?),
        };
        Ok(Deque::new(self.list()?, len_max)?)
    }

    fn default_dict(&mut self) -> Read<DefaultDict> {
        let factory = match self.optional("factory") {
            None | Some(Json::Null) => None,
            Some(json) => Some(json.as_str().ok_or(Kind::Expected("text"))?),
        };
        Ok(DefaultDict::new(factory, self.pairs()?)?)
    }
}

fn parse_bytes(text: &str) -> Result<Vec<u8>, InvalidValue> {
    base64::decode(text).ok_or(InvalidValue("base64 text"))
}

fn parse_float(text: &str) -> Result<f64, InvalidValue> {
    let invalid = InvalidValue("float");
    match text {
        "nan" => Ok(f64::from_bits(0x7ff8 << 48)),
        "inf" => Ok(f64::INFINITY),
        "-inf" => Ok(f64::NEG_INFINITY),
        _ => {
            let bits = text
                .strip_prefix("nan:")
                .filter(|bits| bits.len() == 16)
                .ok_or(invalid)?;
            let float = f64::from_bits(u64::from_str_radix(bits, 16).map_err(|_| invalid)?);
            if float.is_nan() {
                Ok(float)
            } else {
                Err(invalid)
            }
        }
    }
}

/// An integer that fits `T`; otherwise the parts do not make a value of the type named.
fn small<T: TryFrom<i64>>(int: &Int, of: &'static str) -> Result<T, InvalidValue> {
    int.as_i64()
        .and_then(|int| T::try_from(int).ok())
        .ok_or(InvalidValue(of))
}
