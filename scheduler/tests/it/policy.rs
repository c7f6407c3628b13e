//! Who gets what, and when.

use std::collections::{BTreeMap, VecDeque};

use ppwasm_proto::fabric::{GiveBackReason, Priority, SessionId};
use ppwasm_proto::{Digest, TaskId};
use ppwasm_scheduler::{
    Candidate, Claim, Command, Event, Explanation, Leaving, Micros, Obstacle, Outbox,
};

use crate::stage::{
    Stage, all_granted, client, function, granted, hello, job, spec, tasks, worker,
};

fn taken_back(out: &Outbox) -> Vec<(SessionId, usize)> {
    let taken = out.commands.iter().filter_map(|command| match command {
        Command::TakeBack { session, leases } => Some((*session, leases.len())),
        _ => None,
    });
    taken.collect()
}

#[test]
fn free_slots_come_first_and_what_waits_is_no_more_than_a_part_of_what_is_left() {
    let mut stage = Stage::new();
    let sessions: Vec<_> = (0..4).map(|n| stage.join(&format!("w{n}"), 2).0).collect();
    let out = stage.submit(job(1), "ann", 8);
    for session in &sessions {
        assert_eq!(granted(&out, *session).len(), 2);
    }
    let out = stage.submit(job(2), "ann", 1000);
    let ahead: Vec<_> = sessions
        .iter()
        .map(|session| granted(&out, *session).len())
        .collect();
    // Unknown run time: a guess of 100 ms, so that one lease covers the round trip.
    assert_eq!(ahead, [1; 4]);
}

#[test]
fn short_tasks_are_granted_far_ahead_and_long_ones_are_not() {
    let (short, long) = (Micros(100), Micros::from_secs(10));
    // The last one says that its tasks are short, and they are not.
    for (run_time, said, ahead) in [
        (short, short, 50..=70),
        (long, long, 1..=1),
        (long, short, 1..=1),
    ] {
        let mut stage = Stage::new();
        let (session, _) = stage.join("w", 1);
        let out = stage.submit(job(1), "ann", 10_000);
        let mut claims = granted(&out, session);
        for _ in 0..60 {
            let claim = claims.remove(0);
            stage.now = stage.now + run_time;
            let ended = ppwasm_scheduler::Ended {
                claim,
                outcome: ppwasm_proto::fabric::OutcomeKind::Succeeded,
                run_time: said,
                outcome_bytes: 0,
                digest: Digest::from_bytes([0; 32]),
            };
            let out = stage.happens(Event::LeasesEnded {
                session,
                ended: vec![ended],
            });
            claims.extend(granted(&out, session));
        }
        let waiting = claims.len() - 1;
        assert!(ahead.contains(&waiting), "{run_time:?}: {waiting}");
    }
}

#[test]
fn what_the_coordinator_does_for_others_is_not_taken_for_run_time() {
    for (others_work, ahead) in [(true, 50..=70), (false, 1..=6)] {
        let mut stage = Stage::new();
        let (session, _) = stage.join("w", 1);
        let (other, _) = stage.join("other", 1);
        let out = stage.submit(job(1), "ann", 100_000);
        let (mut claims, mut others) = (granted(&out, session), granted(&out, other));
        for _ in 0..30 {
            stage.now = stage.now + Micros::from_millis(20);
            if others_work {
                let out = stage.end_after(other, &std::mem::take(&mut others), Micros(100));
                others = granted(&out, other);
            }
            let claim = claims.remove(0);
            claims.extend(granted(
                &stage.end_after(session, &[claim], Micros(100)),
                session,
            ));
        }
        let waiting = claims.len() - 1;
        assert!(ahead.contains(&waiting), "{others_work}: {waiting}");
    }
}

