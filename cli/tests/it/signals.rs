//! Ctrl-C, SIGTERM, and readers that go away.

use std::time::{Duration, Instant};

use crate::support::{Folder, Run, Running};

const JOB: &str = "
def f(x):
    if x >= 2:
        while True: pass
    return x
def sleeps():
    import time
    print('asleep', flush=True)
    time.sleep(1e6)
";

fn interrupted(signal: &str, flags: &[&str]) -> Run {
    let folder = Folder::job(JOB);
    let args = [
        &["submit", "job.py:f", "--range", "0-99", "--slots", "2"],
        flags,
    ]
    .concat();
    let mut running = Running::start(&mut folder.command(&args));
    running.give(b"");
    running.wait_for(if flags.is_empty() {
        "1\n"
    } else {
        "{\"task\":1,\"outcome\":\"succeeded\""
    });
    // The third task is there then, also where printing the second went before submitting it.
    running.wait_until_it_spins();
    let start = Instant::now();
    running.signal(signal);
    let run = running.end();
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "it ends at once, also on a busy machine"
    );
    run
}

#[test]
fn ctrl_c_cancels_and_keeps_the_results() {
    let run = interrupted("INT", &[]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (130, "0\n1\n"),
        "{}",
        run.stderr
    );
    run.says(
        130,
        &[
            "cancelled: ",
            " tasks in ",
            ": 2 succeeded, ",
            " cancelled\n",
        ],
    );
}

#[test]
fn sigterm_does_the_same() {
    let run = interrupted("TERM", &[]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (143, "0\n1\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_document_is_whole_also_then() {
    let run = interrupted("INT", &["--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let schema = crate::json::schema();
    crate::schema::check(&schema, &schema, &document).unwrap();
    assert_eq!(document["summary"]["exit_code"], 130);
    assert_eq!(document["summary"]["succeeded"], 2);
    assert_eq!(document["tasks"][2]["outcome"], "cancelled");
}

#[test]
fn a_task_that_really_sleeps_is_woken() {
    let folder = Folder::new(&[("job.py", &format!("{JOB}\nsleeps()"))]);
    let mut running = Running::start(&mut folder.command(&["submit", "--real-time", "job.py"]));
    running.give(b"");
    running.wait_for("asleep");
    running.signal("INT");
    assert_eq!(running.end().code, 130);
}

#[test]
fn ctrl_c_is_heard_while_a_line_is_awaited() {
    let folder = Folder::job("def f(x): return x");
    let mut running =
        Running::start(&mut folder.command(&["submit", "job.py:f", "--each-line", "-"]));
    running.give_some(b"one\n");
    running.wait_for("'one'\n");
    running.signal("INT");
    let run = running.end_with_open_stdin();
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (130, "'one'\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = Folder::job("def f(x): return 'x' * 1000");
    let args = ["submit", "job.py:f", "--range", "1-100000000"];
    let mut running = Running::start(&mut folder.command(&args));
    running.give(b"");
    running.wait_for("xxx");
    running.close_stdout();
    let run = running.end();
    assert_eq!((run.code, run.said().as_str()), (141, ""));

    let script = Folder::job("while True: print('x' * 1000)");
    let mut running =
        Running::start(&mut script.command(&["submit", "job.py", "--output-limit", "1GiB"]));
    running.give(b"");
    running.wait_for("xxx");
    running.close_stdout();
    let run = running.end();
    assert_eq!((run.code, run.said().as_str()), (141, ""));
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let folder = Folder::job("print('x' * 100)\ndef f(): return 'x' * 100");
    let said = "error: could not write to standard output: No space left on device (os error 28)\n";
    for args in [
        &["submit", "job.py"][..],
        &["submit", "-q", "job.py:f"],
        &["submit", "-q", "job.py:f", "--output", "json"],
        &["man"],
    ] {
        let mut command = folder.command(args);
        let child = command
            .stdout(full())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.ends_with(said), "{args:?}: {text}");
        assert_eq!(output.status.code(), Some(5));
    }
}

#[test]
fn a_second_ctrl_c_ends_it_whatever_it_does() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    // Nobody reads, so that it cannot print what is left after the first.
    let folder = Folder::job("def f(x): return 'x' * 10000");
    let mut command = folder.command(&["submit", "job.py:f", "--range", "1-100000000"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    let start = Instant::now();
    let status = loop {
        let kill = format!("kill -INT {}", child.id());
        let _ = Command::new("sh")
            .args(["-c", &kill])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    };
    assert_eq!(status.code(), Some(130));
}
