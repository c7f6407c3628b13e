//! `--output json`: every outcome, held against the schema in `docs/`.

use std::path::Path;

use serde_json::{Value, json};

use crate::schema;
use crate::support::{Folder, Run, SPIN_LIMIT};

const JOB: &str = r#"
import sys, os
def f(kind):
    print("printed", kind)
    if kind == "raise":
        error = ValueError("bad\x1b[31m\u009b")
        error.add_note("note")
        raise error
    if kind == "exit": os._exit(7)
    if kind == "abort": os.abort()
    if kind == "spin":
        while True: pass
    if kind == "quit": sys.exit(3)
    if kind == "bytes":
        sys.stdout.buffer.write(b"\xff")
        return b"\xff"
    return {"kind": kind, "t": (1, 2.0)}
"#;

pub(crate) fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli-json.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The document, after it has been held against the schema.
#[track_caller]
fn document(run: &Run) -> Value {
    let document: Value = serde_json::from_str(&run.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", run.stdout, run.stderr));
    let schema = schema();
    schema::check(&schema, &schema, &document).unwrap();
    assert_eq!(document["summary"]["exit_code"], run.code);
    document
}

#[test]
fn every_outcome_of_a_task() {
    let folder = Folder::job(JOB);
    folder.write(
        "items.json",
        r#"["ok", "raise", "exit", "abort", "spin", "quit", "bytes"]"#,
    );
    let args = [
        "job.py:f",
        "--from-json",
        "items.json",
        "--keep-going",
        "--time-limit",
        SPIN_LIMIT,
        "--output",
        "json",
        "--slots",
        "2",
        "--submit-time",
        "1000",
    ];
    let run = folder.submit(&args);
    let document = document(&run);
    let tasks = document["tasks"].as_array().unwrap();
    let outcomes: Vec<_> = tasks
        .iter()
        .map(|task| task["outcome"].as_str().unwrap())
        .collect();
    let wanted = [
        "succeeded",
        "raised",
        "trapped",
        "trapped",
        "limit_exceeded",
        "raised",
        "succeeded",
    ];
    assert_eq!(outcomes, wanted);
    assert_eq!(run.said(), "", "everything is in the document");

    let job = &document["job"];
    assert_eq!(
        (&job["file"], &job["function"], &job["slots"]),
        (&json!("job.py"), &json!("f"), &json!(2))
    );
    assert_eq!(
        (&job["submit_time_ms"], &job["limits"]["wall_time_ms"]),
        (&json!(1000), &json!(4000))
    );
    assert_eq!(
        tasks[0]["value"],
        json!({"kind": "ok", "t": {"$type": "tuple", "value": [1, 2.0]}})
    );
    assert_eq!(tasks[0]["stdout"], "printed ok\n");
    assert_eq!(tasks[1]["stdout"], "printed raise\n");
    let exception = &tasks[1]["exception"];
    assert_eq!(
        (&exception["type"], &exception["notes"]),
        (&json!("ValueError"), &json!(["note"]))
    );
    assert!(
        exception["traceback"]
            .as_str()
            .unwrap()
            .contains("File \"job.py\", line 8, in f"),
        "{exception}"
    );
    assert_eq!(
        tasks[2]["cause"],
        json!({"name": "exit", "message": "the process exited with code 7", "exit_code": 7})
    );
    assert_eq!(tasks[3]["cause"]["name"], "abort");
    assert_eq!(
        tasks[4]["limit"],
        json!({"name": "wall_time", "allowed": 4000, "unit": "ms"})
    );
    assert_eq!(tasks[5]["exception"]["exit_code"], 3);
    assert_eq!(
        tasks[6]["stdout"],
        json!({"$type": "bytes", "value": "cHJpbnRlZCBieXRlcwr/"})
    );
    let summary = &document["summary"];
    let counts = [
        "tasks",
        "succeeded",
        "raised",
        "trapped",
        "limit_exceeded",
        "cancelled",
        "not_run",
    ];
    assert_eq!(
        counts.map(|name| summary[name].as_u64().unwrap()),
        [7, 2, 2, 2, 1, 0, 0]
    );

    let steering =
        |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(
        !run.stdout.contains(steering),
        "nothing in it steers a terminal"
    );
    let lines: Vec<_> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("{\"task\":"))
        .collect();
    assert_eq!(lines.len(), 7, "each task has a line of its own");
}

