use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::faults::Point;

const HOUR: Duration = Duration::from_secs(3600);

fn plenty(_: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

fn folder(limits: BlobLimits, faults: &Faults) -> (TempDir, Blobs) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("blobs");
    let blobs = Blobs::build(&root, limits, true, plenty, faults.clone()).unwrap();
    (folder, blobs)
}

fn any() -> (TempDir, Blobs) {
    folder(BlobLimits::default(), &Faults::default())
}

fn sample(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn what_is_put_is_read() {
    let (_folder, blobs) = any();
    for size in [0, 1, 65_535, 65_536, 65_537, 300_000] {
        let bytes = sample(size);
        let digest = blobs.put(&bytes).unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(blobs.size(&digest).unwrap(), Some(size as u64));
        assert_eq!(blobs.read(&digest, size as u64).unwrap(), bytes);
        if size > 0 {
            let refused = blobs.read(&digest, size as u64 - 1);
            assert!(matches!(refused, Err(BlobError::TooLarge { .. })));
        }
        assert_eq!(blobs.verify(&digest).unwrap(), size as u64);
        let mut reader = blobs.reader(&digest).unwrap();
        reader.skip_to(size as u64 / 2).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes[size / 2..]);
    }
    let name = Digest::of(&sample(1)).to_string();
    assert!(
        blobs
            .root()
            .join(&name[..2])
            .join(&name[2..4])
            .join(&name)
            .is_file()
    );
}

#[test]
fn uploads_are_taken_up_where_they_ended() {
    let (_folder, blobs) = any();
    let bytes = sample(200_000);
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let mut upload = blobs.upload(&digest, size, b"anna").unwrap();
    upload.write(&bytes[..70_000]).unwrap();
    let busy = blobs.upload(&digest, size, b"anna");
    assert!(
        matches!(busy, Err(BlobError::UploadBusy { .. })),
        "{busy:?}"
    );
    drop(upload);

    assert_eq!(
        blobs.upload(&digest, size, b"bert").unwrap().offset(),
        0,
        "another's bytes"
    );
    let mut upload = blobs.upload(&digest, size, b"anna").unwrap();
    assert_eq!(upload.offset(), 70_000);
    upload.write(&bytes[70_000..100_000]).unwrap();
    let ended = upload.finish();
    assert!(
        matches!(ended, Err(BlobError::Incomplete { have: 100_000, .. })),
        "{ended:?}"
    );
    assert_eq!(blobs.size(&digest).unwrap(), None);

    let mut upload = blobs.upload(&digest, size, b"anna").unwrap();
    assert_eq!(upload.offset(), 100_000);
    upload.write(&bytes[100_000..]).unwrap();
    let more = upload.write(b"x");
    assert!(matches!(more, Err(BlobError::TooLong { .. })), "{more:?}");
    upload.finish().unwrap();
    assert_eq!(blobs.read(&digest, size).unwrap(), bytes);
}

#[test]
fn an_upload_of_something_else_leaves_nothing() {
    let (_folder, blobs) = any();
    let digest = Digest::of(b"right");
    let mut upload = blobs.upload(&digest, 5, b"").unwrap();
    upload.write(b"wrong").unwrap();
    let ended = upload.finish();
    assert!(
        matches!(ended, Err(BlobError::OtherContent { .. })),
        "{ended:?}"
    );
    assert_eq!(blobs.size(&digest).unwrap(), None);
    assert_eq!(blobs.upload(&digest, 5, b"").unwrap().offset(), 0);
    // As after a crash: whole by its length, wrong by its content.
    let mut upload = blobs.upload(&digest, 5, b"").unwrap();
    upload.write(b"wrong").unwrap();
    drop(upload);
    assert_eq!(blobs.upload(&digest, 5, b"").unwrap().offset(), 0);
    assert_eq!(blobs.put(b"right").unwrap(), digest);
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    let limits = BlobLimits {
        blob_bytes_max: 100,
        uploads_max: 2,
        ..BlobLimits::default()
    };
    let (_folder, blobs) = folder(limits, &Faults::default());
    blobs.put(&sample(100)).unwrap();
    let refused = blobs.put(&sample(101));
    assert!(matches!(
        refused,
        Err(BlobError::TooLarge {
            size: 101,
            max: 100
        })
    ));
    let digest = |n: u8| Digest::of(&[n]);
    let _one = blobs.upload(&digest(1), 1, b"").unwrap();
    let _two = blobs.upload(&digest(2), 1, b"").unwrap();
    let refused = blobs.upload(&digest(3), 1, b"");
    assert!(
        matches!(refused, Err(BlobError::TooManyUploads { max: 2 })),
        "{refused:?}"
    );
}

