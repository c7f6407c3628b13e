//! The loop that owns the scheduler: events in, one batch to the store, and only then what follows from it.
//!
//! Steps are put into groups; a group is committed as one batch, and its effects are carried out in order once it, and all
//! before it, are durable. Bodies go around the scheduler: they come in with an event and leave with the record that
//! names them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_proto::fabric::{ClientName, OutcomeKind, SessionId, WorkerId};
use ppwasm_proto::wire::{
    Acknowledge, BlobRef, CREDIT_MAX, Cancel, CloseCode, Done, ErrorCode, Failed, JobOpened,
    JobState, List, MINOR, Message, Payload, Ranged, Renewed, TakeBack, TaskCounts, TasksAppended,
    Text, Welcome,
};
use ppwasm_proto::{Digest, JobId, TaskId};
use ppwasm_scheduler::{
    Accepted, CloseReason, Command, Ended, Event, Hello, JobEnd, JobSpec, Leaving, Micros, Outbox,
    Record, Refusal, RequestId, Scheduler, TaskEnd, Timestamp,
};
use tokio::sync::{Semaphore, mpsc, watch as signal};
use tokio::task::JoinSet;

use super::session::Outgoing;
use super::terms::JobTerms;
use super::watch::{Watch, WatchEnd, body};
use super::{ServerError, Shared};
use crate::store::{Batch, Body, CommitError, TaskResult, Write};

/// Events that wait for the core, each a message at most.
pub(crate) const INPUTS_MAX: usize = 256;
/// Events that are handled before what came of them is committed.
const INPUTS_PER_GROUP_MAX: usize = 256;
/// Writes from which a group ends.
const GROUP_WRITES: usize = 4096;
/// Bytes of bodies from which a group ends.
const GROUP_BYTES: usize = 4 << 20;
/// Groups that wait for those before them; with more nothing is read from sessions.
const GROUPS_MAX: usize = 8;
/// Groups that the store has at a time: one is written while the next one is collected.
const IN_FLIGHT_MAX: usize = 2;
/// Tasks that a client may append beyond those that are durable.
pub(crate) const APPEND_CREDIT: u64 = 8192;
/// Images that are built at a time.
const BUILDS_MAX: usize = 1;
/// Tries to build an image when the builder fails.
const BUILD_TRIES: u32 = 5;
/// Time between them.
const BUILD_PAUSE: Duration = Duration::from_secs(1);
/// Watches of one job.
const JOB_WATCHES_MAX: usize = 64;

/// What sessions tell the core.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
pub(crate) enum Input {
    /// A client has a session, or a worker is about to say hello.
    Opened {
        session: SessionId,
        outgoing: mpsc::Sender<Outgoing>,
    },
    Joined {
        session: SessionId,
        hello: Box<Hello>,
    },
    /// A worker's message.
    Worker {
        session: SessionId,
        message: Message,
    },
    Client {
        session: SessionId,
        client: ClientName,
        request: u32,
        asks: Ask,
    },
    Left {
        session: SessionId,
        how: Leaving,
    },
    /// A worker is nobody any more.
    Revoked {
        worker: WorkerId,
    },
    /// An image is ready, with its size, or cannot be built.
    Built {
        function: Digest,
        bytes: Option<u64>,
    },
}

/// What a client asks for.
pub(crate) enum Ask {
    Open {
        job: JobId,
        terms: Box<JobTerms>,
    },
    Append {
        job: JobId,
        first: u64,
        calls: Vec<Body>,
    },
    Close {
        job: JobId,
        tasks: u64,
    },
    Cancel {
        job: JobId,
    },
    Retry {
        job: JobId,
    },
    Forget {
        job: JobId,
    },
    Watch {
        watch: Arc<Watch>,
    },
}

/// Steps that become durable together, and what follows.
#[derive(Default)]
struct Group {
    writes: Vec<Write>,
    bytes: usize,
    effects: Vec<Effect>,
}

enum Effect {
    Command(Command),
    TaskEnded(JobId, TaskId, OutcomeKind),
    JobEnded(JobId, JobEnd),
    JobRetried(JobId),
    JobForgotten(JobId),
    Watch(SessionId, Arc<Watch>),
    Send(SessionId, Box<Message>),
}

