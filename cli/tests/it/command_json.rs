//! `--output json` of the commands beside `submit`: each document, held against its definition in `docs/`.

use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::json::schema as of_submit;
use crate::schema;
use crate::support::Run;

const JOB: &str = "
import sys
def f(x):
    print('took', x)
    if x == 2: sys.stderr.buffer.write(b'\\xff')
    if x == 3: raise ValueError(x)
    return x
def forever(x):
    while True: pass
";

/// Holds a document against a definition.
pub(crate) fn check(definition: &str, document: &Value) -> Result<(), String> {
    let schema = of_submit();
    let definition = &schema["$defs"][definition];
    assert!(definition.is_object(), "there is no such definition");
    schema::check(&schema, definition, document)
}

/// The documents that a command printed, one on each line, all of them as their definition says.
#[track_caller]
fn documents(definition: &str, run: &Run) -> Vec<Value> {
    let lines = run.stdout.lines().map(|line| {
        let document = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        check(definition, &document).unwrap_or_else(|why| panic!("{definition}: {why}"));
        document
    });
    lines.collect()
}

/// The only document that a command that did well printed.
#[track_caller]
fn document(definition: &str, run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    let documents = documents(definition, run);
    assert_eq!(documents.len(), 1, "{}", run.stdout);
    documents.into_iter().next().unwrap()
}

/// Runs a command of the client's.
fn run(cluster: &Cluster, args: &[&str]) -> Run {
    cluster.run(&[args, &["--output", "json"]].concat())
}

#[track_caller]
fn submit(cluster: &Cluster, function: &str, flags: &[&str]) -> Value {
    let args = ["submit", function, "--range", "1-4", "--detach"];
    document("job_detached", &run(cluster, &[&args[..], flags].concat()))
}

#[test]
fn documents_of_a_job_that_nobody_runs_yet() {
    let cluster = Cluster::start(&[("job.py", JOB)]);
    let run = |args: &[&str]| run(&cluster, args);
    let flags = ["--verify", "--name", "\u{1b}[31m"];
    let detached = submit(&cluster, "job.py:f", &flags);
    assert_eq!(detached["job"]["number"], 1);
    let listed = document("job_list", &run(&["job", "list"]));
    assert_eq!(listed["jobs"][0]["id"], detached["job"]["id"]);
    assert_eq!(listed["jobs"][0]["tasks"]["queued"], 4);
    let shown = document("job_list", &run(&["job", "show", "1"]));
    assert_eq!(shown["jobs"][0]["used_ms"], 0);
    assert_eq!(shown["jobs"][0]["verification"]["percent"], 100);
    let task = document("task_shown", &run(&["task", "show", "1", "2"]));
    assert!(
        task["result"].is_null() && task["stdout"].is_null(),
        "{task}"
    );
    document("task_explained", &run(&["task", "explain", "1", "2"]));
    let logs = run(&["job", "logs", "1", "--task", "2"]);
    assert_eq!((logs.code, logs.stdout.as_str()), (0, ""));
    let workers = document("worker_list", &run(&["worker", "list"]));
    assert_eq!(workers["workers"], json!([]));
    document("settings", &run(&["config", "show"]));
    document("checks", &run(&["doctor"]));
}

