//! Symbolic links, hard links and renaming.

use super::*;

#[test]
fn symbolic_links_lead_to_files_and_directories() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    guest.file("work/d/f", b"contents");
    assert_eq!(guest.symlink("d", "work/to_d"), Ok(()));
    assert_eq!(guest.symlink("to_d/f", "work/to_f"), Ok(()));
    assert_eq!(guest.symlink("../work/./d/", "work/long"), Ok(()));
    assert_eq!(guest.contents("work/to_f"), Ok(b"contents".to_vec()));
    assert_eq!(guest.contents("work/long/f"), Ok(b"contents".to_vec()));
    assert_eq!(guest.names("work/to_d"), ["f"]);
    assert_eq!(guest.stat("work/to_f"), guest.stat("work/d/f"));
    assert_eq!(guest.lstat("work/to_f").map(|stat| stat.filetype), Ok(7));
    assert_eq!(guest.lstat("work/to_d/").map(|stat| stat.filetype), Ok(3));
    assert_eq!(guest.stat("work/to_f/"), Err(Errno::NOTDIR));
}

#[test]
fn links_that_are_not_followed_cannot_be_opened() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    guest.file("work/f", b"");
    for target in ["d", "f", "none", "s"] {
        assert_eq!(guest.symlink(target, "work/s"), Ok(()));
        for flags in [0, oflags::DIRECTORY, oflags::CREAT, oflags::TRUNC] {
            let arguments = OpenArguments {
                lookup: 0,
                oflags: flags.into(),
                rights: 0,
                inheriting: 0,
                fdflags: 0,
            };
            assert_eq!(
                guest.path_open(ROOT, "work/s", arguments),
                Err(Errno::LOOP),
                "{target}"
            );
        }
        assert_eq!(guest.unlink("work/s"), Ok(()));
    }
}

#[test]
fn opening_through_a_dangling_link_can_make_its_target() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.symlink("d/new", "work/s"), Ok(()));
    assert_eq!(guest.stat("work/s"), Err(Errno::NOENT));
    assert_eq!(guest.open("work/s", 0), Err(Errno::NOENT));
    assert_eq!(
        guest.open("work/s", oflags::CREAT | oflags::EXCL),
        Err(Errno::EXIST)
    );
    guest.file("work/s", b"made");
    assert_eq!(guest.contents("work/d/new"), Ok(b"made".to_vec()));
}

#[test]
fn links_never_lead_out() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    guest.file("work/f", b"");
    for (target, path) in [
        ("../../..", "work/d/up"),
        ("/../..", "work/d/rooted_up"),
        ("/work/f", "work/d/rooted"),
        ("../f", "work/d/near"),
        ("/", "work/d/root"),
    ] {
        assert_eq!(guest.symlink(target, path), Ok(()));
    }
    assert_eq!(guest.stat("work/d/up"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.stat("work/d/rooted_up"), Err(Errno::NOTCAPABLE));
    // The root of the guest's own tree is a directory like others, seen from there.
    assert_eq!(guest.stat("work/d/rooted"), guest.stat("work/f"));
    assert_eq!(
        guest.stat("work/d/root/lib/python3.13"),
        guest.stat("lib/python3.13")
    );
    assert_eq!(guest.stat("work/d/root"), guest.stat("."));
    // Below another directory, what leads out of it is refused.
    let d = guest.open_to_read("work/d").expect("a directory");
    for path in ["up", "rooted_up", "rooted", "near", "root"] {
        assert_eq!(
            guest.stat_with(d, path, 1),
            Err(Errno::NOTCAPABLE),
            "{path}"
        );
        assert!(guest.stat_with(d, path, 0).is_ok(), "{path}");
    }
}

#[test]
fn loops_are_found() {
    let mut guest = Guest::plain();
    assert_eq!(guest.symlink("a", "work/a"), Ok(()));
    assert_eq!(guest.symlink("c/x", "work/b"), Ok(()));
    assert_eq!(guest.symlink("b/y", "work/c"), Ok(()));
    for path in ["work/a", "work/a/", "work/a/x", "work/b", "work/c/z"] {
        assert_eq!(guest.stat(path), Err(Errno::LOOP), "{path}");
        assert_eq!(guest.open(path, oflags::CREAT), Err(Errno::LOOP), "{path}");
    }
    guest.file("work/0", b"end");
    for number in 1..=41 {
        let target = format!("{}", number - 1);
        assert_eq!(guest.symlink(&target, &format!("work/{number}")), Ok(()));
    }
    assert_eq!(guest.contents("work/40"), Ok(b"end".to_vec()));
    assert_eq!(guest.contents("work/41"), Err(Errno::LOOP));
}

