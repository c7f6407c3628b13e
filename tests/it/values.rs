//! Values go from the host through the guest and back without a changed byte.

use ppwasm_proto::{Call, EncodedValue, FunctionBundle, Outcome, Value};

use crate::support::{RunIn, function, host, on_both_paths, raised, returned, task, task_of};

const GOLDEN: &str = include_str!("../../guest-python/runner/tests/golden_values.json");
const CLASSES: &str = include_str!("../../guest-python/runner/tests/golden_classes.py");
const USERS: &str = include_str!("python/values.py");

#[derive(serde::Deserialize)]
struct Golden {
    python: String,
    hex: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("hex") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn succeeded(outcome: &Outcome) -> &EncodedValue {
    match outcome {
        Outcome::Succeeded { value } => value,
        Outcome::Raised(exception) => panic!("raised:\n{}", exception.traceback),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_golden_value_comes_back_as_it_went() {
    let golden: Vec<Golden> = serde_json::from_str(GOLDEN).expect("golden values");
    assert!(golden.len() > 150);
    let bundle = FunctionBundle::function("job", "job.py", "def same(x): return x", "same")
        .and_then(|bundle| bundle.with_module("golden_classes", "golden_classes.py", CLASSES))
        .expect("a bundle");
    let same = host().load(&bundle).expect("loads");
    on_both_paths(|slot| {
        for Golden { python, hex } in &golden {
            let encoded = EncodedValue::from_bytes(bytes(hex));
            let value = encoded
                .decode()
                .unwrap_or_else(|error| panic!("{python}: {error}"));
            let call = Call {
                args: vec![value],
                kwargs: Vec::new(),
            };
            let report = slot.report(&same, task_of(call));
            assert_eq!(succeeded(&report.outcome), &encoded, "{python}");
        }
    });
}

/// All of them in one list, as keyword arguments and as captured values too.
#[test]
fn golden_values_travel_by_every_way_there_is() {
    let golden: Vec<Golden> = serde_json::from_str(GOLDEN).expect("golden values");
    let values: Vec<Value> = golden
        .iter()
        // Those that are nested as deeply as allowed cannot be put into a list.
        .filter(|golden| !golden.python.starts_with("nested_"))
        .map(|golden| {
            EncodedValue::from_bytes(bytes(&golden.hex))
                .decode()
                .expect("a value")
        })
        .collect();
    let list = Value::List(values.clone());
    let source = "def all(x, *, y): return [x, y, captured]";
    let mut bundle = FunctionBundle::function("job", "job.py", source, "all").expect("a bundle");
    bundle = bundle
        .with_module("golden_classes", "golden_classes.py", CLASSES)
        .expect("a bundle");
    bundle = bundle
        .with_captured("captured", list.clone())
        .expect("a bundle");
    let all = host().load(&bundle).expect("loads");
    let call = Call {
        args: vec![list.clone()],
        kwargs: vec![("y".into(), list.clone())],
    };
    let wanted = Value::List(vec![list.clone(), list.clone(), list])
        .encode()
        .expect("encodes");
    on_both_paths(|slot| {
        let report = slot.report(&all, task_of(call.clone()));
        assert!(
            succeeded(&report.outcome).as_bytes() == wanted,
            "a value changed on its way"
        );
    });
}

/// Instances of classes of the user's own file: dataclass, enum, named tuple, plain class.
#[test]
fn instances_of_the_users_classes_survive_the_round_trip() {
    let make = function(USERS, "make");
    let check = function(USERS, "check");
    on_both_paths(|slot| {
        let report = slot.report(&make, task([0; 0]));
        let encoded = succeeded(&report.outcome).clone();
        let value = encoded.decode().expect("a value");
        // The host reads them without running any code of theirs.
        assert!(
            value.to_python_repr().contains("Point(x=1, y="),
            "{}",
            value.to_python_repr()
        );
        let report = slot.report(&check, task([value]));
        assert_eq!(succeeded(&report.outcome), &encoded);
    });
}

#[test]
fn a_value_that_cannot_travel_says_where_it_is() {
    let cannot = function(USERS, "cannot");
    on_both_paths(|slot| {
        for (kind, place) in [
            ("function", "result[0]"),
            ("open file", "result['a'][1]"),
            ("contains itself", "result"),
            ("too deep", "result"),
            ("foreign class", "result"),
        ] {
            let report = slot.report(&cannot, task([kind]));
            let (name, message) = raised(&report);
            assert_eq!(name, "ppwasm.CannotTravel", "{kind}");
            let message = message.replace('"', "'");
            assert!(message.starts_with(place), "{kind}: {message}");
        }
    });
}

#[test]
fn arguments_of_a_class_that_the_bundle_has_not_are_refused() {
    let make = function(USERS, "make");
    let other = function("def same(x): return x", "same");
    on_both_paths(|slot| {
        let value = succeeded(&slot.report(&make, task([0; 0])).outcome)
            .decode()
            .expect("a value");
        let report = slot.report(&other, task([value]));
        let (name, message) = raised(&report);
        assert!(!message.is_empty(), "{name}: {message}");
        assert_eq!(slot.call(&other, [1]), "1");
    });
}

/// Larger than the guest's static buffer of 64 KiB: at its size, one past it, and far past.
#[test]
fn large_values_travel() {
    let same = function("def same(x): return x", "same");
    on_both_paths(|slot| {
        for len in [
            65_000,
            65_528,
            65_529,
            65_530,
            65_531,
            65_532,
            65_536,
            65_537,
            5 << 20,
        ] {
            let value = Value::Bytes((0..len).map(|at: usize| at as u8).collect());
            let report = slot.report(&same, task([value.clone()]));
            assert!(
                succeeded(&report.outcome).decode() == Ok(value),
                "{len} bytes"
            );
            assert_eq!(
                returned(&slot.report(&same, task([len as u64]))),
                len.to_string()
            );
        }
    });
}
