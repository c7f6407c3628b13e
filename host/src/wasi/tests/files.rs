//! Contents of files: reading, writing, seeking, sizes, times, limits.

use super::*;
use crate::wasi::clock::Clock;

#[test]
fn what_is_written_is_read_back() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.write(fd, b"hello"), Ok(5));
    assert_eq!(guest.tell(fd), Ok(5));
    assert_eq!(guest.read(fd, 10), Ok(vec![]));
    assert_eq!(guest.seek(fd, -4, 1), Ok(1));
    assert_eq!(guest.read(fd, 3), Ok(b"ell".to_vec()));
    assert_eq!(guest.write(fd, b"p!"), Ok(2));
    assert_eq!(guest.contents("work/a"), Ok(b"hellp!".to_vec()));
}

#[test]
fn positioned_reads_and_writes_leave_the_offset() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.pwrite(fd, b"abcd", 0), Ok(4));
    assert_eq!(guest.pwrite(fd, b"XY", 2), Ok(2));
    assert_eq!(guest.pread(fd, 10, 1), Ok(b"bXY".to_vec()));
    assert_eq!(guest.pread(fd, 10, 4), Ok(vec![]));
    assert_eq!(guest.pread(fd, 10, i64::MAX), Ok(vec![]));
    assert_eq!(guest.pread(fd, 10, -1), Err(Errno::INVAL));
    assert_eq!(guest.pwrite(fd, b"x", -1), Err(Errno::INVAL));
    assert_eq!(guest.tell(fd), Ok(0));
}

#[test]
fn holes_are_zeros() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.seek(fd, 5, 0), Ok(5));
    assert_eq!(guest.fstat(fd).map(|stat| stat.size), Ok(0));
    assert_eq!(guest.write(fd, b""), Ok(0));
    assert_eq!(guest.fstat(fd).map(|stat| stat.size), Ok(0));
    assert_eq!(guest.write(fd, b"x"), Ok(1));
    assert_eq!(guest.pwrite(fd, b"y", 8), Ok(1));
    assert_eq!(guest.contents("work/a"), Ok(b"\0\0\0\0\0x\0\0y".to_vec()));
}

#[test]
fn seeking_knows_three_bases_and_stays_in_range() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.write(fd, b"0123456789"), Ok(10));
    assert_eq!(guest.seek(fd, 3, 0), Ok(3));
    assert_eq!(guest.seek(fd, 4, 1), Ok(7));
    assert_eq!(guest.seek(fd, -1, 2), Ok(9));
    assert_eq!(guest.seek(fd, 0, 2), Ok(10));
    assert_eq!(guest.seek(fd, 1_000, 1), Ok(1_010));
    assert_eq!(guest.seek(fd, -2_000, 1), Err(Errno::INVAL));
    assert_eq!(guest.seek(fd, -1, 0), Err(Errno::INVAL));
    assert_eq!(guest.seek(fd, i64::MAX, 1), Err(Errno::INVAL));
    assert_eq!(guest.seek(fd, 0, 3), Err(Errno::INVAL));
    assert_eq!(guest.seek(fd, 0, -1), Err(Errno::INVAL));
    assert_eq!(guest.tell(fd), Ok(1_010));
    assert_eq!(guest.seek(fd, i64::MAX, 0), Ok(i64::MAX.cast_unsigned()));
    assert_eq!(guest.read(fd, 1), Ok(vec![]));
    assert_eq!(guest.write(fd, b"x"), Err(Errno::FBIG));
}

#[test]
fn the_right_to_tell_is_enough_to_ask_for_the_offset() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.set_rights(fd, rights::FD_TELL, 0), Ok(()));
    assert_eq!(guest.tell(fd), Ok(0));
    assert_eq!(guest.seek(fd, 0, 1), Ok(0));
    assert_eq!(guest.seek(fd, 1, 1), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.seek(fd, 0, 0), Err(Errno::NOTCAPABLE));
    let fd = guest.create("work/b");
    assert_eq!(guest.set_rights(fd, rights::FD_SEEK, 0), Ok(()));
    assert_eq!(guest.tell(fd), Ok(0));
}

#[test]
fn appending_writes_at_the_end_wherever_the_offset_is() {
    let mut guest = Guest::plain();
    let fd = guest
        .open_with(ROOT, "work/a", oflags::CREAT, ALL_RIGHTS, fdflags::APPEND)
        .expect("a file");
    assert_eq!(guest.write(fd, b"one"), Ok(3));
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    assert_eq!(guest.write(fd, b""), Ok(0));
    assert_eq!(guest.tell(fd), Ok(0));
    assert_eq!(guest.write(fd, b"two"), Ok(3));
    assert_eq!(guest.tell(fd), Ok(6));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_fdstat_set_flags(memory, fd, 0)), Ok(()));
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    assert_eq!(guest.write(fd, b"1"), Ok(1));
    assert_eq!(guest.contents("work/a"), Ok(b"1netwo".to_vec()));
}

