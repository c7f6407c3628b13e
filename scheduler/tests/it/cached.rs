//! Jobs that are cached: tasks whose outcome is known do not run.

use ppwasm_proto::TaskId;
use ppwasm_proto::fabric::{GiveBackReason, OutcomeKind};
use ppwasm_proto::wire::Verdict;
use ppwasm_scheduler::{
    DrainReason, Event, Explanation, Found, Hello, JobEnd, JobSpec, Leaving, Micros, Obstacle,
    Outbox, Record, TaskEnd,
};

use crate::stage::{
    Stage, all_granted, client, found, function, granted, hello, job, spec, tasks, worker,
};

fn cached() -> JobSpec {
    JobSpec {
        is_cached: true,
        ..spec("ann")
    }
}

/// Ends of tasks that did not run.
fn known(out: &Outbox) -> Vec<u64> {
    let ends = out.records.iter().filter_map(|record| match record {
        Record::TaskEnded {
            task,
            end: TaskEnd::Cached { .. },
            ..
        } => Some(task.0),
        _ => None,
    });
    ends.collect()
}

fn job_end(out: &Outbox) -> Option<JobEnd> {
    out.records.iter().find_map(|record| match record {
        Record::JobEnded { how, .. } => Some(*how),
        _ => None,
    })
}

fn of(tasks: &[u64]) -> Vec<Found> {
    tasks.iter().map(|task| found(*task, false)).collect()
}

#[test]
fn tasks_that_are_known_end_as_they_are_added_and_the_others_run() {
    let mut stage = Stage::new();
    let (w, _) = stage.join("w", 9);
    let out = stage.submit_known(job(1), cached(), 6, of(&[0, 1, 3, 5]));
    assert_eq!(known(&out), [0, 1, 3, 5]);
    let claims = granted(&out, w);
    assert_eq!(tasks(&claims), [2, 4]);
    assert_eq!(stage.scheduler.counters().from_cache, 4);
    let ended = stage.scheduler.explain(job(1), TaskId(3));
    let outcome = OutcomeKind::Succeeded;
    assert_eq!(ended, Explanation::Ended { outcome });
    let view = stage.scheduler.job(job(1)).unwrap();
    assert_eq!((view.tasks, view.ended, view.leased), (6, 4, 2));
    assert_eq!(job_end(&stage.end(w, &claims)), Some(JobEnd::Finished));
}

#[test]
fn a_job_of_which_all_is_known_needs_no_worker() {
    let mut stage = Stage::new();
    let out = stage.submit_known(job(1), cached(), 3, of(&[0, 1, 2]));
    assert_eq!(known(&out), [0, 1, 2]);
    assert_eq!(job_end(&out), Some(JobEnd::Finished));
    let (_, out) = stage.join("w", 2);
    assert!(all_granted(&out).is_empty());
}

#[test]
fn what_was_not_asked_for_or_is_not_determined_counts_for_nothing() {
    let mut stage = Stage::new();
    let (w, _) = stage.join("w", 9);
    let out = stage.submit_known(job(1), spec("ann"), 2, of(&[0, 1]));
    assert_eq!(
        (known(&out), tasks(&granted(&out, w))),
        (vec![], vec![0, 1])
    );
    let differs = JobSpec {
        is_deterministic: false,
        ..cached()
    };
    let out = stage.submit_known(job(2), differs, 2, of(&[0, 1]));
    assert_eq!(
        (known(&out), tasks(&granted(&out, w))),
        (vec![], vec![0, 1])
    );
    let mut found = of(&[0, 1, 1, 2, 7, u64::MAX]);
    found[0].outcome = OutcomeKind::LimitExceeded;
    let out = stage.submit_known(job(3), cached(), 3, found);
    assert_eq!(
        (known(&out), tasks(&granted(&out, w))),
        (vec![1, 2], vec![0])
    );
}

#[test]
fn tasks_that_are_said_again_are_not_ended_by_what_is_found_then() {
    let mut stage = Stage::new();
    stage.submit_known(job(1), cached(), 2, Vec::new());
    let request = stage.request();
    let out = stage.happens(Event::TasksAppended {
        request,
        client: client("ann"),
        job: job(1),
        first: 0,
        count: 2,
        found: of(&[0, 1]),
    });
    assert_eq!((known(&out), out.records.len()), (vec![], 0));
}

#[test]
fn a_liars_word_does_not_count_any_more_unless_another_worker_confirmed_it() {
    for why in [DrainReason::GivesWrongResults, DrainReason::Revoked] {
        let mut stage = Stage::new();
        stage.log.push(Record::WorkerDrained {
            worker: worker("w0"),
            why,
        });
        stage.restart();
        let found = vec![found(0, false), found(1, true)];
        let out = stage.submit_known(job(1), cached(), 2, found);
        assert_eq!(known(&out), [1], "{why:?}");
    }
    for why in [DrainReason::Requested, DrainReason::FailsTasks] {
        let mut stage = Stage::new();
        stage.log.push(Record::WorkerDrained {
            worker: worker("w0"),
            why,
        });
        stage.restart();
        let out = stage.submit_known(job(1), cached(), 1, of(&[0]));
        assert_eq!(known(&out), [0], "{why:?}");
    }
}

#[test]
fn where_outcomes_are_verified_only_those_count_that_were() {
    let mut stage = Stage::new();
    let (w, _) = stage.join("w", 9);
    let spec = JobSpec {
        verify_percent: 100,
        ..cached()
    };
    let found = vec![found(0, true), found(1, false)];
    let out = stage.submit_known(job(1), spec, 2, found);
    assert_eq!((known(&out), tasks(&granted(&out, w))), (vec![0], vec![1]));
    let end = out.records.iter().find_map(|record| match record {
        Record::TaskEnded { end, .. } => end.origin(),
        _ => None,
    });
    let verdict = end.and_then(|origin| origin.verification.as_ref());
    assert_eq!(verdict.map(|of| of.verdict), Some(Verdict::Confirmed));
}

