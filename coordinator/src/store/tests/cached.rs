//! Outcomes that are found by the keys of their tasks.

use super::*;
use OutcomeKind::{LimitExceeded, Raised, Succeeded};

/// Runs a story on both stores.
fn both(story: impl Fn(&dyn Store)) {
    let (_folder, memory) = in_memory();
    story(&memory);
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    story(&store);
    drop(store);
    let report = check(folder.path(), true).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn one(store: &dyn Store, number: u64) -> Option<CachedOutcome> {
    let found = store.cached(&[key(number)], usize::MAX).unwrap();
    assert_eq!(found.len(), 1);
    found.into_iter().next().flatten()
}

/// The job whose outcome of this call is found.
fn job_of(store: &dyn Store, number: u64) -> Option<JobId> {
    one(store, number).map(|found| found.job)
}

fn finished(job: JobId) -> Write {
    let how = JobEnd::Finished;
    Write::Record(Record::JobEnded { job, how })
}

fn forgotten(job: JobId) -> Write {
    Write::Record(Record::JobForgotten { job })
}

fn closed(job: JobId, tasks: u64) -> Write {
    Write::Record(Record::JobClosed { job, tasks })
}

fn drained(number: u8, why: DrainReason) -> Write {
    let worker = worker(number);
    Write::Record(Record::WorkerDrained { worker, why })
}

/// A job with so many tasks, all ended by this attempt.
fn ran(store: &dyn Store, number: u8, tasks: u64, attempt: u32) {
    let job = job_id(number);
    let mut writes = vec![bundle(), submitted(job), added(job, 0, tasks)];
    writes.push(closed(job, tasks));
    writes.extend((0..tasks).map(|task| ended(job, task, Succeeded, attempt)));
    writes.push(finished(job));
    commit(store, number.into(), writes).unwrap();
}

#[test]
fn an_outcome_is_found_by_its_key_for_as_long_as_its_job_is_there() {
    both(|store| {
        ran(store, 1, 2, 1);
        let found = one(store, 1).unwrap();
        assert_eq!((found.job, found.number), (job_id(1), 1));
        assert_eq!(
            (found.guest, &found.machine),
            (note().guest, &note().machine)
        );
        assert_eq!(found.ended.task, TaskId(1));
        assert_eq!(found.ended.end, end(Succeeded, 1));
        assert_eq!(found.ended.at_ms, 1);
        assert_eq!(found.ended.result, *result("outcome of 1 by attempt 1"));
        assert_eq!(one(store, 2), None);
        // In the order of the keys, and what was not noted is not found.
        let keys = [key(7), key(0), key(1)];
        let all = store.cached(&keys, usize::MAX).unwrap();
        let tasks = all
            .iter()
            .map(|one| one.as_ref().map(|one| one.ended.task.0));
        assert_eq!(tasks.collect::<Vec<_>>(), [None, Some(0), Some(1)]);
        ran(store, 2, 3, 3);
        assert_eq!(one(store, 2), None);
        // Forgotten: at once, and also when nothing is left of it.
        commit(store, 9, vec![forgotten(job_id(1))]).unwrap();
        assert_eq!((one(store, 0), one(store, 1)), (None, None));
        maintain(store, Maintenance::at(10)).unwrap();
        assert_eq!(one(store, 0), None);
    });
}

#[test]
fn it_is_found_after_a_restart_and_its_row_goes_with_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    ran(&store, 1, 20, 1);
    drop(store);
    let store = open(folder.path());
    assert_eq!(one(&store, 19).unwrap().ended.task, TaskId(19));
    let rows = |store: &SqliteStore| store.read_raw("SELECT count(*) FROM cached").unwrap();
    assert_eq!(rows(&store), 20);
    commit(&store, 2, vec![forgotten(job_id(1))]).unwrap();
    let piece = Maintenance {
        rows_max: 7,
        ..Maintenance::at(3)
    };
    let mut pieces = 0;
    while maintain(&store, piece).unwrap().more {
        assert_eq!(one(&store, 19), None);
        pieces += 1;
    }
    assert!(pieces >= 3, "{pieces}");
    assert_eq!(rows(&store), 0);
    assert_eq!(store.read_raw("SELECT count(*) FROM outcome").unwrap(), 0);
}

