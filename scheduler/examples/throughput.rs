//! Tasks per second through the scheduler alone, for sizes of the queue and of the fleet.
//!
//! Simulated workers end each grant after the next round: what is measured is the scheduler's own time for granting and
//! ending, with all records and commands. Every task is checked to have ended exactly once.
//!
//! `cargo run -p ppwasm-scheduler --example throughput [-- TASKS WORKERS]`

use std::collections::VecDeque;
use std::time::Instant;

use ppwasm_proto::fabric::{Epoch, Incarnation, LeaseKey, Priority, SessionId};
use ppwasm_proto::{Digest, JobId, Limits};
use ppwasm_scheduler::{
    Command, Config, Ended, Event, Hello, JobSpec, Micros, Outbox, OutcomeKind, Record, RequestId,
    Scheduler, Timestamp,
};

const SLOTS: u32 = 4;
const RUN_TIME: Micros = Micros(200);

fn main() {
    let mut sizes = std::env::args()
        .skip(1)
        .filter_map(|size| size.parse().ok());
    if let (Some(tasks), Some(workers)) = (sizes.next(), sizes.next()) {
        run(tasks, workers);
        return;
    }
    println!(
        "{:>9} {:>8} {:>12} {:>10}",
        "tasks", "workers", "tasks/s", "ns/task"
    );
    for workers in [1, 10, 100, 1000] {
        for tasks in [1_000, 10_000, 100_000, 1_000_000] {
            run(tasks, workers);
        }
    }
}

fn run(tasks: u64, workers: u64) {
    // Short runs are repeated, so that a figure stands for at least this many tasks.
    let rounds = (200_000 / tasks).clamp(1, 20);
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        best = best.min(seconds(tasks, workers));
    }
    println!(
        "{tasks:>9} {workers:>8} {:>12.0} {:>10.0}",
        tasks as f64 / best,
        best / tasks as f64 * 1e9
    );
}

fn seconds(tasks: u64, workers: u64) -> f64 {
    let key = LeaseKey::from_bytes([7; 32]);
    let mut scheduler = Scheduler::new(Config::new(key, 1), Epoch::FIRST);
    let mut out = Outbox::default();
    let mut now = Timestamp::ZERO;
    let (job, function) = (JobId::from_bytes([1; 16]), Digest::of(b"f"));
    for worker in 0..workers {
        let hello = Hello {
            worker: format!("w{worker}").parse().expect("it is a name"),
            incarnation: Incarnation(worker),
            slots: SLOTS,
            credit: 1024,
            label: "".into(),
            target: "".into(),
            takes_streams: true,
            is_draining: false,
            held: Vec::new(),
            images: vec![function],
        };
        let event = Event::WorkerJoined {
            session: SessionId(worker + 1),
            hello: Box::new(hello),
        };
        scheduler.handle(now, event, &mut out);
    }
    let owner: ppwasm_proto::fabric::ClientName = "ann".parse().expect("it is a name");
    let spec = JobSpec {
        owner: owner.clone(),
        priority: Priority(0),
        function,
        limits: Limits::default(),
        attempts_max: 5,
        is_deterministic: true,
        verify_percent: 0,
        is_cached: false,
        body: Digest::of(b"body"),
    };
    let request = RequestId(0);
    let started = Instant::now();
    let client = owner.clone();
    let events = [
        Event::JobSubmitted {
            request,
            job,
            spec: Box::new(spec),
        },
        Event::ImageReady { function, bytes: 1 },
        Event::TasksAppended {
            request,
            client,
            job,
            first: 0,
            count: tasks,
            found: Vec::new(),
        },
        Event::JobClosed {
            request,
            client: owner,
            job,
            tasks,
        },
    ];
    for event in events {
        scheduler.handle(now, event, &mut out);
    }
    let mut has_ended = vec![false; usize::try_from(tasks).expect("it fits")];
    let mut count = 0;
    let mut has_job_ended = false;
    let mut running: VecDeque<(SessionId, Vec<Ended>)> = VecDeque::new();
    loop {
        for record in out.records.drain(..) {
            match record {
                Record::TaskEnded { task, .. } => {
                    let ended = &mut has_ended[usize::try_from(task.0).expect("it fits")];
                    assert!(!*ended, "task {task} ended twice");
                    *ended = true;
                    count += 1;
                }
                Record::JobEnded { .. } => has_job_ended = true,
                _ => {}
            }
        }
        for command in out.commands.drain(..) {
            if let Command::Grant {
                session, leases, ..
            } = command
            {
                let ended = leases.iter().map(|lease| Ended {
                    claim: lease.claim,
                    outcome: OutcomeKind::Succeeded,
                    run_time: RUN_TIME,
                    outcome_bytes: 10,
                    digest: Digest::from_bytes([0; 32]),
                });
                running.push_back((session, ended.collect()));
            }
        }
        if let Some((session, ended)) = running.pop_front() {
            now = Timestamp(now.0 + RUN_TIME.0 / workers.min(100));
            scheduler.handle(now, Event::LeasesEnded { session, ended }, &mut out);
        } else if has_job_ended {
            break;
        } else {
            let due = scheduler.next_deadline().expect("the job has not ended");
            now = now.max(due);
            scheduler.tick(now, &mut out);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(count, tasks, "every task ends once");
    scheduler.check_invariants().expect("it is consistent");
    seconds
}