#[test]
fn after_a_restart_what_was_known_has_ended_and_the_rest_goes_on() {
    let mut stage = Stage::new();
    // Far more than are released for one worker.
    let every_other: Vec<u64> = (0..100).map(|task| 2 * task + 1).collect();
    stage.submit_known(job(1), cached(), 200, of(&every_other));
    let (w, out) = stage.join("w", 1);
    let first = granted(&out, w);
    assert!(tasks(&first).iter().all(|task| task % 2 == 0));
    stage.leave(w, Leaving::Lost);
    stage.restart();
    stage.wait(Micros::from_secs(120));
    let (w, mut out) = stage.join("w", 3);
    let mut ran = Vec::new();
    loop {
        let claims = granted(&out, w);
        if claims.is_empty() {
            break;
        }
        ran.extend(tasks(&claims));
        out = stage.end(w, &claims);
    }
    ran.sort_unstable();
    let others: Vec<u64> = (0..100).map(|task| 2 * task).collect();
    assert_eq!(ran, others);
    assert_eq!(job_end(&out), Some(JobEnd::Finished));
    let before = stage.scheduler.durable();
    stage.restart();
    assert_eq!(stage.scheduler.durable(), before);
}

#[test]
fn a_failure_that_was_known_runs_when_the_job_is_retried() {
    let mut stage = Stage::new();
    // Task 4 raised.
    let out = stage.submit_known(job(1), cached(), 6, of(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(job_end(&out), Some(JobEnd::Finished));
    for _ in 0..2 {
        // Also after a restart.
        stage.restart();
    }
    let request = stage.request();
    stage.happens(Event::RetryRequested {
        request,
        client: client("ann"),
        job: job(1),
    });
    // Nobody had needed its image since the restart.
    let bytes = 1;
    let function = function();
    stage.happens(Event::ImageReady { function, bytes });
    let (w, out) = stage.join("w", 3);
    let claims = granted(&out, w);
    assert_eq!(tasks(&claims), [4]);
    stage.restart();
    let out = stage.wait(Micros::from_secs(120));
    assert!(all_granted(&out).is_empty());
    let (w, out) = stage.join("w", 3);
    let claims = granted(&out, w);
    assert_eq!(tasks(&claims), [4]);
    assert_eq!(job_end(&stage.end(w, &claims)), Some(JobEnd::Finished));
}

/// A task goes back to the only worker that can run it, although that one has failed it and another one is there.
#[test]
fn nobody_waits_for_a_worker_that_cannot_run_the_job() {
    let mut stage = Stage::new();
    stage.join_as(Hello {
        takes_streams: false,
        ..hello("old", 4)
    });
    let (w, _) = stage.join("new", 1);
    let out = stage.submit_spec(job(1), cached(), 1);
    let claims = granted(&out, w);
    assert_eq!(claims.len(), 1);
    let mut out = stage.give_back(w, &claims, GiveBackReason::HostFailed);
    let later = stage.wait(Micros::from_secs(20));
    out.commands.extend(later.commands);
    assert_eq!(tasks(&granted(&out, w)), [0]);
}

#[test]
fn workers_that_cannot_set_a_tasks_stream_get_none_of_a_job_that_is_cached() {
    let old = |name: &str, target: &str| Hello {
        takes_streams: false,
        target: target.into(),
        ..hello(name, 4)
    };
    let mut stage = Stage::new();
    let (a, _) = stage.join_as(old("old", "arm"));
    let out = stage.submit_spec(job(1), cached(), 2);
    assert!(all_granted(&out).is_empty());
    match stage.scheduler.explain(job(1), TaskId(0)) {
        Explanation::Queued { workers, .. } => {
            assert_eq!(workers[0].obstacle, Some(Obstacle::TooOld));
        }
        other => panic!("{other:?}"),
    }
    let out = stage.submit(job(2), "ann", 1);
    let plain = granted(&out, a);
    assert_eq!(tasks(&plain), [0]);
    stage.end(a, &plain);
    let (b, out) = stage.join_as(Hello {
        target: "x86".into(),
        ..hello("new", 4)
    });
    let claims = granted(&out, b);
    assert_eq!(tasks(&claims), [0, 1]);
    stage.end(b, &claims);
    // The only one of another kind cannot confirm it, so that one of the same kind does, and nobody waits.
    let spec = JobSpec {
        verify_percent: 100,
        ..cached()
    };
    let out = stage.submit_spec(job(3), spec.clone(), 1);
    let claims = granted(&out, b);
    let out = stage.end(b, &claims);
    let alone = out.records.iter().find_map(|record| match record {
        Record::TaskEnded { end, .. } => end.verification(),
        _ => None,
    });
    assert_eq!(alone.map(|of| of.verdict), Some(Verdict::Alone));
    let (c, _) = stage.join_as(Hello {
        target: "x86".into(),
        ..hello("other", 1)
    });
    let out = stage.submit_spec(job(4), spec, 1);
    let (first, second) = match granted(&out, b).is_empty() {
        true => (c, b),
        false => (b, c),
    };
    let out = stage.end(first, &granted(&out, first));
    let claims = granted(&out, second);
    assert_eq!(tasks(&claims), [0]);
    assert_eq!(job_end(&stage.end(second, &claims)), Some(JobEnd::Finished));
}
