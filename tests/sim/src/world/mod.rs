//! The world: one queue of events in virtual time, a network, faults, and the loop.

mod clients;
mod driver;
mod faults;
mod network;
mod workers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::time::Duration;

use ppwasm_proto::fabric::{
    Claim, GiveBackReason, Held, HeldState, LeaseId, LeaseToken, OutcomeKind, SessionId,
};
use ppwasm_proto::{Digest, TaskId, TaskIdentity};
use ppwasm_scheduler::{
    CloseReason, Command, Ended, Event, Hello, Leaving, Micros, Outbox, RequestId,
};
use ppwasm_worker::agent::{self, Closed, Finished, Granted, Message};

use crate::Sabotage;
use crate::client::{ClientJob, Stage};
use crate::coordinator::{Coordinator, LEASE_KEY, Step};
use crate::node::{Execution, Node};
use crate::oracle::{Broken, Given, Oracle};
use crate::plan::{Faults, MS, Plan, S, WorkerPlan};
use crate::rng::Rng;

/// Virtual time after the heal by which everything has ended.
const HEALED_WITHIN: u64 = 1500 * S;
/// Events of one run: more is a loop.
const EVENTS_MAX: u64 = 3_000_000;
/// After so long without packets each end gives a connection up.
const IDLE: u64 = 20 * S;
const LEASE: u64 = 30 * S;

/// What a run was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that happened.
    pub events: u64,
    /// Tasks that ended.
    pub ended: u64,
    /// Those of them that were abandoned or quarantined.
    pub given_up: u64,
    /// Lives of the coordinator.
    pub coordinator_starts: u64,
    /// Leases that went out.
    pub granted: u64,
    /// Virtual time until all was over.
    pub seconds: u64,
    /// Tasks whose outcome another worker confirmed.
    pub confirmed: u64,
    /// Workers that were drained for outcomes that were made up.
    pub caught: u64,
    /// Leases that went out before what they came with was durable.
    pub early: u64,
    /// Tasks that ended as they were added, with an outcome that was known.
    pub from_cache: u64,
    /// Those of them that had been begun before they were durable, and were lost with the coordinator.
    pub known_later: u64,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When, in virtual microseconds.
    pub at: u64,
    /// Which.
    pub what: Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at, what } = self;
        write!(f, "seed {seed} at {}.{:06} s: {what}", at / S, at % S)
    }
}

impl std::error::Error for Failure {}

#[derive(Debug)]
enum Ev {
    WorkerStarts(usize),
    WorkerTimer(usize, u64),
    Connected(usize, u64),
    ConnectFailed(usize, u64),
    ToWorker(usize, SessionId, Box<agent::Event>),
    ToCoordinator(SessionId, Box<Event>),
    /// The coordinator's end of a connection is gone.
    Left(SessionId, Leaving),
    /// The worker's end is.
    Lost(usize, SessionId),
    Executed(usize, u64, LeaseId, Exec),
    Stopped(usize, u64, LeaseId),
    CoordinatorStarts,
    CoordinatorTimer(u32),
    Committed(u32),
    ImageBuilt(u32, Digest),
    Client(usize),
    ClientTimeout(usize, RequestId),
    Fault(Fault),
    Heal,
}

#[derive(Clone, Copy, Debug)]
enum Exec {
    Ends(OutcomeKind, u64, u64),
    Fails,
    KillsTheWorker,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Reset,
    Partition,
    Swizzle,
    WorkerCrash,
    CoordinatorCrash,
    DiskFull,
    WorkerPause,
    CoordinatorPause,
    ClockJump,
    Drain,
    Slots,
}

/// A run.
#[derive(Debug)]
pub struct World {
    seed: u64,
    plan: Plan,
    faults: Faults,
    sabotage: Option<Sabotage>,
    rng: Rng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Ev>,
    next_event: u64,
    happened: u64,
    oracle: Oracle,
    coordinator: Coordinator,
    nodes: Vec<Node>,
    jobs: Vec<ClientJob>,
    next_session: u64,
    next_request: u64,
    requests: BTreeMap<RequestId, usize>,
    starts: u64,
    is_healed: bool,
    /// Prints what happens.
    pub is_traced: bool,
}

type Kept = Result<(), Broken>;