/// Who waits for an answer of the scheduler.
struct Asker {
    session: SessionId,
    request: u32,
    job: JobId,
    kind: AskKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AskKind {
    Open,
    Append,
    Other,
}

/// Bodies of the event that is being handled.
#[derive(Default)]
struct Bodies {
    details: Vec<u8>,
    bundle: Option<BlobRef>,
    first: u64,
    calls: Vec<Body>,
    results: Vec<(ppwasm_proto::fabric::LeaseId, TaskResult)>,
    next_result: usize,
}

pub(crate) struct Core {
    shared: Arc<Shared>,
    scheduler: Scheduler,
    started: Instant,
    inputs: mpsc::Receiver<Input>,
    stop: signal::Receiver<bool>,
    committed: mpsc::Receiver<Result<(), CommitError>>,
    commit: mpsc::Sender<Result<(), CommitError>>,
    open: Group,
    waiting: VecDeque<Group>,
    /// Effects of the groups that the store has.
    in_flight: VecDeque<Vec<Effect>>,
    sessions: HashMap<SessionId, mpsc::Sender<Outgoing>>,
    askers: HashMap<RequestId, Asker>,
    next_request: u64,
    watches: HashMap<JobId, Vec<Arc<Watch>>>,
    counts: HashMap<JobId, [u64; 6]>,
    builds: JoinSet<()>,
    may_build: Arc<Semaphore>,
    outbox: Outbox,
}

impl Core {
    /// A core that goes on where the store ends.
    pub(crate) fn restore(
        shared: Arc<Shared>,
        inputs: mpsc::Receiver<Input>,
        stop: signal::Receiver<bool>,
    ) -> Result<Self, ServerError> {
        let mut records = Vec::new();
        (shared.store).recover(&mut |record| records.push(record))?;
        let mut counts = HashMap::<JobId, [u64; 6]>::new();
        for record in &records {
            match record {
                Record::TaskEnded { job, end, .. } => {
                    counts.entry(*job).or_default()[place(end.outcome())] += 1;
                }
                Record::JobRetried { job, .. } => forget_failures(&mut counts, *job),
                _ => {}
            }
        }
        let mut config = shared.config.scheduler.clone();
        config.lease_key = shared.store.lease_key();
        let mut outbox = Outbox::default();
        let (epoch, now) = (shared.store.epoch(), Timestamp::ZERO);
        let scheduler = Scheduler::restore(config, epoch, now, records, &mut outbox)?;
        let (commit, committed) = mpsc::channel(IN_FLIGHT_MAX);
        let mut core = Self {
            shared,
            scheduler,
            started: Instant::now(),
            inputs,
            stop,
            committed,
            commit,
            open: Group::default(),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            sessions: HashMap::new(),
            askers: HashMap::new(),
            next_request: 0,
            watches: HashMap::new(),
            counts,
            builds: JoinSet::new(),
            may_build: Arc::new(Semaphore::new(BUILDS_MAX)),
            outbox,
        };
        core.take_step(&mut Bodies::default());
        Ok(core)
    }