#[test]
fn documents_of_jobs_that_ended_and_of_who_ran_them() {
    let mut cluster = Cluster::start(&[("job.py", JOB)]);
    cluster.add_worker(1);
    let run = |args: &[&str]| run(&cluster, args);
    submit(&cluster, "job.py:f", &["--keep-going", "--verify"]);
    for command in ["wait", "progress"] {
        let waited = run(&["job", command, "1"]);
        assert_eq!(waited.code, 1, "{}", waited.stderr);
        let waited = documents("job_list", &waited);
        assert_eq!(waited[0]["jobs"][0]["tasks"]["raised"], 1);
    }
    let shown = document("job_list", &run(&["job", "show", "1"]));
    assert_eq!(shown["jobs"][0]["verification"]["no_other_worker"], 4);
    let results = run(&["job", "results", "1", "--keep-going"]);
    let results: Value = serde_json::from_str(&results.stdout).unwrap();
    schema::check(&of_submit(), &of_submit(), &results).unwrap();
    for (number, outcome) in [("1", "succeeded"), ("2", "raised")] {
        let task = document("task_shown", &run(&["task", "show", "1", number]));
        assert_eq!(task["result"]["outcome"], outcome);
        assert_eq!(task["verification"]["verdict"], "no_other_worker");
    }
    let explained = document("task_explained", &run(&["task", "explain", "1", "2"]));
    assert_eq!(explained["attempts"], 1);
    let logs = documents("task_log", &run(&["job", "logs", "1"]));
    assert_eq!((logs.len(), &logs[0]["stdout"]), (4, &json!("took 1\n")));
    assert_eq!(
        logs[1]["stderr"],
        json!({"$type": "bytes", "value": "/w=="})
    );

    let retried = document("jobs_done", &run(&["job", "retry", "1"]));
    assert_eq!(retried["done"], "retried");
    assert_eq!(retried["jobs"][0]["number"], 1);
    assert_eq!(run(&["job", "wait", "1"]).code, 1);
    submit(&cluster, "job.py:forever", &[]);
    let cancelled = document("jobs_done", &run(&["job", "cancel", "2"]));
    assert_eq!(cancelled["done"], "cancelled");
    assert_eq!(run(&["job", "wait", "2"]).code, 6);
    let forgotten = document("jobs_done", &run(&["job", "forget", "2"]));
    assert_eq!(forgotten["done"], "forgotten");
    let functions = document("function_list", &run(&["function", "list"]));
    let mut functions = functions["functions"].as_array().unwrap().iter();
    assert!(functions.any(|function| function["entry"] == "job:f"));

    let workers = document("worker_list", &run(&["worker", "list"]));
    let worker = workers["workers"][0]["name"].as_str().unwrap();
    for (args, done) in [
        (&["drain", worker][..], "draining"),
        (&["undrain", worker][..], "serving"),
        (&["set-slots", worker, "2"][..], "slots set"),
    ] {
        let args = [&["worker"], args, &["--output", "json"]].concat();
        let told = document("worker_done", &cluster.operate(&args));
        assert_eq!(
            (&told["worker"], &told["done"]),
            (&json!(worker), &json!(done))
        );
    }
}

/// A definition that takes anything describes nothing.
#[test]
fn the_definitions_refuse_what_is_wrong() {
    let job = json!({
        "id": "0".repeat(32), "number": 1, "name": "", "owner": "ann", "function": "0".repeat(64), "state": "open",
        "priority": 0, "tasks": {
            "total": 0, "queued": 0, "running": 0, "succeeded": 0, "raised": 0, "trapped": 0, "limit_exceeded": 0,
            "cancelled": 0, "abandoned": 0, "lost_attempts": 0,
        }, "age_ms": 0, "run_ms": null,
    });
    let right = json!({"version": 1, "jobs": [job]});
    check("job_list", &right).unwrap();
    for (path, wrong) in [
        ("/version", json!(2)),
        ("/jobs", json!({})),
        ("/jobs/0/id", json!("xyz")),
        ("/jobs/0/number", json!("1")),
        ("/jobs/0/state", json!("unknown")),
        ("/jobs/0/priority", json!(200)),
        ("/jobs/0/tasks", json!({})),
        ("/jobs/0/tasks/total", json!(-1)),
    ] {
        let mut document = right.clone();
        *document.pointer_mut(path).unwrap() = wrong;
        assert!(check("job_list", &document).is_err(), "{path}");
    }
    let schema = of_submit();
    let documents = schema["$defs"].as_object().unwrap().iter();
    let is_one = |definition: &Value| !definition["properties"]["version"].is_null();
    let documents: Vec<_> = documents
        .filter(|(_, of)| is_one(of))
        .map(|(name, _)| name)
        .collect();
    assert!(documents.len() > 10, "{documents:?}");
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli-json.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for name in documents {
        assert!(check(name, &json!({"version": 1})).is_err(), "{name}");
        assert!(
            manual.contains(&format!("| `{name}` | ")),
            "{name} is in the manual"
        );
    }
}
