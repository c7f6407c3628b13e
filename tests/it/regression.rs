//! CPython's own regression tests: the quick part of `guest-python/regression/expected.toml` holds.
//! `guest-python/regression/run.sh --all` runs the rest.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ppwasm_host::wasi::InputTree;
use ppwasm_host::wasi::inputs::{InputLimits, InputReader};
use ppwasm_host::{Host, Report, Task, TimeSource};
use ppwasm_proto::{Limits, Outcome, Value};

use crate::support::{function_on, machine, task, value};

/// As in `run.sh`: the first second of 2026.
const START_NS: u64 = 1_767_225_600_000_000_000;
const LIMITS: fn() -> Limits = || Limits {
    memory_bytes_max: 1 << 30,
    wall_time_max: Duration::from_secs(600),
    ..Limits::default()
};

#[test]
fn quick_regression_tests_do_what_the_list_says() {
    let _alone = machine();
    let (driver, compare) = (source("driver.py"), source("compare.py"));
    let expected = source("expected.toml");
    let tests = Arc::new(tests());

    let chosen = [Value::from(expected.as_str()), Value::from("quick")];
    let tasks = value(&run(&compare, "tasks", chosen));
    let tasks = tasks.as_items().expect("a list");
    assert!(
        tasks.len() > 40,
        "only {} files are listed as quick",
        tasks.len()
    );

    let run_test = function_on(host(), &driver, "run_test");
    let running: Vec<_> = tasks
        .iter()
        .map(|item| {
            host().start(
                &run_test,
                limited(task([item.clone()])).inputs(tests.clone()),
            )
        })
        .collect();
    let results = tasks.iter().zip(running).map(|(item, run)| {
        let report = run.wait().expect("this machine can run it");
        result(item.get("name").expect("a name"), &report)
    });
    let results = Value::list(results);

    let found = differences(&compare, &expected, results);
    assert!(
        found.is_empty(),
        "not as expected.toml says:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_run_that_differs_from_the_list_is_noticed() {
    const EXPECTED: &str = r#"
        [reasons]
        threads = "There are none."
        [quick]
        files = []
        [first]
        files = []
        [passes]
        test_one = 2
        [cannot]
        test_two = "threads"
        [passes-except.test_three]
        passes = 1
        fails.threads = ["A.test_a", "B.*"]
    "#;
    let report = |passed: &[&str], failed: &[&str]| {
        Value::dict([
            ("no_import", Value::from(None::<i64>)),
            ("passed", Value::list(passed.iter().copied())),
            (
                "failed",
                Value::dict(failed.iter().map(|name| (*name, "Traceback\nError: no"))),
            ),
        ])
    };
    let run = |reports: [(&str, Value); 3]| {
        let results = reports.map(|(name, report)| {
            let ended = Value::from("trapped");
            Value::dict([
                ("name", Value::from(name)),
                ("report", report),
                ("ended", ended),
            ])
        });
        differences(&source("compare.py"), EXPECTED, Value::list(results))
    };

    let as_listed = [
        ("test_one", report(&["A.x", "A.y"], &[])),
        ("test_two", report(&[], &["A.x"])),
        ("test_three", report(&["A.x"], &["A.test_a", "B.test_b"])),
    ];
    assert_eq!(run(as_listed), Vec::<String>::new());

    let worse = [
        ("test_one", report(&["A.x"], &["A.y"])),
        ("test_two", Value::from(None::<i64>)),
        (
            "test_three",
            report(&["A.x"], &["A.test_a", "B.test_b", "C.test_c"]),
        ),
    ];
    assert_eq!(
        run(worse),
        [
            "test_one: 1 tests pass, 2 are expected",
            "test_one: A.y fails: Error: no",
            "test_two: trapped",
            "test_three: C.test_c fails: Error: no",
        ]
    );

    let better = [
        ("test_one", report(&["A.x", "A.y", "A.z"], &[])),
        ("test_two", report(&["A.x"], &[])),
        (
            "test_three",
            report(&["A.test_a", "B.test_b"], &["B.test_c"]),
        ),
    ];
    assert_eq!(
        run(better),
        [
            "test_two: 1 tests pass, although it is listed as one where none can (threads)",
            "test_three: A.test_a does not fail any more",
            "test_three: B.test_b passes, although all of B.* are listed",
        ]
    );
}

fn differences(compare: &str, expected: &str, results: Value) -> Vec<String> {
    let found = value(&run(
        compare,
        "differences",
        [Value::from(expected), results],
    ));
    let found = found.as_items().expect("a list").iter();
    found
        .map(|line| line.as_str().expect("a line").to_owned())
        .collect()
}

/// A host of its own: on the shared one other tests would wait behind a hundred files.
fn host() -> &'static Host {
    static HOST: LazyLock<Host> =
        LazyLock::new(|| Host::builder().slots(2).build().expect("a host"));
    &HOST
}

/// How a file's sandbox ended, as `compare.differences` wants it.
fn result(name: &Value, report: &Report) -> Value {
    let (returned, ended) = match &report.outcome {
        Outcome::Succeeded { value } => (value.decode().expect("a value"), String::new()),
        other => (
            Value::from(None::<i64>),
            format!("{other:?} in {}", last_test(report)),
        ),
    };
    Value::dict([
        ("name", name.clone()),
        ("report", returned),
        ("ended", Value::from(ended)),
    ])
}

fn last_test(report: &Report) -> String {
    let stderr = String::from_utf8_lossy(&report.stderr);
    stderr
        .lines()
        .rfind(|line| line.starts_with("test: "))
        .unwrap_or("no test")
        .to_owned()
}

fn run<const N: usize>(source: &str, name: &str, args: [Value; N]) -> Report {
    host()
        .run(&function_on(host(), source, name), limited(task(args)))
        .expect("this machine can run it")
}

fn limited(task: Task) -> Task {
    task.limits(LIMITS())
        .time(TimeSource::Deterministic { start_ns: START_NS })
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guest-python/regression")
}

fn source(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("a file of the regression tests")
}

/// CPython's tests as the guest's build left them.
fn tests() -> InputTree {
    let guest = std::env::var_os("PPWASM_GUEST_DIR")
        .map_or_else(|| folder().join("../../target/guest"), PathBuf::from);
    let unpacked = tempfile::tempdir().expect("a folder");
    let status = Command::new("tar")
        .arg("-xf")
        .arg(guest.join("tests.tar"))
        .arg("-C")
        .arg(unpacked.path())
        .status()
        .expect("tar runs");
    assert!(status.success(), "the guest folder has its tests.tar");
    let mut reader = InputReader::new(InputLimits::default());
    reader
        .add(&unpacked.path().join("test"), Some("test"))
        .expect("the tests can be read");
    reader.finish()
}
