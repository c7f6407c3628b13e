//! The sandbox as a program sees it: files, inputs, scratch, standard streams; nothing of the machine.

use std::fs;
use std::sync::Arc;

use ppwasm_host::Task;
use ppwasm_host::wasi::InputTree;
use ppwasm_host::wasi::inputs::{InputLimits, InputReader};
use ppwasm_proto::{Call, Limits};

use crate::support::{NOTHING, RunIn, function, on_both_paths, returned, task, task_of, value};

const SOURCE: &str = include_str!("python/sandbox.py");

fn inputs() -> Arc<InputTree> {
    let mut tree = InputTree::new();
    for (path, contents) in [
        ("data/a.txt", &b"first line\nsecond line\n"[..]),
        ("data/deep/er/b.bin", &[0, 255, 10]),
        ("empty", b""),
        ("n\u{e4}me with space.txt", b"ok"),
    ] {
        tree.add_file(path, contents.into()).expect("an input");
    }
    tree.add_directory("data/none").expect("an input");
    Arc::new(tree)
}

/// Runs a function of the program whose assertions are the test.
fn checks(name: &str, task: impl Fn() -> Task + Sync) {
    let check = function(SOURCE, name);
    on_both_paths(|slot| {
        for _ in 0..2 {
            value(&slot.report(&check, task()));
        }
    });
}

#[test]
fn the_library_is_read_only() {
    checks("library_is_read_only", || task(NOTHING));
}

#[test]
fn inputs_are_there_and_read_only() {
    checks("inputs_are_read_only", || task(NOTHING).inputs(inputs()));
}

#[test]
fn inputs_of_one_call_are_not_there_in_the_next() {
    let names = function(SOURCE, "names_in_work");
    on_both_paths(|slot| {
        let with = slot.report(&names, task(NOTHING).inputs(inputs()));
        assert_eq!(
            returned(&with),
            "['data', 'empty', 'n\u{e4}me with space.txt']"
        );
        assert_eq!(slot.call(&names, NOTHING), "[]");
        let mut other = InputTree::new();
        other
            .add_file("other", (&b"x"[..]).into())
            .expect("an input");
        let other = slot.report(&names, task(NOTHING).inputs(Arc::new(other)));
        assert_eq!(returned(&other), "['other']");
    });
}

#[test]
fn scratch_is_an_ordinary_file_system() {
    checks("scratch_files", || task(NOTHING).inputs(inputs()));
    checks("open_modes", || task(NOTHING));
    checks("directories", || task(NOTHING));
    checks("links", || task(NOTHING).inputs(inputs()));
    checks("temporary_files", || task(NOTHING));
    checks("trees", || task(NOTHING).inputs(inputs()));
}

#[test]
fn nothing_of_the_machine_is_there() {
    checks("nothing_else_is_there", || task(NOTHING));
}

#[test]
fn a_full_scratch_says_so() {
    let limits = Limits {
        scratch_bytes_max: 100_000,
        scratch_files_max: 10,
        ..Limits::default()
    };
    checks("full_scratch", || task(NOTHING).limits(limits));
}

#[test]
fn standard_input_is_read_to_its_end() {
    let stdin = || task(NOTHING).stdin(&b"one\ntwo\n\xff\xfe\nlast"[..]);
    checks("standard_input", stdin);
    checks("no_standard_input", || task(NOTHING));
    let large = vec![b'x'; 3 << 20];
    checks("large_standard_input", || {
        task(NOTHING).stdin(large.clone())
    });
}

#[test]
fn output_is_kept_byte_for_byte() {
    let output = function(SOURCE, "output");
    on_both_paths(|slot| {
        let report = slot.report(&output, task(NOTHING));
        value(&report);
        assert_eq!(
            report.stdout,
            b"text \xc3\xbc\n\x00\x1b[31m\xff\xfe\x80no newline"
        );
        assert_eq!(report.stderr, b"error \xc3\xbc\\udc80\n");
    });
}

/// A directory of the machine, read in before: links inside it are followed, links out of it refused.
#[cfg(unix)]
#[test]
fn a_directory_of_the_machine_is_granted_as_it_is() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("granted");
    fs::create_dir_all(root.join("sub")).expect("a directory");
    fs::write(root.join("sub/file"), b"contents").expect("a file");
    symlink("sub/file", root.join("link")).expect("a link");
    let read = |root: &std::path::Path| {
        let mut reader = InputReader::new(InputLimits::default());
        reader.add(root, None).map(|()| reader.finish())
    };
    let tree = Arc::new(read(&root).expect("reads"));
    let cat = function(SOURCE, "cat");
    on_both_paths(|slot| {
        for path in [
            "granted/sub/file",
            "granted/link",
            "/work/granted/sub/../link",
        ] {
            let task = task_of(Call::with_args([path])).inputs(Arc::clone(&tree));
            assert_eq!(returned(&slot.report(&cat, task)), "b'contents'");
        }
    });
    for outside in ["/etc/passwd", "..", "../..", "/"] {
        let link = root.join("out");
        symlink(outside, &link).expect("a link");
        assert!(read(&root).is_err(), "a link to {outside} was followed");
        fs::remove_file(link).expect("removes");
    }
}
