//! Cases of failure, named after the list in `docs/faults.md`.

use ppwasm_proto::fabric::{
    Claim, GiveBackReason, HeldState, Incarnation, LeaseId, LeaseToken, OutcomeKind, SessionId,
};
use ppwasm_scheduler::{
    CloseReason, Command, DrainReason, Event, Explanation, Leaving, Micros, Outbox, Record,
    Scheduler, TaskEnd,
};

use crate::stage::{
    Stage, all_granted, attempt, ended, granted, held, hello, job, lost, task_ends, tasks, worker,
};

fn one_running() -> (Stage, SessionId, Claim) {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 1);
    let out = stage.submit(job(1), "ann", 1);
    let claim = granted(&out, session)[0];
    (stage, session, claim)
}

fn acknowledged(out: &Outbox) -> Vec<LeaseId> {
    let leases = out.commands.iter().filter_map(|command| match command {
        Command::Acknowledge { leases, .. } => Some(leases.clone()),
        _ => None,
    });
    leases.flatten().collect()
}

#[test]
fn case_02_a_result_that_comes_again_is_acknowledged_and_recorded_once() {
    let (mut stage, session, claim) = one_running();
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
    // The worker comes back in another session and has not seen the acknowledgement.
    stage.leave(session, Leaving::Lost);
    let mut again = hello("w", 1);
    again.held = vec![held(claim, HeldState::Finished)];
    let (session, out) = stage.join_as(again);
    let welcome = |command: &Command| matches!(command, Command::Welcome { refused, .. } if *refused == [claim.lease]);
    assert!(out.commands.iter().any(welcome), "{out:?}");
    let out = stage.end_as(session, &[claim], OutcomeKind::Raised);
    assert_eq!(out.records, []);
    assert_eq!(acknowledged(&out), [claim.lease]);
}

#[test]
fn case_05_after_a_restart_workers_claim_what_they_run_and_nothing_runs_twice() {
    let mut stage = Stage::new();
    let (a, _) = stage.join("a", 2);
    let (b, _) = stage.join("b", 2);
    let out = stage.submit(job(1), "ann", 100);
    let of_a = granted(&out, a);
    let of_b = granted(&out, b);
    assert!(of_a.len() >= 2 && of_b.len() >= 2, "{of_a:?} {of_b:?}");

    stage.restart();
    assert_eq!(stage.scheduler.job(job(1)).unwrap().leased, 0);
    let mut back = hello("a", 2);
    back.held = vec![
        held(of_a[0], HeldState::Running),
        held(of_a[1], HeldState::Finished),
    ];
    let (a, out) = stage.join_as(back);
    // What was never released is given out at once; what may be with b is not.
    for (_, claim) in all_granted(&out) {
        assert!(!tasks(&of_a).contains(&claim.identity.task.0));
        assert!(!tasks(&of_b).contains(&claim.identity.task.0));
    }
    let task = of_b[0].identity.task;
    let explained = stage.scheduler.explain(job(1), task);
    let Explanation::WaitsForWorkersToComeBack { awaited, .. } = explained else {
        panic!("{explained:?}")
    };
    assert_eq!(awaited, [worker("b")]);

    let out = stage.end(a, &of_a[1..2]);
    assert_eq!(out.records[0], ended(job(1), &of_a[1], "a"));
    let mut back = hello("b", 2);
    back.held = of_b
        .iter()
        .map(|claim| held(*claim, HeldState::Running))
        .collect();
    let (b, _) = stage.join_as(back);
    let out = stage.end(b, &of_b);
    assert_eq!(task_ends(&out).len(), of_b.len());
    assert_eq!(stage.scheduler.counters().lost, 0);
}

