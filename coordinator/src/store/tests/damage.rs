//! Files that are not what was written.

use std::fs;

use super::*;

/// What became of a store that was harmed.
#[derive(Debug, PartialEq)]
enum Found {
    /// It says what it said.
    Intact,
    /// It says what it said at an earlier time.
    Earlier(usize),
    /// It is not opened.
    Refused(String),
    /// It is opened, and reading something is an error.
    Told(String),
}

/// Opens and reads all; fails the test when something is wrong and nobody says so.
fn examine(folder: &Path, dumps: &[String]) -> Found {
    let _ = fs::create_dir_all(folder.join("blobs"));
    let store = match SqliteStore::open(folder, &options()) {
        Ok(store) => store,
        Err(error) => return Found::Refused(error.to_string()),
    };
    match dump(&store) {
        Err(error) => Found::Told(error.to_string()),
        Ok(text) if Some(&text) == dumps.last() => Found::Intact,
        Ok(text) => match dumps.iter().rposition(|dump| *dump == text) {
            Some(at) => Found::Earlier(at),
            None => panic!("it says something else, and no error: {text}"),
        },
    }
}

/// A closed store: everything is in the database, the log is empty.
fn closed() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let script = Script::new();
    let before_forgetting = &script.steps[..script.steps.len() - 4];
    for step in before_forgetting {
        step.apply(&store).unwrap();
    }
    let expected = dump(&store).unwrap();
    drop(store);
    let log = folder.path().join(format!("{STORE_FILE}-wal"));
    assert!(fs::metadata(&log).map_or(0, |log| log.len()) == 0);
    (folder, vec![expected])
}

#[test]
fn case_16_a_harmed_database_is_refused_or_intact() {
    let (folder, dumps) = closed();
    let bytes = fs::read(folder.path().join(STORE_FILE)).unwrap();
    assert!(bytes.len() > 80_000);
    let mut random = Random(16);
    let mut harms: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..250 {
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        let mut harmed = bytes.clone();
        harmed[at] ^= 1 << bit;
        harms.push((format!("bit {bit} of byte {at}"), harmed));
    }
    // The first hundred bytes say what everything else is.
    for at in 0..100 {
        let mut harmed = bytes.clone();
        harmed[at] ^= 1 << random.below(8);
        harms.push((format!("a bit of byte {at} of the head"), harmed));
    }
    for block in 0..bytes.len() / 4096 {
        for length in [4096, 512] {
            let from = block * 4096 + random.below(4096 / length) * length;
            let mut harmed = bytes.clone();
            harmed[from..from + length].fill(0);
            harms.push((format!("{length} zeros at {from}"), harmed));
        }
    }
    for _ in 0..20 {
        let length = random.below(bytes.len());
        harms.push((format!("cut at {length}"), bytes[..length].to_vec()));
    }
    let (mut refused, mut told, mut intact) = (0, 0, 0);
    for (harm, harmed) in harms {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STORE_FILE), &harmed).unwrap();
        match examine(folder.path(), &dumps) {
            Found::Intact => intact += 1,
            Found::Refused(_) => refused += 1,
            Found::Told(_) => told += 1,
            Found::Earlier(at) => panic!("{harm}: state {at}"),
        }
    }
    // Nothing of this is for its own sake: without each kind the test would test less than it says. What is told later
    // is that rows are missing, which needs all of them: a scheduler that starts asks for that first.
    assert!(
        refused > 100 && told < 5 && intact > 50,
        "{refused} {told} {intact}"
    );
}

/// Everything of a closed store but its blobs, with the database `bytes`.
fn closed_copy(of: &Path, bytes: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::write(copy.path().join(STORE_FILE), bytes).unwrap();
    fs::copy(of.join(SEAL_FILE), copy.path().join(SEAL_FILE)).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(of.join("blobs"))
        .arg(copy.path())
        .status();
    assert!(copied.unwrap().success());
    copy
}

