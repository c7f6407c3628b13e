//! Whatever happens, in whatever order: no panic, the same again for the same, and a restart that knows it all.

use proptest::prelude::*;

use ppwasm_proto::fabric::{
    Claim, GiveBackReason, Held, HeldState, Incarnation, LeaseId, LeaseToken, OutcomeKind,
    SessionId,
};
use ppwasm_proto::{Attempt, TaskId, TaskIdentity};
use ppwasm_scheduler::{
    Command, Ended, Event, Hello, Leaving, Micros, Outbox, RequestId, Scheduler, Timestamp,
};

use crate::stage::{Stage, client, found, function, job, spec, worker};

/// An event in which ids are small, so that they meet.
fn event() -> impl Strategy<Value = Event> {
    let request = RequestId(1);
    let session = || (0_u64..12).prop_map(SessionId);
    let owner = |number: u8| {
        if number.is_multiple_of(2) {
            "ann"
        } else {
            "bob"
        }
    };
    let job_event =
        (0_u8..4, 0_u64..20, 0_u64..20, 0_u8..7).prop_map(move |(number, first, count, kind)| {
            let (client, job) = (client(owner(number)), job(number));
            match kind {
                0 | 1 => {
                    let mut spec = Box::new(spec(owner(number)));
                    spec.attempts_max = 2;
                    spec.is_cached = number % 2 == 0;
                    Event::JobSubmitted { request, job, spec }
                }
                2 | 3 => Event::TasksAppended {
                    request,
                    client,
                    job,
                    first,
                    count,
                    found: (first..first + count)
                        .filter(|task| task % 3 == 1)
                        .map(|task| found(task, task % 2 == 1))
                        .collect(),
                },
                4 => Event::JobClosed {
                    request,
                    client,
                    job,
                    tasks: first,
                },
                5 if count == 0 => Event::JobCancelled {
                    request,
                    client,
                    job,
                },
                5 if count == 1 => Event::JobForgotten { request, job },
                _ => Event::RetryRequested {
                    request,
                    client,
                    job,
                },
            }
        });
    let hello = (
        session(),
        0_u8..4,
        0_u64..3,
        0_u32..4,
        prop::collection::vec(claim(), 0..3),
    );
    let join = hello.prop_map(|(session, name, life, slots, claims)| {
        let hello = Hello {
            worker: worker(&format!("w{name}")),
            incarnation: Incarnation(life),
            slots,
            credit: slots + 3,
            label: "".into(),
            target: "".into(),
            takes_streams: true,
            is_draining: false,
            held: claims
                .into_iter()
                .map(|claim| Held {
                    claim,
                    state: HeldState::Running,
                })
                .collect(),
            images: vec![],
        };
        Event::WorkerJoined {
            session,
            hello: Box::new(hello),
        }
    });
    let leave = (session(), any::<bool>()).prop_map(|(session, orderly)| {
        let how = if orderly {
            Leaving::Orderly
        } else {
            Leaving::Lost
        };
        Event::WorkerLeft { session, how }
    });
    let report =
        (session(), prop::collection::vec(0_u64..60, 0..5)).prop_map(|(session, leases)| {
            let leases: Vec<_> = leases.into_iter().map(lease).collect();
            Event::WorkerReported {
                session,
                report: 1,
                waiting: leases.clone(),
                running: leases,
            }
        });
    let ended = (session(), prop::collection::vec(claim(), 1..3), 0_u8..5).prop_map(
        |(session, claims, kind)| {
            let outcome = [
                OutcomeKind::Succeeded,
                OutcomeKind::Raised,
                OutcomeKind::Trapped,
                OutcomeKind::Cancelled,
                OutcomeKind::Abandoned,
            ][usize::from(kind)];
            let run_time = Micros(u64::MAX);
            let ended = claims.into_iter().map(|claim| Ended {
                claim,
                outcome,
                run_time,
                outcome_bytes: 0,
                digest: ppwasm_proto::Digest::from_bytes([0; 32]),
            });
            Event::LeasesEnded {
                session,
                ended: ended.collect(),
            }
        },
    );
    let given = (session(), 0_u64..60, any::<bool>()).prop_map(|(session, number, died)| {
        let why = if died {
            GiveBackReason::SlotDied
        } else {
            GiveBackReason::HostFailed
        };
        Event::LeasesGivenBack {
            session,
            given: vec![(lease(number), why)],
        }
    });
    let others = (session(), 0_u8..4, 0_u8..12).prop_map(move |(session, name, kind)| {
        let (worker, function) = (worker(&format!("w{name}")), function());
        match kind {
            0 => Event::DrainRequested { request, worker },
            1 | 2 => Event::UndrainRequested { request, worker },
            3 => Event::WorkerDraining { session },
            4 => Event::SlotsSet {
                session,
                slots: u32::from(name),
                credit: 9,
            },
            5 => Event::ImageHeld {
                session,
                function,
                is_held: name > 1,
            },
            6 if name == 0 => Event::ImageFailed { function },
            7 if name == 0 => Event::WorkerRevoked { worker },
            _ => Event::ImageReady { function, bytes: 1 },
        }
    });
    prop_oneof![4 => job_event, 3 => join, 1 => leave, 1 => report, 2 => ended, 1 => given, 2 => others]
}

