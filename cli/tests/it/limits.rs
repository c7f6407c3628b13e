//! Each limit: what passes it is ended, told with its flag, and does not touch the next task.

use crate::support::{Folder, SPIN_LIMIT};

const JOB: &str = r#"
import sys
def spins():
    while True: pass
def powers(): return len(str(3 ** (10 ** 9)))
def matches():
    import re
    return re.match("(a+)+b", "a" * 60)
def sleeps():
    import time
    time.sleep(1e9)
def allocates():
    x = []
    while True: x.append(bytearray(1 << 20))
def prints():
    for _ in range(1 << 14): sys.stdout.write("x" * 65536)
def prints_to_stderr():
    for _ in range(1 << 14): sys.stderr.write("x" * 65536)
def large(): return b"x" * (2 << 20)
def writes():
    with open("/tmp/file", "wb") as f:
        while True: f.write(bytes(1 << 20))
def makes():
    for n in range(100): open(f"/tmp/{n}", "w").close()
def both(x):
    if x == 1: spins()
    return x
"#;

#[track_caller]
fn check(args: &[&str], said: &str) {
    let folder = Folder::job(JOB);
    let run = folder.submit(args);
    assert_eq!(
        run.code,
        3,
        "{}",
        run.stderr.get(..2000).unwrap_or(&run.stderr)
    );
    let last = run.stderr.lines().last().unwrap();
    assert_eq!(last, format!("error: the task {said}"));
}

#[test]
fn time() {
    let flag = "--time-limit";
    for function in ["job.py:spins", "job.py:powers", "job.py:matches"] {
        let said =
            "did not end within its time limit of 300 ms; --time-limit can raise it, up to 30 d";
        check(&[function, flag, "300ms", "--cpu-time-limit", "1h"], said);
    }
    let said = "did not end within its time limit of 200 ms; --time-limit can raise it, up to 30 d";
    check(&["job.py:sleeps", flag, "200ms", "--real-time"], said);
    let said = "computed for longer than its CPU time limit of 200 ms; --cpu-time-limit can raise it, up to 30 d";
    check(&["job.py:spins", "--cpu-time-limit", "200ms"], said);
}

#[test]
fn sleeping_takes_no_time_unless_it_is_real() {
    Folder::job(JOB).submit(&["job.py:sleeps"]).prints("None\n");
}

#[test]
fn memory() {
    let said = "needed more memory than its limit of 128 MiB; --memory can raise it, up to 4 GiB";
    check(&["job.py:allocates", "--memory", "128MiB"], said);
}

#[test]
fn output() {
    let said = "printed more to standard output than its limit of 1 MiB; --output-limit can raise it, up to 1 GiB";
    check(&["job.py:prints", "--output-limit", "1MiB"], said);
    let said = "printed more to standard error than its limit of 1 MiB; --output-limit can raise it, up to 1 GiB";
    check(&["job.py:prints_to_stderr", "--output-limit", "1MiB"], said);
}

#[test]
fn result() {
    let said =
        "gave a result larger than its limit of 1 MiB; --result-limit can raise it, up to 1 GiB";
    check(&["job.py:large", "--result-limit", "1MiB"], said);
}

#[test]
fn scratch() {
    let folder = Folder::job(JOB);
    folder
        .submit(&["job.py:writes", "--scratch", "3MiB"])
        .says(1, &["OSError: "]);
    folder
        .submit(&["job.py:makes", "--scratch-files", "50"])
        .says(1, &["OSError: "]);
    folder.submit(&["job.py:makes"]).prints("None\n");
}

#[test]
fn the_next_task_runs() {
    let run = Folder::job(JOB).submit(&[
        "job.py:both",
        "--range",
        "0-3",
        "--slots",
        "1",
        "--keep-going",
        "--time-limit",
        SPIN_LIMIT,
    ]);
    assert_eq!((run.code, run.stdout.as_str()), (3, "0\n2\n3\n"));
    run.says(
        3,
        &[
            "task 1 did not end within its time limit of 4 s; ",
            "4 tasks in ",
            ": 3 succeeded, 1 went past a limit\n",
        ],
    );
}