#[test]
fn what_is_not_determined_is_not_found_and_a_failure_only_until_it_is_retried() {
    both(|store| {
        let job = job_id(1);
        let writes = vec![
            bundle(),
            submitted(job),
            added(job, 0, 2),
            closed(job, 2),
            ended(job, 0, LimitExceeded, 1),
            ended(job, 1, Raised, 1),
            finished(job),
        ];
        commit(store, 1, writes).unwrap();
        assert_eq!(one(store, 0), None);
        assert_eq!(one(store, 1).unwrap().ended.end, end(Raised, 1));
        let lease_floor = LeaseId(5);
        let retried = Write::Record(Record::JobRetried { job, lease_floor });
        commit(store, 2, vec![retried]).unwrap();
        assert_eq!(one(store, 1), None);
        // Without a note: what was noted before does not stand for it.
        commit(store, 3, vec![ended(job, 1, Raised, 3)]).unwrap();
        assert_eq!(one(store, 1), None);
        commit(store, 4, vec![ended(job, 0, Succeeded, 4)]).unwrap();
        assert_eq!(one(store, 0).unwrap().ended.end, end(Succeeded, 4));
    });
}

#[test]
fn the_last_one_is_found_but_one_that_was_confirmed_stays() {
    both(|store| {
        ran(store, 1, 1, 1);
        ran(store, 2, 1, 4);
        assert_eq!(job_of(store, 0), Some(job_id(2)));
        // Attempt 2 is one that another worker confirmed.
        ran(store, 3, 1, 2);
        assert_eq!(job_of(store, 0), Some(job_id(3)));
        ran(store, 4, 1, 1);
        assert_eq!(job_of(store, 0), Some(job_id(3)));
        // Not longer than it is there.
        commit(store, 5, vec![forgotten(job_id(3))]).unwrap();
        assert_eq!(job_of(store, 0), None);
        ran(store, 6, 1, 1);
        assert_eq!(job_of(store, 0), Some(job_id(6)));
    });
}

#[test]
fn nothing_is_found_of_a_worker_that_lied_but_what_another_one_confirmed() {
    for why in [DrainReason::GivesWrongResults, DrainReason::Revoked] {
        both(|store| {
            // Worker 1, unconfirmed; worker 2, confirmed; worker 1 again.
            let (job, calls) = (job_id(1), added(job_id(1), 0, 3));
            let mut writes = vec![bundle(), submitted(job), calls];
            let attempts = [(0, 1), (1, 2), (2, 4)];
            writes.extend(attempts.map(|(task, attempt)| ended(job, task, Succeeded, attempt)));
            commit(store, 1, writes).unwrap();
            let there = |store: &dyn Store| {
                let found = store.cached(&[key(0), key(1), key(2)], usize::MAX).unwrap();
                found.iter().map(Option::is_some).collect::<Vec<_>>()
            };
            commit(store, 2, vec![drained(1, DrainReason::FailsTasks)]).unwrap();
            assert_eq!(there(store), [true, true, true]);
            // A batch that is refused changes nothing.
            let refused = vec![drained(1, why), ended(job, 9, Succeeded, 1)];
            assert!(commit(store, 3, refused).is_err());
            assert_eq!(there(store), [true, true, true]);
            commit(store, 4, vec![drained(1, why), drained(2, why)]).unwrap();
            assert_eq!(there(store), [false, true, false]);
            // That it is let in again does not bring back what it said.
            let worker = worker(1);
            let undrained = Write::Record(Record::WorkerUndrained { worker });
            commit(store, 5, vec![undrained]).unwrap();
            assert_eq!(there(store), [false, true, false]);
            ran(store, 2, 1, 1);
            assert_eq!(there(store), [true, true, false]);
        });
    }
}