#[test]
fn links_are_read_as_far_as_there_is_room() {
    let mut guest = Guest::plain();
    assert_eq!(guest.symlink("target", "work/s"), Ok(()));
    assert_eq!(guest.readlink("work/s", 100), Ok(b"target".to_vec()));
    assert_eq!(guest.readlink("work/s", 6), Ok(b"target".to_vec()));
    assert_eq!(guest.readlink("work/s", 4), Ok(b"targ".to_vec()));
    assert_eq!(guest.readlink("work/s", 0), Ok(vec![]));
    assert_eq!(guest.readlink("work", 100), Err(Errno::INVAL));
    assert_eq!(
        guest.readlink("lib/python3.13/os.py", 100),
        Err(Errno::INVAL)
    );
    assert_eq!(guest.readlink("work/none", 100), Err(Errno::NOENT));
    assert_eq!(guest.readlink("work/s", -1), Err(Errno::FAULT));
    let path = guest.path("work/s");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    let answer = wasi.path_readlink(memory, ROOT, path, (DATA, 9), -1);
    assert_eq!(errno(answer), Err(Errno::FAULT));
}

#[test]
fn a_symbolic_link_needs_a_name_of_its_own() {
    let mut guest = Guest::plain();
    guest.file("work/f", b"");
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.symlink("x", "work/s"), Ok(()));
    for path in ["work/f", "work/d", "work/d/", "work/s", "work", "work/."] {
        assert_eq!(guest.symlink("x", path), Err(Errno::EXIST), "{path}");
    }
    assert_eq!(guest.symlink("x", "work/new/"), Err(Errno::NOENT));
    assert_eq!(guest.symlink("x", "work/none/new"), Err(Errno::NOENT));
    assert_eq!(guest.symlink("", "work/new"), Err(Errno::NOENT));
    assert_eq!(guest.symlink("a\0b", "work/new"), Err(Errno::INVAL));
}

#[test]
fn hard_links_are_names_of_one_file() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"abc");
    assert_eq!(guest.link("work/a", "tmp/b"), Ok(()));
    assert_eq!(guest.stat("work/a"), guest.stat("tmp/b"));
    assert_eq!(guest.stat("work/a").map(|stat| stat.nlink), Ok(2));
    guest.file("tmp/b", b"changed");
    assert_eq!(guest.contents("work/a"), Ok(b"changed".to_vec()));
    assert_eq!(guest.wasi.scratch_bytes(), 7);
    assert_eq!(guest.unlink("work/a"), Ok(()));
    assert_eq!(guest.stat("tmp/b").map(|stat| stat.nlink), Ok(1));
    assert_eq!(guest.contents("tmp/b"), Ok(b"changed".to_vec()));
}

#[test]
fn what_cannot_be_linked() {
    let mut guest = Guest::with_inputs();
    guest.file("work/a", b"");
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    for path in ["work/a", "work/d", "work/notes.txt"] {
        assert_eq!(guest.link("work/a", path), Err(Errno::EXIST), "{path}");
    }
    assert_eq!(guest.link("work/a", "work/new/"), Err(Errno::NOENT));
    assert_eq!(guest.link("work/a/", "work/new"), Err(Errno::NOTDIR));
    assert_eq!(guest.link("work/none", "work/new"), Err(Errno::NOENT));
    assert_eq!(guest.link("work/d", "work/new"), Err(Errno::PERM));
    assert_eq!(guest.link("work/notes.txt", "work/new"), Err(Errno::ROFS));
    assert_eq!(guest.link_with(2, "work/a", "work/new"), Err(Errno::INVAL));
    assert_eq!(guest.link("work/a", "work/data/new"), Err(Errno::ROFS));
}

#[test]
fn hard_links_to_symbolic_links() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"abc");
    assert_eq!(guest.symlink("a", "work/s"), Ok(()));
    assert_eq!(guest.symlink("none", "work/dangling"), Ok(()));
    assert_eq!(guest.link("work/s", "work/s2"), Ok(()));
    assert_eq!(
        guest
            .lstat("work/s2")
            .map(|stat| (stat.filetype, stat.nlink)),
        Ok((7, 2))
    );
    assert_eq!(guest.link("work/dangling", "work/d2"), Ok(()));
    assert_eq!(guest.link_with(1, "work/s", "work/a2"), Ok(()));
    assert_eq!(
        guest
            .lstat("work/a2")
            .map(|stat| (stat.filetype, stat.nlink)),
        Ok((4, 2))
    );
    assert_eq!(
        guest.link_with(1, "work/dangling", "work/new"),
        Err(Errno::NOENT)
    );
    assert_eq!(guest.link("work/a", "work/dangling"), Err(Errno::EXIST));
}

