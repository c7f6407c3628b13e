//! On a terminal: the bar, and what is made visible. `script` gives the program one.

use std::process::Command;

use crate::support::{Folder, Run, finish};

/// Runs the command with a terminal for all three streams.
fn on_terminal(folder: &Folder, command: &str) -> Run {
    let line = format!("stty cols 100; {} {command}", env!("CARGO_BIN_EXE_ppwasm"));
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .current_dir(folder.path());
    script.env("TERM", "xterm");
    finish(script, b"")
}

#[test]
fn a_bar_shows_how_far_it_is() {
    let folder = Folder::job("import time\ndef f(x): time.sleep(0.05); return x");
    let run = on_terminal(
        &folder,
        "submit job.py:f --range 1-40 --real-time --slots 2",
    );
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("/40 tasks"), "{:?}", run.stdout);
    assert!(run.stdout.contains("/s  "), "{:?}", run.stdout);
    assert!(run.stdout.contains("left"), "{:?}", run.stdout);
    let numbers: Vec<String> = results(&run);
    assert_eq!(numbers, (1..=40).map(|n| n.to_string()).collect::<Vec<_>>());
    let last = run.stdout.trim_end().rsplit('\n').next().unwrap();
    assert!(
        last.contains("40 tasks in ") && last.contains("40 succeeded"),
        "{last:?}"
    );

    let quiet = on_terminal(&folder, "submit job.py:f --range 1-3 --quiet");
    assert_eq!(quiet.stdout, "1\r\n2\r\n3\r\n");
}

/// The lines that hold a number and nothing else, without what clears the bar.
fn results(run: &Run) -> Vec<String> {
    let plain = |line: &str| {
        line.rsplit(['\r', 'K', 'A'])
            .find(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let lines = run.stdout.split("\r\n").filter_map(plain);
    lines
        .filter(|line| line.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

#[test]
fn what_tasks_print_does_not_steer_the_terminal() {
    let source = r#"
import sys
def f(x=0):
    sys.stdout.buffer.write(b"\x1b[31mred \xff\xc2\x9b2J\a \r\n")
    sys.stdout.flush()
    print("no end", end="")
    return "\x1b[31m"
def g(): raise ValueError("\x1b]0;title\a")
if __name__ == "__main__": f()
"#;
    let folder = Folder::job(source);
    let shown = "\\x1b[31mred \\xff\\x9b2J\\x07 \\r\r\n";
    let run = on_terminal(&folder, "submit job.py:f");
    assert_eq!(run.stdout, format!("{shown}no end\r\n'\\x1b[31m'\r\n"));
    let run = on_terminal(&folder, "submit job.py");
    assert_eq!(run.stdout, format!("{shown}no end"));
    let run = on_terminal(&folder, "submit job.py:f --range 1-1");
    assert!(
        run.stdout
            .contains(&format!("task 0: {shown}task 0: no end\r\n")),
        "{:?}",
        run.stdout
    );
    let run = on_terminal(&folder, "submit job.py:g");
    assert!(
        run.stdout.ends_with("ValueError: \\x1b]0;title\\x07\r\n"),
        "{:?}",
        run.stdout
    );
    assert_eq!(run.code, 1);
}
