//! `path_open`.

use super::*;

#[test]
fn files_are_made_only_when_asked_for() {
    let mut guest = Guest::plain();
    assert_eq!(guest.open("work/a", 0), Err(Errno::NOENT));
    assert_eq!(guest.open("work/a", oflags::EXCL), Err(Errno::NOENT));
    assert_eq!(guest.open("work/none/a", oflags::CREAT), Err(Errno::NOENT));
    let fd = guest.create("work/a");
    assert_eq!(guest.write(fd, b"abc"), Ok(3));
    let again = guest.create("work/a");
    assert_eq!(guest.read(again, 9), Ok(b"abc".to_vec()));
    assert_eq!(
        guest.open("work/a", oflags::CREAT | oflags::EXCL),
        Err(Errno::EXIST)
    );
    assert_eq!(guest.open("work/a/b", oflags::CREAT), Err(Errno::NOTDIR));
    assert!(guest.open("work/b", oflags::CREAT | oflags::EXCL).is_ok());
}

#[test]
fn truncating_empties_a_file() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"abc");
    let fd = guest
        .open_with(ROOT, "work/a", oflags::TRUNC, 0, 0)
        .expect("a file");
    assert_eq!(guest.close(fd), Ok(()));
    assert_eq!(guest.contents("work/a"), Ok(vec![]));
    assert_eq!(guest.wasi.scratch_bytes(), 0);
    assert_eq!(
        guest.open_with(ROOT, "work", oflags::TRUNC, 0, 0),
        Err(Errno::ISDIR)
    );
    assert_eq!(
        guest.open_with(ROOT, "work/b", oflags::TRUNC, 0, 0),
        Err(Errno::NOENT)
    );
}

#[test]
fn directories_open_for_reading_only() {
    let mut guest = Guest::plain();
    for path in [".", "work", "work/", "lib", "lib/python3.13", "work/."] {
        assert!(
            guest
                .open_with(ROOT, path, oflags::DIRECTORY, READ_RIGHTS, 0)
                .is_ok(),
            "{path}"
        );
        assert!(guest.open_with(ROOT, path, 0, 0, 0).is_ok(), "{path}");
        let write = rights::FD_READ | rights::FD_WRITE;
        assert_eq!(
            guest.open_with(ROOT, path, 0, write, 0),
            Err(Errno::ISDIR),
            "{path}"
        );
        assert_eq!(
            guest.open_with(ROOT, path, oflags::CREAT, 0, 0),
            Err(Errno::ISDIR),
            "{path}"
        );
    }
    let both = oflags::CREAT | oflags::DIRECTORY;
    assert_eq!(
        guest.open_with(ROOT, "work/d", both, 0, 0),
        Err(Errno::INVAL)
    );
    guest.file("work/a", b"");
    assert_eq!(guest.open("work/a", oflags::DIRECTORY), Err(Errno::NOTDIR));
    let os = "lib/python3.13/os.py";
    assert_eq!(guest.open(os, oflags::DIRECTORY), Err(Errno::NOTDIR));
}

#[test]
fn a_slash_at_the_end_means_a_directory() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"");
    for path in ["work/a/", "work/a///", "work/a/."] {
        assert_eq!(guest.open_to_read(path), Err(Errno::NOTDIR), "{path}");
    }
    assert_eq!(guest.open("work/b/", oflags::CREAT), Err(Errno::ISDIR));
    assert_eq!(guest.open("work/b/", 0), Err(Errno::NOENT));
}

#[test]
fn read_only_files_open_for_reading_only() {
    let mut guest = Guest::with_inputs();
    for path in ["lib/python3.13/os.py", "work/notes.txt", "work/data/a.csv"] {
        assert!(guest.open_to_read(path).is_ok(), "{path}");
        assert_eq!(guest.open(path, 0), Err(Errno::ROFS), "{path}");
        assert_eq!(
            guest.open_with(ROOT, path, oflags::TRUNC, 0, 0),
            Err(Errno::ROFS),
            "{path}"
        );
        let exclusive = oflags::CREAT | oflags::EXCL;
        assert_eq!(guest.open(path, exclusive), Err(Errno::EXIST), "{path}");
        assert!(
            guest
                .open_with(ROOT, path, oflags::CREAT, READ_RIGHTS, 0)
                .is_ok(),
            "{path}"
        );
    }
    for path in ["a", "lib/a", "lib/python3.13/a", "work/data/b.csv"] {
        assert_eq!(guest.open(path, oflags::CREAT), Err(Errno::ROFS), "{path}");
        assert_eq!(guest.open(path, 0), Err(Errno::NOENT), "{path}");
    }
    let fd = guest.open_to_read("work/notes.txt").expect("a file");
    assert_eq!(guest.write(fd, b"x"), Err(Errno::NOTCAPABLE));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_filestat_set_times(memory, fd, 0, 0, 4)),
        Err(Errno::ROFS)
    );
    assert_eq!(
        errno(wasi.fd_filestat_set_size(memory, fd, 0)),
        Err(Errno::NOTCAPABLE)
    );
}

#[test]
fn rights_that_do_not_apply_are_left_out() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.fdstat(fd), Ok((4, 0, rights::FILE, 0)));
    let fd = guest.open_to_read("work").expect("a directory");
    assert_eq!(guest.fdstat(fd), Ok((3, 0, rights::DIRECTORY, ALL_RIGHTS)));
    let fd = guest
        .open_with(ROOT, "work", 0, rights::FD_SEEK, 0)
        .expect("a directory");
    assert_eq!(guest.fdstat(fd), Ok((3, 0, 0, ALL_RIGHTS)));
}