#[test]
fn short_tasks_go_together_however_long_the_coordinator_takes_for_them() {
    let mut stage = Stage::new();
    let mut waiting = BTreeMap::<SessionId, VecDeque<Vec<Claim>>>::new();
    for number in 0..100 {
        let (session, _) = stage.join(&format!("w{number}"), 2);
        waiting.insert(session, VecDeque::new());
    }
    let take = |waiting: &mut BTreeMap<SessionId, VecDeque<Vec<Claim>>>, out: &Outbox| {
        for (session, of) in waiting {
            let claims = granted(out, *session);
            if !claims.is_empty() {
                of.push_back(claims);
            }
        }
    };
    let request = stage.request();
    let (job, spec) = (job(1), Box::new(spec("ann")));
    stage.happens(Event::JobSubmitted { request, job, spec });
    let function = function();
    stage.happens(Event::ImageReady { function, bytes: 1 });
    let mut first = 0;
    let (mut messages, mut ended) = (0, 0);
    while ended < 100_000 {
        let sessions: Vec<_> = waiting.keys().copied().collect();
        for session in sessions {
            // The client keeps as many queued as it may.
            while first < ended + 8192 {
                let append = Event::TasksAppended {
                    request,
                    client: client("ann"),
                    job,
                    first,
                    count: 512,
                    found: Vec::new(),
                };
                take(&mut waiting, &stage.happens(append));
                first += 512;
            }
            let Some(claims) = waiting.get_mut(&session).and_then(VecDeque::pop_front) else {
                continue;
            };
            // They ran long ago: this is what the coordinator takes for others and for these.
            stage.now = stage.now + Micros(20 * claims.len() as u64 + 100);
            let out = stage.end_after(session, &claims, Micros(10));
            take(&mut waiting, &out);
            ended += claims.len() as u64;
            messages += u64::from(ended > 50_000);
        }
    }
    assert!(messages < 50_000 / 16, "{messages} messages");
}

#[test]
fn a_credit_is_never_exceeded_and_slots_may_change() {
    let mut stage = Stage::new();
    let mut small = hello("w", 4);
    small.credit = 5;
    let (session, _) = stage.join_as(small);
    let out = stage.submit(job(1), "ann", 100);
    assert_eq!(granted(&out, session).len(), 5);
    let mut claims = granted(&out, session);
    let out = stage.happens(Event::SlotsSet {
        session,
        slots: 1,
        credit: 2,
    });
    assert_eq!(all_granted(&out), []);
    for left in (2..5).rev() {
        let out = stage.end(session, &[claims.remove(0)]);
        assert_eq!(all_granted(&out), [], "{left} leases are left");
    }
    let out = stage.end(session, &[claims.remove(0)]);
    assert_eq!(all_granted(&out).len(), 1);
    let out = stage.happens(Event::SlotsSet {
        session,
        slots: 8,
        credit: 8,
    });
    assert_eq!(all_granted(&out).len(), 6);
}

#[test]
fn a_higher_priority_goes_first_among_the_jobs_of_one_client_only() {
    let mut stage = Stage::new();
    let mut urgent = spec("ann");
    urgent.priority = Priority(5);
    stage.submit(job(1), "ann", 50);
    stage.submit_spec(job(2), urgent, 50);
    stage.submit(job(3), "bob", 50);
    let (session, mut out) = stage.join("w", 1);
    let mut order = Vec::new();
    while order.len() < 60 {
        let claims = granted(&out, session);
        order.extend(claims.iter().map(|claim| claim.identity.job));
        stage.now = stage.now + Micros::from_millis(10);
        out = Outbox::default();
        for claim in claims {
            out.commands.extend(stage.end(session, &[claim]).commands);
        }
    }
    let count = |number| order.iter().filter(|id| **id == job(number)).count();
    assert_eq!(count(1), 0);
    assert!(
        count(2).abs_diff(count(3)) <= 2,
        "{} and {}",
        count(2),
        count(3)
    );
}