#[test]
fn case_16_four_bytes_anywhere_in_a_closed_store_are_found_by_check_and_at_the_start() {
    let (folder, dumps) = closed();
    let bytes = fs::read(folder.path().join(STORE_FILE)).unwrap();
    let mut random = Random(164);
    let mut only_in_pages = 0;
    for round in 0..150 {
        let at = random.below(bytes.len() - 3);
        let mut harmed = bytes.clone();
        for byte in &mut harmed[at..at + 4] {
            *byte = if round % 2 == 0 { !*byte } else { 0xd5 };
        }
        let copy = closed_copy(folder.path(), &harmed);
        // Neither looks at what the other leaves.
        match check(copy.path(), true) {
            Ok(report) => {
                assert!(!report.is_clean(), "4 bytes at {at} are not found");
                only_in_pages += u32::from(report.is_whole_otherwise());
            }
            // Bytes that say whose file it is.
            Err(error) => assert!(at < 100, "4 bytes at {at}: {error}"),
        }
        let copy = closed_copy(folder.path(), &harmed);
        let before = fs::read(copy.path().join(STORE_FILE)).unwrap();
        let refused = SqliteStore::open(copy.path(), &options()).unwrap_err();
        assert!(
            matches!(refused, OpenError::Damaged { .. }) || at < 100,
            "4 bytes at {at}: {refused}"
        );
        let place = format!("page {}", at / 4096 + 1);
        let next = format!("page {}", (at + 3) / 4096 + 1);
        let text = refused.to_string();
        assert!(
            // SQLite says of its schema, in the first page, which table.
            at < 4096 || text.contains(&place) || text.contains(&next),
            "4 bytes at {at}: {text}"
        );
        assert!(before == fs::read(copy.path().join(STORE_FILE)).unwrap());
        // Who goes on with the disk all the same reads what was written, or is told that it is not.
        fs::remove_file(copy.path().join(SEAL_FILE)).unwrap();
        let report = check(copy.path(), true);
        let is_clean = report.is_ok_and(|report| report.is_clean());
        match examine(copy.path(), &dumps) {
            Found::Intact => {}
            // A scheduler that starts reads rows of tasks first of all.
            Found::Refused(_) | Found::Told(_) => assert!(!is_clean, "4 bytes at {at}"),
            found => panic!("4 bytes at {at}: {found:?}"),
        }
    }
    assert!(only_in_pages > 10, "{only_in_pages}");
}

#[test]
fn case_16_a_seal_counts_for_the_closing_that_made_it() {
    let (folder, _) = closed();
    let seal = folder.path().join(SEAL_FILE);
    let old = fs::read(&seal).unwrap();
    assert!(check(folder.path(), true).unwrap().is_sealed);
    // In use there is none, and none comes from a process that dies.
    let store = open(folder.path());
    assert!(!seal.exists());
    commit(&store, 99, vec![audited(99)]).unwrap();
    drop(store);
    assert!(fs::read(&seal).unwrap() != old);
    // One of before, as a program leaves it that knows no seals, says nothing.
    fs::write(&seal, &old).unwrap();
    let report = check(folder.path(), true).unwrap();
    assert!(report.is_clean() && !report.is_sealed, "{report:?}");
    drop(open(folder.path()));
    // A seal that is damaged is told as such, wherever it is.
    let whole = fs::read(&seal).unwrap();
    for at in 0..whole.len() {
        let mut harmed = whole.clone();
        harmed[at] ^= 0x10;
        fs::write(&seal, harmed).unwrap();
        let refused = SqliteStore::open(folder.path(), &options()).unwrap_err();
        assert!(refused.to_string().contains("seal"), "{at}: {refused}");
    }
    for length in [0, 13, 14, 45, whole.len() - 1] {
        fs::write(&seal, &whole[..length]).unwrap();
        let report = check(folder.path(), true).unwrap();
        assert!(report.is_whole_otherwise(), "{length}: {report:?}");
    }
    fs::write(&seal, &whole).unwrap();
    // A page that was lost, and one too many.
    let bytes = fs::read(folder.path().join(STORE_FILE)).unwrap();
    let longer = [&bytes[..], &[0; 4096][..]].concat();
    for changed in [&bytes[..bytes.len() - 4096], &longer[..]] {
        let copy = closed_copy(folder.path(), changed);
        let refused = SqliteStore::open(copy.path(), &options()).unwrap_err();
        let text = format!("it has {} bytes, and had {}", changed.len(), bytes.len());
        assert!(refused.to_string().contains(&text), "{refused}");
    }
}

#[test]
fn case_16_a_backup_is_sealed() {
    let (folder, dumps) = closed();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("backup");
    backup_store(folder.path(), &to).unwrap();
    let report = check(&to, true).unwrap();
    assert!(report.is_clean() && report.is_sealed, "{report:?}");
    assert_eq!(examine(&to, &dumps), Found::Intact);
}

#[test]
fn case_16_an_empty_database_is_a_new_store_only_without_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1, vec![audited(1)]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder.path(), copy.path());
    fs::write(copy.path().join(STORE_FILE), b"").unwrap();
    let refused = SqliteStore::open(copy.path(), &options()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    fs::remove_file(copy.path().join(format!("{STORE_FILE}-wal"))).unwrap();
    open(copy.path());
}