impl World {
    /// A world of this plan.
    pub fn new(seed: u64, plan: Plan, sabotage: Option<Sabotage>) -> Self {
        let nodes = plan.workers.iter().cloned().enumerate();
        let nodes: Vec<_> = nodes.map(|(index, plan)| Node::new(index, plan)).collect();
        let unsuited = nodes.iter().filter(|node| !node.plan.takes_streams);
        let oracle = Oracle::new(unsuited.map(|node| node.id.clone()).collect());
        let jobs = plan.jobs.iter().cloned().enumerate();
        let mut coordinator = Coordinator::new(plan.second_attempts);
        coordinator.is_sabotaged_epoch = sabotage == Some(Sabotage::SameEpoch);
        coordinator.loses_records = sabotage == Some(Sabotage::LosesRecords);
        Self {
            seed,
            faults: plan.faults.clone(),
            sabotage,
            rng: Rng::new(seed ^ 0x77),
            now: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            happened: 0,
            oracle,
            coordinator,
            nodes,
            jobs: jobs
                .map(|(index, plan)| ClientJob::new(index, plan))
                .collect(),
            next_session: 0,
            next_request: 0,
            requests: BTreeMap::new(),
            starts: 0,
            is_healed: false,
            is_traced: false,
            plan,
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// The first promise that was not kept.
    pub fn run(mut self) -> Result<Report, Failure> {
        let result = self.live();
        match result {
            Ok(()) => Ok(Report {
                events: self.happened,
                ended: self.oracle.ended(),
                given_up: self.oracle.given_up(),
                coordinator_starts: self.starts,
                granted: self.oracle.grants.len() as u64,
                seconds: self.now / S,
                confirmed: self.oracle.verdicts().0,
                caught: self.oracle.verdicts().1,
                early: self.oracle.early(),
                from_cache: self.oracle.known().0,
                known_later: self.oracle.known().1,
            }),
            Err(what) => Err(Failure {
                seed: self.seed,
                at: self.now,
                what,
            }),
        }
    }

    fn live(&mut self) -> Kept {
        self.at(0, Ev::CoordinatorStarts);
        for index in 0..self.nodes.len() {
            self.at(self.nodes[index].plan.joins_at, Ev::WorkerStarts(index));
        }
        for index in 0..self.jobs.len() {
            self.at(self.jobs[index].plan.at, Ev::Client(index));
        }
        self.plan_faults();
        self.at(self.plan.chaos, Ev::Heal);
        while let Some(Reverse((at, number))) = self.queue.pop() {
            let Some(event) = self.events.remove(&number) else {
                continue;
            };
            self.now = at;
            self.happened += 1;
            if self.happened > EVENTS_MAX {
                return Err("events without end".into());
            }
            if self.now > self.plan.chaos + HEALED_WITHIN {
                return Err(self.stuck());
            }
            if self.is_traced {
                println!("{:>12} {event:?}", self.now);
            }
            self.happen(event)?;
            if self.is_healed && self.is_over() {
                self.coordinator.compare_with_restored()?;
                return Ok(());
            }
        }
        Err(self.stuck())
    }

    fn is_over(&self) -> bool {
        self.coordinator.steps.is_empty() && self.jobs.iter().all(|job| job.stage == Stage::Done)
    }

    fn stuck(&self) -> Broken {
        let unfinished = self.oracle.unfinished().unwrap_or_else(|| "no job".into());
        let why = self.oracle.first_open().and_then(|(job, task)| {
            let scheduler = self.coordinator.scheduler.as_ref()?;
            Some(format!(
                "{:?}\n{:#?}",
                scheduler.explain(job, TaskId(task)),
                scheduler.workers()
            ))
        });
        let stages: Vec<_> = self.jobs.iter().map(|job| job.stage).collect();
        format!(
            "not over long after the heal: {unfinished}; clients {stages:?}; {}",
            why.unwrap_or_default()
        )
    }

    fn at(&mut self, at: u64, event: Ev) {
        let number = self.next_event;
        self.next_event += 1;
        self.queue.push(Reverse((at.max(self.now), number)));
        self.events.insert(number, event);
    }

    fn after(&mut self, time: u64, event: Ev) {
        self.at(self.now + time, event);
    }

    fn happen(&mut self, event: Ev) -> Kept {
        // Who is stopped takes note later, in the same order.
        let (worker, is_coordinators) = match &event {
            Ev::WorkerTimer(worker, _)
            | Ev::Connected(worker, _)
            | Ev::ConnectFailed(worker, _)
            | Ev::ToWorker(worker, ..)
            | Ev::Lost(worker, _)
            | Ev::Executed(worker, ..)
            | Ev::Stopped(worker, ..) => (Some(*worker), false),
            Ev::ToCoordinator(..)
            | Ev::Left(..)
            | Ev::CoordinatorTimer(_)
            | Ev::Committed(_)
            | Ev::ImageBuilt(..) => (None, true),
            _ => (None, false),
        };
        let until = match worker {
            Some(worker) => self.nodes[worker].paused_until,
            None if is_coordinators => self.coordinator.paused_until,
            None => 0,
        };
        if until > self.now {
            self.at(until, event);
            return Ok(());
        }
        match event {
            Ev::WorkerStarts(worker) => self.worker_starts(worker),
            Ev::WorkerTimer(worker, life) => self.worker_timer(worker, life),
            Ev::Connected(worker, life) => self.connected(worker, life),
            Ev::ConnectFailed(worker, life) => {
                if self.nodes[worker].life == life {
                    self.agent(worker, agent::Event::ConnectFailed)?;
                }
                Ok(())
            }
            Ev::ToWorker(worker, session, event) => self.arrive_down(worker, session, *event),
            Ev::ToCoordinator(session, event) => self.arrive_up(session, *event),
            Ev::Left(session, how) => self.left(session, how),
            Ev::Lost(worker, session) => self.lost(worker, session),
            Ev::Executed(worker, life, lease, exec) => self.executed(worker, life, lease, exec),
            Ev::Stopped(worker, life, lease) => {
                let node = &mut self.nodes[worker];
                if node.life == life && node.executions.remove(&lease).is_some() {
                    self.agent(worker, agent::Event::ExecutionStopped(lease))?;
                }
                Ok(())
            }
            Ev::CoordinatorStarts => self.coordinator_starts(),
            Ev::CoordinatorTimer(epoch) => self.coordinator_timer(epoch),
            Ev::Committed(epoch) => self.committed(epoch),
            Ev::ImageBuilt(epoch, function) => self.image_built(epoch, function),
            Ev::Client(job) => self.client_acts(job),
            Ev::ClientTimeout(job, request) => {
                if self.jobs[job].request == Some(request) {
                    self.jobs[job].request = None;
                    self.after(0, Ev::Client(job));
                }
                Ok(())
            }
            Ev::Fault(fault) => self.strike(fault),
            Ev::Heal => self.heal(),
        }
    }
}
