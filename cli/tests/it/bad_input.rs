//! What is wrong with the command line is told in one line, before anything runs.

use crate::support::{Folder, finish};

const JOB: &str = "def f(*a, **k): print('ran'); return a\nx = 3\nclass C: y = 1\n";

fn folder() -> Folder {
    Folder::job(JOB)
}

/// Code 2, this line, and nothing ran.
#[track_caller]
fn check(args: &[&str], line: &str) {
    check_in(&folder(), args, line);
}

#[track_caller]
fn check_in(folder: &Folder, args: &[&str], line: &str) {
    let run = folder.submit(args);
    run.fails(2, line);
    assert_eq!(run.stdout, "");
}

/// Code 2, this text in the first line, and clap's own advice after it.
#[track_caller]
fn check_flag(args: &[&str], text: &str) {
    let run = folder().submit(&[&["job.py:f"], args].concat());
    let first = run.stderr.lines().next().unwrap();
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    assert!(
        first.starts_with("error: ") && first.contains(text),
        "{text:?} is not in: {first}"
    );
}

#[test]
fn files_and_functions() {
    check(
        &["gone.py:f"],
        "error: could not open gone.py: No such file or directory (os error 2)",
    );
    check(&["."], "error: . is a directory, not a Python file");
    check(
        &["job.py:g"],
        "error: no function 'g' in job.py; it has f, C",
    );
    check(
        &["job.py:ff"],
        "error: no function 'ff' in job.py; did you mean 'f'?",
    );
    check(
        &["job.py:x"],
        "error: 'x' in job.py is not a function but an int",
    );
    check(&["job.py:C.z"], "error: no function 'z' in 'C' in job.py");
    check(
        &["job.py:f()"],
        "error: \"f()\" in \"job.py:f()\" is not a function's name",
    );
    check(
        &["job.py:"],
        "error: \"\" in \"job.py:\" is not a function's name",
    );
    check(&[":f"], "error: no file before the colon in \":f\"");
}

#[test]
fn a_syntax_error_shows_line_and_caret() {
    let folder = Folder::job("def f():\n    return (1,\n");
    let said = "error: job.py is not valid Python\n  File \"job.py\", line 2\n    return (1,\n           ^\nSyntaxError: '(' was never closed";
    check_in(&folder, &["job.py:f"], said);
    check_in(&folder, &["job.py"], said);
    let tabs = Folder::job("def f():\n\tpass\n        pass\n");
    tabs.submit(&["job.py:f"]).says(2, &["TabError", "line 3"]);
    let folder = Folder::job("");
    folder.write("job.py", b"def f(): return '\xff'\n");
    folder.submit(&["job.py:f"]).says(
        2,
        &["error: job.py is not valid Python\n", "(unicode error)"],
    );
    folder.write("job.py", b"def f():\0 return\n");
    folder.submit(&["job.py:f"]).says(2, &["null bytes"]);
}

#[test]
fn json_with_its_place() {
    check(
        &["job.py:f", "--kwargs", "{\"y\": }"],
        "error: --kwargs: not JSON: line 1, column 7: expected value",
    );
    check(
        &["job.py:f", "--kwargs", "[1]"],
        "error: --kwargs: not a JSON object",
    );
    check(
        &[
            "job.py:f",
            "--kwargs",
            "{\"y\": {\"$type\": \"tuples\", \"value\": []}}",
        ],
        "error: --kwargs: value of \"y\": unknown $type \"tuples\"",
    );
    check(
        &["job.py", "--kwargs", "{}"],
        "error: --kwargs: a script takes no keyword arguments; name a function, as in FILE:FUNC",
    );
    let folder = folder();
    let cases = [
        (
            "[1,\n 2,,]",
            "is not JSON: line 2, column 4: expected value",
        ),
        (
            "[1, 2",
            "is not JSON: line 1, column 5: EOF while parsing a list",
        ),
        (
            "[1] 2",
            "is not JSON: line 1, column 5: trailing characters",
        ),
        (
            "",
            "is not JSON: line 1, column 0: EOF while parsing a value",
        ),
        ("{\"a\": 1}", "does not hold a JSON array"),
    ];
    for (text, said) in cases {
        folder.write("items.json", text);
        check_in(
            &folder,
            &["job.py:f", "--from-json", "items.json"],
            &format!("error: --from-json: items.json {said}"),
        );
    }
    folder.write("items.json", b"[\"\xff\"]");
    check_in(
        &folder,
        &["job.py:f", "--from-json", "items.json"],
        "error: --from-json: items.json is not UTF-8",
    );
}

