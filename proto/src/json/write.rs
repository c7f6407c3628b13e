//! Value to JSON.

use serde_json::{Map, Number, Value as Json, json};

use super::{NUMBER, TYPE, base64};
use crate::digits::{decimal_digits, hexadecimal};
use crate::repr::float_text;
use crate::value::{ClassName, DateTime, Decimal, Int, Text, Time, TimeZone, Value, Zone};

pub(super) fn value(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => int(value),
        Value::Float(value) => float(value.0),
        Value::Str(value) => text(value),
        Value::List(value) => items(value),
        Value::Dict(value) => pairs(value),
        Value::Bytes(value) => tagged("bytes", base64::encode(value)),
        Value::ByteArray(value) => tagged("bytearray", base64::encode(value)),
        Value::Tuple(value) => tagged("tuple", items(value)),
        Value::Set(value) => tagged("set", items(value.as_slice())),
        Value::FrozenSet(value) => tagged("frozenset", items(value.as_slice())),
        Value::Complex(value) => tagged("complex", vec![float(value.real.0), float(value.imag.0)]),
        Value::Decimal(value) => tagged("Decimal", decimal(value)),
        Value::Fraction(value) => tagged(
            "Fraction",
            vec![int(value.numerator()), int(value.denominator())],
        ),
        Value::DateTime(value) => date_time(value),
        Value::Date(value) => tagged("date", value.to_string()),
        Value::Time(value) => with_clock(tagged("time", value.to_local_text()), value),
        Value::TimeDelta(value) => {
            let parts = json!([value.days(), value.seconds(), value.microseconds()]);
            tagged("timedelta", parts)
        }
        Value::Zone(value) => zone(value),
        Value::Uuid(value) => tagged("UUID", value.to_string()),
        Value::Range(value) => tagged("range", value.parts().map(int).to_vec()),
        Value::Slice(value) => tagged("slice", items(&value[..])),
        Value::Ellipsis => json!({ TYPE: "ellipsis" }),
        Value::Path(value) => tagged(value.class().name(), text(value.text())),
        Value::Array(value) => {
            let json = tagged("array", base64::encode(value.as_bytes()));
            let json = with(json, "code", value.code().letter().to_string());
            with(json, "item_bytes", value.item_bytes())
        }
        Value::Enum(object) => instance("enum", &object.class, self::value(&object.content)),
        Value::DataClass(object) => {
            instance("dataclass", &object.class, attributes(&object.content))
        }
        Value::NamedTuple(object) => instance("namedtuple", &object.class, items(&object.content)),
        Value::Object(object) => instance("object", &object.class, attributes(&object.content)),
        Value::Exception(object) => instance("exception", &object.class, items(&object.content)),
        Value::OrderedDict(value) => tagged("OrderedDict", pairs(value)),
        Value::Counter(value) => tagged("Counter", pairs(value)),
        Value::Deque(value) => with(
            tagged("deque", items(value.items())),
            "maxlen",
            value.len_max(),
        ),
        Value::DefaultDict(value) => with(
            tagged("defaultdict", pairs(&value.items)),
            "factory",
            value.factory(),
        ),
    }
}

fn tagged(name: &str, value: impl Into<Json>) -> Json {
    json!({ TYPE: name, "value": value.into() })
}

/// The same tagged object with one more member.
fn with(mut json: Json, name: &str, value: impl Into<Json>) -> Json {
    if let Json::Object(members) = &mut json {
        members.insert(name.to_owned(), value.into());
    }
    json
}

fn int(int: &Int) -> Json {
    match decimal_digits(int) {
        Some(digits) => Json::Number(Number::from_string_unchecked(digits)),
        None => tagged("int", hexadecimal(int)),
    }
}

fn float(float: f64) -> Json {
    const NAN: u64 = 0x7ff8 << 48;
    match float.to_bits() {
        NAN => tagged("float", "nan"),
        bits if float.is_nan() => tagged("float", format!("nan:{bits:016x}")),
        _ if float.is_infinite() => tagged("float", float_text(float)),
        _ => Json::Number(Number::from_string_unchecked(float_text(float))),
    }
}

fn text(text: &Text) -> Json {
    match text.as_str() {
        Some(text) => Json::from(text),
        None => tagged("str", base64::encode(text.as_surrogatepass())),
    }
}

fn items(items: &[Value]) -> Json {
    Json::Array(items.iter().map(value).collect())
}

fn pairs(pairs: &[(Value, Value)]) -> Json {
    let name = |key: &Value| key.as_str().map(ToOwned::to_owned);
    let as_members = pairs.iter().map(|(key, item)| Some((name(key)?, item)));
    plain(as_members).unwrap_or_else(|| {
        let pairs = pairs
            .iter()
            .map(|(key, item)| Json::Array(vec![value(key), value(item)]));
        tagged("dict", Json::Array(pairs.collect()))
    })
}

fn attributes(attributes: &[(Text, Value)]) -> Json {
    let name = |name: &Text| name.as_str().map(ToOwned::to_owned);
    let as_members = attributes
        .iter()
        .map(|(key, item)| Some((name(key)?, item)));
    plain(as_members).unwrap_or_else(|| {
        let pairs = attributes
            .iter()
            .map(|(key, item)| Json::Array(vec![text(key), value(item)]));
        tagged("dict", Json::Array(pairs.collect()))
    })
}

/// An object with these members, unless a name is none, stands for something else or occurs twice.
fn plain<'a>(
    members: impl ExactSizeIterator<Item = Option<(String, &'a Value)>> + Clone,
) -> Option<Json> {
    let is_plain = |name: &str| name != TYPE && name != NUMBER;
    let all_plain =
        |member: Option<(String, &Value)>| member.is_some_and(|(name, _)| is_plain(&name));
    if !members.clone().all(all_plain) {
        return None;
    }
    let count = members.len();
    let object: Map<_, _> = members
        .flatten()
        .map(|(name, item)| (name, value(item)))
        .collect();
    (object.len() == count).then_some(Json::Object(object))
}

/// `str()` of it. A mantissa too long for decimal digits stands beside its exponent.
fn decimal(decimal: &Decimal) -> Json {
    match decimal.parts() {
        Some((mantissa, exponent)) if decimal_digits(mantissa).is_none() => {
            Json::Array(vec![int(mantissa), exponent.into()])
        }
        _ => decimal.to_string().into(),
    }
}

fn date_time(value: &DateTime) -> Json {
    match value.to_offset_text() {
        Some(text) => tagged("datetime", text),
        None => with_clock(tagged("datetime", value.to_local_text()), &value.time),
    }
}

fn with_clock(mut json: Json, time: &Time) -> Json {
    if time.fold {
        json = with(json, "fold", 1);
    }
    if let Some(zone) = &time.zone {
        json = with(json, "zone", self::zone(zone));
    }
    json
}

fn zone(zone: &Zone) -> Json {
    match zone {
        Zone::Fixed(zone) => time_zone(zone),
        Zone::Named(key) => tagged("ZoneInfo", key.as_str()),
    }
}

fn time_zone(zone: &TimeZone) -> Json {
    let json = tagged("timezone", zone.offset_us());
    match zone.name() {
        Some(name) => with(json, "name", text(name)),
        None => json,
    }
}

fn instance(kind: &str, class: &ClassName, content: Json) -> Json {
    json!({ TYPE: kind, "module": class.module, "class": class.qualname, "value": content })
}
