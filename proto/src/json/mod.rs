//! Values as JSON, and JSON as values, without loss. The mapping is described in the project's `docs/json.md`.
//!
//! What Python's `json` writes and reads back as the same value is plain JSON; everything else is an object with
//! the member `$type`.

mod base64;
mod error;
mod read;
mod tagged;
mod write;

pub use error::{JsonError, JsonErrorKind, JsonStep, ParseJsonError};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::value::{NESTING_MAX, Value};

/// Arrays and objects that may be open at once in JSON that becomes a value. A level of a value takes at most three
/// of JSON: a tagged object, its list of pairs, a pair.
pub const JSON_NESTING_MAX: usize = 3 * NESTING_MAX + 40;

/// The member that makes an object something else than a dict.
const TYPE: &str = "$type";

/// The member by which `serde_json` itself knows a number in between; as a dict's key it would be taken for one.
const NUMBER: &str = "$serde_json::private::Number";

impl Value {
    /// The value as JSON, from which [`Value::from_json`] makes an equal one.
    ///
    /// ```
    /// use ppwasm_proto::Value;
    ///
    /// let value = Value::dict([("n", Value::from(1)), ("pair", Value::from((1.0, "a")))]);
    /// let json = value.to_json();
    /// assert_eq!(json.to_string(), r#"{"n":1,"pair":{"$type":"tuple","value":[1.0,"a"]}}"#);
    /// assert_eq!(Value::from_json(&json)?, value);
    /// # Ok::<(), ppwasm_proto::json::JsonError>(())
    /// ```
    pub fn to_json(&self) -> Json {
        write::value(self)
    }

    /// The value of plain or tagged JSON.
    ///
    /// # Errors
    ///
    /// When a tagged object is not one of those that [`Value::to_json`] gives, an integer is longer than
    /// [`DIGITS_MAX`](crate::value::DIGITS_MAX) digits, or the JSON is nested more than [`JSON_NESTING_MAX`] deep.
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        read::value(json, JSON_NESTING_MAX)
    }

    /// The value of a JSON text.
    ///
    /// # Errors
    ///
    /// When the text is no JSON, with line and column, or as for [`Value::from_json`].
    pub fn from_json_text(text: &str) -> Result<Self, ParseJsonError> {
        check_nesting(text)?;
        let mut parser = serde_json::Deserializer::from_str(text);
        // Its own limit is lower; the text has been held against ours.
        parser.disable_recursion_limit();
        let json = Json::deserialize(&mut parser).and_then(|json| parser.end().map(|()| json));
        Ok(Self::from_json(&json.map_err(ParseJsonError::syntax)?)?)
    }

    /// The value of an argument on the command line: the JSON that it is as a whole, else its text as a `str`.
    ///
    /// ```
    /// use ppwasm_proto::Value;
    ///
    /// assert_eq!(Value::from_argument("[1, 2]")?, Value::list([1, 2]));
    /// assert_eq!(Value::from_argument("data.csv")?, Value::from("data.csv"));
    /// assert_eq!(Value::from_argument("\"1\"")?, Value::from("1"));
    /// # Ok::<(), ppwasm_proto::json::ParseJsonError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the text is JSON but not a value's: see [`Value::from_json`].
    pub fn from_argument(text: &str) -> Result<Self, ParseJsonError> {
        match Self::from_json_text(text) {
            Err(ParseJsonError::Syntax { .. }) => Ok(Self::from(text)),
            result => result,
        }
    }
}

/// Looks at brackets outside strings only: what is wrong otherwise the parser finds.
fn check_nesting(text: &str) -> Result<(), ParseJsonError> {
    let (mut depth, mut is_string, mut is_escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => depth += 1,
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_NESTING_MAX {
            let before = &text.as_bytes()[..at];
            let line_start = before
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            return Err(ParseJsonError::TooDeep {
                line,
                column: 1 + at - line_start,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
