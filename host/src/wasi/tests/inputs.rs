//! Reading granted paths of the machine, and the tree they become.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::wasi::InputTreeError;
use crate::wasi::inputs::{InputError, InputLimits, InputReader};

fn read(path: &Path, name: Option<&str>) -> Result<InputTree, InputError> {
    read_with(InputLimits::default(), path, name)
}

fn read_with(
    limits: InputLimits,
    path: &Path,
    name: Option<&str>,
) -> Result<InputTree, InputError> {
    let mut reader = InputReader::new(limits);
    reader.add(path, name)?;
    Ok(reader.finish())
}

fn guest(tree: InputTree) -> Guest {
    Guest::new(JobIo {
        inputs: Some(Arc::new(tree)),
        ..JobIo::default()
    })
}

/// `top/` with `a` (3 bytes), `sub/b` (4 bytes) and `empty/`.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path().join("top");
    fs::create_dir_all(top.join("sub")).expect("a directory");
    fs::create_dir(top.join("empty")).expect("a directory");
    fs::write(top.join("a"), "aaa").expect("a file");
    fs::write(top.join("sub/b"), "bbbb").expect("a file");
    fs::write(directory.path().join("outside"), "secret").expect("a file");
    directory
}

#[test]
fn a_file_and_a_directory_are_granted_under_their_names() {
    let directory = directory();
    let top = directory.path().join("top");
    let mut reader = InputReader::new(InputLimits::default());
    reader.add(&top, None).expect("read");
    reader
        .add(&top.join("a"), Some("renamed/a.txt"))
        .expect("read");
    let mut guest = guest(reader.finish());
    assert_eq!(guest.names("work"), ["renamed", "top"]);
    assert_eq!(guest.names("work/top"), ["a", "empty", "sub"]);
    assert_eq!(guest.contents("work/top/sub/b"), Ok(b"bbbb".to_vec()));
    assert_eq!(guest.contents("work/renamed/a.txt"), Ok(b"aaa".to_vec()));
    assert_eq!(guest.names("work/top/empty"), [""; 0]);
    assert_eq!(guest.unlink("work/top/a"), Err(Errno::ROFS));
}

#[test]
fn links_that_stay_inside_are_followed() {
    let directory = directory();
    let top = directory.path().join("top");
    symlink("sub/b", top.join("to_b")).expect("a link");
    symlink("sub", top.join("to_sub")).expect("a link");
    symlink(top.join("a"), top.join("absolute")).expect("a link");
    symlink("to_b", top.join("to_to_b")).expect("a link");
    symlink("top", directory.path().join("granted")).expect("a link");
    let mut guest = guest(read(&directory.path().join("granted"), None).expect("read"));
    assert_eq!(guest.contents("work/granted/to_b"), Ok(b"bbbb".to_vec()));
    assert_eq!(guest.contents("work/granted/to_to_b"), Ok(b"bbbb".to_vec()));
    assert_eq!(guest.contents("work/granted/absolute"), Ok(b"aaa".to_vec()));
    assert_eq!(guest.names("work/granted/to_sub"), ["b"]);
    assert_eq!(
        guest.lstat("work/granted/to_b").map(|stat| stat.filetype),
        Ok(4)
    );
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in [
        "../../outside",
        "/etc/passwd",
        "../..",
        "../sub/../../outside",
        "/",
    ] {
        let directory = directory();
        let top = directory.path().join("top");
        symlink(target, top.join("sub/link")).expect("a link");
        let error = read(&top, None).expect_err("a refusal");
        let InputError::SymlinkOutside { path, .. } = error else {
            panic!("{error}")
        };
        assert!(path.ends_with("top/sub/link"));
    }
    // A name that only starts the same is outside too.
    let directory = directory();
    fs::create_dir(directory.path().join("top2")).expect("a directory");
    symlink("../top2", directory.path().join("top/link")).expect("a link");
    let error = read(&directory.path().join("top"), None).expect_err("a refusal");
    assert!(
        matches!(error, InputError::SymlinkOutside { .. }),
        "{error}"
    );
}

#[test]
fn links_that_lead_nowhere_or_in_circles_are_refused() {
    for target in [".", "..", "../sub"] {
        let directory = directory();
        symlink(target, directory.path().join("top/sub/link")).expect("a link");
        let error = read(&directory.path().join("top"), None).expect_err("a refusal");
        assert!(
            matches!(error, InputError::SymlinkLoop { .. }),
            "{target}: {error}"
        );
    }
    for target in ["none", "link"] {
        let directory = directory();
        symlink(target, directory.path().join("top/link")).expect("a link");
        let error = read(&directory.path().join("top"), None).expect_err("a refusal");
        assert!(
            matches!(error, InputError::Read { .. }),
            "{target}: {error}"
        );
    }
    let error = read(Path::new("/nonexistent/x"), None).expect_err("a refusal");
    assert!(matches!(error, InputError::Read { .. }), "{error}");
}

