//! Files that run as scripts.

use crate::support::Folder;

#[test]
fn a_script_has_arguments_input_output_and_a_code() {
    let source = "
import sys
print(__name__, sys.argv)
print(sys.stdin.read(), end='')
print('to stderr', file=sys.stderr)
sys.exit(7)
";
    let folder = Folder::job(source);
    let args = ["submit", "--stdin", "job.py", "1", "[2]", "--", "--flag"];
    let run = folder.ppwasm_with(&args, b"given\n");
    assert_eq!(
        run.stdout,
        "__main__ ['job.py', '1', '[2]', '--flag']\ngiven\n"
    );
    assert_eq!((run.code, run.said().as_str()), (7, "to stderr\n"));
}

#[test]
fn a_scripts_code_is_the_commands() {
    let folder = Folder::job(
        "import sys, os\nk = sys.argv[1]\nif k == 'os': os._exit(9)\nsys.exit(None if k == 'none' else int(k) if k.isdigit() else k)",
    );
    let cases = [
        ("0", 0),
        ("1", 1),
        ("3", 3),
        ("255", 255),
        ("256", 1),
        ("none", 0),
        ("os", 9),
    ];
    for (arg, code) in cases {
        let run = folder.submit(&["job.py", arg]);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (code, ""),
            "{arg}: {}",
            run.stderr
        );
    }
    folder.submit(&["job.py", "a reason"]).fails(1, "a reason");
}

#[test]
fn a_scripts_exception_shows_its_lines() {
    let folder = Folder::job("def f(x):\n    return 1 / x\nf(0)\n");
    let wanted = "Traceback (most recent call last):\n  File \"job.py\", line 3, in <module>\n    f(0)\n    ~^^^\n  \
        File \"job.py\", line 2, in f\n    return 1 / x\n           ~~^~~\nZeroDivisionError: division by zero";
    folder.submit(&["job.py"]).fails(1, wanted);
}

#[test]
fn bytes_pass_through_unchanged() {
    let folder =
        Folder::job("import sys\nsys.stdout.buffer.write(bytes(range(256)))\nprint('\\x1b[31m')");
    let run = folder.submit(&["job.py"]);
    let mut wanted: Vec<u8> = (0..=255).collect();
    wanted.extend(b"\x1b[31m\n");
    assert_eq!((run.code, &run.raw_stdout), (0, &wanted));
    // The same with several tasks, whose output waits for its turn.
    let run = folder.submit(&["job.py", "--range", "1-3"]);
    assert_eq!((run.code, &run.raw_stdout), (0, &wanted.repeat(3)));
}

#[test]
fn several_tasks_print_in_their_order() {
    let source = "import sys\nprint(sys.argv[1:])\nprint('note', file=sys.stderr)\nsys.exit(int(sys.argv[1] == '2'))";
    let folder = Folder::job(source);
    let run = folder.submit(&["job.py", "--range", "1-3", "x", "--keep-going"]);
    assert_eq!(run.stdout, "['1', 'x']\n['2', 'x']\n['3', 'x']\n");
    run.says(
        1,
        &["task 0: note\ntask 1: note\ntask 1 exited with code 1\ntask 2: note\n3 tasks in "],
    );
    folder.write("items.json", r#"["text", 1.50, [1, "a"]]"#);
    folder.write("show.py", "import sys; print(sys.argv[1])");
    let run = folder.submit(&["show.py", "--from-json", "items.json"]);
    run.prints("text\n1.50\n[1, \"a\"]\n");
}

#[test]
fn a_script_may_be_longer_than_its_import() {
    let folder = Folder::new(&[
        (
            "job.py",
            "import helper, pickle\nclass A: pass\nif __name__ == '__main__':\n    print(helper.x, type(pickle.loads(pickle.dumps(A()))).__name__)",
        ),
        ("helper.py", "x = 5"),
    ]);
    folder.submit(&["job.py"]).prints("5 A\n");
}
