//! Tasks that fail: what is told, and that the others run.

use crate::support::{Folder, SPIN_LIMIT};

const JOB: &str = r#"
import sys, os
def notes():
    try:
        {}["k"]
    except KeyError as e:
        err = ValueError("bad")
        err.add_note("a note\nof two lines")
        raise err from e
def group():
    raise ExceptionGroup("many", [ValueError(1), ExceptionGroup("inner", [TypeError("t")])])
def handle(): return {"a": [1, open("/tmp/x", "w")]}
def binary(): sys.stdout.buffer.write(b"\xff\x00\x1b[31m\n")
def exits(): sys.exit(3)
def os_exits(): os._exit(3)
def aborts(): os.abort()
def recurses(): return recurses()
def nested():
    x = []
    for _ in range(100_000): x = [x]
    return x
def reprs(): return repr(nested())
def dumps():
    import json
    return json.dumps(nested())
def connects():
    import socket
    socket.create_connection(("127.0.0.1", 80))
def runs():
    import subprocess
    subprocess.run(["ls"])
def passwd(): return open("/etc/passwd").read()
def above(): return open("../../../etc/passwd").read()
def threads():
    import threading
    threading.Thread(target=print).start()
def steers(): raise ValueError("\x1b[31mred")
def unprintable():
    class Bad(Exception):
        def __str__(self): raise RuntimeError
    raise Bad
def some(x):
    if x in (3, 5): raise ValueError(x)
    return x
"#;

#[test]
fn exceptions_are_told_as_python_does() {
    let folder = Folder::job(JOB);
    let run = folder.submit(&["job.py:notes"]);
    run.says(
        1,
        &[
            "File \"job.py\", line 5, in notes",
            "    {}[\"k\"]\n",
            "KeyError: 'k'",
            "The above exception was the direct cause of the following exception:",
            "    raise err from e\nValueError: bad\na note\nof two lines\n",
        ],
    );
    let run = folder.submit(&["job.py:group"]);
    run.says(
        1,
        &[
            "  + Exception Group Traceback (most recent call last):",
            "  | ExceptionGroup: many (2 sub-exceptions)",
            "    | ValueError: 1",
            "      | TypeError: t",
        ],
    );
    assert!(!run.stderr.contains("_ppwasm"), "{}", run.stderr);
    folder
        .submit(&["job.py:unprintable"])
        .says(1, &["unprintable"]);
}

#[test]
fn wrong_arguments_are_told() {
    let folder = Folder::job(JOB);
    folder.submit(&["job.py:some"]).fails(
        1,
        "TypeError: some() missing 1 required positional argument: 'x'",
    );
    let run = folder.submit(&["job.py:some", "1", "2"]);
    run.fails(
        1,
        "TypeError: some() takes 1 positional argument but 2 were given",
    );
    let run = folder.submit(&["job.py:some", "--kwargs", "{\"y\": 1}"]);
    run.fails(
        1,
        "TypeError: some() got an unexpected keyword argument 'y'",
    );
}

#[test]
fn what_cannot_travel_is_named() {
    let run = Folder::job(JOB).submit(&["job.py:handle"]);
    run.fails(1, "ppwasm.CannotTravel: result[\"a\"][1] cannot travel: it is an instance of _io.TextIOWrapper");
    Folder::job(JOB)
        .submit(&["job.py:nested"])
        .says(1, &["ppwasm.CannotTravel: result"]);
}

#[test]
fn leaving_the_interpreter_is_told() {
    let folder = Folder::job(JOB);
    folder
        .submit(&["job.py:exits"])
        .says(1, &["sys.exit(3)", "SystemExit: 3"]);
    let run = folder.submit(&["job.py:os_exits"]);
    run.fails(
        4,
        "error: the task ended its interpreter with os._exit(3), so that there is no result",
    );
    folder
        .submit(&["job.py:aborts"])
        .says(4, &["error: the task aborted: "]);
}

#[test]
fn deep_recursion_is_pythons_error() {
    let folder = Folder::job(JOB);
    for function in ["recurses", "reprs", "dumps"] {
        let run = folder.submit(&[&format!("job.py:{function}")]);
        run.says(1, &["RecursionError: maximum recursion depth exceeded"]);
    }
}