#[test]
fn case_05_a_worker_that_stays_away_after_a_restart_is_not_waited_for_longer_than_the_grace() {
    let (mut stage, _, claim) = one_running();
    stage.restart();
    let (other, out) = stage.join("other", 1);
    assert_eq!(all_granted(&out), []);
    let grace = stage.config.restart_grace;
    let out = stage.wait(Micros(grace.0 - 1));
    assert_eq!(all_granted(&out), []);
    let out = stage.wait(Micros(1));
    assert!(out.records.contains(&Record::WorkerGone {
        worker: worker("w")
    }));
    let again = granted(&out, other);
    assert_eq!(tasks(&again), [0]);
    assert!(again[0].attempt > claim.attempt && again[0].lease > claim.lease);
    assert_eq!(again[0].attempt, attempt(stage.epoch, 1));
}

#[test]
fn case_06_a_crash_during_recovery_changes_nothing() {
    let (mut stage, _, _) = one_running();
    stage.restart();
    let once = stage.scheduler.durable();
    for _ in 0..3 {
        stage.restart();
        assert_eq!(stage.scheduler.durable(), once);
    }
}

#[test]
fn case_09_a_coordinator_that_was_stopped_takes_no_lease_for_expired() {
    let (mut stage, session, claim) = one_running();
    // Sixty seconds without a step: the reports wait in the sockets.
    stage.now = stage.now + Micros::from_secs(60);
    let out = stage.report(session, &[claim.lease]);
    let [Command::Renew { refused, .. }] = &out.commands[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (out.records.as_slice(), refused.as_slice()),
        (&[][..], &[][..])
    );
    assert_eq!(stage.scheduler.counters().pauses, 1);
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
}

#[test]
fn case_09_sessions_that_broke_while_it_was_stopped_are_waited_for_as_after_a_restart() {
    let (mut stage, session, claim) = one_running();
    stage.now = stage.now + Micros::from_secs(60);
    stage.leave(session, Leaving::Lost);
    assert_eq!(stage.scheduler.counters().pauses, 1);
    let out = stage.wait(Micros(stage.config.restart_grace.0 - 1));
    assert_eq!(out.records, []);
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Running)];
    let (session, _) = stage.join_as(back);
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
}

#[test]
fn case_10_worker_stopped_beyond_its_lease() {
    let (mut stage, session, claim) = one_running();
    let (other, _) = stage.join("other", 1);
    let out = stage.wait(Micros::from_secs(31));
    assert!(out.records.contains(&lost(job(1), &claim, "w", false)));
    let again = granted(&out, other);
    assert_eq!(tasks(&again), [0]);
    // The stopped one goes on and has a result: the first one wins, whose lease it is.
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
    let cancel = Command::Cancel {
        session: other,
        leases: vec![again[0].lease],
    };
    assert!(out.commands.contains(&cancel), "{out:?}");
    let out = stage.end(other, &again);
    assert_eq!(out.records, []);
    assert_eq!(acknowledged(&out), [again[0].lease]);
}

#[test]
fn case_13_an_orderly_stop_counts_against_nobody() {
    let mut stage = Stage::new();
    for round in 0..20 {
        let (session, _) = stage.join_as(Stage::incarnation("w", round));
        if round == 0 {
            stage.submit(job(1), "ann", 1);
        }
        assert_eq!(stage.scheduler.job(job(1)).unwrap().leased, 1);
        let out = stage.leave(session, Leaving::Orderly);
        assert_eq!(
            out.records,
            [Record::WorkerGone {
                worker: worker("w")
            }]
        );
    }
    assert_eq!(stage.scheduler.counters().lost, 0);
}

/// Cases 8 and 20: a step that may not be durable was not acted on; the restart is from what is.
#[test]
fn case_20_what_is_not_durable_is_done_again() {
    let (mut stage, session, claim) = one_running();
    let durable = stage.log.len();
    stage.end(session, &[claim]);
    let recorded = stage.log.split_off(durable);
    assert_eq!(recorded[0], ended(job(1), &claim, "w"));
    stage.restart();
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Finished)];
    let (session, _) = stage.join_as(back);
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records, recorded);
    // And when it was durable after all, it is not recorded again.
    stage.restart();
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Finished)];
    let (session, _) = stage.join_as(back);
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records, []);
    assert_eq!(acknowledged(&out), [claim.lease]);
}