#[test]
fn special_files_are_refused_without_waiting_for_them() {
    let error = read(Path::new("/dev/null"), None).expect_err("a refusal");
    assert!(matches!(error, InputError::SpecialFile { .. }), "{error}");
    let directory = directory();
    let socket = directory.path().join("top/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let error = read(&directory.path().join("top"), None).expect_err("a refusal");
    let InputError::SpecialFile { path } = error else {
        panic!("{error}")
    };
    assert!(path.ends_with("top/socket"));
    fs::remove_file(&socket).expect("removed");
    let made = std::process::Command::new("mkfifo")
        .arg(&socket)
        .status()
        .expect("mkfifo");
    assert!(made.success());
    let error = read(&directory.path().join("top"), None).expect_err("a refusal");
    assert!(matches!(error, InputError::SpecialFile { .. }), "{error}");
}

#[test]
fn limits_hold_exactly() {
    let directory = directory();
    let top = directory.path().join("top");
    let with = |nodes_max, bytes_max, depth_max| {
        read_with(
            InputLimits {
                nodes_max,
                bytes_max,
                depth_max,
            },
            &top,
            None,
        )
    };
    assert!(with(5, 7, 2).is_ok());
    assert!(matches!(
        with(4, 7, 2),
        Err(InputError::TooManyNodes { nodes_max: 4 })
    ));
    assert!(matches!(
        with(5, 6, 2),
        Err(InputError::TooManyBytes { bytes_max: 6 })
    ));
    assert!(matches!(
        with(5, 7, 1),
        Err(InputError::TooDeep { depth_max: 1, .. })
    ));
    // One budget for all that a job is granted.
    let limits = InputLimits {
        bytes_max: 9,
        ..InputLimits::default()
    };
    let mut reader = InputReader::new(limits);
    assert!(reader.add(&top, None).is_ok());
    let error = reader
        .add(&top.join("a"), Some("b"))
        .expect_err("a refusal");
    assert!(
        matches!(error, InputError::TooManyBytes { bytes_max: 9 }),
        "{error}"
    );
}

#[test]
fn names_have_to_be_names() {
    let directory = directory();
    let top = directory.path().join("top");
    let odd = top.join(std::ffi::OsStr::from_bytes(b"\xff"));
    assert!(matches!(
        read(Path::new("/"), None),
        Err(InputError::NoName { .. })
    ));
    assert!(matches!(
        read(&top.join(".."), None),
        Err(InputError::NoName { .. })
    ));
    for name in [
        "",
        "/",
        "/x",
        "x/",
        "..",
        "x/../y",
        ".",
        "a\0b",
        &"n".repeat(256),
    ] {
        let error = read(&top, Some(name)).expect_err("a refusal");
        let place = matches!(error, InputError::Place(InputTreeError::BadPath { .. }));
        assert!(place, "{name}: {error}");
    }
    let mut reader = InputReader::new(InputLimits::default());
    reader.add(&top.join("a"), Some("x")).expect("read");
    let error = reader.add(&top, Some("x")).expect_err("a refusal");
    assert!(
        matches!(error, InputError::Place(InputTreeError::Exists { .. })),
        "{error}"
    );
    fs::write(odd, "").expect("a file");
    assert!(matches!(read(&top, None), Err(InputError::NotUtf8 { .. })));
}

#[test]
fn trees_are_put_together() {
    let mut tree = InputTree::new();
    assert!(tree.is_empty());
    tree.graft("one/two", &inputs()).expect("grafted");
    tree.add_file("one/x", SharedBytes::EMPTY).expect("added");
    let exists = |path: &str| {
        Err(InputTreeError::Exists {
            path: path.to_owned(),
        })
    };
    assert_eq!(tree.add_file("one/x", SharedBytes::EMPTY), exists("one/x"));
    assert_eq!(tree.add_file("one", SharedBytes::EMPTY), exists("one"));
    assert_eq!(
        tree.add_file("one/x/y", SharedBytes::EMPTY),
        exists("one/x")
    );
    assert_eq!(tree.add_directory("one/x"), exists("one/x"));
    assert_eq!(tree.add_directory("one/two"), Ok(()));
    assert_eq!(
        tree.graft("one/two", &inputs()),
        exists("one/two/notes.txt")
    );
    let mut guest = guest(tree);
    assert_eq!(guest.names("work/one"), ["two", "x"]);
    assert_eq!(
        guest.contents("work/one/two/data/a.csv"),
        Ok(b"1,2\n".to_vec())
    );
    assert_eq!(guest.names("work/one/two/data"), ["a.csv", "empty"]);
}