#[test]
fn case_14_no_space_for_a_blob_is_told_and_heals() {
    static FREE: AtomicU64 = AtomicU64::new(0);
    fn free(_: &Path) -> io::Result<u64> {
        Ok(FREE.load(Ordering::Relaxed))
    }
    let limits = BlobLimits {
        free_bytes_min: 1000,
        ..BlobLimits::default()
    };
    let (folder, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let blobs = Blobs::build(folder.path(), limits, true, free, faults.clone()).unwrap();
    FREE.store(1099, Ordering::Relaxed);
    let refused = blobs.put(&sample(100)).unwrap_err();
    assert!(refused.is_no_space());
    assert_eq!(
        refused.to_string(),
        "no space for 100 bytes: 1099 are free, of which 1000 are kept free"
    );
    FREE.store(1100, Ordering::Relaxed);
    // The file system may say so only when the bytes come.
    faults.fail(Point::BlobWrite, io::ErrorKind::StorageFull);
    let refused = blobs.put(&sample(100)).unwrap_err();
    assert!(
        matches!(refused, BlobError::NoSpace { needed: 100, .. }),
        "{refused}"
    );
    assert_eq!(blobs.size(&Digest::of(&sample(100))).unwrap(), None);
    let digest = blobs.put(&sample(100)).unwrap();
    assert_eq!(blobs.verify(&digest).unwrap(), 100);
}

/// As on a system that nobody knows how to ask.
#[test]
fn where_free_space_is_not_told_a_full_disk_is_met_by_writing() {
    fn not_told(_: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
    let (folder, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let limits = BlobLimits::default();
    let blobs = Blobs::build(folder.path(), limits, true, not_told, faults.clone()).unwrap();
    blobs.check_space(u64::MAX).unwrap();
    faults.fail(Point::BlobWrite, io::ErrorKind::StorageFull);
    assert!(blobs.put(&sample(100)).unwrap_err().is_no_space());
    let digest = blobs.put(&sample(100)).unwrap();
    assert_eq!(blobs.verify(&digest).unwrap(), 100);
    // Another trouble is not taken for that.
    fn broken(_: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    let blobs = Blobs::build(folder.path(), limits, true, broken, faults).unwrap();
    let refused = blobs.put(&sample(101)).unwrap_err();
    assert!(matches!(refused, BlobError::Io { .. }), "{refused}");
}

/// On a real, small file system, where the tests may mount one.
#[test]
fn case_14_a_full_file_system_takes_no_half_blob() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mounted) = crate::testing::SmallDisk::mount(folder.path(), "256k") else {
        eprintln!("no right to mount; the test with a simulated disk stands alone");
        return;
    };
    let limits = BlobLimits {
        free_bytes_min: 0,
        ..BlobLimits::default()
    };
    // The measured space lies, so that the write itself meets the end.
    let blobs = Blobs::build(
        &folder.path().join("b"),
        limits,
        true,
        plenty,
        Faults::default(),
    )
    .unwrap();
    let (small, large) = (sample(100_000), sample(400_000));
    let kept = blobs.put(&small).unwrap();
    let refused = blobs.put(&large).unwrap_err();
    assert!(refused.is_no_space(), "{refused}");
    assert_eq!(blobs.size(&Digest::of(&large)).unwrap(), None);
    assert_eq!(blobs.read(&kept, 100_000).unwrap(), small);
    let removed = blobs
        .collect::<BlobError>(
            &mut Cursor::default(),
            SystemTime::now() + 2 * HOUR,
            HOUR,
            u64::MAX,
            |digest| Ok(*digest == kept),
        )
        .unwrap();
    assert_eq!((removed.blobs, removed.uploads), (0, 1));
    blobs.put(&sample(100_001)).unwrap();
}

#[test]
fn case_15_a_failed_sync_of_a_blob_gives_it_no_name() {
    for point in [Point::BlobSync, Point::BlobRename] {
        let faults = Faults::default();
        let (_folder, blobs) = folder(BlobLimits::default(), &faults);
        faults.fail(point, io::ErrorKind::Other);
        assert!(matches!(blobs.put(b"bytes"), Err(BlobError::Io { .. })));
        assert_eq!(blobs.size(&Digest::of(b"bytes")).unwrap(), None);
        blobs.put(b"bytes").unwrap();
    }
    // The name is there, but not for sure: an error all the same, and trying again is safe.
    let faults = Faults::default();
    let (_folder, blobs) = folder(BlobLimits::default(), &faults);
    faults.fail(Point::BlobSyncFolder, io::ErrorKind::Other);
    assert!(matches!(blobs.put(b"bytes"), Err(BlobError::Io { .. })));
    blobs.put(b"bytes").unwrap();
}

#[test]
fn a_blob_is_synced_before_it_is_named() {
    let faults = Faults::default();
    let (_folder, blobs) = folder(BlobLimits::default(), &faults);
    blobs.put(b"bytes").unwrap();
    use Point::*;
    let order = [
        BlobCreate,
        BlobWrite,
        BlobSync,
        BlobRename,
        BlobSyncFolder,
        BlobDone,
    ];
    assert_eq!(faults.reached(), order);
}

#[test]
fn case_17_a_damaged_or_missing_blob_is_an_error_never_data() {
    let (_folder, blobs) = any();
    let bytes = sample(150_000);
    let digest = blobs.put(&bytes).unwrap();
    let path = blobs.path(&digest);
    type Harm = fn(&mut Vec<u8>);
    let harms: [Harm; 5] = [
        |bytes| bytes[75_000] ^= 1,
        |bytes| bytes[..4096].fill(0),
        |bytes| bytes.truncate(149_999),
        |bytes| bytes.push(0),
        |bytes| bytes.clear(),
    ];
    for harm in harms {
        let mut harmed = bytes.clone();
        harm(&mut harmed);
        fs::write(&path, &harmed).unwrap();
        let found = blobs.read(&digest, 1 << 20);
        assert!(matches!(found, Err(BlobError::Corrupt { .. })), "{found:?}");
        // A stream that is read to the size it tells meets the error too.
        let mut reader = blobs.reader(&digest).unwrap();
        let mut buffer = vec![0; harmed.len()];
        let read = reader.read_exact(&mut buffer);
        assert!(read.is_err() || buffer.is_empty());
    }
    assert!(blobs.set_aside(&digest).unwrap());
    assert!(matches!(
        blobs.read(&digest, 1 << 20),
        Err(BlobError::Missing { .. })
    ));
    assert!(
        blobs
            .root()
            .join("corrupt")
            .join(digest.to_string())
            .is_file()
    );
    blobs.put(&bytes).unwrap();
    assert!(!blobs.set_aside(&digest).unwrap(), "a whole one stays");
    assert_eq!(blobs.read(&digest, 1 << 20).unwrap(), bytes);
    // Uploading again heals without putting aside.
    fs::write(&path, b"rubbish").unwrap();
    blobs.put(&bytes).unwrap();
    assert_eq!(blobs.verify(&digest).unwrap(), 150_000);
}

#[test]
fn only_old_blobs_that_nobody_names_are_removed() {
    let (_folder, blobs) = any();
    let digests: Vec<_> = (0..50_u8).map(|n| blobs.put(&[n; 10]).unwrap()).collect();
    let mut begun = blobs.upload(&Digest::of(b"later"), 5, b"").unwrap();
    begun.write(b"lat").unwrap();
    drop(begun);
    let now = SystemTime::now();
    let named = |digest: &Digest| Ok::<_, BlobError>(digests[..20].contains(digest));
    let all = |now, named| {
        blobs
            .collect(&mut Cursor::default(), now, HOUR, u64::MAX, named)
            .unwrap()
    };
    assert_eq!(
        all(now, named),
        Collected {
            finished: true,
            ..Collected::default()
        }
    );
    // A clock that went back makes nothing old.
    assert_eq!(all(now - 48 * HOUR, named).blobs, 0);
    blobs.renew(&digests[30], now + 2 * HOUR).unwrap();
    let kept = blobs.keep_all();
    assert_eq!(all(now + 2 * HOUR, named).blobs, 0);
    drop(kept);
    // In small steps, which end.
    let (mut cursor, mut sum, mut steps) = (Cursor::default(), Collected::default(), 0);
    while !sum.finished {
        let step = blobs
            .collect(&mut cursor, now + 2 * HOUR, HOUR, 1, named)
            .unwrap();
        sum.blobs += step.blobs;
        sum.uploads += step.uploads;
        sum.bytes += step.bytes;
        sum.finished = step.finished;
        steps += 1;
        assert!(steps <= 257);
    }
    assert!(steps > 10);
    assert_eq!((sum.blobs, sum.uploads, sum.bytes), (29, 1, 293));
    for (index, digest) in digests.iter().enumerate() {
        let here = blobs.size(digest).unwrap().is_some();
        assert_eq!(here, index < 20 || index == 30, "{index}");
    }
}

#[test]
fn a_pinned_blob_stays_until_nobody_pins_it() {
    let (_folder, blobs) = any();
    let digest = blobs.put(b"handed out").unwrap();
    let nobody = |_: &Digest| Ok::<_, BlobError>(false);
    let later = SystemTime::now() + 2 * HOUR;
    let removed = || {
        let done = blobs.collect(&mut Cursor::default(), later, HOUR, u64::MAX, nobody);
        done.unwrap().blobs
    };
    let (first, second) = (blobs.pin(digest), blobs.pin(digest));
    assert_eq!(removed(), 0);
    drop(first);
    assert_eq!(removed(), 0, "it is pinned twice");
    drop(second);
    assert_eq!(removed(), 1);
}