/// A store in use: its files, and how long the log was after each batch was acknowledged.
fn in_use() -> (tempfile::TempDir, Vec<String>, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.seams.no_idle_checkpoint = true;
    let store = SqliteStore::open(folder.path(), &options).unwrap();
    let script = Script::new();
    let (mut dumps, mut lengths) = (vec![dump(&store).unwrap()], Vec::new());
    let log = folder.path().join(format!("{STORE_FILE}-wal"));
    let length = || fs::metadata(&log).unwrap().len() as usize;
    lengths.push(length());
    for step in &script.steps[..script.steps.len() - 4] {
        step.apply(&store).unwrap();
        dumps.push(dump(&store).unwrap());
        lengths.push(length());
    }
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder.path(), copy.path());
    (copy, dumps, lengths)
}

#[test]
fn case_08_a_log_cut_anywhere_leaves_whole_batches_and_all_that_were_synced() {
    let (files, dumps, lengths) = in_use();
    let log = format!("{STORE_FILE}-wal");
    let bytes = fs::read(files.path().join(&log)).unwrap();
    assert_eq!(lengths.last(), Some(&bytes.len()));
    let mut random = Random(8);
    let mut cuts: Vec<usize> = (0..120).map(|_| random.below(bytes.len())).collect();
    cuts.extend(lengths.iter().flat_map(|length| [*length, length - 1]));
    cuts.extend([0, 1, 31, 32, 33]);
    for cut in cuts {
        for zeros in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            copy_files(files.path(), folder.path());
            let mut harmed = bytes[..cut].to_vec();
            if zeros {
                // Blocks that were made room for and never written.
                harmed.resize(bytes.len(), 0);
            }
            fs::write(folder.path().join(&log), harmed).unwrap();
            let found = examine(folder.path(), &dumps);
            let state = match found {
                Found::Intact => dumps.len() - 1,
                Found::Earlier(state) => state,
                other => panic!("cut at {cut}: {other:?}"),
            };
            // A batch may be whole although its acknowledgement had not been given.
            let synced = lengths.iter().rposition(|length| *length <= cut);
            assert!(synced.is_none_or(|synced| state >= synced), "{cut} {state}");
        }
    }
}

#[test]
fn case_16_a_harmed_log_is_refused_before_its_last_transaction() {
    let (files, dumps, lengths) = in_use();
    let log = format!("{STORE_FILE}-wal");
    let bytes = fs::read(files.path().join(&log)).unwrap();
    let last = lengths
        .iter()
        .rev()
        .find(|length| **length < bytes.len())
        .unwrap();
    let mut random = Random(161);
    let mut harms: Vec<_> = (0..300).map(|_| (random.below(bytes.len()), 1)).collect();
    harms.extend((0..40).map(|at| (at, 1)));
    // The heads of frames, where it says which page, whether it is a commit, and of which log.
    let frames = (bytes.len() - 32) / (4096 + 24);
    harms.extend((0..frames).map(|frame| (32 + frame * (4096 + 24) + random.below(24), 1)));
    harms.extend((0..40).map(|_| (random.below(bytes.len() / 512) * 512, 512)));
    let (mut refused, mut intact, mut earlier) = (0, 0, 0);
    for (at, length) in harms {
        let folder = tempfile::tempdir().unwrap();
        copy_files(files.path(), folder.path());
        let mut harmed = bytes.clone();
        match length {
            1 => harmed[at] ^= 1 << random.below(8),
            length => harmed[at..at + length].fill(0),
        }
        if harmed == bytes {
            continue;
        }
        fs::write(folder.path().join(&log), harmed).unwrap();
        match examine(folder.path(), &dumps) {
            Found::Refused(_) => refused += 1,
            Found::Intact => intact += 1,
            // Looks as if power had been lost while it was written.
            Found::Earlier(state) if at + length > *last => {
                assert!(state + 3 > dumps.len() - 1, "{state}");
                earlier += 1;
            }
            found => panic!("{length} bytes at {at}: {found:?}"),
        }
    }
    assert!(refused > 200, "{refused} {intact} {earlier}");
}