#[test]
fn tasks_after_a_failure_are_cancelled() {
    let folder = Folder::job("def f(x):\n    if x == 0: raise ValueError\n    while True: pass");
    let run = folder.submit(&[
        "job.py:f", "--range", "0-9999", "--slots", "2", "--output", "json",
    ]);
    let document = document(&run);
    let tasks = document["tasks"].as_array().unwrap();
    assert_eq!(tasks[0]["outcome"], "raised");
    assert!(
        tasks[1..].iter().all(|task| task["outcome"] == "cancelled"),
        "{}",
        run.stdout
    );
    assert!(
        (2..5000).contains(&tasks.len()),
        "those that were not started are not there"
    );
    assert_eq!(run.code, 1);
}

#[test]
fn a_scripts_end_is_its_outcome() {
    let folder = Folder::job("import sys\nprint('out')\nsys.exit(int(sys.argv[1]))");
    let run = folder.submit(&[
        "job.py",
        "--range",
        "0-1",
        "--keep-going",
        "--output",
        "json",
    ]);
    let document = document(&run);
    assert_eq!(document["job"]["function"], json!(null));
    assert_eq!(document["tasks"][0]["outcome"], "succeeded");
    assert_eq!(document["tasks"][0]["stdout"], "out\n");
    assert_eq!(document["tasks"][1]["exception"]["exit_code"], 1);
    assert_eq!(run.code, 1);
}

#[test]
fn no_tasks_are_a_document_too() {
    let folder = Folder::job("def f(x): pass");
    folder.write("nothing", "");
    let run = folder.submit(&[
        "job.py:f",
        "--each-line",
        "nothing",
        "--output",
        "json",
        "--real-time",
    ]);
    let document = document(&run);
    assert_eq!((&document["tasks"], run.code), (&json!([]), 0));
    assert_eq!(document["job"]["submit_time_ms"], json!(null));
}

#[test]
fn a_file_that_does_not_load_is_told_in_it() {
    let cases = [
        ("raise RuntimeError('x')", 1, "raised"),
        ("def f(:", 2, "raised"),
        ("import os; os._exit(3)", 4, "trapped"),
    ];
    for (source, code, outcome) in cases {
        let run = Folder::job(source).submit(&["job.py:f", "--output", "json"]);
        let document = document(&run);
        assert_eq!(
            (run.code, &document["load"]["outcome"]),
            (code, &json!(outcome)),
            "{source}"
        );
        assert!(run.stderr.contains("error: "), "people are told too");
    }
    let run = Folder::job("").submit(&["gone.py:f", "--output", "json"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
}

#[test]
fn items_that_are_wrong_end_the_document_in_good_order() {
    let folder = Folder::job("def f(x): return x");
    folder.write("items.json", r#"[1, {"$type": "tuples"}, 3]"#);
    let run = folder.submit(&["job.py:f", "--from-json", "items.json", "--output", "json"]);
    let document = document(&run);
    assert_eq!(
        (run.code, document["tasks"].as_array().unwrap().len()),
        (2, 1)
    );
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let run = Folder::job("def f(): return 1").submit(&["job.py:f", "--output", "json"]);
    let right = document(&run);
    let schema = schema();
    let wrongs = [
        ("/version", json!(2)),
        ("/job/id", json!("xyz")),
        ("/job/slots", json!(0)),
        ("/tasks/0/outcome", json!("unknown")),
        ("/tasks/0/outcome", json!("raised")),
        ("/tasks/0/stdout", json!(1)),
        ("/tasks/0/task", json!(-1)),
        ("/summary", json!({})),
        ("/summary/exit_code", json!("0")),
    ];
    for (path, wrong) in wrongs {
        let mut document = right.clone();
        *document.pointer_mut(path).unwrap() = wrong;
        assert!(
            schema::check(&schema, &schema, &document).is_err(),
            "{path}"
        );
    }
}