#[test]
fn files_are_renamed_over_files() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"aaa");
    let fd = guest.create("work/b");
    assert_eq!(guest.write(fd, b"bbbb"), Ok(4));
    let ino = guest.stat("work/a").expect("attributes").ino;
    assert_eq!(guest.rename("work/a", "work/b"), Ok(()));
    assert_eq!(guest.stat("work/a"), Err(Errno::NOENT));
    assert_eq!(guest.stat("work/b").expect("attributes").ino, ino);
    assert_eq!(guest.pread(fd, 9, 0), Ok(b"bbbb".to_vec()));
    assert_eq!(guest.wasi.scratch_bytes(), 7);
    assert_eq!(guest.close(fd), Ok(()));
    assert_eq!(
        (guest.wasi.scratch_bytes(), guest.wasi.scratch_nodes()),
        (3, 1)
    );
    assert_eq!(guest.rename("work/b", "work/b"), Ok(()));
    assert_eq!(guest.link("work/b", "work/c"), Ok(()));
    // Two names of one file: nothing happens.
    assert_eq!(guest.rename("work/b", "work/c"), Ok(()));
    assert_eq!(guest.names("work"), ["b", "c"]);
    assert_eq!(guest.rename("work/c", "tmp/c"), Ok(()));
    assert_eq!(guest.rename("work/none", "work/x"), Err(Errno::NOENT));
    assert_eq!(guest.rename("work/b", "work/none/x"), Err(Errno::NOENT));
    assert_eq!(guest.rename("work/b/", "work/x"), Err(Errno::NOTDIR));
    assert_eq!(guest.rename("work/b", "work/x/"), Err(Errno::NOTDIR));
}

#[test]
fn directories_are_renamed_over_empty_directories() {
    let mut guest = Guest::plain();
    for path in ["work/d", "work/d/sub", "work/empty", "work/full"] {
        assert_eq!(guest.mkdir(path), Ok(()));
    }
    guest.file("work/full/f", b"");
    guest.file("work/f", b"");
    assert_eq!(guest.rename("work/d", "work/full"), Err(Errno::NOTEMPTY));
    assert_eq!(guest.rename("work/d", "work/f"), Err(Errno::NOTDIR));
    assert_eq!(guest.rename("work/f", "work/empty"), Err(Errno::ISDIR));
    assert_eq!(guest.rename("work/d", "work/empty"), Ok(()));
    assert_eq!(guest.names("work/empty"), ["sub"]);
    assert_eq!(guest.rename("work/empty/", "tmp/moved/"), Ok(()));
    assert_eq!(guest.stat("tmp/moved/sub/../.."), guest.stat("tmp"));
    assert_eq!(guest.names("tmp"), ["moved"]);
}

#[test]
fn a_directory_does_not_move_into_itself() {
    let mut guest = Guest::plain();
    for path in ["work/d", "work/d/e", "work/d/e/f"] {
        assert_eq!(guest.mkdir(path), Ok(()));
    }
    assert_eq!(guest.rename("work/d", "work/d/x"), Err(Errno::INVAL));
    assert_eq!(guest.rename("work/d", "work/d/e/f/x"), Err(Errno::INVAL));
    assert_eq!(guest.rename("work/d", "work/d/e"), Err(Errno::INVAL));
    assert_eq!(guest.rename("work/d/e", "work/d"), Err(Errno::NOTEMPTY));
    assert_eq!(guest.rename("work/d", "work/d"), Ok(()));
    assert_eq!(guest.rename("work/d/.", "work/x"), Err(Errno::INVAL));
    assert_eq!(guest.rename("work/d/..", "work/x"), Err(Errno::INVAL));
    assert_eq!(guest.rename("work/d", "work/."), Err(Errno::INVAL));
    // Through a descriptor inside the directory that would move.
    let inside = guest.open_to_read("work/d/e").expect("a directory");
    let (old, new) = (guest.path("work/d"), guest.other_path("x"));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    let answer = wasi.path_rename(memory, ROOT, old, inside, new);
    assert_eq!(errno(answer), Err(Errno::INVAL));
}

#[test]
fn renaming_moves_links_themselves() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"abc");
    assert_eq!(guest.symlink("a", "work/s"), Ok(()));
    assert_eq!(guest.rename("work/s", "work/t"), Ok(()));
    assert_eq!(guest.readlink("work/t", 9), Ok(b"a".to_vec()));
    guest.file("work/b", b"over");
    assert_eq!(guest.rename("work/b", "work/t"), Ok(()));
    assert_eq!(guest.lstat("work/t").map(|stat| stat.filetype), Ok(4));
    assert_eq!(guest.contents("work/a"), Ok(b"abc".to_vec()));
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.symlink("d", "work/s"), Ok(()));
    assert_eq!(guest.rename("work/d", "work/s"), Err(Errno::NOTDIR));
    assert_eq!(guest.rename("work/s/", "work/u"), Err(Errno::NOTDIR));
}

#[test]
fn an_open_directory_can_be_replaced() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/old"), Ok(()));
    assert_eq!(guest.mkdir("work/new"), Ok(()));
    let fd = guest.open_to_read("work/old").expect("a directory");
    assert_eq!(guest.rename("work/new", "work/old"), Ok(()));
    assert_eq!(guest.stat_with(fd, ".", 0).map(|stat| stat.nlink), Ok(0));
    assert_eq!(guest.wasi.scratch_nodes(), 2);
    assert_eq!(guest.close(fd), Ok(()));
    assert_eq!(guest.wasi.scratch_nodes(), 1);
}