#[test]
fn an_element_that_is_no_value_is_found_when_its_turn_comes() {
    let folder = folder();
    folder.write("items.json", r#"[1, {"$type": "tuples"}]"#);
    let run = folder.submit(&["job.py:f", "--from-json", "items.json"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, "(1,)\n"));
    run.says(
        2,
        &["error: --from-json: element 1 of items.json: unknown $type \"tuples\""],
    );
}

#[test]
fn lines_that_are_no_text() {
    let folder = folder();
    folder.write("lines", b"a\nb\xff\nc\n");
    check_in(
        &folder,
        &["job.py:f", "--each-line", "lines"],
        "error: --each-line: line 2 of lines is not UTF-8",
    );
    // Of a pipe it is known when it is reached; what was before it is done.
    let run = finish(
        folder.command(&["submit", "-q", "job.py:f", "--each-line", "-"]),
        b"a\nb\xff\nc\n",
    );
    assert_eq!(run.stdout, "('a',)\n");
    run.fails(2, "error: --each-line: line 2 of - is not UTF-8");
}

#[test]
fn files_that_are_not_there() {
    let gone = "No such file or directory (os error 2)";
    check(
        &["job.py:f", "--each-line", "gone"],
        &format!("error: --each-line: could not open gone: {gone}"),
    );
    check(
        &["job.py:f", "--from-json", "gone"],
        &format!("error: --from-json: could not open gone: {gone}"),
    );
    check(
        &["job.py:f", "--stdin=gone"],
        &format!("error: --stdin: could not open gone: {gone}"),
    );
    check(
        &["job.py:f", "--input", "gone"],
        &format!("error: --input gone: cannot read input gone: {gone}"),
    );
    check(
        &["job.py:f", "--input", "gone=x"],
        &format!("error: --input gone: cannot read input gone: {gone}"),
    );
    check(
        &["job.py:f", "--module", "gone.py"],
        &format!("error: --module: could not open gone.py: {gone}"),
    );
    check(
        &["job.py:f", "--each-line", "."],
        "error: --each-line: . is a directory",
    );
}

#[test]
fn inputs() {
    let folder = folder();
    folder.write("a/x", "");
    folder.write("b/x", "");
    check_in(
        &folder,
        &["job.py:f", "--input", "a/x", "--input", "b/x"],
        "error: --input: two inputs have the name \"x\"; give one another name with --input b/x=NAME",
    );
    check_in(
        &folder,
        &["job.py:f", "--input", "a/x=../y"],
        "error: --input a/x: cannot grant the input under that name: \"../y\" is not a path that an input can have",
    );
    check_in(
        &folder,
        &["job.py:f", "--input", "a/x="],
        "error: --input a/x=: write it as PATH or PATH=NAME",
    );
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a/out")).unwrap();
    let root = folder.path().canonicalize().unwrap();
    let said = format!(
        "error: --input a: input {0}/a/out is a symbolic link that leads out of {0}/a",
        root.display()
    );
    check_in(&folder, &["job.py:f", "--input", "a"], &said);
    check_in(
        &folder,
        &["job.py:f", "--input", "/dev/null"],
        "error: --input /dev/null: input /dev/null is neither a file nor a directory",
    );
}

#[test]
fn standard_input_is_read_once() {
    let said = |a: &str, b: &str| {
        format!("error: {a} and {b} cannot both read standard input; give one of them a file")
    };
    check(
        &["job.py:f", "--each-line", "-", "--stdin"],
        &said("--each-line", "--stdin"),
    );
    check(
        &["job.py:f", "--from-json", "-", "--stdin"],
        &said("--from-json", "--stdin"),
    );
}

#[test]
fn limits_out_of_range() {
    check(
        &["job.py:f", "--memory", "1MiB"],
        "error: --memory: 1 MiB is not from 64 MiB to 4 GiB",
    );
    check(
        &["job.py:f", "--memory", "5GiB"],
        "error: --memory: 5 GiB is not from 64 MiB to 4 GiB",
    );
    check(
        &["job.py:f", "--time-limit", "0s"],
        "error: --time-limit: 0 ms is not from 1 ms to 30 d",
    );
    check(
        &["job.py:f", "--result-limit", "1"],
        "error: --result-limit: 1 bytes is not from 1 KiB to 1 GiB",
    );
}

#[test]
fn flags_that_do_not_parse() {
    check_flag(&["--range", "5-1"], "the range is empty");
    check_flag(&["--range", "x"], "write a range like 1-1000");
    check_flag(&["--range", "1-5:0"], "the step has to be 1 or more");
    check_flag(&["--memory", "much"], "write a size like 512KiB");
    check_flag(&["--time-limit", "5"], "add a unit, like 30s");
    check_flag(&["--slots", "0"], "0 is not in 1..=1024");
    check_flag(&["--slots", "1025"], "1025 is not in 1..=1024");
    check_flag(&["--output", "xml"], "invalid value 'xml'");
    check_flag(&["--submit-time", "now"], "write milliseconds since 1970");
    check_flag(&["--job-id", "xyz"], "expected 32 hex digits");
    check_flag(
        &["--range", "1-2", "--each-line", "x"],
        "cannot be used with",
    );
    check_flag(
        &["--from-json", "y", "--each-line", "x"],
        "cannot be used with",
    );
    check_flag(
        &["--real-time", "--submit-time", "0"],
        "cannot be used with",
    );
    check_flag(&["--nonsense"], "unexpected argument '--nonsense'");
    let run = folder().ppwasm(&["submit"]);
    run.says(2, &["required arguments were not provided", "FILE[:FUNC]"]);
}
