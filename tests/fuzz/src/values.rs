//! Values, the bundles that hold some, and what a guest answers.

use ppwasm_proto::{FunctionBundle, Reply, Value};

/// A value: its bytes are the only ones it has, and JSON can say it.
pub(crate) fn value(bytes: &[u8]) {
    let Ok(value) = Value::decode(bytes) else {
        return;
    };
    assert_eq!(value.encode().as_deref(), Ok(bytes));
    let _ = value.to_python_repr();
    let json = value.to_json();
    let back = Value::from_json(&json).expect("a value's own JSON");
    assert_eq!(back.encode().as_deref(), Ok(bytes));
}

/// Text that a user gives as JSON, or as an argument that may be JSON.
pub(crate) fn json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let read = Value::from_json_text(text);
    if let Ok(value) = &read {
        // Not everything that JSON can say can travel: a set with a list in it, say.
        if let Ok(encoded) = value.encode() {
            assert_eq!(Value::decode(&encoded).as_ref(), Ok(value));
        }
        let again = serde_json_text(value);
        let back = Value::from_json_text(&again).expect("a value's own JSON");
        assert_eq!(back.to_python_repr(), value.to_python_repr());
    }
    let argument = Value::from_argument(text);
    if let (Ok(value), Ok(argument)) = (read, argument) {
        assert_eq!(argument.to_python_repr(), value.to_python_repr());
    }
}

fn serde_json_text(value: &Value) -> String {
    value.to_json().to_string()
}

/// A function bundle: its digest is its name, so its bytes are the only ones it has.
pub(crate) fn bundle(bytes: &[u8]) {
    if let Ok(bundle) = FunctionBundle::from_bytes(bytes) {
        assert_eq!(bundle.to_bytes(), bytes);
        for (_, captured) in bundle.captured() {
            let _ = captured.decode();
        }
    }
}

/// What a guest answers to a request.
pub(crate) fn reply(bytes: &[u8]) {
    match Reply::from_bytes(bytes) {
        Ok(Reply::Returned(encoded)) => {
            if let Ok(value) = encoded.decode() {
                assert_eq!(value.encode().as_deref(), Ok(encoded.as_bytes()));
            }
        }
        Ok(Reply::Raised(exception)) => {
            assert!(exception.traceback.len() <= bytes.len());
            assert!(exception.notes.len() <= bytes.len());
        }
        Err(_) => {}
    }
}
