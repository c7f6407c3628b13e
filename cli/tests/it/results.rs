//! Arguments go in, results come out, in order.

use crate::support::{Folder, Running, finish};

const JOB: &str = "
import sys
def add(a, b=0): return a + b
def echo(*args, **kwargs): return args, kwargs
def kind(x): return type(x).__name__, x
def talk(x):
    print('out', x); print('err', x, file=sys.stderr)
    return x
class Box:
    @staticmethod
    def inside(x): return x
async def later(x):
    import asyncio
    await asyncio.sleep(1000)
    return x
";

#[test]
fn arguments_are_json_where_they_parse() {
    let folder = Folder::job(JOB);
    folder.submit(&["job.py:add", "40", "2"]).prints("42\n");
    folder.submit(&["job.py:add", "-40", "-2"]).prints("-42\n");
    let args = [
        "1.5",
        "\"5\"",
        "data.csv",
        "True",
        "[1, {\"k\": null}]",
        "12345678901234567890123",
    ];
    folder
        .submit(&[&["job.py:echo"][..], &args].concat())
        .prints(
            "((1.5, '5', 'data.csv', 'True', [1, {'k': None}], 12345678901234567890123), {})\n",
        );
    folder
        .submit(&["job.py:echo", "--", "--flag"])
        .prints("(('--flag',), {})\n");
    folder
        .submit(&["job.py:add", "1", "--kwargs", "{\"b\": 2}"])
        .prints("3\n");
    folder
        .submit(&[
            "job.py:kind",
            r#"{"$type": "tuple", "value": [{"$type": "bytes", "value": "AP8="}]}"#,
        ])
        .prints("('tuple', (b'\\x00\\xff',))\n");
}

#[test]
fn functions_may_be_methods_and_coroutines() {
    let folder = Folder::job(JOB);
    folder.submit(&["job.py:Box.inside", "1"]).prints("1\n");
    folder.submit(&["job.py:later", "1"]).prints("1\n");
    folder.submit(&["./job.py:add", "1"]).prints("1\n");
}

#[test]
fn a_range_makes_a_task_of_each_number() {
    let folder = Folder::job(JOB);
    folder
        .submit(&["job.py:add", "--range", "1-5", "10"])
        .prints("11\n12\n13\n14\n15\n");
    folder
        .submit(&["job.py:add", "--range", "0-10:5"])
        .prints("0\n5\n10\n");
    folder
        .submit(&["job.py:add", "--range", "-1-1"])
        .prints("-1\n0\n1\n");
    folder.submit(&["job.py:add", "--range", "7"]).prints("7\n");
}

#[test]
fn results_stand_in_task_order_whoever_is_first() {
    let source = "
def f(x):
    total = 0
    for i in range(2_000_000 if x % 2 == 0 else 1): total += i
    return x
";
    let wanted: String = (0..20).map(|x| format!("{x}\n")).collect();
    let folder = Folder::job(source);
    folder
        .submit(&["job.py:f", "--range", "0-19", "--slots", "3"])
        .prints(&wanted);
}

#[test]
fn each_line_is_a_string() {
    let folder = Folder::job(JOB);
    folder.write("lines.txt", "one\n\n3\r\nla größe");
    let wanted = "('str', 'one')\n('str', '')\n('str', '3')\n('str', 'la größe')\n";
    folder
        .submit(&["job.py:kind", "--each-line", "lines.txt"])
        .prints(wanted);
    let run = folder.ppwasm_with(&["submit", "job.py:kind", "--each-line", "-"], b"a\nb\n");
    run.prints("('str', 'a')\n('str', 'b')\n");
}

