//! Tests of the mapping between values and JSON.

use serde_json::json;

use super::*;
use crate::value::{Elements, Int};

fn round_trip(value: &Value) {
    let json = value.to_json();
    assert_eq!(Value::from_json(&json).as_ref(), Ok(value), "{json}");
    let text = json.to_string();
    assert_eq!(Value::from_json_text(&text).unwrap(), *value, "{text}");
}

fn error(text: &str) -> String {
    Value::from_json_text(text).unwrap_err().to_string()
}

#[test]
fn plain_values_are_plain_json() {
    for (text, value) in [
        ("null", Value::None),
        ("true", true.into()),
        ("-5", (-5).into()),
        ("18446744073709551616", (1i128 << 64).into()),
        ("1.0", 1.0.into()),
        ("-0.0", (-0.0).into()),
        ("1e+16", 1e16.into()),
        ("\"ä\\n\"", "ä\n".into()),
        ("[1,[]]", Value::list([1.into(), Value::List(Vec::new())])),
        ("{\"b\":1,\"a\":2}", Value::dict([("b", 1), ("a", 2)])),
    ] {
        assert_eq!(value.to_json().to_string(), text);
        round_trip(&value);
    }
}

#[test]
fn numbers_are_read_as_python_reads_them() {
    for (text, value) in [
        ("-0", Value::from(0)),
        ("1e2", 100.0.into()),
        ("1E2", 100.0.into()),
        ("1e999", f64::INFINITY.into()),
        (" 7 ", 7.into()),
    ] {
        assert_eq!(Value::from_json_text(text).unwrap(), value, "{text}");
    }
    assert_eq!(
        error(&"9".repeat(10_001)),
        "the integer has more than 10000 digits"
    );
}

#[test]
fn other_values_are_tagged() {
    let long = Int::from(num_bigint::BigInt::from(-1) << 40_000);
    for (value, json) in [
        (f64::NAN.into(), json!({"$type": "float", "value": "nan"})),
        (
            f64::NEG_INFINITY.into(),
            json!({"$type": "float", "value": "-inf"}),
        ),
        (
            f64::from_bits(0xfff0 << 48 | 1).into(),
            json!({"$type": "float", "value": "nan:fff0000000000001"}),
        ),
        (b"\xff".into(), json!({"$type": "bytes", "value": "/w=="})),
        (Value::Ellipsis, json!({"$type": "ellipsis"})),
        (
            Value::dict([(1, 2)]),
            json!({"$type": "dict", "value": [[1, 2]]}),
        ),
        (
            Value::dict([("$type", "x")]),
            json!({"$type": "dict", "value": [["$type", "x"]]}),
        ),
        (
            Value::dict([(NUMBER, "1")]),
            json!({"$type": "dict", "value": [[NUMBER, "1"]]}),
        ),
    ] {
        assert_eq!(value.to_json(), json);
        round_trip(&value);
    }
    round_trip(&long.clone().into());
    round_trip(&Value::Decimal(Box::new(
        crate::value::Decimal::new(long, 7).unwrap(),
    )));
    round_trip(&Value::Set(
        Elements::new([1.into(), Value::tuple(["a"])]).unwrap(),
    ));
}

#[test]
fn syntax_errors_carry_line_and_column() {
    let error = Value::from_json_text("{\"a\": 1,\n \"b\" 2}").unwrap_err();
    assert_eq!(error.to_string(), "not JSON at line 2, column 6");
    let Err(ParseJsonError::Syntax {
        line: 1, column: 3, ..
    }) = Value::from_json_text("1 2")
    else {
        panic!("what follows a value is an error");
    };
}

#[test]
fn errors_of_content_carry_the_place() {
    for (text, message) in [
        (
            r#"[0, {"a": {"$type": "tuples"}}]"#,
            r#"unknown $type "tuples", at [1]["a"]"#,
        ),
        (r#"{"$type": 1}"#, r#"expected text, at ["$type"]"#),
        (r#"{"$type": "tuple"}"#, r#"member "value" is missing"#),
        (
            r#"{"$type": "tuple", "value": [], "size": 0}"#,
            r#"member "size" does not belong here"#,
        ),
        (
            r#"{"$type": "tuple", "value": [], "fold": 0}"#,
            r#"member "fold" does not belong here"#,
        ),
        (
            r#"{"$type": "bytes", "value": "?"}"#,
            r#"not a valid base64 text, at ["value"]"#,
        ),
        (
            r#"{"$type": "date", "value": "2023-02-29"}"#,
            r#"not a valid date, at ["value"]"#,
        ),
        (
            r#"{"$type": "complex", "value": [1.0]}"#,
            r#"expected a list of 2, at ["value"]"#,
        ),
        (
            r#"{"$type": "range", "value": [0, 1, 0]}"#,
            "not a valid range",
        ),
        (
            r#"{"$type": "set", "value": [1, 1]}"#,
            "the elements make no set",
        ),
        (
            r#"{"$type": "dict", "value": [[1]]}"#,
            r#"expected a list of pairs, at ["value"]"#,
        ),
        (
            r#"{"$type": "float", "value": "nan:3ff0000000000000"}"#,
            r#"not a valid float, at ["value"]"#,
        ),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

#[test]
fn nesting_ends_at_the_limit_and_one_past() {
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Value::from_json_text(&nested(JSON_NESTING_MAX)).is_ok());
    let past = nested(JSON_NESTING_MAX + 1);
    let message = "nested more than 640 levels deep at line 2, column 641";
    assert_eq!(error(&format!("\n{past}")), message);
    assert!(
        Value::from_json_text(&format!("\"\\\"{past}\"")).is_ok(),
        "brackets in text do not count"
    );
    let mut json = json!(1);
    for _ in 0..=JSON_NESTING_MAX {
        json = json!([json]);
    }
    assert_eq!(
        Value::from_json(&json).unwrap_err().kind(),
        &JsonErrorKind::TooDeep
    );
}

#[test]
fn the_deepest_value_has_json_that_is_read() {
    let mut value = Value::dict([(1, 2)]);
    for _ in 1..NESTING_MAX {
        value = Value::dict([(1, value)]);
    }
    assert!(value.encode().is_ok());
    round_trip(&value);
}

#[test]
fn arguments_are_json_or_text() {
    for (text, value) in [
        ("1", Value::from(1)),
        ("1.5", 1.5.into()),
        ("true", true.into()),
        ("True", "True".into()),
        ("", "".into()),
        ("a b", "a b".into()),
        ("1-1000", "1-1000".into()),
        ("[1,", "[1,".into()),
        ("NaN", "NaN".into()),
        ("\"5\"", "5".into()),
        (r#"{"$type": "tuple", "value": [1]}"#, Value::tuple([1])),
    ] {
        assert_eq!(Value::from_argument(text).unwrap(), value, "{text}");
    }
    assert!(Value::from_argument(r#"{"$type": "nothing"}"#).is_err());
}