#[test]
fn case_23_a_partition_shorter_than_the_grace_runs_nothing_twice() {
    let (mut stage, session, claim) = one_running();
    let (other, _) = stage.join("other", 1);
    stage.leave(session, Leaving::Lost);
    let out = stage.wait(Micros(stage.config.reconnect_grace.0 - 1));
    assert_eq!(all_granted(&out), []);
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Running)];
    let (session, out) = stage.join_as(back);
    assert_eq!(
        (out.records.as_slice(), all_granted(&out).len()),
        (&[][..], 0)
    );
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
    assert_eq!(granted(&out, other), []);
}

#[test]
fn case_23_a_longer_partition_runs_it_elsewhere_and_is_forgiven_when_it_ends() {
    let (mut stage, session, claim) = one_running();
    stage.leave(session, Leaving::Lost);
    let out = stage.wait(stage.config.reconnect_grace);
    let gone = Record::WorkerGone {
        worker: worker("w"),
    };
    assert_eq!(out.records, [lost(job(1), &claim, "w", true), gone]);
    let (other, _) = stage.join("other", 1);
    let out = stage.wait(Micros::from_secs(1));
    let again = granted(&out, other);
    assert_eq!(tasks(&again), [0]);
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Running)];
    let (session, out) = stage.join_as(back);
    let found = Record::AttemptFound {
        job: job(1),
        task: claim.identity.task,
        attempt: claim.attempt,
    };
    assert!(out.records.contains(&found), "{out:?}");
    // Both run; the first outcome counts.
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
}

/// Case 24 is the worker's: see its agent. Here: what it gives back because its lease has ended counts against nobody.
#[test]
fn case_24_a_worker_that_fenced_itself_is_not_to_blame() {
    let (mut stage, session, claim) = one_running();
    let out = stage.give_back(session, &[claim], GiveBackReason::LeaseEnded);
    assert_eq!(out.records, []);
    assert_eq!(tasks(&granted(&out, session)), [0]);
}

#[test]
fn case_25_a_flapping_link_does_not_use_up_attempts() {
    let (mut stage, mut session, claim) = one_running();
    for _ in 0..50 {
        stage.leave(session, Leaving::Lost);
        stage.wait(Micros::from_millis(1500));
        let mut back = hello("w", 1);
        back.held = vec![held(claim, HeldState::Running)];
        let (next, out) = stage.join_as(back);
        assert_eq!(all_granted(&out), []);
        session = next;
        stage.wait(Micros::from_millis(1500));
    }
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
    assert_eq!(stage.scheduler.counters().lost, 0);
}

#[test]
fn case_31_a_doubled_result_is_one_result() {
    let (mut stage, session, claim) = one_running();
    let out = stage.end(session, &[claim, claim, claim]);
    assert_eq!(task_ends(&out).len(), 1);
    assert_eq!(stage.end(session, &[claim]).records, []);
    assert_eq!(stage.scheduler.counters().late_outcomes, 3);
}

#[test]
fn case_40_absurd_numbers_are_limited() {
    let mut stage = Stage::new();
    let mut absurd = hello("w", u32::MAX);
    absurd.credit = u32::MAX;
    let (session, _) = stage.join_as(absurd);
    stage.submit(job(1), "ann", 1_000_000);
    let view = &stage.scheduler.workers()[0];
    assert_eq!(view.slots, ppwasm_scheduler::SLOTS_MAX);
    stage.happens(Event::SlotsSet {
        session,
        slots: 0,
        credit: 0,
    });
    assert_eq!(stage.scheduler.workers()[0].slots, 0);
    stage.happens(Event::SlotsSet {
        session: SessionId(99),
        slots: 1,
        credit: 1,
    });
    stage.report(session, &[LeaseId(u64::MAX), LeaseId(0)]);
    let mut claim = Claim {
        lease: LeaseId(u64::MAX),
        identity: ppwasm_proto::TaskIdentity::new(job(1), ppwasm_proto::TaskId(u64::MAX)),
        attempt: ppwasm_proto::Attempt(u32::MAX),
        token: LeaseToken::from_bytes([0; 16]),
    };
    assert_eq!(stage.end(session, &[claim]).records, []);
    claim.identity.job = job(77);
    assert_eq!(stage.end(session, &[claim]).records, []);
}