#[test]
fn each_element_is_one_argument() {
    let folder = Folder::job(JOB);
    folder.write("items.json", r#"[1, [2, 3], {"a": 4}, "5", null]"#);
    let wanted =
        "((1, 0), {})\n(([2, 3], 0), {})\n(({'a': 4}, 0), {})\n(('5', 0), {})\n((None, 0), {})\n";
    folder
        .submit(&["job.py:echo", "--from-json", "items.json", "0"])
        .prints(wanted);
    let run = folder.ppwasm_with(&["submit", "job.py:add", "--from-json", "-"], b"[1,2]");
    run.prints("1\n2\n");
}

#[test]
fn no_items_are_no_tasks() {
    let folder = Folder::job(JOB);
    folder.write("nothing.txt", "");
    folder.write("nothing.json", "[]");
    folder
        .submit(&["job.py:add", "--each-line", "nothing.txt"])
        .prints("");
    folder
        .submit(&["job.py:add", "--from-json", "nothing.json"])
        .prints("");
    folder
        .submit(&["job.py:add", "--each-line", "-"])
        .prints("");
}

#[test]
fn lines_of_a_pipe_are_used_as_they_come() {
    let folder = Folder::job(JOB);
    let mut running =
        Running::start(&mut folder.command(&["submit", "job.py:kind", "--each-line", "-"]));
    running.give_some(b"first\n");
    running.wait_for("first");
    running.give_some(b"second\n");
    running.wait_for("second");
    running
        .end()
        .prints("('str', 'first')\n('str', 'second')\n");
}

#[test]
fn many_tasks_take_no_more_memory_than_some() {
    let folder = Folder::job("def f(x): return x");
    let mut running =
        Running::start(&mut folder.command(&["submit", "job.py:f", "--each-line", "-"]));
    let lines = |from: u32, to: u32| (from..to).map(|n| format!("{n}\n")).collect::<String>();
    running.give_some(lines(0, 2_000).as_bytes());
    running.wait_for("'1999'\n");
    let some = running.peak_kib();
    running.give_some(lines(2_000, 40_000).as_bytes());
    running.wait_for("'39999'\n");
    let many = running.peak_kib();
    assert!(
        many < some + (24 << 10),
        "{some} KiB after 2,000 tasks, {many} KiB after 40,000"
    );
    assert_eq!(running.end().stdout.lines().count(), 40_000);
}

#[test]
fn a_slow_first_task_holds_up_more_results_than_may_wait() {
    let source = "
import time
def f(x):
    if x == 0: time.sleep(2)
    return b'x' * (1 << 20)
";
    let folder = Folder::job(source);
    let line = "\"$0\" submit job.py:f --range 0-299 --real-time --slots 2 | wc -l";
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", line, env!("CARGO_BIN_EXE_ppwasm")])
        .current_dir(folder.path());
    finish(shell, b"").prints("300\n");
}

#[test]
fn what_functions_print_is_shown_beside_the_results() {
    let folder = Folder::job(JOB);
    let run = folder.submit(&["job.py:talk", "1"]);
    assert_eq!(
        (run.stdout.as_str(), run.said().as_str()),
        ("1\n", "out 1\nerr 1\n")
    );
    let run = folder.submit(&["job.py:talk", "--range", "1-2"]);
    assert_eq!(run.stdout, "1\n2\n");
    assert_eq!(
        run.said(),
        "task 0: out 1\ntask 0: err 1\ntask 1: out 2\ntask 1: err 2\n"
    );
    folder
        .submit(&["job.py:talk", "1", "--quiet"])
        .prints("1\n");
    folder
        .submit(&["job.py:talk", "--range", "1-2", "-q"])
        .prints("1\n2\n");
}

#[test]
fn the_same_job_gives_the_same_and_another_gives_others() {
    let source = "
import random, time, uuid, os
def f(*_): return random.random(), uuid.uuid4().hex, os.urandom(4)
def now(): return int(time.time() * 1000), time.gmtime().tm_year
";
    let folder = Folder::job(source);
    let sub = Folder::new(&[("sub/job.py", source)]);
    let once = |args: &[&str]| folder.submit(args).stdout;
    let first = once(&["job.py:f", "--range", "0-2"]);
    assert_eq!(once(&["job.py:f", "--range", "0-2"]), first);
    assert_eq!(
        sub.submit(&["sub/job.py:f", "--range", "0-2"]).stdout,
        first,
        "wherever the file is"
    );
    let lines: Vec<_> = first.lines().collect();
    assert!(lines[0] != lines[1] && lines[1] != lines[2], "{first}");
    let others: [&[&str]; 4] = [
        &["job.py:f", "--range", "1-3"],
        &["job.py:f", "--range", "0-2", "x"],
        &[
            "job.py:f",
            "--range",
            "0-2",
            "--job-id",
            "000102030405060708090a0b0c0d0e0f",
        ],
        &["job.py:f", "--range", "0-2", "--real-time"],
    ];
    for other in others {
        let other = once(other);
        assert!(!other.lines().any(|line| lines.contains(&line)), "{other}");
    }
    assert_ne!(
        once(&["job.py:f", "--real-time"]),
        once(&["job.py:f", "--real-time"])
    );

    let at = once(&["job.py:now", "--submit-time", "2030-01-02T03:04:05Z"]);
    assert!(
        at.starts_with("(1893553445") && at.ends_with(", 2030)\n"),
        "{at}"
    );
    assert_eq!(once(&["job.py:now", "--submit-time", "1893553445000"]), at);
}

#[test]
fn inputs_are_there_under_their_names() {
    let source = "
from pathlib import Path
def names(): return sorted(str(p) for p in Path().rglob('*'))
def read(path): return Path(path).read_text()
def write(path): Path(path).write_text('mine')
";
    let folder = Folder::job(source);
    folder.write("data/a.txt", "aa");
    folder.write("data/sub/b.txt", "bb");
    folder.write("x=y.txt", "odd");
    let inputs = [
        "--input",
        "data",
        "--input",
        "data/a.txt",
        "--input",
        "data/a.txt=deep/c.txt",
    ];
    folder
        .submit(&[&["job.py:names"][..], &inputs].concat())
        .prints(
            "['a.txt', 'data', 'data/a.txt', 'data/sub', 'data/sub/b.txt', 'deep', 'deep/c.txt']\n",
        );
    folder
        .submit(&[&["job.py:read", "data/sub/b.txt"][..], &inputs].concat())
        .prints("'bb'\n");
    folder
        .submit(&["job.py:read", "x=y.txt", "--input", "x=y.txt"])
        .prints("'odd'\n");
    let run = folder.submit(&["job.py:write", "a.txt", "--input", "data/a.txt"]);
    run.says(1, &["Error"]);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("data/a.txt")).unwrap(),
        "aa"
    );
    std::os::unix::fs::symlink("a.txt", folder.path().join("data/link")).unwrap();
    folder
        .submit(&["job.py:read", "data/link", "--input", "data"])
        .prints("'aa'\n");
}