fn lease(number: u64) -> LeaseId {
    LeaseId::new(ppwasm_proto::fabric::Epoch::FIRST, number).unwrap()
}

/// A claim that nobody was given.
fn claim() -> impl Strategy<Value = Claim> {
    (0_u64..60, 0_u8..4, 0_u64..20).prop_map(|(number, of, task)| Claim {
        lease: lease(number),
        identity: TaskIdentity::new(job(of), TaskId(task)),
        attempt: Attempt(4097),
        token: LeaseToken::from_bytes([0; 16]),
    })
}

/// What a test does: an event, or the real claims of the latest grants end or are given back; and time passes.
#[derive(Clone, Debug)]
enum Move {
    Event(Event),
    Ends(usize, bool),
    GivesBack(usize, bool),
    Waits(u64),
    Restarts,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => event().prop_map(Move::Event),
        4 => (0_usize..50, any::<bool>()).prop_map(|(which, good)| Move::Ends(which, good)),
        2 => (0_usize..50, any::<bool>()).prop_map(|(which, died)| Move::GivesBack(which, died)),
        2 => (0_u64..40_000_000).prop_map(Move::Waits),
        1 => Just(Move::Restarts),
    ];
    prop::collection::vec(one, 0..120)
}

fn play(moves: &[Move]) -> Vec<Outbox> {
    play_on(&mut Stage::new(), moves)
}

fn play_on(stage: &mut Stage, moves: &[Move]) -> Vec<Outbox> {
    let mut given: Vec<(SessionId, Claim)> = Vec::new();
    let mut all = Vec::new();
    for one in moves {
        let out = match one.clone() {
            Move::Event(event) => stage.happens(event),
            Move::Ends(which, good) => {
                let Some((session, claim)) = pick(&given, which) else {
                    continue;
                };
                let outcome = if good {
                    OutcomeKind::Succeeded
                } else {
                    OutcomeKind::Raised
                };
                stage.end_as(session, &[claim], outcome)
            }
            Move::GivesBack(which, died) => {
                let Some((session, claim)) = pick(&given, which) else {
                    continue;
                };
                let why = if died {
                    GiveBackReason::SlotDied
                } else {
                    GiveBackReason::HostFailed
                };
                stage.give_back(session, &[claim], why)
            }
            Move::Waits(micros) => stage.wait(Micros(micros)),
            Move::Restarts => stage.restart(),
        };
        given.extend(crate::stage::all_granted(&out));
        compare_with_restored(stage);
        all.push(out);
    }
    all
}

fn pick(given: &[(SessionId, Claim)], which: usize) -> Option<(SessionId, Claim)> {
    given.iter().rev().nth(which).copied()
}

fn compare_with_restored(stage: &Stage) {
    let mut out = Outbox::default();
    let records = stage.log.iter().cloned();
    let restored = Scheduler::restore(
        stage.config.clone(),
        stage.epoch,
        Timestamp::ZERO,
        records,
        &mut out,
    )
    .unwrap();
    restored.check_invariants().unwrap();
    let only_images = out
        .commands
        .iter()
        .all(|command| matches!(command, Command::BuildImage { .. }));
    assert!(only_images, "{out:?}");
    // Without workers to wait for, a restart may give up at once what was about to be.
    if out.records.is_empty() {
        assert_eq!(restored.durable(), stage.scheduler.durable());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_what_is_restored_is_what_lived_and_the_same_is_the_same(moves in moves()) {
        let once = play(&moves);
        prop_assert_eq!(once, play(&moves));
    }

    /// A damaged store is refused, or what is left of it makes a scheduler that is sound.
    #[test]
    fn records_with_gaps_and_repetitions_panic_nobody(moves in moves(), gaps in prop::collection::vec(0_u8..20, 1..60)) {
        let mut stage = Stage::new();
        play_on(&mut stage, &moves);
        let records = stage.log.iter().zip(gaps.iter().cycle()).flat_map(|(record, gap)| {
            let times = match gap {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            std::iter::repeat_n(record.clone(), times)
        });
        let out = &mut Outbox::default();
        let restored = Scheduler::restore(stage.config.clone(), stage.epoch, Timestamp::ZERO, records, out);
        if let Ok(mut restored) = restored {
            prop_assert_eq!(restored.check_invariants(), Ok(()));
            restored.tick(Timestamp(1 << 40), out);
            prop_assert_eq!(restored.check_invariants(), Ok(()));
        }
    }
}