#[test]
fn buffers_are_filled_in_order_and_empty_ones_skipped() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    guest.put(DATA, b"abcdef");
    let lists = [(DATA, 2), (DATA, 0), (DATA + 2, 3), (-1, 0)];
    for (index, (at, len)) in lists.into_iter().enumerate() {
        let place = LIST + 8 * i32::try_from(index).expect("an index");
        guest.put(place, &i32::to_le_bytes(at));
        guest.put(place + 4, &i32::to_le_bytes(len));
    }
    // An empty buffer has to be inside the memory too.
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_write(memory, fd, LIST, 4, OUT)),
        Err(Errno::FAULT)
    );
    assert_eq!(errno(wasi.fd_write(memory, fd, LIST, 3, OUT)), Ok(()));
    assert_eq!(guest.u32_at(OUT), 5);
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    guest.put(DATA, b"------");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_read(memory, fd, LIST, 3, OUT)), Ok(()));
    assert_eq!(guest.u32_at(OUT), 5);
    assert_eq!(&guest.bytes::<6>(DATA), b"abcde-");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_read(memory, fd, LIST, 0, OUT)), Ok(()));
    assert_eq!(guest.u32_at(OUT), 0);
}

#[test]
fn lists_of_buffers_are_checked_before_anything_happens() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    let end = i32::try_from(MEMORY_BYTES).expect("an address");
    let buffer = |guest: &mut Guest, at: i32, len: u32| {
        guest.put(LIST, &at.to_le_bytes());
        guest.put(LIST + 4, &len.to_le_bytes());
    };
    for (at, len) in [(end, 1), (DATA, u32::MAX), (-1, 1), (-1, u32::MAX)] {
        buffer(&mut guest, at, len);
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(
            errno(wasi.fd_write(memory, fd, LIST, 1, OUT)),
            Err(Errno::FAULT)
        );
        assert_eq!(
            errno(wasi.fd_read(memory, fd, LIST, 1, OUT)),
            Err(Errno::FAULT)
        );
    }
    buffer(&mut guest, DATA, 1);
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    for (list, count, done, error) in [
        (end - 7, 1, OUT, Errno::FAULT),
        (LIST, 1, end - 3, Errno::FAULT),
        (LIST, 1025, OUT, Errno::INVAL),
        (LIST, -1, OUT, Errno::INVAL),
    ] {
        assert_eq!(
            errno(wasi.fd_write(memory, fd, list, count, done)),
            Err(error)
        );
        assert_eq!(
            errno(wasi.fd_read(memory, fd, list, count, done)),
            Err(error)
        );
        assert_eq!(
            errno(wasi.fd_pwrite(memory, fd, (list, count), 0, done)),
            Err(error)
        );
        assert_eq!(
            errno(wasi.fd_pread(memory, fd, (list, count), 0, done)),
            Err(error)
        );
    }
    assert_eq!(guest.fstat(fd).map(|stat| stat.size), Ok(0));
}

#[test]
fn a_sum_of_lengths_that_does_not_fit_is_invalid() {
    let mut guest = Guest::plain();
    // 1024 buffers of 5 MiB each are more than 4 GiB.
    let mut memory = vec![0u8; 6 << 20];
    for index in 0..1024 {
        memory[8 * index..][..8].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0x50, 0]);
    }
    let answer = guest.wasi.fd_write(&mut memory, 1, 0, 1024, 0x4000);
    assert_eq!(errno(answer), Err(Errno::INVAL));
    assert_eq!(guest.wasi.stdout(), b"");
}

#[test]
fn a_read_that_overwrites_its_own_list_stays_in_memory() {
    let mut guest = Guest::plain();
    guest.file("work/a", &[0xff; 64]);
    let fd = guest.open_to_read("work/a").expect("a file");
    for index in 0..3 {
        guest.put(LIST + 8 * index, &LIST.to_le_bytes());
        guest.put(LIST + 8 * index + 4, &24u32.to_le_bytes());
    }
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(
        errno(wasi.fd_read(memory, fd, LIST, 3, OUT)),
        Err(Errno::FAULT)
    );
}