    /// Runs until it is told to stop, or the store fails.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let mut arrived = Vec::with_capacity(INPUTS_PER_GROUP_MAX);
        loop {
            self.end_group();
            self.submit()?;
            while self.builds.try_join_next().is_some() {}
            let deadline = self.scheduler.next_deadline();
            let deadline = deadline.map(|at| self.started + Duration::from_micros(at.0));
            let has_room = self.waiting.len() < GROUPS_MAX;
            tokio::select! {
                biased;
                _ = self.stop.changed() => return Ok(()),
                Some(result) = self.committed.recv() => {
                    result?;
                    for effect in self.in_flight.pop_front().unwrap_or_default() {
                        self.carry_out(effect);
                    }
                }
                _ = self.inputs.recv_many(&mut arrived, INPUTS_PER_GROUP_MAX), if has_room => {
                    for input in arrived.drain(..) {
                        self.take(input);
                    }
                }
                () = until(deadline), if has_room => {
                    let now = self.now();
                    self.scheduler.tick(now, &mut self.outbox);
                    self.take_step(&mut Bodies::default());
                }
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(Micros::from(self.started.elapsed()).0)
    }

    fn handle(&mut self, event: Event, bodies: &mut Bodies) {
        let now = self.now();
        self.scheduler.handle(now, event, &mut self.outbox);
        self.take_step(bodies);
    }

    // From a step to writes and effects.

    fn take_step(&mut self, bodies: &mut Bodies) {
        let mut records = std::mem::take(&mut self.outbox.records);
        for record in records.drain(..) {
            self.take_record(record, bodies);
        }
        self.outbox.records = records;
        let commands = self.outbox.commands.drain(..).map(Effect::Command);
        self.open.effects.extend(commands);
        if self.open.writes.len() >= GROUP_WRITES || self.open.bytes >= GROUP_BYTES {
            self.end_group();
        }
    }

    fn take_record(&mut self, record: Record, bodies: &mut Bodies) {
        let group = &mut self.open;
        let write = match record {
            Record::JobSubmitted { job, spec } => {
                if let Some(blob) = bodies.bundle {
                    group.writes.push(Write::Bundle {
                        digest: blob.digest,
                        body: Body::Blob {
                            digest: blob.digest,
                            size: blob.bytes,
                        },
                    });
                }
                let details = std::mem::take(&mut bodies.details);
                Write::JobSubmitted { job, spec, details }
            }
            Record::TasksAdded { job, first, count } => {
                // Those before `first` were there already.
                let known = usize::try_from(first - bodies.first.min(first)).unwrap_or(usize::MAX);
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let calls: Vec<_> = bodies.calls.drain(..).skip(known).take(count).collect();
                group.bytes += calls.iter().map(row_bytes).sum::<usize>();
                Write::TasksAdded { job, first, calls }
            }
            Record::TaskEnded { job, task, end } => {
                group
                    .effects
                    .push(Effect::TaskEnded(job, task, end.outcome()));
                match &end {
                    TaskEnd::Outcome { lease, .. } => {
                        let result = bodies.result(*lease);
                        group.bytes += row_bytes(&result.outcome)
                            + row_bytes(&result.stdout)
                            + row_bytes(&result.stderr);
                        Write::TaskEnded {
                            job,
                            task,
                            end,
                            result: Box::new(result),
                        }
                    }
                    TaskEnd::Abandoned | TaskEnd::Quarantined => {
                        Write::Record(Record::TaskEnded { job, task, end })
                    }
                }
            }
            Record::JobEnded { job, how } => {
                group.effects.push(Effect::JobEnded(job, how));
                Write::Record(Record::JobEnded { job, how })
            }
            Record::JobRetried { job, lease_floor } => {
                group.effects.push(Effect::JobRetried(job));
                Write::Record(Record::JobRetried { job, lease_floor })
            }
            Record::JobForgotten { job } => {
                group.effects.push(Effect::JobForgotten(job));
                Write::Record(Record::JobForgotten { job })
            }
            record => Write::Record(record),
        };
        group.writes.push(write);
    }

    fn end_group(&mut self) {
        if !self.open.writes.is_empty() || !self.open.effects.is_empty() {
            self.waiting.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Gives the store what it can take; carries out at once what waits for nothing.
    fn submit(&mut self) -> Result<(), ServerError> {
        while let Some(group) = self.waiting.front() {
            if group.writes.is_empty() {
                let effects = self.waiting.pop_front().unwrap_or_default().effects;
                match self.in_flight.back_mut() {
                    Some(last) => last.extend(effects),
                    None => effects
                        .into_iter()
                        .for_each(|effect| self.carry_out(effect)),
                }
                continue;
            }
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                return Ok(());
            }
            let group = self.waiting.pop_front().unwrap_or_default();
            let commit = self.commit.clone();
            let batch = Batch::at(wall_ms(), group.writes);
            let done = move |result: Result<Vec<_>, _>| {
                // There is room for every group that is in flight.
                let _ = commit.try_send(result.map(|_| ()));
            };
            match self.shared.store.commit(batch, Box::new(done)) {
                Ok(()) => self.in_flight.push_back(group.effects),
                Err(refused) => return Err(refused.why.into()),
            }
        }
        Ok(())
    }

    // What comes in.

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened { session, outgoing } => {
                self.sessions.insert(session, outgoing);
            }
            Input::Joined { session, hello } => {
                self.handle(
                    Event::WorkerJoined { session, hello },
                    &mut Bodies::default(),
                );
            }
            Input::Worker { session, message } => self.take_from_worker(session, message),
            Input::Client {
                session,
                client,
                request,
                asks,
            } => self.take_from_client(session, client, request, asks),
            Input::Left { session, how } => {
                self.sessions.remove(&session);
                self.handle(Event::WorkerLeft { session, how }, &mut Bodies::default());
            }
            Input::Revoked { worker } => {
                self.handle(Event::WorkerRevoked { worker }, &mut Bodies::default());
            }
            Input::Built { function, bytes } => {
                let event = match bytes {
                    Some(bytes) => Event::ImageReady { function, bytes },
                    None => Event::ImageFailed { function },
                };
                self.handle(event, &mut Bodies::default());
            }
        }
    }

