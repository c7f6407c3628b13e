//! The world: one queue of events in virtual time, a network, faults, and the loop.

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
            oracle: Oracle::default(),
            coordinator,
            nodes: nodes.map(|(index, plan)| Node::new(index, plan)).collect(),
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

    // Workers.

    fn worker_starts(&mut self, worker: usize) -> Kept {
        if self.nodes[worker].agent.is_some() || self.nodes[worker].has_left {
            return Ok(());
        }
        let seed = self.rng.next();
        self.nodes[worker].start(self.now, seed);
        self.nodes[worker].timer = Some(self.now);
        let life = self.nodes[worker].life;
        self.after(0, Ev::WorkerTimer(worker, life));
        Ok(())
    }

    fn worker_timer(&mut self, worker: usize, life: u64) -> Kept {
        let now = self.now;
        let node = &mut self.nodes[worker];
        if node.life != life || node.timer.is_none_or(|timer| timer > now) {
            return Ok(());
        }
        node.timer = None;
        let local = node.local(now);
        let mut commands = Vec::new();
        if let Some(agent) = &mut node.agent {
            agent.tick(local, &mut commands);
        }
        self.obey_agent(worker, commands)
    }

    /// Tells an agent something and does what it says.
    fn agent(&mut self, worker: usize, event: agent::Event) -> Kept {
        let now = self.now;
        let node = &mut self.nodes[worker];
        let local = node.local(now);
        let mut commands = Vec::new();
        if let Some(agent) = &mut node.agent {
            agent.handle(local, event, &mut commands);
        }
        self.obey_agent(worker, commands)
    }

    fn obey_agent(&mut self, worker: usize, commands: Vec<agent::Command>) -> Kept {
        for command in commands {
            self.obey(worker, command)?;
        }
        let node = &mut self.nodes[worker];
        if let Some(agent) = &node.agent {
            agent.check_invariants()?;
        }
        let deadline = node.agent.as_ref().and_then(agent::Agent::next_deadline);
        if let Some(deadline) = deadline {
            let at = node.global(deadline).max(self.now);
            if node.timer.is_none_or(|timer| timer > at) {
                node.timer = Some(at);
                let life = node.life;
                self.at(at, Ev::WorkerTimer(worker, life));
            }
        }
        Ok(())
    }

    fn obey(&mut self, worker: usize, command: agent::Command) -> Kept {
        let life = self.nodes[worker].life;
        match command {
            agent::Command::Connect => {
                let round_trip = self.latency() + self.latency();
                let node = &self.nodes[worker];
                let is_cut = node.cut_up_until > self.now || node.cut_down_until > self.now;
                if is_cut || self.coordinator.scheduler.is_none() {
                    self.after(S, Ev::ConnectFailed(worker, life));
                } else {
                    self.after(round_trip, Ev::Connected(worker, life));
                }
            }
            agent::Command::Disconnect => {
                let how = if self.nodes[worker].has_said_goodbye {
                    Leaving::Orderly
                } else {
                    Leaving::Lost
                };
                if let Some(session) = self.nodes[worker].session.take() {
                    let at = self.arrival_up(worker);
                    self.at(at + 1, Ev::Left(session, how));
                }
            }
            agent::Command::Send(message) => self.send_up(worker, message),
            agent::Command::Start(granted) => return self.start_execution(worker, &granted),
            agent::Command::Stop(_) if self.sabotage == Some(Sabotage::NeverFences) => {}
            agent::Command::Stop(lease) => {
                if let Some(execution) = self.nodes[worker].executions.get_mut(&lease) {
                    execution.is_stopping = true;
                    let time = self.rng.range(100, 10 * MS);
                    self.after(time, Ev::Stopped(worker, life, lease));
                }
            }
            agent::Command::DropResult(_) => {}
            agent::Command::Exit(_) => {
                let node = &mut self.nodes[worker];
                node.agent = None;
                node.life += 1;
                node.has_left = true;
                node.executions.clear();
                if let Some(session) = node.session.take() {
                    self.after(S, Ev::Left(session, Leaving::Lost));
                }
            }
        }
        Ok(())
    }

    fn start_execution(&mut self, worker: usize, granted: &Granted) -> Kept {
        let identity = granted.claim.identity;
        let job = self.jobs.iter().find(|job| job.id == identity.job);
        let Some(job) = job else {
            return Err(format!("{} is run and nobody submitted it", identity.job));
        };
        let mut chance = Rng::new(identity.task.0 ^ u64::from(identity.job.as_bytes()[0]) << 32);
        let node = &mut self.nodes[worker];
        let mut slots = usize::try_from(node.slots).unwrap_or(0);
        if self.sabotage == Some(Sabotage::OverfillsSlots) {
            slots = slots.saturating_sub(1);
        }
        if node.executions.len() >= slots {
            return Err(format!(
                "{} runs {} with {slots} slots",
                node.id,
                node.executions.len() + 1
            ));
        }
        if granted.alone && !node.executions.is_empty() {
            return Err(format!("{} runs something beside what runs alone", node.id));
        }
        let vouched = self.now;
        let is_stopping = false;
        node.executions.insert(
            granted.claim.lease,
            Execution {
                vouched,
                is_stopping,
            },
        );
        let run_time = job.plan.run_time * node.plan.slowness / 100;
        let run_time = run_time * chance.range(80, 120) / 100;
        let lease = granted.claim.lease;
        let exec = if chance.one_in(job.plan.poison_one_in) {
            Exec::KillsTheWorker
        } else if node.plan.is_black_hole {
            Exec::Fails
        } else if chance.one_in(job.plan.raises_one_in) {
            Exec::Ends(OutcomeKind::Raised, run_time, 0)
        } else {
            Exec::Ends(OutcomeKind::Succeeded, run_time, 8)
        };
        let time = if matches!(exec, Exec::Fails) {
            MS
        } else {
            run_time
        };
        let life = node.life;
        self.after(time, Ev::Executed(worker, life, lease, exec));
        Ok(())
    }

    fn executed(&mut self, worker: usize, life: u64, lease: LeaseId, exec: Exec) -> Kept {
        let node = &mut self.nodes[worker];
        if node.life != life {
            return Ok(());
        }
        let Some(execution) = node.executions.get(&lease).copied() else {
            return Ok(());
        };
        let unvouched = self.now - execution.vouched;
        if unvouched > LEASE && !execution.is_stopping && !node.is_tampered {
            return Err(format!(
                "{} went on with {lease} for {unvouched} us without a word",
                node.id
            ));
        }
        if execution.is_stopping && self.rng.one_in(2) {
            return Ok(());
        }
        match exec {
            Exec::KillsTheWorker => self.kill(worker),
            Exec::Fails => {
                self.nodes[worker].executions.remove(&lease);
                self.agent(
                    worker,
                    agent::Event::ExecutionFailed(lease, GiveBackReason::HostFailed),
                )
            }
            Exec::Ends(outcome, run_time, outcome_bytes) => {
                self.nodes[worker].executions.remove(&lease);
                let run_time = Duration::from_micros(run_time);
                let finished = Finished {
                    lease,
                    outcome,
                    run_time,
                    outcome_bytes,
                };
                self.agent(worker, agent::Event::ExecutionEnded(finished))
            }
        }
    }

    fn kill(&mut self, worker: usize) -> Kept {
        let node = &mut self.nodes[worker];
        if node.agent.take().is_none() {
            return Ok(());
        }
        node.life += 1;
        node.executions.clear();
        if let Some(session) = node.session.take() {
            let noticed = if self.rng.one_in(2) {
                self.rng.range(0, S)
            } else {
                self.rng.range(S, IDLE)
            };
            self.after(noticed, Ev::Left(session, Leaving::Lost));
        }
        let dead = self.rng.range(500 * MS, 5 * S);
        self.after(dead, Ev::WorkerStarts(worker));
        Ok(())
    }

    // The network.

    fn latency(&mut self) -> u64 {
        let (low, high) = self.plan.latency;
        self.rng.range(low, high)
    }

    fn arrival_up(&mut self, worker: usize) -> u64 {
        let latency = self.latency();
        let is_reordered = self.rng.percent(self.faults.reordering);
        let node = &mut self.nodes[worker];
        let at = self.now.max(node.cut_up_until) + latency;
        if is_reordered {
            return at;
        }
        node.last_up = at.max(node.last_up + 1);
        node.last_up
    }

    fn arrival_down(&mut self, worker: usize) -> u64 {
        let latency = self.latency();
        let is_reordered = self.rng.percent(self.faults.reordering);
        let node = &mut self.nodes[worker];
        let at = self.now.max(node.cut_down_until) + latency;
        if is_reordered {
            return at;
        }
        node.last_down = at.max(node.last_down + 1);
        node.last_down
    }

    fn connected(&mut self, worker: usize, life: u64) -> Kept {
        if self.nodes[worker].life != life {
            return Ok(());
        }
        if self.coordinator.scheduler.is_none() {
            return self.agent(worker, agent::Event::ConnectFailed);
        }
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.coordinator.sessions.insert(session, worker);
        self.nodes[worker].session = Some(session);
        self.agent(worker, agent::Event::SessionOpened)
    }

    fn send_up(&mut self, worker: usize, message: Message) {
        let Some(session) = self.nodes[worker].session else {
            return;
        };
        if matches!(message, Message::Goodbye) {
            self.nodes[worker].has_said_goodbye = true;
            return;
        }
        let mut events = vec![self.event_of(worker, session, message)];
        if self.nodes[worker].plan.lies && self.rng.one_in(4) {
            events.extend(self.lie(worker, session));
        }
        for mut event in events {
            if self.sabotage == Some(Sabotage::TrustsEveryClaim) {
                self.vouch_for(worker, &mut event);
            }
            let is_hello = matches!(event, Event::WorkerJoined { .. });
            if !is_hello && self.rng.percent(self.faults.loss) {
                continue;
            }
            if self.sabotage == Some(Sabotage::LosesWhatIsGivenBack)
                && matches!(
                    event,
                    Event::LeasesGivenBack { .. } | Event::WorkerReported { .. }
                )
            {
                continue;
            }
            if self.rng.percent(self.faults.duplication) {
                let at = self.arrival_up(worker);
                self.at(at, Ev::ToCoordinator(session, Box::new(event.clone())));
            }
            let at = self.arrival_up(worker);
            self.at(at, Ev::ToCoordinator(session, Box::new(event)));
        }
    }

    fn event_of(&mut self, worker: usize, session: SessionId, message: Message) -> Event {
        match message {
            Message::Hello {
                incarnation,
                slots,
                credit,
                is_draining,
                mut held,
                images,
            } => {
                if self.nodes[worker].plan.lies {
                    let claim = self.foreign_claim(worker);
                    let state = HeldState::Running;
                    held.extend(claim.map(|claim| Held { claim, state }));
                }
                Event::WorkerJoined {
                    session,
                    hello: Box::new(Hello {
                        worker: self.nodes[worker].id.clone(),
                        incarnation,
                        slots,
                        credit,
                        label: "".into(),
                        is_draining,
                        held,
                        images,
                    }),
                }
            }
            Message::Report {
                number,
                waiting,
                running,
            } => Event::WorkerReported {
                session,
                report: number,
                waiting,
                running,
            },
            Message::Ended(results) => Event::LeasesEnded {
                session,
                ended: results
                    .into_iter()
                    .map(|(claim, result)| Ended {
                        claim,
                        outcome: result.outcome,
                        run_time: Micros::from(result.run_time),
                        outcome_bytes: result.outcome_bytes,
                    })
                    .collect(),
            },
            Message::GaveBack(given) => Event::LeasesGivenBack { session, given },
            Message::SlotsSet { slots, credit } => Event::SlotsSet {
                session,
                slots,
                credit,
            },
            Message::ImageHeld { function, is_held } => Event::ImageHeld {
                session,
                function,
                is_held,
            },
            Message::Draining | Message::Goodbye => Event::WorkerDraining { session },
        }
    }

    /// A claim that was given to somebody else; its token is made up or stolen.
    fn foreign_claim(&mut self, worker: usize) -> Option<Claim> {
        let id = &self.nodes[worker].id;
        let recent = self.oracle.grants.iter().rev().take(40);
        let others: Vec<_> = recent.filter(|(_, given)| given.worker != *id).collect();
        let (lease, given) = self.rng.pick(&others).copied()?;
        let stolen = given.token;
        let claim = |token| Claim {
            lease: *lease,
            identity: TaskIdentity::new(given.job, TaskId(given.task)),
            attempt: given.attempt,
            token,
        };
        let made_up = LeaseToken::from_bytes([1; 16]);
        Some(if self.rng.one_in(2) {
            claim(stolen)
        } else {
            claim(made_up)
        })
    }

    fn lie(&mut self, worker: usize, session: SessionId) -> Option<Event> {
        let claim = self.foreign_claim(worker)?;
        Some(match self.rng.range(0, 4) {
            0 | 1 => Event::LeasesEnded {
                session,
                ended: vec![Ended {
                    claim,
                    outcome: OutcomeKind::Succeeded,
                    run_time: Micros(1),
                    outcome_bytes: 6,
                }],
            },
            2 => Event::LeasesGivenBack {
                session,
                given: vec![
                    (claim.lease, GiveBackReason::SlotDied),
                    (LeaseId(u64::MAX), GiveBackReason::Cancelled),
                ],
            },
            _ => Event::WorkerReported {
                session,
                report: u64::MAX,
                waiting: vec![claim.lease, claim.lease],
                running: vec![claim.lease, LeaseId(3)],
            },
        })
    }

    /// Sabotage: makes every claim genuine.
    fn vouch_for(&self, worker: usize, event: &mut Event) {
        let id = &self.nodes[worker].id;
        if let Event::LeasesEnded { ended, .. } = event {
            for ended in ended {
                let claim = &mut ended.claim;
                claim.token = LEASE_KEY.token(id, claim.lease, claim.identity, claim.attempt);
            }
        }
    }

    fn arrive_up(&mut self, session: SessionId, event: Event) -> Kept {
        let is_open = self.coordinator.sessions.contains_key(&session);
        if !is_open && !self.rng.percent(self.faults.stale) {
            return Ok(());
        }
        // What comes late must not make a session that the driver has closed.
        if !is_open && matches!(event, Event::WorkerJoined { .. }) {
            return Ok(());
        }
        self.scheduler(Some(event))
    }

    fn left(&mut self, session: SessionId, how: Leaving) -> Kept {
        if self.coordinator.sessions.remove(&session).is_none() {
            return Ok(());
        }
        self.scheduler(Some(Event::WorkerLeft { session, how }))
    }

    fn lost(&mut self, worker: usize, session: SessionId) -> Kept {
        if self.nodes[worker].session != Some(session) {
            return Ok(());
        }
        self.nodes[worker].session = None;
        self.agent(worker, agent::Event::SessionLost)
    }

    fn send_down(&mut self, session: SessionId, event: agent::Event) {
        let Some(worker) = self.coordinator.sessions.get(&session).copied() else {
            return;
        };
        let is_welcome = matches!(event, agent::Event::Welcomed { .. });
        if !is_welcome && self.rng.percent(self.faults.loss) {
            return;
        }
        if self.rng.percent(self.faults.duplication) {
            let at = self.arrival_down(worker);
            self.at(at, Ev::ToWorker(worker, session, Box::new(event.clone())));
        }
        let at = self.arrival_down(worker);
        self.at(at, Ev::ToWorker(worker, session, Box::new(event)));
    }

    fn arrive_down(&mut self, worker: usize, session: SessionId, event: agent::Event) -> Kept {
        let now = self.now;
        let node = &mut self.nodes[worker];
        if node.session != Some(session) {
            return Ok(());
        }
        if matches!(
            event,
            agent::Event::Renewed { .. } | agent::Event::Welcomed { .. }
        ) {
            for execution in node.executions.values_mut() {
                execution.vouched = now;
            }
        }
        if matches!(event, agent::Event::SessionClosed(_)) {
            node.session = None;
        }
        self.agent(worker, event)
    }

    // The coordinator.

    fn coordinator_starts(&mut self) -> Kept {
        if self.coordinator.scheduler.is_some() {
            return Ok(());
        }
        if self.coordinator.disk_full_until > self.now {
            self.at(self.coordinator.disk_full_until, Ev::CoordinatorStarts);
            return Ok(());
        }
        self.starts += 1;
        self.oracle.restarted();
        let out = self.coordinator.start(self.now, &self.oracle)?;
        self.take(out)?;
        self.coordinator_deadline();
        Ok(())
    }

    fn coordinator_timer(&mut self, epoch: u32) -> Kept {
        // One that was set for later than another that came since is void.
        let is_set = self
            .coordinator
            .timer
            .is_some_and(|timer| timer <= self.now);
        if self.coordinator.epoch.number() == epoch && is_set {
            self.coordinator.timer = None;
            self.scheduler(None)?;
        }
        Ok(())
    }

    /// Tells the scheduler something, or only the time.
    fn scheduler(&mut self, event: Option<Event>) -> Kept {
        let now = self.coordinator.local(self.now);
        let Some(scheduler) = &mut self.coordinator.scheduler else {
            return Ok(());
        };
        let mut out = Outbox::default();
        match event {
            Some(event) => scheduler.handle(now, event, &mut out),
            None => scheduler.tick(now, &mut out),
        }
        self.coordinator.steps_made += 1;
        if self
            .coordinator
            .steps_made
            .is_multiple_of(self.plan.check_every)
        {
            scheduler.check_invariants()?;
        }
        self.take(out)?;
        self.coordinator_deadline();
        Ok(())
    }

    fn coordinator_deadline(&mut self) {
        let coordinator = &mut self.coordinator;
        let deadline = coordinator
            .scheduler
            .as_ref()
            .and_then(|scheduler| scheduler.next_deadline());
        if let Some(deadline) = deadline {
            let at = coordinator.global(deadline).max(self.now);
            if coordinator.timer.is_none_or(|timer| timer > at) {
                coordinator.timer = Some(at);
                let epoch = coordinator.epoch.number();
                self.at(at, Ev::CoordinatorTimer(epoch));
            }
        }
    }

    /// A step: its records are to be durable before its commands go out.
    fn take(&mut self, out: Outbox) -> Kept {
        if out.is_empty() {
            return Ok(());
        }
        let Outbox {
            mut records,
            mut commands,
        } = out;
        if self.sabotage == Some(Sabotage::CommandsBeforeCommit) {
            for record in &records {
                self.oracle.decided(record);
            }
            for command in std::mem::take(&mut commands) {
                self.carry_out(command)?;
            }
        }
        if self.sabotage == Some(Sabotage::AcknowledgesBeforeCommit) {
            let is_early = |command: &mut Command| matches!(command, Command::Acknowledge { .. });
            for command in commands.extract_if(.., is_early).collect::<Vec<_>>() {
                self.carry_out(command)?;
            }
        }
        if self.sabotage == Some(Sabotage::SkipsSomeEnds) {
            records.retain(|record| !matches!(record, ppwasm_scheduler::Record::JobEnded { .. }));
        }
        self.coordinator.steps.push_back(Step { records, commands });
        self.commit()
    }

    fn commit(&mut self) -> Kept {
        while self.coordinator.committing == 0 {
            let Some(first) = self.coordinator.steps.front() else {
                return Ok(());
            };
            if first.records.is_empty() {
                if let Some(step) = self.coordinator.steps.pop_front() {
                    for command in step.commands {
                        self.carry_out(command)?;
                    }
                }
                continue;
            }
            self.coordinator.committing = self.coordinator.steps.len();
            let (low, high) = self.plan.commit;
            let time = self.rng.range(low, high);
            let epoch = self.coordinator.epoch.number();
            self.after(time, Ev::Committed(epoch));
        }
        Ok(())
    }

    fn committed(&mut self, epoch: u32) -> Kept {
        let is_current = self.coordinator.epoch.number() == epoch;
        if !is_current || self.coordinator.scheduler.is_none() || self.coordinator.committing == 0 {
            return Ok(());
        }
        if self.coordinator.disk_full_until > self.now || self.rng.percent(self.faults.commit_fails)
        {
            return self.crash_coordinator(false);
        }
        if self.rng.percent(self.faults.commit_lies) {
            return self.crash_coordinator(true);
        }
        let count = std::mem::take(&mut self.coordinator.committing);
        let steps: Vec<Step> = self.coordinator.steps.drain(..count).collect();
        self.make_durable(&steps)?;
        for step in steps {
            for record in &step.records {
                self.oracle.decided(record);
            }
            for command in step.commands {
                self.carry_out(command)?;
            }
        }
        self.commit()?;
        if self.rng.one_in(200) {
            self.coordinator.compare_with_restored()?;
        }
        Ok(())
    }

    fn make_durable(&mut self, steps: &[Step]) -> Kept {
        for record in steps.iter().flat_map(|step| &step.records) {
            self.oracle.durable(record)?;
            let is_lost = self.coordinator.loses_records && self.rng.one_in(20);
            if !is_lost {
                self.coordinator.durable.push(record.clone());
            }
        }
        Ok(())
    }

    /// What was being committed is durable as a whole, or not at all.
    fn crash_coordinator(&mut self, is_durable: bool) -> Kept {
        if self.coordinator.scheduler.is_none() {
            return Ok(());
        }
        let count = std::mem::take(&mut self.coordinator.committing);
        let steps: Vec<Step> = self.coordinator.steps.drain(..).collect();
        if is_durable {
            self.make_durable(&steps[..count])?;
        }
        self.coordinator.scheduler = None;
        self.coordinator.paused_until = 0;
        self.requests.clear();
        let sessions = std::mem::take(&mut self.coordinator.sessions);
        for (session, worker) in sessions {
            let noticed = if self.rng.one_in(2) { S } else { IDLE };
            let noticed = self.rng.range(0, noticed);
            self.after(noticed, Ev::Lost(worker, session));
        }
        let down = self.rng.range(100 * MS, 5 * S);
        self.after(down, Ev::CoordinatorStarts);
        Ok(())
    }

    fn carry_out(&mut self, command: Command) -> Kept {
        let duration = |micros: Micros| micros.duration();
        match command {
            Command::Accept { request, accepted } => {
                if let Some(job) = self.requests.remove(&request)
                    && self.jobs[job].request == Some(request)
                {
                    if let Some(promise) = self.jobs[job].promise(accepted) {
                        let id = self.jobs[job].id;
                        self.oracle.accepted(id, promise)?;
                    }
                    self.jobs[job].accepted(self.now, accepted);
                    let time = self.latency();
                    self.after(time, Ev::Client(job));
                }
            }
            Command::Refuse {
                request,
                why,
                retry_after,
            } => {
                if let Some(job) = self.requests.remove(&request)
                    && self.jobs[job].request == Some(request)
                {
                    self.jobs[job].refused(why)?;
                    let time = retry_after.map_or(S, |after| after.0);
                    self.after(time, Ev::Client(job));
                }
            }
            Command::BuildImage { function } => {
                let epoch = self.coordinator.epoch.number();
                let time = self.rng.range(MS, S);
                self.after(time, Ev::ImageBuilt(epoch, function));
            }
            Command::SendImage { .. } => {}
            Command::Welcome {
                session,
                pace,
                refused,
            } => self.send_down(
                session,
                agent::Event::Welcomed {
                    lease: duration(pace.lease),
                    report_every: duration(pace.report_every),
                    refused,
                },
            ),
            Command::Renew {
                session,
                report,
                pace,
                refused,
            } => self.send_down(
                session,
                agent::Event::Renewed {
                    report,
                    lease: duration(pace.lease),
                    report_every: duration(pace.report_every),
                    refused,
                },
            ),
            Command::Grant {
                session,
                leases,
                lasts,
            } => {
                let Some(worker) = self.coordinator.sessions.get(&session).copied() else {
                    return Ok(());
                };
                let id = self.nodes[worker].id.clone();
                for lease in &leases {
                    let claim = &lease.claim;
                    let given = Given {
                        worker: id.clone(),
                        job: claim.identity.job,
                        task: claim.identity.task.0,
                        attempt: claim.attempt,
                        token: claim.token,
                    };
                    self.oracle.granted(claim.lease, given)?;
                }
                let granted = leases.iter().map(|lease| Granted {
                    claim: lease.claim,
                    alone: lease.alone,
                });
                let leases = granted.collect();
                let lasts = duration(lasts);
                self.send_down(session, agent::Event::Granted { leases, lasts });
            }
            Command::Cancel { session, leases } => {
                self.send_down(session, agent::Event::Cancelled(leases));
            }
            Command::TakeBack { session, leases } => {
                self.send_down(session, agent::Event::TakenBack(leases));
            }
            Command::Acknowledge { session, leases } => {
                if let Some(worker) = self.coordinator.sessions.get(&session) {
                    for lease in &leases {
                        self.oracle.acknowledged(&self.nodes[*worker].id, *lease)?;
                    }
                }
                self.send_down(session, agent::Event::Acknowledged(leases));
            }
            Command::CloseSession { session, why } => {
                let why = match why {
                    CloseReason::Replaced => Closed::Replaced,
                    CloseReason::Revoked => Closed::Revoked,
                    CloseReason::TooManyWorkers => Closed::Other,
                };
                self.send_down(session, agent::Event::SessionClosed(why));
                self.coordinator.sessions.remove(&session);
            }
        }
        Ok(())
    }

    fn image_built(&mut self, epoch: u32, function: Digest) -> Kept {
        if self.coordinator.epoch.number() != epoch {
            return Ok(());
        }
        let event = if function == ClientJob::function(100) {
            Event::ImageFailed { function }
        } else {
            Event::ImageReady { function, bytes: 1 }
        };
        self.scheduler(Some(event))
    }

    // Clients.

    fn client_acts(&mut self, index: usize) -> Kept {
        let now = self.now;
        let job = &mut self.jobs[index];
        if job.request.is_some() {
            return Ok(());
        }
        if job.cancel_at.is_some_and(|at| at <= now) {
            job.cancel_at = None;
            job.stage = Stage::Cancel;
        }
        if job.stage == Stage::Watch {
            let id = job.id;
            let is_over = self.oracle.is_over(id);
            let job = &mut self.jobs[index];
            if is_over && job.retries_left > 0 {
                job.retries_left -= 1;
                job.stage = Stage::Retry;
            } else if is_over && job.cancel_at.is_none() {
                job.stage = Stage::Done;
            } else {
                self.after(S, Ev::Client(index));
                return Ok(());
            }
        }
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let Some(event) = self.jobs[index].ask(request) else {
            return Ok(());
        };
        self.jobs[index].request = Some(request);
        self.requests.insert(request, index);
        self.after(5 * S, Ev::ClientTimeout(index, request));
        if self.coordinator.paused_until > self.now {
            return Ok(());
        }
        if self.rng.one_in(10) {
            // The same request over another connection, whose answer nobody waits for.
            self.scheduler(Some(event.clone()))?;
        }
        self.scheduler(Some(event))
    }

    // Faults.

    fn plan_faults(&mut self) {
        let faults = &self.faults;
        let every = [
            (Fault::Reset, faults.reset_every),
            (Fault::Partition, faults.partition_every),
            (Fault::Swizzle, faults.swizzle_every),
            (Fault::WorkerCrash, faults.worker_crash_every),
            (Fault::CoordinatorCrash, faults.coordinator_crash_every),
            (Fault::DiskFull, faults.disk_full_every),
            (Fault::WorkerPause, faults.worker_pause_every),
            (Fault::CoordinatorPause, faults.coordinator_pause_every),
            (Fault::ClockJump, faults.clock_jump_every),
            (Fault::Drain, if self.plan.drains { 20 * S } else { 0 }),
            (Fault::Slots, if self.plan.slot_changes { 5 * S } else { 0 }),
        ];
        for (fault, every) in every {
            if every == 0 {
                continue;
            }
            let mut at = self.rng.range(0, 2 * every);
            while at < self.plan.chaos {
                self.at(at, Ev::Fault(fault));
                at += self.rng.range(1, 2 * every);
            }
        }
    }

    fn strike(&mut self, fault: Fault) -> Kept {
        let worker = usize::try_from(self.rng.range(0, self.nodes.len() as u64)).unwrap_or(0);
        let long = self.rng.range(0, 60 * S);
        match fault {
            Fault::Reset => {
                if let Some(session) = self.nodes[worker].session {
                    let (up, down) = (self.latency(), self.latency());
                    if !self.rng.one_in(4) {
                        self.after(down, Ev::Lost(worker, session));
                    }
                    self.after(up, Ev::Left(session, Leaving::Lost));
                }
            }
            Fault::Partition => self.partition(worker, long),
            Fault::Swizzle => {
                for worker in 0..self.nodes.len() {
                    let long = self.rng.range(0, 60 * S);
                    self.partition(worker, long);
                }
            }
            Fault::WorkerCrash => return self.kill(worker),
            Fault::CoordinatorCrash => {
                let is_durable = self.rng.one_in(2);
                return self.crash_coordinator(is_durable);
            }
            Fault::DiskFull => self.coordinator.disk_full_until = self.now + long / 3,
            Fault::WorkerPause => {
                let node = &mut self.nodes[worker];
                node.paused_until = self.now + long;
                node.is_tampered = true;
                if long > IDLE
                    && let Some(session) = node.session
                {
                    self.after(IDLE, Ev::Left(session, Leaving::Lost));
                }
            }
            Fault::CoordinatorPause => {
                self.coordinator.paused_until = self.now + long;
                if long > IDLE {
                    let sessions: Vec<_> = self
                        .coordinator
                        .sessions
                        .iter()
                        .map(|(s, w)| (*s, *w))
                        .collect();
                    for (session, worker) in sessions {
                        self.after(IDLE, Ev::Lost(worker, session));
                        self.after(long + 1, Ev::Left(session, Leaving::Lost));
                    }
                }
            }
            Fault::ClockJump => {
                if self.rng.one_in(3) {
                    self.coordinator.clock += long;
                    self.coordinator_deadline();
                } else {
                    let node = &mut self.nodes[worker];
                    node.clock += long;
                    node.is_tampered = true;
                    node.timer = Some(self.now);
                    let life = node.life;
                    self.after(0, Ev::WorkerTimer(worker, life));
                }
            }
            Fault::Drain => return self.drain(worker),
            Fault::Slots => {
                let slots = u32::try_from(self.rng.range(0, 6)).unwrap_or(1);
                self.nodes[worker].slots = slots.max(1);
                return self.agent(worker, agent::Event::SlotsSet(slots.max(1)));
            }
        }
        Ok(())
    }

    fn drain(&mut self, worker: usize) -> Kept {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let id = self.nodes[worker].id.clone();
        match self.rng.range(0, 4) {
            0 => self.agent(worker, agent::Event::DrainRequested),
            1 if self.rng.one_in(3) => self.scheduler(Some(Event::WorkerRevoked { worker: id })),
            1 | 2 => self.scheduler(Some(Event::DrainRequested {
                request,
                worker: id,
            })),
            _ => self.scheduler(Some(Event::UndrainRequested {
                request,
                worker: id,
            })),
        }
    }

    fn partition(&mut self, worker: usize, long: u64) {
        let (up, down) = if self.faults.one_way {
            let up = self.rng.one_in(2);
            (up, !up)
        } else {
            (true, true)
        };
        let until = self.now + long;
        let node = &mut self.nodes[worker];
        let session = node.session;
        if up {
            node.cut_up_until = until;
        }
        if down {
            node.cut_down_until = until;
        }
        if let Some(session) = session
            && long > IDLE
        {
            if up {
                self.after(IDLE, Ev::Left(session, Leaving::Lost));
            }
            if down {
                self.after(IDLE, Ev::Lost(worker, session));
            }
        }
    }

    /// Everything is well from now on, but for workers that are bad by nature; and there is a new good one.
    fn heal(&mut self) -> Kept {
        self.is_healed = true;
        self.faults = Faults::default();
        self.coordinator.paused_until = 0;
        self.coordinator.disk_full_until = 0;
        let index = self.nodes.len();
        let plan = WorkerPlan {
            slots: 2,
            slowness: 100,
            joins_at: 0,
            is_black_hole: false,
            lies: false,
        };
        self.nodes.push(Node::new(index, plan));
        for worker in 0..self.nodes.len() {
            let node = &mut self.nodes[worker];
            node.paused_until = 0;
            node.cut_up_until = 0;
            node.cut_down_until = 0;
            self.after(0, Ev::WorkerStarts(worker));
        }
        self.after(0, Ev::CoordinatorStarts);
        Ok(())
    }
}
