//! Descriptors: attributes, rights, closing, renumbering, the preopened directory.

use super::*;
use crate::wasi::DESCRIPTORS_MAX;

#[test]
fn descriptor_3_is_the_preopened_root() {
    let mut guest = Guest::plain();
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_prestat_get(memory, ROOT, OUT)), Ok(()));
    assert_eq!((guest.u32_at(OUT), guest.u32_at(OUT + 4)), (0, 1));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_prestat_dir_name(memory, ROOT, DATA, 1)),
        Ok(())
    );
    assert_eq!(&guest.bytes::<2>(DATA), b"/\xaa");
    assert_eq!(
        guest.fdstat(ROOT),
        Ok((3, 0, rights::DIRECTORY, ALL_RIGHTS))
    );
}

#[test]
fn nothing_else_is_preopened() {
    let mut guest = Guest::plain();
    let opened = guest
        .open("work", 0)
        .expect_err("no writing to a directory");
    assert_eq!(opened, Errno::ISDIR);
    let opened = guest.open_to_read("work").expect("a directory");
    for fd in [0, 1, 2, 4, opened, 5, -1, i32::MAX, i32::MIN] {
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(
            errno(wasi.fd_prestat_get(memory, fd, OUT)),
            Err(Errno::BADF)
        );
        assert_eq!(
            errno(wasi.fd_prestat_dir_name(memory, fd, OUT, 9)),
            Err(Errno::BADF)
        );
    }
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_prestat_dir_name(memory, ROOT, OUT, 0)),
        Err(Errno::NAMETOOLONG)
    );
    assert_eq!(
        errno(wasi.fd_prestat_dir_name(memory, ROOT, -1, 1)),
        Err(Errno::FAULT)
    );
    assert_eq!(
        errno(wasi.fd_prestat_get(memory, ROOT, -4)),
        Err(Errno::FAULT)
    );
}

#[test]
fn the_preopened_directory_can_be_closed() {
    let mut guest = Guest::plain();
    let work = guest.open_to_read("work").expect("a directory");
    assert_eq!(guest.close(ROOT), Ok(()));
    assert_eq!(guest.close(ROOT), Err(Errno::BADF));
    assert_eq!(guest.stat("work"), Err(Errno::BADF));
    assert!(guest.stat_with(work, ".", 0).is_ok());
}

#[test]
fn every_call_on_a_closed_descriptor_is_a_bad_descriptor() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.close(fd), Ok(()));
    for fd in [fd, 1000, -1, i32::MIN] {
        assert_eq!(guest.close(fd), Err(Errno::BADF));
        assert_eq!(guest.read(fd, 1), Err(Errno::BADF));
        assert_eq!(guest.write(fd, b"x"), Err(Errno::BADF));
        assert_eq!(guest.pread(fd, 1, 0), Err(Errno::BADF));
        assert_eq!(guest.pwrite(fd, b"x", 0), Err(Errno::BADF));
        assert_eq!(guest.seek(fd, 0, 0), Err(Errno::BADF));
        assert_eq!(guest.tell(fd), Err(Errno::BADF));
        assert_eq!(guest.fstat(fd), Err(Errno::BADF));
        assert_eq!(guest.fdstat(fd), Err(Errno::BADF));
        assert_eq!(guest.set_rights(fd, 0, 0), Err(Errno::BADF));
        assert_eq!(guest.readdir_once(fd, 0, 100), Err(Errno::BADF));
        assert_eq!(guest.stat_with(fd, "a", 0), Err(Errno::BADF));
        assert_eq!(guest.open_with(fd, "a", 0, 0, 0), Err(Errno::BADF));
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        for answer in [
            wasi.fd_advise(memory, fd, 0, 0, 0),
            wasi.fd_allocate(memory, fd, 0, 1),
            wasi.fd_datasync(memory, fd),
            wasi.fd_sync(memory, fd),
            wasi.fd_fdstat_set_flags(memory, fd, 0),
            wasi.fd_filestat_set_size(memory, fd, 0),
            wasi.fd_filestat_set_times(memory, fd, 0, 0, 0),
            wasi.fd_renumber(memory, fd, ROOT),
            wasi.fd_renumber(memory, ROOT, fd),
            wasi.path_create_directory(memory, fd, PATH, 1),
            wasi.path_remove_directory(memory, fd, PATH, 1),
            wasi.path_unlink_file(memory, fd, PATH, 1),
            wasi.path_rename(memory, fd, (PATH, 1), ROOT, (PATH, 1)),
            wasi.path_rename(memory, ROOT, (PATH, 1), fd, (PATH, 1)),
            wasi.path_link(memory, (fd, 0), (PATH, 1), ROOT, (PATH, 1)),
            wasi.path_link(memory, (ROOT, 0), (PATH, 1), fd, (PATH, 1)),
            wasi.path_symlink(memory, (PATH, 1), fd, (PATH, 1)),
            wasi.path_readlink(memory, fd, (PATH, 1), (DATA, 1), OUT),
            wasi.path_filestat_set_times(memory, fd, 0, (PATH, 1), (0, 0), 0),
        ] {
            assert_eq!(errno(answer), Err(Errno::BADF));
        }
    }
}