#[test]
fn sizes_can_be_set() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.write(fd, b"123456"), Ok(6));
    let set = |guest: &mut Guest, size| {
        errno(guest.wasi.fd_filestat_set_size(&mut guest.memory, fd, size))
    };
    assert_eq!(set(&mut guest, 3), Ok(()));
    assert_eq!(set(&mut guest, 5), Ok(()));
    assert_eq!(guest.contents("work/a"), Ok(b"123\0\0".to_vec()));
    assert_eq!(guest.tell(fd), Ok(6));
    assert_eq!(set(&mut guest, -1), Err(Errno::INVAL));
    assert_eq!(set(&mut guest, i64::MAX), Err(Errno::NOSPC));
    assert_eq!(guest.set_rights(fd, rights::FD_WRITE, 0), Ok(()));
    assert_eq!(set(&mut guest, 1), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.wasi.scratch_bytes(), 5);
}

#[test]
fn allocating_only_makes_files_longer() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    let allocate = |guest: &mut Guest, offset, len| {
        errno(guest.wasi.fd_allocate(&mut guest.memory, fd, offset, len))
    };
    assert_eq!(allocate(&mut guest, 0, 100), Ok(()));
    assert_eq!(allocate(&mut guest, 10, 10), Ok(()));
    assert_eq!(guest.fstat(fd).map(|stat| stat.size), Ok(100));
    assert_eq!(allocate(&mut guest, 90, 20), Ok(()));
    assert_eq!(guest.fstat(fd).map(|stat| stat.size), Ok(110));
    assert_eq!(allocate(&mut guest, 0, 0), Err(Errno::INVAL));
    assert_eq!(allocate(&mut guest, -1, 1), Err(Errno::INVAL));
    assert_eq!(allocate(&mut guest, 0, -1), Err(Errno::INVAL));
    assert_eq!(allocate(&mut guest, i64::MAX, i64::MAX), Err(Errno::NOSPC));
    assert_eq!(guest.contents("work/a"), Ok(vec![0; 110]));
}

#[test]
fn bytes_are_limited_exactly() {
    let mut guest = Guest::with_limits(10, 100);
    let (a, b) = (guest.create("work/a"), guest.create("tmp/b"));
    assert_eq!(guest.write(a, b"123456"), Ok(6));
    assert_eq!(guest.write(b, b"1234"), Ok(4));
    assert_eq!(guest.wasi.scratch_bytes(), 10);
    assert_eq!(guest.write(b, b"5"), Err(Errno::NOSPC));
    assert_eq!(guest.tell(b), Ok(4));
    assert_eq!(guest.pwrite(b, b"5", 4), Err(Errno::NOSPC));
    assert_eq!(guest.symlink("x", "work/s"), Err(Errno::NOSPC));
    // Writing over what is there, and what becomes free.
    assert_eq!(guest.pwrite(a, b"abcdef", 0), Ok(6));
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    assert_eq!(errno(wasi.fd_filestat_set_size(memory, a, 5)), Ok(()));
    assert_eq!(guest.pwrite(b, b"5", 4), Ok(1));
    // A hole counts in full, and nothing of a write that is refused happens.
    assert_eq!(guest.close(a), Ok(()));
    assert_eq!(guest.unlink("work/a"), Ok(()));
    assert_eq!(guest.wasi.scratch_bytes(), 5);
    assert_eq!(guest.pwrite(b, b"x", 10), Err(Errno::NOSPC));
    assert_eq!(guest.fstat(b).map(|stat| stat.size), Ok(5));
    assert_eq!(guest.pwrite(b, b"x", 9), Ok(1));
}

#[test]
fn nodes_are_limited_exactly() {
    let mut guest = Guest::with_limits(1_000, 4);
    let a = guest.create("work/a");
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.symlink("a", "work/d/s"), Ok(()));
    assert_eq!(guest.link("work/a", "tmp/b"), Ok(()));
    assert_eq!(guest.wasi.scratch_nodes(), 4);
    assert_eq!(guest.mkdir("work/e"), Err(Errno::NOSPC));
    assert_eq!(guest.open("work/e", oflags::CREAT), Err(Errno::NOSPC));
    assert_eq!(guest.symlink("a", "work/e"), Err(Errno::NOSPC));
    assert_eq!(guest.link("work/a", "work/e"), Err(Errno::NOSPC));
    assert_eq!(guest.rename("tmp/b", "work/e"), Ok(()));
    // The last name of an open file: it still counts until it is closed.
    assert_eq!(guest.unlink("work/a"), Ok(()));
    assert_eq!(guest.wasi.scratch_nodes(), 3);
    assert_eq!(guest.unlink("work/e"), Ok(()));
    assert_eq!(guest.wasi.scratch_nodes(), 3);
    assert_eq!(guest.close(a), Ok(()));
    assert_eq!(guest.wasi.scratch_nodes(), 2);
    assert_eq!(guest.mkdir("work/e"), Ok(()));
}