#[test]
fn case_49_the_result_of_another_worker_is_refused() {
    let (mut stage, session, claim) = one_running();
    let (liar, _) = stage.join("liar", 1);
    // With the token that it has overheard, which is for the other.
    assert_eq!(stage.end(liar, &[claim]).records, []);
    assert_eq!(
        stage
            .give_back(liar, &[claim], GiveBackReason::SlotDied)
            .records,
        []
    );
    assert_eq!(stage.report(liar, &[claim.lease]).records, []);
    assert_eq!(stage.scheduler.counters().foreign_leases, 1);
    // And also when the coordinator has no memory of its own.
    stage.restart();
    let mut claiming = hello("liar", 1);
    claiming.held = vec![held(claim, HeldState::Running)];
    let (liar, _) = stage.join_as(claiming);
    assert_eq!(stage.end(liar, &[claim]).records, []);
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Running)];
    let (_, _) = stage.join_as(back);
    let (session, _) = (SessionId(session.0 + 3), ());
    let out = stage.end(session, &[claim]);
    assert_eq!(
        out.records,
        [
            ended(job(1), &claim, "w"),
            Record::JobEnded {
                job: job(1),
                how: ppwasm_scheduler::JobEnd::Finished,
            }
        ]
    );
}

#[test]
fn case_50_of_two_sessions_of_one_worker_the_newest_wins() {
    let (mut stage, first, claim) = one_running();
    let mut clone = hello("w", 1);
    clone.incarnation = Incarnation(2);
    let (second, out) = stage.join_as(clone);
    let close = Command::CloseSession {
        session: first,
        why: CloseReason::Replaced,
    };
    assert_eq!(out.commands[0], close);
    assert!(out.records.contains(&lost(job(1), &claim, "w", true)));
    // What the first still says is nobody's.
    assert_eq!(stage.end(first, &[claim]), Outbox::default());
    assert_eq!(stage.scheduler.counters().stale_sessions, 1);
    // And a session that is older than the newest is not taken.
    let late = Event::WorkerJoined {
        session: SessionId(0),
        hello: Box::new(hello("w", 1)),
    };
    let out = stage.happens(late);
    assert_eq!(
        out.commands,
        [Command::CloseSession {
            session: SessionId(0),
            why: CloseReason::Replaced
        }]
    );
    let out = stage.wait(Micros::from_secs(1));
    assert_eq!(tasks(&granted(&out, second)), [0]);
}

#[test]
fn case_31_a_hello_that_comes_twice_is_one_session() {
    let (mut stage, session, claim) = one_running();
    let again = Event::WorkerJoined {
        session,
        hello: Box::new(hello("w", 1)),
    };
    assert_eq!(stage.happens(again), Outbox::default());
    let out = stage.end(session, &[claim]);
    assert_eq!(out.records[0], ended(job(1), &claim, "w"));
}

#[test]
fn what_was_taken_over_after_a_restart_does_not_measure_its_worker() {
    let (mut stage, _, claim) = one_running();
    stage.now = stage.now + Micros::from_secs(20);
    stage.restart();
    let mut back = hello("w", 1);
    back.held = vec![held(claim, HeldState::Running)];
    let (session, _) = stage.join_as(back);
    stage.now = stage.now + Micros::from_millis(1);
    stage.end(session, &[claim]);
    let view = &stage.scheduler.workers()[0];
    assert_eq!((view.speed_percent, view.run_time), (100, None));
    assert_eq!(stage.scheduler.job(job(1)).unwrap().run_time, None);
}

#[test]
fn case_51_a_revoked_worker_is_out_at_once_and_for_good() {
    let (mut stage, session, claim) = one_running();
    let (other, _) = stage.join("other", 1);
    let out = stage.happens(Event::WorkerRevoked {
        worker: worker("w"),
    });
    assert_eq!(
        out.commands[0],
        Command::CloseSession {
            session,
            why: CloseReason::Revoked
        }
    );
    assert_eq!(tasks(&granted(&out, other)), [0]);
    assert_eq!(stage.end(session, &[claim]).records, []);
    stage.restart();
    let (again, out) = stage.join("w", 1);
    assert_eq!(
        out.commands,
        [Command::CloseSession {
            session: again,
            why: CloseReason::Revoked
        }]
    );
}