#[test]
fn standard_input_is_given_to_every_task() {
    let folder = Folder::job("import sys\ndef f(x): return sys.stdin.read(), x");
    folder.write("in.txt", "hello");
    folder.submit(&["job.py:f", "1"]).prints("('', 1)\n");
    folder
        .submit(&["--stdin=in.txt", "job.py:f", "--range", "1-2"])
        .prints("('hello', 1)\n('hello', 2)\n");
    folder
        .ppwasm_with(&["submit", "--stdin", "job.py:f", "1"], b"piped")
        .prints("('piped', 1)\n");
}

#[test]
fn nothing_stays_from_one_task_to_the_next() {
    let source = "
import os
seen = []
def f(x):
    seen.append(x)
    there = os.listdir('/tmp') + os.listdir('.')
    open('/tmp/canary', 'w').close(); open('canary', 'w').close()
    os.environ['CANARY'] = '1'
    return seen, there, sorted(os.environ)
";
    let wanted: String = (1..=6)
        .map(|x| format!("([{x}], [], ['CANARY'])\n"))
        .collect();
    Folder::job(source)
        .submit(&["job.py:f", "--range", "1-6", "--slots", "2"])
        .prints(&wanted);
}

#[test]
fn a_job_larger_than_a_message_buffer_works() {
    let source = format!(
        "def f(x): return len(x), x[:2]\n# {}\n",
        "x".repeat(200_000)
    );
    let folder = Folder::job(&source);
    let long = "y".repeat(100_000);
    folder
        .submit(&["job.py:f", &long])
        .prints("(100000, 'yy')\n");
    folder.submit(&["job.py:f", "zz"]).prints("(2, 'zz')\n");
}