    fn take_from_worker(&mut self, session: SessionId, message: Message) {
        let mut bodies = Bodies::default();
        let event = match message {
            Message::Report(report) => Event::WorkerReported {
                session,
                report: report.number,
                waiting: report.waiting.into_vec(),
                running: report.running.into_vec(),
            },
            Message::Ended(ended) => {
                let mut attempts = Vec::with_capacity(ended.results.len());
                bodies.results.reserve(ended.results.len());
                for result in ended.results {
                    attempts.push(Ended {
                        claim: result.claim,
                        outcome: result.kind,
                        run_time: Micros(result.usage.wall_us),
                        outcome_bytes: result.outcome.byte_count(),
                    });
                    let optional = |one: Option<Payload>| one.map(body).unwrap_or_default();
                    let stored = TaskResult {
                        outcome: body(result.outcome),
                        stdout: optional(result.stdout),
                        stderr: optional(result.stderr),
                        run_time_us: result.usage.wall_us,
                    };
                    bodies.results.push((result.claim.lease, stored));
                }
                Event::LeasesEnded {
                    session,
                    ended: attempts,
                }
            }
            Message::GiveBack(back) => Event::LeasesGivenBack {
                session,
                given: (back.leases.iter().map(|given| (given.lease, given.why))).collect(),
            },
            Message::SlotsSet(set) => {
                let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                Event::SlotsSet {
                    session,
                    slots: number(set.slots.value()),
                    credit: number(set.credit.value()),
                }
            }
            Message::Draining(_) => Event::WorkerDraining { session },
            Message::ImagesHeld(images) => {
                for (functions, is_held) in [(images.held, true), (images.dropped, false)] {
                    for function in functions {
                        let event = Event::ImageHeld {
                            session,
                            function,
                            is_held,
                        };
                        self.handle(event, &mut bodies);
                    }
                }
                return;
            }
            _ => return,
        };
        self.handle(event, &mut bodies);
    }

    fn take_from_client(&mut self, session: SessionId, client: ClientName, number: u32, asks: Ask) {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let mut bodies = Bodies::default();
        let (job, kind, event) = match asks {
            Ask::Open { job, terms } => {
                bodies.details = terms.to_bytes();
                bodies.bundle = Some(terms.open.function);
                let spec = Box::new(terms.spec(client));
                (
                    job,
                    AskKind::Open,
                    Event::JobSubmitted { request, job, spec },
                )
            }
            Ask::Append { job, first, calls } => {
                let count = calls.len() as u64;
                bodies.first = first;
                bodies.calls = calls;
                let event = Event::TasksAppended {
                    request,
                    client,
                    job,
                    first,
                    count,
                };
                (job, AskKind::Append, event)
            }
            Ask::Close { job, tasks } => {
                let event = Event::JobClosed {
                    request,
                    client,
                    job,
                    tasks,
                };
                (job, AskKind::Other, event)
            }
            Ask::Cancel { job } => {
                let event = Event::JobCancelled {
                    request,
                    client,
                    job,
                };
                (job, AskKind::Other, event)
            }
            Ask::Retry { job } => {
                let event = Event::RetryRequested {
                    request,
                    client,
                    job,
                };
                (job, AskKind::Other, event)
            }
            Ask::Forget { job } if self.is_owner(&client, job) => {
                (job, AskKind::Other, Event::JobForgotten { request, job })
            }
            Ask::Watch { watch } if self.is_owner(&client, watch.job) => {
                self.open.effects.push(Effect::Watch(session, watch));
                return;
            }
            Ask::Forget { .. } | Ask::Watch { .. } => {
                let message = failed(number, ErrorCode::NotFound, "there is no such job", None);
                self.open
                    .effects
                    .push(Effect::Send(session, Box::new(message)));
                return;
            }
        };
        let asker = Asker {
            session,
            request: number,
            job,
            kind,
        };
        self.askers.insert(request, asker);
        self.handle(event, &mut bodies);
    }

