//! The real scheduler, whose records a store keeps: restarted from the store it is what it was.

use std::collections::BTreeMap;

use ppwasm_proto::fabric::{ClientName, GiveBackReason, Incarnation, SessionId};
use ppwasm_scheduler::{
    Claim, Command, Config, Ended, Event, Hello, Leaving, Micros, Outbox, RequestId, Scheduler,
    Timestamp,
};

use super::*;

/// A small cluster that lives from a seed.
struct World {
    random: Random,
    scheduler: Scheduler,
    now: Timestamp,
    requests: u64,
    sessions: u64,
    jobs: u8,
    /// What each session's worker is, and what it was granted.
    leases: BTreeMap<SessionId, (WorkerId, Vec<Claim>)>,
    /// Records by kind, so that a test can say that everything came up.
    seen: BTreeMap<&'static str, u32>,
}

fn config(store: &dyn Store) -> Config {
    Config::new(store.lease_key(), 5)
}

fn restored(store: &dyn Store, now: Timestamp, out: &mut Outbox) -> Scheduler {
    let records = records(store).unwrap();
    Scheduler::restore(config(store), store.epoch(), now, records, out).unwrap()
}

impl World {
    fn new(seed: u64, store: &dyn Store) -> Self {
        Self {
            random: Random(seed),
            scheduler: Scheduler::new(config(store), store.epoch()),
            now: Timestamp::ZERO,
            requests: 0,
            sessions: 0,
            jobs: 0,
            leases: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// One event, and what followed from it, as a store takes it.
    fn step(&mut self) -> Vec<Write> {
        self.now = Timestamp(self.now.0 + self.random.below(400_000) as u64);
        let event = self.event();
        let mut out = Outbox::default();
        match event {
            Some(event) => self.scheduler.handle(self.now, event, &mut out),
            None => self.scheduler.tick(self.now, &mut out),
        }
        self.obey(&out.commands);
        out.records
            .into_iter()
            .map(|record| self.write(record))
            .collect()
    }

    fn obey(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Grant {
                    session, leases, ..
                } => {
                    if let Some((_, held)) = self.leases.get_mut(session) {
                        held.extend(leases.iter().map(|lease| lease.claim));
                    }
                }
                Command::CloseSession { session, .. } => {
                    self.leases.remove(session);
                }
                _ => {}
            }
        }
    }

    fn event(&mut self) -> Option<Event> {
        self.requests += 1;
        let request = RequestId(self.requests);
        let client: ClientName = "anna".parse().unwrap();
        let job = job_id(1 + self.random.below(usize::from(self.jobs.max(1))) as u8);
        let function = spec("anna").function;
        let tasks = self
            .scheduler
            .durable()
            .jobs
            .iter()
            .find(|known| known.job == job)
            .map_or(0, |job| job.tasks);
        let session = match self.leases.len() {
            0 => None,
            count => self.leases.keys().nth(self.random.below(count)).copied(),
        };
        Some(match self.random.below(22) {
            0 if self.jobs < 9 => {
                self.jobs += 1;
                Event::JobSubmitted {
                    request,
                    job: job_id(self.jobs),
                    spec: spec("anna"),
                }
            }
            1..4 => {
                let count = 1 + self.random.below(12) as u64;
                Event::TasksAppended {
                    request,
                    client,
                    job,
                    first: tasks,
                    count,
                    found: (tasks..tasks + count)
                        .filter(|task| task % 4 == 1)
                        .map(found)
                        .collect(),
                }
            }
            4 => Event::JobClosed {
                request,
                client,
                job,
                tasks,
            },
            5 if self.random.below(4) == 0 => Event::JobCancelled {
                request,
                client,
                job,
            },
            6 => Event::RetryRequested {
                request,
                client,
                job,
            },
            7 if self.random.below(6) == 0 => Event::JobForgotten { request, job },
            8 => Event::ImageReady {
                function,
                bytes: 1000,
            },
            9 | 10 => {
                self.sessions += 1;
                let session = SessionId(self.sessions);
                let worker = worker(self.random.below(3) as u8);
                let hello = Hello {
                    worker: worker.clone(),
                    incarnation: Incarnation(self.sessions),
                    slots: 2,
                    credit: 16,
                    label: "test".into(),
                    target: "".into(),
                    takes_streams: true,
                    is_draining: false,
                    held: Vec::new(),
                    images: vec![function],
                };
                self.leases.insert(session, (worker, Vec::new()));
                Event::WorkerJoined {
                    session,
                    hello: Box::new(hello),
                }
            }
            11 => {
                let session = session?;
                self.leases.remove(&session);
                let how = match self.random.below(2) {
                    0 => Leaving::Orderly,
                    _ => Leaving::Lost,
                };
                Event::WorkerLeft { session, how }
            }
            12..19 => {
                let session = session?;
                let (_, held) = self.leases.get_mut(&session)?;
                let count = held.len().min(1 + self.random.below(4));
                let ended = held.drain(..count).map(|claim| Ended {
                    claim,
                    outcome: match self.random.below(4) {
                        0 => OutcomeKind::Raised,
                        _ => OutcomeKind::Succeeded,
                    },
                    run_time: Micros(1000),
                    outcome_bytes: 10,
                    digest: Digest::from_bytes([0; 32]),
                });
                Event::LeasesEnded {
                    session,
                    ended: ended.collect(),
                }
            }
            19 => {
                let session = session?;
                let claim = self.leases.get_mut(&session)?.1.pop()?;
                let given = vec![(claim.lease, GiveBackReason::SlotDied)];
                Event::LeasesGivenBack { session, given }
            }
            20 => match self.random.below(2) {
                0 => Event::DrainRequested {
                    request,
                    worker: worker(2),
                },
                _ => Event::UndrainRequested {
                    request,
                    worker: worker(2),
                },
            },
            _ => return None,
        })
    }

