//! Disks that are full or fail, and readers that are in the way.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::*;
use crate::faults::{Faults, Point};

fn with_faults(folder: &Path) -> (SqliteStore, Faults) {
    let mut options = options();
    options.seams.faults = Faults::default();
    let faults = options.seams.faults.clone();
    (SqliteStore::open(folder, &options).unwrap(), faults)
}

fn unknown(result: Result<Vec<Answer>, CommitError>) -> std::sync::Arc<EndCause> {
    match result {
        Err(CommitError::Unknown(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn case_15_a_failed_sync_ends_the_store_and_nothing_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = with_faults(folder.path());
    commit(&store, 1, vec![audited(1)]).unwrap();
    faults.fail(Point::Commit, io::ErrorKind::Other);
    let cause = unknown(commit(&store, 2, vec![audited(2)]));
    assert!(matches!(*cause, EndCause::Io(_)), "{cause}");
    // Though the disk would do it now.
    for _ in 0..3 {
        let error = commit(&store, 3, vec![audited(3)]).unwrap_err();
        assert!(matches!(error, CommitError::Ended(_)), "{error}");
        assert!(maintain(&store, Maintenance::at(3)).is_err());
    }
    assert!(store.ended().is_some());
    // What is there can still be read.
    assert_eq!(store.events(0, 9).unwrap().len(), 1);
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.events(0, 9).unwrap().len(), 1);
    commit(&store, 4, vec![audited(4)]).unwrap();
}

#[test]
fn case_15_everybody_who_waits_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = with_faults(folder.path());
    let (done, acked) = mpsc::channel();
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let stuck = Box::new(move |_| {
        entered.send(()).unwrap();
        released.recv().unwrap();
    });
    store.commit(Batch::at(1, vec![audited(0)]), stuck).unwrap();
    is_in.recv_timeout(PATIENCE).unwrap();
    faults.fail(Point::Commit, io::ErrorKind::Other);
    for number in 0..700 {
        let done = done.clone();
        let ack = Box::new(move |result: Result<_, _>| done.send(result).unwrap());
        store
            .commit(Batch::at(1, vec![audited(number)]), ack)
            .unwrap();
    }
    release.send(()).unwrap();
    let (mut unknown, mut ended) = (0, 0);
    for _ in 0..700 {
        match acked.recv_timeout(PATIENCE).unwrap() {
            Err(CommitError::Unknown(_)) => unknown += 1,
            Err(CommitError::Ended(_)) => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(unknown >= 1 && unknown + ended == 700, "{unknown} {ended}");
    drop(store);
    assert_eq!(open(folder.path()).events(0, 9).unwrap().len(), 1);
}

#[test]
fn case_15_a_failed_checkpoint_ends_the_store_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = with_faults(folder.path());
    faults.fail(Point::Checkpoint, io::ErrorKind::Other);
    commit(&store, 1, vec![audited(1)]).unwrap();
    let begun = Instant::now();
    while store.ended().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the log was never emptied");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(commit(&store, 2, vec![audited(2)]).is_err());
    drop(store);
    assert_eq!(open(folder.path()).events(0, 9).unwrap().len(), 1);
}

#[test]
fn case_20_a_commit_of_unknown_result_is_read_again_by_its_id() {
    for (point, is_there) in [(Point::Committed, true), (Point::Commit, false)] {
        let folder = tempfile::tempdir().unwrap();
        let (store, faults) = with_faults(folder.path());
        let job = job_id(1);
        commit(&store, 1, vec![bundle()]).unwrap();
        faults.fail(point, io::ErrorKind::TimedOut);
        unknown(commit(&store, 2, vec![submitted(job), added(job, 0, 5)]));
        drop(store);
        let store = open(folder.path());
        assert_eq!(store.job(&job).unwrap().is_some(), is_there);
        let again = commit(&store, 3, vec![submitted(job), added(job, 0, 5)]).unwrap();
        let expected = if is_there {
            Answer::Known
        } else {
            Answer::Done
        };
        assert_eq!(again, [expected.clone(), expected]);
        assert_eq!(store.jobs(0, 9).unwrap().len(), 1);
        assert_eq!(store.job(&job).unwrap().unwrap().tasks, 5);
    }
}

#[test]
fn case_14_a_full_database_refuses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.seams.pages_max = Some(80);
    let store = SqliteStore::open(folder.path(), &options).unwrap();
    let job = job_id(1);
    commit(&store, 1, vec![bundle(), submitted(job)]).unwrap();
    let mut tasks = 0;
    let error = loop {
        match commit(&store, 2, vec![added(job, tasks, 200)]) {
            Ok(_) => tasks += 200,
            Err(error) => break error,
        }
        assert!(tasks < 100_000);
    };
    assert!(matches!(error, CommitError::NoSpace { .. }), "{error}");
    assert!(tasks > 0);
    // What is small still fits, and what was acknowledged is there.
    assert_eq!(
        commit(&store, 3, vec![ended(job, 0, OutcomeKind::Succeeded, 1)]).unwrap(),
        [Answer::Done]
    );
    assert_eq!(store.job(&job).unwrap().unwrap().tasks, tasks);
    assert!(matches!(
        commit(&store, 2, vec![added(job, tasks, 200)]),
        Err(CommitError::NoSpace { .. })
    ));
    assert!(store.ended().is_none());
    drop(store);
    // With room again the same batch goes in.
    let store = open(folder.path());
    assert_eq!(
        commit(&store, 4, vec![added(job, tasks, 200)]).unwrap(),
        [Answer::Done]
    );
    drop(store);
    assert!(check(folder.path(), true).unwrap().is_clean());
}

#[test]
fn case_14_little_space_is_kept_for_what_has_begun() {
    static FREE: AtomicU64 = AtomicU64::new(u64::MAX);
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.blobs.free_bytes_min = 1000;
    options.seams.free = |_| Ok(FREE.load(Ordering::Relaxed));
    let store = SqliteStore::open(folder.path(), &options).unwrap();
    let job = job_id(1);
    commit(&store, 1, vec![bundle(), submitted(job), added(job, 0, 3)]).unwrap();
    FREE.store(999, Ordering::Relaxed);
    let begun = Instant::now();
    // It is looked at now and then.
    let mut tasks = 3;
    while commit(&store, 2, vec![added(job, tasks, 1)]).is_ok() {
        tasks += 1;
        assert!(begun.elapsed() < PATIENCE);
    }
    let refused = commit(&store, 2, vec![submitted(job_id(2))]);
    assert!(
        matches!(refused, Err(CommitError::NoSpace { free: 999 })),
        "{refused:?}"
    );
    commit(&store, 2, vec![ended(job, 0, OutcomeKind::Succeeded, 1)]).unwrap();
    FREE.store(1000, Ordering::Relaxed);
    while commit(&store, 3, vec![added(job, tasks, 1)]).is_err() {
        assert!(begun.elapsed() < PATIENCE);
    }
}

/// On a real, small file system, where the tests may mount one.
#[test]
fn case_14_a_full_file_system_takes_no_half_batch_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = crate::testing::SmallDisk::mount(folder.path(), "2m") else {
        eprintln!("no right to mount; the test with a limited database stands alone");
        return;
    };
    let place = folder.path().join("store");
    let store = open(&place);
    let job = job_id(1);
    commit(&store, 1, vec![bundle(), submitted(job)]).unwrap();
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![1; 300_000]).unwrap();
    let more_ballast = folder.path().join("more-ballast");
    fs::write(&more_ballast, vec![1; 300_000]).unwrap();
    let batch = |tasks| vec![added(job, tasks, 500)];
    let mut tasks = 0;
    let error = loop {
        match commit(&store, 2, batch(tasks)) {
            Ok(_) => tasks += 500,
            Err(error) => break error,
        }
        assert!(tasks < 1_000_000);
    };
    assert!(matches!(error, CommitError::NoSpace { .. }), "{error}");
    assert!(tasks > 0);
    let read: Vec<_> = store.calls(&job, tasks - 500, 900).unwrap();
    assert_eq!(read, (tasks - 500..tasks).map(call).collect::<Vec<_>>());
    fs::remove_file(&ballast).unwrap();
    commit(&store, 3, batch(tasks)).unwrap();
    tasks += 500;
    drop(store);
    assert!(check(&place, true).unwrap().is_clean());
    // No room to open it is a word of its own, and no harm.
    let left = fs::read(place.join(STORE_FILE)).unwrap();
    let mut filler = fs::File::create(&ballast).unwrap();
    while io::Write::write(&mut filler, &[1; 1000]).is_ok() {}
    let refused = SqliteStore::open(&place, &options()).unwrap_err();
    assert!(matches!(refused, OpenError::NoSpace { .. }), "{refused:?}");
    assert_eq!(fs::read(place.join(STORE_FILE)).unwrap(), left);
    fs::remove_file(&ballast).unwrap();
    fs::remove_file(&more_ballast).unwrap();
    let store = open(&place);
    assert_eq!(store.job(&job).unwrap().unwrap().tasks, tasks);
    drop(store);
    drop(mounted);
}

