//! Tasks that are run again on another worker, and what becomes of workers that lie.

use ppwasm_proto::Digest;
use ppwasm_proto::fabric::{Claim, GiveBackReason, HeldState, Incarnation, OutcomeKind, SessionId};
use ppwasm_proto::wire::{Verdict, Verification};
use ppwasm_scheduler::{
    Command, DrainReason, Event, Explanation, Hello, JobSpec, Leaving, Micros, Outbox, Record,
    TaskEnd,
};

use crate::stage::{Stage, all_granted, granted, held, hello, job, spec, task_ends, tasks, worker};

const X86: &str = "x86_64-unknown-linux-gnu";
const ARM: &str = "aarch64-unknown-linux-gnu";
const RISCV: &str = "riscv64gc-unknown-linux-gnu";

fn verified(percent: u8) -> JobSpec {
    JobSpec {
        verify_percent: percent,
        ..spec("ann")
    }
}

fn on(name: &str, target: &str, slots: u32) -> Hello {
    Hello {
        target: target.into(),
        ..hello(name, slots)
    }
}

/// The worker says this about these tasks.
fn say(stage: &mut Stage, session: SessionId, claims: &[Claim], what: &[u8]) -> Outbox {
    say_as(stage, session, claims, what, OutcomeKind::Succeeded)
}

fn say_as(
    stage: &mut Stage,
    session: SessionId,
    claims: &[Claim],
    what: &[u8],
    outcome: OutcomeKind,
) -> Outbox {
    stage.end_with(session, claims, outcome, Digest::of(what))
}

fn acknowledged(out: &Outbox, to: SessionId) -> Vec<u64> {
    let acknowledged = out.commands.iter().filter_map(|command| match command {
        Command::Acknowledge { session, leases } if *session == to => Some(leases),
        _ => None,
    });
    acknowledged.flatten().map(|lease| lease.0).collect()
}

fn verification(end: &TaskEnd) -> &Verification {
    end.verification().unwrap()
}

/// Verdict, the worker whose outcome was recorded, and who was odd.
fn verdict(end: &TaskEnd) -> (Verdict, Option<String>, Vec<String>) {
    let by = match end {
        TaskEnd::Outcome { worker, .. } => Some(worker.to_string()),
        _ => None,
    };
    let of = verification(end);
    let odd = of.odd().map(|one| one.worker.to_string());
    (of.verdict, by, odd.collect())
}

fn only_end(out: &Outbox) -> TaskEnd {
    let ends = task_ends(out);
    assert_eq!(ends.len(), 1, "{ends:?}");
    ends[0].1.clone()
}

#[test]
fn an_outcome_is_recorded_and_acknowledged_when_another_architecture_confirms_it() {
    let mut stage = Stage::new();
    let (x86, _) = stage.join_as(on("a", X86, 1));
    let (_, _) = stage.join_as(on("b", X86, 0));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, x86);
    stage.join_as(on("c", X86, 4));
    let (arm, _) = stage.join_as(on("d", ARM, 1));

    let out = say(&mut stage, x86, &first, b"2");
    assert!(task_ends(&out).is_empty() && acknowledged(&out, x86).is_empty());
    assert!(stage.scheduler.is_withheld(x86, &first[0]));
    // There is a free one of the same kind, and one of another kind: that one is taken.
    let second = granted(&out, arm);
    assert_eq!((tasks(&second), all_granted(&out).len()), (vec![0], 1));

    // What was said already changes nothing.
    let again = say(&mut stage, x86, &first, b"3");
    assert!(again.records.is_empty() && acknowledged(&again, x86).is_empty());
    // Nobody else can speak for it.
    let out = say(&mut stage, arm, &first, b"2");
    assert!(task_ends(&out).is_empty());
    assert!(!stage.scheduler.is_withheld(arm, &first[0]));

    let out = say(&mut stage, arm, &second, b"2");
    let end = only_end(&out);
    assert_eq!(
        verdict(&end),
        (Verdict::Confirmed, Some("a".into()), vec![])
    );
    assert_eq!(verification(&end).targets(), Some((ARM, X86)));
    assert!(matches!(end, TaskEnd::Outcome { lease, .. } if lease == first[0].lease));
    assert_eq!(acknowledged(&out, x86), [first[0].lease.0]);
    assert_eq!(acknowledged(&out, arm), [second[0].lease.0]);
    assert!(!stage.scheduler.is_withheld(x86, &first[0]));
}