/// A task that kills every worker it runs on, beside one that does not.
#[test]
fn case_72_a_task_that_takes_workers_down_is_quarantined_and_its_neighbour_is_not() {
    let mut stage = Stage::new();
    let (mut session, _) = stage.join_as(Stage::incarnation("w", 0));
    let happens = stage.happens(Event::SlotsSet {
        session,
        slots: 2,
        credit: 4,
    });
    assert_eq!(happens.records, []);
    let out = stage.submit(job(1), "ann", 2);
    let mut all = all_granted(&out);
    let mut ends = Vec::new();
    for life in 1..12 {
        let poison = all.iter().find(|(_, claim)| claim.identity.task.0 == 0);
        let good: Vec<_> = all
            .iter()
            .filter(|(_, claim)| claim.identity.task.0 == 1)
            .collect();
        if poison.is_some() {
            stage.leave(session, Leaving::Lost);
            let out = stage.wait(stage.config.reconnect_grace);
            ends.extend(task_ends(&out));
            let mut back = Stage::incarnation("w", life);
            (back.slots, back.credit) = (2, 4);
            session = stage.join_as(back).0;
        } else if let [(session, claim)] = good[..] {
            let out = stage.end(*session, &[*claim]);
            ends.extend(task_ends(&out));
            all = all_granted(&out);
            continue;
        }
        all.clear();
        let out = stage.wait(Micros::from_secs(3));
        ends.extend(task_ends(&out));
        all.extend(all_granted(&out));
        if stage.scheduler.open_tasks() == 0 {
            break;
        }
    }
    assert_eq!(ends.len(), 2, "{ends:?}");
    let of = |task| &ends.iter().find(|(id, _)| id.0 == task).unwrap().1;
    assert_eq!(*of(0), TaskEnd::Quarantined);
    assert!(matches!(
        of(1),
        TaskEnd::Outcome {
            outcome: OutcomeKind::Succeeded,
            ..
        }
    ));
}

#[test]
fn a_suspect_runs_while_nothing_else_does() {
    let mut stage = Stage::with(|config| config.suspicions_alone = 1);
    let (session, _) = stage.join("w", 1);
    stage.submit(job(1), "ann", 1);
    stage.leave(session, Leaving::Lost);
    stage.wait(Micros::from_secs(3));
    let (other, out) = stage.join("other", 4);
    let grant = out.commands.iter().find_map(|command| match command {
        Command::Grant { leases, .. } => Some(leases.clone()),
        _ => None,
    });
    let grant = grant.unwrap();
    assert!(grant.len() == 1 && grant[0].alone);
    let out = stage.submit(job(2), "ann", 5);
    assert_eq!(all_granted(&out), []);
    let out = stage.end(other, &[grant[0].claim]);
    assert!(granted(&out, other).len() >= 4);
}

#[test]
fn a_suspect_waits_for_no_worker_that_does_not_answer() {
    let mut stage = Stage::with(|config| config.suspicions_alone = 1);
    let (mute, _) = stage.join("mute", 1);
    let out = stage.submit(job(2), "ann", 1);
    assert_eq!(tasks(&granted(&out, mute)), [0]);
    let (session, _) = stage.join("w", 1);
    let out = stage.submit(job(1), "ann", 1);
    assert_eq!(tasks(&granted(&out, session)), [0]);
    stage.leave(session, Leaving::Lost);
    // It shall run alone where something still runs: there is no other worker. Then there is one, too late.
    stage.wait(Micros::from_secs(3));
    let (other, out) = stage.join("other", 1);
    assert_eq!(all_granted(&out), []);
    assert_eq!(all_granted(&stage.wait(Micros::from_secs(20))), []);
    // What the first one holds has run out, and it says nothing. Its session is there all the time.
    let out = stage.wait(Micros::from_secs(10));
    let claims = granted(&out, other);
    assert_eq!(tasks(&claims), [0]);
    assert_eq!(claims[0].identity.job, job(1));
    let out = stage.end(other, &claims);
    assert_eq!(task_ends(&out).len(), 1);
    // And so it goes on.
    assert_eq!(granted(&out, other)[0].identity.job, job(2));
}