/// Clients share by what their tasks take, not by how many there are, nor by when they came.
#[test]
fn case_73_clients_share_evenly_by_run_time() {
    let mut stage = Stage::new();
    let run_times = BTreeMap::from([(job(1), 10), (job(2), 40)]);
    stage.submit(job(1), "flood", 100_000);
    let (session, mut out) = stage.join("w", 1);
    let mut used = BTreeMap::new();
    let mut claims = Vec::new();
    for round in 0..700 {
        claims.extend(granted(&out, session));
        let claim = claims.remove(0);
        let millis = run_times[&claim.identity.job];
        *used.entry(claim.identity.job).or_insert(0) += millis;
        stage.now = stage.now + Micros::from_millis(millis);
        let ended = ppwasm_scheduler::Ended {
            claim,
            outcome: ppwasm_proto::fabric::OutcomeKind::Succeeded,
            run_time: Micros::from_millis(millis),
            outcome_bytes: 0,
            digest: Digest::from_bytes([0; 32]),
        };
        let ended = vec![ended];
        out = stage.happens(Event::LeasesEnded { session, ended });
        if round == 100 {
            used.clear();
            let more = stage.submit(job(2), "late", 1000);
            out.commands.extend(more.commands);
        }
    }
    let (flood, late): (u64, u64) = (used[&job(1)], used[&job(2)]);
    let ratio = flood.max(late) * 100 / flood.min(late);
    assert!(ratio <= 105, "{flood} ms and {late} ms");
}

#[test]
fn a_worker_with_the_image_is_preferred() {
    let mut stage = Stage::new();
    let names = ["a", "b", "c"];
    let mut holder = None;
    for name in names {
        let mut one = hello(name, 1);
        if name != "b" {
            one.images = vec![Digest::of(b"another")];
        }
        let (session, _) = stage.join_as(one);
        if name == "b" {
            holder = Some(session);
        }
    }
    let out = stage.submit(job(1), "ann", 1);
    assert_eq!(granted(&out, holder.unwrap()).len(), 1);
    let sent = |command: &Command| matches!(command, Command::SendImage { .. });
    assert!(!out.commands.iter().any(sent));
}

#[test]
fn what_waits_at_a_busy_worker_is_taken_back_for_an_idle_one() {
    let mut stage = Stage::with(|config| config.prefetch_cover = Micros::from_secs(1));
    let (busy, _) = stage.join("busy", 1);
    let out = stage.submit(job(1), "ann", 10);
    let claims = granted(&out, busy);
    assert_eq!(claims.len(), 2, "one runs and one waits");
    // The rest of the queue goes to others, who then are idle.
    let (idle, out) = stage.join("idle", 1);
    let mut rest = granted(&out, idle);
    let mut asked = Vec::new();
    while !rest.is_empty() {
        let out = stage.end(idle, &rest);
        asked.extend(taken_back(&out));
        rest = granted(&out, idle);
    }
    asked.extend(taken_back(&stage.wait(Micros::from_millis(100))));
    assert_eq!(asked, [(busy, 1)], "one free slot, one lease");
    let newest = *claims.last().unwrap();
    let out = stage.give_back(busy, &[newest], GiveBackReason::Cancelled);
    assert_eq!(tasks(&granted(&out, idle)), [newest.identity.task.0]);
    assert_eq!(stage.scheduler.counters().lost, 0);
}

#[test]
fn the_tail_is_kept_for_fast_workers() {
    // Only a lease that it already has waiting makes it another reason.
    let kept = (100..120).filter(|tasks| is_tail_kept(*tasks));
    assert!(kept.count() >= 12);
}