    /// A record with the body that the driver would add.
    fn write(&mut self, record: Record) -> Write {
        let text = format!("{record:?}");
        let kind = ALL.into_iter().find(|kind| text.starts_with(kind)).unwrap();
        *self.seen.entry(kind).or_insert(0) += 1;
        match record {
            Record::JobSubmitted { job, spec } => Write::JobSubmitted {
                job,
                spec,
                details: Vec::new(),
            },
            Record::TasksAdded { job, first, count } => added(job, first, count),
            Record::TaskEnded {
                job,
                task,
                end: end @ (TaskEnd::Outcome { .. } | TaskEnd::Cached { .. }),
            } => Write::TaskEnded {
                job,
                task,
                end,
                result: result("r"),
                cache: None,
            },
            other => Write::Record(other),
        }
    }
}

/// Kinds of records, longer names before those that they begin with.
const ALL: [&str; 14] = [
    "JobSubmitted",
    "TasksAdded",
    "JobClosed",
    "TasksReleased",
    "TaskEnded",
    "AttemptLost",
    "AttemptFound",
    "JobEnded",
    "JobRetried",
    "JobForgotten",
    "WorkerJoined",
    "WorkerGone",
    "WorkerDrained",
    "WorkerUndrained",
];

/// Lives for `steps` steps, compares after each `every`, and goes on from what was restored after each `restart`.
fn live(
    world: &mut World,
    store: &mut Box<dyn Store>,
    reopen: &dyn Fn(Box<dyn Store>) -> Box<dyn Store>,
    (steps, every, restart): (usize, usize, usize),
) {
    let mut waiting = Vec::new();
    for step in 1..=steps {
        waiting.extend(world.step());
        if step % every == 0 {
            let answers = commit(&**store, step as u64, std::mem::take(&mut waiting)).unwrap();
            assert!(
                answers.iter().all(|answer| *answer == Answer::Done),
                "a record was made twice"
            );
            let again = restored(&**store, world.now, &mut Outbox::default());
            assert_eq!(
                world.scheduler.durable(),
                again.durable(),
                "after {step} steps"
            );
        }
        if step % restart == 0 {
            let old = std::mem::replace(store, Box::new(in_memory().1));
            *store = reopen(old);
            world.leases.clear();
            let mut out = Outbox::default();
            world.scheduler = restored(&**store, world.now, &mut out);
            world.obey(&out.commands);
            let records = out
                .records
                .into_iter()
                .map(|record| world.write(record))
                .collect::<Vec<_>>();
            waiting.extend(records);
        }
    }
}

#[test]
fn a_scheduler_restored_from_memory_is_what_it_was() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..60 {
        let (_folder, memory) = in_memory();
        let mut store: Box<dyn Store> = Box::new(memory);
        commit(&*store, 0, vec![bundle()]).unwrap();
        let mut world = World::new(seed, &*store);
        live(&mut world, &mut store, &|store| store, (600, 3, usize::MAX));
        for (kind, count) in world.seen {
            *seen.entry(kind).or_insert(0) += count;
        }
    }
    for kind in ALL.into_iter().filter(|kind| *kind != "AttemptFound") {
        assert!(
            seen.get(kind).is_some_and(|count| *count > 5),
            "{kind}: {seen:?}"
        );
    }
}

#[test]
fn a_scheduler_restored_from_sqlite_is_what_it_was() {
    for seed in 100..104 {
        let folder = tempfile::tempdir().unwrap();
        let mut store: Box<dyn Store> = Box::new(open(folder.path()));
        commit(&*store, 0, vec![bundle()]).unwrap();
        let mut world = World::new(seed, &*store);
        let reopen = |old: Box<dyn Store>| -> Box<dyn Store> {
            drop(old);
            Box::new(open(folder.path()))
        };
        live(&mut world, &mut store, &reopen, (600, 10, 150));
        drop(store);
        let report = check(folder.path(), true).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}