#[test]
fn case_81_a_worker_that_fails_everything_at_once_is_drained_and_the_queue_is_not_eaten() {
    let mut stage = Stage::new();
    let (bad, _) = stage.join("bad", 4);
    let (good, _) = stage.join("good", 1);
    let mut outs = vec![stage.submit(job(1), "ann", 60)];
    let mut failed = 0;
    let mut is_drained = false;
    for _ in 0..2000 {
        let all: Vec<_> = outs.drain(..).flat_map(|out| all_granted(&out)).collect();
        for (session, claim) in all {
            if session == bad {
                failed += 1;
                outs.push(stage.give_back(bad, &[claim], GiveBackReason::HostFailed));
            } else {
                stage.now = stage.now + Micros::from_millis(50);
                outs.push(stage.end(good, &[claim]));
            }
        }
        outs.push(stage.wait(Micros::from_millis(10)));
        let drained = Record::WorkerDrained {
            worker: worker("bad"),
            why: DrainReason::FailsTasks,
        };
        is_drained |= outs.iter().any(|out| out.records.contains(&drained));
        let abandoned = outs.iter().flat_map(task_ends);
        assert!(
            !abandoned
                .into_iter()
                .any(|(_, end)| end == TaskEnd::Abandoned)
        );
        if stage.scheduler.open_tasks() == 0 {
            break;
        }
    }
    assert_eq!(stage.scheduler.open_tasks(), 0);
    assert!(is_drained);
    assert!(failed <= 20, "{failed} failures");
}

#[test]
fn case_82_a_straggler_is_given_to_another_worker_and_the_loser_is_cancelled() {
    let mut stage = Stage::with(|config| config.second_attempts = true);
    let (a, _) = stage.join("a", 2);
    let out = stage.submit(job(1), "ann", 8);
    let mut claims = granted(&out, a);
    let straggler = claims.remove(0);
    while stage.scheduler.open_tasks() > 1 {
        stage.now = stage.now + Micros::from_millis(10);
        let out = stage.end(a, &claims);
        claims = granted(&out, a);
    }
    let (b, out) = stage.join("b", 1);
    assert_eq!(all_granted(&out), []);
    let out = stage.wait(Micros::from_millis(2500));
    let second = granted(&out, b);
    assert_eq!(tasks(&second), [straggler.identity.task.0]);
    assert!(second[0].attempt > straggler.attempt);
    let out = stage.end(b, &second);
    assert_eq!(task_ends(&out).len(), 1);
    assert!(out.commands.contains(&Command::Cancel {
        session: a,
        leases: vec![straggler.lease]
    }));
    assert_eq!(stage.end(a, &[straggler]).records, []);
}

#[test]
fn case_82_it_is_off_by_default_and_for_jobs_that_are_not_deterministic() {
    for (is_on, is_deterministic) in [(false, true), (true, false)] {
        let mut stage = Stage::with(|config| config.second_attempts = is_on);
        let (a, _) = stage.join("a", 1);
        let mut spec = crate::stage::spec("ann");
        spec.is_deterministic = is_deterministic;
        let out = stage.submit_spec(job(1), spec, 5);
        let mut claims = granted(&out, a);
        while stage.scheduler.open_tasks() > 1 {
            stage.now = stage.now + Micros::from_millis(10);
            let out = stage.end(a, &claims);
            claims = granted(&out, a);
        }
        let (_, out) = stage.join("b", 1);
        assert_eq!(all_granted(&out), []);
        assert_eq!(all_granted(&stage.wait(Micros::from_secs(20))), []);
    }
}