#[test]
fn the_lowest_free_number_is_taken_up_to_a_limit() {
    let mut guest = Guest::plain();
    for expected in 4..i32::try_from(DESCRIPTORS_MAX).expect("a number") {
        assert_eq!(guest.open_to_read("lib/python3.13/os.py"), Ok(expected));
    }
    assert_eq!(
        guest.open_to_read("lib/python3.13/os.py"),
        Err(Errno::MFILE)
    );
    // Nothing is made when there is no number for it.
    assert_eq!(guest.open("work/new", oflags::CREAT), Err(Errno::MFILE));
    assert_eq!(guest.stat("work/new"), Err(Errno::NOENT));
    assert_eq!(guest.close(77), Ok(()));
    assert_eq!(guest.close(500), Ok(()));
    assert_eq!(guest.open_to_read("lib"), Ok(77));
    assert_eq!(guest.open_to_read("lib"), Ok(500));
    assert_eq!(guest.open_to_read("lib"), Err(Errno::MFILE));
}

#[test]
fn renumbering_moves_a_descriptor_over_another() {
    let mut guest = Guest::plain();
    let (from, to) = (guest.create("work/a"), guest.create("work/b"));
    assert_eq!(guest.write(from, b"12345"), Ok(5));
    let stat = guest.fstat(from);
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_renumber(memory, from, to)), Ok(()));
    assert_eq!(guest.fstat(to), stat);
    assert_eq!(guest.tell(to), Ok(5));
    assert_eq!(guest.close(from), Err(Errno::BADF));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_renumber(memory, to, from)), Err(Errno::BADF));
    assert_eq!(errno(wasi.fd_renumber(memory, to, to)), Ok(()));
    assert_eq!(guest.tell(to), Ok(5));
}

#[test]
fn renumbering_over_a_deleted_file_frees_it() {
    let mut guest = Guest::plain();
    let (from, to) = (guest.create("work/a"), guest.create("work/b"));
    assert_eq!(guest.write(to, b"12345"), Ok(5));
    assert_eq!(guest.unlink("work/b"), Ok(()));
    assert_eq!(
        (guest.wasi.scratch_bytes(), guest.wasi.scratch_nodes()),
        (5, 2)
    );
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_renumber(memory, from, to)), Ok(()));
    assert_eq!(
        (guest.wasi.scratch_bytes(), guest.wasi.scratch_nodes()),
        (0, 1)
    );
}

#[test]
fn standard_streams_and_the_preopened_directory_can_be_renumbered() {
    let mut guest = Guest::plain();
    for from in 0..4 {
        let to = guest.open_with(ROOT, "work", 0, 0, 0).expect("a directory");
        let before = guest.fdstat(from);
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(errno(wasi.fd_renumber(memory, from, to)), Ok(()));
        assert_eq!(guest.fdstat(to), before);
        assert_eq!(guest.fdstat(from), Err(Errno::BADF));
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(
            errno(wasi.fd_prestat_get(memory, to, OUT)).is_ok(),
            from == ROOT
        );
        assert_eq!(errno(wasi.fd_renumber(memory, to, to)), Ok(()));
        if from < 3 {
            // Back, so that the next file is opened through the root.
            let hole = guest.open_with(ROOT, "work", 0, 0, 0).expect("a directory");
            assert_eq!(hole, from);
        }
    }
}

