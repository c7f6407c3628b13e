//! As much of JSON Schema as `docs/cli-json.schema.json` uses. An unknown keyword is an error, so that none
//! is passed over.

use serde_json::Value;

/// Holds a value against a schema; what is wrong and where.
pub(crate) fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    Checker { root }.check(schema, value, "$")
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(keywords) => keywords,
            _ => return Err(format!("{at}: the schema is {schema}")),
        };
        for (keyword, wanted) in keywords {
            let holds = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let path = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.root.pointer(path).unwrap(), value, at)?;
                    true
                }
                "const" => value == wanted,
                "enum" => list(wanted).contains(value),
                "type" => match wanted {
                    Value::Array(types) => types.iter().any(|name| is(value, name)),
                    name => is(value, name),
                },
                "minimum" => value
                    .as_f64()
                    .is_none_or(|number| number >= wanted.as_f64().unwrap()),
                "maximum" => value
                    .as_f64()
                    .is_none_or(|number| number <= wanted.as_f64().unwrap()),
                "pattern" => value.as_str().is_none_or(|text| is_hex(text, wanted)),
                "required" => list(wanted)
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some()),
                "properties" => {
                    for (name, schema) in wanted.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check(schema, member, &format!("{at}.{name}"))?;
                        }
                    }
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{at}[{index}]"))?;
                    }
                    true
                }
                "allOf" => {
                    for schema in list(wanted) {
                        self.check(schema, value, at)?;
                    }
                    true
                }
                "oneOf" => {
                    let tried: Vec<_> = list(wanted)
                        .iter()
                        .map(|schema| self.check(schema, value, at))
                        .collect();
                    let holding = tried.iter().filter(|result| result.is_ok()).count();
                    if holding != 1 {
                        return Err(format!(
                            "{at}: {holding} of oneOf hold for {value}: {tried:?}"
                        ));
                    }
                    true
                }
                "not" => self.check(wanted, value, at).is_err(),
                other => panic!("unknown keyword {other}"),
            };
            if !holds {
                return Err(format!(
                    "{at}: {keyword} {wanted} does not hold for {value}"
                ));
            }
        }
        Ok(())
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

/// The patterns are all `^[0-9a-f]{N}$`.
fn is_hex(text: &str, pattern: &Value) -> bool {
    let length = pattern
        .as_str()
        .unwrap()
        .strip_prefix("^[0-9a-f]{")
        .unwrap();
    let length: usize = length.strip_suffix("}$").unwrap().parse().unwrap();
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