/// Case 84: a worker says that its tasks take no time, and delivers no faster than others.
#[test]
fn case_84_speed_is_what_is_delivered_and_not_what_is_said() {
    let mut stage = Stage::new();
    let (liar, _) = stage.join("liar", 1);
    let (honest, _) = stage.join("honest", 1);
    let mut all = all_granted(&stage.submit(job(1), "ann", 400));
    for _ in 0..60 {
        stage.now = stage.now + Micros::from_millis(100);
        for session in [liar, honest] {
            let Some(first) = all.iter().position(|(of, _)| *of == session) else {
                continue;
            };
            let run_time = if session == liar {
                Micros(1)
            } else {
                Micros::from_millis(100)
            };
            let ended = ppwasm_scheduler::Ended {
                claim: all.remove(first).1,
                outcome: OutcomeKind::Succeeded,
                run_time,
                outcome_bytes: 0,
                digest: ppwasm_proto::Digest::from_bytes([0; 32]),
            };
            let ended = vec![ended];
            all.extend(all_granted(
                &stage.happens(Event::LeasesEnded { session, ended }),
            ));
        }
        let hoarded = all.iter().filter(|(of, _)| *of == liar).count();
        assert!(hoarded <= 10, "hoards {hoarded}");
    }
    let view = stage.scheduler.workers();
    let named = |name| {
        view.iter()
            .find(|view| view.worker == worker(name))
            .unwrap()
    };
    let speeds = (named("liar").speed_percent, named("honest").speed_percent);
    assert!(speeds.0 <= speeds.1 * 6, "{speeds:?}");
}

/// Two workers of which one takes `times` as long, after a first task that began cold.
fn speeds_after_a_cold_start(names: &[&str], times: u64) -> Vec<u64> {
    let mut stage = Stage::new();
    let sessions: Vec<_> = names.iter().map(|name| stage.join(name, 1).0).collect();
    let mut all = all_granted(&stage.submit(job(1), "ann", 600));
    for round in 0..200 {
        let base = if round == 0 { 2_000 } else { 10 };
        stage.now = stage.now + Micros::from_millis(base * times);
        for (index, session) in sessions.iter().enumerate() {
            let Some(first) = all.iter().position(|(of, _)| of == session) else {
                continue;
            };
            let run_time = Micros::from_millis(if index == 0 { base } else { base * times });
            let ended = vec![ppwasm_scheduler::Ended {
                claim: all.remove(first).1,
                outcome: OutcomeKind::Succeeded,
                run_time,
                outcome_bytes: 0,
                digest: ppwasm_proto::Digest::from_bytes([0; 32]),
            }];
            let session = *session;
            all.extend(all_granted(
                &stage.happens(Event::LeasesEnded { session, ended }),
            ));
        }
    }
    let views = stage.scheduler.workers();
    views.iter().map(|view| view.speed_percent).collect()
}

#[test]
fn speeds_are_relative_to_each_other_however_a_job_began() {
    assert_eq!(speeds_after_a_cold_start(&["a"], 1), [100]);
    let alike = speeds_after_a_cold_start(&["a", "b"], 1);
    assert!(
        alike.iter().all(|speed| (90..=110).contains(speed)),
        "{alike:?}"
    );
    let [fast, slow] = speeds_after_a_cold_start(&["a", "b"], 3)[..] else {
        panic!("two workers");
    };
    assert!((198..=200).contains(&(fast + slow)), "{fast} {slow}");
    assert!(fast > slow * 3 / 2, "{fast} {slow}");
}

#[test]
fn case_88_an_attempt_never_repeats_over_restarts() {
    let mut stage = Stage::new();
    let mut last = None;
    stage.submit(job(1), "ann", 1);
    for round in 0..30 {
        let (session, out) = stage.join_as(Stage::incarnation("w", round));
        let mut claims = granted(&out, session);
        claims.extend(granted(&stage.wait(Micros::from_secs(1)), session));
        for claim in &claims {
            assert!(
                last < Some((claim.lease, claim.attempt)),
                "{claim:?} after {last:?}"
            );
            last = Some((claim.lease, claim.attempt));
        }
        assert!(!claims.is_empty());
        stage.leave(session, Leaving::Orderly);
        stage.restart();
    }
}