#[test]
fn read_only_and_write_only_descriptors() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"abc");
    let reads = guest
        .open_with(ROOT, "work/a", 0, rights::FD_READ, 0)
        .expect("a file");
    assert_eq!(guest.read(reads, 9), Ok(b"abc".to_vec()));
    assert_eq!(guest.write(reads, b"x"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.pread(reads, 9, 0), Err(Errno::NOTCAPABLE));
    let writes = guest
        .open_with(ROOT, "work/a", 0, rights::FD_WRITE, 0)
        .expect("a file");
    assert_eq!(guest.read(writes, 9), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.write(writes, b"X"), Ok(1));
    assert_eq!(guest.pwrite(writes, b"X", 0), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.contents("work/a"), Ok(b"Xbc".to_vec()));
}

#[test]
fn rights_come_from_the_directory() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"abc");
    let open = |guest: &mut Guest, rights: u64, inheriting: u64| {
        let arguments = OpenArguments {
            lookup: 0,
            oflags: 0,
            rights: rights.cast_signed(),
            inheriting: inheriting.cast_signed(),
            fdflags: 0,
        };
        guest.path_open(ROOT, "work", arguments)
    };
    let unknown = 1 << 40;
    assert_eq!(open(&mut guest, unknown, 0), Err(Errno::NOTCAPABLE));
    assert_eq!(open(&mut guest, 0, unknown), Err(Errno::NOTCAPABLE));
    let reads = rights::FD_READ | rights::PATH_OPEN;
    let work = open(&mut guest, rights::PATH_OPEN, reads).expect("a directory");
    assert_eq!(guest.fdstat(work), Ok((3, 0, rights::PATH_OPEN, reads)));
    let plain = |rights: u64, oflags: u16, fdflags: u16| OpenArguments {
        lookup: 0,
        oflags: oflags.into(),
        rights: rights.cast_signed(),
        inheriting: 0,
        fdflags: fdflags.into(),
    };
    assert!(guest.path_open(work, "a", plain(reads, 0, 0)).is_ok());
    for arguments in [
        plain(rights::FD_WRITE, 0, 0),
        plain(rights::FD_READ, oflags::CREAT, 0),
        plain(rights::FD_READ, oflags::TRUNC, 0),
        plain(rights::FD_READ, 0, fdflags::SYNC),
        plain(rights::FD_READ, 0, fdflags::RSYNC),
        plain(rights::FD_READ, 0, fdflags::DSYNC),
    ] {
        assert_eq!(
            guest.path_open(work, "a", arguments),
            Err(Errno::NOTCAPABLE),
            "{arguments:?}"
        );
    }
    assert_eq!(guest.set_rights(work, 0, 0), Ok(()));
    assert_eq!(
        guest.path_open(work, "a", plain(0, 0, 0)),
        Err(Errno::NOTCAPABLE)
    );
}

#[test]
fn unknown_flags_are_invalid() {
    let mut guest = Guest::plain();
    let arguments = |lookup, oflags, fdflags| OpenArguments {
        lookup,
        oflags,
        rights: 0,
        inheriting: 0,
        fdflags,
    };
    for (lookup, oflags, fdflags) in [
        (2, 0, 0),
        (-1, 0, 0),
        (0, 16, 0),
        (0, -1, 0),
        (0, 0, 32),
        (0, 0, -1),
        (0, 0x10000, 0),
    ] {
        let answer = guest.path_open(ROOT, "work", arguments(lookup, oflags, fdflags));
        assert_eq!(answer, Err(Errno::INVAL));
    }
}

#[test]
fn only_directories_can_be_opened_through() {
    let mut guest = Guest::plain();
    let file = guest.create("work/a");
    for fd in [0, 1, 2, file] {
        assert_eq!(guest.open_with(fd, "a", 0, 0, 0), Err(Errno::NOTDIR));
        assert_eq!(guest.open_with(fd, ".", 0, 0, 0), Err(Errno::NOTDIR));
        assert_eq!(guest.stat_with(fd, ".", 0), Err(Errno::NOTDIR));
    }
}

#[test]
fn the_result_has_to_be_in_memory_before_a_file_is_made() {
    let mut guest = Guest::plain();
    let path = guest.path("work/a");
    let arguments = OpenArguments {
        lookup: 0,
        oflags: oflags::CREAT.into(),
        rights: 0,
        inheriting: 0,
        fdflags: 0,
    };
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.path_open(memory, ROOT, path, arguments, -1)),
        Err(Errno::FAULT)
    );
    let end = i32::try_from(MEMORY_BYTES).expect("an address");
    assert_eq!(
        errno(wasi.path_open(memory, ROOT, (end, 1), arguments, OUT)),
        Err(Errno::FAULT)
    );
    assert_eq!(guest.stat("work/a"), Err(Errno::NOENT));
    assert_eq!(guest.open_to_read("work"), Ok(4));
}

#[test]
fn a_file_opened_through_a_directory_that_is_gone() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    let fd = guest.open_to_read("work/d").expect("a directory");
    assert_eq!(guest.rmdir("work/d"), Ok(()));
    assert_eq!(
        guest.open_with(fd, "a", oflags::CREAT, ALL_RIGHTS, 0),
        Err(Errno::NOENT)
    );
    assert_eq!(
        guest.open_with(fd, "a", 0, READ_RIGHTS, 0),
        Err(Errno::NOENT)
    );
    assert_eq!(guest.fstat(fd).map(|stat| stat.nlink), Ok(0));
    assert_eq!(guest.stat_with(fd, "..", 0), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.wasi.scratch_nodes(), 1);
    assert_eq!(guest.close(fd), Ok(()));
    assert_eq!(guest.wasi.scratch_nodes(), 0);
}