#[test]
fn without_another_worker_a_task_ends_at_once_and_says_so() {
    let mut stage = Stage::new();
    let (only, _) = stage.join_as(on("a", X86, 2));
    let out = stage.submit_spec(job(1), verified(100), 2);
    let claims = granted(&out, only);
    let out = say(&mut stage, only, &claims, b"1");
    let ends = task_ends(&out);
    assert_eq!(ends.len(), 2);
    for (_, end) in &ends {
        assert_eq!(verdict(end), (Verdict::Alone, Some("a".into()), vec![]));
    }
    assert_eq!(acknowledged(&out, only).len(), 2);
    assert_eq!(stage.scheduler.counters().unverified, 2);
}

#[test]
fn when_the_last_other_worker_goes_the_task_ends_unverified() {
    let mut stage = Stage::new();
    let (a, _) = stage.join_as(on("a", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, a);
    let (b, _) = stage.join_as(on("b", ARM, 1));
    let out = say(&mut stage, a, &first, b"1");
    assert_eq!(granted(&out, b).len(), 1);
    // It may come back: the task waits for it, and for its lease.
    let out = stage.leave(b, Leaving::Lost);
    assert!(task_ends(&out).is_empty());
    let out = stage.wait(Micros::from_secs(3));
    let end = only_end(&out);
    assert_eq!(verdict(&end), (Verdict::Alone, Some("a".into()), vec![]));
}

#[test]
fn a_worker_of_the_same_kind_does_when_there_is_no_other_kind() {
    let mut stage = Stage::new();
    let (a, _) = stage.join_as(on("a", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, a);
    let (b, _) = stage.join_as(on("b", X86, 1));
    let second = granted(&say(&mut stage, a, &first, b"1"), b);
    let end = only_end(&say(&mut stage, b, &second, b"1"));
    assert_eq!(verdict(&end).0, Verdict::Confirmed);
    assert_eq!(verification(&end).targets(), Some((X86, X86)));
}

#[test]
fn a_third_worker_decides_and_the_odd_one_is_drained_after_a_few() {
    let mut stage = Stage::new();
    let (liar, _) = stage.join_as(on("liar", X86, 1));
    let (arm, _) = stage.join_as(on("arm", ARM, 1));
    let (riscv, _) = stage.join_as(on("riscv", RISCV, 1));
    let out = stage.submit_spec(job(1), verified(100), 40);
    let mut queue: Vec<_> = all_granted(&out);
    let (mut ends, mut drained, mut steps) = (Vec::new(), 0, 0);
    while let Some((session, claim)) = queue.pop() {
        steps += 1;
        assert!(steps < 1000, "it goes on for ever");
        // Lies are never the same twice.
        let task = claim.identity.task.0;
        let what = match session == liar {
            true => format!("a lie about {task}: {steps}"),
            false => format!("the truth about {task}"),
        };
        assert!(session == liar || [arm, riscv].contains(&session));
        let mut out = say(&mut stage, session, &[claim], what.as_bytes());
        let later = stage.wait(Micros::from_secs(1));
        out.records.extend(later.records);
        out.commands.extend(later.commands);
        queue.splice(0..0, all_granted(&out));
        for record in &out.records {
            if let Record::WorkerDrained { worker: who, why } = record {
                assert_eq!(
                    (who, *why),
                    (&worker("liar"), DrainReason::GivesWrongResults)
                );
                drained += 1;
            }
        }
        ends.extend(task_ends(&out));
    }
    assert_eq!((ends.len(), drained), (40, 1));
    let mut odd = 0;
    for (_, end) in &ends {
        let (verdict, by, liars) = verdict(end);
        assert_eq!(verdict, Verdict::Confirmed);
        assert_ne!(by.as_deref(), Some("liar"));
        odd += liars.len();
    }
    assert_eq!(odd, 3, "and then it got nothing more");
    assert_eq!(stage.scheduler.counters().contradicted, 3);
    let told = stage.scheduler.workers();
    let told = told.iter().find(|view| view.worker == worker("liar"));
    assert_eq!(told.unwrap().contradicted, 3);

    // It stays drained over a restart, and whoever lets it in again begins anew.
    stage.restart();
    let request = stage.request();
    let worker = worker("liar");
    let out = stage.happens(Event::UndrainRequested { request, worker });
    assert!(matches!(out.records[..], [Record::WorkerUndrained { .. }]));
}

#[test]
fn nothing_of_a_liar_counts_once_it_is_drained() {
    let mut stage = Stage::with(|config| config.contradicted_max = 1);
    let (liar, _) = stage.join_as(on("liar", X86, 3));
    let out = stage.submit_spec(job(1), verified(100), 3);
    let lies = granted(&out, liar);
    assert_eq!(lies.len(), 3);
    let (b, _) = stage.join_as(on("b", ARM, 1));
    let (c, _) = stage.join_as(on("c", RISCV, 1));
    // Two lies wait; the third task runs there.
    let out = say(&mut stage, liar, &lies[..2], b"lie");
    let (at_b, at_c) = (granted(&out, b), granted(&out, c));
    assert_eq!((at_b.len(), at_c.len()), (1, 1));
    // The first that both have answered for names the liar; its other lie is forgotten, its lease taken away.
    let mut queue = vec![(b, at_b), (c, at_c)];
    let mut ends = Vec::new();
    let mut is_drained = false;
    while let Some((session, claims)) = queue.pop() {
        if claims.is_empty() {
            continue;
        }
        let out = say(&mut stage, session, &claims, b"truth");
        ends.extend(task_ends(&out));
        is_drained |=
            (out.records.iter()).any(|record| matches!(record, Record::WorkerDrained { .. }));
        queue.push((b, granted(&out, b)));
        queue.push((c, granted(&out, c)));
    }
    assert!(is_drained);
    let late = say(&mut stage, liar, &lies, b"lie");
    assert!(late.records.is_empty());
    assert_eq!(acknowledged(&late, liar).len(), 3, "they are of no use");
    assert_eq!(ends.len(), 3);
    for (_, end) in &ends {
        assert_eq!(verdict(end).0, Verdict::Confirmed);
        assert_ne!(verdict(end).1.as_deref(), Some("liar"));
    }
}

#[test]
fn what_two_contradict_and_nobody_can_decide_is_given_up_and_can_be_run_again() {
    let mut stage = Stage::new();
    let (a, _) = stage.join_as(on("a", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, a);
    let (b, _) = stage.join_as(on("b", ARM, 1));
    let second = granted(&say(&mut stage, a, &first, b"1"), b);
    let out = say(&mut stage, b, &second, b"2");
    let end = only_end(&out);
    let odd = vec!["a".into(), "b".into()];
    assert_eq!(verdict(&end), (Verdict::Disputed, None, odd));
    assert_eq!(end.outcome(), OutcomeKind::Abandoned);
    assert_eq!(stage.scheduler.counters().disputed, 1);
    assert_eq!(
        stage.scheduler.counters().contradicted,
        0,
        "nobody knows who was wrong"
    );

    stage.join_as(on("c", RISCV, 1));
    let (request, client) = (stage.request(), crate::stage::client("ann"));
    let job = job(1);
    stage.happens(Event::RetryRequested {
        request,
        client,
        job,
    });
    let (function, bytes) = (crate::stage::function(), 1);
    let out = stage.happens(Event::ImageReady { function, bytes });
    assert_eq!(all_granted(&out).len(), 1);
}

#[test]
fn a_limit_that_a_slow_worker_reached_contradicts_nobody() {
    let mut stage = Stage::with(|config| config.contradicted_max = 1);
    let (fast, _) = stage.join_as(on("fast", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, fast);
    let (slow, _) = stage.join_as(on("slow", RISCV, 1));
    let second = granted(&say(&mut stage, fast, &first[..1], b"1"), slow);
    let out = say_as(
        &mut stage,
        slow,
        &second,
        b"limit",
        OutcomeKind::LimitExceeded,
    );
    let end = only_end(&out);
    let odd = vec!["slow".into()];
    assert_eq!(
        verdict(&end),
        (Verdict::Unanswered, Some("fast".into()), odd)
    );

    // With a third one it is confirmed, and the slow one is not drained for it.
    stage.join_as(on("third", ARM, 1));
    let mut queue = all_granted(&stage.submit_spec(job(2), verified(100), 6));
    let mut ends = Vec::new();
    while let Some((session, claim)) = queue.pop() {
        let out = match session == slow {
            true => say_as(
                &mut stage,
                slow,
                &[claim],
                b"limit",
                OutcomeKind::LimitExceeded,
            ),
            false => say(&mut stage, session, &[claim], b"1"),
        };
        ends.extend(task_ends(&out));
        queue.extend(all_granted(&out));
    }
    assert_eq!(ends.len(), 6);
    let mut odd = 0;
    for (_, end) in &ends {
        assert_eq!(verdict(end).0, Verdict::Confirmed);
        odd += verdict(end).2.iter().filter(|odd| *odd == "slow").count();
    }
    assert!(odd > 0, "it was never asked");
    assert_eq!(stage.scheduler.counters().contradicted, 0);
}

#[test]
fn a_result_waits_no_longer_than_it_may_and_no_longer_than_attempts_last() {
    let mut stage = Stage::with(|config| config.verify_wait = Micros::from_secs(20));
    let (a, _) = stage.join_as(on("a", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, a);
    let (b, _) = stage.join_as(on("b", ARM, 1));
    let second = granted(&say(&mut stage, a, &first, b"1"), b);
    stage.report(b, &[second[0].lease]);
    assert!(task_ends(&stage.wait(Micros::from_secs(19))).is_empty());
    stage.report(b, &[second[0].lease]);
    let out = stage.wait(Micros::from_secs(2));
    let end = only_end(&out);
    assert_eq!(
        verdict(&end),
        (Verdict::Unanswered, Some("a".into()), vec![])
    );
    let cancels =
        |command: &Command| matches!(command, Command::Cancel { session, .. } if *session == b);
    assert!(
        out.commands.iter().any(cancels),
        "nobody waits for it any more"
    );

    let spec = JobSpec {
        attempts_max: 2,
        ..verified(100)
    };
    stage.report(a, &[]);
    stage.leave(b, Leaving::Orderly);
    let first = granted(&stage.submit_spec(job(2), spec, 1), a);
    let (b, _) = stage.join_as(Hello {
        incarnation: Incarnation(9),
        ..on("b", ARM, 1)
    });
    let mut out = say(&mut stage, a, &first, b"1");
    for _ in 0..2 {
        let failed = granted(&out, b);
        assert_eq!(failed.len(), 1);
        out = stage.give_back(b, &failed, GiveBackReason::HostFailed);
        let later = stage.wait(Micros::from_secs(1));
        out.records.extend(later.records);
        out.commands.extend(later.commands);
    }
    let end = only_end(&out);
    assert_eq!(
        verdict(&end),
        (Verdict::Unanswered, Some("a".into()), vec![])
    );
}

#[test]
fn after_a_restart_the_worker_brings_its_result_again_and_it_is_confirmed() {
    let mut stage = Stage::new();
    let (a, _) = stage.join_as(on("a", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 1);
    let first = granted(&out, a);
    let (b, _) = stage.join_as(on("b", ARM, 1));
    say(&mut stage, a, &first, b"1");
    stage.restart();
    let back = Hello {
        held: vec![held(first[0], HeldState::Finished)],
        ..on("a", X86, 1)
    };
    let (a, out) = stage.join_as(back.clone());
    let refuses = |command: &Command| matches!(command, Command::Welcome { refused, .. } if !refused.is_empty());
    assert!(!out.commands.iter().any(refuses));
    let out = say(&mut stage, a, &first, b"1");
    assert!(
        task_ends(&out).is_empty(),
        "the other one may still come back"
    );
    // A lost connection in between changes nothing.
    stage.leave(a, Leaving::Lost);
    let (a, out) = stage.join_as(back);
    assert!(!out.commands.iter().any(refuses));
    let _ = b;
    let (b, out) = stage.join_as(on("b", ARM, 1));
    let mut second = granted(&out, b);
    if second.is_empty() {
        second = granted(&stage.wait(Micros::from_secs(61)), b);
    }
    let out = say(&mut stage, b, &second, b"1");
    let end = only_end(&out);
    assert_eq!(
        verdict(&end),
        (Verdict::Confirmed, Some("a".into()), vec![])
    );
    assert_eq!(acknowledged(&out, a), [first[0].lease.0]);
}

#[test]
fn a_sample_is_a_share_and_the_same_after_a_restart() {
    let share = |percent: u8| {
        let mut stage = Stage::new();
        let (only, _) = stage.join_as(on("a", X86, 1000));
        let out = stage.submit_spec(job(1), verified(percent), 1000);
        let claims = granted(&out, only);
        let mut sampled = Vec::new();
        for half in claims.chunks(500) {
            let out = say(&mut stage, only, half, b"1");
            let ends = task_ends(&out).into_iter();
            let verified = ends.filter(|(_, end)| end.verification().is_some());
            sampled.extend(verified.map(|(task, _)| task.0));
        }
        sampled
    };
    let tenth = share(10);
    assert!((60..140).contains(&tenth.len()), "{}", tenth.len());
    assert_eq!(tenth, share(10));
    assert_eq!((share(100).len(), share(0).len()), (1000, 0));
}

#[test]
fn tasks_with_real_clocks_are_not_verified() {
    let mut stage = Stage::new();
    let (a, _) = stage.join_as(on("a", X86, 1));
    stage.join_as(on("b", ARM, 0));
    let spec = JobSpec {
        is_deterministic: false,
        ..verified(100)
    };
    let first = granted(&stage.submit_spec(job(1), spec, 1), a);
    let end = only_end(&say(&mut stage, a, &first, b"1"));
    assert_eq!(end.verification(), None);
}

#[test]
fn nothing_new_is_begun_while_too_much_waits_to_be_confirmed() {
    let mut stage = Stage::with(|config| config.unconfirmed_max = 4);
    let (a, _) = stage.join_as(on("a", X86, 1));
    let out = stage.submit_spec(job(1), verified(100), 50);
    let mut queue = granted(&out, a);
    // It is there, and busy with something else for long.
    let (b, _) = stage.join_as(on("b", ARM, 1));
    let busy = stage.submit_spec(job(2), spec("bob"), 1);
    let _ = busy;
    let mut out = Outbox::default();
    let mut done = 0;
    while let Some(claim) = queue.pop() {
        out = say(&mut stage, a, &[claim], b"1");
        queue.extend(
            granted(&out, a)
                .into_iter()
                .filter(|claim| claim.identity.job == job(1)),
        );
        done += 1;
        assert!(done < 50, "it never waits");
    }
    let view = stage.scheduler.job(job(1)).unwrap();
    assert!((4..40).contains(&view.unconfirmed), "{view:?}");
    let explained = stage.scheduler.explain(job(1), ppwasm_proto::TaskId(0));
    assert!(
        matches!(explained, Explanation::Unconfirmed { .. }),
        "{explained:?}"
    );
    let _ = (b, out);
}
