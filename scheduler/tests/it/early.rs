//! Leases that go out before what they are for is durable.

use ppwasm_proto::TaskId;
use ppwasm_proto::fabric::{Claim, HeldState, LeaseId, SessionId};
use ppwasm_scheduler::{
    Command, Event, Found, JobSpec, Lease, Leaving, Micros, Outbox, Record, TaskEnd,
};

use crate::stage::{
    Stage, all_granted, client, ended, found, function, granted, held, hello, job, spec, task_ends,
    tasks,
};

/// A job of five short tasks, four of which have ended; the fifth is with the worker, early.
fn one_early() -> (Stage, SessionId, Claim) {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 1);
    let mut out = stage.submit(job(1), "ann", 5);
    let mut claims = granted(&out, session);
    for _ in 0..4 {
        stage.wait(Micros::from_millis(10));
        let claim = claims.remove(0);
        out = stage.end(session, &[claim]);
        claims.extend(granted(&out, session));
    }
    assert_eq!(tasks(&claims), [4]);
    let early = early(&stage, session, claims[0]).unwrap();
    assert_ne!(early.token, claims[0].token);
    (stage, session, early)
}

fn early(stage: &Stage, session: SessionId, claim: Claim) -> Option<Claim> {
    let mut leases = [Lease {
        claim,
        alone: false,
    }];
    let is_early = stage.scheduler.make_early(session, &mut leases);
    is_early.then_some(leases[0].claim)
}

fn refused(out: &Outbox) -> Vec<LeaseId> {
    let refused = out.commands.iter().filter_map(|command| match command {
        Command::Welcome { refused, .. } => Some(refused.clone()),
        _ => None,
    });
    refused.flatten().collect()
}

#[test]
fn an_early_lease_is_as_good_as_another_while_its_coordinator_lives() {
    let (mut stage, session, early) = one_early();
    assert_eq!(
        stage.end(session, &[early]).records[0],
        ended(job(1), &early, "w")
    );

    // Also when its worker was given up meanwhile.
    let (mut stage, session, early) = one_early();
    stage.leave(session, Leaving::Lost);
    stage.wait(Micros::from_secs(60));
    let (session, _) = stage.join("w", 1);
    let out = stage.end(session, &[early]);
    assert_eq!(task_ends(&out).len(), 1);
    assert_eq!(stage.scheduler.counters().foreign_leases, 0);
}

#[test]
fn an_early_lease_is_worth_nothing_to_the_next_coordinator() {
    for state in [HeldState::Waiting, HeldState::Running, HeldState::Finished] {
        let (mut stage, _, early) = one_early();
        stage.restart();
        let mut back = hello("w", 1);
        back.held = vec![held(early, state)];
        let (session, out) = stage.join_as(back);
        assert_eq!(refused(&out), [early.lease]);
        assert_eq!(task_ends(&stage.end(session, &[early])), []);
        assert_eq!(stage.scheduler.counters().foreign_leases, 0);
        // What has its number runs again, under another lease.
        let again = all_granted(&out);
        let out = stage.wait(Micros::from_secs(120));
        let again = [again, all_granted(&out)].concat();
        assert_eq!(again.len(), 1, "{again:?}");
        let (session, claim) = again[0];
        assert!(claim.identity == early.identity && claim.lease > early.lease);
        assert_eq!(task_ends(&stage.end(session, &[claim])).len(), 1);
    }
}

#[test]
fn what_may_run_for_long_is_not_early() {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 1);
    // Nothing is known of its tasks.
    let out = stage.submit(job(1), "ann", 5);
    let mut claims = granted(&out, session);
    assert_eq!(early(&stage, session, claims[0]), None);
    // They take longer than a second.
    for _ in 0..4 {
        stage.wait(Micros::from_secs(2));
        let claim = claims.remove(0);
        let out = stage.end_after(session, &[claim], Micros::from_secs(2));
        claims.extend(granted(&out, session));
    }
    assert_eq!(early(&stage, session, claims[0]), None);
    // Nobody is there, or nothing is given.
    assert_eq!(early(&stage, SessionId(99), claims[0]), None);
    assert!(!stage.scheduler.make_early(session, &mut []));
}

/// An open job that is cached, of whose tasks four have ended that were short.
fn four_ended() -> (Stage, SessionId) {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 1);
    let request = stage.request();
    let spec = JobSpec {
        is_cached: true,
        ..spec("ann")
    };
    stage.happens(Event::JobSubmitted {
        request,
        job: job(1),
        spec: Box::new(spec),
    });
    let (function, bytes) = (function(), 1);
    stage.happens(Event::ImageReady { function, bytes });
    let mut claims = granted(&append(&mut stage, 0, 4, Vec::new()), session);
    for _ in 0..4 {
        stage.wait(Micros::from_millis(10));
        let claim = claims.remove(0);
        claims.extend(granted(&stage.end(session, &[claim]), session));
    }
    (stage, session)
}

fn append(stage: &mut Stage, first: u64, count: u64, found: Vec<Found>) -> Outbox {
    let request = stage.request();
    stage.happens(Event::TasksAppended {
        request,
        client: client("ann"),
        job: job(1),
        first,
        count,
        found,
    })
}

/// What is known is not passed by grants: who is told of an end is told after it is durable, and in the order of the steps.
#[test]
fn a_step_in_which_a_task_is_known_is_not_early() {
    let (mut stage, session) = four_ended();
    let out = append(&mut stage, 4, 2, vec![found(4, false)]);
    assert_eq!(tasks(&granted(&out, session)), [5]);
    assert!(!out.records.iter().all(Record::lets_grants_pass));
    let out = append(&mut stage, 6, 1, Vec::new());
    assert!(out.records.iter().all(Record::lets_grants_pass));
}

/// Lost with its coordinator, it is another task when it is added again: one that may be known by then.
#[test]
fn what_was_early_and_lost_may_be_known_when_it_is_added_again() {
    for state in [HeldState::Waiting, HeldState::Running, HeldState::Finished] {
        let (mut stage, session) = four_ended();
        let durable = stage.log.len();
        let claims = granted(&append(&mut stage, 4, 1, Vec::new()), session);
        let early = early(&stage, session, claims[0]).unwrap();
        stage.log.truncate(durable);
        stage.restart();
        let mut back = hello("w", 1);
        back.held = vec![held(early, state)];
        let (session, out) = stage.join_as(back);
        assert_eq!(refused(&out), [early.lease]);
        let out = append(&mut stage, 4, 1, vec![found(4, false)]);
        let ends = task_ends(&out);
        assert!(
            matches!(ends[..], [(TaskId(4), TaskEnd::Cached { .. })]),
            "{ends:?}"
        );
        assert_eq!(all_granted(&out), []);
        assert_eq!(task_ends(&stage.end(session, &[early])), []);
        assert_eq!(stage.scheduler.job(job(1)).unwrap().ended, 5);
        assert_eq!(stage.scheduler.counters().foreign_leases, 0);
        let before = stage.scheduler.durable();
        stage.restart();
        assert_eq!(stage.scheduler.durable(), before);
    }
}
