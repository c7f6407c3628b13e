//! Leases that go out before what they are for is durable.

use ppwasm_proto::fabric::{Claim, HeldState, LeaseId, SessionId};
use ppwasm_scheduler::{Command, Lease, Leaving, Micros, Outbox};

use crate::stage::{Stage, all_granted, ended, granted, held, hello, job, task_ends, tasks};

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
        let out = stage.end_after(session, claim, Micros::from_secs(2));
        claims.extend(granted(&out, session));
    }
    assert_eq!(early(&stage, session, claims[0]), None);
    // Nobody is there, or nothing is given.
    assert_eq!(early(&stage, SessionId(99), claims[0]), None);
    assert!(!stage.scheduler.make_early(session, &mut []));
}