#[test]
fn check_says_what_is_wrong() {
    let (folder, _) = closed();
    let report = check(folder.path(), true).unwrap();
    assert!(
        report.is_clean() && report.jobs == 2 && report.blobs == 1,
        "{report:?}"
    );
    let path = folder.path().join(STORE_FILE);
    let harm = |sql: &str| {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(&path, copy.path().join(STORE_FILE)).unwrap();
        let from = folder.path().join("blobs");
        assert!(
            std::process::Command::new("cp")
                .arg("-r")
                .arg(from)
                .arg(copy.path())
                .status()
                .unwrap()
                .success()
        );
        let db = rusqlite::Connection::open(copy.path().join(STORE_FILE)).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        let report = check(copy.path(), true).unwrap();
        report
            .findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(harm("SELECT 1"), "");
    let expected = [
        (
            "UPDATE outcome SET attempt = attempt + 1",
            "does not hold its checksum",
        ),
        (
            "DELETE FROM outcome WHERE key IN (SELECT min(key) FROM outcome)",
            "outcomes, its row says",
        ),
        (
            "DELETE FROM call WHERE key IN (SELECT max(key) FROM call)",
            "tasks, its row says",
        ),
        ("DELETE FROM job WHERE number = 1", "belongs to no job"),
        ("DELETE FROM job_state WHERE number = 2", "has no row 2"),
        (
            "DELETE FROM event WHERE number = 1",
            "audit event 1 does not continue the chain",
        ),
        (
            "DELETE FROM event WHERE number = 2",
            "audit event 2 does not continue the chain",
        ),
        (
            "UPDATE event SET body = x'78' WHERE number = 0",
            "audit event 0 does not continue the chain",
        ),
        (
            "UPDATE event SET kind = 'x' WHERE number = 2",
            "audit event 2 does not continue the chain",
        ),
        (
            "UPDATE call SET bodies = zeroblob(length(bodies))",
            "table call does not hold its checksum",
        ),
        ("DELETE FROM blob", "rows, counted are 0"),
        (
            "UPDATE blob SET refs = refs + 1",
            "table blob does not hold its checksum",
        ),
        (
            "DELETE FROM denied; DROP TABLE denied",
            "impossible value for sql",
        ),
        (
            "UPDATE denied SET reason = 'x'",
            "table denied does not hold",
        ),
        (
            "UPDATE token SET expires_ms = 9",
            "table token does not hold",
        ),
        (
            "UPDATE certificate SET identity = 'x'",
            "table certificate does not hold",
        ),
        (
            "UPDATE worker SET drained = NULL",
            "table worker does not hold",
        ),
        (
            "UPDATE wished_slots SET slots = 9",
            "table wished_slots does not hold",
        ),
        (
            "UPDATE cached SET lease = lease + 1",
            "table cached does not hold",
        ),
        ("UPDATE bundle SET jobs = 9", "table bundle does not hold"),
        ("DELETE FROM worker", "impossible value for worker"),
        ("UPDATE meta SET epoch = 7", "table meta"),
    ];
    for (sql, text) in expected {
        let found = harm(sql);
        assert!(found.contains(text), "{sql}: {found}");
    }
}

#[test]
fn case_17_a_missing_or_damaged_blob_is_an_error_and_a_finding() {
    let (folder, _) = closed();
    let digest = Digest::of(&vec![3; INLINE_BYTES_MAX + 1]);
    let store = open(folder.path());
    let path = store.blobs().path(&digest);
    let call = store.calls(&job_id(1), 21, 1).unwrap();
    assert_eq!(
        call,
        [Body::Blob {
            digest,
            size: INLINE_BYTES_MAX as u64 + 1
        }]
    );
    drop(store);
    let findings = || {
        let report = check(folder.path(), true).unwrap();
        let texts = report.findings.iter().map(|finding| {
            let source = std::error::Error::source(finding).map(ToString::to_string);
            format!("{finding}: {}", source.unwrap_or_default())
        });
        texts.collect::<Vec<_>>()
    };
    let whole = fs::read(&path).unwrap();
    let mut harmed = whole.clone();
    harmed[100] ^= 1;
    fs::write(&path, harmed).unwrap();
    let store = open(folder.path());
    let read = store.blobs().read(&digest, u64::MAX);
    assert!(matches!(read, Err(crate::blobs::BlobError::Corrupt { .. })));
    drop(store);
    let found = findings();
    assert!(
        found.len() == 1 && found[0].contains("is damaged"),
        "{found:?}"
    );
    assert!(found[0].starts_with("2 rows name a blob"), "{found:?}");
    fs::remove_file(&path).unwrap();
    let found = findings();
    assert!(
        found.len() == 1 && found[0].contains("is not here"),
        "{found:?}"
    );
    // Without it no new row may name it; with it, all is well again.
    let store = open(folder.path());
    let body = Body::Blob {
        digest,
        size: INLINE_BYTES_MAX as u64 + 1,
    };
    let write = Write::Bundle { digest, body };
    let refused = commit(&store, 1, vec![write.clone()]);
    assert!(matches!(
        refused,
        Err(CommitError::Refused {
            why: Refusal::BlobMissing(_),
            ..
        })
    ));
    store.blobs().put(&whole).unwrap();
    commit(&store, 1, vec![write]).unwrap();
    drop(store);
    assert_eq!(findings(), [""; 0]);
}
