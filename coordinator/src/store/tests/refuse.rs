//! Stores that are not opened, and such that end.

use std::fs;

use super::*;
use sqlite::Seams;

fn refused(folder: &Path, options: &Options) -> OpenError {
    SqliteStore::open(folder, options).unwrap_err()
}

#[test]
fn case_11_a_second_coordinator_is_told_who_has_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = options();
    first.holder = "ppwasm coordinator, process 77 on hall-9000".to_owned();
    let store = SqliteStore::open(folder.path(), &first).unwrap();
    let error = refused(folder.path(), &options());
    assert!(
        error
            .to_string()
            .ends_with("is in use by ppwasm coordinator, process 77 on hall-9000"),
        "{error}"
    );
    assert!(matches!(
        check(folder.path(), false),
        Err(OpenError::Locked { .. })
    ));
    commit(&store, 1, vec![audited(1)]).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).events(0, 9).unwrap().len(), 1);
}

#[test]
fn case_11_who_lost_the_lock_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    commit(&first, 1, vec![audited(1)]).unwrap();
    // As on a file system whose locks are for show.
    fs::remove_file(folder.path().join("lock")).unwrap();
    let second = open(folder.path());
    assert!(second.epoch() > first.epoch());
    let error = commit(&first, 2, vec![audited(2)]).unwrap_err();
    let CommitError::Ended(cause) = error else {
        panic!("{error}");
    };
    assert!(matches!(*cause, EndCause::Fenced { .. }), "{cause}");
    let error = commit(&first, 2, vec![audited(2)]).unwrap_err();
    assert!(matches!(error, CommitError::Ended(_)), "{error}");
    commit(&second, 3, vec![audited(3)]).unwrap();
    assert_eq!(second.events(0, 9).unwrap().len(), 2);
}

#[test]
fn case_21_a_network_file_system_is_refused_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.seams.file_system = |_| Ok(Some("NFS"));
    let error = refused(folder.path(), &options);
    assert!(
        error
            .to_string()
            .ends_with("is on a network file system (NFS)"),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
    options.allow_network = true;
    SqliteStore::open(folder.path(), &options).unwrap();
}

#[test]
fn case_21_an_old_sqlite_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.seams.sqlite_version = || 3_051_002;
    let error = refused(&folder.path().join("store"), &options);
    assert!(
        error
            .to_string()
            .starts_with("SQLite 3.51.2 is older than 3.51.3"),
        "{error}"
    );
    assert!(!folder.path().join("store").exists());
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE_FILE);
    let told = |expected: &str| {
        let before = fs::read(&path).unwrap();
        let error = refused(folder.path(), &options());
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(&path).unwrap();
    };
    fs::write(&path, "text, and no database at all").unwrap();
    told("is not a store of ppwasm: no SQLite database");
    fs::write(&path, "x").unwrap();
    told("no SQLite database");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE t (x); PRAGMA application_id = 66;")
        .unwrap();
    drop(other);
    told("a database of another program (application id 0x42)");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    told("a database of another program (application id 0x0)");
    // An empty file is what a crash at the very beginning leaves.
    fs::write(&path, "").unwrap();
    open(folder.path());
}

const LATER: &str = "CREATE TABLE later (x INTEGER) STRICT";

fn of_version(migrations: &'static [&'static str]) -> Options {
    Options {
        seams: Seams {
            migrations,
            ..options().seams
        },
        ..options()
    }
}

#[test]
fn a_store_moves_forward_and_never_back() {
    const NEWER: &[&str] = &[
        sqlite::VERSION_1,
        sqlite::VERSION_2,
        sqlite::VERSION_3,
        sqlite::VERSION_4,
        LATER,
    ];
    let folder = tempfile::tempdir().unwrap();
    // As the first version leaves it, which knew less and put no seal.
    drop(open(folder.path()));
    fs::remove_file(folder.path().join(SEAL_FILE)).unwrap();
    let first = rusqlite::Connection::open(folder.path().join(STORE_FILE)).unwrap();
    first
        .execute_batch(
            "DROP TABLE wished_slots;
             ALTER TABLE job DROP COLUMN verify_percent;
             ALTER TABLE outcome DROP COLUMN verification;
             ALTER TABLE job DROP COLUMN is_cached;
             ALTER TABLE outcome DROP COLUMN origin;
             DROP TABLE cached;
             PRAGMA user_version = 1",
        )
        .unwrap();
    drop(first);
    let store = open(folder.path());
    for step in Script::new().steps {
        step.apply(&store).unwrap();
    }
    let expected = dump(&store).unwrap();
    drop(store);
    let newer = SqliteStore::open(folder.path(), &of_version(NEWER)).unwrap();
    assert_eq!(dump(&newer).unwrap(), expected);
    drop(newer);
    let before = fs::read(folder.path().join(STORE_FILE)).unwrap();
    let error = refused(folder.path(), &options());
    assert!(
        error
            .to_string()
            .ends_with("has version 5; this program knows up to 4"),
        "{error}"
    );
    assert!(check(folder.path(), false).is_err());
    assert_eq!(fs::read(folder.path().join(STORE_FILE)).unwrap(), before);
    SqliteStore::open(folder.path(), &of_version(NEWER)).unwrap();
}