    fn is_owner(&self, client: &ClientName, job: JobId) -> bool {
        let is_theirs = |spec: &JobSpec| spec.owner == *client;
        self.scheduler.job_spec(job).is_some_and(is_theirs)
    }

    // What follows once it is durable.

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Command(command) => self.carry_out_command(command),
            Effect::TaskEnded(job, task, kind) => {
                self.counts.entry(job).or_default()[place(kind)] += 1;
                for watch in self.watches.get(&job).into_iter().flatten() {
                    watch.tell(task.0);
                }
            }
            Effect::JobEnded(job, how) => {
                let end = self.end_of(job, how);
                for watch in self.watches.remove(&job).unwrap_or_default() {
                    watch.end(end.clone());
                }
            }
            Effect::JobRetried(job) => forget_failures(&mut self.counts, job),
            Effect::JobForgotten(job) => {
                self.counts.remove(&job);
                self.watches.remove(&job);
            }
            Effect::Watch(session, watch) => self.add_watch(session, watch),
            Effect::Send(session, message) => self.send(session, *message),
        }
    }

    fn add_watch(&mut self, session: SessionId, watch: Arc<Watch>) {
        // What ended before it was told anything is in the store.
        watch.miss();
        let ended = self.shared.store.job(&watch.job);
        match ended.map(|entry| entry.and_then(|entry| entry.ended)) {
            Ok(Some((how, _))) => watch.end(self.end_of(watch.job, how)),
            Ok(None) => {
                let watches = self.watches.entry(watch.job).or_default();
                // Whose session is over has let go of it.
                watches.retain(|watch| Arc::strong_count(watch) > 1);
                if watches.len() < JOB_WATCHES_MAX {
                    watches.push(watch);
                } else {
                    let reason = "too many watch this job";
                    let message = failed(watch.request, ErrorCode::Busy, reason, Some(1000));
                    self.send(session, message);
                }
            }
            Err(_) => {
                let reason = "the store could not be read";
                let message = failed(watch.request, ErrorCode::Internal, reason, Some(1000));
                self.send(session, message);
            }
        }
    }

    fn end_of(&self, job: JobId, how: JobEnd) -> WatchEnd {
        let kinds = self.counts.get(&job).copied().unwrap_or_default();
        let ended = kinds.iter().sum::<u64>();
        let tasks = self.scheduler.job(job).map_or(ended, |view| view.tasks);
        let [
            succeeded,
            raised,
            trapped,
            limit_exceeded,
            cancelled,
            abandoned,
        ] = kinds;
        let counts = TaskCounts {
            succeeded,
            raised,
            trapped,
            limit_exceeded,
            cancelled: match how {
                JobEnd::Cancelled => cancelled + tasks.saturating_sub(ended),
                _ => cancelled,
            },
            abandoned,
            ..TaskCounts::default()
        };
        let function = self.scheduler.job_spec(job).map(|spec| spec.function);
        let failure = match how {
            JobEnd::ImageFailed => function.and_then(|f| self.shared.shelf.failure(&f)),
            _ => None,
        };
        let inline = |bytes: Arc<[u8]>| Some(Payload::Inline((&bytes[..]).try_into().ok()?));
        WatchEnd {
            state: match how {
                JobEnd::Finished => JobState::Ended,
                JobEnd::Cancelled => JobState::Cancelled,
                JobEnd::ImageFailed => JobState::FunctionInvalid,
            },
            counts,
            load_failure: failure.and_then(inline),
        }
    }

    fn carry_out_command(&mut self, command: Command) {
        match command {
            Command::Accept { request, accepted } => self.accept(request, accepted),
            Command::Refuse {
                request,
                why,
                retry_after,
            } => {
                if let Some(asker) = self.askers.remove(&request) {
                    let (code, reason) = refusal(why);
                    let retry = retry_after.map(|after| after.0.div_ceil(1000));
                    self.send(asker.session, failed(asker.request, code, reason, retry));
                }
            }
            Command::BuildImage { function } => self.build(function),
            Command::SendImage { session, function } => {
                self.send_out(session, Outgoing::Image(function));
            }
            Command::Welcome {
                session,
                pace,
                refused,
            } => {
                let welcome = Welcome {
                    lease_ms: pace.lease.0 / 1000,
                    report_every_ms: pace.report_every.0 / 1000,
                    refused: list(refused),
                    ..self.shared.welcome(session)
                };
                self.send(session, welcome.into());
            }
            Command::Renew {
                session,
                report,
                pace,
                refused,
            } => {
                let renewed = Renewed {
                    number: report,
                    lease_ms: Ranged::clamped(pace.lease.0 / 1000),
                    report_every_ms: Ranged::clamped(pace.report_every.0 / 1000),
                    refused: list(refused),
                };
                self.send(session, renewed.into());
            }
            Command::Grant {
                session,
                leases,
                lasts,
            } => self.send_out(session, Outgoing::Grant { leases, lasts }),
            Command::Cancel { session, leases } => {
                for leases in List::chunks_of(leases) {
                    self.send(session, Cancel { leases }.into());
                }
            }
            Command::TakeBack { session, leases } => {
                for leases in List::chunks_of(leases) {
                    self.send(session, TakeBack { leases }.into());
                }
            }
            Command::Acknowledge { session, leases } => {
                for leases in List::chunks_of(leases) {
                    self.send(session, Acknowledge { leases }.into());
                }
            }
            Command::CloseSession { session, why } => {
                let (code, reason) = match why {
                    CloseReason::Replaced => {
                        (CloseCode::Superseded, "a newer session of the same worker")
                    }
                    CloseReason::Revoked => (CloseCode::Revoked, "the certificate is revoked"),
                    CloseReason::TooManyWorkers => {
                        (CloseCode::TooManyConnections, "too many workers")
                    }
                };
                self.send_out(session, Outgoing::Close(code, reason));
                self.sessions.remove(&session);
            }
        }
    }

    fn accept(&mut self, request: RequestId, accepted: Accepted) {
        let Some(asker) = self.askers.remove(&request) else {
            return;
        };
        let request = asker.request;
        let message = match (asker.kind, accepted) {
            (AskKind::Open, Accepted::Job { tasks, is_known }) => {
                let view = self.scheduler.job(asker.job);
                JobOpened {
                    request,
                    is_duplicate: is_known,
                    next: TaskId(tasks),
                    credit: Ranged::clamped(APPEND_CREDIT),
                    is_closed: view.is_none_or(|view| view.is_closed || view.end.is_some()),
                }
                .into()
            }
            (AskKind::Append, Accepted::Job { tasks, .. }) => TasksAppended {
                request,
                next: TaskId(tasks),
                credit: Ranged::clamped(APPEND_CREDIT),
            }
            .into(),
            (AskKind::Append, _) => {
                failed(request, ErrorCode::JobClosed, "the job has ended", None)
            }
            _ => Done { request }.into(),
        };
        self.send(asker.session, message);
    }

    fn build(&mut self, function: Digest) {
        let (shared, may_build) = (Arc::clone(&self.shared), Arc::clone(&self.may_build));
        self.builds.spawn(async move {
            let mut bytes = None;
            for _ in 0..BUILD_TRIES {
                let Ok(_permit) = may_build.acquire().await else {
                    return;
                };
                let shared = Arc::clone(&shared);
                let build = move || shared.shelf.build(&*shared.store, function);
                if let Ok(Ok(built)) = tokio::task::spawn_blocking(build).await {
                    bytes = built;
                    break;
                }
                tokio::time::sleep(BUILD_PAUSE).await;
            }
            let _ = shared.inputs.send(Input::Built { function, bytes }).await;
        });
    }

    fn send(&mut self, session: SessionId, message: Message) {
        self.send_out(session, Outgoing::Message(message));
    }

    /// Whose queue is full does not read: its session ends, and nobody else waits for it.
    fn send_out(&mut self, session: SessionId, outgoing: Outgoing) {
        if let Some(queue) = self.sessions.get(&session)
            && queue.try_send(outgoing).is_err()
        {
            self.sessions.remove(&session);
        }
    }
}