#[test]
fn the_machine_is_out_of_reach() {
    let folder = Folder::job(JOB);
    folder
        .submit(&["job.py:connects"])
        .says(1, &["a sandbox has no network"]);
    folder.submit(&["job.py:runs"]).says(1, &["process"]);
    folder
        .submit(&["job.py:threads"])
        .says(1, &["RuntimeError"]);
    folder
        .submit(&["job.py:passwd"])
        .says(1, &["FileNotFoundError"]);
    folder
        .submit(&["job.py:above"])
        .says(1, &["Error: ", "'../../../etc/passwd'"]);
}

#[test]
fn odd_bytes_of_a_function_go_through_a_pipe_as_they_are() {
    use std::io::Read;
    let folder = Folder::job(JOB);
    let mut command = folder.command(&["submit", "job.py:binary"]);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = Vec::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut stderr)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(stderr.ends_with(b"\xff\x00\x1b[31m\n"), "{stderr:?}");
}

#[test]
fn the_first_failure_ends_a_job_and_later_results_are_not_shown() {
    let folder = Folder::job(JOB);
    let run = folder.submit(&["job.py:some", "--range", "1-500"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "1\n2\n"));
    run.says(
        1,
        &[
            "task 2 raised ValueError\nTraceback",
            "ValueError: 3\n",
            " succeeded, ",
        ],
    );
    assert!(!run.stderr.contains("ValueError: 5"), "{}", run.stderr);
}

#[test]
fn with_keep_going_all_tasks_run() {
    let folder = Folder::job(JOB);
    let run = folder.submit(&["job.py:some", "--range", "1-8", "--keep-going"]);
    assert_eq!(run.stdout, "1\n2\n4\n6\n7\n8\n");
    run.says(
        1,
        &[
            "task 2 raised ValueError",
            "task 4 raised ValueError",
            "8 tasks in ",
            ": 6 succeeded, 2 raised an exception\n",
        ],
    );
    let run = folder.submit(&["job.py:some", "--range", "1-8", "--keep-going", "--quiet"]);
    assert!(!run.stderr.contains("8 tasks in"), "{}", run.stderr);
}

#[test]
fn the_first_task_that_fails_gives_the_code() {
    let folder = Folder::job(
        "import os, time\ndef f(kind):\n    if kind == 'raise': raise ValueError\n    if kind == 'abort': os.abort()\n    if kind == 'spin':\n        while True: pass\n",
    );
    let cases = [
        (r#"["ok", "abort", "raise"]"#, 4),
        (r#"["raise", "abort"]"#, 1),
        (r#"["ok", "spin", "abort"]"#, 3),
    ];
    for (items, code) in cases {
        folder.write("items.json", items);
        let args = [
            "job.py:f",
            "--from-json",
            "items.json",
            "--keep-going",
            "--time-limit",
            SPIN_LIMIT,
        ];
        assert_eq!(folder.submit(&args).code, code, "{items}");
    }
}

#[test]
fn a_thousand_failures_do_not_flood_the_screen() {
    let folder = Folder::job("def f(x): raise ValueError(f'no {x}')");
    let run = folder.submit(&["job.py:f", "--range", "1-1000", "--keep-going"]);
    assert_eq!(run.stderr.matches("Traceback").count(), 10);
    run.says(1, &["task 99 raised ValueError: no 100\nfurther failures are not shown; --output json has them all\n1000 tasks in "]);
    assert!(!run.stderr.contains("task 100 "));
}

#[test]
fn a_failing_import_is_told_and_nothing_runs() {
    let folder = Folder::job("print('loading')\nraise RuntimeError('at import')\ndef f(): pass");
    let run = folder.submit(&["job.py:f"]);
    run.says(1, &["error: loading job.py raised RuntimeError\nTraceback (most recent call last):\n  File \"job.py\", line 2, in <module>\n",
        "RuntimeError: at import\n"]);
    assert_eq!(run.stdout, "");
    let folder = Folder::job("import os\nos._exit(1)\ndef f(): pass");
    folder
        .submit(&["job.py:f"])
        .says(4, &["error: loading job.py failed: "]);
}