/// Whether a worker twenty times slower is told to be too slow for the last few tasks.
fn is_tail_kept(tasks: u64) -> bool {
    let mut stage = Stage::new();
    let (fast, _) = stage.join("fast", 1);
    let (slow, _) = stage.join("slow", 1);
    let mut all = all_granted(&stage.submit(job(1), "ann", tasks));
    let run_time = |session| if session == fast { 100 } else { 2000 };
    let mut slots: BTreeMap<SessionId, (u64, Claim)> = BTreeMap::new();
    loop {
        for session in [fast, slow] {
            let waiting = all.iter().position(|(of, _)| *of == session);
            if let (false, Some(waiting)) = (slots.contains_key(&session), waiting) {
                let ends = stage.now.0 + run_time(session) * 1000;
                slots.insert(session, (ends, all.remove(waiting).1));
            }
        }
        let explained = stage.scheduler.explain(job(1), TaskId(tasks - 1));
        if let Explanation::Queued { workers, ready, .. } = explained
            && ready <= 4
        {
            let of = |name| {
                let candidate = workers.iter().find(|of| of.worker == worker(name));
                candidate.map(|candidate: &Candidate| candidate.obstacle)
            };
            assert_ne!(of("fast"), Some(Some(Obstacle::TooSlow)), "{workers:?}");
            return of("slow") == Some(Some(Obstacle::TooSlow));
        }
        let next = slots.iter().min_by_key(|(_, (ends, _))| *ends);
        let Some((session, ends)) = next.map(|(session, (ends, _))| (*session, *ends)) else {
            assert_eq!(stage.scheduler.open_tasks(), 0);
            return false;
        };
        stage.now = stage.now.max(ppwasm_scheduler::Timestamp(ends));
        let (_, claim) = slots.remove(&session).unwrap();
        let ended = ppwasm_scheduler::Ended {
            claim,
            outcome: ppwasm_proto::fabric::OutcomeKind::Succeeded,
            run_time: Micros::from_millis(run_time(session)),
            outcome_bytes: 0,
            digest: Digest::from_bytes([0; 32]),
        };
        let ended = vec![ended];
        all.extend(all_granted(
            &stage.happens(Event::LeasesEnded { session, ended }),
        ));
    }
}

#[test]
fn explain_names_what_keeps_each_worker_from_a_task() {
    let mut stage = Stage::new();
    let (_, _) = stage.join("full", 1);
    let (away, _) = stage.join("away", 1);
    let mut leaving = hello("leaving", 1);
    leaving.is_draining = true;
    stage.join_as(leaving);
    stage.join("none", 0);
    let request = stage.request();
    stage.join("drained", 1);
    stage.happens(Event::DrainRequested {
        request,
        worker: worker("drained"),
    });
    stage.leave(away, Leaving::Lost);
    stage.submit(job(1), "ann", 30);
    let explained = stage.scheduler.explain(job(1), TaskId(29));
    let Explanation::Queued {
        ahead_in_job,
        ready,
        workers,
        more_workers,
    } = explained
    else {
        panic!("{explained:?}")
    };
    assert_eq!((ahead_in_job, ready, more_workers), (27, 28, 0));
    let obstacle = |name| {
        let candidate = workers
            .iter()
            .find(|candidate| candidate.worker == worker(name));
        candidate.unwrap().obstacle
    };
    assert_eq!(obstacle("full"), Some(Obstacle::Full));
    assert_eq!(obstacle("away"), Some(Obstacle::Away));
    assert_eq!(obstacle("leaving"), Some(Obstacle::Draining));
    assert_eq!(obstacle("none"), Some(Obstacle::NoSlots));
    let drained = Obstacle::Drained(ppwasm_scheduler::DrainReason::Requested);
    assert_eq!(obstacle("drained"), Some(drained));

    assert_eq!(
        stage.scheduler.explain(job(9), TaskId(0)),
        Explanation::UnknownJob
    );
    let explained = stage.scheduler.explain(job(1), TaskId(30));
    assert_eq!(
        explained,
        Explanation::NotAdded {
            tasks: 30,
            is_closed: true
        }
    );
    let explained = stage.scheduler.explain(job(1), TaskId(0));
    let Explanation::Leased { attempts } = explained else {
        panic!("{explained:?}")
    };
    assert_eq!(attempts[0].worker, worker("full"));
}

#[test]
fn case_29_with_many_workers_leases_and_reports_are_stretched() {
    let mut stage = Stage::new();
    let mut last = None;
    for number in 0..2000 {
        let (session, out) = stage.join(&format!("w{number}"), 1);
        let pace = out.commands.iter().find_map(|command| match command {
            Command::Welcome { pace, .. } => Some(*pace),
            _ => None,
        });
        last = pace.map(|pace| (session, pace));
        let at_limit = Micros::from_secs(5);
        assert_eq!(
            pace.unwrap().report_every > at_limit,
            number + 1 > 1000,
            "{number}"
        );
    }
    let (_, pace) = last.unwrap();
    assert_eq!(pace.report_every, Micros::from_secs(10));
    assert_eq!(pace.lease, Micros::from_secs(60));
}