impl Bodies {
    fn result(&mut self, lease: ppwasm_proto::fabric::LeaseId) -> TaskResult {
        // Records come in the order of the results.
        let from = self.next_result;
        let rest = self.results.iter_mut().enumerate().skip(from);
        for (index, (of, result)) in rest {
            if *of == lease {
                self.next_result = index + 1;
                return std::mem::take(result);
            }
        }
        let found = self.results.iter_mut().find(|(of, _)| *of == lease);
        found
            .map(|(_, result)| std::mem::take(result))
            .unwrap_or_default()
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

const fn place(kind: OutcomeKind) -> usize {
    match kind {
        OutcomeKind::Succeeded => 0,
        OutcomeKind::Raised => 1,
        OutcomeKind::Trapped => 2,
        OutcomeKind::LimitExceeded => 3,
        OutcomeKind::Cancelled => 4,
        OutcomeKind::Abandoned => 5,
    }
}

fn forget_failures(counts: &mut HashMap<JobId, [u64; 6]>, job: JobId) {
    if let Some([_, failures @ ..]) = counts.get_mut(&job) {
        failures.fill(0);
    }
}

fn list<T>(items: Vec<T>) -> List<T, { CREDIT_MAX as usize }> {
    // The scheduler grants no worker more than that.
    List::try_from(items).unwrap_or_default()
}

fn row_bytes(body: &Body) -> usize {
    match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Blob { .. } => 40,
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

pub(crate) fn failed(request: u32, code: ErrorCode, reason: &str, retry: Option<u64>) -> Message {
    Failed {
        request,
        code,
        reason: Text::truncated(reason),
        retry_after_ms: retry,
    }
    .into()
}

const fn refusal(why: Refusal) -> (ErrorCode, &'static str) {
    match why {
        Refusal::UnknownJob => (ErrorCode::NotFound, "there is no such job"),
        Refusal::UnknownWorker => (ErrorCode::NotFound, "there is no such worker"),
        Refusal::JobDiffers => (ErrorCode::Conflict, "another job has this id"),
        Refusal::JobIsClosed => (ErrorCode::JobClosed, "the job takes no more tasks"),
        Refusal::JobHasEnded => (ErrorCode::JobClosed, "the job has ended"),
        Refusal::JobRuns => (ErrorCode::Conflict, "the job has not ended"),
        Refusal::TasksMissing { .. } => (ErrorCode::WrongOrder, "tasks before these are missing"),
        Refusal::OutOfRange => (ErrorCode::InvalidValue, "a number is out of range"),
        Refusal::TooManyJobs => (ErrorCode::QuotaExceeded, "too many jobs"),
        Refusal::TooManyTasks => (ErrorCode::Busy, "too many tasks are queued"),
    }
}

impl Shared {
    /// What every welcome says.
    pub(crate) fn welcome(&self, session: SessionId) -> Welcome {
        Welcome {
            minor: MINOR,
            session: session.0,
            epoch: u64::from(self.store.epoch().number()),
            report_every_ms: self.config.scheduler.report_every.0 / 1000,
            lease_ms: self.config.scheduler.lease.0 / 1000,
            refused: List::new(),
            build: Text::truncated(concat!("ppwasm ", env!("CARGO_PKG_VERSION"))),
            guest: Some(self.shelf.guest()),
            renew_certificate: None,
            wall_clock_s: None,
            slots: None,
        }
    }
}