#[test]
fn those_of_the_oldest_jobs_go_when_there_are_too_many() {
    both(|store| {
        ran(store, 1, 3, 1);
        ran(store, 2, 1, 1);
        let work = Maintenance {
            cached_max: 3,
            ..Maintenance::at(9)
        };
        maintain(store, work).unwrap();
        assert_eq!(job_of(store, 0), Some(job_id(2)));
        let found = store.cached(&[key(1), key(2)], usize::MAX).unwrap();
        assert_eq!(found.iter().flatten().count(), 2, "there were three");
        let work = Maintenance {
            cached_max: 1,
            ..Maintenance::at(9)
        };
        maintain(store, work).unwrap();
        let found = store.cached(&[key(0), key(1), key(2)], usize::MAX).unwrap();
        let left: Vec<_> = found.iter().flatten().map(|found| found.job).collect();
        assert_eq!(left, [job_id(2)]);
    });
}

#[test]
fn no_more_is_found_at_a_time_than_asked_for() {
    both(|store| {
        ran(store, 1, 5, 1);
        let keys: Vec<_> = (0..5).map(key).collect();
        let size = {
            let result = result("outcome of 0 by attempt 1");
            result.bodies().map(Body::row_bytes).iter().sum::<usize>()
        };
        for (bytes_max, count) in [(1, 1), (size, 1), (size + 1, 2), (usize::MAX, 5)] {
            assert_eq!(store.cached(&keys, bytes_max).unwrap().len(), count);
        }
        // What is not there takes nothing.
        let absent = [key(8), key(9)];
        assert_eq!(store.cached(&absent, 1).unwrap(), [None, None]);
    });
}

/// A task that did not run has the blobs of the one that did, and holds them.
#[test]
fn an_outcome_with_blobs_outlives_the_job_that_it_comes_from() {
    both(|store| {
        let large = blob(store, 3);
        let (first, second) = (job_id(1), job_id(2));
        let with_blob = TaskResult {
            stdout: large.clone(),
            ..*result("r")
        };
        let ran = Write::TaskEnded {
            job: first,
            task: TaskId(0),
            end: end(Succeeded, 1),
            result: Box::new(with_blob.clone()),
            cache: Some(note()),
        };
        let writes = vec![
            bundle(),
            submitted(first),
            added(first, 0, 1),
            closed(first, 1),
            ran,
        ];
        commit(store, 1, writes).unwrap();
        let known = Write::TaskEnded {
            job: second,
            task: TaskId(0),
            end: TaskEnd::Cached {
                outcome: Succeeded,
                origin: origin(0),
            },
            result: Box::new(with_blob.clone()),
            cache: None,
        };
        let writes = vec![
            submitted(second),
            added(second, 0, 1),
            known,
            finished(first),
            forgotten(first),
        ];
        commit(store, 2, writes).unwrap();
        let work = Maintenance {
            blob_age: Duration::ZERO,
            ..Maintenance::at(u64::MAX / 2)
        };
        for _ in 0..3 {
            while maintain(store, work).unwrap().more {}
        }
        let ended = store.outcome(&second, TaskId(0)).unwrap().unwrap();
        assert_eq!(ended.result, with_blob);
        assert_eq!(ended.end.origin(), Some(&*origin(0)));
        let Body::Blob { digest, size } = large else {
            panic!("it is large");
        };
        assert_eq!(store.blobs().size(&digest).unwrap(), Some(size));
        assert_eq!(one(store, 0), None);
    });
}

#[test]
fn rows_of_the_cache_that_do_not_hold_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    ran(&store, 1, 1, 1);
    drop(store);
    std::fs::remove_file(folder.path().join(SEAL_FILE)).unwrap();
    let db = rusqlite::Connection::open(folder.path().join(STORE_FILE)).unwrap();
    db.execute("UPDATE cached SET task = task + 1", []).unwrap();
    drop(db);
    assert!(!check(folder.path(), false).unwrap().is_clean());
    assert!(SqliteStore::open(folder.path(), &options()).is_err());
}
