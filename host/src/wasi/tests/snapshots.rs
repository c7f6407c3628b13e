//! Snapshots: taken, gone back to, saved and read again.

use super::*;
use crate::wasi::{Inconsistency, SnapshotError};

/// A sandbox in which something of everything has happened.
fn busy() -> Guest {
    let mut guest = Guest::plain();
    guest.file("work/a", b"contents of a");
    for name in ["c", "b", "a", "m", "k"] {
        assert_eq!(guest.mkdir(&format!("tmp/{name}")), Ok(()));
    }
    assert_eq!(guest.rmdir("tmp/b"), Ok(()));
    assert_eq!(guest.symlink("../../work/a", "tmp/a/s"), Ok(()));
    assert_eq!(guest.link("work/a", "tmp/c/hard"), Ok(()));
    let fd = guest.create("work/open");
    assert_eq!(guest.write(fd, b"12345"), Ok(5));
    let deleted = guest.create("work/deleted");
    assert_eq!(guest.write(deleted, b"gone"), Ok(4));
    assert_eq!(guest.unlink("work/deleted"), Ok(()));
    let library = guest.open_to_read("lib/python3.13/os.py").expect("a file");
    assert_eq!(guest.read(library, 3), Ok(b"imp".to_vec()));
    let directory = guest.open_to_read("tmp/k").expect("a directory");
    assert_eq!(guest.rmdir("tmp/k"), Ok(()));
    assert_eq!((fd, deleted, library, directory), (4, 5, 6, 7));
    assert!(guest.open_to_read("work").is_ok());
    assert!(guest.open_to_read("lib/python3.13/encodings").is_ok());
    assert_eq!(guest.close(8), Ok(()));
    guest
}

fn check_busy(guest: &mut Guest) {
    assert_eq!(guest.names("tmp"), ["a", "c", "m"]);
    assert_eq!(guest.names("work"), ["a", "open"]);
    assert_eq!(guest.contents("tmp/a/s"), Ok(b"contents of a".to_vec()));
    assert_eq!(guest.stat("work/a").map(|stat| stat.nlink), Ok(2));
    assert_eq!(guest.tell(4), Ok(5));
    assert_eq!(guest.pread(5, 9, 0), Ok(b"gone".to_vec()));
    assert_eq!(guest.read(6, 4), Ok(b"ort ".to_vec()));
    assert_eq!(
        guest.fstat(7).map(|stat| (stat.filetype, stat.nlink)),
        Ok((3, 0))
    );
    assert_eq!(guest.fdstat(8), Err(Errno::BADF));
    assert_eq!(guest.fdstat(9).map(|stat| stat.0), Ok(3));
    assert_eq!(guest.wasi.scratch_bytes(), 13 + 5 + 4 + 12);
    assert_eq!(guest.wasi.scratch_nodes(), 9);
}

#[test]
fn a_job_starts_from_the_snapshot_and_leaves_it_as_it_was() {
    let snapshot = busy().wasi.snapshot().expect("a snapshot");
    let bytes = snapshot.to_bytes();
    let mut guest = Guest::from_snapshot(&snapshot);
    for _ in 0..3 {
        check_busy(&mut guest);
        // Everything that can be changed.
        guest.file("work/a", b"other");
        guest.file("work/new", b"new");
        assert_eq!(guest.pwrite(5, b"GONE and more", 0), Ok(13));
        assert_eq!(guest.pwrite(4, b"x", 100), Ok(1));
        assert_eq!(guest.rename("tmp/a", "work/moved"), Ok(()));
        assert_eq!(guest.close(5), Ok(()));
        assert_eq!(guest.write(1, b"output"), Ok(6));
        guest.wasi.reset(&snapshot, JobIo::default());
    }
    assert_eq!(snapshot.to_bytes(), bytes);
}

#[test]
fn shrinking_and_emptying_shared_files_leaves_the_snapshot() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"0123456789");
    let snapshot = guest.wasi.snapshot().expect("a snapshot");
    for size in [0, 4, 20] {
        let fd = guest.open("work/a", 0).expect("a file");
        let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
        assert_eq!(errno(wasi.fd_filestat_set_size(memory, fd, size)), Ok(()));
        let mut other = Guest::from_snapshot(&snapshot);
        assert_eq!(other.contents("work/a"), Ok(b"0123456789".to_vec()));
        guest.wasi.reset(&snapshot, JobIo::default());
        assert_eq!(guest.contents("work/a"), Ok(b"0123456789".to_vec()));
    }
}

#[test]
fn an_empty_sandbox_is_the_default_snapshot() {
    let taken = Guest::plain()
        .wasi
        .snapshot()
        .expect("a snapshot")
        .to_bytes();
    assert_eq!(taken, WasiSnapshot::default().to_bytes());
    // The format: a change of these bytes needs another version.
    assert_eq!(hex(&taken), EMPTY);
    let read = WasiSnapshot::from_bytes(&taken, &library()).expect("a snapshot");
    assert_eq!(read.to_bytes(), taken);
}

