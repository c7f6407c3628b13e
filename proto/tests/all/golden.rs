//! The Python runner's golden bytes: what it writes is read here, what it refuses is refused here.

use ppwasm_proto::Value;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    python: String,
    hex: String,
}

#[derive(Deserialize)]
struct Malformed {
    hex: String,
    offset: usize,
    what: String,
    needs_python: bool,
}

/// Reads the runner's file of that name.
fn runners<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-python/runner/tests");
    let text = std::fs::read_to_string(format!("{tests}/{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// The encodings of the runner's golden values.
pub(crate) fn encodings() -> Vec<Vec<u8>> {
    runners::<Vector>("golden_values.json")
        .iter()
        .map(|vector| from_hex(&vector.hex))
        .collect()
}

#[test]
fn golden_values_decode_and_encode_to_the_same_bytes() {
    let vectors: Vec<Vector> = runners("golden_values.json");
    assert!(vectors.len() >= 100, "the file is cut off");
    for Vector { python, hex } in vectors {
        let bytes = from_hex(&hex);
        let value = Value::decode(&bytes).unwrap_or_else(|error| panic!("{python}: {error}"));
        assert_eq!(value.encode().as_ref(), Ok(&bytes), "{python}");
    }
}

#[test]
fn malformed_values_are_refused_at_the_same_offset() {
    let vectors: Vec<Malformed> = runners("golden_malformed.json");
    assert!(vectors.len() >= 100, "the file is cut off");
    for Malformed {
        hex,
        offset,
        what,
        needs_python,
    } in vectors
    {
        match Value::decode(&from_hex(&hex)) {
            Err(error) if !needs_python => {
                assert_eq!(error.offset, offset, "{what}: {error}, {hex}")
            }
            Err(_) => {}
            Ok(value) => assert!(needs_python, "{what}: {value:?}, {hex}"),
        }
    }
}

#[derive(Deserialize)]
struct Printed {
    python: String,
    hex: String,
    repr: String,
    json: Option<String>,
}

#[test]
fn values_print_as_python_prints_them() {
    let rows: Vec<Printed> = serde_json::from_str(include_str!("../golden_repr.json")).unwrap();
    assert!(rows.len() >= 1000, "the file is cut off");
    for Printed {
        python,
        hex,
        repr,
        json,
    } in rows
    {
        let value =
            Value::decode(&from_hex(&hex)).unwrap_or_else(|error| panic!("{python}: {error}"));
        assert_eq!(value.to_python_repr(), repr, "{python}");
        assert_eq!(plain_json(&value), json, "{python}");
    }
}

/// The JSON text of a value, unless something in it is tagged.
fn plain_json(value: &Value) -> Option<String> {
    let text = value.to_json().to_string();
    (!text.contains("$type")).then_some(text)
}
