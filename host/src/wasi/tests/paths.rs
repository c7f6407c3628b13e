//! How paths are followed.

use super::*;
use crate::wasi::fs::{NAME_BYTES_MAX, PATH_BYTES_MAX};

#[test]
fn paths_are_relative_and_stay_below_their_directory() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.mkdir("work/d/e"), Ok(()));
    guest.file("work/d/e/f", b"");
    assert!(guest.stat("work/d/.//e/../../d/e/../e///./f").is_ok());
    assert!(guest.stat("lib/../work/d").is_ok());
    for path in [
        "/work",
        "/",
        "..",
        "work/../..",
        "work/d/../../../work/d",
        "./..",
    ] {
        assert_eq!(guest.stat(path), Err(Errno::NOTCAPABLE), "{path}");
        assert_eq!(guest.open_to_read(path), Err(Errno::NOTCAPABLE), "{path}");
        assert_eq!(guest.mkdir(path), Err(Errno::NOTCAPABLE), "{path}");
        assert_eq!(
            guest.rename("work/d", path),
            Err(Errno::NOTCAPABLE),
            "{path}"
        );
    }
    let work = guest.open_to_read("work").expect("a directory");
    assert!(guest.stat_with(work, "d/e/../../d", 0).is_ok());
    for path in ["..", "../lib", "../work", "d/../..", "/", "/work/d"] {
        assert_eq!(
            guest.stat_with(work, path, 0),
            Err(Errno::NOTCAPABLE),
            "{path}"
        );
    }
}

#[test]
fn dots_need_a_directory_before_them() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"");
    for path in ["work/a/.", "work/a/..", "work/a/../a", "work/a/b"] {
        assert_eq!(guest.stat(path), Err(Errno::NOTDIR), "{path}");
    }
    for path in ["work/none/..", "work/none/.", "none/../work"] {
        assert_eq!(guest.stat(path), Err(Errno::NOENT), "{path}");
    }
    let (root, work) = (guest.stat("."), guest.stat("work"));
    assert_eq!(guest.stat("work/.."), root);
    assert_eq!(guest.stat("work/."), work);
    assert_eq!(guest.stat("lib/python3.13/encodings/../../../work/"), work);
}

#[test]
fn paths_that_are_no_paths() {
    let mut guest = Guest::plain();
    assert_eq!(guest.stat(""), Err(Errno::NOENT));
    assert_eq!(guest.open_to_read(""), Err(Errno::NOENT));
    assert_eq!(guest.mkdir(""), Err(Errno::NOENT));
    assert_eq!(guest.unlink(""), Err(Errno::NOENT));
    assert_eq!(guest.stat("work\0"), Err(Errno::INVAL));
    assert_eq!(guest.stat("\0"), Err(Errno::INVAL));
    guest.put(PATH, b"work/\xff");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.path_create_directory(memory, ROOT, PATH, 6)),
        Err(Errno::ILSEQ)
    );
    let end = i32::try_from(MEMORY_BYTES).expect("an address");
    for (at, len) in [(end, 1), (end - 1, 2), (-1, 1), (PATH, -1), (-1, -1)] {
        let answer = wasi.path_create_directory(memory, ROOT, at, len);
        assert_eq!(errno(answer), Err(Errno::FAULT), "{at} {len}");
    }
}

#[test]
fn names_and_paths_have_a_greatest_length() {
    let mut guest = Guest::plain();
    let name = "n".repeat(NAME_BYTES_MAX);
    assert_eq!(guest.mkdir(&format!("work/{name}")), Ok(()));
    assert_eq!(
        guest.mkdir(&format!("work/{name}n")),
        Err(Errno::NAMETOOLONG)
    );
    assert_eq!(
        guest.stat(&format!("work/{name}n")),
        Err(Errno::NAMETOOLONG)
    );
    assert_eq!(
        guest.stat(&format!("work/{name}n/x")),
        Err(Errno::NAMETOOLONG)
    );
    let longest = format!("{}work", "./".repeat((PATH_BYTES_MAX - 4) / 2));
    assert_eq!(longest.len(), PATH_BYTES_MAX);
    assert!(guest.stat(&longest).is_ok());
    assert_eq!(guest.stat(&format!("{longest}/")), Err(Errno::NAMETOOLONG));
    assert_eq!(guest.symlink(&longest, "work/s"), Ok(()));
    assert_eq!(
        guest.symlink(&format!("{longest}/"), "work/t"),
        Err(Errno::NAMETOOLONG)
    );
    // What a link and the rest of a path make together is limited as well.
    assert_eq!(guest.stat("work/s"), Err(Errno::NOENT));
    assert_eq!(guest.stat("work/s/x"), Err(Errno::NAMETOOLONG));
}