const EMPTY: &str = concat!(
    "840100848700001a0820000a0000f4008700011a082000590000f4008700021a082000590000f400",
    "8701001a07bffe981a0fffffff00f500f6"
);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn saved_and_read_again_it_is_the_same() {
    let snapshot = busy().wasi.snapshot().expect("a snapshot");
    let bytes = snapshot.to_bytes();
    let read = WasiSnapshot::from_bytes(&bytes, &library()).expect("a snapshot");
    assert_eq!(read.to_bytes(), bytes);
    check_busy(&mut Guest::from_snapshot(&read));
    // What happens next is the same as well: inode numbers, cookies, times.
    let next = |snapshot: &WasiSnapshot| {
        let mut guest = Guest::from_snapshot(snapshot);
        for name in ["l", "0", "ab", "z"] {
            guest.file(&format!("tmp/{name}"), b"new");
        }
        assert_eq!(guest.close(7), Ok(()));
        assert_eq!(guest.mkdir("tmp/again"), Ok(()));
        let fd = guest.open_to_read("tmp").expect("a directory");
        let listing = guest.readdir_once(fd, 0, 0x1000).expect("a listing");
        (
            listing,
            guest.stat("tmp/z"),
            guest.wasi.snapshot().expect("a snapshot").to_bytes(),
        )
    };
    assert_eq!(next(&snapshot), next(&read));
}

#[test]
fn the_monotonic_clock_goes_on() {
    let mut guest = Guest::plain();
    for _ in 0..5 {
        assert_eq!(
            errno(guest.wasi.clock_time_get(&mut guest.memory, 1, 0, OUT)),
            Ok(())
        );
    }
    let snapshot = guest.wasi.snapshot().expect("a snapshot");
    let read = WasiSnapshot::from_bytes(&snapshot.to_bytes(), &library()).expect("a snapshot");
    for snapshot in [snapshot, read] {
        let mut guest = Guest::from_snapshot(&snapshot);
        assert_eq!(
            errno(guest.wasi.clock_time_get(&mut guest.memory, 1, 0, OUT)),
            Ok(())
        );
        assert_eq!(guest.u64_at(OUT), 5_000);
        assert_eq!(
            errno(guest.wasi.clock_time_get(&mut guest.memory, 2, 0, OUT)),
            Ok(())
        );
        assert_eq!(guest.u64_at(OUT), 1_000);
    }
}

#[test]
fn open_inputs_cannot_be_in_a_snapshot() {
    let mut guest = Guest::with_inputs();
    assert!(guest.wasi.snapshot().is_ok());
    for path in ["work/notes.txt", "work/data"] {
        let fd = guest.open_to_read(path).expect("an input");
        let error = guest.wasi.snapshot().expect_err("a refusal");
        assert!(
            matches!(error, SnapshotError::InputOpen { fd: 4 }),
            "{error}"
        );
        assert_eq!(guest.close(fd), Ok(()));
    }
}

#[test]
fn another_format_is_told_apart() {
    let mut bytes = WasiSnapshot::default().to_bytes();
    assert_eq!(bytes[1], 1);
    bytes[1] = 2;
    let error = WasiSnapshot::from_bytes(&bytes, &library()).expect_err("a refusal");
    assert!(
        matches!(error, SnapshotError::Format { found: 2 }),
        "{error}"
    );
}

#[test]
fn every_cut_is_noticed_and_nothing_may_follow() {
    let mut bytes = busy().wasi.snapshot().expect("a snapshot").to_bytes();
    for len in 0..bytes.len() {
        let read = WasiSnapshot::from_bytes(&bytes[..len], &library());
        assert!(matches!(read, Err(SnapshotError::Malformed(_))), "{len}");
    }
    bytes.push(0);
    let error = WasiSnapshot::from_bytes(&bytes, &library()).expect_err("a refusal");
    assert!(
        matches!(error, SnapshotError::Inconsistent(Inconsistency::Rest)),
        "{error}"
    );
}

#[test]
fn changed_bytes_are_refused_or_are_another_good_snapshot() {
    let bytes = busy().wasi.snapshot().expect("a snapshot").to_bytes();
    let library = library();
    let mut numbers = Numbers::new(1);
    let mut good = 0;
    for _ in 0..20_000 {
        let mut changed = bytes.clone();
        for _ in 0..=numbers.below(2) {
            let at = numbers.below(changed.len());
            changed[at] = if numbers.below(2) == 0 {
                numbers.next().to_le_bytes()[0]
            } else {
                changed[at].wrapping_add(1)
            };
        }
        let Ok(snapshot) = WasiSnapshot::from_bytes(&changed, &library) else {
            continue;
        };
        good += 1;
        let mut guest = Guest::from_snapshot(&snapshot);
        guest.wasi.check();
        for fd in 0..12 {
            let _ = guest.try_write(fd, b"x");
            let _ = guest.read(fd, 10);
            let _ = guest.close(fd);
            guest.wasi.check();
        }
    }
    assert!(good > 100, "{good}");
}

#[test]
fn descriptors_have_to_fit_the_library() {
    let snapshot = busy().wasi.snapshot().expect("a snapshot");
    let error = WasiSnapshot::from_bytes(&snapshot.to_bytes(), &Library::empty());
    let error = error.expect_err("a refusal");
    let wanted = matches!(
        error,
        SnapshotError::Inconsistent(Inconsistency::Descriptors)
    );
    assert!(wanted, "{error}");
}