#[test]
fn python_exceptions_traps_and_limits_are_never_tried_again() {
    for outcome in [
        OutcomeKind::Raised,
        OutcomeKind::Trapped,
        OutcomeKind::LimitExceeded,
    ] {
        let (mut stage, session, claim) = one_running();
        let out = stage.end_as(session, &[claim], outcome);
        assert_eq!(task_ends(&out).len(), 1);
        assert_eq!(all_granted(&stage.wait(Micros::from_secs(100))), []);
        assert_eq!(stage.scheduler.open_tasks(), 0);
    }
}

#[test]
fn a_task_is_abandoned_at_its_limit_of_lost_attempts_and_not_before() {
    let mut stage = Stage::new();
    let (session, _) = stage.join("w", 1);
    let mut spec = crate::stage::spec("ann");
    spec.attempts_max = 4;
    let out = stage.submit_spec(job(1), spec, 1);
    let mut claims = granted(&out, session);
    let mut pauses = Vec::new();
    for loss in 1..=4 {
        let from = stage.now;
        let out = stage.give_back(session, &claims, GiveBackReason::HostFailed);
        assert_eq!(out.records[0], lost(job(1), &claims[0], "w", false));
        if loss == 4 {
            assert_eq!(
                task_ends(&out),
                [(claims[0].identity.task, TaskEnd::Abandoned)]
            );
            break;
        }
        assert_eq!(task_ends(&out), []);
        claims.clear();
        while claims.is_empty() {
            claims = granted(&stage.wait(Micros::from_millis(10)), session);
        }
        pauses.push(stage.now.since(from).0);
    }
    assert!(
        pauses.is_sorted() && pauses[0] >= 100_000 && pauses[2] >= 400_000,
        "{pauses:?}"
    );
}

#[test]
fn a_task_that_failed_at_one_worker_is_tried_at_another() {
    let mut stage = Stage::new();
    let (a, _) = stage.join("a", 1);
    let out = stage.submit(job(1), "ann", 1);
    let claims = granted(&out, a);
    let (b, _) = stage.join("b", 1);
    stage.give_back(a, &claims, GiveBackReason::HostFailed);
    let out = stage.wait(Micros::from_secs(1));
    assert_eq!(tasks(&granted(&out, b)), [0]);
}

#[test]
fn drained_workers_stay_drained_over_a_restart_until_they_are_undrained() {
    let (mut stage, session, claim) = one_running();
    let request = stage.request();
    let out = stage.happens(Event::DrainRequested {
        request,
        worker: worker("w"),
    });
    let why = DrainReason::Requested;
    assert_eq!(
        out.records,
        [Record::WorkerDrained {
            worker: worker("w"),
            why
        }]
    );
    stage.submit(job(2), "ann", 1);
    let out = stage.end(session, &[claim]);
    assert_eq!(all_granted(&out), []);
    stage.restart();
    let (session, out) = stage.join("w", 1);
    assert_eq!(all_granted(&out), []);
    let out = stage.happens(Event::UndrainRequested {
        request,
        worker: worker("w"),
    });
    assert_eq!(tasks(&granted(&out, session)), [0]);
    let unknown = worker("nobody");
    let out = stage.happens(Event::DrainRequested {
        request,
        worker: unknown,
    });
    assert!(matches!(out.commands[..], [Command::Refuse { .. }]));
}

#[test]
fn records_that_contradict_each_other_are_refused_with_their_number() {
    let (stage, _, claim) = one_running();
    let mut log = stage.log.clone();
    log.push(ended(job(1), &claim, "w"));
    log.push(ended(job(1), &claim, "w"));
    let out = &mut Outbox::default();
    let error = Scheduler::restore(
        stage.config.clone(),
        stage.epoch,
        stage.now,
        log.clone(),
        out,
    );
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(error.number, log.len() as u64 - 1);
    assert_eq!(
        error.to_string(),
        format!(
            "record {} contradicts those before it: the task has ended",
            log.len() - 1
        )
    );
}