#[test]
fn case_18_a_slow_reader_is_stopped_and_the_log_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.seams.wal_bytes_max = 200_000;
    options.read_time_max = Duration::from_millis(50);
    let store = SqliteStore::open(folder.path(), &options).unwrap();
    let endless =
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let begun = Instant::now();
    let late = store.read_raw(endless);
    assert!(
        matches!(late, Err(ReadError::TooSlow { limit_ms: 50 })),
        "{late:?}"
    );
    assert!(begun.elapsed() < PATIENCE);

    let log = folder.path().join(format!("{STORE_FILE}-wal"));
    let length = || fs::metadata(&log).unwrap().len();
    let job = job_id(1);
    commit(&store, 1, vec![bundle(), submitted(job)]).unwrap();
    let mut tasks = 0;
    let mut write = |batches| {
        let mut longest = 0;
        for _ in 0..batches {
            commit(&store, 1, vec![added(job, tasks, 500)]).unwrap();
            tasks += 500;
            longest = longest.max(length());
        }
        longest
    };
    let free = write(30);
    // One batch more than the limit.
    assert!(free < 400_000, "{free}");
    // Somebody from outside holds an old state: the log grows, and shrinks once it can.
    let reader = rusqlite::Connection::open(folder.path().join(STORE_FILE)).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM call")
        .unwrap();
    let count = "SELECT count(*) FROM call";
    let before: i64 = reader.query_row(count, [], |row| row.get(0)).unwrap();
    let held = write(20);
    assert!(held > 400_000, "{held}");
    assert_eq!(
        reader
            .query_row(count, [], |row| row.get::<_, i64>(0))
            .unwrap(),
        before
    );
    reader.execute_batch("ROLLBACK").unwrap();
    write(2);
    assert!(length() < 400_000, "{}", length());
}
