//! How near the scheduler comes to what a fleet of different speeds could do at best.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use ppwasm_proto::fabric::{GiveBackReason, OutcomeKind, SessionId};
use ppwasm_scheduler::{Claim, Command, Ended, Event, Micros, Outbox};

use crate::stage::{Stage, job};

const ROUND_TRIP: u64 = 1_000;

struct Machine {
    session: SessionId,
    slots: usize,
    slowness: u64,
    waiting: VecDeque<Claim>,
    running: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Arrives(usize, Vec<Claim>),
    TakenBack(usize, Vec<ppwasm_proto::fabric::LeaseId>),
    Ends(usize, Claim, u64),
    Tick,
}

/// Microseconds until all tasks have ended, in a world without faults.
fn time(workers: &[(usize, u64)], tasks: u64, run_time: u64) -> u64 {
    let mut stage = Stage::new();
    let mut machines = Vec::new();
    let mut out = Outbox::default();
    for (number, (slots, slowness)) in workers.iter().enumerate() {
        let (session, joined) = stage.join(&format!("w{number}"), u32::try_from(*slots).unwrap());
        out.commands.extend(joined.commands);
        let (waiting, running) = (VecDeque::new(), 0);
        machines.push(Machine {
            session,
            slots: *slots,
            slowness: *slowness,
            waiting,
            running,
        });
    }
    out.commands
        .extend(stage.submit(job(1), "ann", tasks).commands);
    let mut queue = BinaryHeap::new();
    let mut number = 0;
    let mut now = 0;
    loop {
        let mut push = |at: u64, thing| {
            number += 1;
            queue.push(Reverse((at, number, thing)));
        };
        let index = |session| {
            machines
                .iter()
                .position(|machine| machine.session == session)
                .unwrap()
        };
        for command in out.commands.drain(..) {
            match command {
                Command::Grant {
                    session, leases, ..
                } => {
                    let claims = leases.iter().map(|lease| lease.claim).collect();
                    push(now + ROUND_TRIP / 2, Thing::Arrives(index(session), claims));
                }
                Command::TakeBack { session, leases } => {
                    push(
                        now + ROUND_TRIP / 2,
                        Thing::TakenBack(index(session), leases),
                    );
                }
                _ => {}
            }
        }
        if let Some(due) = stage.scheduler.next_deadline() {
            push(due.0.max(now), Thing::Tick);
        }
        if stage.scheduler.open_tasks() == 0 {
            return now;
        }
        let Reverse((at, _, thing)) = queue.pop().unwrap();
        (now, stage.now) = (at, ppwasm_scheduler::Timestamp(at));
        let event = match thing {
            Thing::Tick => {
                out = stage.wait(Micros::ZERO);
                continue;
            }
            Thing::Arrives(index, claims) => {
                machines[index].waiting.extend(claims);
                None
            }
            Thing::TakenBack(index, leases) => {
                let machine = &mut machines[index];
                let before = machine.waiting.len();
                machine
                    .waiting
                    .retain(|claim| !leases.contains(&claim.lease));
                assert!(before >= machine.waiting.len());
                let given = leases
                    .into_iter()
                    .map(|lease| (lease, GiveBackReason::Cancelled));
                // Those that run already are kept; the scheduler is told of the others only.
                let given: Vec<_> = given.take(before - machine.waiting.len()).collect();
                Some(Event::LeasesGivenBack {
                    session: machine.session,
                    given,
                })
            }
            Thing::Ends(index, claim, run_time) => {
                let machine = &mut machines[index];
                machine.running -= 1;
                let outcome = OutcomeKind::Succeeded;
                let run_time = Micros(run_time);
                let ended = vec![Ended {
                    claim,
                    outcome,
                    run_time,
                    outcome_bytes: 1,
                    digest: ppwasm_proto::Digest::from_bytes([0; 32]),
                }];
                Some(Event::LeasesEnded {
                    session: machine.session,
                    ended,
                })
            }
        };
        for (index, machine) in machines.iter_mut().enumerate() {
            while machine.running < machine.slots
                && let Some(claim) = machine.waiting.pop_front()
            {
                machine.running += 1;
                let own = run_time * machine.slowness;
                number += 1;
                queue.push(Reverse((now + own, number, Thing::Ends(index, claim, own))));
            }
        }
        if let Some(event) = event {
            out = stage.happens(event);
        }
    }
}

fn ratio(workers: &[(usize, u64)], tasks: u64, run_time: u64) -> f64 {
    let power: f64 = workers
        .iter()
        .map(|(slots, slowness)| *slots as f64 / *slowness as f64)
        .sum();
    let ideal = tasks as f64 * run_time as f64 / power;
    let ratio = time(workers, tasks, run_time) as f64 / ideal;
    println!("{workers:?}, {tasks} tasks of {run_time} us: {ratio:.3} of the ideal");
    ratio
}

#[test]
fn one_worker_ten_times_slower_costs_at_most_a_tenth() {
    for tasks in [200, 1000] {
        for run_time in [1_000, 20_000, 1_000_000] {
            assert!(ratio(&[(2, 1), (2, 10)], tasks, run_time) <= 1.10);
        }
    }
    assert!(ratio(&[(4, 1), (4, 1), (4, 10)], 1000, 100_000) <= 1.10);
    assert!(ratio(&[(1, 1), (1, 10)], 100, 1_000_000) <= 1.10);
}

#[test]
fn equal_workers_are_all_busy_to_the_end() {
    assert!(ratio(&[(4, 1); 8], 3200, 50_000) <= 1.05);
    assert!(ratio(&[(1, 1); 4], 4000, 500) <= 1.15);
}