#[test]
fn a_deleted_file_lives_until_it_is_closed() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    let other = guest.open_to_read("work/a").expect("a file");
    assert_eq!(guest.write(fd, b"still here"), Ok(10));
    let ino = guest.fstat(fd).expect("attributes").ino;
    assert_eq!(guest.unlink("work/a"), Ok(()));
    assert_eq!(guest.stat("work/a"), Err(Errno::NOENT));
    let stat = guest.fstat(fd).expect("attributes");
    assert_eq!((stat.nlink, stat.size), (0, 10));
    guest.file("work/a", b"another");
    assert_ne!(guest.stat("work/a").expect("attributes").ino, ino);
    assert_eq!(guest.pwrite(fd, b"STILL", 0), Ok(5));
    assert_eq!(guest.close(fd), Ok(()));
    assert_eq!(guest.read(other, 100), Ok(b"STILL here".to_vec()));
    assert_eq!(guest.close(other), Ok(()));
    assert_eq!(
        (guest.wasi.scratch_bytes(), guest.wasi.scratch_nodes()),
        (7, 1)
    );
}

#[test]
fn times_move_with_the_clock_and_can_be_set() {
    let mut guest = Guest::new(JobIo {
        clock: Clock::starting_at(1_000_000),
        ..JobIo::default()
    });
    let fd = guest.create("work/a");
    let made = guest.fstat(fd).expect("attributes");
    assert_eq!(
        (made.atim, made.mtim, made.ctim),
        (1_000_000, 1_000_000, 1_000_000)
    );
    assert_eq!(guest.stat("work").expect("attributes").mtim, 1_000_000);
    assert_eq!(guest.write(fd, b"x"), Ok(1));
    let written = guest.fstat(fd).expect("attributes");
    assert_eq!(
        (written.atim, written.mtim, written.ctim),
        (1_000_000, 1_001_000, 1_001_000)
    );
    assert_eq!(guest.pread(fd, 1, 0), Ok(b"x".to_vec()));
    assert_eq!(guest.fstat(fd), Ok(written));
    let set = |guest: &mut Guest, accessed, modified, flags| {
        let answer =
            guest
                .wasi
                .fd_filestat_set_times(&mut guest.memory, fd, accessed, modified, flags);
        errno(answer).map(|()| guest.fstat(fd).expect("attributes"))
    };
    let stat = set(&mut guest, 5, 6, 0b0101).expect("set");
    assert_eq!((stat.atim, stat.mtim, stat.ctim), (5, 6, 1_002_000));
    let stat = set(&mut guest, 7, 8, 0b0100).expect("set");
    assert_eq!((stat.atim, stat.mtim), (5, 8));
    let stat = set(&mut guest, 9, 9, 0b1010).expect("set");
    assert_eq!((stat.atim, stat.mtim), (1_004_000, 1_004_000));
    let stat = set(&mut guest, 9, 9, 0).expect("set");
    assert_eq!((stat.atim, stat.mtim), (1_004_000, 1_004_000));
    for flags in [0b0011, 0b1100, 0b1111, 0x10, -1] {
        assert_eq!(set(&mut guest, 1, 1, flags), Err(Errno::INVAL));
    }
    assert_eq!(
        errno(
            guest
                .wasi
                .fd_filestat_set_times(&mut guest.memory, 1, 0, 0, 0)
        ),
        Err(Errno::NOTCAPABLE)
    );
}

#[test]
fn times_of_what_a_path_leads_to_can_be_set() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"");
    assert_eq!(guest.symlink("a", "work/s"), Ok(()));
    let set = |guest: &mut Guest, lookup, path: &str, modified, flags| {
        let path = guest.path(path);
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        errno(wasi.path_filestat_set_times(memory, ROOT, lookup, path, (0, modified), flags))
    };
    assert_eq!(set(&mut guest, 0, "work/s", 11, 4), Ok(()));
    assert_eq!(set(&mut guest, 1, "work/s", 22, 4), Ok(()));
    assert_eq!(guest.lstat("work/s").expect("attributes").mtim, 11);
    assert_eq!(guest.stat("work/a").expect("attributes").mtim, 22);
    assert_eq!(set(&mut guest, 0, "work", 33, 4), Ok(()));
    assert_eq!(guest.stat("work").expect("attributes").mtim, 33);
    assert_eq!(set(&mut guest, 1, "work/a", 1, 12), Err(Errno::INVAL));
    assert_eq!(set(&mut guest, 2, "work/a", 1, 4), Err(Errno::INVAL));
    assert_eq!(set(&mut guest, 1, "work/none", 1, 4), Err(Errno::NOENT));
    for path in ["lib/python3.13/os.py", "lib", "."] {
        assert_eq!(set(&mut guest, 1, path, 1, 4), Err(Errno::ROFS));
    }
}