#[test]
fn names_are_bytes_apart_from_being_utf_8() {
    let mut guest = Guest::plain();
    for name in ["a b", "ä", "日本", "...", "-", "*", "a\\b", "A", "a"] {
        assert_eq!(guest.mkdir(&format!("work/{name}")), Ok(()), "{name}");
    }
    assert_eq!(guest.names("work").len(), 9);
}

#[test]
fn the_frame_is_as_documented_and_read_only() {
    let mut guest = Guest::plain();
    assert_eq!(guest.names("."), ["lib", "tmp", "work"]);
    assert_eq!(guest.names("lib"), ["python3.13"]);
    for path in [
        "etc",
        "lib/x",
        "lib/python3.13/x",
        "lib/python3.13/encodings/x",
    ] {
        assert_eq!(guest.mkdir(path), Err(Errno::ROFS), "{path}");
        assert_eq!(guest.symlink("x", path), Err(Errno::ROFS), "{path}");
        assert_eq!(guest.rmdir(path), Err(Errno::NOENT), "{path}");
        assert_eq!(guest.unlink(path), Err(Errno::NOENT), "{path}");
    }
    for path in [
        "work",
        "tmp",
        "lib",
        "lib/python3.13",
        "lib/python3.13/encodings",
    ] {
        assert_eq!(guest.rmdir(path), Err(Errno::ROFS), "{path}");
        assert_eq!(guest.unlink(path), Err(Errno::ISDIR), "{path}");
        assert_eq!(guest.rename(path, "tmp/x"), Err(Errno::ROFS), "{path}");
        assert_eq!(guest.mkdir(path), Err(Errno::EXIST), "{path}");
    }
    let os = "lib/python3.13/os.py";
    assert_eq!(guest.unlink(os), Err(Errno::ROFS));
    assert_eq!(guest.rename(os, "work/os.py"), Err(Errno::ROFS));
    assert_eq!(guest.link(os, "work/os.py"), Err(Errno::ROFS));
    guest.file("work/a", b"");
    assert_eq!(guest.rename("work/a", os), Err(Errno::ROFS));
    assert_eq!(guest.rename("work/a", "lib/python3.13/b"), Err(Errno::ROFS));
    assert_eq!(guest.rename("work/a", "b"), Err(Errno::ROFS));
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.rename("work/d", "tmp"), Err(Errno::ROFS));
    assert_eq!(guest.link("work/a", "lib/b"), Err(Errno::ROFS));
}

#[test]
fn attributes_tell_things_apart() {
    let mut guest = Guest::with_inputs();
    guest.file("work/a", b"12345");
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.symlink("longer than it", "work/s"), Ok(()));
    let paths = [
        (".", 3, 0),
        ("lib", 3, 0),
        ("lib/python3.13", 3, 0),
        ("lib/python3.13/os.py", 4, 11),
        ("lib/python3.13/encodings", 3, 0),
        ("work", 3, 0),
        ("work/notes.txt", 4, 5),
        ("work/data", 3, 0),
        ("work/data/a.csv", 4, 4),
        ("work/a", 4, 5),
        ("work/d", 3, 0),
        ("work/s", 7, 14),
        ("tmp", 3, 0),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (path, filetype, size) in paths {
        let stat = guest.lstat(path).expect(path);
        assert_eq!(
            (stat.filetype, stat.size, stat.nlink),
            (filetype, size, 1),
            "{path}"
        );
        assert_eq!(stat.dev, guest.stat(".").expect("attributes").dev);
        assert!(seen.insert(stat.ino), "{path}");
        assert_eq!(guest.lstat(path), Ok(stat), "{path}");
    }
    let end = i32::try_from(MEMORY_BYTES).expect("an address");
    let path = guest.path("work");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    let answer = wasi.path_filestat_get(memory, ROOT, 0, path, end - 63);
    assert_eq!(errno(answer), Err(Errno::FAULT));
    assert_eq!(
        errno(wasi.path_filestat_get(memory, ROOT, 2, path, OUT)),
        Err(Errno::INVAL)
    );
    assert_eq!(
        errno(wasi.fd_filestat_get(memory, ROOT, end - 63)),
        Err(Errno::FAULT)
    );
    assert_eq!(
        errno(wasi.fd_fdstat_get(memory, ROOT, end - 23)),
        Err(Errno::FAULT)
    );
}