#[test]
fn the_disk_is_asked_for_all_it_can_promise() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path());
    let db = sqlite::settings(folder.path());
    let expected = [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("fullfsync", "1"),
        ("checkpoint_fullfsync", "1"),
        ("foreign_keys", "1"),
        ("trusted_schema", "0"),
        ("cell_size_check", "1"),
        ("wal_autocheckpoint", "0"),
        ("application_id", "1886418771"),
        ("user_version", "4"),
    ];
    for (name, value) in expected {
        assert!(db.contains(&(name, value.to_owned())), "{name}: {db:?}");
    }
}

#[test]
fn the_last_epoch_is_the_last() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path());
    sqlite::set_epoch(folder.path(), i64::from(Epoch::MAX.number()) - 1);
    assert_eq!(open(folder.path()).epoch(), Epoch::MAX);
    let error = refused(folder.path(), &options());
    assert!(
        matches!(error, OpenError::EpochsExhausted { .. }),
        "{error}"
    );
}

#[test]
fn a_store_has_one_secret_for_life() {
    let folder = tempfile::tempdir().unwrap();
    let key = open(folder.path()).lease_key();
    let mut other = Options::new([8; 32]);
    assert!(
        SqliteStore::open(folder.path(), &other)
            .unwrap()
            .lease_key()
            == key
    );
    other.entropy = [9; 32];
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(
        SqliteStore::open(elsewhere.path(), &other)
            .unwrap()
            .lease_key()
            != key
    );
}

/// What was written before tasks could be verified is read as it was.
#[test]
fn a_store_of_version_2_is_taken_over() {
    let plain = JobSpec {
        is_cached: false,
        ..*spec("anna")
    };
    let outcomes = [(0, OutcomeKind::Raised, 1)];
    let undo = "ALTER TABLE job DROP COLUMN verify_percent;
         ALTER TABLE outcome DROP COLUMN verification;
         ALTER TABLE job DROP COLUMN is_cached;
         ALTER TABLE outcome DROP COLUMN origin;
         DROP TABLE cached;
         PRAGMA user_version = 2;";
    taken_over(plain, &outcomes, undo);
}

/// What was written before tasks could be cached is read as it was, and is found by nobody.
#[test]
fn a_store_of_version_3_is_taken_over() {
    let plain = JobSpec {
        is_cached: false,
        verify_percent: 30,
        ..*spec("anna")
    };
    let outcomes = [(0, OutcomeKind::Raised, 2), (1, OutcomeKind::Succeeded, 1)];
    let undo = "ALTER TABLE job DROP COLUMN is_cached;
         ALTER TABLE outcome DROP COLUMN origin;
         DROP TABLE cached;
         PRAGMA user_version = 3;";
    let (_folder, store) = taken_over(plain, &outcomes, undo);
    assert_eq!(store.cached(&[key(1)], usize::MAX).unwrap(), [None]);
    // From now on they can be.
    let succeeded = ended(job_id(1), 2, OutcomeKind::Succeeded, 1);
    commit(&store, 3, vec![succeeded]).unwrap();
    let found = store.cached(&[key(2)], usize::MAX).unwrap();
    assert_eq!(found[0].as_ref().unwrap().ended.task, TaskId(2));
}

/// A store with a job of three tasks, made what an earlier version would have written, and opened again: nothing is missing.
fn taken_over(
    plain: JobSpec,
    outcomes: &[(u64, OutcomeKind, u32)],
    undo: &str,
) -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let job = job_id(1);
    let submitted = Write::JobSubmitted {
        job,
        spec: Box::new(plain),
        details: Vec::new(),
    };
    commit(&store, 1, vec![bundle(), submitted, added(job, 0, 3)]).unwrap();
    let outcomes = outcomes.iter().map(|&(task, outcome, attempt)| {
        let mut write = ended(job, task, outcome, attempt);
        if let Write::TaskEnded { cache, .. } = &mut write {
            *cache = None;
        }
        write
    });
    commit(&store, 2, outcomes.collect()).unwrap();
    let expected = dump(&store).unwrap();
    drop(store);
    fs::remove_file(folder.path().join(SEAL_FILE)).unwrap();
    let db = rusqlite::Connection::open(folder.path().join(STORE_FILE)).unwrap();
    db.execute_batch(undo).unwrap();
    drop(db);
    let store = open(folder.path());
    assert_eq!(dump(&store).unwrap(), expected);
    (folder, store)
}
