//! JSON to value: plain JSON, and the finding of tagged objects.

use serde_json::{Map, Number, Value as Json};

use super::{JsonError, JsonErrorKind as Kind, JsonStep, TYPE, tagged};
use crate::digits::parse_digits;
use crate::value::Value;

/// The value of JSON in which so many more levels may be opened.
pub(super) fn value(json: &Json, levels: usize) -> Result<Value, JsonError> {
    match json {
        Json::Null => Ok(Value::None),
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(value) => number(value),
        Json::String(value) => Ok(Value::from(value.as_str())),
        Json::Array(items) => Ok(Value::List(self::items(items, deeper(levels)?)?)),
        Json::Object(object) => match object.get(TYPE) {
            None => plain(object, deeper(levels)?),
            Some(Json::String(name)) => tagged::value(name, object, deeper(levels)?),
            Some(_) => Err(JsonError::from(Kind::Expected("text")).within(member(TYPE))),
        },
    }
}

/// The values of an array that has been opened.
pub(super) fn items(items: &[Json], levels: usize) -> Result<Vec<Value>, JsonError> {
    let item = |(index, item)| value(item, levels).map_err(|e| e.within(JsonStep::Item(index)));
    items.iter().enumerate().map(item).collect()
}

pub(super) fn deeper(levels: usize) -> Result<usize, JsonError> {
    levels.checked_sub(1).ok_or(Kind::TooDeep.into())
}

pub(super) fn member(name: &str) -> JsonStep {
    JsonStep::Member(name.to_owned())
}

fn plain(object: &Map<String, Json>, levels: usize) -> Result<Value, JsonError> {
    let pair = |(name, item): (&String, &Json)| {
        let item = value(item, levels).map_err(|error| error.within(member(name)))?;
        Ok((Value::from(name.as_str()), item))
    };
    Ok(Value::Dict(
        object.iter().map(pair).collect::<Result<_, JsonError>>()?,
    ))
}

/// As Python's `json`: with a point or an exponent a float, else an integer.
fn number(number: &Number) -> Result<Value, JsonError> {
    let text = number.as_str();
    if text.contains(['.', 'e', 'E']) {
        let float = text
            .parse::<f64>()
            .map_err(|_| Kind::Expected("a number"))?;
        return Ok(Value::from(float));
    }
    let (is_negative, digits) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    Ok(Value::Int(
        parse_digits(is_negative, digits).ok_or(Kind::LongInt)?,
    ))
}