#[test]
fn rights_can_be_given_up_but_not_won_back() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.write(fd, b"abc"), Ok(3));
    let (_, _, base, _) = guest.fdstat(fd).expect("attributes");
    assert_eq!(base, rights::FILE);
    let fewer = base & !(rights::FD_READ | rights::FD_WRITE);
    assert_eq!(guest.set_rights(fd, fewer, 0), Ok(()));
    assert_eq!(guest.fdstat(fd).map(|stat| stat.2), Ok(fewer));
    assert_eq!(guest.read(fd, 1), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.pread(fd, 1, 0), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.write(fd, b"x"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.pwrite(fd, b"x", 0), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    assert_eq!(guest.set_rights(fd, base, 0), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.set_rights(fd, fewer, 1), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.set_rights(fd, u64::MAX, 0), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.set_rights(fd, 0, 0), Ok(()));
    assert_eq!(guest.fstat(fd), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.seek(fd, 0, 0), Err(Errno::NOTCAPABLE));
}

#[test]
fn a_directory_without_a_right_refuses_what_needs_it() {
    type Call = fn(&mut Guest) -> Result<(), Errno>;
    let calls: [(u64, Call); 10] = [
        (rights::PATH_CREATE_DIRECTORY, |guest| guest.mkdir("work/d")),
        (rights::PATH_REMOVE_DIRECTORY, |guest| guest.rmdir("work/d")),
        (rights::PATH_UNLINK_FILE, |guest| guest.unlink("work/f")),
        (rights::PATH_RENAME_SOURCE, |guest| {
            guest.rename("work/f", "work/g")
        }),
        (rights::PATH_RENAME_TARGET, |guest| {
            guest.rename("work/f", "work/g")
        }),
        (rights::PATH_LINK_SOURCE, |guest| {
            guest.link("work/f", "work/g")
        }),
        (rights::PATH_LINK_TARGET, |guest| {
            guest.link("work/f", "work/g")
        }),
        (rights::PATH_SYMLINK, |guest| guest.symlink("x", "work/s")),
        (rights::PATH_READLINK, |guest| {
            guest.readlink("work/s", 9).map(drop)
        }),
        (rights::PATH_FILESTAT_GET, |guest| {
            guest.stat("work/f").map(drop)
        }),
    ];
    for (right, call) in calls {
        let mut guest = Guest::plain();
        assert_eq!(
            guest.set_rights(ROOT, rights::DIRECTORY & !right, ALL_RIGHTS),
            Ok(())
        );
        assert_eq!(call(&mut guest), Err(Errno::NOTCAPABLE), "{right:#x}");
    }
    let mut guest = Guest::plain();
    let most = rights::DIRECTORY & !(rights::FD_READDIR | rights::PATH_FILESTAT_SET_TIMES);
    assert_eq!(guest.set_rights(ROOT, most, ALL_RIGHTS), Ok(()));
    assert_eq!(guest.readdir_once(ROOT, 0, 99), Err(Errno::NOTCAPABLE));
    let path = guest.path("work");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    let answer = wasi.path_filestat_set_times(memory, ROOT, 0, path, (0, 0), 0);
    assert_eq!(errno(answer), Err(Errno::NOTCAPABLE));
}

#[test]
fn flags_can_be_set_and_unknown_ones_are_invalid() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    for flags in [fdflags::ALL, 0, fdflags::APPEND | fdflags::SYNC] {
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(
            errno(wasi.fd_fdstat_set_flags(memory, fd, flags.into())),
            Ok(())
        );
        assert_eq!(guest.fdstat(fd).map(|stat| stat.1), Ok(flags));
    }
    for flags in [0x20, -1, 0x10000] {
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(
            errno(wasi.fd_fdstat_set_flags(memory, fd, flags)),
            Err(Errno::INVAL)
        );
    }
    assert_eq!(guest.set_rights(fd, 0, 0), Ok(()));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_fdstat_set_flags(memory, fd, 0)),
        Err(Errno::NOTCAPABLE)
    );
}

#[test]
fn advice_and_syncing_have_no_effect() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    let stat = guest.fstat(fd);
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    for advice in 0..6 {
        assert_eq!(errno(wasi.fd_advise(memory, fd, 0, 100, advice)), Ok(()));
    }
    for advice in [6, -1] {
        assert_eq!(
            errno(wasi.fd_advise(memory, fd, 0, 0, advice)),
            Err(Errno::INVAL)
        );
    }
    assert_eq!(errno(wasi.fd_sync(memory, fd)), Ok(()));
    assert_eq!(errno(wasi.fd_datasync(memory, fd)), Ok(()));
    assert_eq!(errno(wasi.fd_sync(memory, ROOT)), Ok(()));
    assert_eq!(
        errno(wasi.fd_advise(memory, 0, 0, 0, 0)),
        Err(Errno::NOTCAPABLE)
    );
    assert_eq!(errno(wasi.fd_sync(memory, 0)), Err(Errno::NOTCAPABLE));
    assert_eq!(
        errno(wasi.fd_datasync(memory, ROOT)),
        Err(Errno::NOTCAPABLE)
    );
    assert_eq!(guest.fstat(fd), stat);
}

#[test]
fn what_is_for_files_does_not_work_on_directories() {
    let mut guest = Guest::plain();
    assert_eq!(guest.read(ROOT, 1), Err(Errno::ISDIR));
    assert_eq!(guest.write(ROOT, b"x"), Err(Errno::ISDIR));
    assert_eq!(guest.pread(ROOT, 1, 0), Err(Errno::ISDIR));
    assert_eq!(guest.pwrite(ROOT, b"x", 0), Err(Errno::ISDIR));
    assert_eq!(guest.seek(ROOT, 0, 1), Err(Errno::ISDIR));
    assert_eq!(guest.tell(ROOT), Err(Errno::ISDIR));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_allocate(memory, ROOT, 0, 1)),
        Err(Errno::ISDIR)
    );
    assert_eq!(
        errno(wasi.fd_filestat_set_size(memory, ROOT, 0)),
        Err(Errno::ISDIR)
    );
}
